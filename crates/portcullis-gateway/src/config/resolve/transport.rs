//! Listeners, the client's side, and the URL under which clients know this gate.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Uri};
use ipnet::IpNet;
use portcullis_core::{ForwardHeader, TrustedHops, unmapped};

use super::context::Context;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, ClientTable, NetworkText, Raw, Table, UrlText};
use crate::config::settings::TransportSettings;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const MILLISECOND: Duration = Duration::from_millis(1);

/// The highest rate that can be asked of a body, in bytes per second.
pub(super) const FASTEST: u64 = 1 << 30;

pub(super) const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// One address to listen on.
pub(super) fn socket(cx: &mut Context<'_>, text: &str, span: Range<usize>) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let found = Diagnostic::error(span, format!("{text:?} is not an address with a port"));
    let port = text.rsplit(':').next().filter(|port| port.parse::<u16>().is_ok());
    let found = match (text, port) {
        (_, Some(port)) if text.starts_with(':') || text == port || text.starts_with("*:") => {
            found.hint(format!("write \"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" for every interface"))
        }
        (_, Some(port)) if text.starts_with("localhost:") => found.hint(format!("write \"127.0.0.1:{port}\"")),
        _ if text.parse::<IpAddr>().is_ok() => found.hint("add a port"),
        _ => found.expected("for example \"127.0.0.1:8080\" or \"[::1]:8080\""),
    };
    cx.push(found);
    None
}

/// Where clients connect. What the command line says goes before what the file says.
pub(super) fn listen(cx: &mut Context<'_>, raw: &Raw, over: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut listen = Vec::new();
    for at in raw.listen.iter().flat_map(|list| &list.0) {
        let Some(address) = socket(cx, at.get().as_str(), at.span()) else { continue };
        if listen.contains(&address) {
            cx.push(Diagnostic::error(at.span(), format!("{address} is written twice")));
        } else {
            listen.push(address);
        }
    }
    if !over.is_empty() {
        return over.to_vec();
    }
    if listen.is_empty() {
        listen.push(DEFAULT_LISTEN);
    }
    listen
}

/// The URL under which clients know this gate, and whether the file says it.
/// `secure` is where it speaks HTTPS itself.
pub(super) fn public_url(
    cx: &mut Context<'_>,
    raw: &Raw,
    listen: &[SocketAddr],
    secure: Option<SocketAddr>,
) -> Arc<str> {
    let (scheme, usual) = if secure.is_some() { ("https", 443) } else { ("http", 80) };
    let first = secure.or(listen.first().copied()).unwrap_or(DEFAULT_LISTEN);
    let Some(at) = &raw.public_url else {
        if listen.iter().any(|address| !address.ip().is_loopback()) && !cx.is_damaged("public_url") {
            let found = Diagnostic::warning(
                raw.listen.as_ref().and_then(|list| list.0.first()).map(At::span),
                "\"public_url\" is not set although other machines can connect",
            );
            cx.push(found.hint(
                "without it tokens name this machine's loopback address as their issuer; add for example: \
                 public_url = \"https://api.example.com\"",
            ));
        }
        let host = match first.ip() {
            ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        return match first.port() {
            port if port == usual => format!("{scheme}://{host}").into(),
            port => format!("{scheme}://{host}:{port}").into(),
        };
    };
    let text = at.get().as_str();
    let fallback = Arc::from("http://127.0.0.1:8080");
    let Some(uri) = absolute(cx, at) else { return fallback };
    let https = uri.scheme_str() == Some("https");
    if uri.path() != "/" || uri.query().is_some() {
        let found = Diagnostic::error(at.span(), format!("{text:?} has a path; a public URL is a scheme and a host"));
        cx.push(found.expected("for example \"https://api.example.com\""));
        return fallback;
    }
    if !https && secure.is_some() {
        let found = Diagnostic::error(at.span(), "the public URL is http, and clients are spoken with by https");
        cx.push(found.hint("write https://…: cookies, links in mails and Strict-Transport-Security go by it"));
    } else if !https && !is_loopback_host(uri.host().unwrap_or_default()) {
        let found =
            Diagnostic::warning(at.span(), "the public URL is not https: passwords and tokens travel in the clear");
        cx.push(found.hint(
            "write https://…, and give the gate a certificate ([tls]) or put TLS in front; cookies are refused over plain http",
        ));
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str()).to_ascii_lowercase();
    let scheme = if https { "https" } else { "http" };
    let default_port = if https { ":443" } else { ":80" };
    let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
    format!("{scheme}://{authority}").into()
}

/// An absolute http or https URL without credentials.
pub(super) fn absolute(cx: &mut Context<'_>, at: &At<UrlText>) -> Option<Uri> {
    let text = at.get().as_str();
    let wrong = |message: String| Some(Diagnostic::error(at.span(), message));
    let parsed: Result<Uri, _> = text.parse();
    let found = match &parsed {
        _ if text.contains('@') => {
            // It may hold a password, so it is not repeated.
            Some(Diagnostic::error(at.span(), "a URL with a user or a password cannot stand here").concealed())
        }
        Ok(uri) if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) => {
            wrong(format!("{text:?} is not an http or https URL")).map(|found| {
                let suggestion = if text.contains("://") || text.is_empty() { "http://127.0.0.1:3000" } else { text };
                found.hint(format!("write \"http://{}\"", suggestion.trim_start_matches("http://")))
            })
        }
        Ok(_) if text.contains('#') => wrong(format!("{text:?} has a fragment")),
        Ok(uri) if uri.port().is_some_and(|port| port.as_u16() == 0) => wrong(format!("{text:?} has no usable port")),
        Ok(_) => None,
        Err(error) => wrong(format!("{text:?} is not a URL: {error}")),
    };
    match found {
        Some(found) => {
            cx.push(found);
            None
        }
        None => parsed.ok(),
    }
}

/// Whether a host name means this machine.
pub(super) fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.to_ascii_lowercase().ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The client's side.
pub(super) fn transport(cx: &mut Context<'_>, raw: &Raw) -> TransportSettings {
    let none = ClientTable::default();
    let client = raw.client.as_ref().map_or(&none, Table::get);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    TransportSettings {
        trusted_hops: trusted_hops(cx, client),
        head_timeout: cx.duration(client.head_timeout.as_ref(), 10 * SECOND, MILLISECOND..=600 * SECOND),
        body_timeout: cx.duration(client.body_timeout.as_ref(), 30 * SECOND, MILLISECOND..=DAY),
        min_body_rate: cx.size(client.min_body_rate.as_ref(), 500, 0..=FASTEST),
        idle_timeout: cx.duration(client.idle_timeout.as_ref(), 75 * SECOND, MILLISECOND..=DAY),
        total_timeout: cx.duration(client.total_timeout.as_ref(), Duration::ZERO, Duration::ZERO..=DAY),
        // hyper takes no buffer below 8 KiB.
        max_head_bytes: size(cx.size(client.max_head.as_ref(), 32 << 10, 8 << 10..=1 << 20)),
        max_headers: cx.count(client.max_headers.as_ref(), 100, 1..=10_000),
        max_target_bytes: size(cx.size(client.max_target.as_ref(), 8 << 10, 64..=64 << 10)),
        max_connections: cx.count(client.max_connections.as_ref(), 10_000, 1..=10_000_000),
        max_connections_per_address: cx.count(client.max_connections_per_address.as_ref(), 256, 1..=10_000_000),
        max_held_bytes: size(cx.size(client.max_held.as_ref(), 64 << 20, 1 << 20..=1 << 40)),
        http2: client.http2.as_ref().is_none_or(|at| *at.get()),
        h2c: client.h2c.as_ref().is_some_and(|at| *at.get()),
        max_concurrent_streams: u32::try_from(cx.number(client.max_concurrent_streams.as_ref(), 100, 1..=10_000))
            .unwrap_or(100),
        drain_timeout: cx.duration(raw.drain_timeout.as_ref(), 30 * SECOND, Duration::ZERO..=DAY),
        cores: cx.count(raw.cores.as_ref(), cores, 1..=1024),
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// A network, or one address as a network of its own.
pub(super) fn network(cx: &mut Context<'_>, at: &At<NetworkText>) -> Option<IpNet> {
    let text = at.get().as_str();
    let Some(network) = read_network(text) else {
        let found = Diagnostic::error(at.span(), format!("{text:?} is not a network"));
        cx.push(found.expected("for example \"10.0.0.0/8\", \"192.0.2.7\" or \"2001:db8::/32\""));
        return None;
    };
    if network.trunc() != network {
        let found = Diagnostic::error(at.span(), format!("{text:?} has bits behind its prefix"));
        cx.push(found.hint(format!("write \"{}\"", network.trunc())));
        return None;
    }
    Some(network)
}

/// Reads an address with an optional prefix. The library for networks takes `010.0.0.0/8`, which is another network to those
/// who read octal; the standard library does not take such an address.
///
/// An IPv4 network in the clothes of IPv6 (`::ffff:10.0.0.0/104`) is the IPv4 network: addresses are compared in their plain
/// form, so that it would never match anything.
fn read_network(text: &str) -> Option<IpNet> {
    let Some((address, prefix)) = text.split_once('/') else {
        return text.parse::<IpAddr>().ok().map(|address| IpNet::from(unmapped(address)));
    };
    let address: IpAddr = address.parse().ok()?;
    let is_plain = prefix.bytes().all(|byte| byte.is_ascii_digit()) && (prefix == "0" || !prefix.starts_with('0'));
    let prefix: u8 = prefix.parse().ok().filter(|_| is_plain)?;
    match (address, unmapped(address)) {
        (IpAddr::V6(_), plain @ IpAddr::V4(_)) => IpNet::new(plain, prefix.checked_sub(96)?).ok(),
        _ => IpNet::new(address, prefix).ok(),
    }
}

/// Whether a network is more than anybody has who is not a part of the internet.
pub(super) const fn is_wide(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() < 8,
        IpNet::V6(network) => network.prefix_len() < 16,
    }
}

fn trusted_hops(cx: &mut Context<'_>, client: &ClientTable) -> TrustedHops {
    let mut networks = Vec::new();
    for at in client.trusted_hops.iter().flat_map(|list| &list.0) {
        let Some(network) = network(cx, at) else { continue };
        if is_wide(&network) {
            let found = Diagnostic::warning(at.span(), format!("{network} trusts a large part of the internet"));
            cx.push(
                found.hint(
                    "whoever it covers can choose the address that limits and blocks see; name your proxies only",
                ),
            );
        }
        networks.push(network);
    }
    let header = client.header.as_ref().and_then(|at| {
        let name: HeaderName = match at.get().as_str().parse() {
            Ok(name) => name,
            Err(_) => {
                cx.push(Diagnostic::error(at.span(), format!("{:?} is not a header name", at.get().as_str())));
                return None;
            }
        };
        if networks.is_empty() {
            let found = Diagnostic::warning(at.span(), "the header is never read, because no hop is trusted");
            cx.push(found.hint("add for example: trusted_hops = [\"10.0.0.0/8\"]"));
        }
        Some(match name.as_str() {
            "forwarded" => ForwardHeader::Forwarded,
            "x-forwarded-for" => ForwardHeader::List(name),
            _ => ForwardHeader::Single(name),
        })
    });
    TrustedHops::new(networks, header.unwrap_or_default())
}
