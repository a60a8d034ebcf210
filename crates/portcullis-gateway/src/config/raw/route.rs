//! `[routes]`, `[[route]]` and `[roles.NAME]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    At, CorsTable, OneOrMany, OwnerTable, PatternText, ResponseTable, RouteHeadersTable, ShortOrLong, SizeText, Table,
    Text,
};

/// What holds for all routes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RoutesTable {
    /// What becomes of a request that no route covers. Default: `refuse` where there is a `[[route]]`, else
    /// `authenticated`.
    pub(crate) otherwise: Option<At<OtherwiseName>>,
    /// The largest request body where a route says nothing else. Default: `1MiB`.
    pub(crate) max_body: Option<At<SizeText>>,
}

/// What becomes of a request that no route covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OtherwiseName {
    /// It is answered 404.
    Refuse,
    /// It needs a login.
    Authenticated,
    /// It passes.
    Public,
}

/// One route: a pattern, and what a request must prove. One of `access`, `roles` and `permissions` must be given.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RouteTable {
    /// The requests it covers: an optional method and a path, in which `{name}` stands for one segment and `**` at the
    /// end for any number. `GET` covers `HEAD`.
    #[serde(rename = "match")]
    pub(crate) pattern: Option<OneOrMany<PatternText>>,
    /// Who may pass.
    pub(crate) access: Option<At<AccessName>>,
    /// Roles of which one is needed.
    pub(crate) roles: Option<OneOrMany<Text>>,
    /// Permissions that are all needed, or a table with `all` and `any`.
    pub(crate) permissions: Option<At<ShortOrLong<Vec<Text>, PermissionsTable>>>,
    /// The upstream it goes to, by name. Default: `default`.
    pub(crate) upstream: Option<At<Text>>,
    /// The rules for its request body.
    pub(crate) body: Option<Table<BodyTable>>,
    /// Whether requests that change something need no token here although a cookie authenticates them, because the
    /// upstream asks for one of its own. Default: false.
    pub(crate) danger_no_csrf_token: Option<At<bool>>,
    /// Its response headers, where they are others than `[headers]` says.
    pub(crate) headers: Option<Table<RouteHeadersTable>>,
    /// Which pages of other origins may ask for it, where they are others than `[cors]` says; what is not written is as it
    /// stands there. `upstream` leaves it to the upstream.
    pub(crate) cors: Option<At<ShortOrLong<Text, CorsTable>>>,
    /// What must be the caller's own.
    pub(crate) owner: Option<Table<OwnerTable>>,
    /// The rules for responses.
    pub(crate) response: Option<Table<ResponseTable>>,
}

/// Who may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AccessName {
    /// Everyone.
    Public,
    /// Whoever proved an identity.
    Authenticated,
}

/// Permissions that are needed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PermissionsTable {
    /// All of these.
    pub(crate) all: Option<Vec<Text>>,
    /// At least one of these.
    pub(crate) any: Option<Vec<Text>>,
}

/// The rules for a request body.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BodyTable {
    /// Its largest size.
    pub(crate) max: Option<At<SizeText>>,
}

/// What a role permits.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RoleTable {
    /// Roles whose permissions it has too.
    pub(crate) inherits: Option<OneOrMany<Text>>,
    /// Its permissions, such as `posts:read`, `posts:*` or `*`.
    pub(crate) permissions: Option<OneOrMany<Text>>,
}
