//! The upstreams.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::transport::absolute;
use super::upstream_tls;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, OneOrMany, Raw, Table, UpstreamTable, UrlText};
use crate::config::settings::UpstreamSettings;
use crate::upstream_tls::UpstreamTls;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const MILLISECOND: Duration = Duration::from_millis(1);

/// The upstreams; the one that takes what names none stands first.
pub(super) fn upstreams(cx: &mut Context<'_>, raw: &Raw, listen: &[SocketAddr]) -> Vec<UpstreamSettings> {
    let mut upstreams: Vec<UpstreamSettings> = Vec::new();
    if let Some(at) = &raw.upstream
        && let Some((address, base_path, tls)) = upstream_url(cx, at)
    {
        refuse_loop(cx, &address, at.span(), listen);
        upstreams.push(UpstreamSettings { addresses: vec![address], base_path, tls, ..defaults("default".into()) });
    }
    for (index, table) in raw.upstreams.iter().flatten().enumerate() {
        let Some(upstream) = named_upstream(cx, table, &format!("upstreams.{index}"), listen) else { continue };
        if upstreams.iter().any(|other| other.name == upstream.name) {
            let span = table.get().name.as_ref().map_or(table.span(), At::span);
            let found = Diagnostic::error(span, format!("there are two upstreams named \"{}\"", upstream.name));
            cx.push(if &*upstream.name == "default" && raw.upstream.is_some() {
                found.hint("the key \"upstream\" is the upstream named \"default\"")
            } else {
                found
            });
            continue;
        }
        if &*upstream.name == "default" {
            upstreams.insert(0, upstream);
        } else {
            upstreams.push(upstream);
        }
    }
    let nothing_written = raw.upstream.is_none() && raw.upstreams.is_none();
    if nothing_written && !cx.is_damaged("upstream") && !cx.is_damaged("upstreams") {
        let found = Diagnostic::error(None, "no upstream is named: there is nothing to stand in front of");
        cx.push(found.hint("add for example: upstream = \"http://127.0.0.1:3000\""));
    }
    upstreams
}

fn defaults(name: Arc<str>) -> UpstreamSettings {
    UpstreamSettings {
        name,
        addresses: Vec::new(),
        host: None,
        base_path: "".into(),
        connect_timeout: 2 * SECOND,
        response_timeout: 30 * SECOND,
        read_timeout: 60 * SECOND,
        idle_timeout: 60 * SECOND,
        max_idle: 64,
        retry_failed_after: 5 * SECOND,
        tls: None,
        http2: false,
    }
}

/// The address and base path of `upstream = "http://…"`, and TLS where it is `https://…`.
fn upstream_url(cx: &mut Context<'_>, at: &At<UrlText>) -> Option<(Arc<str>, Arc<str>, Option<UpstreamTls>)> {
    let uri = absolute(cx, at)?;
    let https = uri.scheme_str() == Some("https");
    if uri.query().is_some() {
        cx.push(Diagnostic::error(at.span(), "the URL of an upstream has no query"));
        return None;
    }
    let base_path = base_path(cx, uri.path(), at.span())?;
    let authority = uri.authority()?.as_str();
    let port = if https { 443 } else { 80 };
    let address = if uri.port().is_some() { authority.to_owned() } else { format!("{authority}:{port}") };
    let tls = if https { Some(upstream_tls::of_url(cx, &address, at.span())?) } else { None };
    Some((address.into(), base_path, tls))
}

/// A path that others are put behind, without a trailing slash. It must be in the gate's own spelling already.
fn base_path(cx: &mut Context<'_>, path: &str, span: Range<usize>) -> Option<Arc<str>> {
    let bare = path.strip_suffix('/').unwrap_or(path);
    if bare.is_empty() {
        return Some("".into());
    }
    match portcullis_core::NormalizedPath::parse(bare) {
        Ok(spelled) if spelled.as_str() == bare => Some(bare.into()),
        Ok(spelled) => {
            let found = Diagnostic::error(span, format!("the path {path:?} is not in its plain spelling"));
            cx.push(found.hint(format!("write \"{}\"", spelled.as_str())));
            None
        }
        Err(error) => {
            cx.push(Diagnostic::error(span, format!("the path {path:?} cannot be used: {error}")));
            None
        }
    }
}

fn named_upstream(
    cx: &mut Context<'_>,
    table: &Table<UpstreamTable>,
    path: &str,
    listen: &[SocketAddr],
) -> Option<UpstreamSettings> {
    let (raw, span) = (table.get(), table.span());
    let name = match &raw.name {
        Some(at) => cx.name(at),
        None => {
            cx.missing(path, "name", span.clone(), "name = \"api\"");
            None
        }
    };
    if raw.addresses.as_ref().is_none_or(|list| list.0.is_empty()) {
        cx.missing(path, "addresses", span, "addresses = [\"127.0.0.1:3000\"]");
    }
    let mut addresses = Vec::new();
    for at in raw.addresses.iter().flat_map(|OneOrMany(list)| list) {
        let text = at.get().as_str();
        if let Some(fault) = host_port_fault(text) {
            let found = Diagnostic::error(at.span(), format!("{text:?} is not a host with a port"));
            cx.push(found.hint(fault));
        } else {
            refuse_loop(cx, text, at.span(), listen);
            addresses.push(text.into());
        }
    }
    let http2 = raw.http2.as_ref().is_some_and(|at| *at.get());
    let tls = raw.tls.as_ref().and_then(|table| upstream_tls::of_table(cx, table, &raw.addresses, http2));
    let host = raw.host.as_ref().and_then(|at| {
        let text = at.get().as_str();
        if text
            .parse::<http::uri::Authority>()
            .is_ok_and(|authority| !text.contains('@') && !authority.host().is_empty())
        {
            return Some(text.into());
        }
        cx.push(
            Diagnostic::error(at.span(), format!("{text:?} is not a host")).expected("for example \"api.internal\""),
        );
        None
    });
    let base = raw.base_path.as_ref().and_then(|at| {
        let text = at.get().as_str();
        base_path(cx, text, at.span())
    });
    let standard = defaults(name?.into());
    let longest = DAY;
    Some(UpstreamSettings {
        addresses,
        host,
        base_path: base.unwrap_or_else(|| "".into()),
        connect_timeout: cx.duration(
            raw.connect_timeout.as_ref(),
            standard.connect_timeout,
            MILLISECOND..=600 * SECOND,
        ),
        response_timeout: cx.duration(raw.response_timeout.as_ref(), standard.response_timeout, MILLISECOND..=longest),
        read_timeout: cx.duration(raw.read_timeout.as_ref(), standard.read_timeout, MILLISECOND..=longest),
        idle_timeout: cx.duration(raw.idle_timeout.as_ref(), standard.idle_timeout, MILLISECOND..=longest),
        max_idle: cx.count(raw.max_idle.as_ref(), standard.max_idle, 0..=100_000),
        retry_failed_after: cx.duration(
            raw.retry_failed_after.as_ref(),
            standard.retry_failed_after,
            MILLISECOND..=600 * SECOND,
        ),
        name: standard.name,
        tls,
        http2,
    })
}

/// What is wrong with `host:port`, if anything.
fn host_port_fault(text: &str) -> Option<&'static str> {
    if text.starts_with("https://") {
        return Some("write host:port, and for TLS: tls = {}");
    }
    if text.contains("://") {
        return Some("write host:port, without \"http://\"");
    }
    let valid = !text.contains(['@', '/', '?', '#'])
        && text
            .parse::<http::uri::Authority>()
            .is_ok_and(|authority| !authority.host().is_empty() && authority.port_u16().is_some_and(|port| port != 0));
    if valid { None } else { Some("write for example \"127.0.0.1:3000\", \"[::1]:3000\" or \"api.internal:3000\"") }
}

/// An upstream that is this gate's own listener would call itself until the connections run out.
fn refuse_loop(cx: &mut Context<'_>, address: &str, span: Range<usize>, listen: &[SocketAddr]) {
    let normal = address.replacen("localhost:", "127.0.0.1:", 1);
    let Ok(upstream) = normal.parse::<SocketAddr>() else { return };
    let own = listen.iter().any(|own| {
        own.port() == upstream.port()
            && (own.ip() == upstream.ip() || (own.ip().is_unspecified() && upstream.ip().is_loopback()))
    });
    if own {
        let found = Diagnostic::error(span, format!("the upstream {address} is this gate's own address"));
        cx.push(found.hint("let the API listen on another port"));
    }
}
