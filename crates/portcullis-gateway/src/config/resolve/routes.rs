//! `[roles.NAME]`, `[routes]` and `[[route]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use http::Method;
use portcullis::{Otherwise, Pattern, RouteRule, Target};
use portcullis_auth::access::{Requirement, RoleRule};
use portcullis_shield::CorsRules;

use super::context::{Context, is_name};
use super::headers::Layer;
use super::{content, cors, graphql, response};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{
    AccessName, At, OneOrMany, OtherwiseName, PatternText, Raw, RouteTable, RoutesTable, ShortOrLong, Table, Text,
};
use crate::config::settings::UpstreamSettings;
use crate::config::words::{alternatives, closest};

/// The roles that exist without a word in the file (A11).
pub(super) const BUILT_IN_ROLES: [&str; 3] = ["viewer", "editor", "admin"];

/// No configuration needs more than this; a route without a bound would say so by a large number.
const LARGEST_BODY: u64 = 1 << 40;

pub(super) type Roles = BTreeMap<Box<str>, RoleRule>;

/// What roles permit: parents exist, and no role inherits from itself.
pub(super) fn roles(cx: &mut Context<'_>, raw: &Raw) -> Roles {
    let mut roles: Roles = BUILT_IN_ROLES.iter().map(|name| ((*name).into(), RoleRule::default())).collect();
    let written = raw.roles.iter().flatten();
    let names: Vec<&str> = written.clone().map(|(name, _)| name.as_str()).chain(BUILT_IN_ROLES).collect();
    for (name, table) in written.clone() {
        if !is_name(name) || name.contains(':') {
            let found = Diagnostic::error(table.span(), format!("{name:?} is not a name for a role"));
            cx.push(found.expected("up to 64 letters, digits, \"-\", \"_\" or \".\""));
        }
        let mut role = RoleRule::default();
        for at in table.get().inherits.iter().flat_map(|OneOrMany(list)| list) {
            let parent = at.get().as_str();
            if names.contains(&parent) {
                role.inherits.push(parent.into());
            } else {
                let found = Diagnostic::error(at.span(), format!("there is no role {parent:?}"));
                cx.push(did_you_mean(found, parent, names.iter().copied()));
            }
        }
        for at in table.get().permissions.iter().flat_map(|OneOrMany(list)| list) {
            let permission = at.get().as_str();
            if is_permission(permission, true) {
                role.permissions.push(permission.into());
            } else {
                let found = Diagnostic::error(at.span(), format!("{permission:?} is not a permission"));
                cx.push(found.expected("for example \"posts:read\", \"posts:*\" or \"*\""));
            }
        }
        roles.insert(name.as_str().into(), role);
    }
    for (name, table) in written {
        if inherits_itself(&roles, name) {
            let span = table.get().inherits.as_ref().and_then(|list| list.0.first()).map_or(table.span(), At::span);
            cx.push(Diagnostic::error(span, format!("the role {name:?} inherits from itself")));
        }
    }
    roles
}

fn inherits_itself(roles: &Roles, name: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = vec![name];
    while let Some(role) = open.pop() {
        for parent in roles.get(role).iter().flat_map(|role| &role.inherits) {
            if &**parent == name {
                return true;
            }
            if seen.insert(&**parent) {
                open.push(parent);
            }
        }
    }
    false
}

/// Words separated by colons; with `wildcards` the last one may be `*`.
fn is_permission(text: &str, wildcards: bool) -> bool {
    let words: Vec<&str> = text.split(':').collect();
    let last = words.len() - 1;
    words.iter().enumerate().all(|(index, word)| (wildcards && index == last && *word == "*") || is_name(word))
}

/// Whether some role grants the permission.
fn is_granted(roles: &Roles, permission: &str) -> bool {
    let covers = |held: &str| match held.strip_suffix('*') {
        Some(prefix) => permission.starts_with(prefix),
        None => held == permission,
    };
    roles.values().flat_map(|role| &role.permissions).any(|held| covers(held))
}

fn did_you_mean<'w>(found: Diagnostic, wrong: &str, words: impl Iterator<Item = &'w str>) -> Diagnostic {
    match closest(wrong, words) {
        Some(meant) => found.hint(format!("did you mean \"{meant}\"?")),
        None => found,
    }
}

/// A role that is named somewhere. Other issuers may know roles that this file does not, so an unknown one is a warning.
pub(super) fn role_reference(cx: &mut Context<'_>, at: &At<Text>, roles: &Roles) -> Option<Box<str>> {
    let name = cx.name(at)?;
    if !roles.contains_key(&name) {
        let found = Diagnostic::warning(at.span(), format!("nothing declares the role \"{name}\""));
        let meant = closest(&name, roles.keys().map(|role| &**role));
        cx.push(found.hint(match meant {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("only tokens of another issuer can carry it; to declare it, add [roles.{name}]"),
        }));
    }
    Some(name)
}

/// What becomes of requests that no route covers, and how large their body may be.
pub(super) struct Defaults {
    pub(super) otherwise: Otherwise,
    pub(super) max_body: u64,
    pub(super) max_json: u64,
}

pub(super) fn defaults(cx: &mut Context<'_>, raw: &Raw) -> Defaults {
    let none = RoutesTable::default();
    let table = raw.routes.as_ref().map_or(&none, Table::get);
    let has_routes = raw.route.as_ref().is_some_and(|routes| !routes.is_empty()) || cx.is_damaged("route");
    let otherwise = match table.otherwise.as_ref().map(At::get) {
        Some(OtherwiseName::Refuse) => Otherwise::Refuse,
        Some(OtherwiseName::Authenticated) => Otherwise::Authenticated,
        Some(OtherwiseName::Public) => Otherwise::Public,
        None if has_routes || cx.is_damaged("routes.otherwise") => Otherwise::Refuse,
        None => Otherwise::Authenticated,
    };
    if let Some(at) = &table.otherwise {
        match otherwise {
            Otherwise::Public => {
                let found = Diagnostic::warning(at.span(), "what no route covers is open to everyone");
                cx.push(found.hint(
                    "a route that is forgotten or misspelt is then open; prefer \"authenticated\" or \"refuse\"",
                ));
            }
            Otherwise::Authenticated if has_routes => {
                let found = Diagnostic::warning(
                    at.span(),
                    "routes ignore letter case and a trailing slash, because what misses them still passes with a login",
                );
                cx.push(found.hint("otherwise = \"refuse\" matches strictly"));
            }
            Otherwise::Refuse if !has_routes => {
                let found = Diagnostic::warning(at.span(), "every request is refused: there is no [[route]]");
                cx.push(found.hint("add a [[route]], or remove this line to let in everyone who logged in"));
            }
            Otherwise::Authenticated | Otherwise::Refuse => {}
        }
    }
    Defaults {
        otherwise,
        max_body: cx.size(table.max_body.as_ref(), RouteRule::DEFAULT_BODY, 0..=LARGEST_BODY),
        max_json: cx.size(table.max_json.as_ref(), RouteRule::DEFAULT_JSON, 0..=LARGEST_BODY),
    }
}

/// What routes refer to.
pub(super) struct Around<'a> {
    pub(super) roles: &'a Roles,
    pub(super) upstreams: &'a [UpstreamSettings],
    pub(super) defaults: &'a Defaults,
    /// Whether the identity endpoints are served.
    pub(super) identity: bool,
    /// What responses carry, where a route says nothing else.
    pub(super) headers: &'a Layer,
    /// Which pages of other origins may ask, where a route says nothing else.
    pub(super) cors: Option<&'a CorsRules>,
}

/// The file's routes. Two at exactly the same place are an error, whatever their names for variable segments.
pub(super) fn routes(cx: &mut Context<'_>, raw: &Raw, around: &Around<'_>) -> Vec<RouteRule> {
    let mut rules = Vec::new();
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    let mut spans = Vec::new();
    for (index, table) in raw.route.iter().flatten().enumerate() {
        let path = format!("route.{index}");
        let access = requirement(cx, table, &path, around.roles);
        let target = table.get().upstream.as_ref().map_or(0, |at| target(cx, at, around.upstreams));
        let body = table.get().body.as_ref().map(Table::get);
        let max = body.and_then(|body| body.max.as_ref());
        let max_body = cx.size(max, around.defaults.max_body, 0..=LARGEST_BODY);
        // Who names a size for a route means whatever is sent there.
        let max_json = if max.is_some() { max_body } else { around.defaults.max_json };
        let mut checks = content::checks(cx, body);
        checks.extend(graphql::check(cx, table.get()));
        let gzip = content::takes_gzip(cx, body, !checks.is_empty() || raw.openapi.is_some());
        let min_body_rate = content::min_rate(cx, body, !checks.is_empty());
        let answers = response::Rules::read(cx, table.get(), &path, access.as_ref(), around.roles);
        let exempt = table.get().danger_no_csrf_token.as_ref().filter(|at| *at.get());
        if let Some(at) = exempt {
            let found =
                Diagnostic::warning(at.span(), "a cookie's unsafe requests need no token here, only the right origin");
            cx.push(
                found.hint("let the upstream ask for a token of its own here, or for nothing that a cookie allows"),
            );
        }
        let danger_no_csrf_token = exempt.is_some();
        let headers = table.get().headers.as_ref().map(|table| Arc::new(around.headers.for_route(cx, table.get())));
        let cors = table.get().cors.as_ref().map(|written| cors::of_route(cx, written, around.cors, &path));
        for (pattern, span) in patterns(cx, table.get().pattern.as_ref(), &path, &table.span()) {
            if around.identity && is_identity_path(&pattern) {
                let found = Diagnostic::error(span, format!("\"{pattern}\" is served by the identity endpoints"));
                cx.push(found.hint("they have rules of their own; [identity] enabled = false turns them off"));
                continue;
            }
            spans.push((span.clone(), pattern.clone()));
            let access = access.clone().unwrap_or(Requirement::Authenticated);
            warn_of_open_writes(cx, &pattern, &access, &span);
            let owner = answers.owner_of(cx, &pattern);
            rules.push(RouteRule {
                max_body,
                max_json,
                min_body_rate,
                checks: checks.clone(),
                gzip,
                owner,
                response: answers.response.clone(),
                danger_no_csrf_token,
                headers: headers.clone(),
                cors: cors.clone().unwrap_or_default(),
                ..RouteRule::new(pattern, access, Target::Upstream(target))
            });
        }
    }
    let folds = around.defaults.otherwise != Otherwise::Refuse || rules.iter().any(|rule| rule.pattern.has_tail());
    for (span, pattern) in spans {
        if let Some(first) = places.insert(place(&pattern, folds), pattern.to_string()) {
            let same = if first == pattern.as_str() {
                format!("\"{pattern}\" is written twice")
            } else {
                format!("\"{pattern}\" covers the same requests as \"{first}\"")
            };
            let found = Diagnostic::error(span, same);
            cx.push(found.hint("the most specific pattern wins, whatever the order; of two equal ones neither can"));
        }
    }
    rules
}

/// A route's or a limit's patterns with their spans.
pub(super) fn patterns(
    cx: &mut Context<'_>,
    written: Option<&OneOrMany<PatternText>>,
    path: &str,
    span: &Range<usize>,
) -> Vec<(Pattern, Range<usize>)> {
    let Some(OneOrMany(list)) = written.filter(|list| !list.0.is_empty()) else {
        cx.missing(path, "match", span.clone(), "match = \"GET /projects/{id}\"");
        return Vec::new();
    };
    list.iter().filter_map(|at| Some((cx.parse::<Pattern>(at.get().as_str(), at.span())?, at.span()))).collect()
}

fn is_identity_path(pattern: &Pattern) -> bool {
    let path = pattern.as_str().rsplit(char::is_whitespace).next().unwrap_or_default().to_ascii_lowercase();
    path == "/auth" || path.starts_with("/auth/") || path == "/.well-known/jwks.json"
}

/// The place of a pattern in the route tree: names of variable segments do not count.
pub(super) fn place(pattern: &Pattern, folds: bool) -> String {
    let path = pattern.as_str().rsplit(char::is_whitespace).next().unwrap_or_default();
    let segments: Vec<&str> = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect();
    let mut path = segments.join("/");
    if folds {
        path.make_ascii_lowercase();
        if path.len() > 1 && path.ends_with('/') {
            path.pop();
        }
    }
    format!("{} {path}", pattern.method().map_or("", Method::as_str))
}

fn warn_of_open_writes(cx: &mut Context<'_>, pattern: &Pattern, access: &Requirement, span: &Range<usize>) {
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS];
    if *access != Requirement::Public || pattern.method().is_some_and(|method| safe.contains(method)) {
        return;
    }
    let message = match pattern.method() {
        Some(method) => format!("everyone may {method} here without a login"),
        None => "every method is open here, those that change things too".to_owned(),
    };
    let found = Diagnostic::warning(span.clone(), message);
    cx.push(match pattern.method() {
        Some(_) => found,
        None => found.hint(format!("write \"GET {pattern}\" if reading is all that is meant")),
    });
}

fn requirement(cx: &mut Context<'_>, table: &Table<RouteTable>, path: &str, roles: &Roles) -> Option<Requirement> {
    let raw = table.get();
    let keys = ["access", "roles", "permissions"];
    let given = [
        raw.access.as_ref().map(At::span),
        raw.roles.as_ref().map(|list| list.0.first().map_or(table.span(), At::span)),
        raw.permissions.as_ref().map(At::span),
    ];
    let given: Vec<(&str, Range<usize>)> =
        keys.iter().zip(given).filter_map(|(key, span)| Some((*key, span?))).collect();
    match given.as_slice() {
        [] if keys.iter().any(|key| cx.is_damaged(&format!("{path}.{key}"))) => return None,
        [] => {
            let found = Diagnostic::error(table.span(), "the route does not say who may pass");
            cx.push(
                found.expected(format!("one of {}", alternatives(keys))).hint("add for example: roles = [\"admin\"]"),
            );
            return None;
        }
        [_] => {}
        [(first, _), (second, span), ..] => {
            cx.push(Diagnostic::error(span.clone(), format!("\"{first}\" and \"{second}\" cannot stand together")));
            return None;
        }
    }
    if let Some(at) = &raw.access {
        return Some(match at.get() {
            AccessName::Public => Requirement::Public,
            AccessName::Authenticated => Requirement::Authenticated,
        });
    }
    if let Some(OneOrMany(list)) = &raw.roles {
        if list.is_empty() {
            let found = Diagnostic::error(table.span(), "an empty list of roles lets nobody pass");
            cx.push(found.hint("name a role, or remove the route"));
        }
        return Some(Requirement::AnyRole(list.iter().filter_map(|at| role_reference(cx, at, roles)).collect()));
    }
    let at = raw.permissions.as_ref()?;
    let (all, any): (&[Text], &[Text]) = match at.get() {
        ShortOrLong::Short(list) => (list, &[]),
        ShortOrLong::Long(table) => {
            (table.all.as_deref().unwrap_or_default(), table.any.as_deref().unwrap_or_default())
        }
    };
    if all.is_empty() && any.is_empty() {
        let found = Diagnostic::error(at.span(), "an empty list of permissions would let everyone pass who logged in");
        cx.push(found.hint("write access = \"authenticated\" if that is meant"));
    }
    let mut read = |list: &[Text]| list.iter().filter_map(|text| permission(cx, text.as_str(), at, roles)).collect();
    let (all, any) = (read(all), read(any));
    Some(Requirement::Permissions { all, any })
}

/// A permission that a route asks for: a definite one.
pub(super) fn permission<T>(cx: &mut Context<'_>, text: &str, at: &At<T>, roles: &Roles) -> Option<Box<str>> {
    if !is_permission(text, false) {
        let found = Diagnostic::error(at.span(), format!("{text:?} is not a permission that a route can ask for"));
        cx.push(found.expected("a definite one, such as \"posts:delete\""));
        return None;
    }
    if !is_granted(roles, text) {
        let found = Diagnostic::warning(at.span(), format!("no role grants the permission \"{text}\""));
        cx.push(found.hint("grant it: [roles.NAME] permissions = [\"…\"]"));
    }
    Some(text.into())
}

/// The index of an upstream that is named.
pub(super) fn target(cx: &mut Context<'_>, at: &At<Text>, upstreams: &[UpstreamSettings]) -> usize {
    let name = at.get().as_str();
    if let Some(index) = upstreams.iter().position(|upstream| &*upstream.name == name) {
        return index;
    }
    // Where an upstream itself was wrong, its absence here is no second mistake.
    let found = Diagnostic::error(at.span(), format!("there is no upstream {name:?}"));
    let names = upstreams.iter().map(|upstream| &*upstream.name);
    cx.push(match closest(name, names.clone()) {
        Some(meant) => found.hint(format!("did you mean \"{meant}\"?")),
        None => found.expected(alternatives(names)),
    });
    0
}
