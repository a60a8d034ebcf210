//! Server sessions (T10): one opaque cookie in place of tokens.

use serde_json::json;

use crate::support::client::Reply;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES};

const PUBLIC_URL: &str = "https://api.example.com";

fn https() -> (Origin, Gateway) {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).public_url(PUBLIC_URL).with(PROJECT_ROUTES).start();
    gateway.create_user("session@example.com", "editor");
    (origin, gateway)
}

fn login(gateway: &Gateway, delivery: &str, cookie: Option<&str>) -> Reply {
    let body = json!({ "email": "session@example.com", "password": PASSWORD, "delivery": delivery });
    let client = gateway.client();
    let mut request = client.post("/auth/login").header("Origin", PUBLIC_URL);
    if let Some(cookie) = cookie {
        request = request.header("Cookie", cookie);
    }
    request.json(&body).send()
}

/// `name=value` of the session's cookie.
fn cookie(reply: &Reply) -> String {
    reply.set_cookie("session").unwrap().split(';').next().unwrap().to_owned()
}

fn projects(gateway: &Gateway, cookie: &str) -> Reply {
    gateway.client().get("/projects").header("Cookie", cookie).send()
}

#[test]
fn t10_a_session_is_one_cookie_that_no_script_and_no_upstream_sees() {
    let (origin, gateway) = https();
    let reply = login(&gateway, "session", None).expect(200);
    let set = reply.set_cookie("session").unwrap().to_lowercase();
    assert!(set.starts_with("__host-portcullis_session="), "{set}");
    for attribute in ["; httponly", "; secure", "; samesite=strict", "; path=/", "; max-age=604800"] {
        assert!(set.contains(attribute), "{attribute} in {set}");
    }
    assert_eq!(reply.json()["tokenType"], "Session");
    assert!(reply.json().get("accessToken").is_none() && reply.json().get("refreshToken").is_none());
    let session = cookie(&reply);
    let secret = session.split_once('=').unwrap().1;
    assert!(!reply.text().contains(secret));
    projects(&gateway, &format!("a=1; {session}")).expect(200);
    let seen = origin.last();
    assert_eq!((seen.header("cookie"), seen.header("x-user-role")), (Some("a=1"), Some("editor")));
    let me = gateway.client().get("/auth/me").header("Cookie", &session).send().expect(200);
    assert_eq!(me.json()["email"], "session@example.com");
}

#[test]
fn t10_revocation_is_instant() {
    let (_origin, gateway) = https();
    let (one, other) = (cookie(&login(&gateway, "session", None)), cookie(&login(&gateway, "session", None)));
    projects(&gateway, &one).expect(200);
    projects(&gateway, &other).expect(200);
    let ask = |target: &str, cookie: &str| {
        let client = gateway.client();
        let request = client.post(target).header("Origin", PUBLIC_URL).header("Cookie", cookie);
        request.csrf(&gateway.csrf(cookie)).send()
    };
    let bye = ask("/auth/logout", &one);
    assert!(bye.expect(204).set_cookie("session").unwrap().contains("Max-Age=0"));
    projects(&gateway, &one).refused(401, "Token has been revoked");
    projects(&gateway, &other).expect(200);
    ask("/auth/logout-all", &other).expect(204);
    projects(&gateway, &other).refused(401, "Token has been revoked");
}

#[test]
fn t10_a_session_ends_when_it_rests_and_when_its_life_is_over() {
    let origin = Origin::echo();
    let lives = "[identity.sessions]\nlife = \"2h\"\nidle = \"30m\"\n";
    let gateway = Setup::before(&origin).public_url(PUBLIC_URL).with(PROJECT_ROUTES).with(lives).start();
    gateway.create_user("session@example.com", "editor");
    let (used, rested) = (cookie(&login(&gateway, "session", None)), cookie(&login(&gateway, "session", None)));
    for _ in 0..5 {
        gateway.operator().advance("20m");
        projects(&gateway, &used).expect(200);
    }
    projects(&gateway, &rested).refused(401, "Token expired");
    gateway.operator().advance("21m");
    let over = projects(&gateway, &used);
    assert_eq!(over.status, 401, "{}", over.text());
    // A stale cookie on a public route is nobody, and goes.
    let stale = gateway.client().get("/public/status").header("Cookie", &rested).send().expect(200);
    assert!(stale.set_cookie("session").unwrap().contains("Max-Age=0"));
}

#[test]
fn t10_another_sites_page_cannot_use_a_session() {
    let (_origin, gateway) = https();
    let session = cookie(&login(&gateway, "session", None));
    let post = |origin: &str| {
        let client = gateway.client();
        let request = client.post("/projects").header("Cookie", &session).csrf(&gateway.csrf(&session));
        request.header("Origin", origin).json(&json!({})).send()
    };
    post("https://evil.example").refused(403, "Cross-site request refused");
    post(PUBLIC_URL).expect(200);
    let client = gateway.client();
    let logout = client.post("/auth/logout").header("Cookie", &session).header("Origin", "https://evil.example");
    logout.send().refused(403, "Cross-site request refused");
    let body = json!({ "email": "session@example.com", "password": PASSWORD, "delivery": "session" });
    let planted = gateway.client().post("/auth/login").header("Origin", "https://evil.example").json(&body).send();
    planted.refused(403, "Cross-site request refused");
}

#[test]
fn t10_a_login_ends_the_session_whose_cookie_it_replaces() {
    let (_origin, gateway) = https();
    let first = cookie(&login(&gateway, "session", None));
    let second = cookie(&login(&gateway, "session", Some(&first)).expect(200));
    assert_ne!(first, second, "nobody can fix a session before its owner logs in");
    projects(&gateway, &first).refused(401, "Token has been revoked");
    let tokens = login(&gateway, "cookie", Some(&second)).expect(200);
    projects(&gateway, &second).refused(401, "Token has been revoked");
    assert!(tokens.set_cookie("session").unwrap().contains("Max-Age=0"));
    // A wrong password ends nothing.
    let access = tokens.set_cookie("access").unwrap().split(';').next().unwrap().to_owned();
    let wrong = json!({ "email": "session@example.com", "password": "Wrong-Horse-42", "delivery": "session" });
    let client = gateway.client();
    let wrong = client.post("/auth/login").header("Origin", PUBLIC_URL).header("Cookie", &access).json(&wrong).send();
    wrong.refused(401, "Invalid credentials");
    projects(&gateway, &access).expect(200);
}

#[test]
fn t10_what_is_no_session_is_refused() {
    let (_origin, gateway) = https();
    let session = cookie(&login(&gateway, "session", None));
    let name = session.split_once('=').unwrap().0;
    for bad in ["x", &"0".repeat(64), &"f".repeat(65), &"G".repeat(64)] {
        projects(&gateway, &format!("{name}={bad}")).refused(401, "Invalid or expired token");
    }
    projects(&gateway, &format!("{session}; {session}")).refused(401, "Invalid or expired token");
    // On plain http beyond loopback a cookie would be everybody's.
    let origin = Origin::echo();
    let plain = Setup::before(&origin).public_url("http://api.example.com").with(PROJECT_ROUTES).start();
    plain.create_user("session@example.com", "editor");
    login(&plain, "session", None).refused(400, "Validation failed");
}
