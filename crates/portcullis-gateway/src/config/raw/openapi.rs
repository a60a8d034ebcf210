//! `[openapi]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, PathText, Table, Text};

/// An OpenAPI document (3.0 or 3.1) as the contract of an upstream: which requests it takes, and what it answers. Who may
/// send them is still said by routes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OpenApiTable {
    /// The document: YAML, or JSON where its name ends in `.json`. A reload reads it again.
    pub(crate) file: Option<At<PathText>>,
    /// The upstream that it is the contract of, by name. Default: `default`.
    pub(crate) upstream: Option<At<Text>>,
    /// The path that all paths of the document stand behind at this gate, such as `/v1`. Default: that of its `servers`.
    pub(crate) base_path: Option<At<Text>>,
    /// What becomes of requests that break the contract. Default: `enforce`.
    pub(crate) requests: Option<At<RequestsName>>,
    /// What becomes of answers that break it. `enforce` holds them until they are judged, up to 1 MiB; `report` holds none.
    /// Default: `off`.
    pub(crate) responses: Option<At<ResponsesName>>,
    /// What becomes of requests that no operation covers. Default: `refuse`.
    pub(crate) unknown_paths: Option<At<UnknownName>>,
    /// What becomes of query parameters that the operation does not declare. Default: `refuse`.
    pub(crate) unknown_parameters: Option<At<UnknownName>>,
    /// What becomes of members of a body that its schema does not name. A schema that names none, or says itself what
    /// becomes of others (`additionalProperties`), is taken at its word. Default: `refuse`.
    pub(crate) unknown_members: Option<At<UnknownName>>,
}

/// What becomes of what the document does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UnknownName {
    /// It is refused.
    Refuse,
    /// It passes, and an event says so.
    Report,
    /// It passes.
    Allow,
}

/// What becomes of requests that break the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RequestsName {
    /// They are refused.
    Enforce,
    /// They pass, and an event says so.
    Report,
}

/// What becomes of answers that break the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ResponsesName {
    /// They are not looked at.
    Off,
    /// They pass, and an event says so; so it does of those that cannot be judged.
    Report,
    /// They are answered 502 instead.
    Enforce,
}

/// The table with its place.
pub(crate) type OpenApi = Table<OpenApiTable>;
