//! `[csrf]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, DurationText, HeaderText, OneOrMany, Text, UrlText};

/// Requests that change something and that a cookie authenticates: other sites' pages could make a browser send them. Bearer
/// tokens and API keys are not concerned.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CsrfTable {
    /// What is asked of them. Default: `token`.
    pub(crate) mode: Option<At<CsrfMode>>,
    /// The header that a token comes in. Default: `X-CSRF-Token`.
    pub(crate) header: Option<At<HeaderText>>,
    /// The field of a form that a token comes in where there is no header. Default: `_csrf`.
    pub(crate) field: Option<At<Text>>,
    /// How long a token is good; a fresh one is handed out when half of that is over. Default: `1h`.
    pub(crate) life: Option<At<DurationText>>,
    /// Origins besides that of the public URL whose pages may use their visitors' cookies, such as
    /// `https://app.example.com`. Their requests need a token like all others.
    pub(crate) trusted_origins: Option<OneOrMany<UrlText>>,
    /// The request header in which the upstream is told a token for the forms of its pages. Default: it is told none.
    pub(crate) to_upstream: Option<At<HeaderText>>,
}

/// What is asked of a request that a cookie authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CsrfMode {
    /// The right origin, and a token of the session.
    Token,
    /// The right origin only, where a browser says it: for an upstream that has tokens of its own.
    DangerOriginOnly,
}
