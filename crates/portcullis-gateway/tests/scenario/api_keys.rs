//! API keys (T9), through the routes, the limits and the endpoints.

use std::time::Duration;

use serde_json::{Value, json};

use crate::projects;
use crate::support::client::Reply;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES, eventually};

const SCOPED: &str = r#"
[roles.writer]
permissions = ["posts:*", "reports:read"]

[[route]]
match = "GET /posts"
permissions = ["posts:read"]

[[route]]
match = "DELETE /posts"
permissions = ["posts:delete"]

[[route]]
match = "GET /reports"
permissions = ["reports:read"]

[[route]]
match = "GET /any"
access = "authenticated"

[[route]]
match = "GET /writers"
roles = "writer"

[[route]]
match = "GET /open"
access = "public"
"#;

/// Runs a command of the operator's that has to succeed.
fn run(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.command(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// With the password, unless the body says otherwise.
fn make(gateway: &Gateway, access: &str, body: &Value) -> Reply {
    let mut body = body.clone();
    if let Some(body) = body.as_object_mut() {
        body.entry("password").or_insert_with(|| PASSWORD.into());
    }
    let body = &body;
    gateway.client().post("/auth/api-keys").bearer(access).json(body).send()
}

/// A key with its id.
fn made(gateway: &Gateway, access: &str, body: &Value) -> (String, String) {
    let reply = make(gateway, access, body).expect(201);
    assert!(reply.header("cache-control").unwrap().contains("no-store"));
    let text = |member: &str| reply.json()[member].as_str().unwrap().to_owned();
    (text("key"), text("id"))
}

fn with_key(gateway: &Gateway, key: &str, target: &str) -> Reply {
    gateway.client().get(target).header("X-API-Key", key).send()
}

#[test]
fn t9_a_key_opens_the_api_by_either_header_and_goes_no_further() {
    let (origin, gateway) = projects();
    gateway.create_user("keys@example.com", "editor");
    let (access, _) = gateway.login("keys@example.com");
    let id = crate::support::claims(&access)["sub"].as_str().unwrap().to_owned();
    let (key, _) = made(&gateway, &access, &json!({ "name": "build server" }));
    assert!(key.starts_with("ptc_") && key.len() == 53, "{key}");
    for header in ["X-API-Key", "Authorization"] {
        let value = if header == "Authorization" { format!("Bearer {key}") } else { key.clone() };
        gateway.client().get("/projects").header(header, &value).send().expect(200);
        let seen = origin.last();
        assert_eq!(seen.header("x-user-role"), Some("editor"));
        assert_eq!(seen.header("x-user-id"), Some(id.as_str()));
        assert_eq!((seen.header("x-api-key"), seen.header("authorization")), (None, None));
    }
    let bytes: Vec<u8> = origin.connections().iter().flat_map(|connection| connection.bytes.clone()).collect();
    assert!(!bytes.windows(key.len()).any(|window| window == key.as_bytes()));
    // Somebody else's key in a header of that name is the API's own business.
    gateway.client().get("/projects").bearer(&access).header("X-API-Key", "sk_live_other").send().expect(200);
    assert_eq!(origin.last().header("x-api-key"), Some("sk_live_other"));
}

#[test]
fn t9_what_is_no_key_of_ours_is_refused_and_never_anonymous() {
    let (_origin, gateway) = projects();
    gateway.create_user("nokeys@example.com", "editor");
    let (access, _) = gateway.login("nokeys@example.com");
    let (key, _) = made(&gateway, &access, &json!({ "name": "build server" }));
    let changed = format!("{}{}", &key[..52], if key.ends_with('0') { '1' } else { '0' });
    // Its form and checksum are right, and still nobody has it.
    let stranger = "ptc_0000000000000000000000000000000000000000000";
    for bad in [&changed, "ptc_", "ptc_x", stranger, &format!("{key}0"), &format!("ptc_{}", "a".repeat(9_000))] {
        with_key(&gateway, bad, "/projects").refused(401, "Invalid or expired token");
        with_key(&gateway, bad, "/public/status").refused(401, "Invalid or expired token");
    }
    let both = gateway.client().get("/projects").bearer(&access).header("X-API-Key", &key).send();
    both.refused(401, "Invalid or expired token");
    let twice = gateway.client().get("/projects").header("X-API-Key", &key).header("X-API-Key", &key).send();
    twice.refused(401, "Invalid or expired token");
}

#[test]
fn t9_scopes_open_only_routes_that_ask_for_these_permissions() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(SCOPED).start();
    gateway.create_user("scopes@example.com", "writer");
    let (access, _) = gateway.login("scopes@example.com");
    let (whole, _) = made(&gateway, &access, &json!({ "name": "all that I may" }));
    for target in ["/posts", "/reports", "/any", "/writers", "/open"] {
        with_key(&gateway, &whole, target).expect(200);
    }
    let (scoped, _) = made(&gateway, &access, &json!({ "name": "reader", "scopes": ["posts:read", "admin:*"] }));
    with_key(&gateway, &scoped, "/posts").expect(200);
    assert_eq!(origin.last().header("x-user-role"), None, "an upstream would read more than the scopes into a role");
    with_key(&gateway, &scoped, "/open").expect(200);
    for target in ["/reports", "/any", "/writers", "/auth/me"] {
        with_key(&gateway, &scoped, target).refused(403, "Insufficient permissions");
    }
    let delete = gateway.client().request("DELETE", "/posts").header("X-API-Key", &scoped).send();
    delete.refused(403, "Insufficient permissions");
    // A scope never gives what the role does not.
    run(&gateway, &["users", "role", "scopes@example.com", "viewer"]);
    let refused = eventually("the key follows its owner's role", Duration::from_secs(2), || {
        let reply = with_key(&gateway, &scoped, "/posts");
        (reply.status != 200).then_some(reply)
    });
    refused.refused(403, "Insufficient permissions");
}

#[test]
fn t9_a_key_manages_no_account() {
    let (_origin, gateway) = projects();
    gateway.create_user("bot@example.com", "admin");
    let (access, _) = gateway.login("bot@example.com");
    let (key, id) = made(&gateway, &access, &json!({ "name": "build server" }));
    with_key(&gateway, &key, "/auth/me").expect(200);
    with_key(&gateway, &key, "/auth/api-keys").refused(403, "Insufficient permissions");
    let rotate = format!("/auth/api-keys/{id}/rotate");
    for (method, target) in [
        ("POST", "/auth/api-keys"),
        ("POST", rotate.as_str()),
        ("DELETE", &rotate[..rotate.len() - 7]),
        ("POST", "/auth/logout-all"),
    ] {
        let client = gateway.client();
        let reply = client.request(method, target).header("X-API-Key", &key).json(&json!({ "name": "x y" }));
        reply.send().refused(403, "Insufficient permissions");
    }
    gateway.client().get("/auth/api-keys").bearer(&access).send().expect(200);
}

#[test]
fn t9_keys_are_listed_rotated_with_overlap_and_revoked() {
    let (_origin, gateway) = projects();
    gateway.create_user("rotate@example.com", "editor");
    gateway.create_user("other@example.com", "editor");
    let (access, _) = gateway.login("rotate@example.com");
    let (theirs, _) = gateway.login("other@example.com");
    let (key, id) = made(&gateway, &access, &json!({ "name": "build server", "expiresIn": 86_400 }));
    with_key(&gateway, &key, "/projects").expect(200);
    let listed = gateway.client().get("/auth/api-keys").bearer(&access).send().expect(200);
    assert!(!listed.text().contains(&key), "a key is shown once");
    let listed = listed.json();
    assert_eq!(listed["apiKeys"][0]["start"], key[..8]);
    assert!(listed["apiKeys"][0]["lastUsedAt"].is_string() && listed["apiKeys"][0]["expiresAt"].is_string());

    let rotate = |access: &str, id: &str, overlap: u64| {
        let target = format!("/auth/api-keys/{id}/rotate");
        gateway.client().post(&target).bearer(access).json(&json!({ "overlap": overlap, "password": PASSWORD })).send()
    };
    rotate(&theirs, &id, 60).refused(404, "Not found");
    rotate(&access, &id, 5).refused(400, "Validation failed");
    let next = rotate(&access, &id, 120).expect(201).json();
    let successor = next["key"].as_str().unwrap();
    with_key(&gateway, successor, "/projects").expect(200);
    with_key(&gateway, &key, "/projects").expect(200);
    gateway.operator().advance("121s");
    with_key(&gateway, &key, "/projects").refused(401, "Token expired");
    with_key(&gateway, successor, "/projects").expect(200);

    let revoke = |access: &str, id: &str| {
        gateway.client().request("DELETE", &format!("/auth/api-keys/{id}")).bearer(access).send()
    };
    let next = next["id"].as_str().unwrap();
    revoke(&theirs, next).refused(404, "Not found");
    revoke(&access, next).expect(204);
    with_key(&gateway, successor, "/projects").refused(401, "Token has been revoked");
    revoke(&access, next).refused(404, "Not found");
}

#[test]
fn t9_bad_input_is_told_and_their_number_is_bounded() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin)
        .with(PROJECT_ROUTES)
        .with("[identity.api_keys]\nper_account = 2\n\n[limits]\npreset = \"none\"\n")
        .start();
    gateway.create_user("many@example.com", "editor");
    let (access, _) = gateway.login("many@example.com");
    for bad in [
        json!({ "name": "x" }),
        json!({ "name": "a\nb" }),
        json!({ "name": "n".repeat(101) }),
        json!({ "name": "good", "scopes": [] }),
        json!({ "name": "good", "scopes": ["a b"] }),
        json!({ "name": "good", "expiresIn": 0 }),
        json!({ "name": "good", "expiresIn": u64::MAX }),
    ] {
        make(&gateway, &access, &bad).refused(400, "Validation failed");
    }
    for bad in [
        json!({}),
        json!({ "name": "good", "plan": "enterprise" }),
        json!({ "name": "good", "expiresIn": "90d" }),
        json!({ "name": "good", "expiresIn": -1 }),
        json!({ "name": ["good"] }),
    ] {
        make(&gateway, &access, &bad).refused(400, "Invalid request body");
    }
    for name in ["one", "<script>two"] {
        make(&gateway, &access, &json!({ "name": name })).expect(201);
    }
    make(&gateway, &access, &json!({ "name": "three" })).refused(409, "Too many API keys");
}

#[test]
fn t9_limits_count_by_key() {
    let origin = Origin::echo();
    let limit = "[[limit]]\nname = \"keys\"\nmatch = \"/projects\"\nkey = \"api-key\"\nquota = \"3 per minute\"\n";
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(limit).start();
    gateway.create_user("limit@example.com", "editor");
    let (access, _) = gateway.login("limit@example.com");
    let (one, _) = made(&gateway, &access, &json!({ "name": "one" }));
    let (other, _) = made(&gateway, &access, &json!({ "name": "other" }));
    for _ in 0..3 {
        with_key(&gateway, &one, "/projects").expect(200);
    }
    with_key(&gateway, &one, "/projects").refused(429, "Rate limit exceeded");
    with_key(&gateway, &other, "/projects").expect(200);
    // Without a key each address counts for itself.
    for _ in 0..4 {
        gateway.client().get("/projects").bearer(&access).send().expect(200);
    }
}

#[test]
fn t9_an_operator_makes_lists_and_ends_keys_on_the_command_line() {
    let (_origin, gateway) = projects();
    gateway.create_user("cli@example.com", "editor");
    let email = ["--email", "cli@example.com"];
    let text = run(
        &gateway,
        &["api-keys", "create", "--name", "nightly job", "--plan", "gold", "--expires", "30d", email[0], email[1]],
    );
    let word = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let (id, key) = (word("id:"), word("key:"));
    with_key(&gateway, &key, "/projects").expect(200);
    let listed = run(&gateway, &["api-keys", "list", email[0], email[1]]);
    assert!(listed.contains(&id) && listed.contains(&key[..8]) && listed.contains("nightly job"), "{listed}");
    assert!(!listed.contains(&key));
    let rotated = run(&gateway, &["api-keys", "rotate", &id, "--overlap", "0", email[0], email[1]]);
    assert!(rotated.contains("key: ptc_"), "{rotated}");
    let ended = eventually("another process's word is heard", Duration::from_secs(2), || {
        let reply = with_key(&gateway, &key, "/projects");
        (reply.status != 200).then_some(reply)
    });
    ended.refused(401, "Token has been revoked");
}

#[test]
fn t7_an_operator_voids_one_access_token() {
    let (_origin, gateway) = projects();
    gateway.create_user("jti@example.com", "editor");
    let (access, refresh) = gateway.login("jti@example.com");
    let (other, _) = gateway.login("jti@example.com");
    gateway.client().get("/projects").bearer(&access).send().expect(200);
    let file = gateway.directory().join("token");
    std::fs::write(&file, format!("{access}\n")).unwrap();
    run(&gateway, &["tokens", "revoke", "--token-file", file.to_str().unwrap()]);
    let refused = eventually("the token is void", Duration::from_secs(2), || {
        let reply = gateway.client().get("/projects").bearer(&access).send();
        (reply.status != 200).then_some(reply)
    });
    refused.refused(401, "Token has been revoked");
    gateway.client().get("/projects").bearer(&other).send().expect(200);
    gateway.client().post("/auth/refresh").json(&json!({ "refreshToken": refresh })).send().expect(200);
}

#[test]
fn t9_a_stolen_session_makes_no_key_and_tries_out_no_passwords() {
    let (_origin, gateway) = projects();
    gateway.create_user("stolen@example.com", "editor");
    let (access, _) = gateway.login("stolen@example.com");
    let (_, id) = made(&gateway, &access, &json!({ "name": "build server" }));
    let none = gateway.client().post("/auth/api-keys").bearer(&access).json(&json!({ "name": "thief" })).send();
    // What holds no password guesses none, and does not count.
    none.refused(400, "Invalid request body");
    for turn in 0..10 {
        let guess = json!({ "name": "thief", "password": format!("Guess-Horse-{turn}") });
        make(&gateway, &access, &guess).refused(403, "Invalid credentials");
    }
    let rotate = format!("/auth/api-keys/{id}/rotate");
    let guess = json!({ "password": "Guess-Horse-9" });
    gateway.client().post(&rotate).bearer(&access).json(&guess).send().refused(429, "Rate limit exceeded");
    assert_eq!(make(&gateway, &access, &json!({ "name": "late" })).status, 429, "the right one comes too late");
}
