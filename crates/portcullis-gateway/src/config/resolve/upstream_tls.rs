//! TLS to the upstreams.

use std::ops::Range;

use super::context::Context;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, OneOrMany, PathText, SocketText, Table, Text, UpstreamTlsTable};
use crate::upstream_tls::{Pin, TlsFile, TlsRules, UpstreamTls, host, server_name};

/// TLS to `upstream = "https://…"`.
pub(super) fn of_url(cx: &mut Context<'_>, address: &str, span: Range<usize>) -> Option<UpstreamTls> {
    if server_name(host(address)).is_none() {
        cx.push(no_name(address, span));
        return None;
    }
    UpstreamTls::new(TlsRules::default(), cx.outside)
        .map_err(|fault| cx.push(Diagnostic::error(span, fault.to_string())))
        .ok()
}

fn no_name(address: &str, span: Range<usize>) -> Diagnostic {
    Diagnostic::error(span, format!("{:?} is no name that a certificate can be for", host(address)))
}

/// TLS to an upstream with a table of its own.
pub(super) fn of_table(
    cx: &mut Context<'_>,
    table: &Table<UpstreamTlsTable>,
    addresses: &Option<OneOrMany<SocketText>>,
    http2: bool,
) -> Option<UpstreamTls> {
    let raw = table.get();
    let name = match &raw.name {
        Some(at) => {
            let text = at.get().as_str();
            let name = server_name(text);
            if name.is_none() {
                let found = Diagnostic::error(at.span(), format!("{text:?} is no name that a certificate can be for"));
                cx.push(found.expected("a host name or an address, without a port"));
            }
            name
        }
        None => {
            for at in addresses.iter().flat_map(|OneOrMany(list)| list) {
                check_host(cx, at.get().as_str(), at.span());
            }
            None
        }
    };
    let identity = match (&raw.cert, &raw.key) {
        (Some(certificate), Some(key)) => Some((cx.path(certificate), cx.path(key))),
        (None, None) => None,
        (Some(at), None) => half(cx, at, "key", "client.key"),
        (None, Some(at)) => half(cx, at, "cert", "client.pem"),
    };
    let danger = raw.danger_accept_invalid_certificates.as_ref().filter(|at| *at.get());
    if let Some(at) = danger {
        let found = Diagnostic::warning(at.span(), "any certificate of this upstream is believed");
        cx.push(found.hint(
            "whoever stands in between reads and changes every request, credentials included; name its authority with \"ca\"",
        ));
        if let Some(ca) = &raw.ca {
            cx.push(Diagnostic::warning(ca.span(), "\"ca\" is not asked, because any certificate is believed"));
        }
    }
    let rules = TlsRules {
        ca: raw.ca.as_ref().map(|at| cx.path(at)),
        identity,
        name,
        pins: pins(cx, raw.pins.as_ref(), table.span()),
        http2,
        danger_accept_invalid_certificates: danger.is_some(),
    };
    if let (Some(at), true) = (&raw.key, rules.identity.is_some())
        && cx.outside.is_world_readable(&cx.path(at))
    {
        let found = Diagnostic::warning(at.span(), "everyone on this machine can read the private key");
        cx.push(found.hint("chmod 600"));
    }
    UpstreamTls::new(rules, cx.outside)
        .map_err(|fault| {
            let at = match fault.file {
                TlsFile::Ca => &raw.ca,
                TlsFile::Certificate => &raw.cert,
                TlsFile::Key => &raw.key,
            };
            cx.push(Diagnostic::error(at.as_ref().map_or(table.span(), At::span), fault.to_string()));
        })
        .ok()
}

/// Whether a certificate can be for the host of an address. A bare address is nearly never what a certificate is for, and
/// where it is, that can be said.
fn check_host(cx: &mut Context<'_>, address: &str, span: Range<usize>) {
    let host = host(address);
    if host.parse::<std::net::IpAddr>().is_ok() {
        let found = Diagnostic::error(span, format!("nobody says which name the certificate of {address} must be for"));
        cx.push(found.hint(format!(
            "add \"name\" to its \"tls\", for example: name = \"api.internal\" (or name = \"{host}\", if it is for the address)"
        )));
    } else if server_name(host).is_none() {
        cx.push(no_name(address, span));
    }
}

fn half<T>(cx: &mut Context<'_>, at: &At<PathText>, missing: &str, example: &str) -> Option<T> {
    let found = Diagnostic::error(at.span(), "a certificate and its private key stand together");
    cx.push(found.hint(format!("add for example: {missing} = \"{example}\"")));
    None
}

fn pins(cx: &mut Context<'_>, list: Option<&OneOrMany<Text>>, span: Range<usize>) -> Vec<Pin> {
    let mut pins = Vec::new();
    if list.is_some_and(|OneOrMany(list)| list.is_empty()) {
        cx.push(Diagnostic::error(
            span,
            "an empty list of pins accepts no upstream; leave \"pins\" out to accept any key",
        ));
    }
    for at in list.iter().flat_map(|OneOrMany(list)| list) {
        match Pin::parse(at.get().as_str()) {
            Some(pin) => pins.push(pin),
            None => {
                let found = Diagnostic::error(at.span(), format!("{:?} is not a pin", at.get().as_str()));
                cx.push(found.expected("\"sha256/\" and 44 characters of base64"));
            }
        }
    }
    pins
}
