//! `[reputation]`, and quotas that go by it (L12).

use std::ops::Range;
use std::time::Duration;

use http::Method;
use portcullis::{ByRepute, LimitRule, Mode, QuotaChoice, ReputationRules, Scope, Weights};
use portcullis_limit::{Quota, Rate};

use super::context::Context;
use super::limits::LOGIN;
use super::quota::Keeping;
use super::transport::network;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, ByChoice, LimitTable, QuotaText, Raw, ReputationTable, Table, WeightsTable};
use crate::config::words::{alternatives, closest};

const MINUTE: Duration = Duration::from_secs(60);
/// Longer, and an address that changes hands would bring its name along.
const LONGEST: Duration = Duration::from_secs(86_400);
/// The classes that a quota may name.
const CLASSES: [&str; 4] = ["good", "suspect", "bad", "challenged"];

/// How addresses are judged.
pub(super) fn rules(cx: &mut Context<'_>, raw: &Raw, limits: &[LimitRule]) -> ReputationRules {
    let none = ReputationTable::default();
    let written = raw.reputation.as_ref();
    let table = written.map_or(&none, Table::get);
    let standard = ReputationRules::default();
    let suspect = points(cx, table.suspect.as_ref(), standard.suspect, 1);
    let bad = points(cx, table.bad.as_ref(), standard.bad.max(suspect), 1);
    if bad < suspect {
        let span = table.bad.as_ref().or(table.suspect.as_ref()).map(At::span);
        cx.push(Diagnostic::error(span, format!("\"bad\" must not be below \"suspect\", which is {suspect}")));
    }
    let weights = weights(cx, table, bad);
    let goes_by_it = |rule: &LimitRule| matches!(rule.quota, QuotaChoice::ByReputation(_));
    if let Some(table) = written
        && !limits.iter().any(goes_by_it)
        && !cx.is_damaged_below("limit")
    {
        let found =
            Diagnostic::warning(table.span(), "no limit goes by reputation, so nothing is remembered of addresses");
        cx.push(
            found.hint("give one a quota = { by = \"reputation\", good = \"100 per minute\", bad = \"5 per minute\" }"),
        );
    }
    ReputationRules {
        half_life: cx.duration(table.half_life.as_ref(), standard.half_life, MINUTE..=LONGEST),
        suspect,
        bad: bad.max(suspect),
        challenged_for: cx.duration(table.challenged_for.as_ref(), standard.challenged_for, Duration::ZERO..=LONGEST),
        weights,
        trusted: table.trusted.iter().flat_map(|list| &list.0).filter_map(|at| network(cx, at)).collect(),
    }
}

fn weights(cx: &mut Context<'_>, table: &ReputationTable, bad: u16) -> Weights {
    let none = WeightsTable::default();
    let (given, standard) = (table.weights.as_ref().map_or(&none, Table::get), Weights::default());
    let mut weight = |written: Option<&At<u64>>, default: u16| {
        let weight = points(cx, written, default.min(bad), 0);
        // More would be cut off at the end of the scale anyway.
        if let Some(at) = written
            && weight > bad
        {
            cx.push(Diagnostic::error(
                at.span(),
                format!("an offence weighs at most as much as \"bad\", which is {bad}"),
            ));
        }
        weight.min(bad)
    };
    Weights {
        denied: weight(given.denied.as_ref(), standard.denied),
        hostile: weight(given.hostile.as_ref(), standard.hostile),
        missing: weight(given.missing.as_ref(), standard.missing),
        refused: weight(given.refused.as_ref(), standard.refused),
        unproven: weight(given.unproven.as_ref(), standard.unproven),
    }
}

fn points(cx: &mut Context<'_>, written: Option<&At<u64>>, default: u16, least: u64) -> u16 {
    u16::try_from(cx.number(written, default.into(), least..=10_000)).unwrap_or(default)
}

/// A limit that is charged before it is known who asks would hold the proven to their neighbours' name.
pub(super) fn check_scope(cx: &mut Context<'_>, raw: &LimitTable, rule: &LimitRule) {
    if matches!(rule.quota, QuotaChoice::ByReputation(_)) && rule.scope == Scope::Verification {
        let span = raw.quota.as_ref().map(At::span);
        let found = Diagnostic::error(span, "a limit of scope \"verification\" cannot go by reputation");
        cx.push(
            found.hint("it is charged before it is known who asks: people would be held to their neighbours' bad name"),
        );
    }
}

/// Whoever has yet to log in has proven nothing, and is held to the name of their address as its attacker is: behind an address
/// that many share, one of them could keep all others from logging in.
pub(super) fn warn_of_login(cx: &mut Context<'_>, table: &Table<LimitTable>, rule: &LimitRule) {
    let goes_by_it = matches!(rule.quota, QuotaChoice::ByReputation(_)) && rule.scope != Scope::Verification;
    if goes_by_it && rule.mode != Mode::Report && rule.counts(&Method::POST, LOGIN) {
        let span = table.get().quota.as_ref().map_or_else(|| table.span(), At::span);
        let what = "whoever has yet to log in behind an address that is bad shares what is left to it";
        let found = Diagnostic::warning(span, what);
        cx.push(
            found.hint("limits of their own cover the login: cost = { \"/auth/**\" = 0, otherwise = 1 } leaves it out"),
        );
    }
}

/// A quota for each class of addresses.
pub(super) fn quota(
    cx: &mut Context<'_>,
    keeping: Keeping<'_>,
    raw: &ByChoice,
    span: &Range<usize>,
) -> Option<QuotaChoice> {
    for (name, at) in raw.choices.iter().filter(|(name, _)| !CLASSES.contains(&name.as_str())) {
        let found = Diagnostic::error(at.span(), format!("there is no class {name:?} of addresses"));
        cx.push(match closest(name, CLASSES) {
            Some(meant) => found.hint(format!("did you mean \"{meant}\"?")),
            None => found.expected(alternatives(CLASSES)),
        });
    }
    let Some(good) = raw.choices.get("good") else {
        let found =
            Diagnostic::error(span.clone(), "\"good\" is missing: most addresses are, and whoever proves an identity");
        cx.push(found.hint("add for example: good = \"100 per minute\""));
        return None;
    };
    let otherwise = raw.otherwise.as_ref().map(|at| at.get().as_str());
    if let Some(at) = raw.otherwise.as_ref().filter(|at| !raw.choices.contains_key(at.get().as_str())) {
        let found = Diagnostic::error(at.span(), format!("there is no class {:?} beside it", at.get().as_str()));
        cx.push(found.expected(alternatives(raw.choices.keys().map(String::as_str))));
        return None;
    }
    let first: Quota = cx.parse(good.get().as_str(), good.span())?;
    let keeping = keeping.shared_from(first);
    // A class that is not written is no better than the one above it.
    let find = |name: &str| raw.choices.get(name).or_else(|| raw.choices.get(otherwise?));
    let good = one(cx, keeping, good, first)?;
    let suspect = find("suspect").map_or(Some(good), |at| one(cx, keeping, at, first))?;
    let bad = find("bad").map_or(Some(suspect), |at| one(cx, keeping, at, first))?;
    let challenged = find("challenged").map_or(Some(good), |at| one(cx, keeping, at, first))?;
    for (name, rate, above, than) in
        [("suspect", suspect, "good", good), ("bad", bad, "suspect", suspect), ("challenged", challenged, "good", good)]
    {
        if rate.quota().count() > than.quota().count() {
            let at = raw.choices.get(name).map_or_else(|| span.clone(), At::span);
            cx.push(Diagnostic::error(
                at,
                format!("addresses that are {name} would be allowed more than {above} ones"),
            ));
        }
    }
    Some(QuotaChoice::ByReputation(Box::new(ByRepute { good, suspect, bad, challenged })))
}

/// One class's rate. All have the window of the first: an address is counted in one place whatever its class is, and windows of
/// several lengths would begin anew there with each change.
fn one(cx: &mut Context<'_>, keeping: Keeping<'_>, at: &At<QuotaText>, first: Quota) -> Option<Rate> {
    let quota: Quota = cx.parse(at.get().as_str(), at.span())?;
    if (quota.window(), quota.period()) != (first.window(), first.period()) {
        let found = Diagnostic::error(at.span(), "the quotas of a limit by reputation must have the same window");
        cx.push(
            found.hint("what an address has used counts on when its class changes, and can only in the same window"),
        );
        return None;
    }
    keeping.rate(cx, at.get().as_str(), &at.span())
}
