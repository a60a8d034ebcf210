//! Logout everywhere (A8): what it ends, what it leaves, and who may ask for it.

use serde_json::json;

use super::person::{Held, Person};
use crate::support::PROJECT_ROUTES;
use crate::support::client::Reply;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

const PUBLIC_URL: &str = "https://api.example.com";

fn start() -> (Origin, Gateway) {
    let origin = Origin::echo();
    let tables = format!("{PROJECT_ROUTES}\n[limits]\npreset = \"none\"\n");
    let gateway = Setup::before(&origin).public_url(PUBLIC_URL).with(&tables).start();
    (origin, gateway)
}

fn refresh(gateway: &Gateway, token: &str) -> Reply {
    gateway.client().post("/auth/refresh").json(&json!({ "refreshToken": token })).send()
}

fn refresh_by_cookie(gateway: &Gateway, cookie: &str) -> Reply {
    let client = gateway.client();
    let request = client.post("/auth/refresh").header("Cookie", cookie).csrf(&gateway.csrf(cookie));
    request.header("Origin", PUBLIC_URL).json(&json!({})).send()
}

fn reads(gateway: &Gateway, person: &Person, held: Held) -> Reply {
    let (name, value) = person.header(held);
    gateway.client().get("/projects").header(name, &value).send()
}

/// The sessions that a token's owner is shown.
fn sessions(gateway: &Gateway, access: &str) -> usize {
    let listed = gateway.client().get("/auth/sessions").bearer(access).send().expect(200).json();
    listed["sessions"].as_array().unwrap().len()
}

#[test]
fn a8_logout_everywhere_by_a_token_ends_every_session_and_every_refresh_token_and_nobody_elses() {
    let (_origin, gateway) = start();
    let (ann, bob) = (Person::new(&gateway, "ann"), Person::new(&gateway, "bob"));
    let (_, phone) = gateway.login(&ann.email);
    let next = refresh(&gateway, &phone).expect(200).json()["refreshToken"].as_str().unwrap().to_owned();
    assert_eq!((sessions(&gateway, &ann.access), sessions(&gateway, &bob.access)), (4, 3));

    let all = gateway.client().post("/auth/logout-all").bearer(&ann.access).send().expect(204);
    assert!(all.body.is_empty(), "{}", all.text());
    // At the instance that was asked it holds before it answers.
    for held in [Held::Bearer, Held::Cookie, Held::Session] {
        reads(&gateway, &ann, held).refused(401, "Token has been revoked");
    }
    // Not the grace of a second tab either: the spent one was spent a moment ago.
    for token in [&ann.refresh, &phone, &next] {
        refresh(&gateway, token).refused(401, "Invalid refresh token");
    }
    refresh_by_cookie(&gateway, &ann.refresh_cookie).refused(401, "Invalid refresh token");
    gateway.client().post("/auth/logout-all").bearer(&ann.access).send().refused(401, "Token has been revoked");
    // A key is no session; its owner ends it by name.
    reads(&gateway, &ann, Held::Key).expect(200);

    for held in [Held::Bearer, Held::Cookie, Held::Session, Held::Key] {
        reads(&gateway, &bob, held).expect(200);
    }
    refresh(&gateway, &bob.refresh).expect(200);
    refresh_by_cookie(&gateway, &bob.refresh_cookie).expect(200);
    assert_eq!(sessions(&gateway, &bob.access), 3);

    // Whoever has the password begins anew, and nothing old comes along.
    let (access, token) = gateway.login(&ann.email);
    assert_eq!(sessions(&gateway, &access), 1);
    refresh(&gateway, &token).expect(200);
    reads(&gateway, &ann, Held::Bearer).refused(401, "Token has been revoked");
}

#[test]
fn a8_logout_everywhere_by_cookie_takes_the_cookies_back_and_obeys_our_own_pages_only() {
    let (_origin, gateway) = start();
    for (name, held) in [("ann", Held::Cookie), ("bob", Held::Session)] {
        let person = Person::new(&gateway, name);
        let ask = |origin: &str, site: &str| {
            let ((header, value), client) = (person.header(held), gateway.client());
            let request = client.post("/auth/logout-all").header(header, &value).csrf(&gateway.csrf(&value));
            request.header("Origin", origin).header("Sec-Fetch-Site", site).send()
        };
        for (origin, site) in [("https://evil.example", "cross-site"), ("https://evil.example.com", "same-site")] {
            ask(origin, site).refused(403, "Cross-site request refused");
        }
        reads(&gateway, &person, held).expect(200);
        let reply = ask(PUBLIC_URL, "same-origin").expect(204);
        let cookie = reply.set_cookie(if held == Held::Cookie { "access" } else { "session" }).unwrap();
        assert!(cookie.contains("=;") && cookie.contains("Max-Age=0"), "{cookie}");
        reads(&gateway, &person, held).refused(401, "Token has been revoked");
        reads(&gateway, &person, Held::Bearer).refused(401, "Token has been revoked");
    }
}

#[test]
fn a8_nobody_but_a_person_who_is_logged_in_can_log_out_everywhere() {
    let (_origin, gateway) = start();
    let ann = Person::new(&gateway, "ann");
    let (expired, _) = gateway.login(&ann.email);
    let ask = || gateway.client();
    ask().post("/auth/logout-all").send().refused(401, "Authentication required");
    // The refresh token logs its own session out and no other.
    let body = json!({ "refreshToken": ann.refresh });
    ask().post("/auth/logout-all").json(&body).send().refused(401, "Authentication required");
    let (header, key) = ann.header(Held::Key);
    ask().post("/auth/logout-all").header(header, &key).send().refused(403, "Insufficient permissions");
    ask().post("/auth/logout-all").bearer(&ann.key).send().refused(403, "Insufficient permissions");
    ask().post("/auth/logout-all").bearer("a.b.c").send().refused(401, "Invalid or expired token");
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        let reply = ask().request(method, "/auth/logout-all").bearer(&ann.access).send();
        assert!(matches!(reply.status, 404 | 405), "{method}: {}", reply.status);
    }
    gateway.operator().advance("16m");
    ask().post("/auth/logout-all").bearer(&expired).send().refused(401, "Token expired");
    refresh(&gateway, &ann.refresh).expect(200);
    reads(&gateway, &ann, Held::Session).expect(200);
}
