//! `lease` of a limit: whether there is something to lease from, and whether the limit keeps its promise with it (L11).

use portcullis::{LimitRule, QuotaChoice};

use super::context::Context;
use crate::config::diagnostic::Diagnostic;
use crate::config::rates;
use crate::config::raw::{At, LimitTable, LimitsTable};
use crate::config::settings::{LimitStore, StoreOptions};

/// Why nothing can be leased from the store, and what to do about it.
type Obstacle = (&'static str, &'static str);

/// What stands in the way of leases; a store that is wrong was told, and is none.
pub(super) fn obstacle(table: &LimitsTable, store: Option<&LimitStore>) -> Option<Obstacle> {
    match store.map(|store| &store.options) {
        Some(StoreOptions::Redis(options)) if options.is_cluster() => Some((
            "nothing is leased from a cluster: one of its nodes can lose what it holds without the others knowing",
            "name one server, or one that Sentinels watch, or remove it",
        )),
        Some(StoreOptions::Redis(_)) => None,
        Some(StoreOptions::Memcached(_)) => Some((
            "nothing is leased from memcached: it cannot say in the step of a charge whether it has lost something",
            "name a Redis as the store, or remove it",
        )),
        None if table.store.as_ref().is_some_and(|at| at.get().as_str() != "memory") => None,
        None => Some((
            "there is nothing to lease from: this instance counts in its own memory",
            "add store = \"redis://127.0.0.1\" to [limits], or remove it",
        )),
    }
}

/// Refuses a limit that asks for leases and cannot keep its promise with them.
pub(super) fn check(cx: &mut Context<'_>, raw: &LimitTable, rule: &LimitRule, obstacle: Option<Obstacle>) {
    let Some(at) = raw.lease.as_ref().filter(|at| *at.get()) else { return };
    if let Some((why, hint)) = obstacle {
        cx.push(Diagnostic::error(at.span(), why).hint(hint));
    } else if matches!(rule.quota, QuotaChoice::ByReputation(_)) {
        let why = "what is leased would be spent by whoever comes, whatever the reputation of the address is by then";
        cx.push(Diagnostic::error(at.span(), why).hint("remove \"lease\", or give everybody one quota"));
    } else if let Some(error) = rates(rule).find_map(|rate| rate.check_lease().err()) {
        let span = raw.algorithm.as_ref().map_or_else(|| at.span(), At::span);
        cx.push(
            Diagnostic::error(span, error.to_string()).hint("remove \"lease\", or change the algorithm or the quota"),
        );
    }
}
