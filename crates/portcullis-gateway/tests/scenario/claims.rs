//! What tokens say beyond what all of them do (T1).

use std::net::Ipv4Addr;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::{Client, Reply};
use crate::support::operator::Mail;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup, portcullis};
use crate::support::{PASSWORD, claims, eventually};

const ROUTES: &str = "[[route]]\nmatch = \"GET /posts/**\"\npermissions = [\"posts:read\"]\n";

fn refreshed(gateway: &Gateway, refresh: &str) -> Value {
    let client = gateway.client();
    client.post("/auth/refresh").json(&json!({ "refreshToken": refresh })).send().expect(200).json()
}

/// What the admin API says to its operator.
fn ask(gateway: &Gateway, method: &str, target: &str, body: Option<&Value>) -> Reply {
    let request = Client::at(gateway.admin, Ipv4Addr::LOCALHOST);
    let request = request.request(method, target).bearer(&gateway.operator().token);
    match body {
        Some(body) => request.json(body).send(),
        None => request.send(),
    }
}

#[test]
fn t1_configured_claims_are_in_every_token_and_the_gate_asks_its_own_roles() {
    let origin = Origin::echo();
    let roles = "[roles.viewer]\npermissions = [\"posts:*\"]\n\n[roles.editor]\ninherits = [\"viewer\"]\n";
    let tokens = "[tokens]\nclaims = [\"email\", \"name\", \"permissions\", \"roles\", \"tier\"]\n";
    let mut gateway = Setup::before(&origin).with(tokens).with(ROUTES).with(roles).start();
    gateway.create_user("all@example.com", "editor");
    let (access, refresh) = gateway.login("all@example.com");
    let said = claims(&access);
    for (name, value) in [
        ("email", json!("all@example.com")),
        ("email_verified", json!(true)),
        ("permissions", json!(["posts:*"])),
        ("roles", json!(["editor"])),
        ("role", json!("editor")),
        ("tier", json!("free")),
        ("plan", json!("free")),
    ] {
        assert_eq!(said[name], value, "{name} in {said}");
    }
    gateway.client().get("/posts/1").bearer(&access).send().expect(200);
    assert_eq!(origin.last().header("x-user-role"), Some("editor"));

    // The roles lose the permission; the token that still names it opens nothing any more.
    let file = gateway.config_text().replace("posts:*", "users:*");
    std::fs::write(&gateway.config, file).unwrap();
    gateway.process().signal(Signal::HUP);
    let reply = eventually("the new roles are in force", Duration::from_secs(5), || {
        let reply = gateway.client().get("/posts/1").bearer(&access).send();
        (reply.status != 200).then_some(reply)
    });
    reply.refused(403, "Insufficient permissions");
    assert_eq!(claims(&access)["permissions"], json!(["posts:*"]));
    let next = refreshed(&gateway, &refresh);
    assert_eq!(claims(next["accessToken"].as_str().unwrap())["permissions"], json!(["users:*"]));
}

#[test]
fn t1_a_new_address_is_in_the_tokens_within_a_second_and_ends_no_session() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with("[tokens]\nclaims = [\"email\"]\n").start();
    gateway.create_user("former@example.com", "viewer");
    let (access, refresh) = gateway.login("former@example.com");
    assert_eq!(claims(&access)["email"], "former@example.com");
    let body = json!({ "email": "later@example.com", "password": PASSWORD });
    gateway.client().post("/auth/change-email").bearer(&access).json(&body).send().expect(202);
    gateway.client().get("/posts").bearer(&access).send().expect(200);
    let mails = gateway.operator().await_mails("later@example.com", 1);
    let confirm = json!({ "token": mails.first().map(Mail::token) });
    gateway.client().post("/auth/confirm-email").json(&confirm).send().expect(200);
    let reply = eventually("the token is void", Duration::from_secs(1), || {
        let reply = gateway.client().get("/posts").bearer(&access).send();
        (reply.status != 200).then_some(reply)
    });
    reply.refused(401, "Token has been revoked");
    let next = refreshed(&gateway, &refresh);
    let access = next["accessToken"].as_str().unwrap();
    assert_eq!(claims(access)["email"], "later@example.com");
    gateway.client().get("/posts").bearer(access).send().expect(200);
}

#[test]
fn t1_permissions_that_fit_into_no_token_are_refused_before_anybody_needs_one() {
    let origin = Origin::echo();
    let mut gateway = Setup::before(&origin).with("[tokens]\nclaims = [\"permissions\"]\n").start();
    let list: Vec<String> = (0..400).map(|number| format!("\"things:verb-{number}\"")).collect();
    gateway.write_config(&format!("\n[roles.viewer]\npermissions = [{}]\n", list.join(", ")));
    let told = portcullis().arg("check").arg(&gateway.config).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(!told.status.success() && text.contains("role \"viewer\" may grow to"), "{text}");
    // A process that runs goes on with the roles that it had.
    let before = gateway.output().len();
    gateway.process().signal(Signal::HUP);
    eventually("it says so", Duration::from_secs(5), || (gateway.output().len() > before).then_some(()));
    let token = gateway_token(&gateway);
    gateway.client().get("/posts").bearer(&token).send().expect(200);
    assert_eq!(claims(&token)["permissions"], json!([]));
}

/// A token of an account that the operator's API makes: the commands would read the file that is refused.
fn gateway_token(gateway: &Gateway) -> String {
    let body = json!({ "email": "one@example.com", "password": PASSWORD, "role": "viewer" });
    ask(gateway, "POST", "/api/accounts", Some(&body)).expect(201);
    gateway.login("one@example.com").0
}
