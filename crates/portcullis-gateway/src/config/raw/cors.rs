//! `[cors]` and `[route.cors]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, DurationText, HeaderText, OneOrMany, OriginText};

/// Which pages of other origins may read answers, and send requests that no form can. Without this table nobody's may,
/// and preflights go to the upstream.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CorsTable {
    /// Their origins as browsers write them: `https://app.example.com`, or `https://*.example.com` for any one label in
    /// the place of the star. `*` alone: every page, and never with credentials.
    pub(crate) origins: Option<OneOrMany<OriginText>>,
    /// Whether the browser may send its cookies along. Default: false.
    pub(crate) credentials: Option<At<bool>>,
    /// The request headers that pages may set. Default: `Authorization`, `Content-Type`, `X-API-Key`, `X-CSRF-Token`.
    pub(crate) allow_headers: Option<OneOrMany<HeaderText>>,
    /// The response headers that pages may read besides the limits', `Retry-After` and `X-Request-Id`. Default: none.
    pub(crate) expose_headers: Option<OneOrMany<HeaderText>>,
    /// How long a browser may remember the answer to a preflight. Default: `10m`.
    pub(crate) max_age: Option<At<DurationText>>,
    /// Whether pages of the open internet may ask although this gate stands in a private network. Default: false.
    pub(crate) private_network: Option<At<bool>>,
}
