//! `[tls]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, OneOrMany, PathText, SocketText, Table};

/// TLS with clients. With this section the addresses of `listen` speak HTTPS and nothing else.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsTable {
    /// The certificates. Which one a client is shown follows from the name that it asks for; the first is for whoever asks
    /// for none. The files are looked at every second, and loaded anew when they have changed. Required.
    pub(crate) certificates: Option<Vec<Table<CertificateTable>>>,
    /// Where HTTPS is spoken instead of at the addresses of `listen`, which then stay plain if they are written.
    pub(crate) listen: Option<OneOrMany<SocketText>>,
    /// Where plain HTTP is answered with the way to HTTPS and nothing else, such as `0.0.0.0:80`. Default: nowhere.
    pub(crate) redirect: Option<OneOrMany<SocketText>>,
    /// What a client gets that asks for a name which no certificate has, or for none. Default: `first`.
    pub(crate) unknown_name: Option<At<UnknownNameName>>,
    /// The oldest version that is spoken. Default: `1.2`.
    pub(crate) min_version: Option<At<TlsVersionName>>,
}

/// A certificate and its key.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CertificateTable {
    /// A file with the chain as PEM, the server's own certificate first. Required.
    pub(crate) cert: Option<At<PathText>>,
    /// A file with its private key as PEM, not encrypted; nobody else should be able to read it. Required.
    pub(crate) key: Option<At<PathText>>,
}

/// What becomes of unknown names.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UnknownNameName {
    /// The first certificate.
    First,
    /// No connection.
    Refuse,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) enum TlsVersionName {
    /// RFC 5246, with forward secrecy and AEAD only.
    #[serde(rename = "1.2")]
    V12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V13,
}
