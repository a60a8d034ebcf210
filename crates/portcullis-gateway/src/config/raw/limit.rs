//! `[limits]` and `[[limit]]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{
    At, CostChoice, CountChoice, DurationText, KeyText, NetworkText, OneOrMany, PathText, PatternText, QuotaText,
    ShortOrLong, Text,
};

/// What holds for all limits.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitsTable {
    /// Where counts are kept: `memory`, which is this instance's, or a store that instances share: `redis://HOST`, `rediss://…`
    /// for TLS, `redis-sentinel://…`, `redis-cluster://…`, or `memcached://HOST[,HOST…]`, `memcacheds://…` for TLS, which
    /// carries the algorithms `fixed-window` and `calendar` only. Default: `memory`.
    pub(crate) store: Option<At<Text>>,
    /// The file that holds the password of the store; otherwise `PORTCULLIS_LIMITS_PASSWORD` or
    /// `PORTCULLIS_LIMITS_PASSWORD_FILE`.
    pub(crate) password_file: Option<At<PathText>>,
    /// Certificates (PEM) that alone vouch for the store. Default: those that Mozilla trusts.
    pub(crate) ca_file: Option<At<PathText>>,
    /// How long a decision waits for the store in all before each limit does what its `outage` says. Default: 40ms.
    pub(crate) patience: Option<At<DurationText>>,
    /// The limits that apply where the file writes none. Default: `default`.
    pub(crate) preset: Option<At<PresetName>>,
    /// How a client is told of its limits. Default: `legacy`.
    pub(crate) headers: Option<At<LimitHeadersName>>,
    /// How many keys are counted at once before idle ones are given up early. Default: 1000000.
    pub(crate) max_keys: Option<At<u64>>,
}

/// Which limits apply where the file writes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PresetName {
    /// Anonymous, login, verification and user limits.
    Default,
    /// None.
    None,
}

/// How a client is told of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LimitHeadersName {
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    Legacy,
    /// `RateLimit-Policy` and `RateLimit` of the IETF draft.
    Draft,
    /// All of them.
    Both,
    /// None; a refusal still carries `Retry-After`.
    None,
}

/// One limit.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitTable {
    /// Its name in records and answers.
    pub(crate) name: Option<At<Text>>,
    /// A preset limit to start from, by name: `anonymous`, `auth`, `auth-endpoints`, `login`, `user`, `verify`. What is written
    /// beside it replaces what the preset says.
    pub(crate) preset: Option<At<Text>>,
    /// The requests it counts. Default: `/**`.
    #[serde(rename = "match")]
    pub(crate) pattern: Option<OneOrMany<PatternText>>,
    /// What it counts by: `address`, `user`, `api-key`, `session`, `plan`, `role`, `route`, `header:NAME`, `claim:NAME`, or a list of them. A
    /// part that a request lacks is replaced by its address. Default: `address`.
    pub(crate) key: Option<OneOrMany<KeyText>>,
    /// How it counts: `token-bucket`, `leaky-bucket`, `fixed-window`, `sliding-window-counter`, `sliding-window-log` or
    /// `calendar` (real days, weeks, months or years). Default: `sliding-window-counter`.
    pub(crate) algorithm: Option<At<Text>>,
    /// How much is allowed: `5 per 15m`, `10,000 per month` (only for `calendar`), or by plan: `{ by = "plan", free = "60 per minute", otherwise = "free" }`, or
    /// by what is thought of the address (`[reputation]`): `{ by = "reputation", good = "100 per minute", bad = "5 per minute" }`.
    pub(crate) quota: Option<At<ShortOrLong<QuotaText, ByChoice>>>,
    /// How many requests may come at once (only for `token-bucket` and `leaky-bucket`). Default: the quota's number for
    /// `token-bucket`, 1 for `leaky-bucket`.
    pub(crate) burst: Option<At<u64>>,
    /// How long a request beyond the burst may wait for its turn before it is refused, up to `1m` (only for
    /// `leaky-bucket`). Default: `0`, none waits.
    pub(crate) max_delay: Option<At<DurationText>>,
    /// Whose midnights begin a period, by its name in the IANA database, such as `Europe/Berlin` (only for `calendar`).
    /// Default: `UTC`.
    pub(crate) time_zone: Option<At<Text>>,
    /// Which requests stay counted once they are answered: a word, a list of status codes such as `[401, 403, "5xx"]`, or all
    /// but some, `{ except = [304, 404] }`. Default: `all`.
    pub(crate) count: Option<At<CountChoice>>,
    /// What one request costs: a number, `{ "GET /export" = 10, otherwise = 1 }` by the request, or
    /// `{ header = "X-Rows", at_most = 100 }` by a header of the answer. Default: 1.
    pub(crate) cost: Option<At<CostChoice>>,
    /// Roles that are held to `ceiling` instead.
    pub(crate) exempt: Option<OneOrMany<Text>>,
    /// Networks whose requests are held to `ceiling` instead and counted for themselves: an office, a health check.
    pub(crate) exempt_addresses: Option<OneOrMany<NetworkText>>,
    /// What is exempt is held to this; needed where anything is, because a stolen admin token must not be unlimited.
    pub(crate) ceiling: Option<At<QuotaText>>,
    /// Lets what is exempt pass without any limit.
    pub(crate) danger_no_ceiling: Option<At<bool>>,
    /// Whether it refuses, only reports, or slows down. Default: `enforce`.
    pub(crate) mode: Option<At<ModeName>>,
    /// How long a request that is over the quota waits before it is forwarded, 60 s at most. Needed by mode `delay`.
    pub(crate) delay: Option<At<DurationText>>,
    /// Whom it counts. Default: `everyone`.
    pub(crate) scope: Option<At<ScopeName>>,
    /// What it does while the store that instances share does not answer. At our own identity endpoints `open` means
    /// `local`. Default: `local`.
    pub(crate) outage: Option<At<OutageName>>,
    /// What a refused client is told; `{minutes}` and `{seconds}` stand for the wait.
    pub(crate) message: Option<At<Text>>,
}

/// Which requests stay counted once they are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CountName {
    /// All.
    All,
    /// Those answered with a status of 400 or above.
    Failures,
    /// Those whose password, link or other credential was wrong: answered with 401 or 403, or, by the identity endpoints,
    /// with the word that a mailed link is not good. A new password that breaks a rule is none.
    Denials,
    /// Those answered with a status below 400.
    Successes,
}

/// Whether a limit refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ModeName {
    /// It refuses.
    Enforce,
    /// It counts and reports what it would have refused.
    Report,
    /// It lets a request that is over the quota pass after `delay`.
    Delay,
}

/// Whom a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ScopeName {
    /// Every request.
    Everyone,
    /// Requests that prove no identity.
    Anonymous,
    /// Requests whose token must be verified.
    Verification,
}

/// What a limit does while its shared store does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OutageName {
    /// It goes on by what this instance has counted.
    Local,
    /// It does not limit.
    Open,
    /// It admits nobody: 503.
    Closed,
}

/// A quota by plan or by reputation.
#[derive(Clone, Debug)]
pub(crate) struct ByChoice {
    /// What it goes by: `plan` or `reputation`.
    pub(crate) by: Option<At<Text>>,
    /// The choice whose quota holds for an unknown plan or none; for a class that is not written it need not be given.
    pub(crate) otherwise: Option<At<Text>>,
    /// The plans, or the classes of addresses.
    pub(crate) choices: BTreeMap<String, At<QuotaText>>,
}

impl<'de> Deserialize<'de> for ByChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByChoiceVisitor;

        impl<'de> Visitor<'de> for ByChoiceVisitor {
            type Value = ByChoice;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table of plans or classes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<ByChoice, A::Error> {
                let mut found = ByChoice { by: None, otherwise: None, choices: BTreeMap::new() };
                while let Some(key) = table.next_key::<String>()? {
                    match key.as_str() {
                        "by" => found.by = Some(table.next_value()?),
                        "otherwise" => found.otherwise = Some(table.next_value()?),
                        "" => return Err(A::Error::custom("a plan or class must have a name")),
                        _ => {
                            let quota = table.next_value()?;
                            found.choices.insert(key, quota);
                        }
                    }
                }
                Ok(found)
            }
        }

        deserializer.deserialize_map(ByChoiceVisitor)
    }
}

impl JsonSchema for ByChoice {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByChoice".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let quota = generator.subschema_for::<QuotaText>();
        schemars::json_schema!({
            "description": "A quota for each plan, where `otherwise` names the plan that holds for an unknown one; or for each class of addresses: `good`, `suspect`, `bad` and `challenged`, all with one window; a class that is left out has the quota of the one above it.",
            "type": "object",
            "properties": { "by": { "enum": ["plan", "reputation"] }, "otherwise": { "type": "string" } },
            "required": ["by"],
            "additionalProperties": quota,
        })
    }
}
