//! Who is exempt from a limit, and the ceiling that stays.

use ipnet::IpNet;
use portcullis::{LimitRule, QuotaChoice};
use portcullis_limit::Rate;

use super::context::Context;
use super::transport::{is_wide, network};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, LimitTable};

/// The networks that are written, or those of the preset.
pub(super) fn addresses(
    cx: &mut Context<'_>,
    raw: &LimitTable,
    base: Option<&LimitRule>,
    trusts_hops: bool,
) -> Vec<IpNet> {
    let Some(list) = &raw.exempt_addresses else {
        return base.map(|base| base.exempt_addresses.clone()).unwrap_or_default();
    };
    let mut networks: Vec<IpNet> = Vec::new();
    for at in &list.0 {
        let Some(network) = network(cx, at) else { continue };
        if networks.iter().any(|other| other.contains(&network)) {
            cx.push(Diagnostic::warning(at.span(), format!("{network} is exempt already")));
        }
        if network.prefix_len() == 0 {
            let found = Diagnostic::warning(at.span(), "every address is exempt from this limit");
            cx.push(found.hint("name the networks that you know, or remove the limit"));
        } else if is_wide(&network) && !is_private(&network) {
            let found = Diagnostic::warning(at.span(), format!("{network} exempts a large part of the internet"));
            cx.push(found.hint("name the networks that you know"));
        } else if !trusts_hops && is_private(&network) {
            let found = Diagnostic::warning(at.span(), "a proxy in a private network would make every client exempt");
            cx.push(found.hint(
                "if one stands in front, name it in [client] trusted_hops, so that clients have their own addresses",
            ));
        }
        networks.push(network);
    }
    networks
}

/// Whether a proxy of one's own may have such an address.
fn is_private(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => {
            let address = network.addr();
            address.is_private() || address.is_loopback() || address.is_link_local()
        }
        IpNet::V6(network) => {
            let address = network.addr();
            address.is_unique_local() || address.is_loopback() || address.is_unicast_link_local()
        }
    }
}

/// Nobody is exempt from every limit: a stolen admin token would be unlimited, and so would a machine at the office that
/// somebody else has taken over.
pub(super) fn check_ceiling(cx: &mut Context<'_>, raw: &LimitTable, exempts: bool, ceiling: Option<&Rate>, path: &str) {
    let allowed = raw.danger_no_ceiling.as_ref().filter(|at| *at.get());
    let roles = raw.exempt.as_ref().and_then(|list| list.0.first()).map(At::span);
    let networks = raw.exempt_addresses.as_ref().and_then(|list| list.0.first()).map(At::span);
    if let (Some(at), Some(_)) = (allowed, &raw.ceiling) {
        let found = Diagnostic::error(at.span(), "\"danger_no_ceiling\" and a ceiling contradict each other");
        cx.push(found.hint("remove one of them; a high ceiling costs nothing"));
    } else if let Some(at) = allowed {
        let (what, why) = match (&roles, &networks) {
            (None, Some(_)) => ("exempt addresses", "a machine there that is taken over"),
            _ => ("exempt roles", "a stolen token of such a role"),
        };
        let found = Diagnostic::warning(at.span(), format!("{what} pass without any limit"));
        cx.push(found.hint(format!("{why} is unlimited; a high ceiling costs nothing")));
    } else if exempts && ceiling.is_none() && !cx.is_damaged(&format!("{path}.ceiling")) && raw.ceiling.is_none() {
        let message = if roles.is_some() {
            "exempt roles need a ceiling: a stolen token must not be unlimited"
        } else {
            "exempt addresses need a ceiling: a machine there that is taken over must not be unlimited"
        };
        let found = Diagnostic::error(roles.or(networks), message);
        cx.push(found.hint("add for example: ceiling = \"3000 per minute\""));
    }
    // A network that was found wrong was meant to be exempt.
    if !exempts
        && raw.exempt_addresses.is_none()
        && let Some(at) = &raw.ceiling
    {
        cx.push(
            Diagnostic::error(at.span(), "a ceiling means nothing where nobody is exempt")
                .hint("add exempt = [\"admin\"], or exempt_addresses"),
        );
    }
}

/// A ceiling is meant to allow more than what everybody else has.
pub(super) fn warn_of_a_low_ceiling(
    cx: &mut Context<'_>,
    raw: &LimitTable,
    quota: Option<&QuotaChoice>,
    ceiling: Option<&Rate>,
) {
    let (Some(quota), Some(ceiling)) = (quota, ceiling) else { return };
    let Some(span) = raw.ceiling.as_ref().map(At::span).or_else(|| raw.quota.as_ref().map(At::span)) else { return };
    let rates: Vec<&Rate> = match quota {
        QuotaChoice::Fixed(rate) => vec![rate],
        QuotaChoice::ByPlan { plans, otherwise } => plans.values().chain([otherwise]).collect(),
        QuotaChoice::ByReputation(rates) => vec![&rates.good],
    };
    // In the long run: their windows may differ.
    let is_less = |rate: &&Rate| {
        let units = |of: &Rate, window: &Rate| u128::from(of.quota().count()) * window.quota().window().as_nanos();
        units(ceiling, rate) < units(rate, ceiling)
    };
    if rates.iter().any(is_less) {
        let found = Diagnostic::warning(span, "the ceiling is below the quota: who is exempt would be allowed less");
        cx.push(found.hint("a ceiling is what holds a stolen token of theirs: many times the quota"));
    }
}
