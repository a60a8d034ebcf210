//! `[headers]`, `[admin]` and `[log]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use http::HeaderName;
use portcullis::IdentityHeaders;
use portcullis_core::Secret;
use portcullis_shield::Preset;

use super::context::Context;
use super::secrets::{self, Origin};
use super::transport::socket;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{AdminTable, At, HeaderText, HeadersPreset, HeadersTable, LogTable, Raw, Table};
use crate::config::settings::{AdminSettings, LogSettings};

const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// Names that mean something to HTTP or to this gate, so that nothing of ours can be put into them.
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

pub(super) struct Headers {
    pub(super) preset: Preset,
    pub(super) identity: IdentityHeaders,
    pub(super) forward_credentials: bool,
}

pub(super) fn headers(cx: &mut Context<'_>, raw: &Raw) -> Headers {
    let none = HeadersTable::default();
    let table = raw.headers.as_ref().map_or(&none, Table::get);
    let preset = match table.preset.as_ref().map(|at| (at, at.get())) {
        None | Some((_, HeadersPreset::Web)) => Preset::Web,
        Some((_, HeadersPreset::Api)) => Preset::Api,
        Some((at, HeadersPreset::DangerOff)) => {
            cx.push(Diagnostic::warning(at.span(), "responses carry no security headers, refusals neither"));
            Preset::Off
        }
    };
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
    let plan = name(&table.plan, "x-user-plan");
    let forward_credentials = table.forward_credentials.as_ref().is_some_and(|at| *at.get());
    if let Some(at) = table.forward_credentials.as_ref().filter(|at| *at.get()) {
        let found = Diagnostic::warning(at.span(), "the upstream receives the credentials of its callers");
        cx.push(found.hint("whoever reads its logs may act as them; the identity headers say who it is"));
    }
    Headers { preset, identity: IdentityHeaders::new(user, role, plan), forward_credentials }
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

pub(super) fn admin(cx: &mut Context<'_>, raw: &Raw, listen: &[SocketAddr]) -> AdminSettings {
    let none = AdminTable::default();
    let table = raw.admin.as_ref().map_or(&none, Table::get);
    let address =
        table.listen.as_ref().and_then(|at| socket(cx, at.get().as_str(), at.span())).unwrap_or(DEFAULT_ADMIN);
    let enabled = table.enabled.as_ref().is_none_or(|at| *at.get());
    let span = table.listen.as_ref().map(At::span);
    let span = span.or_else(|| raw.listen.as_ref().and_then(|list| list.0.first()).map(At::span));
    if enabled && listen.contains(&address) {
        let found = Diagnostic::error(span, format!("the operator's listener and the gate both want {address}"));
        cx.push(found.hint("give one of them another port"));
    } else if enabled && !address.ip().is_loopback() {
        let found = Diagnostic::warning(span, "other machines can reach the operator's listener");
        cx.push(found.hint("keep it on 127.0.0.1, or let a firewall decide who may connect"));
    }
    let origin = Origin {
        file: table.token_file.as_ref(),
        variable: table.token_env.as_ref(),
        fallback: Some("PORTCULLIS_ADMIN_TOKEN"),
    };
    let token = secrets::strong(cx, "operator's token", &origin).and_then(|token| {
        let text =
            std::str::from_utf8(token.expose()).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
        if text.is_none() {
            let span = table.token_file.as_ref().map(At::span).or_else(|| table.token_env.as_ref().map(At::span));
            cx.push(Diagnostic::error(span, "the operator's token has characters that a header cannot carry"));
        }
        text.map(|text| Secret::new(text.to_owned()))
    });
    let hosts = table.hosts.iter().flat_map(|list| &list.0).filter_map(|at| {
        let text = at.get().as_str();
        let valid =
            text.parse::<http::uri::Authority>().is_ok_and(|host| !text.contains('@') && !host.host().contains('*'));
        if !valid {
            let found = Diagnostic::error(at.span(), format!("{text:?} is not a host"));
            cx.push(found.expected("for example \"ops.example.com\" or \"ops.example.com:9090\""));
        }
        valid.then(|| text.to_owned())
    });
    let hosts = hosts.collect();
    AdminSettings { listen: enabled.then_some(address), token, hosts }
}

pub(super) fn log(cx: &Context<'_>, raw: &Raw, state_dir: &Path) -> LogSettings {
    let none = LogTable::default();
    let table = raw.log.as_ref().map_or(&none, Table::get);
    let events = table.events.as_ref().is_none_or(|at| *at.get());
    let directory = table.events_dir.as_ref().map_or_else(|| state_dir.join("logs"), |at| cx.path(at));
    LogSettings { access: table.access.as_ref().is_some_and(|at| *at.get()), events_dir: events.then_some(directory) }
}
