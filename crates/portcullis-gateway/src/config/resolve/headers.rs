//! `[headers]` and `[route.headers]`: what responses carry, and the headers in which the upstream believes us.

use http::{HeaderName, HeaderValue};
use portcullis::IdentityHeaders;
use portcullis_shield::{CspFrom, CspTemplate, FrameOptions, HeaderRules, Hsts, Preset, ResponseHeaders};

use super::context::Context;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{
    At, CspFromName, HeaderText, HeadersPreset, HeadersTable, HstsTable, OneOrMany, Raw, RouteHeadersTable,
    ShortOrLong, Table, Text,
};
use crate::config::words::{alternatives, closest};

/// Names that mean something to HTTP or to this gate, so that an identity cannot be put into them.
const RESERVED: [&str; 12] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
];

/// Response headers that say how a message is read, or that this gate decides about one by one.
const FIXED: [&str; 14] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "location",
    "set-cookie",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "www-authenticate",
    "x-request-id",
];

/// Response headers with a key of their own.
const KEYS: [(&str, &str); 10] = [
    ("content-security-policy", "csp"),
    ("strict-transport-security", "hsts"),
    ("x-frame-options", "frame_options"),
    ("x-content-type-options", "content_type_options"),
    ("referrer-policy", "referrer_policy"),
    ("permissions-policy", "permissions_policy"),
    ("cross-origin-opener-policy", "opener_policy"),
    ("cross-origin-resource-policy", "resource_policy"),
    ("cross-origin-embedder-policy", "embedder_policy"),
    ("x-xss-protection", "xss_protection"),
];

const REFERRER_POLICIES: [&str; 8] = [
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
];
const OPENER_POLICIES: [&str; 4] = ["same-origin", "same-origin-allow-popups", "noopener-allow-popups", "unsafe-none"];
const RESOURCE_POLICIES: [&str; 3] = ["same-origin", "same-site", "cross-origin"];
const EMBEDDER_POLICIES: [&str; 3] = ["require-corp", "credentialless", "unsafe-none"];

/// The longest time that a browser is asked to remember anything here.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(10 * 31_536_000);

pub(super) struct Headers {
    pub(super) responses: Layer,
    pub(super) identity: IdentityHeaders,
    pub(super) forward_credentials: bool,
}

/// Response headers before they are rendered: a route's are laid over everybody's.
#[derive(Clone)]
pub(super) struct Layer {
    rules: HeaderRules,
    preset: Preset,
    /// Whether the policy was written, rather than the preset's.
    own_policy: bool,
    https: bool,
}

impl Layer {
    pub(super) fn render(&self) -> ResponseHeaders {
        ResponseHeaders::new(self.rules.clone(), self.https)
    }

    /// The headers of a route.
    pub(super) fn for_route(&self, cx: &mut Context<'_>, table: &RouteHeadersTable) -> ResponseHeaders {
        self.with(cx, table).render()
    }

    /// The same with what a table says on top.
    fn with(&self, cx: &mut Context<'_>, table: &RouteHeadersTable) -> Self {
        let mut layer = self.clone();
        if let Some(at) = &table.preset {
            layer.preset = match at.get() {
                HeadersPreset::Web => Preset::Web,
                HeadersPreset::Api => Preset::Api,
                HeadersPreset::DangerOff => {
                    cx.push(Diagnostic::warning(at.span(), "responses carry no security headers, refusals neither"));
                    Preset::Off
                }
            };
            let HeaderRules { set, remove, csp_from, .. } = layer.rules;
            layer.rules = HeaderRules { set, remove, csp_from, ..layer.preset.into() };
            layer.own_policy = false;
        }
        layer.policies(cx, table);
        layer.values(cx, table);
        if let Some(at) = &table.hsts {
            layer.rules.hsts = hsts(cx, at, layer.https);
        }
        layer.further(cx, table);
        layer
    }

    /// Who may frame it, and what it may load.
    fn policies(&mut self, cx: &mut Context<'_>, table: &RouteHeadersTable) {
        if let Some(at) = &table.frame_options {
            match choice(cx, at, &["DENY", "SAMEORIGIN"]) {
                Some(Some("DENY")) => self.rules.frame_options = Some(FrameOptions::Deny),
                Some(Some(_)) => self.rules.frame_options = Some(FrameOptions::SameOrigin),
                Some(None) => self.rules.frame_options = None,
                None => {}
            }
        }
        if let Some(at) = &table.csp {
            self.own_policy = true;
            match (is_off(at), at.get().as_str().parse::<CspTemplate>()) {
                (true, _) => self.rules.csp = None,
                (false, Ok(policy)) => {
                    warn_of_scripts(cx, at, &policy);
                    self.rules.csp = Some(policy);
                }
                (false, Err(error)) => cx.push(Diagnostic::error(at.span(), error.to_string())),
            }
        } else if !self.own_policy {
            self.rules.csp = self.preset.policy(self.rules.frame_options);
        }
        if let (Some(at), Some(frames)) =
            (table.frame_options.as_ref().or(table.csp.as_ref()), self.rules.frame_options)
            && let Some(ancestors) = self.rules.csp.as_ref().and_then(|policy| policy.directive("frame-ancestors"))
            && ancestors != frames.ancestors()
        {
            let found = Diagnostic::warning(at.span(), "X-Frame-Options and the policy's frame-ancestors differ");
            cx.push(found.hint("browsers follow frame-ancestors; write frame_options = \"off\" where that is meant"));
        }
        if let Some(at) = &table.csp_from {
            self.rules.csp_from = match at.get() {
                CspFromName::Upstream => CspFrom::Upstream,
                CspFromName::Merge => CspFrom::Merge,
                CspFromName::Replace => CspFrom::Replace,
            };
        }
    }

    /// The headers that are one word of a few, or one text.
    fn values(&mut self, cx: &mut Context<'_>, table: &RouteHeadersTable) {
        let rules = &mut self.rules;
        for (written, choices, value) in [
            (&table.referrer_policy, &REFERRER_POLICIES[..], &mut rules.referrer_policy),
            (&table.opener_policy, &OPENER_POLICIES, &mut rules.opener_policy),
            (&table.resource_policy, &RESOURCE_POLICIES, &mut rules.resource_policy),
            (&table.embedder_policy, &EMBEDDER_POLICIES, &mut rules.embedder_policy),
        ] {
            let Some(at) = written else { continue };
            let Some(chosen) = choice(cx, at, choices) else { continue };
            if chosen == Some("unsafe-url") {
                let found = Diagnostic::warning(at.span(), "every site that is linked to reads whole addresses");
                cx.push(found.hint("write \"strict-origin-when-cross-origin\""));
            }
            *value = chosen.map(HeaderValue::from_static);
        }
        if let Some(chosen) = table.content_type_options.as_ref().and_then(|at| choice(cx, at, &["nosniff"])) {
            rules.nosniff = chosen.is_some();
        }
        if let Some(chosen) = table.xss_protection.as_ref().and_then(|at| choice(cx, at, &["0"])) {
            rules.xss_protection = chosen.is_some();
        }
        if let Some(at) = &table.permissions_policy {
            if is_off(at) {
                rules.permissions_policy = None;
            } else if let Some(value) = permissions_policy(cx, at) {
                rules.permissions_policy = Some(value);
            }
        }
    }

    /// What is set and removed besides.
    fn further(&mut self, cx: &mut Context<'_>, table: &RouteHeadersTable) {
        for (name, at) in table.set.iter().flatten() {
            let Some(name) = response_header(cx, name, at.span()) else { continue };
            let text = at.get().as_str();
            match HeaderValue::from_str(text) {
                Ok(value) if text.is_ascii() && !text.is_empty() && text.trim() == text => {
                    self.rules.set.retain(|(other, _)| *other != name);
                    self.rules.remove.retain(|other| *other != name);
                    self.rules.set.push((name, value));
                }
                _ => cx.push(Diagnostic::error(at.span(), "a header's value is plain ASCII without line breaks")),
            }
        }
        for at in table.remove.iter().flat_map(|OneOrMany(list)| list) {
            let Some(name) = response_header(cx, at.get().as_str(), at.span()) else { continue };
            if table.set.iter().flatten().any(|(set, _)| set.eq_ignore_ascii_case(name.as_str())) {
                cx.push(Diagnostic::error(at.span(), format!("{name} is both set and removed")));
                continue;
            }
            self.rules.set.retain(|(other, _)| *other != name);
            self.rules.remove.push(name);
        }
    }
}

pub(super) fn headers(cx: &mut Context<'_>, raw: &Raw, https: bool) -> Headers {
    let none = HeadersTable::default();
    let table = raw.headers.as_ref().map_or(&none, Table::get);
    let bottom = Layer { rules: Preset::Web.into(), preset: Preset::Web, own_policy: false, https };
    let responses = bottom.with(cx, &table.of_responses());
    let mut seen: Vec<HeaderName> = Vec::new();
    let mut name = |at: &Option<At<HeaderText>>, default: &'static str| {
        let default = HeaderName::from_static(default);
        let name = match at {
            None => default,
            Some(at) => own_header(cx, at, "X-User-Id").unwrap_or(default),
        };
        if seen.contains(&name)
            && let Some(at) = at
        {
            cx.push(Diagnostic::error(at.span(), format!("the header {name} is used twice")));
        }
        seen.push(name.clone());
        name
    };
    let (user, role) = (name(&table.user, "x-user-id"), name(&table.role, "x-user-role"));
    let (plan, nonce) = (name(&table.plan, "x-user-plan"), name(&table.nonce_header, "x-csp-nonce"));
    let forward_credentials = table.forward_credentials.as_ref().is_some_and(|at| *at.get());
    if let Some(at) = table.forward_credentials.as_ref().filter(|at| *at.get()) {
        let found = Diagnostic::warning(at.span(), "the upstream receives the credentials of its callers");
        cx.push(found.hint("whoever reads its logs may act as them; the identity headers say who it is"));
    }
    Headers { responses, identity: IdentityHeaders::new(user, role, plan, nonce), forward_credentials }
}

/// A header that means nothing to HTTP or to this gate; `example` is such a one.
pub(super) fn own_header(cx: &mut Context<'_>, at: &At<HeaderText>, example: &str) -> Option<HeaderName> {
    let text = at.get().as_str();
    let Ok(name) = text.parse::<HeaderName>() else {
        cx.push(Diagnostic::error(at.span(), format!("{text:?} is not a header name")));
        return None;
    };
    if RESERVED.contains(&name.as_str()) {
        let found = Diagnostic::error(at.span(), format!("the header {text} has a meaning of its own"));
        cx.push(found.hint(format!("take one that nothing else uses, such as \"{example}\"")));
        return None;
    }
    Some(name)
}

/// The name of a response header that may be set and removed.
fn response_header(cx: &mut Context<'_>, text: &str, span: std::ops::Range<usize>) -> Option<HeaderName> {
    let Ok(name) = text.parse::<HeaderName>() else {
        cx.push(Diagnostic::error(span, format!("{text:?} is not a header name")));
        return None;
    };
    let found = Diagnostic::error(span, format!("the header {text} is not set or removed here"));
    if let Some((_, key)) = KEYS.iter().find(|(known, _)| *known == name.as_str()) {
        cx.push(found.hint(format!("it has a key of its own: {key} = \"…\", or \"off\"")));
    } else if name.as_str().starts_with("access-control-") {
        cx.push(found.hint("[cors] says which pages may ask"));
    } else if FIXED.contains(&name.as_str()) {
        cx.push(found.hint("it says how a message is read, or belongs to one answer"));
    } else {
        return Some(name);
    }
    None
}

fn is_off(at: &At<Text>) -> bool {
    at.get().as_str() == "off"
}

/// One of these words, in any case; inside `None` for `off`.
fn choice<'c>(cx: &mut Context<'_>, at: &At<Text>, choices: &[&'c str]) -> Option<Option<&'c str>> {
    if is_off(at) {
        return Some(None);
    }
    let text = at.get().as_str();
    if let Some(chosen) = choices.iter().find(|choice| choice.eq_ignore_ascii_case(text)) {
        return Some(Some(chosen));
    }
    let found = Diagnostic::error(at.span(), format!("{text:?} is not a choice here"));
    let all = || choices.iter().copied().chain(["off"]);
    let found = found.expected(alternatives(all()));
    cx.push(match closest(text, all()) {
        Some(meant) => found.hint(format!("did you mean \"{meant}\"?")),
        None => found,
    });
    None
}

fn hsts(cx: &mut Context<'_>, at: &At<ShortOrLong<Text, HstsTable>>, https: bool) -> Option<Hsts> {
    let table = match at.get() {
        ShortOrLong::Long(table) => table,
        ShortOrLong::Short(text) => {
            if text.as_str() != "off" {
                let found = Diagnostic::error(at.span(), format!("{:?} is not a choice here", text.as_str()));
                cx.push(found.expected("\"off\", or a table such as { max_age = \"365d\", preload = true }"));
            }
            return None;
        }
    };
    let yes = |at: &Option<At<bool>>, default| at.as_ref().map_or(default, |at| *at.get());
    let hsts = Hsts {
        max_age: cx.duration(table.max_age.as_ref(), Hsts::YEAR, std::time::Duration::ZERO..=LONGEST),
        include_subdomains: yes(&table.include_subdomains, true),
        preload: yes(&table.preload, false),
    };
    if let Some(preload) = table.preload.as_ref().filter(|at| *at.get()) {
        if !hsts.may_be_preloaded() {
            let found =
                Diagnostic::error(preload.span(), "the preload list takes a year and more, subdomains included");
            cx.push(found.hint("write max_age = \"365d\" or more and include_subdomains = true"));
        }
        if !https {
            let found = Diagnostic::error(preload.span(), "nobody can be preloaded who is not reached by https");
            cx.push(found.hint("set public_url = \"https://…\""));
        }
    } else if !https {
        let found = Diagnostic::warning(at.span(), "browsers are told only over https, and public_url is http");
        cx.push(found.hint("set public_url = \"https://…\""));
    }
    Some(hsts)
}

/// A policy that lets injected scripts run protects nothing; it may be a beginning, so it is no mistake.
fn warn_of_scripts(cx: &mut Context<'_>, at: &At<Text>, policy: &CspTemplate) {
    let Some(sources) = policy.directive("script-src").or_else(|| policy.directive("default-src")) else {
        let found = Diagnostic::warning(at.span(), "the policy says nothing of scripts, so every script may run");
        cx.push(found.hint("begin with default-src 'self'"));
        return;
    };
    let sources = sources.to_ascii_lowercase();
    let spares = sources.contains("'nonce-") || sources.contains("'sha");
    if sources.split(' ').any(|source| source == "'unsafe-inline'") && !spares {
        let found = Diagnostic::warning(at.span(), "the policy lets every injected script run: 'unsafe-inline'");
        cx.push(found.hint("write 'nonce-{nonce}' and give the page's own scripts the nonce"));
    }
}

/// `feature=(allowlist)` and commas between them (Permissions Policy §5.2): browsers pass over a header that is not.
fn permissions_policy(cx: &mut Context<'_>, at: &At<Text>) -> Option<HeaderValue> {
    let text = at.get().as_str();
    let is_feature = |feature: &str| {
        feature.trim().split_once('=').is_some_and(|(name, list)| {
            let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            let all = matches!(list, "*" | "self" | "()");
            named && (all || (list.starts_with('(') && list.contains(')') && !list[1..].contains('(')))
        })
    };
    let value = HeaderValue::from_str(text).ok().filter(|_| text.is_ascii() && text.split(',').all(is_feature));
    if value.is_none() {
        let found = Diagnostic::error(at.span(), "this is not a permissions policy, and browsers pass over it");
        cx.push(found.expected("for example \"camera=(), fullscreen=(self \\\"https://example.com\\\")\""));
    }
    value
}
