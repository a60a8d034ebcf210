//! What strangers and thieves try against owners' endpoints (A7, A8).

use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};

use crate::projects;
use crate::support::PASSWORD;
use crate::support::client::Reply;
use crate::support::operator::Mail;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

const OTHER: &str = "Other-Horse-43";
const PUBLIC_URL: &str = "https://api.example.com";

fn send(gateway: &Gateway, method: &str, target: &str, access: Option<&str>, body: &Value) -> Reply {
    let client = gateway.client();
    let request = client.request(method, target).json(body);
    match access {
        Some(access) => request.bearer(access).send(),
        None => request.send(),
    }
}

fn forgot(gateway: &Gateway, email: &str) -> Reply {
    send(gateway, "POST", "/auth/forgot-password", None, &json!({ "email": email }))
}

fn reset(gateway: &Gateway, token: &str, password: &str) -> Reply {
    send(gateway, "POST", "/auth/reset-password", None, &json!({ "token": token, "password": password }))
}

fn mail(gateway: &Gateway, email: &str, subject: &str) -> Mail {
    let mails = gateway.operator().await_mails(email, 1);
    mails.into_iter().rev().find(|mail| mail.subject == subject).unwrap()
}

/// What a client sees of an answer, but for the name of the request and the time.
fn seen(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let own = |name: &str| matches!(name, "date" | "x-request-id" | "x-ratelimit-reset");
    let headers = reply.headers.iter().filter(|(name, _)| !own(name)).cloned().collect();
    (reply.status, headers, reply.text())
}

#[test]
fn a7_no_answer_tells_which_address_has_an_account() {
    let (_origin, gateway) = projects();
    for email in ["known@example.com", "off@example.com", "asker@example.com"] {
        gateway.create_user(email, "viewer");
    }
    assert!(gateway.command(&["users", "disable", "off@example.com"]).status.success());
    let register = json!({ "email": "pending@example.com", "password": PASSWORD });
    send(&gateway, "POST", "/auth/register", None, &register).expect(202);
    let known = seen(&forgot(&gateway, "known@example.com").expect(202));
    for email in [
        "off@example.com",
        "pending@example.com",
        "nobody@example.com",
        "KNOWN@example.com",
        "known@example.com, evil@example.com",
        "\u{212a}nown@example.com",
        "known@example.com\u{0}",
        "known@example.com\r\nBcc: evil@example.com",
        "<known@example.com>",
        "",
    ] {
        assert_eq!(seen(&forgot(&gateway, email)), known, "{email:?}");
    }
    let (access, _) = gateway.login("asker@example.com");
    let ask = |email: &str| {
        let body = json!({ "email": email, "password": PASSWORD });
        seen(&send(&gateway, "POST", "/auth/change-email", Some(&access), &body).expect(202))
    };
    let free = ask("free@example.com");
    for taken in ["known@example.com", "off@example.com", "pending@example.com"] {
        let told = ask(taken);
        assert_eq!((told.0, &told.2), (free.0, &free.2), "{taken}");
    }
    // Every letter that went out: to those whose own address it was.
    assert_eq!(gateway.operator().await_mails("known@example.com", 3).len(), 3);
    assert!(gateway.operator().mails("evil@example.com").is_empty());
    assert!(!gateway.operator().mails("off@example.com").iter().any(|mail| mail.text.contains("token=")));
}

#[test]
fn a7_whatever_a_request_calls_this_host_links_lead_to_the_configured_one() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).public_url(PUBLIC_URL).start();
    gateway.create_user("host@example.com", "viewer");
    let body = json!({ "email": "host@example.com" });
    for (name, value) in [
        ("Host", "evil.example"),
        ("Host", "api.example.com@evil.example"),
        ("X-Forwarded-Host", "evil.example"),
        ("Forwarded", "host=evil.example;proto=http"),
        ("X-Forwarded-Proto", "evil"),
        ("X-Original-URL", "https://evil.example/"),
    ] {
        let client = gateway.client();
        let reply = client.post("/auth/forgot-password").header(name, value).json(&body).send();
        assert!(matches!(reply.status, 202 | 400 | 421), "{name}: {}", reply.status);
    }
    let client = gateway.client();
    drop(client.post("http://evil.example/auth/forgot-password").json(&body).send());
    for mail in gateway.operator().await_mails("host@example.com", 1) {
        assert!(mail.text.contains(&format!("{PUBLIC_URL}/auth/reset-password?token=")), "{mail:?}");
        assert!(!mail.text.contains("evil"), "{mail:?}");
    }
}

#[test]
fn a7_of_fifty_requests_with_one_link_one_sets_the_password_and_the_session_ends_at_once() {
    let (_origin, gateway) = projects();
    gateway.create_user("fifty@example.com", "viewer");
    let (access, _) = gateway.login("fifty@example.com");
    forgot(&gateway, "fifty@example.com").expect(202);
    let token = mail(&gateway, "fifty@example.com", "Set another password").token();
    let (gateway, token) = (Arc::new(gateway), Arc::new(token));
    let uses: Vec<_> = (0..50)
        .map(|turn| {
            let (gateway, token) = (Arc::clone(&gateway), Arc::clone(&token));
            thread::spawn(move || reset(&gateway, &token, &format!("Fresh-Horse-{turn:02}")))
        })
        .collect();
    let replies: Vec<Reply> = uses.into_iter().map(|used| used.join().unwrap()).collect();
    // Nothing is waited for: whoever was told of the success finds the session ended.
    gateway.client().get("/projects").bearer(&access).send().refused(401, "Token has been revoked");
    let won: Vec<usize> = (0..50).filter(|turn| replies[*turn].status == 200).collect();
    assert_eq!(won.len(), 1, "{won:?}");
    // Those that the hashing had no place for were told to come again; no other answer is right.
    assert!(replies.iter().all(|reply| matches!(reply.status, 200 | 400 | 503)));
    let password = format!("Fresh-Horse-{:02}", won[0]);
    let body = json!({ "email": "fifty@example.com", "password": password });
    send(&gateway, "POST", "/auth/login", None, &body).expect(200);
    // A credential belongs into no log.
    assert!(!gateway.output().contains(&**token));
}

#[test]
fn a7_forty_guesses_at_once_are_ten_and_the_right_one_comes_too_late() {
    let (_origin, gateway) = projects();
    gateway.create_user("guess@example.com", "viewer");
    let (access, _) = gateway.login("guess@example.com");
    let (gateway, access) = (Arc::new(gateway), Arc::new(access));
    let guesses: Vec<_> = (0..40)
        .map(|turn| {
            let (gateway, access) = (Arc::clone(&gateway), Arc::clone(&access));
            thread::spawn(move || {
                let guess = format!("Guess-Horse-{turn}");
                let change = json!({ "currentPassword": guess, "newPassword": OTHER });
                match turn % 3 {
                    0 => send(&gateway, "POST", "/auth/change-password", Some(&access), &change),
                    1 => {
                        let change = json!({ "email": "thief@example.com", "password": guess });
                        send(&gateway, "POST", "/auth/change-email", Some(&access), &change)
                    }
                    _ => send(&gateway, "DELETE", "/auth/me", Some(&access), &json!({ "password": guess })),
                }
                .status
            })
        })
        .collect();
    let told: Vec<u16> = guesses.into_iter().map(|guess| guess.join().unwrap()).collect();
    let looked_at = told.iter().filter(|status| **status == 403).count();
    assert!(looked_at <= 10 && told.iter().all(|status| matches!(status, 403 | 429 | 503)), "{told:?}");
    // Fill up what an overload gave back.
    for _ in looked_at..10 {
        let wrong = json!({ "password": "Guess-Horse-99" });
        send(&gateway, "DELETE", "/auth/me", Some(&access), &wrong);
    }
    // From yet another address, with another session, and right: not looked at, so nothing is learnt.
    let (second, _) = gateway.login("guess@example.com");
    for access in [&**access, &second] {
        let right = json!({ "password": PASSWORD });
        assert_eq!(send(&gateway, "DELETE", "/auth/me", Some(access), &right).status, 429);
    }
    // Its owner is not locked out of what asks for the mailbox.
    forgot(&gateway, "guess@example.com").expect(202);
    let token = mail(&gateway, "guess@example.com", "Set another password").token();
    reset(&gateway, &token, OTHER).expect(200);
}

#[test]
fn a7_bodies_of_every_wrong_kind_are_refused_and_nothing_breaks() {
    let (_origin, gateway) = projects();
    gateway.create_user("body@example.com", "viewer");
    let (access, _) = gateway.login("body@example.com");
    let megabyte = "aA1-".repeat(256 * 1024);
    let link = "0".repeat(64);
    let bodies = |password: &str| {
        [
            ("POST", "/auth/reset-password", json!({ "token": link, "password": password })),
            ("POST", "/auth/change-password", json!({ "currentPassword": PASSWORD, "newPassword": password })),
            ("POST", "/auth/change-password", json!({ "currentPassword": password, "newPassword": OTHER })),
            ("POST", "/auth/change-email", json!({ "email": "x@example.com", "password": password })),
            ("DELETE", "/auth/me", json!({ "password": password })),
        ]
    };
    for (method, target, body) in bodies(&megabyte) {
        assert_eq!(send(&gateway, method, target, Some(&access), &body).status, 413, "{method} {target}");
    }
    for (method, target, body) in bodies(&"aA1-".repeat(1_300)) {
        let status = send(&gateway, method, target, Some(&access), &body).status;
        assert!(matches!(status, 400 | 403), "{method} {target}: {status}");
    }
    let client = gateway.client();
    for body in [
        r#"{"email":["body@example.com","evil@example.com"]}"#,
        r#"{"email":"body@example.com","email":"evil@example.com"}"#,
        r#"{"email":{"$ne":null}}"#,
        r#"{"email":null}"#,
        r#"{"email":"body@example.com","cc":"evil@example.com"}"#,
        "[]",
        "{",
        "",
    ] {
        let request = client.post("/auth/forgot-password").header("Content-Type", "application/json");
        request.body(body.as_bytes()).send().refused(400, "Invalid request body");
    }
    // What a page of another site can make a browser send without asking.
    for (media, status) in
        [("text/plain", 415), ("multipart/form-data", 415), ("application/x-www-form-urlencoded", 403)]
    {
        let sent = client.post("/auth/forgot-password").header("Content-Type", media).body(b"email=body@example.com");
        assert_eq!(sent.send().status, status, "{media}");
    }
    assert!(gateway.operator().mails("body@example.com").is_empty());
    let empty = client.request("PATCH", "/auth/me").bearer(&access).json(&json!({})).send();
    empty.refused(400, "Invalid request body");
    assert!(gateway.operator().mails("evil@example.com").is_empty());
    gateway.client().get("/auth/me").bearer(&access).send().expect(200);
}

#[test]
fn a8_no_text_in_the_place_of_an_id_is_more_than_not_found() {
    let (_origin, gateway) = projects();
    gateway.create_user("ids@example.com", "viewer");
    let (access, _) = gateway.login("ids@example.com");
    let client = gateway.client();
    for id in ["%00", "a%00b", "%FF", "%E2%80%A8", "'%20OR%201=1--", "%25", "*", "..%2f..", &"x".repeat(2_000)] {
        for target in [format!("/auth/sessions/{id}"), format!("/auth/api-keys/{id}")] {
            let reply = client.request("DELETE", &target).bearer(&access).send();
            assert!(matches!(reply.status, 400 | 404), "{target}: {} {}", reply.status, reply.text());
            assert!(reply.json()["error"].is_string(), "{target}: {}", reply.text());
        }
    }
    gateway.client().get("/projects").bearer(&access).send().expect(200);
}

#[test]
fn a8_what_a_program_calls_itself_is_one_harmless_line() {
    let (_origin, gateway) = projects();
    gateway.create_user("agent@example.com", "viewer");
    let client = gateway.client();
    let body = json!({ "email": "agent@example.com", "password": PASSWORD });
    let agent = format!("Moz\u{2028}illa\u{202e}\u{feff} \u{9b}31m <img src=x> {}", "y".repeat(4_000));
    let login = client.post("/auth/login").header("User-Agent", &agent).json(&body).send().expect(200).json();
    let access = login["accessToken"].as_str().unwrap();
    let listed = gateway.client().get("/auth/sessions").bearer(access).send().expect(200).json();
    let told = listed["sessions"][0]["userAgent"].as_str().unwrap();
    assert!(told.starts_with("Moz\u{fffd}illa\u{fffd}\u{fffd} ") && told.chars().count() == 200, "{told:?}");
    let hidden = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}' | '\u{feff}');
    assert!(!told.chars().any(hidden), "{told:?}");
    assert!(!gateway.output().contains('\u{2028}'));
}

/// A browser's session in cookies; `name=value; …`.
fn cookies(gateway: &Gateway, email: &str, delivery: &str) -> String {
    let body = json!({ "email": email, "password": PASSWORD, "delivery": delivery });
    let reply = gateway.client().post("/auth/login").header("Origin", PUBLIC_URL).json(&body).send().expect(200);
    held(&reply)
}

fn held(reply: &Reply) -> String {
    let set = reply.headers("set-cookie");
    let pairs: Vec<&str> = set.iter().filter_map(|cookie| cookie.split(';').next()).collect();
    pairs.into_iter().filter(|pair| !pair.ends_with('=')).collect::<Vec<_>>().join("; ")
}

/// The token against forgery that came with a session.
fn token(jar: &str) -> &str {
    jar.split("; ").find_map(|pair| pair.strip_prefix("__Host-portcullis_csrf=")).unwrap()
}

#[test]
fn h2_another_sites_page_changes_no_account_and_cookies_are_renewed_or_taken_back() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).public_url(PUBLIC_URL).with("[limits]\npreset = \"none\"\n").start();
    for delivery in ["cookie", "session"] {
        let email = format!("{delivery}@example.com");
        gateway.create_user(&email, "viewer");
        let jar = cookies(&gateway, &email, delivery);
        let ask = |method: &str, target: &str, from: &str, body: &Value| {
            let client = gateway.client();
            let request = client.request(method, target).header("Cookie", &jar).csrf(token(&jar));
            request.header("Origin", from).json(body).send()
        };
        let change = json!({ "currentPassword": PASSWORD, "newPassword": OTHER });
        let email = json!({ "email": "new@example.com", "password": PASSWORD });
        let delete = json!({ "password": PASSWORD });
        for (method, target, body) in [
            ("POST", "/auth/change-password", &change),
            ("POST", "/auth/change-email", &email),
            ("DELETE", "/auth/me", &delete),
            ("PATCH", "/auth/me", &json!({ "name": "Mallory" })),
            ("POST", "/auth/logout-all", &json!({})),
            ("DELETE", "/auth/sessions/0", &json!({})),
        ] {
            for foreign in ["https://evil.example", "null", "https://api.example.com.evil.example"] {
                assert_eq!(ask(method, target, foreign, body).status, 403, "{method} {target} from {foreign}");
            }
        }
        let renewed = ask("POST", "/auth/change-password", PUBLIC_URL, &change).expect(200);
        let text = renewed.text();
        assert!(!text.contains("accessToken") && !text.contains("refreshToken"), "{text}");
        let renewed = held(&renewed);
        assert!(!renewed.is_empty() && renewed != jar);
        let with = |jar: &str| gateway.client().get("/auth/sessions").header("Cookie", jar).send();
        assert_eq!(with(&jar).status, 401, "the former cookies are void");
        let listed = with(&renewed).expect(200).json();
        let sessions = listed["sessions"].as_array().unwrap();
        assert_eq!((sessions.len(), &sessions[0]["current"]), (1, &json!(true)), "{listed}");
        // The end of this very session takes its cookies back.
        let id = sessions[0]["id"].as_str().unwrap();
        let client = gateway.client();
        let end = client.request("DELETE", &format!("/auth/sessions/{id}")).header("Cookie", &renewed);
        let end = end.csrf(token(&renewed));
        let ended = end.header("Origin", PUBLIC_URL).send().expect(204);
        assert!(held(&ended).is_empty() && ended.headers("set-cookie").len() == 4, "{:?}", ended.headers);
        assert_eq!(with(&renewed).status, 401);
    }
    gateway.create_user("last@example.com", "viewer");
    let jar = cookies(&gateway, "last@example.com", "cookie");
    let client = gateway.client();
    let delete = client.request("DELETE", "/auth/me").header("Cookie", &jar).header("Origin", PUBLIC_URL);
    let gone = delete.csrf(token(&jar)).json(&json!({ "password": PASSWORD })).send().expect(204);
    assert!(held(&gone).is_empty() && gone.headers("set-cookie").len() == 4, "{:?}", gone.headers);
}

#[test]
fn t9_an_api_key_does_nothing_to_its_account() {
    let (_origin, gateway) = projects();
    gateway.create_user("key@example.com", "viewer");
    let (access, _) = gateway.login("key@example.com");
    let made = send(&gateway, "POST", "/auth/api-keys", Some(&access), &json!({ "name": "job", "password": PASSWORD }))
        .expect(201)
        .json();
    let key = made["key"].as_str().unwrap_or_else(|| panic!("{made}"));
    for (method, target, body) in [
        ("POST", "/auth/change-password", json!({ "currentPassword": PASSWORD, "newPassword": OTHER })),
        ("POST", "/auth/change-email", json!({ "email": "new@example.com", "password": PASSWORD })),
        ("DELETE", "/auth/me", json!({ "password": PASSWORD })),
        ("PATCH", "/auth/me", json!({ "name": "Mallory" })),
        ("GET", "/auth/sessions", json!({})),
        ("DELETE", "/auth/sessions/0", json!({})),
    ] {
        send(&gateway, method, target, Some(key), &body).refused(403, "Insufficient permissions");
    }
}

#[test]
fn l5_whoever_asks_for_links_is_slowed_down_by_address() {
    let (_origin, gateway) = projects();
    let client = gateway.client();
    let ask = |turn: usize| {
        let body = json!({ "email": format!("n{turn}@example.com") });
        client.post("/auth/forgot-password").json(&body).send()
    };
    for turn in 0..20 {
        ask(turn).expect(202);
    }
    ask(20).refused(429, "Rate limit exceeded");
}
