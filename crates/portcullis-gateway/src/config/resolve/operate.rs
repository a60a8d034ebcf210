//! `[admin]` and `[log]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use portcullis_core::Secret;

use super::context::Context;
use super::secrets::{self, Origin};
use super::transport::socket;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{AdminTable, At, LogTable, Raw, Table};
use crate::config::settings::{AdminSettings, LogSettings};

const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

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
