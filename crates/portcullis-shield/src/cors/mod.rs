//! Which pages of other origins may read answers and send requests that no form can (H3, Fetch §3.2).

mod origin;

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderName, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

pub use self::origin::{OriginError, OriginPattern};

/// What a page must be able to read of an answer of this gate besides what Fetch lets it read anyway (§3.2.3): when it may
/// come back, how it stands with its limits, and by which name an operator finds its request.
const EXPOSED: [&str; 7] = [
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-Id",
];

/// Asked of what stands in a private network: by Private Network Access, and by the name that it had in 2023. What
/// browsers have made of it since asks the person, and sends no header.
const PRIVATE_NETWORK: [(&str, HeaderName); 2] = [
    ("access-control-request-private-network", HeaderName::from_static("access-control-allow-private-network")),
    ("access-control-request-local-network", HeaderName::from_static("access-control-allow-local-network")),
];

const TRUE: HeaderValue = HeaderValue::from_static("true");

/// The rules, as the configuration means them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsRules {
    /// Whose pages may ask.
    pub origins: Vec<OriginPattern>,
    /// Whether they may let the browser send its cookies along. Never with [`OriginPattern::Any`].
    pub credentials: bool,
    /// The request headers that they may set.
    pub allow_headers: Vec<HeaderName>,
    /// The response headers that they may read, besides those that this gate sets.
    pub expose_headers: Vec<HeaderName>,
    /// How long a browser may remember the answer to a preflight (10 min).
    pub max_age: Duration,
    /// Whether pages of the open internet may ask although this gate stands in a private network.
    pub private_network: bool,
}

/// The rules, rendered once.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Sorted, to be found by halves.
    exact: Box<[Box<str>]>,
    below: Box<[OriginPattern]>,
    any: bool,
    credentials: bool,
    allow_headers: HeaderValue,
    expose_headers: HeaderValue,
    max_age: HeaderValue,
    private_network: bool,
}

/// A browser's question whether a page may send a request (Fetch §4.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// The method of the request that it would send.
    pub method: Method,
    /// What it needs to hear of a private network, in both spellings.
    private_network: [bool; 2],
}

impl Preflight {
    /// Reads it. Any other `OPTIONS` is an ordinary request, and one that could be read in two ways is no question.
    #[must_use]
    pub fn of(method: &Method, headers: &HeaderMap) -> Option<Self> {
        if *method != Method::OPTIONS || !headers.contains_key(ORIGIN) {
            return None;
        }
        let method = Method::from_bytes(only(headers, &ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()?;
        // Fetch §2.2.1 forbids them to pages, and no route can be reached by them.
        if matches!(method, Method::CONNECT | Method::TRACE) {
            return None;
        }
        let asks = |name: &str| headers.get(name).is_some_and(|value| *value == TRUE);
        Some(Self { method, private_network: PRIVATE_NETWORK.each_ref().map(|(name, _)| asks(name)) })
    }
}

/// The origin of the page that asks, where a request names exactly one.
#[must_use]
pub fn origin_of(headers: &HeaderMap) -> Option<&HeaderValue> {
    only(headers, &ORIGIN)
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut all = headers.get_all(name).iter();
    all.next().filter(|_| all.next().is_none())
}

impl Cors {
    /// Renders rules.
    #[must_use]
    pub fn new(rules: CorsRules) -> Self {
        let any = rules.origins.contains(&OriginPattern::Any);
        let mut exact = Vec::new();
        let mut below = Vec::new();
        for origin in rules.origins {
            match origin {
                OriginPattern::Exact(origin) => exact.push(origin),
                OriginPattern::Below { .. } => below.push(origin),
                OriginPattern::Any => {}
            }
        }
        exact.sort_unstable();
        let exposed: Vec<&str> =
            EXPOSED.into_iter().chain(rules.expose_headers.iter().map(HeaderName::as_str)).collect();
        let allowed: Vec<&str> = rules.allow_headers.iter().map(HeaderName::as_str).collect();
        Self {
            exact: exact.into(),
            below: below.into(),
            any,
            // Whatever the configuration let through: of a page that is not named nobody's cookies are trusted.
            credentials: rules.credentials && !any,
            allow_headers: list(&allowed),
            expose_headers: list(&exposed),
            max_age: HeaderValue::from(rules.max_age.as_secs()),
            private_network: rules.private_network,
        }
    }

    /// Whether a page of this origin may ask.
    #[must_use]
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        self.any || self.lists(origin)
    }

    /// Whether a page of this origin may ask with its user's cookies.
    #[must_use]
    pub fn trusts(&self, origin: &HeaderValue) -> bool {
        self.credentials && self.lists(origin)
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        let origin = origin.as_bytes();
        self.exact.binary_search_by(|exact| exact.as_bytes().cmp(origin)).is_ok()
            || self.below.iter().any(|below| below.covers(origin))
    }

    /// Says on an answer who may read it. What the upstream says about that itself is removed: two authors of such rules
    /// allow what neither meant.
    pub fn apply(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
        while let Some(own) = headers.keys().find(|name| name.as_str().starts_with("access-control-")).cloned() {
            headers.remove(own);
        }
        if self.any {
            // The same for everybody, with an origin and without.
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, self.expose_headers.clone());
            return;
        }
        // Also where nobody is allowed: a cache must not give that answer to somebody who is.
        vary_by_origin(headers);
        let Some(origin) = origin.filter(|origin| self.lists(origin)) else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, self.expose_headers.clone());
    }

    /// Answers a preflight whose method a route has. The browser compares what its page wants with what stands here, so
    /// that the lists are the same for every question and nothing that a stranger sends is gone through.
    pub fn answer(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>, asked: &Preflight) {
        self.apply(headers, origin);
        headers.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
        headers.insert(
            VARY,
            HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        );
        if !origin.is_some_and(|origin| self.allows(origin)) {
            return;
        }
        // A method is a token, which every header can carry.
        if let Ok(method) = HeaderValue::from_str(asked.method.as_str()) {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, method);
        }
        if !self.allow_headers.is_empty() {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.allow_headers.clone());
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        for ((_, allow), asks) in PRIVATE_NETWORK.into_iter().zip(asked.private_network) {
            if asks && self.private_network {
                headers.insert(allow, TRUE);
            }
        }
    }
}

/// Names as a list.
fn list(names: &[&str]) -> HeaderValue {
    HeaderValue::try_from(names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Adds `Origin` to what an answer depends on (RFC 9110 §12.5.5), in one line, because some caches read only the first.
fn vary_by_origin(headers: &mut HeaderMap) {
    let mut said = headers.get_all(VARY).iter().peekable();
    if said.peek().is_none() {
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        return;
    }
    let mut all = Vec::with_capacity(64);
    for value in said {
        let mut names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        if names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin")) {
            return;
        }
        all.extend_from_slice(value.as_bytes());
        all.extend_from_slice(b", ");
    }
    all.extend_from_slice(b"Origin");
    // Values with a separator between them are a value; were they none, nothing may be cached.
    headers.insert(VARY, HeaderValue::try_from(all).unwrap_or_else(|_| HeaderValue::from_static("*")));
}

#[cfg(test)]
mod tests;
