//! The same strictness for heads of HTTP/2. What comes out is a head as HTTP/1.1 would have it, so that nothing behind this
//! has to know which version it came in: an origin-form target, one `Host`, one `Cookie`.
//!
//! The HTTP library resets streams whose heads break the framing of RFC 9113 section 8: upper case in names, names or
//! methods that are no tokens, pseudo-header fields that are unknown, missing, repeated or late, connection-specific
//! fields, a `te` other than `trailers`, CR, LF or NUL in values, a Content-Length that the DATA frames do not keep.

use http::header::{CONTENT_LENGTH, COOKIE, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Request, Uri};
use portcullis_core::Reason;

use super::grpc::is_grpc;
use super::head::{self, Asks, Fields, Seen};
use crate::config::TransportSettings;

/// What RFC 9113 section 6.5.2 adds to the size of each field for its keeping.
const FIELD_OVERHEAD: usize = 32;

/// The size of a header list as RFC 9113 section 6.5.2 counts it, in bytes. Pseudo-header fields are in the target.
pub(crate) fn list_size<B>(request: &Request<B>) -> usize {
    let uri = request.uri();
    let pseudo = request.method().as_str().len()
        + uri.authority().map_or(0, |authority| authority.as_str().len())
        + uri.path_and_query().map_or(0, |target| target.as_str().len());
    request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD).sum::<usize>()
        + pseudo
}

/// Checks a head that came over HTTP/2 and gives it the form of one that came over HTTP/1.1.
///
/// # Errors
/// The rule that it breaks.
pub(super) fn check<B>(request: &mut Request<B>, bounds: &TransportSettings) -> Result<Asks, Reason> {
    if request.headers().len() > bounds.max_headers || list_size(request) > bounds.max_head_bytes {
        return Err(Reason::HeadTooLarge);
    }
    let fields = Fields::of(request.headers());
    if !matches!(fields.transfer_encoding, Seen::Never) || !matches!(fields.upgrade, Seen::Never) {
        return Err(Reason::Malformed("HTTP/2 has no Transfer-Encoding and no Upgrade (RFC 9113 section 8.2.2)"));
    }
    head::framing(&fields, request.version())?;
    head::expectation(&fields)?;
    let grpc = matches!(fields.content_type, Seen::Once(value) if is_grpc(value));
    if request.headers().values().any(has_padding) {
        // An HTTP/1.1 upstream takes such space off: it would read another value than the one that was judged.
        return Err(Reason::Malformed("a field value begins or ends with space (RFC 9113 section 8.2.1)"));
    }
    let target = target(request.uri())?;
    let host = host(request.uri().authority(), fields.host)?;
    *request.uri_mut() = Uri::from(target);
    if let Some(host) = host {
        request.headers_mut().insert(HOST, host);
    }
    join_cookies(request.headers_mut())?;
    Ok(Asks { grpc, ..Asks::default() })
}

fn has_padding(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    matches!(bytes.first(), Some(b' ' | b'\t')) || matches!(bytes.last(), Some(b' ' | b'\t'))
}

/// RFC 9113 section 8.3.1: `:path` begins with a slash. An asterisk is about the server itself, of which there is nothing to
/// tell.
fn target(uri: &Uri) -> Result<PathAndQuery, Reason> {
    if uri
        .scheme_str()
        .is_some_and(|scheme| !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https"))
    {
        return Err(Reason::Malformed("the scheme of the request target is neither http nor https"));
    }
    match uri.path_and_query() {
        Some(target) if target.as_str().starts_with('/') => {
            head::query(target)?;
            Ok(target.clone())
        }
        _ => Err(Reason::Malformed("the request target must begin with \"/\"")),
    }
}

/// RFC 9113 section 8.3.1: `:authority` is the host; a `Host` beside it must say the same. Returns the `Host` to set, where it
/// is not there already.
fn host(authority: Option<&Authority>, field: Seen<'_>) -> Result<Option<HeaderValue>, Reason> {
    let said = match field {
        Seen::Often => return Err(Reason::Malformed("there is more than one Host header")),
        Seen::Once(value) if !head::is_host(value.as_bytes()) => {
            return Err(Reason::Malformed("the Host header is not a host with an optional port"));
        }
        Seen::Once(value) => Some(value),
        Seen::Never => None,
    };
    match (authority, said) {
        (None, None) => Err(Reason::Malformed("the :authority is missing")),
        (None, Some(_)) => Ok(None),
        (Some(authority), said) => {
            if !head::is_host(authority.as_str().as_bytes()) {
                return Err(Reason::Malformed(
                    "the authority of the request target is not a host with an optional port",
                ));
            }
            if said.is_some_and(|said| !head::names_same_host(said.as_bytes(), authority)) {
                return Err(Reason::Malformed("the request target and the Host header name different hosts"));
            }
            HeaderValue::from_str(authority.as_str()).map(Some).map_err(|_| {
                Reason::Malformed("the authority of the request target is not a host with an optional port")
            })
        }
    }
}

/// RFC 9113 section 8.2.3: cookies may come in crumbs, which are one field before anybody reads them.
fn join_cookies(headers: &mut HeaderMap) -> Result<(), Reason> {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return Ok(());
    }
    let mut joined = Vec::with_capacity(256);
    for crumb in headers.get_all(COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(crumb.as_bytes());
    }
    let joined = HeaderValue::from_bytes(&joined).map_err(|_| Reason::Malformed("the cookies are not valid"))?;
    headers.insert(COOKIE, joined);
    Ok(())
}

/// The length that a request declares for its body.
pub(crate) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Takes away what HTTP/2 has no place for in a response (RFC 9113 section 8.2.2).
pub(crate) fn strip_response(headers: &mut HeaderMap) {
    for name in ["connection", "keep-alive", "proxy-connection", "upgrade", "te"] {
        headers.remove(name);
    }
    headers.remove(TRANSFER_ENCODING);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::tests::transport;

    fn judge(uri: &str, fields: &[(&'static str, &str)]) -> Result<Request<()>, Reason> {
        let mut builder = Request::builder().version(http::Version::HTTP_2).uri(uri);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        let mut request = builder.body(()).unwrap();
        check(&mut request, &transport()).map(|_| request)
    }

    fn malformed(uri: &str, fields: &[(&'static str, &str)]) {
        assert!(matches!(judge(uri, fields), Err(Reason::Malformed(_))), "{uri} {fields:?}");
    }

    #[test]
    fn h7_authority_and_host_must_agree_and_become_one_host() {
        let request = judge("https://api.example/x?y=1", &[]).unwrap();
        assert_eq!(
            (request.uri().to_string().as_str(), &request.headers()[HOST]),
            ("/x?y=1", &"api.example".parse().unwrap())
        );
        assert_eq!(judge("https://a/x", &[("host", "A")]).unwrap().headers()[HOST], "a");
        assert_eq!(judge("/x", &[("host", "b:80")]).unwrap().headers()[HOST], "b:80");
        malformed("/x", &[]);
        malformed("https://a/x", &[("host", "b")]);
        malformed("https://a/x", &[("host", "a:443")]);
        malformed("https://a/x", &[("host", "a"), ("host", "a")]);
        malformed("https://u@a/x", &[]);
        malformed("https://a/x", &[("host", "a, b")]);
    }

    #[test]
    fn h7_a_target_of_http2_is_a_path_of_a_web_scheme() {
        malformed("ftp://a/x", &[]);
        malformed("*", &[("host", "a")]);
        malformed("https://a/x?\u{e9}", &[]);
        assert!(judge("http://a/", &[]).is_ok());
    }

    #[test]
    fn h7_values_that_an_http1_upstream_would_read_otherwise_are_refused() {
        for value in [" Bearer x", "x ", "\tx", "x\t"] {
            malformed("https://a/", &[("authorization", value)]);
        }
        malformed("https://a/", &[("content-length", "3"), ("content-length", "3")]);
        malformed("https://a/", &[("content-length", "03")]);
        malformed("https://a/", &[("content-type", "a/b"), ("content-type", "c/d")]);
        malformed("https://a/", &[("transfer-encoding", "chunked")]);
        malformed("https://a/", &[("upgrade", "websocket")]);
        assert!(matches!(judge("https://a/", &[("expect", "tea")]), Err(Reason::ExpectationFailed)));
    }

    #[test]
    fn crumbs_of_cookies_are_joined_before_anybody_reads_them() {
        let request =
            judge("https://a/", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3"), ("cookie", "d=4")]).unwrap();
        assert_eq!(request.headers().get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3; d=4"]);
    }

    #[test]
    fn h5_the_size_of_a_head_is_counted_after_decompression() {
        let long = "x".repeat(transport().max_head_bytes);
        assert!(matches!(judge("https://a/", &[("x-long", &long)]), Err(Reason::HeadTooLarge)));
        let many: Vec<(&str, &str)> = (0..=transport().max_headers).map(|_| ("x-many", "")).collect();
        assert!(matches!(judge("https://a/", &many), Err(Reason::HeadTooLarge)));
    }
}
