//! What a request costs a limit, and which requests stay counted (L6).

use std::ops::Range;

use http::HeaderName;
use portcullis::{Cost, Count, LimitRule, Pattern, QuotaChoice, Scope, Statuses};
use portcullis_limit::Rate;

use super::context::Context;
use super::routes::place;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, CostChoice, CostTable, CountChoice, CountName, LimitTable, ScopeName, StatusText};

/// The most that anything may cost.
const MOST: u64 = 1_000_000;

/// What is written, or what the preset says. The quota has to have room for it.
pub(super) fn cost(
    cx: &mut Context<'_>,
    raw: &LimitTable,
    base: Option<&LimitRule>,
    room: u64,
    patterns: &[Pattern],
) -> Cost {
    let plain = || base.map_or(Cost::Fixed(1), |base| base.cost.clone());
    let Some(at) = &raw.cost else { return plain() };
    let priced = match at.get() {
        CostChoice::Same(cost) => {
            let cost = bounded(cx, *cost, at.span(), 1, MOST).unwrap_or(1);
            Some((Cost::Fixed(cost), at.span()))
        }
        CostChoice::Table(table) if table.header.is_some() => told(cx, table, at.span()),
        CostChoice::Table(table) => by_request(cx, table, at.span(), patterns),
    };
    let Some((cost, dearest)) = priced else { return plain() };
    if cost.most() > room {
        cx.push(Diagnostic::error(dearest, "one request costs more than the whole quota, so none could ever pass"));
    }
    if matches!(cost, Cost::Told { .. }) && scope(raw, base) == Scope::Verification {
        let found = Diagnostic::error(at.span(), "a limit of verifications cannot wait for the answer's cost");
        cx.push(found.hint("what it shields is over before there is an answer; write a number"));
    }
    cost
}

/// The cost by header, and where its most is written.
fn told(cx: &mut Context<'_>, table: &CostTable, span: Range<usize>) -> Option<(Cost, Range<usize>)> {
    for (text, at) in &table.requests {
        let found = Diagnostic::error(at.span(), format!("{text:?} cannot stand beside \"header\""));
        cx.push(found.hint("a cost goes by the request or by a header of the answer; write a limit for each"));
    }
    let at = table.header.as_ref()?;
    let header = at.get().as_str().parse::<HeaderName>();
    if header.is_err() {
        cx.push(Diagnostic::error(at.span(), format!("{:?} is not a header name", at.get().as_str())));
    }
    let Some(most) = &table.at_most else {
        let found = Diagnostic::error(span, "\"at_most\" is missing: it is charged until the answer tells the cost");
        cx.push(found.hint("add for example: at_most = 100"));
        return None;
    };
    let at_most = bounded(cx, *most.get(), most.span(), 1, MOST)?;
    let otherwise = match &table.otherwise {
        None => 1,
        Some(at) => bounded(cx, *at.get(), at.span(), 0, at_most)?,
    };
    Some((Cost::Told { header: header.ok()?, at_most, otherwise }, most.span()))
}

/// The cost by request, and where the highest is written.
fn by_request(
    cx: &mut Context<'_>,
    table: &CostTable,
    span: Range<usize>,
    patterns: &[Pattern],
) -> Option<(Cost, Range<usize>)> {
    if let Some(at) = &table.at_most {
        let found = Diagnostic::error(at.span(), "\"at_most\" means nothing without \"header\"");
        cx.push(found.hint("add for example: header = \"X-Rows\""));
        return None;
    }
    if table.requests.is_empty() {
        let found = Diagnostic::error(span.clone(), "no request is named that costs something");
        cx.push(found.hint("write for example: cost = { \"GET /export\" = 10, otherwise = 1 }"));
        return None;
    }
    let (mut requests, mut places) = (Vec::new(), Vec::new());
    let (mut dearest, mut most) = (span.clone(), 0);
    // In the order of the file, so that of two that are the same the later one is told.
    let mut written: Vec<_> = table.requests.iter().collect();
    written.sort_by_key(|(_, at)| at.span().start);
    for (text, at) in written {
        let Some(pattern) = cx.parse::<Pattern>(text, at.span()) else { continue };
        let Some(cost) = bounded(cx, *at.get(), at.span(), 0, MOST) else { continue };
        let here = place(&pattern, true);
        if places.contains(&here) {
            cx.push(Diagnostic::error(at.span(), format!("{text:?} has another cost already")));
            continue;
        }
        places.push(here);
        // Without any good pattern of the limit there is nothing to compare with.
        if !patterns.is_empty() && !patterns.iter().any(|covered| covered.meets(&pattern)) {
            let found = Diagnostic::warning(at.span(), format!("the limit covers no request of {text:?}"));
            cx.push(found.hint("add it to \"match\", or remove its cost"));
        }
        if cost > most {
            (dearest, most) = (at.span(), cost);
        }
        requests.push((pattern, cost));
    }
    let otherwise = match &table.otherwise {
        None => 1,
        Some(at) => bounded(cx, *at.get(), at.span(), 0, MOST)?,
    };
    if most == 0 && otherwise == 0 && requests.len() == table.requests.len() {
        let found = Diagnostic::error(span, "every request costs nothing, so the limit would count none");
        cx.push(found.hint("write 1 or more for what it is to count, or remove the limit"));
        return None;
    }
    if let Some(at) = table.otherwise.as_ref().filter(|_| otherwise > most) {
        dearest = at.span();
    }
    Some((Cost::ByRequest { requests, otherwise }, dearest))
}

fn bounded(cx: &mut Context<'_>, number: u64, span: Range<usize>, least: u64, most: u64) -> Option<u64> {
    if (least..=most).contains(&number) {
        return Some(number);
    }
    let found = Diagnostic::error(span, format!("{number} is out of bounds"));
    cx.push(found.expected(format!("a number from {least} to {most}")));
    None
}

/// The units that the smallest of all quotas has room for.
pub(super) fn room(quota: &QuotaChoice, ceiling: Option<&Rate>) -> u64 {
    let smallest = match quota {
        QuotaChoice::Fixed(rate) => rate.capacity(),
        QuotaChoice::ByPlan { plans, otherwise } => {
            plans.values().chain([otherwise]).map(Rate::capacity).min().unwrap_or(u64::MAX)
        }
        QuotaChoice::ByReputation(rates) => {
            rates.named().map(|(_, rate)| rate.capacity()).into_iter().min().unwrap_or(u64::MAX)
        }
    };
    ceiling.map_or(smallest, |ceiling| smallest.min(ceiling.capacity()))
}

/// What is written, or what the preset says.
pub(super) fn count(cx: &mut Context<'_>, raw: &LimitTable, base: Option<&LimitRule>) -> Count {
    let plain = base.map_or(Count::All, |base| base.count);
    let Some(at) = &raw.count else { return plain };
    let count = match at.get() {
        CountChoice::Word(CountName::All) => Some(Count::All),
        CountChoice::Word(CountName::Failures) => Some(Count::Failures),
        CountChoice::Word(CountName::Denials) => Some(Count::Denials),
        CountChoice::Word(CountName::Successes) => Some(Count::Successes),
        CountChoice::Statuses(list) => statuses(cx, list, at.span()).map(Count::Statuses),
        // A misspelt "except" was told.
        CountChoice::Except(list) if list.is_empty() && cx.is_damaged_below("limit") => None,
        CountChoice::Except(list) => {
            let rest = statuses(cx, list, at.span()).map(Statuses::complement);
            if rest == Some(Statuses::default()) {
                cx.push(Diagnostic::error(at.span(), "no request would stay counted"));
            }
            rest.map(Count::Statuses)
        }
    };
    if count.is_some_and(|count| count != Count::All) && scope(raw, base) == Scope::Verification {
        let found = Diagnostic::error(at.span(), "\"count\" means nothing for a limit of verifications");
        cx.push(found.hint("a token that had to be verified is counted whatever becomes of the request"));
    }
    count.unwrap_or(plain)
}

/// A list of codes and classes.
fn statuses(cx: &mut Context<'_>, list: &[At<StatusText>], span: Range<usize>) -> Option<Statuses> {
    if list.is_empty() {
        let found = Diagnostic::error(span, "the list of status codes is empty");
        cx.push(found.hint("write for example: count = [401, 403, \"5xx\"]"));
        return None;
    }
    let mut set = Statuses::default();
    let mut good = true;
    for at in list {
        let Some((first, last)) = status(cx, at) else {
            good = false;
            continue;
        };
        let mut these = Statuses::default();
        these.insert(first, last);
        if these.runs().any(|(first, last)| set.overlaps(first, last)) {
            cx.push(Diagnostic::error(at.span(), "a status code stands twice in the list"));
            good = false;
        }
        set.insert(first, last);
    }
    good.then_some(set)
}

/// The first and the last code that are meant.
fn status(cx: &mut Context<'_>, at: &At<StatusText>) -> Option<(u16, u16)> {
    let (shown, code) = match at.get() {
        StatusText::Code(code) => (code.to_string(), Some(*code)),
        StatusText::Text(text) => {
            let class = text.strip_suffix("xx").and_then(|digit| digit.parse::<u16>().ok());
            if let Some(class @ 1..=5) = class {
                return Some((class * 100, class * 100 + 99));
            }
            (format!("{text:?}"), None)
        }
    };
    if let Some(code) = code.and_then(|code| u16::try_from(code).ok()).filter(|code| (100..=599).contains(code)) {
        return Some((code, code));
    }
    let found = Diagnostic::error(at.span(), format!("{shown} is no status code"));
    cx.push(match at.get() {
        StatusText::Text(text) if text.parse::<u16>().is_ok_and(|code| (100..=599).contains(&code)) => {
            found.hint(format!("write it as a number: {text}"))
        }
        StatusText::Text(text) if matches!(text.as_str(), "all" | "failures" | "denials" | "successes") => {
            found.hint(format!("a word stands alone: count = {text:?}"))
        }
        _ => found.expected("a number from 100 to 599, or a class such as \"5xx\""),
    });
    None
}

/// Whom the limit counts.
pub(super) fn scope(raw: &LimitTable, base: Option<&LimitRule>) -> Scope {
    match raw.scope.as_ref().map(At::get) {
        None => base.map_or(Scope::Everyone, |base| base.scope),
        Some(ScopeName::Everyone) => Scope::Everyone,
        Some(ScopeName::Anonymous) => Scope::Anonymous,
        Some(ScopeName::Verification) => Scope::Verification,
    }
}
