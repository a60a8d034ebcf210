//! `[limits]` and `[[limit]]`, and the presets (L5).

use std::ops::Range;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use portcullis::{KeyPart, LimitHeaders, LimitRule, Mode, Scope};
use portcullis_auth::Issuer;
use portcullis_limit::{MAX_DELAY, Outage};

use super::context::Context;
use super::quota::Keeping;
use super::reputation;
use super::routes::{Roles, patterns, role_reference};
use super::{candidates, exempt, lease, preset, settle, store};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{
    At, KeyText, LimitHeadersName, LimitTable, LimitsTable, ModeName, OneOrMany, OutageName, PresetName, Raw, Table,
};
use crate::config::settings::LimitStore;
use crate::config::words::{alternatives, closest};

/// The file's limits, or the presets where it writes none.
pub(super) struct Limits {
    pub(super) rules: Vec<LimitRule>,
    pub(super) headers: LimitHeaders,
    pub(super) max_keys: usize,
    pub(super) store: Option<LimitStore>,
}

/// What limits refer to.
pub(super) struct Around<'a> {
    pub(super) roles: &'a Roles,
    pub(super) issuers: &'a [Issuer],
    /// The claims of our own tokens.
    pub(super) claims: &'a [&'a str],
    /// Whether the identity endpoints are served.
    pub(super) identity: bool,
    /// Whether any hop is believed about a client's address.
    pub(super) trusts_hops: bool,
}

pub(super) fn limits(cx: &mut Context<'_>, raw: &Raw, around: &Around<'_>) -> Limits {
    let none = LimitsTable::default();
    let table = raw.limits.as_ref().map_or(&none, Table::get);
    let store = store::store(cx, table);
    let headers = match table.headers.as_ref().map(At::get) {
        None | Some(LimitHeadersName::Legacy) => LimitHeaders::Legacy,
        Some(LimitHeadersName::Draft) => LimitHeaders::Draft,
        Some(LimitHeadersName::Both) => LimitHeaders::Both,
        Some(LimitHeadersName::None) => LimitHeaders::Neither,
    };
    let max_keys = cx.count(table.max_keys.as_ref(), 1_000_000, 1_000..=100_000_000);
    let written = raw.limit.as_ref().is_some_and(|limits| !limits.is_empty()) || cx.is_damaged("limit");
    let off = table.preset.as_ref().filter(|at| *at.get() == PresetName::None);
    if !written {
        if let Some(at) = off {
            let found = Diagnostic::warning(at.span(), "there are no limits at all");
            cx.push(found.hint("passwords can then be guessed as fast as the machine answers"));
            return Limits { rules: Vec::new(), headers, max_keys, store };
        }
        let rules = preset::all(around.identity);
        if let (Some(store), Some(at)) = (&store, &table.store) {
            store::refuse_presets(cx, store, &rules, at.span());
        }
        return Limits { rules, headers, max_keys, store };
    }
    let obstacle = lease::obstacle(table, store.as_ref());
    let mut rules: Vec<LimitRule> = Vec::new();
    for (index, table) in raw.limit.iter().flatten().enumerate() {
        let Some(rule) = limit(cx, table, &format!("limit.{index}"), around) else { continue };
        lease::check(cx, table.get(), &rule, obstacle);
        reputation::check_scope(cx, table.get(), &rule);
        warn_of_unproven_keys(cx, table.get(), &rule);
        if around.identity {
            reputation::warn_of_login(cx, table, &rule);
        }
        if rules.iter().any(|other| other.name == rule.name) {
            let span = table.get().name.as_ref().map_or(table.span(), At::span);
            cx.push(Diagnostic::error(span, format!("there are two limits named \"{}\"", rule.name)));
        }
        if let Some(store) = &store {
            store::refuse_what_it_cannot_carry(cx, store, &rule, table);
        }
        rules.push(rule);
    }
    // A limit that was found wrong may be the one that fills the gap.
    if rules.len() == raw.limit.as_ref().map_or(0, Vec::len) && !cx.is_damaged_below("limit") {
        warn_of_gaps(cx, &rules, raw, around.identity);
        candidates::check(cx, &rules, raw);
    }
    Limits { rules, headers, max_keys, store }
}

/// Where a password is asked for.
pub(super) const LOGIN: &str = "/auth/login";

/// Writing one limit turns the presets off; what they shielded may then stand open.
fn warn_of_gaps(cx: &mut Context<'_>, rules: &[LimitRule], raw: &Raw, identity: bool) {
    let span = raw.limit.iter().flatten().next().map(Table::span);
    if rules.iter().all(|rule| rule.mode != Mode::Enforce) {
        let found =
            Diagnostic::warning(span.clone(), "no limit is enforced: they report or slow down, and refuse nobody");
        cx.push(found);
    }
    // Whoever guesses is answered 401 and presents no token, or one of an account of their own.
    let covers_login = |rule: &LimitRule| rule.bounds(&Method::POST, LOGIN, StatusCode::UNAUTHORIZED);
    if identity && !rules.iter().any(covers_login) {
        let found = Diagnostic::warning(
            span.clone(),
            "no limit shields POST /auth/login from guesses: the preset limits apply only where the file writes none",
        );
        cx.push(found.hint("add: [[limit]] preset = \"login\""));
    }
    if !rules.iter().any(|rule| rule.scope == Scope::Verification && rule.mode == Mode::Enforce) {
        let found = Diagnostic::warning(span, "no limit shields the verification of tokens");
        cx.push(found.hint("add: [[limit]] preset = \"verify\""));
    }
}

/// Where nobody is proven, what only a credential tells is replaced by the address.
fn warn_of_unproven_keys(cx: &mut Context<'_>, raw: &LimitTable, rule: &LimitRule) {
    let known = |part: &KeyPart| matches!(part, KeyPart::Address | KeyPart::Route | KeyPart::Header(_));
    let why = match rule.scope {
        Scope::Everyone => return,
        Scope::Anonymous => "a limit of scope \"anonymous\" counts only who proves no identity",
        Scope::Verification => "a limit of scope \"verification\" counts before anybody is proven",
    };
    let Some(part) = rule.key.iter().find(|part| !known(part)) else { return };
    let written = raw.key.as_ref().and_then(|list| list.0.first()).map(At::span);
    let Some(span) = written.or_else(|| raw.scope.as_ref().map(At::span)) else { return };
    let found = Diagnostic::warning(span, format!("{why}: the address stands in for \"{part}\""));
    cx.push(found.hint("write key = \"address\", or remove the scope"));
}

fn limit(cx: &mut Context<'_>, table: &Table<LimitTable>, path: &str, around: &Around<'_>) -> Option<LimitRule> {
    let (raw, span) = (table.get(), table.span());
    let base = raw.preset.as_ref().and_then(|at| {
        let name = at.get().as_str();
        let found = preset::named(name);
        if found.is_none() {
            let wrong = Diagnostic::error(at.span(), format!("there is no preset limit {name:?}"));
            cx.push(match closest(name, preset::NAMES) {
                Some(meant) => wrong.hint(format!("did you mean \"{meant}\"?")),
                None => wrong.expected(alternatives(preset::NAMES)),
            });
        }
        found
    });
    // A preset that is misspelt was told; what it would have brought is then no mistake of its own.
    let starts_from_preset = raw.preset.is_some() || cx.is_damaged(&format!("{path}.preset"));
    let name = match &raw.name {
        Some(at) => cx.name(at).map(Into::into),
        None => base.as_ref().map(|base| base.name.clone()),
    };
    if raw.name.is_none() && !starts_from_preset {
        cx.missing(path, "name", span.clone(), "name = \"export\"");
    }
    if raw.quota.is_none() && !starts_from_preset {
        cx.missing(path, "quota", span.clone(), "quota = \"100 per minute\"");
    }
    let patterns = match (&raw.pattern, &base) {
        (None, Some(base)) => base.patterns.clone(),
        (None, None) => preset::everything(),
        (written, _) => patterns(cx, written.as_ref(), path, &span).into_iter().map(|(pattern, _)| pattern).collect(),
    };
    let key = match (&raw.key, &base) {
        (Some(list), _) => key(cx, list, &span, around),
        (None, Some(base)) => base.key.clone(),
        (None, None) => vec![KeyPart::Address],
    };
    let keeping = Keeping::of(cx, raw, base.as_ref());
    let quota = keeping.quota(cx, raw, base.as_ref(), &span);
    let exempt: Vec<Box<str>> = match (&raw.exempt, &base) {
        (Some(list), _) => list.0.iter().filter_map(|at| role_reference(cx, at, around.roles)).collect(),
        (None, Some(base)) => base.exempt.clone(),
        (None, None) => Vec::new(),
    };
    let ceiling = match &raw.ceiling {
        Some(at) => keeping.of_ceiling().rate(cx, at.get().as_str(), &at.span()),
        // Whoever says that there is none does not mean the preset's.
        None if raw.danger_no_ceiling.as_ref().is_some_and(|at| *at.get()) => None,
        None => base.as_ref().and_then(|base| base.ceiling).map(|ceiling| keeping.preset_ceiling(ceiling)),
    };
    let exempt_addresses = exempt::addresses(cx, raw, base.as_ref(), around.trusts_hops);
    exempt::check_ceiling(cx, raw, !exempt.is_empty() || !exempt_addresses.is_empty(), ceiling.as_ref(), path);
    exempt::warn_of_a_low_ceiling(cx, raw, quota.as_ref(), ceiling.as_ref());
    let count = settle::count(cx, raw, base.as_ref());
    let room = quota.as_ref().map_or(u64::MAX, |quota| settle::room(quota, ceiling.as_ref()));
    let cost = settle::cost(cx, raw, base.as_ref(), room, &patterns);
    let mode = mode(cx, raw, path, &span);
    let message =
        raw.message.as_ref().and_then(|at| cx.text(at)).or_else(|| base.as_ref().and_then(|base| base.message.clone()));
    Some(LimitRule {
        name: name?,
        patterns,
        key,
        quota: quota?,
        count,
        cost,
        exempt,
        exempt_addresses,
        ceiling,
        mode: mode?,
        scope: settle::scope(raw, base.as_ref()),
        outage: match raw.outage.as_ref().map(At::get) {
            None => base.as_ref().map_or(Outage::Local, |base| base.outage),
            Some(OutageName::Local) => Outage::Local,
            Some(OutageName::Open) => Outage::Open,
            Some(OutageName::Closed) => Outage::Closed,
        },
        lease: raw.lease.as_ref().is_some_and(|at| *at.get()),
        message,
        replaces: raw.replaces.as_ref().and_then(|at| cx.name(at)).map(Into::into),
    })
}

/// What it does with a request over the quota; a wait goes with mode `delay` only.
fn mode(cx: &mut Context<'_>, raw: &LimitTable, path: &str, span: &Range<usize>) -> Option<Mode> {
    let written = raw.mode.as_ref().map_or(ModeName::Enforce, |at| *at.get());
    if written != ModeName::Delay {
        if let Some(at) = &raw.delay {
            let found = Diagnostic::error(at.span(), "\"delay\" means nothing for a limit that slows nobody down");
            cx.push(found.hint("add mode = \"delay\", or remove it"));
        }
        return Some(if written == ModeName::Report { Mode::Report } else { Mode::Enforce });
    }
    if raw.delay.is_none() {
        cx.missing(path, "delay", span.clone(), "delay = \"500ms\"");
        return None;
    }
    Some(Mode::Delay(cx.duration(raw.delay.as_ref(), MAX_DELAY, Duration::from_millis(1)..=MAX_DELAY)))
}

fn key(cx: &mut Context<'_>, list: &OneOrMany<KeyText>, span: &Range<usize>, around: &Around<'_>) -> Vec<KeyPart> {
    let mut parts = Vec::new();
    for at in &list.0 {
        // A part that a request lacks is replaced by its address, so "user or address" is what "user" does anyway.
        let text = at.get().as_str();
        let bare = text.strip_suffix(" or address").unwrap_or(text);
        let part = match bare.split_once(':') {
            None => match bare {
                "address" => Some(KeyPart::Address),
                "user" => Some(KeyPart::User),
                "api-key" => Some(KeyPart::ApiKey),
                "session" => Some(KeyPart::Session),
                "plan" => Some(KeyPart::Plan),
                "role" => Some(KeyPart::Role),
                "route" => Some(KeyPart::Route),
                _ => None,
            },
            Some(("header", name)) => name.trim().parse::<HeaderName>().ok().map(KeyPart::Header),
            Some(("claim", name)) if !name.trim().is_empty() => {
                let name = name.trim();
                let keeps = |issuer: &Issuer| issuer.claims.keep.iter().any(|kept| &**kept == name);
                if !around.claims.contains(&name) && !around.issuers.iter().any(keeps) {
                    let found = Diagnostic::warning(at.span(), format!("no issuer keeps the claim {name:?}"));
                    cx.push(found.hint("every request then counts by its address; add it to claims = { keep = […] }"));
                }
                Some(KeyPart::Claim(name.into()))
            }
            Some(_) => None,
        };
        let Some(part) = part else {
            let words = [
                "address",
                "user",
                "api-key",
                "session",
                "plan",
                "role",
                "route",
                "header:NAME",
                "claim:NAME",
                "user or address",
            ];
            let found = Diagnostic::error(at.span(), format!("{text:?} is nothing that a limit can count by"));
            cx.push(match closest(text, words) {
                Some(meant) => found.hint(format!("did you mean \"{meant}\"?")),
                None => found.expected(alternatives(words)),
            });
            continue;
        };
        if parts.contains(&part) {
            cx.push(Diagnostic::error(at.span(), format!("{text:?} is written twice")));
        } else {
            parts.push(part);
        }
    }
    if parts.is_empty() {
        if list.0.is_empty() {
            cx.push(
                Diagnostic::error(span.clone(), "an empty key would count everyone together")
                    .hint("add key = \"address\""),
            );
        }
        return vec![KeyPart::Address];
    }
    if parts.iter().all(|part| matches!(part, KeyPart::Header(_) | KeyPart::Route))
        && parts.iter().any(|part| matches!(part, KeyPart::Header(_)))
    {
        let found =
            Diagnostic::warning(list.0[0].span(), "a client chooses the header freely, so the limit bounds nothing");
        cx.push(found.hint("count by the address as well: key = [\"address\", \"header:…\"]"));
    }
    parts
}
