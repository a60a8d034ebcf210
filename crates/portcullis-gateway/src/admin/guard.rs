//! What every request to the admin listener passes before anything else looks at it.
//!
//! A browser on the operator's machine is the way in here: any page it has open can send requests to loopback. Against
//! a name that was rebound to 127.0.0.1 stands the `Host` check, against forms of other sites the check of
//! `Sec-Fetch-Site` and `Origin`, against frames and injected markup the headers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST, HeaderName, ORIGIN,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use portcullis_core::{PROBLEM_JSON, Reason, RequestId, unmapped};

use super::token::SESSION_COOKIE;
use super::{Access, Admin, ENDPOINTS, MAX_BODY, refuse};
use crate::identity_api::answer::Refused;

/// The server's own end of the connection a request came on.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalAddress(pub(super) SocketAddr);

/// The other end of that connection: the operator's, or their proxy's.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerAddress(pub(super) SocketAddr);

/// For one whole request; nothing here takes long.
const PATIENCE: Duration = Duration::from_secs(15);

/// The headers of every answer.
const HEADERS: [(HeaderName, &str); 10] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    // Not `no-referrer`: with that, browsers send `Origin: null` with our own forms.
    (REFERRER_POLICY, "same-origin"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
    (HeaderName::from_static("x-xss-protection"), "0"),
    (HeaderName::from_static("x-robots-tag"), "noindex"),
];

/// The guard itself.
pub(super) async fn guard(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::from_bits(rand::random());
    request.extensions_mut().insert(id);
    let mut response = match admit(&admin, &request) {
        Ok(()) => match tokio::time::timeout(PATIENCE, next.run(request)).await {
            Ok(response) => in_our_form(response, id),
            Err(_) => refuse(&Reason::RequestTimeout, id),
        },
        Err(refusal) => refusal.into_response(&admin, &request, id),
    };
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
    }
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What the framework refused by itself (a body that is too large, a form that is none) as a problem of the same status.
fn in_our_form(response: Response, id: RequestId) -> Response {
    let status = response.status();
    let refused = match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            Refused::new(StatusCode::BAD_REQUEST, "Invalid request body", "invalid_body")
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Refused::new(status, "Unsupported media type", "unsupported_media_type"),
        StatusCode::PAYLOAD_TOO_LARGE => return refuse(&Reason::BodyTooLarge(MAX_BODY as u64), id),
        _ => return response,
    };
    let ours = response.headers().get(CONTENT_TYPE).is_some_and(|media| media == PROBLEM_JSON);
    if ours { response } else { refused.answer(id) }
}

/// Why a request is not let in.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// No `Host`, several, or one beside an absolute target.
    Malformed,
    /// A name that is not ours.
    ForeignHost,
    /// Another site's page sent it.
    CrossSite,
    /// Nothing proves an operator.
    Anonymous,
    /// A token that is not the operator's.
    WrongToken,
}

impl Refusal {
    fn into_response(self, admin: &Admin, request: &Request, id: RequestId) -> Response {
        match self {
            Self::Malformed => refuse(&Reason::Malformed("one Host field and a target in origin form are needed"), id),
            Self::ForeignHost => Refused::new(StatusCode::MISDIRECTED_REQUEST, "Misdirected request", "misdirected")
                .with_detail("this name is not served here")
                .answer(id),
            Self::CrossSite => refuse(&Reason::CrossSite, id),
            Self::WrongToken => {
                admin.metrics.admin_login_failures.add(1);
                refuse(&Reason::InvalidToken("not the operator's token"), id)
            }
            Self::Anonymous => {
                let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
                let path = request.uri().path();
                let for_programs = path.starts_with("/api/") || path.ends_with(".json");
                let person = accept.is_some_and(|accept| accept.contains("text/html")) && !for_programs;
                if person && request.method().is_safe() {
                    Redirect::to("/login").into_response()
                } else {
                    refuse(&Reason::AuthenticationRequired, id)
                }
            }
        }
    }
}

fn admit(admin: &Admin, request: &Request) -> Result<(), Refusal> {
    // Without its own end of the connection a request did not come through our server, and nothing is known of it.
    let local = request.extensions().get::<LocalAddress>().ok_or(Refusal::Malformed)?.0;
    let host = single_host(request.uri(), request.headers()).ok_or(Refusal::Malformed)?;
    let host_kind = served(host, local, &admin.hosts).ok_or(Refusal::ForeignHost)?;
    if !request.method().is_safe() && is_cross_site(request.headers(), host) {
        return Err(Refusal::CrossSite);
    }
    match access_of(request.uri().path()) {
        Access::Open => Ok(()),
        // A configured name on loopback means a proxy of the operator's, whose clients may be anybody.
        Access::Loopback if host_kind == HostKind::Own && unmapped(local.ip()).is_loopback() => Ok(()),
        Access::Loopback | Access::Operator => is_operator(admin, request.headers()),
    }
}

/// Who may use a path, whatever the method: the strictest of what the list says of it, and the operator where it says
/// nothing. Letters are compared, so that another spelling of an open path, and every path with a parameter, is the
/// operator's.
fn access_of(path: &str) -> Access {
    let mut known = ENDPOINTS.iter().filter(|endpoint| endpoint.path() == path).map(|endpoint| endpoint.access);
    let first = known.next().unwrap_or(Access::Operator);
    known.fold(first, |strictest, access| if strictest == access { strictest } else { Access::Operator })
}

/// The one `Host`, where the request has exactly one and its target does not name another authority.
fn single_host<'a>(target: &Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return None };
    if target.authority().is_some() {
        return None;
    }
    host.to_str().ok()
}

/// Whose name a `Host` value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostKind {
    /// A loopback name, or the address that the connection came to.
    Own,
    /// One of the operator's.
    Configured,
}

/// What a `Host` value names, if it names this listener: a loopback name or the address the connection came to, with the
/// port it came to; or a configured name, with its port or with that of the listener, or without one (behind a proxy).
///
/// An address can be accepted because rebinding needs a name: the attacker's page has its own name in `Host`.
fn served(host: &str, local: SocketAddr, configured: &[String]) -> Option<HostKind> {
    let (name, port) = split_port(host)?;
    let own_port = port == Some(local.port());
    let own_name = name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| {
            let address = unmapped(address);
            address == unmapped(local.ip())
                || address == IpAddr::from([127, 0, 0, 1])
                || address == IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])
        });
    if own_name && (own_port || (port.is_none() && local.port() == 80)) {
        return Some(HostKind::Own);
    }
    let named = configured.iter().any(|entry| {
        entry.eq_ignore_ascii_case(host) || (entry.eq_ignore_ascii_case(name) && (own_port || port.is_none()))
    });
    named.then_some(HostKind::Configured)
}

/// `name`, `name:port`, `[v6]`, `[v6]:port`.
fn split_port(host: &str) -> Option<(&str, Option<u16>)> {
    let colon = match host.rfind(']') {
        Some(end) => (host.len() > end + 1).then_some(end + 1),
        None => host.find(':'),
    };
    let Some(colon) = colon else { return Some((host, None)) };
    let port = host[colon..].strip_prefix(':')?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| port.parse().ok()).flatten().map(|port| (&host[..colon], Some(port)))
}

/// Whether a browser says that another origin's page caused the request. A client that says nothing is no browser.
fn is_cross_site(headers: &HeaderMap, host: &str) -> bool {
    let site = HeaderName::from_static("sec-fetch-site");
    let foreign_fetch = headers.get_all(site).iter().any(|site| site != "same-origin" && site != "none");
    let foreign_origin = headers.get_all(ORIGIN).iter().any(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        let origin = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        !origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
    });
    foreign_fetch || foreign_origin
}

/// Whether the request proves the operator, by the token or by a session. A wrong token is never helped by a cookie.
fn is_operator(admin: &Admin, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut presented = headers.get_all(AUTHORIZATION).iter();
    if let Some(first) = presented.next() {
        let token = first.to_str().ok().and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let good = presented.next().is_none() && token.is_some_and(|token| admin.token.is(token));
        return if good { Ok(()) } else { Err(Refusal::WrongToken) };
    }
    let now = admin.clock.now();
    let sessions = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let good = sessions
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().strip_prefix(SESSION_COOKIE)?.strip_prefix('='))
        .any(|value| admin.sessions.accepts(value, now));
    if good { Ok(()) } else { Err(Refusal::Anonymous) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o4_only_our_own_names_are_served() {
        let local: SocketAddr = "127.0.0.1:9090".parse().unwrap();
        let lan: SocketAddr = "[::ffff:10.0.0.5]:9090".parse().unwrap();
        let configured = ["admin.example.com".to_owned(), "other.example.com:8443".to_owned()];
        for own in ["localhost:9090", "LOCALHOST:9090", "127.0.0.1:9090", "[::1]:9090"] {
            assert_eq!(served(own, local, &configured), Some(HostKind::Own), "{own}");
        }
        for own in ["10.0.0.5:9090", "127.0.0.1:9090"] {
            assert_eq!(served(own, lan, &configured), Some(HostKind::Own), "{own}");
        }
        for named in ["admin.example.com", "Admin.Example.Com:9090", "other.example.com:8443"] {
            assert_eq!(served(named, local, &configured), Some(HostKind::Configured), "{named}");
        }
        for foreign in [
            "",
            "localhost",
            "localhost:",
            "localhost:9091",
            "localhost.:9090",
            "evil.example:9090",
            "127.0.0.1.evil.example:9090",
            "evil.example#localhost:9090",
            "localhost:9090@evil.example",
            "10.0.0.5:9090",
            "0.0.0.0:9090",
            "127.1:9090",
            "[::1]9090",
            "localhost:+9090",
            "localhost:09090x",
            "admin.example.com:1",
            "other.example.com",
            "other.example.com:9090",
        ] {
            assert_eq!(served(foreign, local, &configured), None, "{foreign}");
        }
    }

    #[test]
    fn o4_a_path_with_a_parameter_is_never_open_and_neither_is_another_spelling() {
        for endpoint in ENDPOINTS {
            let path = endpoint.path();
            assert!(endpoint.access == Access::Operator || !path.contains(['{', '*']), "{path}");
            // One path has one access, whatever its methods.
            assert_eq!(access_of(path), endpoint.access, "{path}");
            for other in [format!("{path}/"), format!("/{path}"), format!("/.{path}"), path.to_uppercase()] {
                assert!(other == path || access_of(&other) == Access::Operator, "{other}");
            }
        }
        for unknown in ["", "*", "/api/accounts/1", "/livez%2f", "/livez/../api/accounts", "/livez;x"] {
            assert_eq!(access_of(unknown), Access::Operator, "{unknown}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_recognised() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
        };
        let host = "127.0.0.1:9090";
        for own in [
            &[][..],
            &[("origin", "http://127.0.0.1:9090")],
            &[("origin", "http://127.0.0.1:9090"), ("sec-fetch-site", "same-origin")],
        ] {
            assert!(!is_cross_site(&headers(own), host), "{own:?}");
        }
        for foreign in [
            &[("origin", "http://127.0.0.1:8080")][..],
            &[("origin", "null")],
            &[("origin", "http://127.0.0.1:9090.evil.example")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
        ] {
            assert!(is_cross_site(&headers(foreign), host), "{foreign:?}");
        }
    }
}
