//! `[csrf]`.

use std::time::Duration;

use http::HeaderName;
use portcullis_shield::csrf::CsrfRules;

use super::context::Context;
use super::headers::own_header;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, CsrfMode, CsrfTable, HeaderText, OneOrMany, Raw, Table};
use crate::identity_api::origin_of;

/// The longest name of a field that somebody may want.
const LONGEST_FIELD: usize = 64;

/// What is asked of requests that a cookie authenticates.
pub(super) fn rules(cx: &mut Context<'_>, raw: &Raw, public_url: &str) -> CsrfRules {
    let none = CsrfTable::default();
    let table = raw.csrf.as_ref().map_or(&none, Table::get);
    let standard = CsrfRules::default();
    let token = table.mode.as_ref().is_none_or(|at| *at.get() == CsrfMode::Token);
    if let Some(at) = table.mode.as_ref().filter(|_| !token) {
        let found = Diagnostic::warning(at.span(), "a cookie's unsafe requests need no token, only the right origin");
        cx.push(
            found.hint("browsers that send neither Origin nor Sec-Fetch-Site are then obeyed whoever's page they show"),
        );
    }
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let life = cx.duration(table.life.as_ref(), standard.life, minutes(5)..=minutes(24 * 60));
    let field = table.field.as_ref().and_then(|at| {
        let text = at.get().as_str();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[]".contains(&byte);
        if !text.is_empty() && text.len() <= LONGEST_FIELD && text.bytes().all(plain) {
            return Some(text.into());
        }
        let found = Diagnostic::error(at.span(), format!("{text:?} is not the name of a field"));
        cx.push(found.expected("up to 64 letters, digits, \"-\", \"_\", \".\", \"[\" or \"]\""));
        None
    });
    let mut trusted_origins: Vec<Box<str>> = Vec::new();
    for at in table.trusted_origins.iter().flat_map(|OneOrMany(list)| list) {
        let text = at.get().as_str();
        if let Some(why) = objection(text, public_url) {
            let found = Diagnostic::error(at.span(), format!("{text:?} cannot be trusted: {why}"));
            cx.push(found.expected("an origin as browsers write it, such as \"https://app.example.com\""));
        } else {
            trusted_origins.push(text.into());
        }
    }
    CsrfRules {
        token,
        header: header(cx, table.header.as_ref()).unwrap_or(standard.header),
        field: field.unwrap_or(standard.field),
        life,
        trusted_origins,
        to_upstream: header(cx, table.to_upstream.as_ref()),
    }
}

fn header(cx: &mut Context<'_>, at: Option<&At<HeaderText>>) -> Option<HeaderName> {
    own_header(cx, at?, "X-CSRF-Token")
}

/// What speaks against an origin in the list, if anything does.
fn objection(text: &str, public_url: &str) -> Option<&'static str> {
    let Some((scheme, authority)) = text.split_once("://") else { return Some("it has no scheme and host") };
    match scheme {
        "https" => {}
        // Whoever is on the way could put a page of theirs there, and every cookie would obey it.
        "http" if public_url.starts_with("https://") => return Some("anybody on the way can change its pages"),
        "http" => {}
        _ => return Some("it is neither https nor http, in lower case"),
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:[]".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(plain) {
        return Some("it is not a scheme, a host and perhaps a port, in lower case");
    }
    (origin_of(text) != text).then_some("browsers leave the default port away")
}
