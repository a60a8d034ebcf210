use super::*;

fn rules(origins: &[&str]) -> CorsRules {
    CorsRules {
        origins: origins.iter().map(|origin| origin.parse().unwrap()).collect(),
        credentials: true,
        allow_headers: vec![HeaderName::from_static("content-type"), HeaderName::from_static("x-csrf-token")],
        expose_headers: vec![HeaderName::from_static("x-total")],
        max_age: Duration::from_secs(600),
        private_network: false,
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap()
}

fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, text) in pairs {
        headers.append(HeaderName::from_static(name), value(text));
    }
    headers
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut all: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    all.sort_unstable();
    all
}

#[test]
fn h3_an_origin_of_the_list_may_read_and_no_other() {
    let cors = Cors::new(rules(&["https://b.example.com", "https://*.example.org", "https://a.example.com"]));
    for origin in ["https://a.example.com", "https://b.example.com", "https://x.example.org"] {
        let mut headers = HeaderMap::new();
        cors.apply(&mut headers, Some(&value(origin)));
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], origin);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(
            headers[ACCESS_CONTROL_EXPOSE_HEADERS],
            "Retry-After, RateLimit, RateLimit-Policy, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, \
             X-Request-Id, x-total"
        );
        assert_eq!(headers[VARY], "Origin");
        assert!(cors.trusts(&value(origin)));
    }
    for origin in [None, Some("null"), Some("https://c.example.com"), Some("https://a.example.com.evil")] {
        let mut headers = HeaderMap::new();
        cors.apply(&mut headers, origin.map(value).as_ref());
        assert_eq!(lines(&headers), ["vary: Origin"], "{origin:?}");
        assert!(!origin.is_some_and(|origin| cors.trusts(&value(origin))));
    }
}

#[test]
fn h3_what_the_upstream_allows_is_removed() {
    let mut headers = map(&[
        ("access-control-allow-origin", "https://evil.example.com"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "*"),
        ("access-control-allow-private-network", "true"),
        ("x-other", "stays"),
    ]);
    Cors::new(rules(&["https://a.example.com"])).apply(&mut headers, Some(&value("https://evil.example.com")));
    assert_eq!(lines(&headers), ["vary: Origin", "x-other: stays"]);
}

#[test]
fn h3_vary_is_merged_with_the_upstreams() {
    let cors = Cors::new(rules(&["https://a.example.com"]));
    for (said, expected) in [
        (&[][..], &["Origin"][..]),
        (&["Accept-Encoding"], &["Accept-Encoding, Origin"]),
        (&["Accept-Encoding", "Cookie , Accept"], &["Accept-Encoding, Cookie , Accept, Origin"]),
        (&["Accept, origin"], &["Accept, origin"]),
        (&["Accept", "ORIGIN"], &["Accept", "ORIGIN"]),
        (&["*"], &["*"]),
        (&["X-Origin, Origin-Trial"], &["X-Origin, Origin-Trial, Origin"]),
    ] {
        let mut headers = HeaderMap::new();
        for value in said {
            headers.append(VARY, HeaderValue::from_static(value));
        }
        cors.apply(&mut headers, None);
        assert_eq!(headers.get_all(VARY).iter().collect::<Vec<_>>(), expected, "{said:?}");
    }
}

#[test]
fn h3_a_star_is_for_everybody_and_never_with_credentials() {
    let cors = Cors::new(rules(&["*", "https://a.example.com"]));
    for origin in [None, Some("null"), Some("https://a.example.com")] {
        let mut headers = HeaderMap::new();
        cors.apply(&mut headers, origin.map(value).as_ref());
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS) && !headers.contains_key(VARY));
    }
    assert!(!cors.trusts(&value("https://a.example.com")) && cors.allows(&value("null")));
}

#[test]
fn h3_only_a_preflight_is_taken_for_one() {
    let ask = |pairs: &[(&'static str, &str)]| Preflight::of(&Method::OPTIONS, &map(pairs));
    let (origin, method) = (("origin", "https://a"), ("access-control-request-method", "PUT"));
    assert_eq!(ask(&[origin, method]).unwrap().method, Method::PUT);
    assert_eq!(Preflight::of(&Method::GET, &map(&[origin, method])), None);
    assert_eq!(ask(&[origin]), None);
    assert_eq!(ask(&[method]), None);
    assert_eq!(ask(&[origin, method, method]), None);
    for wrong in ["", "a b", "PUT, DELETE", "CONNECT", "TRACE"] {
        assert_eq!(ask(&[origin, ("access-control-request-method", wrong)]), None, "{wrong}");
    }
}

#[test]
fn h3_a_preflight_is_told_method_headers_and_for_how_long() {
    let cors = Cors::new(rules(&["https://a.example.com"]));
    let origin = value("https://a.example.com");
    let asked = |more: &[(&'static str, &str)]| {
        let mut headers = map(&[("origin", "https://a.example.com"), ("access-control-request-method", "PUT")]);
        headers.extend(map(more));
        Preflight::of(&Method::OPTIONS, &headers).unwrap()
    };
    let mut headers = HeaderMap::new();
    cors.answer(&mut headers, Some(&origin), &asked(&[]));
    let allowed = [
        "access-control-allow-credentials: true",
        "access-control-allow-headers: content-type, x-csrf-token",
        "access-control-allow-methods: PUT",
        "access-control-allow-origin: https://a.example.com",
        "access-control-max-age: 600",
        "vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    ];
    assert_eq!(lines(&headers), allowed);
    // Whatever list of headers a page asks for: nobody takes it apart (CVE-2025-47908).
    let mut headers = HeaderMap::new();
    cors.answer(&mut headers, Some(&origin), &asked(&[("access-control-request-headers", &",".repeat(30_000))]));
    assert_eq!(lines(&headers), allowed);
    let network = ("access-control-request-private-network", "true");
    let mut headers = HeaderMap::new();
    cors.answer(&mut headers, Some(&origin), &asked(&[network]));
    assert_eq!(lines(&headers), allowed, "a private network is opened by the file only");
    let open = Cors::new(CorsRules { private_network: true, ..rules(&["https://a.example.com"]) });
    for (asks, hears) in [
        (network, "access-control-allow-private-network"),
        (("access-control-request-local-network", "true"), "access-control-allow-local-network"),
    ] {
        let mut headers = HeaderMap::new();
        open.answer(&mut headers, Some(&origin), &asked(&[asks]));
        assert_eq!(headers[hears], "true");
        assert_eq!(headers.len(), allowed.len() + 1);
        let mut headers = HeaderMap::new();
        open.answer(&mut headers, Some(&value("https://evil.example.com")), &asked(&[asks]));
        assert_eq!(lines(&headers), [allowed[5]]);
    }
}
