//! `[limits] store`: where instances count together.

use std::ops::Range;
use std::time::Duration;

use portcullis::LimitRule;
use portcullis_limit::{Algorithm, MemcachedOptions, MemcachedStore, NotCarried, PATIENCE, RedisOptions};

use super::context::Context;
use super::secrets::{self, Origin};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, LimitTable, LimitsTable, Table, Text};
use crate::config::settings::{LimitStore, StoreOptions, rates};

/// The variable that holds the password where the file names no other place; also with `_FILE` behind it.
const PASSWORD: &str = "PORTCULLIS_LIMITS_PASSWORD";

/// The shared store; `None` for this process's memory, and where what is said of it is wrong.
pub(super) fn store(cx: &mut Context<'_>, table: &LimitsTable) -> Option<LimitStore> {
    let at = table.store.as_ref().filter(|at| at.get().as_str() != "memory");
    let Some(at) = at else {
        let named = [table.password_file.as_ref().map(At::span), table.ca_file.as_ref().map(At::span)];
        for span in named.into_iter().flatten().chain(table.patience.as_ref().map(At::span)) {
            let found = Diagnostic::error(span, "this belongs to a shared store, and there is none");
            cx.push(found.hint("add for example store = \"redis://127.0.0.1\", or remove it"));
        }
        return None;
    };
    let bounds = Duration::from_millis(5)..=Duration::from_secs(1);
    let patience = cx.duration(table.patience.as_ref(), PATIENCE, bounds);
    let options = if MemcachedOptions::is_meant(at.get().as_str()) {
        StoreOptions::Memcached(memcached(cx, table, at)?.timeout(patience))
    } else {
        StoreOptions::Redis(redis(cx, table, at)?.timeout(patience))
    };
    Some(LimitStore { options, patience })
}

fn redis(cx: &mut Context<'_>, table: &LimitsTable, at: &At<Text>) -> Option<RedisOptions> {
    let mut options = match RedisOptions::parse(at.get().as_str()) {
        Ok(options) => options,
        Err(error) => {
            // It may hold a password, so that none of it is shown.
            let found = Diagnostic::error(at.span(), format!("this is not a store: {error}")).concealed();
            let found = found.expected("\"memory\", \"redis://HOST\" or \"memcached://HOST\"");
            cx.push(found.hint("docs/redis.md and docs/memcached.md have every form"));
            return None;
        }
    };
    if options.holds_password() {
        let found = Diagnostic::warning(at.span(), "the password of the store stands in this file").concealed();
        cx.push(found.hint(format!("leave it out and name a file with \"password_file\", or set {PASSWORD}")));
    }
    if options.is_exposed() {
        let found = Diagnostic::warning(at.span(), "the way to the store is not protected").concealed();
        cx.push(found.hint("write rediss: in place of redis:, and ca_file for a certificate authority of your own"));
    }
    if is_password_named(cx, table) {
        let origin = Origin { file: table.password_file.as_ref(), variable: None, fallback: Some(PASSWORD) };
        options = options.password(secrets::foreign(cx, "password of the store", &origin)?);
    }
    check_ca_file(cx, table, options.is_tls(), "write rediss: in place of redis:, or remove \"ca_file\"");
    if let Some(at) = &table.ca_file {
        options = options.ca_file(cx.path(at));
    }
    Some(options)
}

fn memcached(cx: &mut Context<'_>, table: &LimitsTable, at: &At<Text>) -> Option<MemcachedOptions> {
    let mut options = match MemcachedOptions::parse(at.get().as_str()) {
        Ok(options) => options,
        Err(error) => {
            // Somebody may have written a password nevertheless, so that none of it is shown.
            let found = Diagnostic::error(at.span(), format!("this is not a store: {error}")).concealed();
            cx.push(found.expected("\"memcached://HOST\"").hint("docs/memcached.md has every form"));
            return None;
        }
    };
    if options.is_exposed() {
        let found = Diagnostic::warning(at.span(), "the way to the store is not protected");
        cx.push(
            found.hint(
                "write memcacheds: in place of memcached:, and let nobody else reach it: it asks for no password",
            ),
        );
    }
    if is_password_named(cx, table) {
        let span = table.password_file.as_ref().map_or_else(|| at.span(), At::span);
        let found = Diagnostic::error(span, "memcached is told no password: SASL is not spoken");
        cx.push(found.hint(format!("remove \"password_file\" or {PASSWORD}, and protect its network; or use Redis")));
    }
    check_ca_file(cx, table, options.is_tls(), "write memcacheds: in place of memcached:, or remove \"ca_file\"");
    if let Some(at) = &table.ca_file {
        options = options.ca_file(cx.path(at));
    }
    Some(options)
}

fn is_password_named(cx: &Context<'_>, table: &LimitsTable) -> bool {
    let variables = [PASSWORD.to_owned(), format!("{PASSWORD}_FILE")];
    table.password_file.is_some() || variables.iter().any(|name| cx.outside.variable(name).is_some())
}

fn check_ca_file(cx: &mut Context<'_>, table: &LimitsTable, is_tls: bool, hint: &str) {
    if let Some(at) = table.ca_file.as_ref().filter(|_| !is_tls) {
        cx.push(Diagnostic::error(at.span(), "without TLS there is no certificate to check").hint(hint));
    }
}

/// Why a store does not count by a limit, if it does not.
fn not_carried(store: &LimitStore, rule: &LimitRule) -> Option<NotCarried> {
    match &store.options {
        StoreOptions::Redis(_) => None,
        StoreOptions::Memcached(_) => rates(rule).find_map(|rate| MemcachedStore::carries(rate).err()),
    }
}

/// A limit by which the store does not count is refused, where its algorithm or its quota is written or comes from.
pub(super) fn refuse_what_it_cannot_carry(
    cx: &mut Context<'_>,
    store: &LimitStore,
    rule: &LimitRule,
    table: &Table<LimitTable>,
) {
    let Some(why) = not_carried(store, rule) else { return };
    let raw = table.get();
    let spans = match why {
        NotCarried::Algorithm(_) => [raw.algorithm.as_ref().map(At::span), raw.preset.as_ref().map(At::span)],
        NotCarried::Window => [raw.quota.as_ref().map(At::span), raw.ceiling.as_ref().map(At::span)],
    };
    let span = spans.into_iter().flatten().next().unwrap_or_else(|| table.span());
    let hint = match why {
        NotCarried::Window => "ask for as many in a longer window, or count in Redis or in memory".to_owned(),
        NotCarried::Algorithm(_) => {
            format!("write algorithm = \"{}\", or count in Redis or in memory", Algorithm::FixedWindow)
        }
    };
    cx.push(Diagnostic::error(span, why.to_string()).hint(hint));
}

/// The presets apply because the file writes no limit, and the store does not count by them.
pub(super) fn refuse_presets(cx: &mut Context<'_>, store: &LimitStore, rules: &[LimitRule], span: Range<usize>) {
    let Some(why) = rules.iter().find_map(|rule| not_carried(store, rule)) else { return };
    let found = Diagnostic::error(span, format!("the preset limits cannot be counted there: {why}"));
    let hint =
        "write each as [[limit]] preset = \"login\" algorithm = \"fixed-window\"; docs/memcached.md has them all";
    cx.push(found.hint(hint));
}
