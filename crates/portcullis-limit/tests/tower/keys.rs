//! Who is counted as whom.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use http::{HeaderName, HeaderValue, Method, Request};
use portcullis_limit::tower::{By, Limit, LimitEvent, LimitLayer};
use portcullis_limit::{ClientAddress, ForwardHeader, Key, TrustedHops};

use crate::support::{answer, app, from, limits, number, rate, status};

const KEY: HeaderName = HeaderName::from_static("x-api-key");

#[derive(Clone)]
struct UserId(u64);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[tokio::test]
async fn l3_a_client_is_its_address_and_a_network_of_ipv6_is_one_client() {
    let (limits, _) = limits();
    let (app, _) = app(LimitLayer::new(&limits).limit(Limit::new("api", rate("1 per 1h"))));
    for (address, expected) in [
        ("192.0.2.1", 200),
        ("192.0.2.1", 429),
        ("::ffff:192.0.2.1", 429),
        ("192.0.2.2", 200),
        ("2001:db8::1", 200),
        ("2001:db8::ffff:ffff:ffff:ffff", 429),
        ("2001:db8:0:1::1", 200),
    ] {
        assert_eq!(status(&app, from(address, &[])).await, expected, "{address}");
    }
}

#[tokio::test]
async fn l3_a_request_that_lacks_the_part_is_counted_by_its_address() {
    let (limits, _) = limits();
    let parts = [
        ("header", By::unverified_header(KEY)),
        ("extension", By::extension::<UserId>()),
        ("function", By::function(|request| request.uri.query().map(str::to_owned))),
    ];
    for (name, part) in parts {
        let (app, calls) = app(LimitLayer::new(&limits).limit(Limit::new(name, rate("2 per 1h")).by(part)));
        let mut unreadable = from("192.0.2.1", &[]);
        unreadable.headers_mut().insert(KEY, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(status(&app, from("192.0.2.1", &[])).await, 200, "{name}");
        assert_eq!(status(&app, from("192.0.2.1", &[("x-api-key", "")])).await, 200, "{name}");
        assert_eq!(status(&app, unreadable).await, 429, "{name}");
        // Whoever says who they are has an allowance of their own, wherever they are.
        for address in ["192.0.2.1", "192.0.2.9", "192.0.2.1"] {
            let mut request = from(address, &[("x-api-key", "alice")]);
            *request.uri_mut() = "/?alice".parse().unwrap();
            request.extensions_mut().insert(UserId(7));
            answer(&app, request).await;
        }
        assert_eq!(calls.load(Ordering::SeqCst), 4, "{name}");
    }
}

#[tokio::test]
async fn l3_where_no_address_is_known_nothing_is_let_through() {
    let (limits, _) = limits();
    let layer = LimitLayer::new(&limits);
    let (strict, calls) = app(layer.clone().limit(Limit::new("strict", rate("100 per 1h"))));
    let nowhere = || Request::new(());
    let refused = answer(&strict, nowhere()).await;
    assert_eq!((refused.status().as_u16(), calls.load(Ordering::SeqCst)), (500, 0));
    let body: serde_json::Value = serde_json::from_slice(refused.body()).unwrap();
    assert_eq!(body["error"], "Internal error");
    assert!(body["detail"].as_str().unwrap().contains("LimitLayer::peer"), "{body}");
    assert!(!refused.headers().contains_key("retry-after"), "waiting does not help");

    // What counts by something else needs none; what only reports refuses nobody, and says so.
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let layer = layer.observe(move |event, _| {
        if let LimitEvent::NoAddress { limit } = event {
            heard.lock().unwrap().push((*limit).to_owned());
        }
    });
    let other = Limit::new("other", rate("1 per 1h")).by(By::unverified_header(KEY));
    let (app, _) = app(layer.limit(other).limit(Limit::new("report", rate("1 per 1h")).report_only()));
    let mut request = nowhere();
    request.headers_mut().insert(KEY, HeaderValue::from_static("alice"));
    assert_eq!(status(&app, request.clone()).await, 200);
    assert_eq!(status(&app, request).await, 429);
    assert_eq!(*told.lock().unwrap(), ["report", "report"]);
}

#[tokio::test]
async fn l3_only_trusted_proxies_are_believed_about_the_address() {
    let (limits, _) = limits();
    let hops = TrustedHops::new(vec!["10.0.0.0/8".parse().unwrap()], ForwardHeader::default());
    let layer = LimitLayer::new(&limits).trusted_hops(hops).limit(Limit::new("api", rate("1 per 1h")));
    let (app, calls) = app(layer);
    for (n, peer) in [(1, "192.0.2.1"), (2, "192.0.2.1"), (3, "192.0.2.1")] {
        let claimed = format!("198.51.100.{n}");
        let expected = if n == 1 { 200 } else { 429 };
        assert_eq!(status(&app, from(peer, &[("x-forwarded-for", &claimed)])).await, expected);
    }
    // What a client writes itself stands to the left of what the proxy saw.
    for (chain, expected) in [
        ("203.0.113.1", 200),
        ("203.0.113.2", 200),
        ("1.1.1.1, 203.0.113.2", 429),
        ("2.2.2.2, 203.0.113.2, 10.9.9.9", 429),
    ] {
        assert_eq!(status(&app, from("10.0.0.1", &[("x-forwarded-for", chain)])).await, expected, "{chain}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn l3_parts_combine_and_everyone_is_one() {
    let (limits, _) = limits();
    let both = Limit::new("both", rate("1 per 1h")).by(By::address()).by(By::unverified_header(KEY));
    let (app, _) =
        app(LimitLayer::new(&limits).limit(both).limit(Limit::new("all", rate("4 per 1h")).by(By::everyone())));
    for (address, key, expected) in [
        ("192.0.2.1", "a", 200),
        ("192.0.2.1", "a", 429),
        ("192.0.2.1", "b", 200),
        ("192.0.2.2", "a", 200),
        ("192.0.2.3", "c", 200),
        ("192.0.2.4", "d", 429),
    ] {
        assert_eq!(status(&app, from(address, &[("x-api-key", key)])).await, expected, "{address} {key}");
    }
}

#[tokio::test]
async fn l6_one_client_starts_anew_by_the_key_that_the_documentation_tells() {
    let (limits, _) = limits();
    let limit = |name: &'static str, part| Limit::new(name, rate("1 per 1h")).by(part);
    let parts = [
        limit("address", By::address()),
        limit("extension", By::extension::<UserId>()),
        limit("header", By::unverified_header(KEY)),
        limit("function", By::function(|request| Some(request.uri.path().to_owned()))),
    ];
    let mut keys: Vec<Key> = parts.iter().map(|limit| Key::named(limit.name())).collect();
    keys[0].push_address(ClientAddress::new("2001:db8::".parse().unwrap()).key(64));
    keys[1].push_text('e', "7");
    keys[2].push_text('h', "alice");
    keys[3].push_text('f', "/");
    for (limit, key) in parts.into_iter().zip(keys) {
        let name = limit.name().to_owned();
        let (app, _) = app(LimitLayer::new(&limits).limit(limit));
        let ask = || {
            let mut request = from("2001:db8::1", &[("x-api-key", "alice")]);
            request.extensions_mut().insert(UserId(7));
            status(&app, request)
        };
        assert_eq!((ask().await, ask().await), (200, 429), "{name}");
        assert!(limits.limiter().reset(&name, &key).await.unwrap(), "{name}");
        assert_eq!((ask().await, ask().await), (200, 429), "{name}");
    }
}

#[tokio::test]
async fn l4_a_limit_may_choose_its_requests_their_cost_and_their_rate() {
    let (limits, _) = limits();
    let limit = Limit::new("api", rate("10 per 1h"))
        .when(|request| request.method != Method::OPTIONS)
        .cost_of(|request| if request.uri.path() == "/export" { 5 } else { 1 })
        .rate_of(|request| (request.headers.get("plan")? == "large").then(|| rate("100 per 1h")));
    let (app, _) = app(LimitLayer::new(&limits).limit(limit));
    let ask = |method: Method, path: &'static str, plan: &'static str| {
        let mut request = from("192.0.2.1", &[("plan", plan)]);
        (*request.method_mut(), *request.uri_mut()) = (method, path.parse().unwrap());
        request
    };
    let left = |response: &http::Response<Vec<u8>>| number(response, "x-ratelimit-remaining");
    assert_eq!(left(&answer(&app, ask(Method::GET, "/export", "")).await), 5);
    assert_eq!(left(&answer(&app, ask(Method::GET, "/", "")).await), 4);
    assert_eq!(status(&app, ask(Method::GET, "/export", "")).await, 429, "there is room for four");
    let asked = answer(&app, ask(Method::OPTIONS, "/export", "")).await;
    assert!(asked.status() == 200 && !asked.headers().contains_key("x-ratelimit-remaining"), "{asked:?}");
    let large = answer(&app, ask(Method::GET, "/", "large")).await;
    assert_eq!((left(&large), number(&large, "x-ratelimit-limit")), (93, 100));
}

#[tokio::test]
async fn l4_rates_of_several_windows_never_begin_each_other_anew() {
    let (limits, _) = limits();
    let limit = Limit::new("api", rate("3 per 1h"))
        .rate_of(|request| (request.headers.get("plan")? == "large").then(|| rate("5 per 1m")));
    let (app, _) = app(LimitLayer::new(&limits).limit(limit));
    let mut admitted = [0; 2];
    for _ in 0..20 {
        for (count, plan) in admitted.iter_mut().zip(["small", "large"]) {
            *count += u32::from(status(&app, from("192.0.2.1", &[("plan", plan)])).await == 200);
        }
    }
    assert_eq!(admitted, [3, 5]);
}
