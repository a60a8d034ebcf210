//! `[tls.acme]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, OneOrMany, PathText, Table, Text, VariableText};

/// A certificate that this gate gets from an authority and renews by itself (ACME, RFC 8555). It is kept in the state
/// directory, with its key.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AcmeTable {
    /// The names that the certificate is for, such as `api.example.com`; they must lead to this gate. Required.
    pub(crate) domains: Option<OneOrMany<Text>>,
    /// Whether you agree to the authority's terms of service. Required, and `true`.
    pub(crate) agree_to_terms: Option<At<bool>>,
    /// The address that the authority writes to when something is wrong. It is told when the account is made. Default: none.
    pub(crate) email: Option<At<Text>>,
    /// How the authority makes sure that the names are this gate's. Default: `tls-alpn-01`.
    pub(crate) challenge: Option<At<ChallengeName>>,
    /// The authority: `letsencrypt`, `letsencrypt-staging` for trying things out, or the https URL of another one's directory.
    /// Default: `letsencrypt`.
    pub(crate) directory: Option<At<Text>>,
    /// A file with who vouches for the directory itself (PEM), where it is a private one. Default: whom browsers trust.
    pub(crate) directory_ca: Option<At<PathText>>,
    /// An account that you have with the authority already, for those that ask for it.
    pub(crate) external_account: Option<Table<ExternalAccountTable>>,
}

/// An account with an authority of certificates (external account binding).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ExternalAccountTable {
    /// The id of the key that the authority gave out. Required.
    pub(crate) key_id: Option<At<Text>>,
    /// A file with that key, in base64url as it was given out. This or `key_env` is required.
    pub(crate) key_file: Option<At<PathText>>,
    /// The environment variable that holds it.
    pub(crate) key_env: Option<At<VariableText>>,
}

/// Ways of showing that a name is one's own.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ChallengeName {
    /// By a file at port 80, which an address of `redirect` has to be.
    #[serde(rename = "http-01")]
    Http01,
    /// By a handshake at port 443, which an address of HTTPS has to be.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}
