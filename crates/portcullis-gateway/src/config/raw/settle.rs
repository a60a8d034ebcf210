//! What a request costs a limit, and which requests stay counted.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{At, CountName, Text};

/// What a request costs.
#[derive(Clone, Debug)]
pub(crate) enum CostChoice {
    /// Each the same.
    Same(u64),
    /// By the request, or by a header of the answer.
    Table(CostTable),
}

/// A cost for each pattern, or a header that tells it. What is written says which.
#[derive(Clone, Debug, Default)]
pub(crate) struct CostTable {
    pub(crate) header: Option<At<Text>>,
    pub(crate) at_most: Option<At<u64>>,
    pub(crate) otherwise: Option<At<u64>>,
    pub(crate) requests: Vec<(String, At<u64>)>,
}

/// Which requests stay counted.
#[derive(Clone, Debug)]
pub(crate) enum CountChoice {
    /// In a word.
    Word(CountName),
    /// By their status codes.
    Statuses(Vec<At<StatusText>>),
    /// All but those of some status codes.
    Except(Vec<At<StatusText>>),
}

/// A status code, or a class of them.
#[derive(Clone, Debug)]
pub(crate) enum StatusText {
    Code(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for CostChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CostVisitor;

        impl<'de> Visitor<'de> for CostVisitor {
            type Value = CostChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a table, such as 10 or { \"GET /export\" = 10, otherwise = 1 }")
            }

            fn visit_i64<E: Error>(self, cost: i64) -> Result<CostChoice, E> {
                u64::try_from(cost).map(CostChoice::Same).map_err(|_| E::custom("a cost cannot be negative"))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<CostChoice, A::Error> {
                let mut found = CostTable::default();
                while let Some(key) = table.next_key::<String>()? {
                    match key.as_str() {
                        "header" => found.header = Some(table.next_value()?),
                        "at_most" => found.at_most = Some(table.next_value()?),
                        "otherwise" => found.otherwise = Some(table.next_value()?),
                        _ => found.requests.push((key, table.next_value()?)),
                    }
                }
                Ok(CostChoice::Table(found))
            }
        }

        deserializer.deserialize_any(CostVisitor)
    }
}

impl JsonSchema for CostChoice {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cost".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 1_000_000 },
            {
                "description": "By a header of the answer: `at_most` is charged first, and what the answer did not cost is \
                                given back. `otherwise` is what an answer without the header costs. Default: 1.",
                "type": "object",
                "properties": {
                    "header": { "type": "string", "examples": ["X-Rows"] },
                    "at_most": { "type": "integer", "minimum": 1, "maximum": 1_000_000 },
                    "otherwise": { "type": "integer", "minimum": 0, "maximum": 1_000_000 },
                },
                "required": ["header", "at_most"],
                "additionalProperties": false,
            },
            {
                "description": "By the request: the most specific pattern says. `otherwise` is what all others cost. \
                                Default: 1. What costs 0 is not counted.",
                "type": "object",
                "properties": { "header": false, "at_most": false },
                "additionalProperties": { "type": "integer", "minimum": 0, "maximum": 1_000_000 },
                "examples": [{ "GET /export": 10, "otherwise": 1 }],
            },
        ] })
    }
}

impl<'de> Deserialize<'de> for CountChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Except {
            except: Vec<At<StatusText>>,
        }

        struct CountVisitor;

        impl<'de> Visitor<'de> for CountVisitor {
            type Value = CountChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word, a list of status codes or a table, such as \"failures\" or [401, 403, \"5xx\"]")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<CountChoice, E> {
                CountName::deserialize(word.into_deserializer()).map(CountChoice::Word)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<CountChoice, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(CountChoice::Statuses)
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<CountChoice, A::Error> {
                let Except { except } = Except::deserialize(MapAccessDeserializer::new(table))?;
                Ok(CountChoice::Except(except))
            }
        }

        deserializer.deserialize_any(CountVisitor)
    }
}

impl JsonSchema for CountChoice {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (word, statuses) = (generator.subschema_for::<CountName>(), generator.subschema_for::<Vec<StatusText>>());
        json_schema!({ "anyOf": [
            word,
            statuses,
            {
                "type": "object",
                "properties": { "except": statuses },
                "required": ["except"],
                "additionalProperties": false,
            },
        ] })
    }
}

impl<'de> Deserialize<'de> for StatusText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StatusVisitor;

        impl Visitor<'_> for StatusVisitor {
            type Value = StatusText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status code, such as 404, or a class of them, such as \"5xx\"")
            }

            fn visit_i64<E: Error>(self, code: i64) -> Result<StatusText, E> {
                u64::try_from(code).map(StatusText::Code).map_err(|_| E::custom("a status code cannot be negative"))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<StatusText, E> {
                Ok(StatusText::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(StatusVisitor)
    }
}

impl JsonSchema for StatusText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Status".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            { "enum": ["1xx", "2xx", "3xx", "4xx", "5xx"] },
        ] })
    }
}
