//! Registration: valid, known, weak, verified (A1, A2, A4, A5).

use serde_json::{Value, json};

use crate::projects;
use crate::support::PASSWORD;
use crate::support::client::Reply;
use crate::support::process::Gateway;

fn register(gateway: &Gateway, email: &str, password: &str) -> Reply {
    gateway.client().post("/auth/register").json(&json!({ "email": email, "password": password })).send()
}

fn verify(gateway: &Gateway, token: &str) -> Reply {
    gateway.client().post("/auth/verify").json(&json!({ "token": token })).send()
}

fn login(gateway: &Gateway, email: &str, password: &str) -> Reply {
    let credentials = json!({ "email": email, "password": password, "delivery": "body" });
    gateway.client().post("/auth/login").json(&credentials).send()
}

/// A body without what differs from request to request.
fn comparable(reply: &Reply) -> Value {
    let mut body = reply.json();
    if let Some(members) = body.as_object_mut() {
        members.remove("request_id");
    }
    body
}

fn is_success(reply: &Reply) -> bool {
    (200..300).contains(&reply.status)
}

#[test]
fn a1_a_registered_and_verified_account_logs_in_as_a_viewer() {
    let (_origin, gateway) = projects();
    let reply = gateway
        .client()
        .post("/auth/register")
        .json(&json!({ "email": "new@example.com", "password": PASSWORD, "name": "  Ada  " }))
        .send()
        .expect(202);
    assert!(reply.json().get("id").is_none(), "an id would tell that the account is new: {}", reply.text());

    login(&gateway, "new@example.com", PASSWORD).refused(403, "Email not verified");

    let mail = gateway.operator().await_mails("new@example.com", 1).remove(0);
    assert!(mail.text.contains(&format!("http://{}/auth/verify?token=", gateway.listen)), "{mail:?}");
    assert!(is_success(&verify(&gateway, &mail.token())));

    // Addresses are compared without case.
    let pair = login(&gateway, "NEW@Example.com", PASSWORD).expect(200).json();
    let token = pair["accessToken"].as_str().unwrap();
    gateway.client().get("/projects").bearer(token).send().expect(200);
    let me = gateway.client().get("/auth/me").bearer(token).send().expect(200).json();
    assert_eq!(me["email"], "new@example.com", "{me}");
    assert_eq!(me["role"], "viewer", "{me}");
    assert!(me.get("name").is_none_or(|name| name == "Ada"), "names are trimmed: {me}");
}

#[test]
fn a4_a_known_address_is_answered_like_a_new_one_and_its_owner_is_told() {
    let (_origin, gateway) = projects();
    gateway.create_user("known@example.com", "viewer");
    let known = register(&gateway, "Known@example.com", "Another-password-1").expect(202);
    let new = register(&gateway, "unknown@example.com", "Another-password-1").expect(202);
    assert_eq!(comparable(&known), comparable(&new));
    let names = |reply: &Reply| {
        let mut names: Vec<String> = reply.headers.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&known), names(&new));

    let mail = gateway.operator().await_mails("known@example.com", 1).remove(0);
    assert!(!mail.text.contains("token="), "a known address is not verified again: {mail:?}");
    for email in ["known@example.com", "unknown@example.com"] {
        login(&gateway, email, "Another-password-1").refused(403, "Email not verified");
    }
    login(&gateway, "known@example.com", PASSWORD).expect(200);
}

#[test]
fn a2_a_weak_password_is_refused_and_each_failed_rule_is_told() {
    let (_origin, gateway) = projects();
    for (password, rules) in [
        ("lower-case-only-1", &["Must contain uppercase"][..]),
        ("UPPER-CASE-ONLY-1", &["Must contain lowercase"]),
        ("No-digits-in-here", &["Must contain number"]),
        ("letters", &["Must contain uppercase", "Must contain number", "10"]),
        ("Short-1", &["10"]),
        ("Password123", &[]),
        ("", &[]),
    ] {
        let reply = register(&gateway, "weak@example.com", password);
        assert_eq!(reply.status, 400, "{password:?}: {}", reply.text());
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        for rule in rules {
            assert!(reply.text().contains(rule), "{password:?} should be told {rule:?}: {}", reply.text());
        }
        assert!(password.is_empty() || !reply.text().contains(password), "a password is never repeated");
    }
    assert!(gateway.operator().mails("weak@example.com").is_empty());
}

#[test]
fn a2_a_long_passphrase_is_never_cut() {
    let (_origin, gateway) = projects();
    let long = format!("Ünïcode-Päss-1 {}", "wörd ".repeat(30));
    register(&gateway, "long@example.com", &long).expect(202);
    let mail = gateway.operator().await_mails("long@example.com", 1).remove(0);
    assert!(is_success(&verify(&gateway, &mail.token())));
    let cut: String = long.chars().take(72).collect();
    login(&gateway, "long@example.com", &cut).refused(401, "Invalid credentials");
    login(&gateway, "long@example.com", &long).expect(200);
}

#[test]
fn a1_what_is_no_address_or_name_is_refused() {
    let (_origin, gateway) = projects();
    let long = format!("{}@example.com", "a".repeat(250));
    let two_lines = "a@example.com\r\nBcc: b@example.com";
    for email in ["", "nobody", "@example.com", "a@", "a b@example.com", "a@b@example.com", two_lines, &long] {
        let reply = register(&gateway, email, PASSWORD);
        assert_eq!(reply.status, 400, "{email:?}: {}", reply.text());
    }
    for name in ["A", " A ", &"n".repeat(101)] {
        let body = json!({ "email": "name@example.com", "password": PASSWORD, "name": name });
        let reply = gateway.client().post("/auth/register").json(&body).send();
        assert_eq!(reply.status, 400, "{name:?}: {}", reply.text());
    }
    for body in ["", "{", "[]", "null", r#"{"email":1,"password":2}"#] {
        let reply = gateway
            .client()
            .post("/auth/register")
            .header("Content-Type", "application/json")
            .body(body.as_bytes())
            .send();
        assert!((400..500).contains(&reply.status), "{body:?}: {}", reply.status);
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{body:?}");
    }
    assert!(gateway.operator().mails("example.com").is_empty());
}

#[test]
fn a5_opening_the_mailed_link_confirms_nothing_and_its_token_works_once() {
    let (_origin, gateway) = projects();
    register(&gateway, "link@example.com", PASSWORD).expect(202);
    let token = gateway.operator().await_mails("link@example.com", 1).remove(0).token();
    assert!(token.len() >= 43, "at least 256 bits: {token}");

    let link = format!("/auth/verify?token={token}");
    let page = gateway.client().get(&link).send().expect(200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.text().to_lowercase().contains("method=\"post\""), "{}", page.text());
    gateway.client().request("HEAD", &link).send();
    login(&gateway, "link@example.com", PASSWORD).refused(403, "Email not verified");

    // The button of the page sends a form.
    let form = gateway
        .client()
        .post("/auth/verify")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Origin", &format!("http://{}", gateway.listen))
        .body(format!("token={token}").as_bytes())
        .send();
    assert!((200..400).contains(&form.status), "{}: {}", form.status, form.text());
    login(&gateway, "link@example.com", PASSWORD).expect(200);

    let again = verify(&gateway, &token);
    assert!((400..500).contains(&again.status), "a token works once: {}", again.status);
    let guessed = verify(&gateway, &"a".repeat(token.len()));
    assert_eq!(comparable(&again), comparable(&guessed), "a spent token looks like one that never was");
}

#[test]
fn a5_a_verification_token_ends_after_a_day() {
    let (_origin, gateway) = projects();
    register(&gateway, "late@example.com", PASSWORD).expect(202);
    let token = gateway.operator().await_mails("late@example.com", 1).remove(0).token();
    gateway.operator().advance("25h");
    let late = verify(&gateway, &token);
    assert!((400..500).contains(&late.status), "{}", late.status);
    assert_ne!(login(&gateway, "late@example.com", PASSWORD).status, 200);
}

#[test]
fn a4_nobody_can_plant_a_password_on_an_address_they_do_not_own() {
    let (_origin, gateway) = projects();
    let theirs = "Planted-password-1";
    register(&gateway, "owner@example.com", theirs).expect(202);
    let planted = gateway.operator().await_mails("owner@example.com", 1).remove(0).token();
    register(&gateway, "owner@example.com", PASSWORD).expect(202);
    let own = gateway
        .operator()
        .await_mails("owner@example.com", 2)
        .into_iter()
        .map(|mail| mail.token())
        .find(|token| *token != planted)
        .unwrap();

    assert!(is_success(&verify(&gateway, &own)));
    login(&gateway, "owner@example.com", theirs).refused(401, "Invalid credentials");
    login(&gateway, "owner@example.com", PASSWORD).expect(200);
    assert!(!is_success(&verify(&gateway, &planted)), "verifying one deletes the others");
    login(&gateway, "owner@example.com", theirs).refused(401, "Invalid credentials");
}

#[test]
fn a4_at_most_three_pending_registrations_are_kept() {
    let (_origin, gateway) = projects();
    let mut tokens: Vec<String> = Vec::new();
    for count in 1..=4 {
        register(&gateway, "many@example.com", PASSWORD).expect(202);
        let mails = gateway.operator().await_mails("many@example.com", count);
        let new = mails.iter().map(|mail| mail.token()).find(|token| !tokens.contains(token)).unwrap();
        tokens.push(new);
    }
    assert!(!is_success(&verify(&gateway, &tokens[0])), "the oldest of four is gone");
    assert!(is_success(&verify(&gateway, &tokens[1])), "the second of four is kept");
}
