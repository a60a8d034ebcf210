//! The headers that a hop takes off and puts on, on the way there and back.
//!
//! The order is the security property: first everything that belongs to the client's own hop goes, then the gate says
//! who it is, and what we say ourselves comes last. A client's `Connection` list can therefore never remove what is set
//! here (RFC 9110 §7.6.1).

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderName, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE, VIA,
};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use portcullis::Pass;
use portcullis_core::{Reason, RequestId};
use smallvec::SmallVec;

use super::head::connection_options;
use crate::config::UpstreamSettings;
use crate::listen::Link;

/// How this hop calls itself in `Via` (RFC 9110 §7.6.3).
const VIA_11: HeaderValue = HeaderValue::from_static("1.1 portcullis");
const VIA_10: HeaderValue = HeaderValue::from_static("1.0 portcullis");
const VIA_2: HeaderValue = HeaderValue::from_static("2.0 portcullis");

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What becomes of a header that a client sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It goes on.
    Keep,
    /// It is about the client's own hop, or an order that only a gate may give.
    Drop,
    /// It is the word of a hop before us, worth as much as that hop.
    Hop,
}

/// A name in lower case.
fn fate(name: &str) -> Fate {
    match name {
        "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade" | "expect"
        | "http2-settings" | "x-request-id" => Fate::Drop,
        // Each of these makes some framework serve another method or path than the one that was decided about.
        "x-http-method-override"
        | "x-http-method"
        | "x-method-override"
        | "x-original-method"
        | "x-original-url"
        | "x-original-uri"
        | "x-rewrite-url"
        | "x-override-url" => Fate::Drop,
        "x-real-ip"
        | "x-client-ip"
        | "true-client-ip"
        | "x-cluster-client-ip"
        | "cf-connecting-ip"
        | "forwarded"
        | "client-ip" => Fate::Hop,
        _ if name.starts_with("proxy-") => Fate::Drop,
        _ if name.starts_with("x-forwarded-") => Fate::Hop,
        _ => Fate::Keep,
    }
}

/// Whether a name is another spelling of one that decides something: CGI-like upstreams read `Content_Length` and
/// `Content-Length` as one variable.
fn is_twin(name: &str) -> bool {
    if !name.bytes().any(|byte| !byte.is_ascii_alphanumeric() && byte != b'-') {
        return false;
    }
    let folded: SmallVec<[u8; 64]> =
        name.bytes().map(|byte| if byte.is_ascii_alphanumeric() { byte } else { b'-' }).collect();
    let folded = std::str::from_utf8(&folded).unwrap_or_default();
    fate(folded) != Fate::Keep
        || matches!(folded, "content-length" | "content-type" | "host" | "cookie" | "authorization" | "via")
}

/// Turns a client's headers into those that an upstream gets.
///
/// # Errors
/// Where the client's `Connection` list names a header that decides how the message is read.
pub(crate) fn prepare_request(
    headers: &mut HeaderMap,
    link: &Link,
    pass: &Pass,
    upstream: &UpstreamSettings,
    version: Version,
    websocket: bool,
    id: HeaderValue,
) -> Result<(), Reason> {
    let mut doomed: SmallVec<[HeaderName; 8]> = SmallVec::new();
    let (mut lists_options, mut wants_trailers, mut has_cookies) = (false, false, false);
    let mut host = None;
    for (name, value) in &*headers {
        let goes = match fate(name.as_str()) {
            Fate::Keep => {
                if *name == HOST {
                    host = Some(value.clone());
                }
                has_cookies |= *name == COOKIE;
                is_twin(name.as_str())
            }
            Fate::Drop => {
                lists_options |= *name == CONNECTION;
                wants_trailers |= *name == TE && accepts_trailers(value);
                true
            }
            Fate::Hop => !link.peer_is_trusted,
        };
        if goes && doomed.last() != Some(name) {
            doomed.push(name.clone());
        }
    }
    if lists_options {
        remove_options(headers)?;
    }
    for name in doomed {
        headers.remove(name);
    }

    pass.apply_to_request(headers);
    if has_cookies {
        drop_admin_cookie(headers);
    }

    forwarded(headers, link, host.as_ref());
    match &upstream.host {
        // Settings hold only what can be sent; a name that cannot would be refused by the upstream.
        Some(name) => set_text(headers, HOST, name),
        None if host.is_none() => {
            set_text(headers, HOST, upstream.addresses.first().map_or("localhost", |address| address));
        }
        None => {}
    }
    headers.append(VIA, via(version));
    headers.insert(X_REQUEST_ID, id);
    if websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    } else if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    Ok(())
}

/// Turns an upstream's headers into those that a client gets, before the gate shapes them.
///
/// # Errors
/// Where the upstream's answer cannot be framed in one way only.
pub(crate) fn prepare_response(
    headers: &mut HeaderMap,
    status: StatusCode,
    version: Version,
    websocket: bool,
) -> Result<(), Reason> {
    let (mut codings, mut lengths, mut lists_options, mut sets_cookies) = (0, 0, false, false);
    let mut doomed: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for (name, value) in &*headers {
        if *name == CONTENT_LENGTH {
            lengths += 1;
        } else if *name == SET_COOKIE {
            sets_cookies = true;
        } else if is_of_the_hop(name) {
            lists_options |= *name == CONNECTION;
            if *name == TRANSFER_ENCODING {
                // A coding that we do not undo would be lost with its header.
                codings += if value.as_bytes().eq_ignore_ascii_case(b"chunked") { 1 } else { 2 };
            }
            if doomed.last() != Some(name) {
                doomed.push(name.clone());
            }
        }
    }
    // RFC 9112 §6.3: both is how responses are split.
    if codings > 1 || (codings > 0 && lengths > 0) {
        return Err(Reason::UpstreamInvalid);
    }
    if lengths > 1
        && let Some(first) = headers.get(CONTENT_LENGTH).cloned()
    {
        // hyper has made sure that they agree; one goes on (RFC 9110 §8.6).
        headers.insert(CONTENT_LENGTH, first);
    }
    if lists_options {
        remove_options(headers).map_err(|_| Reason::UpstreamInvalid)?;
    }
    for name in doomed {
        headers.remove(name);
    }
    if sets_cookies {
        drop_admin_set_cookie(headers);
    }
    if status == StatusCode::NO_CONTENT {
        // RFC 9110 §8.6: it has no content, whatever length it claims.
        headers.remove(CONTENT_LENGTH);
    }
    if websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    headers.append(VIA, via(version));
    Ok(())
}

/// What this hop says of a message that came to it by this version (RFC 9110 §7.6.3).
const fn via(version: Version) -> HeaderValue {
    match version {
        Version::HTTP_10 => VIA_10,
        Version::HTTP_2 => VIA_2,
        _ => VIA_11,
    }
}

/// Whether a response header is about the upstream's own hop.
fn is_of_the_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "transfer-encoding"
            | "upgrade"
            | "te"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authentication-info"
    )
}

/// Removes from trailers what only a header section may say (RFC 9110 §6.5.1), in both directions.
pub(crate) fn filter_trailers(trailers: &mut HeaderMap) {
    let doomed: SmallVec<[HeaderName; 4]> = trailers
        .keys()
        .filter(|name| {
            fate(name.as_str()) != Fate::Keep || is_twin(name.as_str()) || is_forbidden_in_trailers(name.as_str())
        })
        .cloned()
        .collect();
    for name in doomed {
        trailers.remove(name);
    }
}

/// Framing, routing, authentication, request modifiers and what governs how content is read.
fn is_forbidden_in_trailers(name: &str) -> bool {
    matches!(
        name,
        "content-length"
            | "content-encoding"
            | "content-type"
            | "content-range"
            | "host"
            | "authorization"
            | "cookie"
            | "set-cookie"
            | "www-authenticate"
            | "trailer"
            | "via"
            | "cache-control"
            | "location"
            | "max-forwards"
            | "range"
            | "age"
            | "date"
            | "expires"
            | "retry-after"
            | "vary"
            | "strict-transport-security"
            | "content-security-policy"
    ) || name.starts_with("if-")
        || name.starts_with("access-control-")
}

/// A request's name as a header value.
pub(crate) fn id_value(id: RequestId) -> HeaderValue {
    // Hex digits are always a header value.
    HeaderValue::from_bytes(&id.to_hex()).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// Removes the headers that a `Connection` list names.
fn remove_options(headers: &mut HeaderMap) -> Result<(), Reason> {
    let mut named: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for option in connection_options(headers) {
        // The ordinary ones name no header.
        if option.eq_ignore_ascii_case("keep-alive") || option.eq_ignore_ascii_case("close") {
            continue;
        }
        let Ok(name) = HeaderName::from_bytes(option.as_bytes()) else {
            return Err(Reason::Malformed("the Connection header is not a list of names"));
        };
        if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER].contains(&name) {
            return Err(Reason::Malformed("the Connection header names a header that is for every recipient"));
        }
        named.push(name);
    }
    for name in named {
        headers.remove(name);
    }
    Ok(())
}

fn accepts_trailers(value: &HeaderValue) -> bool {
    value.to_str().unwrap_or_default().split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// Who asks, by what and for which host. What trusted hops said stays, and we add ours; a stranger's word has gone.
fn forwarded(headers: &mut HeaderMap, link: &Link, host: Option<&HeaderValue>) {
    let peer = link.peer_text();
    let scheme = if link.is_secure() { "https" } else { "http" };
    if !link.peer_is_trusted {
        // What it said itself has gone, so there is nothing to look for.
        headers.insert(X_FORWARDED_FOR, peer.clone());
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
        if let Some(host) = host {
            headers.insert(X_FORWARDED_HOST, host.clone());
        }
        return;
    }
    match headers.get_mut(X_FORWARDED_FOR) {
        Some(_) => {
            let said: SmallVec<[HeaderValue; 2]> = headers.get_all(X_FORWARDED_FOR).iter().cloned().collect();
            let mut list = Vec::with_capacity(64);
            for value in said.iter().chain([peer]) {
                if !list.is_empty() {
                    list.extend_from_slice(b", ");
                }
                list.extend_from_slice(value.as_bytes());
            }
            let value = HeaderValue::from_bytes(&list).unwrap_or_else(|_| peer.clone());
            headers.insert(X_FORWARDED_FOR, value);
        }
        None => {
            headers.insert(X_FORWARDED_FOR, peer.clone());
        }
    }
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if let Some(host) = host
        && !headers.contains_key(X_FORWARDED_HOST)
    {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
    // RFC 7239 §4: a hop adds its element to the list that is there; nobody needs two lists that say the same.
    if headers.contains_key(FORWARDED) {
        let node = if link.peer.is_ipv6() { format!("\"[{}]\"", link.peer) } else { link.peer.to_string() };
        set_appended(headers, FORWARDED, &format!("for={node};proto={scheme}"));
    }
}

fn set_appended(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.append(name, value);
    }
}

fn set_text(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// The operator's session is nobody's business but the operator's listener's. Cookies know no ports, so a browser sends
/// it here too.
fn drop_admin_cookie(headers: &mut HeaderMap) {
    let is_ours = |pair: &[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.trim_ascii() == crate::admin::SESSION_COOKIE.as_bytes()
    };
    let mut pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    if !pairs.any(is_ours) {
        return;
    }
    let kept: SmallVec<[HeaderValue; 2]> = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| {
            let rest: Vec<&[u8]> = value.as_bytes().split(|byte| *byte == b';').filter(|pair| !is_ours(pair)).collect();
            HeaderValue::from_bytes(rest.join(&b';').trim_ascii()).ok().filter(|value| !value.is_empty())
        })
        .collect();
    headers.remove(COOKIE);
    for value in kept {
        headers.append(COOKIE, value);
    }
}

/// Drops an upstream's cookie of the operator's session name: a page must not overwrite it.
fn drop_admin_set_cookie(headers: &mut HeaderMap) {
    let is_ours = |value: &HeaderValue| {
        // A cookie without a name ("=name=value") comes back from a browser as "name=value".
        let said = value.as_bytes().trim_ascii();
        let said = said.strip_prefix(b"=").unwrap_or(said);
        let name = said.split(|byte| matches!(byte, b'=' | b';')).next().unwrap_or_default();
        name.trim_ascii() == crate::admin::SESSION_COOKIE.as_bytes()
    };
    if !headers.get_all(SET_COOKIE).iter().any(is_ours) {
        return;
    }
    let kept: SmallVec<[HeaderValue; 4]> =
        headers.get_all(SET_COOKIE).iter().filter(|value| !is_ours(value)).cloned().collect();
    headers.remove(SET_COOKIE);
    for value in kept {
        headers.append(SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn hop_by_hop_headers_and_what_the_connection_list_names_are_removed() {
        let mut headers = map(&[("connection", "close, x-secret ,"), ("x-secret", "1"), ("x-kept", "2")]);
        remove_options(&mut headers).unwrap();
        assert!(!headers.contains_key("x-secret") && headers.contains_key("x-kept"));
        for list in ["host", "content-length", "keep-alive, Transfer-Encoding", "a b"] {
            assert!(remove_options(&mut map(&[("connection", list)])).is_err(), "{list}");
        }
    }

    #[test]
    fn z1_headers_that_override_method_or_path_are_dropped_in_every_spelling() {
        for name in ["x-http-method-override", "x-original-url", "x-rewrite-url", "proxy-authorization", "upgrade"] {
            assert!(fate(name) == Fate::Drop, "{name}");
            let twin = name.replacen('-', "_", 1);
            assert!(is_twin(&twin) || !name.contains('-'), "{twin}");
        }
        for name in ["content_length", "transfer_encoding", "x_forwarded_for", "x.forwarded.for", "host_"] {
            assert_eq!(is_twin(name), name != "host_", "{name}");
        }
        assert!(!is_twin("x_custom"));
    }

    #[test]
    fn z5_trailers_carry_no_header_that_decides_something() {
        let mut trailers = map(&[
            ("grpc-status", "0"),
            ("authorization", "Bearer x"),
            ("content-length", "3"),
            ("x-forwarded-for", "1.1.1.1"),
            ("content_length", "3"),
            ("set-cookie", "a=b"),
            ("if-match", "x"),
        ]);
        filter_trailers(&mut trailers);
        assert_eq!(trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["grpc-status"]);
    }

    #[test]
    fn a_response_framed_in_two_ways_is_invalid() {
        for pairs in [
            &[("transfer-encoding", "chunked"), ("content-length", "3")][..],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        ] {
            assert_eq!(
                prepare_response(&mut map(pairs), StatusCode::OK, Version::HTTP_11, false),
                Err(Reason::UpstreamInvalid)
            );
        }
        let mut twice = map(&[("content-length", "3"), ("content-length", "3"), ("keep-alive", "timeout=5")]);
        prepare_response(&mut twice, StatusCode::OK, Version::HTTP_11, false).unwrap();
        assert_eq!(twice.get_all(CONTENT_LENGTH).iter().count(), 1);
        assert!(!twice.contains_key("keep-alive"));
    }

    #[test]
    fn t6_the_operators_cookie_goes_no_further() {
        let mut headers = map(&[("cookie", "a=1; portcullis_admin=secret; b=2"), ("cookie", "portcullis_admin=x")]);
        drop_admin_cookie(&mut headers);
        let left: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(left, ["a=1; b=2"]);
        let mut answer = map(&[("set-cookie", "portcullis_admin=evil; Path=/"), ("set-cookie", "a=1")]);
        drop_admin_set_cookie(&mut answer);
        assert_eq!(answer.get_all(SET_COOKIE).iter().collect::<Vec<_>>(), ["a=1"]);
    }

    #[test]
    fn t6_the_operators_cookie_is_found_beside_bytes_beyond_ascii_and_without_a_name() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_bytes(b"a=\xff; portcullis_admin=secret; b=2").unwrap());
        drop_admin_cookie(&mut headers);
        assert_eq!(headers[COOKIE].as_bytes(), b"a=\xff; b=2");
        for evil in ["=portcullis_admin=x", " = portcullis_admin=x", "portcullis_admin", "portcullis_admin; Path=/"] {
            let mut answer = map(&[("set-cookie", evil), ("set-cookie", "a=portcullis_admin")]);
            drop_admin_set_cookie(&mut answer);
            assert_eq!(answer.get_all(SET_COOKIE).iter().collect::<Vec<_>>(), ["a=portcullis_admin"], "{evil}");
        }
    }
}
