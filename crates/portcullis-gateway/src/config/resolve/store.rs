//! `[limits] store`: where instances count together.

use std::time::Duration;

use portcullis_limit::{PATIENCE, RedisOptions};

use super::context::Context;
use super::secrets::{self, Origin};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, LimitsTable};
use crate::config::settings::LimitStore;

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
    let mut options = match RedisOptions::parse(at.get().as_str()) {
        Ok(options) => options,
        Err(error) => {
            // It may hold a password, so that none of it is shown.
            let found = Diagnostic::error(at.span(), format!("this is not a store: {error}")).concealed();
            cx.push(found.expected("\"memory\" or \"redis://HOST\"").hint("docs/redis.md has every form"));
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
    let is_named = table.password_file.is_some()
        || [PASSWORD.to_owned(), format!("{PASSWORD}_FILE")].iter().any(|name| cx.outside.variable(name).is_some());
    if is_named {
        let origin = Origin { file: table.password_file.as_ref(), variable: None, fallback: Some(PASSWORD) };
        options = options.password(secrets::foreign(cx, "password of the store", &origin)?);
    }
    if let Some(at) = &table.ca_file {
        if !options.is_tls() {
            let found = Diagnostic::error(at.span(), "without TLS there is no certificate to check");
            cx.push(found.hint("write rediss: in place of redis:, or remove \"ca_file\""));
        }
        options = options.ca_file(cx.path(at));
    }
    let bounds = Duration::from_millis(5)..=Duration::from_secs(1);
    let patience = cx.duration(table.patience.as_ref(), PATIENCE, bounds);
    Some(LimitStore { options: options.timeout(patience), patience })
}
