//! `[identity.pages]`.

use std::sync::Arc;

use super::context::Context;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{IdentityTable, OneOrMany, PagesTable, Table};
use crate::config::settings::PageSettings;

/// The hosted pages.
pub(super) fn pages(cx: &mut Context<'_>, table: &IdentityTable) -> PageSettings {
    let none = PagesTable::default();
    let given = table.pages.as_ref().map_or(&none, Table::get);
    let standard = PageSettings::default();
    let mut redirects: Vec<Arc<str>> = Vec::new();
    for at in given.redirects.iter().flat_map(|OneOrMany(list)| list) {
        let url = at.get().as_str();
        if let Some(why) = objection(url) {
            let found = Diagnostic::error(at.span(), format!("{url:?} is nowhere that a browser may be sent: {why}"));
            cx.push(found.expected("a URL with a host, such as \"https://app.example.com\""));
        } else {
            if url.starts_with("http://") && !is_here(url) {
                let found = Diagnostic::warning(at.span(), "what is on the way there can be read and changed");
                cx.push(found.hint("write https://"));
            }
            redirects.push(url.into());
        }
    }
    let after_login = given.after_login.as_ref().and_then(|at| {
        let text = at.get().as_str();
        let is_path = text.starts_with('/') && !text.starts_with("//") && is_plain(text);
        let under = |url: &Arc<str>| {
            text.strip_prefix(&**url).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || url.ends_with('/'))
        };
        if is_path || redirects.iter().any(under) {
            return Some(Arc::from(text));
        }
        let found = Diagnostic::error(at.span(), format!("{text:?} is neither a path nor below one of \"redirects\""));
        cx.push(found.hint("write for example \"/\", or list the URL in redirects = […]"));
        None
    });
    PageSettings {
        enabled: given.enabled.as_ref().is_none_or(|at| *at.get()),
        name: given.name.as_ref().and_then(|at| cx.text(at)).map(Arc::from),
        after_login: after_login.unwrap_or(standard.after_login),
        redirects,
    }
}

/// What speaks against a URL in the list, if anything does.
fn objection(url: &str) -> Option<&'static str> {
    let Some((scheme, rest)) = url.split_once("://") else { return Some("it has no host") };
    let host = rest.split('/').next().unwrap_or_default();
    if scheme != "https" && scheme != "http" {
        return Some("it is neither https nor http, in lower case");
    }
    if host.is_empty() || host.contains(['@', '?', '#', '*']) || host.chars().any(|c| c.is_ascii_uppercase()) {
        return Some("its host is not written as browsers write it");
    }
    if rest.contains(['?', '#']) || !is_plain(url) {
        return Some("it holds what can be read in two ways");
    }
    None
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\' && byte != b'\'' && byte != b';' && byte != b',')
}

/// Whether it is on this machine, as for development.
fn is_here(url: &str) -> bool {
    ["http://localhost", "http://127.0.0.1", "http://[::1]"]
        .iter()
        .any(|here| url.strip_prefix(here).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])))
}
