//! Strict decisions on request heads that hyper lets through: what two programs could read differently goes no further.

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use portcullis_core::Reason;

use super::head_http2;
use crate::config::TransportSettings;

/// What a well-formed head asks for besides its method and target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asks {
    /// It properly asks to become a WebSocket.
    pub(crate) websocket: bool,
    /// It names some protocol to upgrade to; unless that is granted, nothing after it may be read as a request.
    pub(crate) upgrade: bool,
    /// It is gRPC, over HTTP/2.
    pub(crate) grpc: bool,
}

/// Checks a head and brings its target to origin form.
///
/// # Errors
/// The rule that it breaks.
pub(crate) fn check<B: http_body::Body>(request: &mut Request<B>, bounds: &TransportSettings) -> Result<Asks, Reason> {
    // A tunnel through a gate would be no gate, and TRACE shows a client what the hops between wrote (RFC 9110 §9.3.6,
    // §9.3.8).
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) || is_another_spelling(request.method()) {
        return Err(Reason::MethodRefused);
    }
    target_length(request.uri(), bounds)?;
    match request.version() {
        Version::HTTP_10 | Version::HTTP_11 => {}
        Version::HTTP_2 => return head_http2::check(request, bounds),
        // The libraries name no other version, but the rules below are for these.
        _ => return Err(Reason::Malformed("the HTTP version must be 1.0, 1.1 or 2")),
    }
    let fields = Fields::of(request.headers());
    let host = host(&fields, request.version())?;
    framing(&fields, request.version())?;
    expectation(&fields)?;
    let asks = upgrade(&fields, request)?;
    if let Some(target) = origin_form(request.uri(), host)? {
        *request.uri_mut() = Uri::from(target);
    }
    Ok(asks)
}

/// Whether a method is a well-known one but for its case. Methods are case-sensitive (RFC 9110 §9.1), so that `get` would
/// match no route for `GET`; but frameworks write it in upper case and serve it as one.
fn is_another_spelling(method: &Method) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE) {
        return false;
    }
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    let name = method.as_str();
    known.iter().any(|known| name != *known && name.eq_ignore_ascii_case(known))
}

/// The fields that decide how a message is read, found in one walk: most heads have few fields, and looking for each of
/// these by its name costs more than looking at all.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) host: Seen<'a>,
    pub(super) transfer_encoding: Seen<'a>,
    content_length: Seen<'a>,
    pub(super) content_type: Seen<'a>,
    expect: Seen<'a>,
    pub(super) upgrade: Seen<'a>,
}

/// How often a field is there.
#[derive(Clone, Copy, Default)]
pub(super) enum Seen<'a> {
    #[default]
    Never,
    Once(&'a HeaderValue),
    Often,
}

impl<'a> Seen<'a> {
    fn see(&mut self, value: &'a HeaderValue) {
        *self = if matches!(self, Self::Never) { Self::Once(value) } else { Self::Often };
    }
}

impl<'a> Fields<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            if *name == HOST {
                fields.host.see(value);
            } else if *name == CONTENT_LENGTH {
                fields.content_length.see(value);
            } else if *name == CONTENT_TYPE {
                fields.content_type.see(value);
            } else if *name == TRANSFER_ENCODING {
                fields.transfer_encoding.see(value);
            } else if *name == EXPECT {
                fields.expect.see(value);
            } else if *name == UPGRADE {
                fields.upgrade.see(value);
            }
        }
        fields
    }
}

fn target_length(uri: &Uri, bounds: &TransportSettings) -> Result<(), Reason> {
    let length = uri.path_and_query().map_or(0, |target| target.as_str().len())
        + uri.authority().map_or(0, |authority| authority.as_str().len());
    if length > bounds.max_target_bytes { Err(Reason::TargetTooLong) } else { Ok(()) }
}

/// RFC 9112 §3.2: exactly one valid Host in every HTTP/1.1 request; HTTP/1.0 knows none, and may have one.
fn host<'a>(fields: &Fields<'a>, version: Version) -> Result<Option<&'a HeaderValue>, Reason> {
    match fields.host {
        Seen::Never if version == Version::HTTP_10 => Ok(None),
        Seen::Never => Err(Reason::Malformed("the Host header is missing")),
        Seen::Often => Err(Reason::Malformed("there is more than one Host header")),
        Seen::Once(value) if is_host(value.as_bytes()) => Ok(Some(value)),
        Seen::Once(_) => Err(Reason::Malformed("the Host header is not a host with an optional port")),
    }
}

/// `uri-host [":" port]` of RFC 9110 §7.2, not empty and without userinfo.
pub(super) fn is_host(text: &[u8]) -> bool {
    let (host, port) = if text.first() == Some(&b'[') {
        let Some(end) = text.iter().position(|byte| *byte == b']') else { return false };
        let inside = std::str::from_utf8(&text[1..end]).unwrap_or_default();
        if inside.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        match text[end + 1..].split_first() {
            None => return true,
            Some((b':', port)) => (&b"v6"[..], port),
            Some(_) => return false,
        }
    } else {
        match text.iter().position(|byte| *byte == b':') {
            Some(colon) => (&text[..colon], &text[colon + 1..]),
            None => (text, &b"0"[..]),
        }
    };
    !host.is_empty()
        && host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte))
        && !port.is_empty()
        && port.len() <= 5
        && port.iter().all(u8::is_ascii_digit)
        && std::str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok())
}

/// RFC 9112 §3.2: a gate is asked in origin form. The absolute form is understood where it says the same as the Host
/// header (§3.2.2 would have the target win; an upstream that lets the header win would serve another host than the
/// one that was decided about).
fn origin_form(uri: &Uri, host: Option<&HeaderValue>) -> Result<Option<PathAndQuery>, Reason> {
    if let Some(target) = uri.path_and_query() {
        query(target)?;
    }
    if uri.scheme().is_none() && uri.authority().is_none() {
        // `*` is about the server itself, of which there is nothing to tell (RFC 9110 §9.3.7).
        if !uri.path().starts_with('/') {
            return Err(Reason::Malformed("the request target must begin with \"/\""));
        }
        return Ok(None);
    }
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Reason::Malformed("the request target must begin with \"/\""));
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Reason::Malformed("the scheme of the request target is neither http nor https"));
    }
    if !is_host(authority.as_str().as_bytes()) {
        return Err(Reason::Malformed("the authority of the request target is not a host with an optional port"));
    }
    if host.is_some_and(|host| !names_same_host(host.as_bytes(), authority)) {
        return Err(Reason::Malformed("the request target and the Host header name different hosts"));
    }
    let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let target = if target.as_str() == "/" {
        // One that is empty (`http://host#part`) shows itself as a slash, and is no path any more without its authority.
        PathAndQuery::from_static("/")
    } else if target.as_str().starts_with('/') {
        target
    } else {
        // `http://host?query` has an empty path, which is "/" (RFC 9110 §4.2.3).
        // Its text, because what it displays begins with the slash already.
        PathAndQuery::try_from(format!("/{}", target.as_str()))
            .map_err(|_| Reason::Malformed("the request target is not valid"))?
    };
    Ok(Some(target))
}

/// A query holds nothing that would have to be escaped.
pub(super) fn query(target: &PathAndQuery) -> Result<(), Reason> {
    if target.query().is_some_and(|query| !query.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(Reason::Malformed("the query has characters that must be escaped (RFC 3986 section 3.4)"));
    }
    Ok(())
}

/// Hosts are compared without regard to case, ports as they are written.
pub(super) fn names_same_host(host: &[u8], authority: &Authority) -> bool {
    authority.as_str().as_bytes().eq_ignore_ascii_case(host)
}

/// RFC 9112 §6: how long the body is must have one answer.
///
/// A Content-Length beside a Transfer-Encoding is never seen here: hyper takes it away, reads the body as chunked and lets the
/// request be the last of its connection, which is what §6.3 asks of whoever does not refuse it.
pub(super) fn framing(fields: &Fields<'_>, version: Version) -> Result<(), Reason> {
    match fields.transfer_encoding {
        Seen::Never => {}
        // §6.1 allows other codings before chunked; nobody sends them but to find a hop that overlooks one.
        Seen::Once(coding) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            if version == Version::HTTP_10 {
                return Err(Reason::Malformed("HTTP/1.0 has no Transfer-Encoding"));
            }
        }
        _ => return Err(Reason::Malformed("Transfer-Encoding must be exactly \"chunked\", once")),
    }
    match fields.content_length {
        Seen::Never => {}
        Seen::Often => return Err(Reason::Malformed("there is more than one Content-Length")),
        Seen::Once(length) => {
            let digits = length.as_bytes();
            if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
                return Err(Reason::Malformed("the Content-Length is not a decimal number"));
            }
            // "010" is ten to one reader and eight to another.
            if digits.len() > 1 && digits[0] == b'0' {
                return Err(Reason::Malformed("the Content-Length has leading zeros"));
            }
        }
    }
    // Two programs that take different ones of two read two different bodies.
    if matches!(fields.content_type, Seen::Often) {
        return Err(Reason::Malformed("there is more than one Content-Type"));
    }
    Ok(())
}

/// RFC 9110 §10.1.1: an expectation that is not understood is refused, not ignored.
pub(super) fn expectation(fields: &Fields<'_>) -> Result<(), Reason> {
    match fields.expect {
        Seen::Never => Ok(()),
        Seen::Once(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        _ => Err(Reason::ExpectationFailed),
    }
}

/// RFC 9110 §7.8. Only WebSocket is ever granted: an upgrade to cleartext HTTP/2 would open a tunnel in which no later
/// request is decided about.
fn upgrade<B: http_body::Body>(fields: &Fields<'_>, request: &Request<B>) -> Result<Asks, Reason> {
    if matches!(fields.upgrade, Seen::Never) {
        return Ok(Asks::default());
    }
    if request.version() == Version::HTTP_10 {
        // §7.8: a server must ignore it there.
        return Ok(Asks { upgrade: true, ..Asks::default() });
    }
    let named = connection_options(request.headers()).any(|option| option.eq_ignore_ascii_case("upgrade"));
    if named && !request.body().is_end_stream() {
        return Err(Reason::Malformed("a request to upgrade must not have a body"));
    }
    let websocket = named
        && matches!(fields.upgrade, Seen::Once(protocol) if protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
        // RFC 6455 §4.1: a handshake is a GET.
        && *request.method() == Method::GET;
    Ok(Asks { websocket, upgrade: true, grpc: false })
}

/// The options of all `Connection` lines (RFC 9110 §7.6.1).
pub(crate) fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(str::trim)
        .filter(|option| !option.is_empty())
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;
    use crate::listen::tests::transport;

    fn judge(head: &str) -> Result<(Asks, String), Reason> {
        judge_with(head, "")
    }

    fn judge_with(head: &str, body: &'static str) -> Result<(Asks, String), Reason> {
        let mut lines = head.lines();
        let mut first = lines.next().unwrap().split(' ');
        let mut builder = Request::builder().method(first.next().unwrap()).uri(first.next().unwrap());
        builder = builder.version(if first.next() == Some("1.0") { Version::HTTP_10 } else { Version::HTTP_11 });
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            builder = builder.header(name, value);
        }
        let mut request = builder.body(Full::new(bytes::Bytes::from(body))).unwrap();
        check(&mut request, &transport()).map(|asks| (asks, request.uri().to_string()))
    }

    fn malformed(head: &str) {
        assert!(matches!(judge(head), Err(Reason::Malformed(_))), "{head}: {:?}", judge(head));
    }

    #[test]
    fn h7_a_host_is_there_once_and_valid() {
        for host in ["a", "a.example:80", "127.0.0.1:8080", "[::1]", "[::1]:443", "a_b"] {
            assert!(judge(&format!("GET / 1.1\nHost: {host}")).is_ok(), "{host}");
        }
        for host in ["", "a b", "u@a", "a:", "a:x", "a:99999", "a,b", "[::1", "[zz]", "a/b", "a?b", ":80", "[::1]x"] {
            malformed(&format!("GET / 1.1\nHost: {host}"));
        }
        malformed("GET / 1.1");
        malformed("GET / 1.1\nHost: a\nHost: a");
        assert!(judge("GET / 1.0").is_ok());
        malformed("GET / 1.0\nHost: a\nHost: b");
    }

    #[test]
    fn h7_an_absolute_target_must_agree_with_the_host() {
        assert_eq!(judge("GET http://a/x?y=1 1.1\nHost: a").unwrap().1, "/x?y=1");
        assert_eq!(judge("GET http://A 1.1\nHost: a").unwrap().1, "/");
        assert_eq!(judge("GET http://a?y=1 1.1\nHost: a").unwrap().1, "/?y=1");
        assert_eq!(judge("GET http://a#part 1.1\nHost: a").unwrap().1, "/");
        assert_eq!(judge("GET http://a?#part 1.1\nHost: a").unwrap().1, "/?");
        malformed("GET http://b/x 1.1\nHost: a");
        malformed("GET http://a:81/x 1.1\nHost: a");
        malformed("GET http://u@a/x 1.1\nHost: a");
        malformed("GET ftp://a/x 1.1\nHost: a");
        malformed("GET a:80 1.1\nHost: a:80");
        malformed("OPTIONS * 1.1\nHost: a");
    }

    #[test]
    fn h7_a_body_has_one_length() {
        malformed("POST / 1.1\nHost: a\nTransfer-Encoding: gzip, chunked");
        malformed("POST / 1.1\nHost: a\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked");
        malformed("POST / 1.1\nHost: a\nTransfer-Encoding: identity");
        malformed("POST / 1.0\nTransfer-Encoding: chunked");
        malformed("POST / 1.1\nHost: a\nContent-Length: +3");
        malformed("POST / 1.1\nHost: a\nContent-Length: 03");
        malformed("POST / 1.1\nHost: a\nContent-Type: a/b\nContent-Type: c/d\nContent-Length: 3");
        malformed("POST / 1.1\nHost: a\nContent-Length: 3\nContent-Length: 3");
        assert!(judge("POST / 1.1\nHost: a\nTransfer-Encoding: Chunked").is_ok());
    }

    #[test]
    fn h7_tunnels_and_echoes_are_refused() {
        assert_eq!(judge("TRACE / 1.1\nHost: a"), Err(Reason::MethodRefused));
        assert_eq!(judge("CONNECT a:80 1.1\nHost: a:80"), Err(Reason::MethodRefused));
        for method in ["get", "Get", "pOST", "options", "trace"] {
            assert_eq!(judge(&format!("{method} / 1.1\nHost: a")), Err(Reason::MethodRefused), "{method}");
        }
        assert!(judge("GETS / 1.1\nHost: a").is_ok());
    }

    #[test]
    fn an_unknown_expectation_is_refused() {
        assert!(judge("POST / 1.1\nHost: a\nExpect: 100-Continue").is_ok());
        assert_eq!(judge("POST / 1.1\nHost: a\nExpect: tea"), Err(Reason::ExpectationFailed));
        assert_eq!(judge("POST / 1.1\nHost: a\nExpect: 100-continue, tea"), Err(Reason::ExpectationFailed));
    }

    #[test]
    fn only_a_proper_websocket_handshake_may_upgrade() {
        let asks = |head: &str| judge(head).unwrap().0;
        assert!(asks("GET / 1.1\nHost: a\nConnection: keep-alive, Upgrade\nUpgrade: websocket").websocket);
        for head in [
            "GET / 1.1\nHost: a\nUpgrade: websocket",
            "GET / 1.1\nHost: a\nConnection: Upgrade\nUpgrade: h2c",
            "GET / 1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket, h2c",
            "POST / 1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket",
            "GET / 1.0\nConnection: Upgrade\nUpgrade: websocket",
        ] {
            assert_eq!(asks(head), Asks { upgrade: true, ..Asks::default() }, "{head}");
        }
        let with_body = "GET / 1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket\nContent-Length: 4";
        assert!(matches!(judge_with(with_body, "smug"), Err(Reason::Malformed(_))));
    }

    #[test]
    fn a_target_over_its_bound_is_told_so() {
        let long = "x".repeat(transport().max_target_bytes);
        assert_eq!(judge(&format!("GET /{long} 1.1\nHost: a")), Err(Reason::TargetTooLong));
    }
}
