//! `[[upstreams]]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, DurationText, OneOrMany, PathText, SocketText, Table, Text};

/// A named upstream.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpstreamTable {
    /// The name by which routes choose it. The one named `default` takes what names none.
    pub(crate) name: Option<At<Text>>,
    /// Its addresses as `host:port`, used in turn.
    pub(crate) addresses: Option<OneOrMany<SocketText>>,
    /// The `Host` that is sent to it. Default: the client's.
    pub(crate) host: Option<At<Text>>,
    /// A path that every request is put behind. Default: none.
    pub(crate) base_path: Option<At<Text>>,
    /// For opening a connection. Default: `2s`.
    pub(crate) connect_timeout: Option<At<DurationText>>,
    /// From the end of the request to the head of the response. Default: `30s`.
    pub(crate) response_timeout: Option<At<DurationText>>,
    /// Between two pieces of a response body. Default: `60s`.
    pub(crate) read_timeout: Option<At<DurationText>>,
    /// How long an unused connection is kept. Default: `60s`.
    pub(crate) idle_timeout: Option<At<DurationText>>,
    /// Unused connections kept per core and address. Default: 64.
    pub(crate) max_idle: Option<At<u64>>,
    /// How long an address that failed to connect is skipped. Default: `5s`.
    pub(crate) retry_failed_after: Option<At<DurationText>>,
    /// TLS to it; `{}` for authorities that browsers trust. Default: none.
    pub(crate) tls: Option<Table<UpstreamTlsTable>>,
    /// Whether it is spoken to by HTTP/2: chosen in the handshake where there is TLS, known beforehand where there is none.
    /// gRPC needs it. Default: `false`.
    pub(crate) http2: Option<At<bool>>,
}

/// TLS to an upstream. Its certificate is always verified. The files are looked at every second, and what changed is used
/// for the next connection.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpstreamTlsTable {
    /// A file with the certificates of those who vouch for it (PEM). Default: the authorities that browsers trust.
    pub(crate) ca: Option<At<PathText>>,
    /// The name that is asked for and that its certificate must be for. Default: the host of each address.
    pub(crate) name: Option<At<Text>>,
    /// A file with our certificate and those that vouch for it (PEM), for an upstream that asks for one.
    pub(crate) cert: Option<At<PathText>>,
    /// The file with its private key.
    pub(crate) key: Option<At<PathText>>,
    /// Public keys of which its certificate must have one, as `sha256/` and the base64 of the SHA-256 of the
    /// SubjectPublicKeyInfo. Default: any.
    pub(crate) pins: Option<OneOrMany<Text>>,
    /// Believes any certificate: whoever stands in between reads and changes everything. For tests.
    pub(crate) danger_accept_invalid_certificates: Option<At<bool>>,
}
