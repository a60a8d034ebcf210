//! `[tls]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, OneOrMany, PathText, SocketText, Table, Text};

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
    /// Clients that prove themselves by certificates (mutual TLS). Default: none are asked for.
    pub(crate) client: Option<Table<TlsClientTable>>,
}

/// Clients that prove themselves by certificates. The files are looked at every second, and what was revoked counts from
/// then on, on open connections too.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsClientTable {
    /// A file with the certificates of the authorities that vouch for clients (PEM). Required.
    pub(crate) ca: Option<At<PathText>>,
    /// Files with what they have revoked (PEM or DER). With one, every certificate of a chain must be covered by a list that
    /// has not expired. Default: none.
    pub(crate) crl: Option<OneOrMany<PathText>>,
    /// Whether nobody gets in without a certificate; if not, a request without one is nobody's. Default: `true`.
    pub(crate) required: Option<At<bool>>,
    /// Which of a certificate's names says who its holder is; a certificate must have exactly one of that kind. Required.
    pub(crate) principal: Option<At<PrincipalName>>,
    /// The trust domains of SPIFFE IDs that are believed. Required with `principal = "spiffe"`.
    pub(crate) trust_domains: Option<OneOrMany<Text>>,
    /// Roles by name; a name has those of every entry that covers it. Default: none has any.
    pub(crate) grants: Option<Vec<Table<GrantTable>>>,
}

/// Roles of clients by the names in their certificates.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GrantTable {
    /// A name; `*` in it stands for one whole part: `spiffe://prod.example.com/billing/*`, `*.clients.example.com`,
    /// `*@example.com`. Required.
    #[serde(rename = "match")]
    pub(crate) pattern: Option<At<Text>>,
    /// The roles that such clients have. Required.
    pub(crate) roles: Option<OneOrMany<Text>>,
}

/// Kinds of names.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PrincipalName {
    /// A SPIFFE ID, of a trust domain that is believed.
    Spiffe,
    /// A URI among the alternative names.
    Uri,
    /// A DNS name among them.
    Dns,
    /// A mail address among them.
    Email,
    /// The common name of the subject, for authorities that write no alternative names.
    SubjectCn,
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
