//! `[cors]` and `[route.cors]`.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use portcullis::RouteCors;
use portcullis_shield::{Cors, CorsRules, OriginPattern};

use super::context::Context;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, CorsTable, HeaderText, OneOrMany, OriginText, Raw, ShortOrLong, Text};

/// What the pages of an API need: its own media types, and every way in which this gate takes a credential.
const ALLOWED: [HeaderName; 4] = [
    HeaderName::from_static("authorization"),
    HeaderName::from_static("content-type"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-csrf-token"),
];

const DEFAULT_MAX_AGE: Duration = Duration::from_secs(600);
/// No browser remembers it for longer.
const LONGEST: Duration = Duration::from_secs(86_400);

/// The rules for everything; `None` where there are none.
pub(super) fn cors(cx: &mut Context<'_>, raw: &Raw) -> Option<CorsRules> {
    let table = raw.cors.as_ref()?;
    if table.get().origins.is_none() {
        cx.missing("cors", "origins", table.span(), "origins = [\"https://app.example.com\"]");
    }
    rules(cx, table.get(), None)
}

/// A route's own rules, laid over those for everything.
pub(super) fn of_route(
    cx: &mut Context<'_>,
    written: &At<ShortOrLong<Text, CorsTable>>,
    common: Option<&CorsRules>,
    path: &str,
) -> RouteCors {
    match written.get() {
        ShortOrLong::Short(text) => {
            if text.as_str() != "upstream" {
                let found = Diagnostic::error(written.span(), format!("{:?} is not a choice here", text.as_str()));
                cx.push(found.expected("\"upstream\", or a table such as { origins = [\"https://app.example.com\"] }"));
            }
            RouteCors::Upstream
        }
        ShortOrLong::Long(table) => {
            if table.origins.is_none() && common.is_none() {
                let example = "origins = [\"https://app.example.com\"]";
                cx.missing(&format!("{path}.cors"), "origins", written.span(), example);
            }
            rules(cx, table, common).map_or(RouteCors::Upstream, |rules| RouteCors::Own(Arc::new(Cors::new(rules))))
        }
    }
}

fn rules(cx: &mut Context<'_>, table: &CorsTable, below: Option<&CorsRules>) -> Option<CorsRules> {
    let origins = match &table.origins {
        Some(list) => origins(cx, list),
        None => below?.origins.clone(),
    };
    let yes = |at: &Option<At<bool>>, otherwise: Option<bool>| {
        at.as_ref().map(|at| *at.get()).or(otherwise).unwrap_or_default()
    };
    let credentials = yes(&table.credentials, below.map(|below| below.credentials));
    if credentials && origins.contains(&OriginPattern::Any) {
        let star = table.origins.iter().flat_map(|list| &list.0).find(|at| at.get().as_str() == "*").map(At::span);
        let span = table.credentials.as_ref().map(At::span).or(star);
        let found = Diagnostic::error(span, "every page of the world could act as whoever looks at it");
        cx.push(found.hint("list the origins that may send cookies, or write credentials = false"));
    }
    let allow_headers = match &table.allow_headers {
        Some(list) => names(cx, list),
        None => below.map_or_else(|| ALLOWED.to_vec(), |below| below.allow_headers.clone()),
    };
    let expose_headers = match &table.expose_headers {
        Some(list) => names(cx, list),
        None => below.map(|below| below.expose_headers.clone()).unwrap_or_default(),
    };
    let max_age = below.map_or(DEFAULT_MAX_AGE, |below| below.max_age);
    Some(CorsRules {
        origins,
        credentials,
        allow_headers,
        expose_headers,
        max_age: cx.duration(table.max_age.as_ref(), max_age, Duration::ZERO..=LONGEST),
        private_network: yes(&table.private_network, below.map(|below| below.private_network)),
    })
}

fn origins(cx: &mut Context<'_>, OneOrMany(list): &OneOrMany<OriginText>) -> Vec<OriginPattern> {
    let mut origins = Vec::with_capacity(list.len());
    for at in list {
        let text = at.get().as_str();
        let origin = match text.parse::<OriginPattern>() {
            Ok(origin) => origin,
            Err(error) => {
                let found = Diagnostic::error(at.span(), format!("{text:?} is not the origin of a page"));
                cx.push(found.hint(error.to_string()));
                continue;
            }
        };
        if origins.contains(&origin) {
            cx.push(Diagnostic::warning(at.span(), format!("{text:?} stands there twice")));
            continue;
        }
        if origin.is_in_the_clear() {
            let found = Diagnostic::warning(at.span(), format!("whoever is on the way can be the page of {text:?}"));
            cx.push(found.hint("write https://"));
        }
        if let Some(shared) = origin.shared_suffix() {
            let found = Diagnostic::warning(at.span(), format!("everybody can have a page below \"{shared}\""));
            cx.push(found.hint("list the very origins that are yours"));
        }
        origins.push(origin);
    }
    if origins.len() > 1 && origins.contains(&OriginPattern::Any) {
        let star = list.iter().find(|at| at.get().as_str() == "*").map(At::span);
        cx.push(Diagnostic::warning(star, "\"*\" is every origin, the others are covered by it"));
    }
    origins
}

fn names(cx: &mut Context<'_>, OneOrMany(list): &OneOrMany<HeaderText>) -> Vec<HeaderName> {
    let mut names = Vec::with_capacity(list.len());
    for at in list {
        let text = at.get().as_str();
        match text.parse::<HeaderName>() {
            Ok(_) if text == "*" => {
                let found = Diagnostic::error(at.span(), "a star is not the name of a header");
                cx.push(found.hint("list the names: browsers take a star for all only where no cookie is sent"));
            }
            Ok(name) if names.contains(&name) => {
                cx.push(Diagnostic::warning(at.span(), format!("{text:?} stands there twice")));
            }
            Ok(name) => names.push(name),
            Err(_) => cx.push(Diagnostic::error(at.span(), format!("{text:?} is not a header name"))),
        }
    }
    names
}

/// The rules, rendered.
pub(super) fn render(rules: Option<CorsRules>) -> Option<Arc<Cors>> {
    rules.map(|rules| Arc::new(Cors::new(rules)))
}
