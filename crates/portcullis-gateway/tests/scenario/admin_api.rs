//! The admin API: accounts and keys, by the operator alone (A11, T3, O4).

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::projects;
use crate::support::client::{Client, Reply};
use crate::support::process::Gateway;
use crate::support::{PASSWORD, eventually, jose_header};

/// The operator's end of the admin API.
struct Desk {
    client: Client,
    token: String,
}

impl Desk {
    fn of(gateway: &Gateway) -> Self {
        let token = gateway.operator().token;
        Self { client: Client::at(gateway.admin, Ipv4Addr::LOCALHOST), token }
    }

    fn ask(&self, method: &str, target: &str, body: Option<&Value>) -> Reply {
        let request = self.client.request(method, target).bearer(&self.token);
        match body {
            Some(body) => request.json(body).send(),
            None => request.send(),
        }
    }

    fn make(&self, email: &str, role: &str) -> String {
        let body = json!({ "email": email, "password": PASSWORD, "role": role });
        let made = self.ask("POST", "/api/accounts", Some(&body)).expect(201);
        let id = made.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(made.header("location"), Some(&*format!("/api/accounts/{id}")));
        id
    }
}

#[test]
fn a11_an_operator_makes_finds_changes_and_deletes_accounts() {
    let (_origin, gateway) = projects();
    let desk = Desk::of(&gateway);
    let id = desk.make("Ann@Example.com", "viewer");
    let (access, _) = gateway.login("ann@example.com");
    let me = |token: &str| gateway.client().get("/auth/me").bearer(token).send();
    me(&access).expect(200);

    let shown = desk.ask("GET", &format!("/api/accounts/{id}"), None).expect(200).json();
    assert_eq!(
        (&shown["email"], &shown["role"], &shown["sessions"]),
        (&json!("ann@example.com"), &json!("viewer"), &json!(1))
    );
    assert_eq!((&shown["passwordHash"], &shown["disabledAt"]), (&json!("argon2"), &Value::Null));
    assert!(!shown.to_string().contains("argon2id$") && !shown.to_string().contains("$m="), "no hash is told: {shown}");
    let sessions = desk.ask("GET", &format!("/api/accounts/{id}/sessions"), None).expect(200).json();
    assert_eq!(sessions["sessions"][0]["kind"], "body");

    let taken = desk.ask("POST", "/api/accounts", Some(&json!({ "email": "ann@example.com", "password": PASSWORD })));
    assert_eq!(taken.expect(409).error(), "Conflict");

    let patch = json!({ "role": "editor", "name": "Ann Other" });
    let changed = desk.ask("PATCH", &format!("/api/accounts/{id}"), Some(&patch)).expect(200).json();
    assert_eq!((&changed["role"], &changed["name"]), (&json!("editor"), &json!("Ann Other")));
    eventually("the old role's token ends", Duration::from_secs(1), || (me(&access).status == 401).then_some(()));
    let (access, _) = gateway.login("ann@example.com");
    assert_eq!(me(&access).expect(200).json()["role"], "editor");

    desk.ask("PATCH", &format!("/api/accounts/{id}"), Some(&json!({ "disabled": true }))).expect(200);
    eventually("a disabled account's token ends", Duration::from_secs(1), || (me(&access).status == 401).then_some(()));
    let login = json!({ "email": "ann@example.com", "password": PASSWORD });
    gateway.client().post("/auth/login").json(&login).send().expect(403);
    let found = desk.ask("GET", "/api/accounts?disabled=true&email=ANN%40example.com", None).expect(200).json();
    assert_eq!(found["accounts"][0]["id"], id.as_str());
    desk.ask("PATCH", &format!("/api/accounts/{id}"), Some(&json!({ "disabled": false, "name": null }))).expect(200);

    desk.ask("POST", &format!("/api/accounts/{id}/password"), Some(&json!({ "password": "Another-horse-8-staple" })))
        .expect(204);
    gateway.client().post("/auth/login").json(&login).send().expect(401);
    let login = json!({ "email": "ann@example.com", "password": "Another-horse-8-staple" });
    let access = gateway.client().post("/auth/login").json(&login).send().expect(200).json();
    let access = access["accessToken"].as_str().unwrap().to_owned();
    desk.ask("POST", &format!("/api/accounts/{id}/revoke"), None).expect(204);
    eventually("a revoked token ends", Duration::from_secs(1), || (me(&access).status == 401).then_some(()));

    desk.ask("DELETE", &format!("/api/accounts/{id}"), None).expect(204);
    for (method, rest) in [("GET", ""), ("DELETE", ""), ("POST", "/revoke"), ("GET", "/sessions")] {
        let gone = desk.ask(method, &format!("/api/accounts/{id}{rest}"), None).expect(404);
        assert_eq!(gone.error(), "Not found", "{method} {rest}");
    }
}

#[test]
fn a11_the_list_comes_in_pages_of_at_most_200() {
    let (_origin, gateway) = projects();
    let desk = Desk::of(&gateway);
    for name in ["ann", "bob", "cid"] {
        desk.make(&format!("{name}@example.com"), if name == "cid" { "editor" } else { "viewer" });
    }
    let (mut seen, mut target) = (Vec::new(), "/api/accounts?limit=2".to_owned());
    loop {
        let page = desk.ask("GET", &target, None).expect(200).json();
        let accounts = page["accounts"].as_array().unwrap();
        assert!(accounts.len() <= 2);
        seen.extend(accounts.iter().map(|account| account["email"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/api/accounts?limit=2&cursor={next}");
    }
    assert_eq!(seen, ["ann@example.com", "bob@example.com", "cid@example.com"]);
    let editors = desk.ask("GET", "/api/accounts?role=editor", None).expect(200).json();
    assert_eq!(editors["accounts"].as_array().unwrap().len(), 1);
    for query in [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=x",
        "limit=1&limit=2",
        "cursor=%00",
        "cursor=",
        "role=%27--",
        "email=x",
        "disabled=maybe",
        "password=x",
        "q=1",
    ] {
        let refused = desk.ask("GET", &format!("/api/accounts?{query}"), None).expect(400);
        assert_eq!(refused.error(), "Validation failed", "{query}");
    }
}

#[test]
fn a11_what_an_operator_writes_wrongly_is_refused_and_changes_nothing() {
    let (_origin, gateway) = projects();
    let desk = Desk::of(&gateway);
    let id = desk.make("ann@example.com", "viewer");
    let new = |role: &str| json!({ "email": "bob@example.com", "password": PASSWORD, "role": role });
    for role in ["superuser", "", "Viewer", "viewer "] {
        let refused = desk.ask("POST", "/api/accounts", Some(&new(role))).expect(400).json();
        assert!(refused["detail"].as_str().unwrap().contains("admin, editor, viewer"), "{refused}");
        desk.ask("PATCH", &format!("/api/accounts/{id}"), Some(&json!({ "role": role }))).expect(400);
    }
    for body in [
        json!({ "email": "bob@example.com", "password": PASSWORD, "id": "1" }),
        json!({ "email": "bob@example.com", "password": "short" }),
        json!({ "email": "bob\r\nBcc: x@example.com", "password": PASSWORD }),
        json!({ "email": "bob@example.com" }),
        json!([]),
    ] {
        desk.ask("POST", "/api/accounts", Some(&body)).expect(400);
    }
    for body in [json!({ "email": "x@example.com" }), json!({ "disabled": 1 }), json!({ "plan": "../etc" })] {
        desk.ask("PATCH", &format!("/api/accounts/{id}"), Some(&body)).expect(400);
    }
    let text = desk.client.post("/api/accounts").bearer(&desk.token).header("Content-Type", "text/plain").body(b"{}");
    assert_eq!(text.send().expect(415).error(), "Unsupported media type");
    let large = json!({ "email": "bob@example.com", "password": "x".repeat(17 * 1024) });
    assert_eq!(desk.ask("POST", "/api/accounts", Some(&large)).expect(413).error(), "Request body too large");
    for path in
        ["/api/accounts/%00", "/api/accounts/%ff", "/api/accounts/..%2fkeys", "/api/accounts/%2e%2e", "/api/accounts/"]
    {
        assert_eq!(desk.ask("GET", path, None).expect(404).error(), "Not found", "{path}");
    }
    let list = desk.ask("GET", "/api/accounts", None).expect(200).json();
    assert_eq!(list["accounts"].as_array().unwrap().len(), 1);
    assert_eq!(list["accounts"][0]["role"], "viewer");
}

#[test]
fn o4_the_admin_api_is_the_operators_alone_however_its_paths_are_spelt() {
    let (_origin, gateway) = projects();
    let desk = Desk::of(&gateway);
    let id = desk.make("admin@example.com", "admin");
    let (admin_of_the_api, _) = gateway.login("admin@example.com");
    for path in [
        "/api/accounts".to_owned(),
        format!("/api/accounts/{id}"),
        "/livez/../api/accounts".into(),
        "/livez/%2e%2e/api/accounts".into(),
        "/livez%2f..%2fapi/accounts".into(),
        "//api/accounts".into(),
        "/api//accounts".into(),
        "/api/accounts/".into(),
        "/API/accounts".into(),
        "/api/accounts;/livez".into(),
        "/api/accounts?/livez".into(),
        "/api/accounts/{id}".into(),
        "/livez/".into(),
        "/%6civez".into(),
        "/openapi.json".into(),
        "/api/keys".into(),
    ] {
        for method in ["GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"] {
            let nobody = desk.client.request(method, &path).send();
            assert_eq!(nobody.status, 401, "{method} {path}");
            let user = desk.client.request(method, &path).bearer(&admin_of_the_api).send();
            assert_eq!(user.status, 401, "{method} {path}: an admin of the API is no operator");
        }
    }
    let evil = desk.client.post("/api/keys/rotate").bearer(&desk.token).header("Origin", "https://evil.example").send();
    assert_eq!(evil.expect(403).error(), "Cross-site request refused");
    // And it is nowhere on the clients' listener.
    gateway.client().get("/api/accounts").bearer(&desk.token).send().expect(404);
}

#[test]
fn o4_a_session_of_the_page_serves_the_api_but_no_other_site() {
    let (_origin, gateway) = projects();
    let desk = Desk::of(&gateway);
    let form = desk.client.post("/login").header("Content-Type", "application/x-www-form-urlencoded");
    let login = form.body(format!("token={}", desk.token).as_bytes()).send().expect(303);
    let cookie = login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let own = format!("http://{}", gateway.admin);
    let new = json!({ "email": "ann@example.com", "password": PASSWORD });
    let ask = |origin: &str, site: &str| {
        let request = desk.client.post("/api/accounts").header("Cookie", &cookie);
        request.header("Origin", origin).header("Sec-Fetch-Site", site).json(&new).send()
    };
    for (origin, site) in [("https://evil.example", "cross-site"), ("null", "same-origin"), (own.as_str(), "same-site")]
    {
        ask(origin, site).expect(403);
    }
    ask(&own, "same-origin").expect(201);
}

#[test]
fn t3_the_operator_rotates_the_signing_key_by_the_api() {
    let (_origin, gateway) = projects();
    let desk = Desk::of(&gateway);
    desk.make("ann@example.com", "viewer");
    let (old, _) = gateway.login("ann@example.com");
    let kid = desk.ask("POST", "/api/keys/rotate", None).expect(200).json()["kid"].as_str().unwrap().to_owned();
    let keys = desk.ask("GET", "/api/keys", None).expect(200).json();
    let keys = keys["keys"].as_array().unwrap();
    assert_eq!((keys.len(), &keys[0]["kid"], &keys[0]["retiredAt"]), (2, &json!(kid), &Value::Null));
    assert!(keys[1]["retiredAt"].is_string() && keys.iter().all(|key| key.as_object().unwrap().len() == 4), "{keys:?}");
    // Once every instance can have heard of it, the new key signs.
    gateway.operator().advance("3s");
    let new = eventually("the new key signs", Duration::from_secs(2), || {
        let (new, _) = gateway.login("ann@example.com");
        (jose_header(&new)["kid"] == kid).then_some(new)
    });
    for token in [old, new] {
        gateway.client().get("/auth/me").bearer(&token).send().expect(200);
    }
}

#[test]
fn o4_without_accounts_the_api_says_so() {
    let origin = crate::support::origin::Origin::echo();
    let gateway = crate::support::process::Setup::open(&origin).start();
    let desk = Desk::of(&gateway);
    for (method, path) in [("GET", "/api/accounts"), ("GET", "/api/keys"), ("POST", "/api/keys/rotate")] {
        desk.ask(method, path, None).expect(404);
    }
}
