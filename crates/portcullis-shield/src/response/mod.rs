//! Security headers on every response (H1), refusals and upstream errors included: rendered once, when a policy is made.

mod csp;
mod nonce;
mod rules;

use http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, SERVER, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS, X_XSS_PROTECTION,
};
use http::{HeaderMap, HeaderValue};

pub use self::csp::{CspError, CspFrom, CspTemplate, NONCE};
pub use self::nonce::Nonce;
pub use self::rules::{FrameOptions, HeaderRules, Hsts, Preset};

/// They tell an attacker which exploit to try.
const BANNERS: [HeaderName; 5] = [
    SERVER,
    HeaderName::from_static("x-powered-by"),
    HeaderName::from_static("x-aspnet-version"),
    HeaderName::from_static("x-aspnetmvc-version"),
    HeaderName::from_static("x-generator"),
];

/// The headers that are set on and removed from every response, rendered once.
#[derive(Clone, Debug)]
pub struct ResponseHeaders {
    /// Set whatever the upstream sent: one value, never two.
    fixed: Box<[(HeaderName, HeaderValue)]>,
    policy: Policy,
    from: CspFrom,
    removed: Box<[HeaderName]>,
}

/// The policy, as far as it can be known before a request comes.
#[derive(Clone, Debug)]
enum Policy {
    None,
    Fixed(HeaderValue),
    Template(CspTemplate),
}

/// An answer that the upstream made, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct FromUpstream<'a> {
    /// The nonce that the upstream was told.
    pub nonce: Option<&'a Nonce>,
    /// Whether the page itself comes along. Neither a 304 nor the answer to a `HEAD` brings one: what a cache makes of
    /// them is the page that it has, which holds the nonce of its own time (RFC 9111 §3.2, §4.3.5).
    pub has_content: bool,
}

impl ResponseHeaders {
    /// Renders rules, or a preset.
    ///
    /// `https` says whether clients reach this gate by https: only then may `Strict-Transport-Security` be sent
    /// (RFC 6797 §7.2).
    #[must_use]
    pub fn new(rules: impl Into<HeaderRules>, https: bool) -> Self {
        let rules = rules.into();
        let mut removed = BANNERS.to_vec();
        let mut fixed = Vec::new();
        let mut set = |name: HeaderName, value: Option<HeaderValue>| fixed.extend(value.map(|value| (name, value)));
        set(X_FRAME_OPTIONS, rules.frame_options.map(FrameOptions::value));
        set(X_CONTENT_TYPE_OPTIONS, rules.nosniff.then_some(HeaderValue::from_static("nosniff")));
        set(REFERRER_POLICY, rules.referrer_policy);
        if rules.permissions_policy.is_some() {
            // Its name of former days, which some browsers still read beside it.
            removed.push(HeaderName::from_static("feature-policy"));
        }
        set(HeaderName::from_static("permissions-policy"), rules.permissions_policy);
        // The auditor that this header steered was itself a hole; zero turns it off where it still exists.
        set(X_XSS_PROTECTION, rules.xss_protection.then_some(HeaderValue::from_static("0")));
        set(HeaderName::from_static("cross-origin-opener-policy"), rules.opener_policy);
        set(HeaderName::from_static("cross-origin-resource-policy"), rules.resource_policy);
        set(HeaderName::from_static("cross-origin-embedder-policy"), rules.embedder_policy);
        match rules.hsts {
            Some(hsts) if https => set(STRICT_TRANSPORT_SECURITY, Some(hsts.value())),
            Some(_) => removed.push(STRICT_TRANSPORT_SECURITY),
            None => {}
        }
        for (name, value) in rules.set {
            set(name, Some(value));
        }
        removed.extend(rules.remove);
        let policy = match rules.csp {
            None => Policy::None,
            Some(template) if template.takes_nonce() => Policy::Template(template),
            Some(template) => Policy::Fixed(template.fixed()),
        };
        if rules.csp_from != CspFrom::Upstream {
            // The names under which browsers tried the policy out.
            removed.extend(["x-content-security-policy", "x-webkit-csp"].map(HeaderName::from_static));
        }
        Self { fixed: fixed.into(), policy, from: rules.csp_from, removed: removed.into() }
    }

    /// Whether every answer of the upstream needs a nonce, which the upstream has to be told.
    #[must_use]
    pub const fn takes_nonce(&self) -> bool {
        matches!(self.policy, Policy::Template(_))
    }

    /// Sets and removes them on an answer of our own. What it says itself of what it loads stays: we made it.
    pub fn apply(&self, headers: &mut HeaderMap) {
        self.apply_fixed(headers);
        if headers.contains_key(CONTENT_SECURITY_POLICY) {
            return;
        }
        match &self.policy {
            Policy::None => {}
            Policy::Fixed(policy) => drop(headers.insert(CONTENT_SECURITY_POLICY, policy.clone())),
            // Nobody was told a nonce, and nothing in it would need one.
            Policy::Template(_) => drop(headers.insert(CONTENT_SECURITY_POLICY, csp::STRICT)),
        }
    }

    /// Sets and removes them on an answer of the upstream's.
    pub fn apply_to_upstream(&self, headers: &mut HeaderMap, answer: FromUpstream<'_>) {
        self.apply_fixed(headers);
        let policy = match &self.policy {
            Policy::None => return,
            Policy::Fixed(policy) => policy.clone(),
            Policy::Template(template) => match answer.nonce {
                _ if !answer.has_content => {
                    // Whatever stood here would take the place of the policy that the page in the cache came with.
                    if self.from != CspFrom::Upstream {
                        headers.remove(CONTENT_SECURITY_POLICY);
                    }
                    return;
                }
                Some(nonce) => template.with(nonce),
                None => csp::STRICT,
            },
        };
        match self.from {
            CspFrom::Upstream if headers.contains_key(CONTENT_SECURITY_POLICY) => {}
            CspFrom::Merge => {
                if !headers.get_all(CONTENT_SECURITY_POLICY).iter().any(|own| *own == policy) {
                    headers.append(CONTENT_SECURITY_POLICY, policy);
                }
            }
            CspFrom::Upstream | CspFrom::Replace => drop(headers.insert(CONTENT_SECURITY_POLICY, policy)),
        }
    }

    fn apply_fixed(&self, headers: &mut HeaderMap) {
        // One look at the names costs less than a search for each, and mostly finds one banner at most.
        while let Some(doomed) = headers.keys().find_map(|name| self.removed.iter().find(|doomed| *doomed == name)) {
            headers.remove(doomed);
        }
        for (name, value) in &self.fixed {
            if *name == REFERRER_POLICY && tells_less(headers) {
                continue;
            }
            headers.insert(name, value.clone());
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

    const FROM_UPSTREAM: FromUpstream<'static> = FromUpstream { nonce: None, has_content: true };

    fn policies(headers: &HeaderMap) -> Vec<&str> {
        headers.get_all(CONTENT_SECURITY_POLICY).iter().map(|value| value.to_str().unwrap()).collect()
    }

    fn with_policies(policies: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for policy in policies {
            headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        headers
    }

    #[test]
    fn h1_the_upstreams_policy_is_respected_merged_or_replaced() {
        let ours = "default-src 'self'";
        for (from, sent, expected) in [
            (CspFrom::Upstream, &[][..], &[ours][..]),
            (CspFrom::Upstream, &["img-src *", "font-src *"], &["img-src *", "font-src *"]),
            (CspFrom::Merge, &[], &[ours]),
            (CspFrom::Merge, &["img-src *", "font-src *"], &["img-src *", "font-src *", ours]),
            (CspFrom::Merge, &[ours], &[ours]),
            (CspFrom::Replace, &[], &[ours]),
            (CspFrom::Replace, &["img-src *", "font-src *"], &[ours]),
        ] {
            let rules = HeaderRules { csp: ours.parse().ok(), csp_from: from, ..Preset::Web.into() };
            let mut headers = with_policies(sent);
            ResponseHeaders::new(rules, false).apply_to_upstream(&mut headers, FROM_UPSTREAM);
            assert_eq!(policies(&headers), expected, "{from:?} {sent:?}");
        }
    }

    #[test]
    fn h1_no_answer_without_content_contradicts_the_page_that_a_cache_holds() {
        let nonce = Nonce::draw();
        for (from, kept) in [(CspFrom::Upstream, &["img-src *"][..]), (CspFrom::Merge, &[]), (CspFrom::Replace, &[])] {
            let csp = "script-src 'nonce-{nonce}'".parse().ok();
            let rendered = ResponseHeaders::new(HeaderRules { csp, csp_from: from, ..Preset::Web.into() }, false);
            assert!(rendered.takes_nonce());
            let mut page = HeaderMap::new();
            let answer = FromUpstream { nonce: Some(&nonce), has_content: true };
            rendered.apply_to_upstream(&mut page, answer);
            let drawn = nonce.to_header();
            assert_eq!(policies(&page), [format!("script-src 'nonce-{}'", drawn.to_str().unwrap())]);
            for sent in [&[][..], &["img-src *"]] {
                let mut headers = with_policies(sent);
                rendered.apply_to_upstream(&mut headers, FromUpstream { has_content: false, ..answer });
                assert_eq!(policies(&headers), if sent.is_empty() { sent } else { kept }, "{from:?} {sent:?}");
                assert_eq!(headers[X_FRAME_OPTIONS], "DENY");
            }
            let mut forgotten = HeaderMap::new();
            rendered.apply_to_upstream(&mut forgotten, FROM_UPSTREAM);
            assert_eq!(policies(&forgotten), [csp::STRICT.to_str().unwrap()]);
        }
    }

    #[test]
    fn h1_our_own_answers_never_hold_a_nonce_and_keep_what_they_say_themselves() {
        let csp = "script-src 'nonce-{nonce}' 'unsafe-inline'".parse().ok();
        let rules = HeaderRules { csp, csp_from: CspFrom::Replace, ..Preset::Web.into() };
        let rendered = ResponseHeaders::new(rules, false);
        let mut refusal = HeaderMap::new();
        rendered.apply(&mut refusal);
        assert_eq!(policies(&refusal), ["default-src 'none'; frame-ancestors 'none'"]);
        let mut page = with_policies(&["form-action 'self'"]);
        rendered.apply(&mut page);
        assert_eq!(policies(&page), ["form-action 'self'"]);
    }

    #[test]
    fn h1_every_value_can_be_another_or_left_to_the_upstream() {
        let rules = HeaderRules {
            csp: None,
            hsts: Some(Hsts { max_age: Hsts::YEAR * 2, include_subdomains: true, preload: true }),
            nosniff: false,
            frame_options: Some(FrameOptions::SameOrigin),
            referrer_policy: None,
            embedder_policy: Some(HeaderValue::from_static("require-corp")),
            set: vec![(HeaderName::from_static("x-team"), HeaderValue::from_static("red"))],
            remove: vec![HeaderName::from_static("x-internal")],
            ..Preset::Api.into()
        };
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("X-TEAM", "blue"),
            ("X-Internal", "1"),
            ("feature-policy", "camera *"),
            ("permissions-policy", "camera=*"),
            ("Permissions-Policy", "usb=*"),
            ("referrer-policy", "unsafe-url"),
            ("x-content-type-options", "own"),
            ("content-security-policy", "img-src *"),
            ("strict-transport-security", "max-age=0"),
        ] {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(value));
        }
        ResponseHeaders::new(rules, true).apply_to_upstream(&mut headers, FROM_UPSTREAM);
        let mut all: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        all.sort_unstable();
        assert_eq!(
            all,
            [
                "content-security-policy: img-src *",
                "cross-origin-embedder-policy: require-corp",
                "cross-origin-opener-policy: same-origin",
                "cross-origin-resource-policy: same-origin",
                "permissions-policy: camera=(), microphone=(), geolocation=()",
                "referrer-policy: unsafe-url",
                "strict-transport-security: max-age=63072000; includeSubDomains; preload",
                "x-content-type-options: own",
                "x-frame-options: SAMEORIGIN",
                "x-team: red",
                "x-xss-protection: 0",
            ]
        );
    }

    #[test]
    fn h1_what_speaks_of_https_is_said_over_https_only() {
        let mut headers = HeaderMap::new();
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=1"));
        ResponseHeaders::new(Preset::Web, false).apply_to_upstream(&mut headers, FROM_UPSTREAM);
        assert!(!headers.contains_key(STRICT_TRANSPORT_SECURITY));
    }
}
