//! `[route.body]`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::{At, OneOrMany, PathText, ShortOrLong, SizeText, Text};

/// The rules for a request body.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BodyTable {
    /// Its largest size, of JSON too. Default: that of `[routes]`.
    pub(crate) max: Option<At<SizeText>>,
    /// How fast it has to come while it streams, in bytes per second; `0` for as slowly as it likes. Default: that of `[client]`.
    pub(crate) min_rate: Option<At<SizeText>>,
    /// Whether only JSON is taken that every program reads in the same way: no member twice, no number that some programs
    /// round, bounded nesting. Default: `true` with any of the keys below but `codings`, else `false`.
    pub(crate) json: Option<At<bool>>,
    /// A JSON Schema (2020-12) that it has to follow: a file, or the schema itself. References stay in the file's folder.
    pub(crate) schema: Option<At<ShortOrLong<PathText, SchemaTable>>>,
    /// The members that it may set, such as `name`, `address.city` or `items.*.id`; `**` at the end means whatever stands
    /// there.
    pub(crate) allow: Option<OneOrMany<Text>>,
    /// What becomes of a request that sets another member. Default: `refuse`.
    pub(crate) unknown: Option<At<UnlistedName>>,
    /// How deeply objects and arrays may be nested. Default: 32.
    pub(crate) depth: Option<At<u64>>,
    /// How many values it may consist of. Default: 10000.
    pub(crate) values: Option<At<u64>>,
    /// Which numbers it may hold. Default: `exact`.
    pub(crate) numbers: Option<At<NumbersName>>,
    /// The content codings in which a body may come: what looks at it sees it unpacked, within the same size and a hundred
    /// times what was received; what is forwarded is what was received. Default: none.
    pub(crate) codings: Option<OneOrMany<CodingName>>,
}

/// What becomes of a request that sets a member which is not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UnlistedName {
    /// It is refused.
    Refuse,
    /// It passes, and is recorded.
    Report,
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CodingName {
    /// RFC 1952.
    Gzip,
}

/// Which numbers a body may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NumbersName {
    /// Those that a double holds: whole ones up to 2⁵³−1.
    Exact,
    /// Whole ones of 64 bits beside that.
    Long,
}

/// A JSON Schema that stands in the configuration itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct SchemaTable(pub(crate) toml::Table);

impl JsonSchema for SchemaTable {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SchemaTable".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}
