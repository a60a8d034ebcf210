//! What a browser sends by itself: whose page made it, and whether that page knew a token of the session (H2).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use portcullis::{Otherwise, Policy, PolicyParts, RouteRule, Verdict};
use portcullis_auth::access::Requirement;
use portcullis_core::Reason;
use portcullis_shield::csrf::{BoundTo, Csrf, CsrfRules};

use crate::house::{House, NOW, csrf, house, house_with, parts, passed, projects, route, status};

type Headers = Vec<(&'static str, String)>;

fn cookie(house: &House, session: &str) -> (&'static str, String) {
    ("cookie", format!("__Host-portcullis_access={}", house.token("u", "editor", "free", session)))
}

fn token(session: &str) -> String {
    csrf().issue(BoundTo::own(session), NOW).unwrap()
}

fn with(cookie: &(&'static str, String), extra: &[(&'static str, &str)]) -> Headers {
    let extra = extra.iter().map(|(name, value)| (*name, (*value).to_owned()));
    std::iter::once(cookie.clone()).chain(extra).collect()
}

fn refused(verdict: Verdict) -> (Reason, HeaderMap) {
    match verdict {
        Verdict::Refuse(refusal) => (refusal.reason().clone(), refusal.problem().headers),
        Verdict::Pass(pass) => panic!("it passed: {pass:?}"),
        Verdict::Answer(_) => panic!("answered"),
    }
}

/// `name=value` of the cookie that an answer sets.
fn set(headers: &HeaderMap) -> Option<String> {
    let set = headers.get("set-cookie")?.to_str().unwrap();
    assert!(set.starts_with("__Host-portcullis_csrf=") && !set.contains("HttpOnly"), "{set}");
    assert!(set.ends_with("; Max-Age=3600; Path=/; SameSite=Strict; Secure"), "{set}");
    Some(set.split(';').next().unwrap().to_owned())
}

#[test]
fn a_cookie_does_not_obey_another_site() {
    let house = house(Vec::new());
    let cookie = cookie(&house, "s");
    let token = token("s");
    for (extra, expected) in [
        (&[][..], 200),
        (&[("origin", "https://api.example.com")], 200),
        (&[("sec-fetch-site", "same-origin")], 200),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("origin", "https://api.example.com.evil.example")], 403),
        (&[("sec-fetch-site", "cross-site")], 403),
        (&[("sec-fetch-site", "same-site")], 403),
    ] {
        // Whoever has a token still comes from where they come from: the origin is asked first.
        let mut headers = with(&cookie, extra);
        headers.push(("x-csrf-token", token.clone()));
        assert_eq!(house.status("POST /projects", &headers), expected, "{extra:?}");
    }
    let headers = with(&cookie, &[("sec-fetch-site", "cross-site")]);
    assert_eq!(house.status("GET /projects", &headers), 200, "safe methods obey");
    let (reason, answer) = refused(house.ask("POST /projects", &headers));
    assert_eq!(reason, Reason::CrossSite);
    assert_eq!(set(&answer), None, "another site's request is no reason to say anything");
}

#[test]
fn h2_a_websocket_is_asked_for_its_origin_and_not_for_a_token() {
    let house = house(Vec::new());
    let cookie = cookie(&house, "s");
    let socket =
        |origin| house.status("GET /projects", &with(&cookie, &[("upgrade", "websocket"), ("origin", origin)]));
    assert_eq!(socket("https://evil.example"), 403, "a WebSocket is no safe method");
    assert_eq!(socket("https://api.example.com"), 200, "and no page can put a token there");
    let pass = passed(house.ask("GET /projects", &with(&cookie, &[("upgrade", "websocket")])));
    let mut headers = HeaderMap::new();
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    pass.shape_response(StatusCode::SWITCHING_PROTOCOLS, &mut headers);
    assert_eq!(set(&headers), None, "a tunnel's answer sets nothing");
}

#[test]
fn h2_an_unsafe_request_by_cookie_needs_a_token_of_its_session() {
    let house = house(Vec::new());
    let cookie = cookie(&house, "s");
    let (ours, others) = (token("s"), token("t"));
    let old = csrf().issue(BoundTo::own("s"), NOW.before(Duration::from_secs(3_600))).unwrap();
    let foreign = Csrf::new(CsrfRules::default(), &portcullis_core::Secret::new(vec![8; 32]));
    let foreign = foreign.issue(BoundTo::own("s"), NOW).unwrap();
    for method in ["POST", "DELETE", "PUT", "PATCH"] {
        let pattern = format!("{method} /things");
        let house = house_with(vec![route(&pattern, Requirement::Authenticated)], Vec::new(), Otherwise::Refuse);
        let cookie = self::cookie(&house, "s");
        let ask = |extra: &[(&'static str, &str)]| house.ask(&pattern, &with(&cookie, extra));
        assert_eq!(refused(ask(&[])).0, Reason::MissingCsrfToken, "{method}");
        assert_eq!(refused(ask(&[("sec-fetch-site", "same-origin")])).0, Reason::MissingCsrfToken, "{method}");
        passed(ask(&[("x-csrf-token", &ours)]));
    }
    let ask = |extra: &[(&'static str, &str)]| refused(house.ask("POST /projects", &with(&cookie, extra))).0;
    for wrong in [&others, &old, &foreign, &ours[1..], "x", &ours.to_lowercase()] {
        assert_eq!(ask(&[("x-csrf-token", wrong)]), Reason::InvalidCsrfToken, "{wrong}");
    }
    assert_eq!(ask(&[("x-csrf-token", &ours), ("x-csrf-token", &ours)]), Reason::InvalidCsrfToken);
    let in_target = house.ask(&format!("POST /projects?_csrf={ours}"), &with(&cookie, &[]));
    assert_eq!(refused(in_target).0, Reason::MissingCsrfToken, "an address ends up in logs");
    let beside = format!("{}; __Host-portcullis_csrf={ours}", cookie.1);
    let (reason, _) = refused(house.ask("POST /projects", &[("cookie", beside)]));
    assert_eq!(reason, Reason::MissingCsrfToken, "a cookie comes by itself and says nothing");
}

#[test]
fn h2_who_presents_something_explicit_is_asked_for_no_token() {
    let house = house(Vec::new());
    let mut headers = vec![house.bearer("editor")];
    passed(house.ask("POST /projects", &headers));
    // A cookie that comes along proves nothing then, and takes nothing away.
    headers.push(cookie(&house, "s"));
    let pass = passed(house.ask("POST /projects", &headers));
    let mut answer = HeaderMap::new();
    pass.shape_response(StatusCode::OK, &mut answer);
    assert_eq!(set(&answer), None);
    let mut request = HeaderMap::new();
    request.insert("x-csrf-token", HeaderValue::from_static("the API's own"));
    pass.apply_to_request(&mut request);
    assert_eq!(request["x-csrf-token"], "the API's own", "what was not ours to read goes on");
}

#[test]
fn h2_a_public_route_needs_a_token_as_soon_as_somebody_is_proven() {
    let house = house_with(vec![route("POST /words", Requirement::Public)], Vec::new(), Otherwise::Refuse);
    assert_eq!(house.status("POST /words", &[]), 200);
    assert_eq!(house.status("POST /words", &[("cookie", "__Host-portcullis_access=stale".into())]), 200);
    let cookie = cookie(&house, "s");
    assert_eq!(refused(house.ask("POST /words", &with(&cookie, &[]))).0, Reason::MissingCsrfToken);
    assert_eq!(house.status("POST /words", &with(&cookie, &[("x-csrf-token", &token("s"))])), 200);
}

#[test]
fn h2_a_browser_gets_a_token_once_in_half_an_hour() {
    let house = house(Vec::new());
    let answered = |held: Option<String>| {
        let (_, access) = cookie(&house, "s");
        let cookies = held.map_or(access.clone(), |held| format!("{access}; {held}"));
        let pass = passed(house.ask("GET /projects", &[("cookie", cookies)]));
        let mut headers = HeaderMap::new();
        pass.shape_response(StatusCode::SWITCHING_PROTOCOLS, &mut headers);
        set(&headers)
    };
    let made = |ago: u64| csrf().issue(BoundTo::own("s"), NOW.before(Duration::from_secs(ago))).unwrap();
    let held = |token: &str| Some(format!("__Host-portcullis_csrf={token}"));
    let first = answered(None).expect("the first answer brings one");
    assert_eq!(answered(Some(first.clone())), None, "and the second nothing");
    assert_eq!(answered(held(&made(1_799))), None);
    assert!(answered(held(&made(1_800))).is_some(), "past half of its life");
    assert!(answered(held(&token("t"))).is_some(), "another session's");
    assert!(answered(held("nonsense")).is_some());
    assert!(answered(Some(format!("{first}; {first}"))).is_some(), "of two nobody knows which is read");
    // The fresh one is good, and so is a refusal's: who is told that a token is missing has one with the same answer.
    let value = first.split_once('=').unwrap().1;
    assert_eq!(house.status("POST /projects", &with(&cookie(&house, "s"), &[("x-csrf-token", value)])), 200);
    let (reason, headers) = refused(house.ask("POST /projects", &with(&cookie(&house, "s"), &[])));
    assert_eq!(reason, Reason::MissingCsrfToken);
    let told = set(&headers).unwrap();
    let value = told.split_once('=').unwrap().1;
    assert_eq!(house.status("POST /projects", &with(&cookie(&house, "s"), &[("x-csrf-token", value)])), 200);
}

fn with_rules(routes: Vec<RouteRule>, rules: CsrfRules) -> House {
    let house = house_with(Vec::new(), Vec::new(), Otherwise::Refuse);
    let csrf = Csrf::new(rules, &portcullis_core::Secret::new(vec![7; 32]));
    house.gate.reload(Policy::new(PolicyParts { csrf, ..parts(&house.key, routes, Vec::new()) }).unwrap());
    house
}

#[test]
fn h2_the_upstream_is_told_a_token_for_its_forms_where_it_wants_one() {
    let to_upstream = Some("x-form-token".parse().unwrap());
    let house = with_rules(projects(), CsrfRules { to_upstream, ..CsrfRules::default() });
    let told = |headers: &Headers| {
        let pass = passed(house.ask("GET /projects", headers));
        let mut request = HeaderMap::new();
        request.insert("x-form-token", HeaderValue::from_static("forged"));
        request.insert("x-csrf-token", HeaderValue::from_static("kept from it"));
        pass.apply_to_request(&mut request);
        assert_eq!(request.get_all("x-form-token").iter().count(), usize::from(request.contains_key("x-form-token")));
        (
            request.get("x-form-token").map(|value| value.to_str().unwrap().to_owned()),
            request.contains_key("x-csrf-token"),
        )
    };
    let (_, access) = cookie(&house, "s");
    let (fresh, left) = told(&vec![("cookie", access.clone())]);
    assert!(csrf().judge(fresh.unwrap().as_bytes(), BoundTo::own("s"), NOW).is_some());
    assert!(!left, "the client's was ours to read");
    let held = token("s");
    let (same, _) = told(&vec![("cookie", format!("{access}; __Host-portcullis_csrf={held}"))]);
    assert_eq!(same, Some(held), "the browser's own, while it is good for long enough");
    let (forged, _) = told(&vec![("cookie", format!("{access}; __Host-portcullis_csrf=forged"))]);
    assert_ne!(forged.as_deref(), Some("forged"));
    assert_eq!(told(&vec![house.bearer("editor")]), (None, true), "nobody else's forms have one, and nobody forges it");
}

#[test]
fn h2_a_route_or_a_gate_without_tokens_still_asks_for_the_origin() {
    let exempt = || RouteRule { danger_no_csrf_token: true, ..route("POST /webhook", Requirement::Authenticated) };
    let by_route = with_rules(projects().into_iter().chain([exempt()]).collect(), CsrfRules::default());
    let by_mode = with_rules(vec![exempt()], CsrfRules { token: false, ..CsrfRules::default() });
    for house in [&by_route, &by_mode] {
        let cookie = cookie(house, "s");
        assert_eq!(house.status("POST /webhook", &with(&cookie, &[])), 200);
        let foreign = house.ask("POST /webhook", &with(&cookie, &[("origin", "https://evil.example")]));
        assert_eq!(refused(foreign).0, Reason::CrossSite);
    }
    let cookie = cookie(&by_route, "s");
    assert_eq!(refused(by_route.ask("POST /projects", &with(&cookie, &[]))).0, Reason::MissingCsrfToken);
    let pass = passed(by_mode.ask("POST /webhook", &with(&self::cookie(&by_mode, "s"), &[])));
    let mut headers = HeaderMap::new();
    pass.shape_response(StatusCode::SWITCHING_PROTOCOLS, &mut headers);
    assert_eq!(set(&headers), None, "where nobody asks for tokens nobody is given one");
}

#[test]
fn h2_pages_of_a_trusted_origin_need_the_token_too() {
    let trusted_origins = vec!["https://app.example.com".into()];
    let house = with_rules(projects(), CsrfRules { trusted_origins, ..CsrfRules::default() });
    let cookie = cookie(&house, "s");
    let from = [("origin", "https://app.example.com"), ("sec-fetch-site", "same-site")];
    assert_eq!(refused(house.ask("POST /projects", &with(&cookie, &from))).0, Reason::MissingCsrfToken);
    let mut headers = with(&cookie, &from);
    headers.push(("x-csrf-token", token("s")));
    passed(house.ask("POST /projects", &headers));
    assert_eq!(status(&house.ask("POST /projects", &with(&cookie, &[("sec-fetch-site", "same-site")]))), 403);
}
