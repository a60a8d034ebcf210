//! Pages of other origins, and the nonce of our own (H1, H3).

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use portcullis::{Answer, KeyPart, PolicyParts, RouteCors, RouteRule, Verdict};
use portcullis_auth::access::Requirement;
use portcullis_shield::{Cors, CorsRules, CspFrom, HeaderRules, Preset, ResponseHeaders};

use crate::house::*;

const APP: &str = "https://app.example.com";

fn cors(origin: &str) -> Arc<Cors> {
    Arc::new(Cors::new(CorsRules {
        origins: vec![origin.parse().unwrap()],
        credentials: true,
        allow_headers: vec![HeaderName::from_static("authorization")],
        expose_headers: Vec::new(),
        max_age: Duration::from_secs(600),
        private_network: false,
    }))
}

fn open() -> House {
    let mut routes = projects();
    routes.push(RouteRule { cors: RouteCors::Upstream, ..route("/theirs", Requirement::Public) });
    routes
        .push(RouteRule { cors: RouteCors::Own(cors("https://own.example.com")), ..route("/own", roles(&["admin"])) });
    let few = limit("few", "/**", KeyPart::Address, "20 per minute");
    house_of(routes, vec![few], |parts| PolicyParts { cors: Some(cors(APP)), ..parts })
}

fn preflight(house: &House, target: &str, origin: &str, method: &str) -> Verdict {
    let headers = [("origin", origin.to_owned()), ("access-control-request-method", method.to_owned())];
    house.ask(&format!("OPTIONS {target}"), &headers)
}

fn answered(verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn h3_a_preflight_is_answered_before_limits_and_authentication_and_leaves_no_record() {
    let house = open();
    for _ in 0..100 {
        let headers = answered(preflight(&house, "/projects/7", APP, "DELETE")).headers();
        assert_eq!(headers["access-control-allow-origin"], APP);
        assert_eq!(headers["access-control-allow-methods"], "DELETE");
        assert_eq!(headers["access-control-allow-credentials"], "true");
        assert_eq!(headers["x-content-type-options"], "nosniff");
    }
    assert!(house.records.kinds().is_empty());
    assert_eq!(house.status("GET /public/status", &[]), 200, "no limit was charged");
    let evil = answered(preflight(&house, "/projects/7", "https://evil.example.com", "DELETE")).headers();
    assert!(evil.keys().all(|name| !name.as_str().starts_with("access-control-")), "{evil:?}");
    assert!(evil["vary"].to_str().unwrap().starts_with("Origin"));
}

#[test]
fn h3_the_route_table_says_which_methods_there_are() {
    let house = open();
    for (target, method) in
        [("/projects", "GET"), ("/projects", "HEAD"), ("/projects", "POST"), ("/auth/login", "POST")]
    {
        answered(preflight(&house, target, APP, method));
    }
    // No route has them, so that the question is about nothing, and goes the way of every request without a route.
    for (target, method) in [("/projects", "PUT"), ("/nowhere", "GET"), ("/projects", "delete")] {
        let refusal = refused(preflight(&house, target, APP, method));
        assert_eq!(refusal.problem().status, StatusCode::NOT_FOUND, "{method} {target}");
        assert_eq!(refusal.problem().headers["access-control-allow-origin"], APP, "a page can read why");
    }
}

#[test]
fn h3_a_route_has_its_own_origins_or_leaves_it_to_the_upstream() {
    let house = open();
    let own = answered(preflight(&house, "/own", "https://own.example.com", "PUT")).headers();
    assert_eq!(own["access-control-allow-origin"], "https://own.example.com");
    assert!(!answered(preflight(&house, "/own", APP, "PUT")).headers().contains_key("access-control-allow-origin"));
    let pass = passed(preflight(&house, "/theirs", APP, "PUT"));
    let mut headers = HeaderMap::new();
    headers.insert("access-control-allow-origin", HeaderValue::from_static("https://theirs.example.com"));
    pass.shape_response(StatusCode::OK, &mut headers);
    assert_eq!(headers["access-control-allow-origin"], "https://theirs.example.com");
}

#[test]
fn h3_an_options_that_is_no_preflight_goes_its_way() {
    let house = house_of(vec![route("OPTIONS /public/status", Requirement::Public)], Vec::new(), |parts| PolicyParts {
        cors: Some(cors(APP)),
        ..parts
    });
    passed(house.ask("OPTIONS /public/status", &[]));
    passed(house.ask("OPTIONS /public/status", &[("origin", APP.to_owned())]));
    passed(house.ask("OPTIONS /public/status", &[("access-control-request-method", "GET".to_owned())]));
}

#[test]
fn h3_a_blocked_address_is_told_nothing_else() {
    let headers = [("origin", APP.to_owned()), ("access-control-request-method", "GET".to_owned())];
    let refusal = refused(open().ask_from("192.0.2.66", "OPTIONS /projects", &headers));
    assert_eq!(refusal.problem().status, StatusCode::FORBIDDEN);
}

#[test]
fn h3_every_answer_says_who_may_read_it() {
    let house = open();
    let from = |origin: &str| [("origin", origin.to_owned())];
    let refusal = refused(house.ask("GET /projects", &from(APP)));
    let headers = refusal.problem().headers;
    assert_eq!(
        (headers["access-control-allow-origin"].as_bytes(), refusal.problem().status.as_u16()),
        (APP.as_bytes(), 401)
    );
    assert!(headers["access-control-expose-headers"].to_str().unwrap().contains("Retry-After"));
    for origin in ["https://evil.example.com", "null", "https://app.example.com.evil"] {
        let headers = refused(house.ask("GET /projects", &from(origin))).problem().headers;
        assert!(!headers.contains_key("access-control-allow-origin"), "{origin}");
        assert_eq!(headers["vary"], "Origin");
    }
    let twice = [("origin", APP.to_owned()), ("origin", APP.to_owned())];
    assert!(!refused(house.ask("GET /projects", &twice)).problem().headers.contains_key("access-control-allow-origin"));
    let pass = passed(house.ask("GET /public/status", &from(APP)));
    let mut headers = HeaderMap::new();
    pass.shape_response(StatusCode::OK, &mut headers);
    assert_eq!(headers["access-control-allow-origin"], APP);
    // Without an origin, the same: a cache may keep it for somebody who has one.
    let pass = passed(house.ask("GET /public/status", &[]));
    let mut headers = HeaderMap::new();
    pass.shape_response(StatusCode::OK, &mut headers);
    assert_eq!(headers["vary"], "Origin");
}

fn with_nonce() -> House {
    let csp = "script-src 'nonce-{nonce}'".parse().ok();
    let rules = HeaderRules { csp, csp_from: CspFrom::Replace, ..Preset::Web.into() };
    let page = RouteRule {
        headers: Some(Arc::new(ResponseHeaders::new(rules, true))),
        ..route("GET /page", Requirement::Public)
    };
    let further = [page, route("GET /plain", Requirement::Public)];
    house_of(projects().into_iter().chain(further).collect(), Vec::new(), |parts| parts)
}

#[test]
fn h1_the_upstream_is_told_the_nonce_that_the_policy_names() {
    let house = with_nonce();
    let mut drawn = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let pass = passed(house.ask("GET /page", &[]));
        let mut request = HeaderMap::new();
        for name in ["x-csp-nonce", "x_csp_nonce", "x-csp_nonce", "x.csp.nonce"] {
            request.append(name, HeaderValue::from_static("mine"));
        }
        pass.apply_to_request(&mut request);
        assert_eq!(request.len(), 1, "{request:?}");
        let nonce = request["x-csp-nonce"].to_str().unwrap().to_owned();
        let mut page = HeaderMap::new();
        pass.shape_response(StatusCode::OK, &mut page);
        assert_eq!(page["content-security-policy"], format!("script-src 'nonce-{nonce}'"));
        drawn.insert(nonce);
    }
    assert_eq!(drawn.len(), 20);
}

#[test]
fn h1_a_nonce_is_in_no_answer_without_a_page_and_in_no_refusal() {
    let house = with_nonce();
    for (request, status) in [("GET /page", StatusCode::NOT_MODIFIED), ("HEAD /page", StatusCode::OK)] {
        let pass = passed(house.ask(request, &[]));
        let mut headers = HeaderMap::new();
        headers.insert("content-security-policy", HeaderValue::from_static("script-src *"));
        pass.shape_response(status, &mut headers);
        assert!(!headers.contains_key("content-security-policy"), "{request} {status}");
        assert_eq!(headers["x-frame-options"], "DENY");
    }
    let failed = passed(house.ask("GET /page", &[]));
    let refusal = failed.refuse(portcullis_core::Reason::UpstreamTimeout, portcullis_core::RequestId::from_bits(1));
    let policy = refusal.problem().headers["content-security-policy"].clone();
    assert_eq!(policy, "default-src 'none'; frame-ancestors 'none'");
}

#[test]
fn h1_where_no_policy_has_a_place_for_it_nobody_draws_a_nonce_and_nobody_makes_one_up() {
    let pass = passed(with_nonce().ask("GET /plain", &[]));
    let mut request = HeaderMap::new();
    request.insert("x-csp-nonce", HeaderValue::from_static("mine"));
    pass.apply_to_request(&mut request);
    assert!(request.is_empty());
}
