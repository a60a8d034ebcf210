//! `[route.graphql]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::At;

/// The route takes GraphQL, and weighs what it asks for before it is forwarded. Fragments count wherever they are spread.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GraphqlTable {
    /// How deeply fields may be nested. Default: 10.
    pub(crate) depth: Option<At<u64>>,
    /// How many fields may be asked for; those below a list count as often as its `first`, `last`, `limit` or `take` says.
    /// Default: 1000.
    pub(crate) complexity: Option<At<u64>>,
    /// How many fields may be asked for by other names. Default: 15.
    pub(crate) aliases: Option<At<u64>>,
    /// How many operations may be sent at once. Default: 1.
    pub(crate) batch: Option<At<u64>>,
    /// How many tokens a document may have, at most 10000. Default: 2000.
    pub(crate) tokens: Option<At<u64>>,
    /// Whether the API may be asked what it offers (`__schema`, `__type`). Default: false.
    pub(crate) introspection: Option<At<bool>>,
    /// Whether a hash may stand for a document that the API knows. What such a document asks for is not weighed. Default:
    /// false.
    pub(crate) danger_persisted: Option<At<bool>>,
}
