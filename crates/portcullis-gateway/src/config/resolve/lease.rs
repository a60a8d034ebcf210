//! `lease` of a limit: whether there is something to lease from, and whether the limit keeps its promise with it (L11).

use portcullis::QuotaChoice;
use portcullis_limit::Rate;

use super::context::Context;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, LimitTable, LimitsTable};
use crate::config::settings::LimitStore;

/// Why nothing can be leased from the store, and what to do about it.
pub(super) type Obstacle = (&'static str, &'static str);

/// What stands in the way of leases; a store that is wrong was told, and is none.
pub(super) fn obstacle(table: &LimitsTable, store: Option<&LimitStore>) -> Option<Obstacle> {
    match store {
        Some(store) if store.options.is_cluster() => Some((
            "nothing is leased from a cluster: one of its nodes can lose what it holds without the others knowing",
            "name one server, or one that Sentinels watch, or remove it",
        )),
        Some(_) => None,
        None if table.store.as_ref().is_some_and(|at| at.get().as_str() != "memory") => None,
        None => Some((
            "there is nothing to lease from: this instance counts in its own memory",
            "add store = \"redis://127.0.0.1\" to [limits], or remove it",
        )),
    }
}

/// Whether the limit is leased.
pub(super) fn lease(
    cx: &mut Context<'_>,
    raw: &LimitTable,
    obstacle: Option<Obstacle>,
    quota: &QuotaChoice,
    ceiling: Option<&Rate>,
) -> bool {
    let Some(at) = raw.lease.as_ref().filter(|at| *at.get()) else { return false };
    if let Some((why, hint)) = obstacle {
        cx.push(Diagnostic::error(at.span(), why).hint(hint));
        return true;
    }
    let rates: Vec<&Rate> = match quota {
        QuotaChoice::Fixed(rate) => vec![rate],
        QuotaChoice::ByPlan { plans, otherwise } => plans.values().chain([otherwise]).collect(),
    };
    if let Some(error) = rates.into_iter().chain(ceiling).find_map(|rate| rate.check_lease().err()) {
        let span = raw.algorithm.as_ref().map_or_else(|| at.span(), At::span);
        cx.push(
            Diagnostic::error(span, error.to_string()).hint("remove \"lease\", or change the algorithm or the quota"),
        );
    }
    true
}
