//! What an account is when it is new, what a login answers, and what becomes of one that may not enter (A4, A6).

use std::time::Duration;

use serde_json::{Value, json};

use crate::projects;
use crate::support::client::{Client, Reply};
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES, claims, eventually};

const WRONG: &str = "Wrong-password-1";

fn login_as(client: &Client, email: &str, password: &str, delivery: &str) -> Reply {
    let body = json!({ "email": email, "password": password, "delivery": delivery });
    client.post("/auth/login").json(&body).send()
}

fn login(gateway: &Gateway, email: &str, password: &str) -> Reply {
    login_as(&gateway.client(), email, password, "body")
}

fn register(gateway: &Gateway, email: &str) {
    let body = json!({ "email": email, "password": PASSWORD });
    gateway.client().post("/auth/register").json(&body).send().expect(202);
}

fn disable(gateway: &Gateway, email: &str) {
    gateway.create_user(email, "viewer");
    assert!(gateway.command(&["users", "disable", email]).status.success());
}

/// The names of an object's members, in order.
fn members(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn a4_a_new_account_gets_the_configured_role_and_plan() {
    let origin = Origin::echo();
    let keys = "default_role = \"editor\"\ndefault_plan = \"trial\"";
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).identity(keys).start();
    register(&gateway, "new@example.com");
    let token = gateway.operator().await_mails("new@example.com", 1).remove(0).token();
    gateway.client().post("/auth/verify").json(&json!({ "token": token })).send().expect(200);
    let (access, _) = gateway.login("new@example.com");
    let said = claims(&access);
    assert_eq!((&said["role"], &said["plan"]), (&json!("editor"), &json!("trial")), "{said}");
    let me = gateway.client().get("/auth/me").bearer(&access).send().expect(200).json();
    assert_eq!((&me["role"], &me["plan"]), (&json!("editor"), &json!("trial")), "{me}");
    // It is the role that the gate goes by.
    gateway.client().post("/projects").bearer(&access).json(&json!({})).send().expect(200);
    gateway.client().get("/analytics").bearer(&access).send().refused(403, "Insufficient permissions");
    // Imported users of whom the file says nothing get it too.
    let file = gateway.directory().join("users.csv");
    std::fs::write(&file, "email,verified\nmia@example.com,true\n").unwrap();
    assert!(gateway.command(&["users", "import", file.to_str().unwrap()]).status.success());
    let stored = gateway.accounts().texts("SELECT role || ' ' || plan FROM account ORDER BY email");
    assert_eq!(stored, ["editor trial", "editor trial"]);
}

#[test]
fn a4_nobody_chooses_a_role_a_plan_or_an_id_when_registering() {
    let (_origin, gateway) = projects();
    for member in ["role", "roles", "plan", "id", "verified", "isAdmin", "version"] {
        let body = json!({ "email": "own@example.com", "password": PASSWORD, member: "admin" });
        gateway.client().post("/auth/register").json(&body).send().refused(400, "Invalid request body");
    }
    assert!(gateway.accounts().texts("SELECT email FROM pending").is_empty());
}

#[test]
fn a6_the_answer_to_a_login_has_four_members_and_hides_the_refresh_token_of_a_cookie() {
    let (_origin, gateway) = projects();
    gateway.create_user("pair@example.com", "viewer");
    let body = login(&gateway, "pair@example.com", PASSWORD).expect(200).json();
    assert_eq!(members(&body), ["accessToken", "expiresIn", "refreshToken", "tokenType"]);
    for delivery in ["cookie", "session"] {
        let reply = login_as(&gateway.client(), "pair@example.com", PASSWORD, delivery).expect(200);
        assert!(!reply.headers("set-cookie").is_empty());
        for secret in reply.headers("set-cookie").iter().filter_map(|cookie| cookie.split(['=', ';']).nth(1)) {
            assert!(secret.is_empty() || !reply.text().contains(secret), "{}", reply.text());
        }
        assert!(reply.json().get("refreshToken").is_none() && reply.json().get("accessToken").is_none());
    }
}

#[test]
fn a6_a_disabled_account_is_told_so_only_with_the_right_password_and_gets_nothing() {
    let (_origin, gateway) = projects();
    disable(&gateway, "off@example.com");
    for delivery in ["body", "cookie", "session"] {
        let client = gateway.client();
        let refused = login_as(&client, "off@example.com", PASSWORD, delivery).refused(403, "Account disabled");
        assert!(refused.headers("set-cookie").is_empty(), "{:?}", refused.headers);
        assert!(refused.header("cache-control").unwrap().contains("no-store"));
        let problem = refused.json();
        assert_eq!(members(&problem), ["error", "request_id", "status", "title", "type"], "{problem}");
        login_as(&client, "off@example.com", WRONG, delivery).refused(401, "Invalid credentials");
    }
    assert!(gateway.accounts().texts("SELECT id FROM session").is_empty(), "no session was opened");
    assert!(gateway.command(&["users", "enable", "off@example.com"]).status.success());
    gateway.login("off@example.com");
}

#[test]
fn a6_refused_logins_count_as_failures_though_the_password_was_right() {
    let origin = Origin::echo();
    let limit = "[limits]\npreset = \"none\"\n\n[[limit]]\nname = \"failed\"\nmatch = \"POST /auth/login\"\n\
                 key = \"address\"\nquota = \"2 per hour\"\ncount = \"failures\"\n";
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(limit).start();
    gateway.create_user("good@example.com", "viewer");
    disable(&gateway, "off@example.com");
    register(&gateway, "waits@example.com");
    for (email, password, status, error, reason) in [
        ("off@example.com", PASSWORD, 403, "Account disabled", "disabled"),
        ("waits@example.com", PASSWORD, 403, "Email not verified", "not_verified"),
        ("good@example.com", WRONG, 401, "Invalid credentials", "invalid_credentials"),
    ] {
        let client = gateway.client();
        // Logins that succeed are given back.
        for _ in 0..3 {
            login_as(&client, "good@example.com", PASSWORD, "body").expect(200);
        }
        for _ in 0..2 {
            login_as(&client, email, password, "body").refused(status, error);
        }
        login_as(&client, email, password, "body").refused(429, "Rate limit exceeded");
        login_as(&client, "good@example.com", PASSWORD, "body").expect(429);
        let address = client.address.to_string();
        eventually("the failure is recorded", Duration::from_secs(5), || {
            let of = |line: &&Value| line["kind"] == "login_failed" && line["client"] == *address;
            gateway.records().iter().find(of).map(|line| assert_eq!(line["reason"], reason, "{line}"))
        });
    }
    let metrics = gateway.operator().metrics();
    assert!(metrics.contains("portcullis_logins_total{outcome=\"failed\"} 6"), "{metrics}");
}
