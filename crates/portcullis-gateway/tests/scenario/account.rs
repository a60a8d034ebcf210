//! What owners do with their accounts, through the endpoints (A7, A8).

use std::time::Duration;

use serde_json::{Value, json};

use crate::projects;
use crate::support::client::Reply;
use crate::support::operator::Mail;
use crate::support::process::Gateway;
use crate::support::{PASSWORD, eventually};

const OTHER: &str = "Other-Horse-43";

/// Asks with a body, and with an access token where there is one.
pub(crate) fn post(gateway: &Gateway, target: &str, access: Option<&str>, body: &Value) -> Reply {
    let client = gateway.client();
    let request = client.post(target).json(body);
    match access {
        Some(access) => request.bearer(access).send(),
        None => request.send(),
    }
}

fn login(gateway: &Gateway, email: &str, password: &str) -> Reply {
    post(gateway, "/auth/login", None, &json!({ "email": email, "password": password }))
}

/// The newest of so many mails to an address.
fn newest(gateway: &Gateway, email: &str, count: usize, subject: &str) -> Mail {
    let mails = gateway.operator().await_mails(email, count);
    let found = mails.into_iter().rfind(|mail| mail.subject == subject);
    found.unwrap_or_else(|| panic!("no mail {subject:?} to {email}"))
}

fn is_out(gateway: &Gateway, access: &str) {
    let refused = eventually("the token is void", Duration::from_secs(2), || {
        let reply = gateway.client().get("/projects").bearer(access).send();
        (reply.status != 200).then_some(reply)
    });
    refused.refused(401, "Token has been revoked");
}

#[test]
fn a7_a_forgotten_password_is_reset_by_the_mailed_link() {
    let (_origin, gateway) = projects();
    gateway.create_user("forgot@example.com", "viewer");
    let (access, refresh) = gateway.login("forgot@example.com");
    let ask = |email: &str| {
        let reply = post(&gateway, "/auth/forgot-password", None, &json!({ "email": email })).expect(202);
        reply.text()
    };
    // Whoever asks learns nothing; the links come from the configured URL whatever the Host.
    let known = ask("forgot@example.com");
    for unknown in ["nobody@example.com", "no address", "", "forgot@example.com,evil@example.com"] {
        assert_eq!(ask(unknown), known, "{unknown}");
    }
    let client = gateway.client();
    let poisoned = client.post("/auth/forgot-password").header("X-Forwarded-Host", "evil.example");
    poisoned.json(&json!({ "email": "forgot@example.com" })).send().expect(202);
    let mail = newest(&gateway, "forgot@example.com", 2, "Set another password");
    assert!(mail.text.contains(&format!("http://{}/auth/reset-password?token=", gateway.listen)), "{mail:?}");
    let reset = |password: &str| {
        post(&gateway, "/auth/reset-password", None, &json!({ "token": mail.token(), "password": password }))
    };
    let weak = reset("short").refused(400, "Validation failed").json();
    assert_eq!(weak["details"][0]["field"], "password", "{weak}");
    reset(OTHER).expect(200);
    reset(OTHER).refused(400, "Invalid or expired link");
    is_out(&gateway, &access);
    post(&gateway, "/auth/refresh", None, &json!({ "refreshToken": refresh })).refused(401, "Invalid refresh token");
    login(&gateway, "forgot@example.com", PASSWORD).refused(401, "Invalid credentials");
    login(&gateway, "forgot@example.com", OTHER).expect(200);
    newest(&gateway, "forgot@example.com", 3, "Your password was changed");
}

#[test]
fn a7_a_reset_link_ends_after_an_hour() {
    let (_origin, gateway) = projects();
    gateway.create_user("late@example.com", "viewer");
    post(&gateway, "/auth/forgot-password", None, &json!({ "email": "late@example.com" })).expect(202);
    let token = newest(&gateway, "late@example.com", 1, "Set another password").token();
    gateway.operator().advance("61m");
    let reset = post(&gateway, "/auth/reset-password", None, &json!({ "token": token, "password": OTHER }));
    reset.refused(400, "Invalid or expired link");
    login(&gateway, "late@example.com", PASSWORD).expect(200);
}

#[test]
fn a7_a_changed_password_ends_every_other_session() {
    let (_origin, gateway) = projects();
    gateway.create_user("change@example.com", "viewer");
    let (mine, _) = gateway.login("change@example.com");
    let (thief, stolen) = gateway.login("change@example.com");
    let change = |access: &str, present: &str, new: &str| {
        let body = json!({ "currentPassword": present, "newPassword": new });
        post(&gateway, "/auth/change-password", Some(access), &body)
    };
    let weak = change(&mine, PASSWORD, "short").refused(400, "Validation failed").json();
    assert_eq!(weak["details"][0]["field"], "newPassword", "{weak}");
    change(&mine, "Wrong-Horse-42", OTHER).refused(403, "Invalid credentials");
    let pair = change(&mine, PASSWORD, OTHER).expect(200);
    assert!(pair.header("cache-control").unwrap().contains("no-store"));
    let pair = pair.json();
    is_out(&gateway, &mine);
    is_out(&gateway, &thief);
    post(&gateway, "/auth/refresh", None, &json!({ "refreshToken": stolen })).refused(401, "Invalid refresh token");
    gateway.client().get("/projects").bearer(pair["accessToken"].as_str().unwrap()).send().expect(200);
    post(&gateway, "/auth/refresh", None, &json!({ "refreshToken": pair["refreshToken"] })).expect(200);
}

#[test]
fn a7_whoever_stole_a_session_cannot_try_out_passwords() {
    let (_origin, gateway) = projects();
    gateway.create_user("oracle@example.com", "viewer");
    let (access, _) = gateway.login("oracle@example.com");
    let mut refused = 0;
    for turn in 0..14 {
        // From another address each time, in turns over all that ask for the password.
        let guess = format!("Guess-Horse-{turn}");
        let client = gateway.client();
        let reply = match turn % 3 {
            0 => client.post("/auth/change-password").json(&json!({ "currentPassword": guess, "newPassword": OTHER })),
            1 => client.post("/auth/change-email").json(&json!({ "email": "x@example.com", "password": guess })),
            _ => client.request("DELETE", "/auth/me").json(&json!({ "password": guess })),
        };
        refused += u32::from(reply.bearer(&access).send().status == 429);
    }
    assert_eq!(refused, 4, "ten guesses in an hour");
}

#[test]
fn a7_an_owner_deletes_the_account() {
    let (_origin, gateway) = projects();
    gateway.create_user("delete@example.com", "viewer");
    let (access, _) = gateway.login("delete@example.com");
    let delete = |body: Option<Value>| {
        let client = gateway.client();
        let request = client.request("DELETE", "/auth/me").bearer(&access);
        match body {
            Some(body) => request.json(&body).send(),
            None => request.send(),
        }
    };
    assert!(delete(None).status >= 400, "a page that makes a browser send this has no password");
    delete(Some(json!({ "password": "Wrong-Horse-42" }))).refused(403, "Invalid credentials");
    delete(Some(json!({ "password": PASSWORD }))).expect(204);
    is_out(&gateway, &access);
    login(&gateway, "delete@example.com", PASSWORD).refused(401, "Invalid credentials");
    newest(&gateway, "delete@example.com", 1, "Your account was deleted");
}

#[test]
fn a7_another_address_is_confirmed_at_the_new_one_and_told_to_the_old_one() {
    let (_origin, gateway) = projects();
    gateway.create_user("old@example.com", "viewer");
    gateway.create_user("taken@example.com", "viewer");
    let (access, _) = gateway.login("old@example.com");
    let ask = |email: &str| {
        let body = json!({ "email": email, "password": PASSWORD });
        post(&gateway, "/auth/change-email", Some(&access), &body)
    };
    let taken = ask("taken@example.com").expect(202).text();
    assert_eq!(ask("new@example.com").expect(202).text(), taken, "nobody learns who has an account");
    ask("not an address").refused(400, "Validation failed");
    newest(&gateway, "taken@example.com", 1, "You already have an account");
    let mail = newest(&gateway, "new@example.com", 1, "Confirm your new e-mail address");
    let confirm = || post(&gateway, "/auth/confirm-email", None, &json!({ "token": mail.token() }));
    confirm().expect(200);
    confirm().refused(400, "Invalid or expired link");
    let me = gateway.client().get("/auth/me").bearer(&access).send().expect(200).json();
    assert_eq!(me["email"], "new@example.com");
    newest(&gateway, "old@example.com", 3, "Your e-mail address was changed");
    login(&gateway, "old@example.com", PASSWORD).refused(401, "Invalid credentials");
    login(&gateway, "new@example.com", PASSWORD).expect(200);
}

#[test]
fn a7_a_name_is_changed_and_bad_ones_are_told() {
    let (_origin, gateway) = projects();
    gateway.create_user("name@example.com", "viewer");
    let (access, _) = gateway.login("name@example.com");
    let rename = |name: Value| {
        let client = gateway.client();
        client.request("PATCH", "/auth/me").bearer(&access).json(&json!({ "name": name })).send()
    };
    assert_eq!(rename(json!(" <b>Ada</b> ")).expect(200).json()["name"], "<b>Ada</b>");
    for bad in ["x", "a\u{1b}[31mb", "a\nb", "a\0b", &"x".repeat(101)] {
        rename(json!(bad)).refused(400, "Validation failed");
    }
    assert_eq!(rename(Value::Null).expect(200).json()["name"], Value::Null);
    let client = gateway.client();
    let more = client.request("PATCH", "/auth/me").bearer(&access).json(&json!({ "name": "Ada", "role": "admin" }));
    more.send().refused(400, "Invalid request body");
}

#[test]
fn a8_sessions_are_listed_and_ended() {
    let (_origin, gateway) = projects();
    gateway.create_user("list@example.com", "viewer");
    gateway.create_user("other@example.com", "viewer");
    let (one, _) = gateway.login("list@example.com");
    let client = gateway.client();
    let hostile = client.post("/auth/login").header("User-Agent", "<script>alert(1)</script>");
    let two = hostile.json(&json!({ "email": "list@example.com", "password": PASSWORD })).send().expect(200).json();
    let two = two["accessToken"].as_str().unwrap();
    let (theirs, _) = gateway.login("other@example.com");
    let list = |access: &str| gateway.client().get("/auth/sessions").bearer(access).send().expect(200).json();
    let listed = list(&one);
    let listed = listed["sessions"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[0]["current"], &listed[1]["current"]), (&json!(false), &json!(true)));
    assert_eq!(listed[0]["userAgent"], "<script>alert(1)</script>");
    assert!(listed[0]["client"].as_str().unwrap().starts_with("127."));
    let end = |access: &str, id: &str| {
        gateway.client().request("DELETE", &format!("/auth/sessions/{id}")).bearer(access).send()
    };
    let id = listed[0]["id"].as_str().unwrap();
    end(&theirs, id).refused(404, "Not found");
    end(&one, "no-such-session").refused(404, "Not found");
    end(&one, id).expect(204);
    is_out(&gateway, two);
    gateway.client().get("/projects").bearer(&one).send().expect(200);
    assert_eq!(list(&one)["sessions"].as_array().unwrap().len(), 1);
}
