//! Security headers on every response (H1), refusals and upstream errors included.

use http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, SERVER, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS, X_XSS_PROTECTION,
};
use http::{HeaderMap, HeaderValue};

/// A named set of response headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// For answers that a browser may show: a page may load from its own origin.
    #[default]
    Web,
    /// For answers that no browser shows as a page: nothing may be loaded at all.
    Api,
    /// None of them.
    Off,
}

/// The headers that are set on and removed from every response, rendered once.
#[derive(Clone, Debug)]
pub struct ResponseHeaders {
    /// Set whatever the upstream sent: one value, never two.
    fixed: Vec<(HeaderName, HeaderValue)>,
    /// Set where the upstream sent none: only the page's author knows what the page loads.
    policy: Option<HeaderValue>,
    /// Removed: they tell an attacker which exploit to try.
    banners: [HeaderName; 4],
}

impl ResponseHeaders {
    /// Renders a preset.
    ///
    /// `https` says whether clients reach this gate by https: only then may `Strict-Transport-Security` be sent
    /// (RFC 6797 §7.2).
    #[must_use]
    pub fn new(preset: Preset, https: bool) -> Self {
        let banners = [
            SERVER,
            HeaderName::from_static("x-powered-by"),
            HeaderName::from_static("x-aspnet-version"),
            HeaderName::from_static("x-aspnetmvc-version"),
        ];
        let policy = match preset {
            Preset::Web => {
                "default-src 'self'; img-src 'self' data: https:; frame-ancestors 'none'; base-uri 'self'; \
                            object-src 'none'"
            }
            Preset::Api => "default-src 'none'; frame-ancestors 'none'",
            Preset::Off => return Self { fixed: Vec::new(), policy: None, banners },
        };
        let mut fixed = vec![
            (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin")),
            (
                HeaderName::from_static("permissions-policy"),
                HeaderValue::from_static("camera=(), microphone=(), geolocation=()"),
            ),
            // The auditor that this header steered was itself a hole; zero turns it off where it still exists.
            (X_XSS_PROTECTION, HeaderValue::from_static("0")),
            (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
            (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
        ];
        if https {
            let year = HeaderValue::from_static("max-age=31536000; includeSubDomains");
            fixed.push((STRICT_TRANSPORT_SECURITY, year));
        }
        Self { fixed, policy: Some(HeaderValue::from_static(policy)), banners }
    }

    /// Sets and removes them on one response.
    pub fn apply(&self, headers: &mut HeaderMap) {
        // One look at the names costs less than four searches, and mostly finds one banner at most.
        while let Some(banner) = headers.keys().find_map(|name| self.banners.iter().find(|banner| *banner == name)) {
            headers.remove(banner);
        }
        for (name, value) in &self.fixed {
            if *name == REFERRER_POLICY && tells_less(headers) {
                continue;
            }
            headers.insert(name, value.clone());
        }
        if let Some(policy) = &self.policy
            && !headers.contains_key(CONTENT_SECURITY_POLICY)
        {
            headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
        }
    }
}

/// Whether a page's own `Referrer-Policy` tells nobody more than ours, and some less: a page whose address is a secret has
/// to keep it from its own origin, too (Referrer Policy §3).
fn tells_less(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(REFERRER_POLICY).iter();
    let one = values.next().filter(|_| values.next().is_none());
    one.is_some_and(|value| matches!(value.as_bytes(), b"no-referrer" | b"same-origin" | b"strict-origin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h1_web_sets_every_header_once() {
        let mut headers = HeaderMap::new();
        headers.append(X_FRAME_OPTIONS, HeaderValue::from_static("ALLOWALL"));
        headers.append(X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
        ResponseHeaders::new(Preset::Web, true).apply(&mut headers);
        let one = |name: &str| {
            let all: Vec<_> = headers.get_all(name).iter().collect();
            assert_eq!(all.len(), 1, "{name}");
            all[0].to_str().unwrap().to_owned()
        };
        assert_eq!(one("x-frame-options"), "DENY");
        assert_eq!(one("x-content-type-options"), "nosniff");
        assert_eq!(one("referrer-policy"), "strict-origin-when-cross-origin");
        assert_eq!(one("permissions-policy"), "camera=(), microphone=(), geolocation=()");
        assert_eq!(one("x-xss-protection"), "0");
        assert_eq!(one("strict-transport-security"), "max-age=31536000; includeSubDomains");
        assert!(one("content-security-policy").starts_with("default-src 'self'; img-src 'self' data: https:"));
        assert_eq!(one("cross-origin-opener-policy"), "same-origin");
        assert_eq!(one("cross-origin-resource-policy"), "same-origin");
    }

    #[test]
    fn h1_banners_go_and_the_pages_own_policy_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(SERVER, HeaderValue::from_static("Apache/2.4.1"));
        headers.insert("x-powered-by", HeaderValue::from_static("PHP/5"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
        ResponseHeaders::new(Preset::Web, false).apply(&mut headers);
        assert!(!headers.contains_key(SERVER) && !headers.contains_key("x-powered-by"));
        assert_eq!(headers[CONTENT_SECURITY_POLICY], "default-src 'none'");
        assert!(!headers.contains_key(STRICT_TRANSPORT_SECURITY), "never over plain http (RFC 6797 §7.2)");
    }

    #[test]
    fn h1_a_page_that_tells_less_of_its_address_may() {
        for (own, kept) in [
            (&["strict-origin"][..], true),
            (&["no-referrer"], true),
            (&["same-origin"], true),
            (&["unsafe-url"], false),
            (&["origin-when-cross-origin"], false),
            (&["no-referrer, unsafe-url"], false),
            (&["no-referrer", "unsafe-url"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in own {
                headers.append(REFERRER_POLICY, HeaderValue::from_static(value));
            }
            ResponseHeaders::new(Preset::Web, true).apply(&mut headers);
            let all: Vec<_> = headers.get_all(REFERRER_POLICY).iter().collect();
            assert_eq!(all, [if kept { own[0] } else { "strict-origin-when-cross-origin" }], "{own:?}");
        }
    }

    #[test]
    fn off_still_removes_banners() {
        let mut headers = HeaderMap::new();
        headers.insert(SERVER, HeaderValue::from_static("x"));
        ResponseHeaders::new(Preset::Off, true).apply(&mut headers);
        assert!(headers.is_empty());
    }
}
