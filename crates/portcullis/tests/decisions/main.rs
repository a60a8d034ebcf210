//! The table of decisions: facts in, verdict out, without a socket. Every door must give the same answers.

#![expect(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

mod candidates;
mod contents;
mod cors;
mod costs;
mod forgery;
mod house;
mod limits;
mod plans;
mod reputation;
mod shared;
mod shield;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use portcullis::{KeyPart, Otherwise, Policy, PolicyError, Stage};
use portcullis_auth::access::Requirement;
use portcullis_auth::{Algorithm, SigningKey};
use portcullis_core::ports::{Blocklist, Nobody};
use portcullis_core::{EventKind, Facts, Reason, RequestId};
use serde_json::json;

use crate::house::*;

#[test]
fn z2_the_example_api_is_guarded_by_role() {
    let house = house(Vec::new());
    for (request, nobody, viewer, editor, admin) in [
        ("GET /projects", 401, 200, 200, 200),
        ("HEAD /projects", 401, 200, 200, 200),
        ("POST /projects", 401, 403, 200, 200),
        ("DELETE /projects/7", 401, 403, 403, 200),
        ("GET /analytics", 401, 403, 403, 200),
        ("GET /public/status", 200, 200, 200, 200),
        ("PUT /projects", 404, 404, 404, 404),
        ("GET /", 404, 404, 404, 404),
        ("GET /projects/", 404, 404, 404, 404),
        ("GET /Projects", 404, 404, 404, 404),
    ] {
        assert_eq!(house.status(request, &[]), nobody, "{request} by nobody");
        for (role, expected) in [("viewer", viewer), ("editor", editor), ("admin", admin)] {
            assert_eq!(house.status(request, &[house.bearer(role)]), expected, "{request} by {role}");
        }
    }
}

#[test]
fn h7_no_spelling_of_a_path_reaches_another_route() {
    let house = house(Vec::new());
    let viewer = [house.bearer("viewer")];
    for target in [
        "/analytics/",
        "/Analytics",
        "/./analytics",
        "/x/../analytics",
        "/%2e/analytics",
        "/analytics.",
        "/analytics;x=1",
        "/projects/..%2fanalytics",
        "/public/status/../../analytics",
        "/public%2fstatus",
        "/analytics%00",
        "/analytics%20",
        "/%61nalytics",
        "//analytics",
        "/analytics?x=/public/status",
    ] {
        assert_ne!(house.status(&format!("GET {target}"), &viewer), 200, "{target}");
    }
    let mut pass = passed(house.ask("GET //%61nalytics?a=%2e", &[house.bearer("admin")]));
    assert_eq!(pass.take_rewritten().unwrap(), "/analytics?a=%2e", "what was matched is what is forwarded");
    assert!(passed(house.ask("GET /projects?x=1", &viewer)).take_rewritten().is_none());
}

#[test]
fn z1_a_looser_rest_is_matched_without_case_and_trailing_slash() {
    let routes = vec![route("/admin", roles(&["admin"]))];
    let house = house_with(routes, Vec::new(), Otherwise::Public);
    for target in ["/admin", "/ADMIN", "/Admin/", "//admin", "/%41dmin"] {
        assert_eq!(house.status(&format!("GET {target}"), &[]), 401, "{target}");
    }
    assert_eq!(house.status("GET /other", &[]), 200);
}

#[test]
fn t8_nothing_valid_and_invalid_are_three_answers() {
    let house = house(Vec::new());
    let error = |headers: &[(&'static str, String)]| {
        let refusal = refused(house.ask("GET /projects", headers));
        let problem = refusal.problem();
        assert_eq!(problem.status, StatusCode::UNAUTHORIZED);
        assert!(problem.headers.contains_key("www-authenticate"));
        refusal.reason().error().to_owned()
    };
    let bearer = |token: &str| [("authorization", format!("Bearer {token}"))];
    assert_eq!(error(&[]), "Authentication required");
    assert_eq!(error(&bearer("nonsense")), "Invalid or expired token");
    assert_eq!(error(&[("authorization", "Basic YTpi".into())]), "Invalid or expired token");
    assert_eq!(error(&bearer(&house.token("u", "viewer", "free", "revoked"))), "Token has been revoked");
    let old = json!({
        "iss": "https://api.example.com", "aud": "api", "sub": "u", "exp": NOW.as_secs() - 1, "jti": "j", "sid": "s",
        "role": "viewer", "ver": 1,
    });
    assert_eq!(error(&bearer(&house.key.sign("at+jwt", old.to_string().as_bytes()).unwrap())), "Token expired");
    // A bad explicit credential never falls through to anonymous, even where nothing is required.
    assert_eq!(house.status("GET /public/status", &bearer("nonsense")), 401);
    // An endpoint that issues credentials does not look at one.
    assert_eq!(house.status("POST /auth/login", &bearer("nonsense")), 200);
}

#[test]
fn t7_a_record_that_is_too_old_refuses_with_503() {
    let house = house(Vec::new());
    let token = house.token("u", "viewer", "free", "stale");
    assert_eq!(house.status("GET /projects", &[("authorization", format!("Bearer {token}"))]), 503);
}

#[test]
fn t8_a_stale_cookie_on_a_public_route_is_nobody_and_is_taken_back() {
    let house = house(Vec::new());
    // The second is what a neighbouring domain can do to a browser: two cookies of one name.
    for held in ["__Host-portcullis_access=stale", "__Host-portcullis_access=a; __Host-portcullis_access=b"] {
        let cookie = [("cookie", held.to_owned())];
        let pass = passed(house.ask("GET /public/status", &cookie));
        assert!(pass.principal().is_none());
        let mut headers = HeaderMap::new();
        pass.shape_response(StatusCode::OK, &mut headers);
        assert!(headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
        assert_eq!(house.status("GET /projects", &cookie), 401);
    }
}

#[test]
fn t8_a_stale_cookie_is_not_taken_back_where_the_answer_brings_another() {
    let house = house(Vec::new());
    let cookie = [("cookie", "__Host-portcullis_access=stale".to_owned())];
    // Of the identity endpoints: an upstream's cookies of our names are dropped before.
    let pass = passed(house.ask("POST /auth/maybe", &cookie));
    for (set, count) in [("__Host-portcullis_access=fresh; Path=/", 1), ("__Host-portcullis_form=x", 2)] {
        let mut headers = HeaderMap::new();
        headers.append("set-cookie", HeaderValue::from_static(set));
        pass.shape_response(StatusCode::OK, &mut headers);
        assert_eq!(headers.get_all("set-cookie").iter().count(), count, "{set}");
        assert_eq!(headers["set-cookie"], set);
    }
}

#[test]
fn w4_a_blocked_address_is_refused_before_anything_else() {
    let house = house(Vec::new());
    assert_eq!(status(&house.ask_from("192.0.2.66", "GET /public/status", &[])), 403);
    assert_eq!(status(&house.ask_from("::ffff:192.0.2.66", "GET /public/status", &[])), 403, "mapped");
    assert_eq!(status(&house.ask_from("192.0.2.67", "GET /public/status", &[])), 200);
}

#[test]
fn z5_the_upstream_hears_who_it_is_from_the_gate_only() {
    let house = house(Vec::new());
    let pass = passed(house.ask("GET /projects", &[house.bearer("editor")]));
    let mut headers = HeaderMap::new();
    for name in ["x-user-id", "x-user-role", "x_user_id", "x-user-plan"] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static("forged"));
    }
    headers.insert("authorization", HeaderValue::from_static("Bearer t"));
    headers.insert("cookie", HeaderValue::from_static("a=1; __Host-portcullis_access=t"));
    pass.apply_to_request(&mut headers);
    assert_eq!(headers.get_all("x-user-id").iter().collect::<Vec<_>>(), ["the-editor"]);
    assert_eq!(headers["x-user-role"], "editor");
    assert_eq!(headers["x-user-plan"], "free");
    assert!(!headers.contains_key("x_user_id") && !headers.contains_key("authorization"));
    assert_eq!(headers["cookie"], "a=1");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-user-role", HeaderValue::from_static("admin"));
    pass.apply_to_trailers(&mut trailers);
    assert!(trailers.is_empty());
}

#[test]
fn h1_every_refusal_carries_the_security_headers() {
    let house = house(Vec::new());
    for request in ["GET /projects", "GET /nowhere", "GET /a%2fb"] {
        let problem = refused(house.ask(request, &[])).problem();
        for name in
            ["content-security-policy", "x-frame-options", "x-content-type-options", "strict-transport-security"]
        {
            assert!(problem.headers.contains_key(name), "{request} {name}");
        }
        assert_eq!(problem.headers["content-type"], "application/problem+json");
    }
    assert_eq!(house.records.kinds(), [EventKind::Refused; 3]);
}

#[test]
fn h5_a_body_that_declares_too_much_is_not_admitted() {
    let house = house(Vec::new());
    let pass = passed(house.ask("GET /public/status", &[]));
    let request = |length: &str| http::Request::builder().header("content-length", length).body(()).unwrap();
    assert!(pass.admit(request("100")).is_ok());
    assert_eq!(pass.admit(request("101")).unwrap_err(), Reason::BodyTooLarge(100));
}

#[test]
fn z1_ties_are_errors_all_at_once() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let routes = vec![
        route("GET /a/{x}", Requirement::Public),
        route("GET /a/{y}", Requirement::Authenticated),
        route("/b", Requirement::Public),
        route("/b", Requirement::Public),
    ];
    let errors = Policy::new(parts(&key, routes, Vec::new())).unwrap_err();
    let at: Vec<usize> = errors.iter().map(|PolicyError::Tie { index, .. }| *index).collect();
    assert_eq!(at, [1, 3]);
}

#[test]
fn a_reload_takes_effect_for_the_next_request() {
    let house = house(Vec::new());
    let before = passed(house.ask("GET /public/status", &[]));
    let strict = vec![route("GET /public/status", roles(&["admin"]))];
    house.gate.reload(Policy::new(parts(&house.key, strict, Vec::new())).unwrap());
    assert_eq!(house.status("GET /public/status", &[]), 401);
    assert_eq!(before.case().route().map(|label| &**label), Some("GET /public/status"), "the old one keeps its policy");
}

#[test]
fn explain_tells_each_stage_in_order() {
    let house = house(vec![limit("address", "/**", KeyPart::Address, "10 per minute")]);
    let (method, target, headers) = (Method::GET, Uri::from_static("/projects"), HeaderMap::new());
    let facts = Facts {
        method: &method,
        target: &target,
        headers: &headers,
        peer: "192.0.2.1".parse().unwrap(),
        secure: true,
        id: RequestId::from_bits(1),
        now: NOW,
    };
    let mut remarks: Vec<(Stage, String)> = Vec::new();
    futures_executor(house.gate.decide_traced(&facts, &mut remarks));
    let stages: Vec<&str> = remarks.iter().map(|(stage, _)| stage.as_str()).collect();
    assert_eq!(stages, ["path", "client", "blocklist", "route", "limits before login", "authenticate"]);
    assert_eq!(remarks[4].1, "address: 9 of 10 left");
}

#[test]
fn nobody_is_blocked_or_revoked_by_nobody() {
    assert_eq!(Nobody.blocked_until("192.0.2.1".parse().unwrap(), NOW), None);
}
