//! `[reputation]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, DurationText, NetworkText, OneOrMany, Table};

/// How addresses are judged by what comes from them, where a limit has `quota = { by = "reputation", … }`. Requests that prove
/// an identity neither raise a score nor are held to less by it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReputationTable {
    /// After how long half of a score is left. Default: `10m`.
    pub(crate) half_life: Option<At<DurationText>>,
    /// From which score on an address is suspect. Default: 100.
    pub(crate) suspect: Option<At<u64>>,
    /// From which score on it is bad. A score ends at twice this, so that nobody is bad for longer than one half-life after the
    /// last offence. Default: 300.
    pub(crate) bad: Option<At<u64>>,
    /// How long an address that presented a wrong credential counts as challenged. Default: `5m`.
    pub(crate) challenged_for: Option<At<DurationText>>,
    /// Networks of which nothing is remembered: monitoring, an office whose people share one address.
    pub(crate) trusted: Option<OneOrMany<NetworkText>>,
    /// How much each offence adds to a score; 0 for none.
    pub(crate) weights: Option<Table<WeightsTable>>,
}

/// How much each offence adds to a score.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WeightsTable {
    /// A wrong credential: a token that never was one, a wrong password. One that has expired is none. Default: 20.
    pub(crate) denied: Option<At<u64>>,
    /// A request that two programs could read differently, such as a path that leaves its folder. Default: 50.
    pub(crate) hostile: Option<At<u64>>,
    /// Asking for what is not there: 404, from the gate or from the API. Default: 5.
    pub(crate) missing: Option<At<u64>>,
    /// Being refused by a limit, unless it held the address to less than others; knocking while blocked. Default: 2.
    pub(crate) refused: Option<At<u64>>,
    /// Asking without a credential, or with a cookie that is not good, for what needs one. Default: 1.
    pub(crate) unproven: Option<At<u64>>,
}
