//! What tokens say beyond what all of them do (T1), and what counts as a guess (L5), how an operator ends
//! everybody's sessions (T7)
//! and unlocks one account (L6), and takes
//! all of them along (A11).

use std::net::Ipv4Addr;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::projects;
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

/// An attempt to change a password, from an address of its own.
fn change(gateway: &Gateway, access: &str, present: &str, new: &str) -> Reply {
    let body = json!({ "currentPassword": present, "newPassword": new });
    gateway.client().post("/auth/change-password").bearer(access).json(&body).send()
}

#[test]
fn l5_ten_weak_new_passwords_lock_nobody_out_and_ten_wrong_ones_do() {
    const OTHER: &str = "Other-Horse-43";
    let (_origin, gateway) = projects();
    gateway.create_user("owner@example.com", "viewer");
    let (access, _) = gateway.login("owner@example.com");
    for turn in 0..12 {
        change(&gateway, &access, PASSWORD, &format!("weak{turn}")).refused(400, "Validation failed");
    }
    let next = change(&gateway, &access, PASSWORD, OTHER).expect(200).json();
    let access = next["accessToken"].as_str().unwrap();
    for turn in 0..10 {
        change(&gateway, access, &format!("Wrong-Horse-{turn}"), PASSWORD).refused(403, "Invalid credentials");
    }
    change(&gateway, access, OTHER, PASSWORD).refused(429, "Rate limit exceeded");
    // A guess hides behind no weak password: whoever sends both is told of the rule, and learns nothing.
    change(&gateway, access, OTHER, "weak").refused(429, "Rate limit exceeded");
}

#[test]
fn l5_a_mailed_link_is_not_guessed_and_its_owner_may_take_ten_passwords_to_find_a_good_one() {
    let (_origin, gateway) = projects();
    gateway.create_user("forgetful@example.com", "viewer");
    let forgot = json!({ "email": "forgetful@example.com" });
    gateway.client().post("/auth/forgot-password").json(&forgot).send().expect(202);
    let link = gateway.operator().await_mails("forgetful@example.com", 1).first().map(Mail::token).unwrap();
    // One address, as one person has; and at most twenty a minute is what the limit beside it lets through.
    let client = gateway.client();
    let reset = |token: &str, password: &str| {
        let body = json!({ "token": token, "password": password });
        client.post("/auth/reset-password").json(&body).send()
    };
    for turn in 0..12 {
        reset(&link, &format!("weak{turn}")).refused(400, "Validation failed");
    }
    reset(&link, "Other-Horse-43").expect(200);

    // Wrong links count, whichever endpoint they are tried at, by JSON or by the page's form.
    let guesser = gateway.client();
    for turn in 0..10 {
        let guess = format!("{turn:064x}");
        let reply = match turn % 4 {
            0 => guesser.post("/auth/verify").json(&json!({ "token": guess })).send(),
            1 => guesser.post("/auth/confirm-email").json(&json!({ "token": guess })).send(),
            2 => guesser.post("/auth/reset-password").json(&json!({ "token": guess, "password": PASSWORD })).send(),
            _ => {
                let form = format!("token={guess}&password={PASSWORD}");
                let form = guesser.post("/auth/reset-password").body(form.as_bytes());
                form.header("Content-Type", "application/x-www-form-urlencoded").send()
            }
        };
        assert_eq!(reply.status, 400, "{turn}: {}", reply.text());
    }
    let late = guesser.post("/auth/verify").json(&json!({ "token": "0".repeat(64) })).send();
    late.refused(429, "Rate limit exceeded");
}

/// Waits until a token is told to be void; a second is what every instance may take (T7).
fn is_out(gateway: &Gateway, access: &str) {
    let reply = eventually("the token is void", Duration::from_secs(1), || {
        let reply = gateway.client().get("/projects").bearer(access).send();
        (reply.status != 200).then_some(reply)
    });
    reply.refused(401, "Token has been revoked");
}

#[test]
fn t7_everybody_is_out_within_a_second_and_comes_back_by_a_login() {
    let (_origin, mut gateway) = projects();
    gateway.create_user("ann@example.com", "viewer");
    gateway.create_user("ben@example.com", "editor");
    let key = json!({ "name": "build", "password": PASSWORD });
    let by_api = |gateway: &Gateway| ask(gateway, "POST", "/api/sessions/revoke", Some(&json!({ "everybody": true })));
    let by_command = |gateway: &Gateway| gateway.command(&["tokens", "revoke", "--all", "--yes"]);
    let mut api_key = None;
    for turn in 0..2 {
        let pairs = ["ann@example.com", "ann@example.com", "ben@example.com"].map(|email| gateway.login(email));
        let client = gateway.client();
        let login = json!({ "email": "ben@example.com", "password": PASSWORD, "delivery": "session" });
        let session = client.post("/auth/login").json(&login).send().expect(200);
        let cookie = session.set_cookie("session").unwrap().split(';').next().unwrap().to_owned();
        let by_cookie = || gateway.client().get("/projects").header("Cookie", &cookie).send();
        by_cookie().expect(200);
        let api_key = api_key.get_or_insert_with(|| {
            let made = gateway.client().post("/auth/api-keys").bearer(&pairs[0].0).json(&key).send().expect(201);
            made.json()["key"].as_str().unwrap().to_owned()
        });
        let by_key = || gateway.client().get("/projects").header("X-API-Key", api_key).send();
        by_key().expect(200);
        if turn == 0 {
            // Only in so many words.
            for wrong in [json!({}), json!({ "everybody": false }), json!({ "everybody": "yes" }), json!([])] {
                assert_eq!(ask(&gateway, "POST", "/api/sessions/revoke", Some(&wrong)).status, 400, "{wrong}");
            }
            assert_eq!(gateway.command(&["tokens", "revoke", "--all"]).status.code(), Some(2));
            by_cookie().expect(200);
            assert_eq!(by_api(&gateway).expect(200).json(), json!({ "ended": 4 }));
        } else {
            let said = by_command(&gateway);
            let text = String::from_utf8_lossy(&said.stdout).into_owned();
            assert!(said.status.success() && text.starts_with("4 sessions have ended"), "{text}");
        }
        for (access, refresh) in &pairs {
            is_out(&gateway, access);
            let client = gateway.client();
            let reply = client.post("/auth/refresh").json(&json!({ "refreshToken": refresh })).send();
            reply.refused(401, "Invalid refresh token");
        }
        assert_eq!(by_cookie().status, 401);
        by_key().expect(200);
    }
    // Durable: a process that is killed and started again has not forgotten it.
    let (access, refresh) = gateway.login("ann@example.com");
    assert_eq!(by_api(&gateway).expect(200).json(), json!({ "ended": 1 }));
    gateway.kill();
    gateway.launch();
    gateway.client().get("/projects").bearer(&access).send().refused(401, "Token has been revoked");
    let spent = gateway.client().post("/auth/refresh").json(&json!({ "refreshToken": refresh })).send();
    spent.refused(401, "Invalid refresh token");
    let (access, _) = gateway.login("ann@example.com");
    gateway.client().get("/projects").bearer(&access).send().expect(200);
}

#[test]
fn l6_an_operator_unlocks_an_owner_whose_password_was_guessed_at() {
    let (_origin, gateway) = projects();
    gateway.create_user("owner@example.com", "viewer");
    gateway.create_user("other@example.com", "editor");
    let [owner, other] = ["owner@example.com", "other@example.com"].map(|email| gateway.login(email).0);
    let id = claims(&owner)["sub"].as_str().unwrap().to_owned();
    let unlock = |id: &str| ask(&gateway, "POST", &format!("/api/accounts/{id}/unlock"), None);
    let lock = |access: &str| {
        for turn in 0..10 {
            change(&gateway, access, &format!("Wrong-Horse-{turn}"), "weak-but-first").expect(400);
            change(&gateway, access, &format!("Wrong-Horse-{turn}"), "Other-Horse-43")
                .refused(403, "Invalid credentials");
        }
        change(&gateway, access, PASSWORD, "Other-Horse-43").refused(429, "Rate limit exceeded");
    };
    lock(&owner);
    lock(&other);
    unlock("01a1fd31-0000-7000-8000-000000000000").refused(404, "Not found");
    unlock(&id).expect(204);
    change(&gateway, &owner, "Wrong-Horse-0", "Other-Horse-43").refused(403, "Invalid credentials");
    change(&gateway, &other, PASSWORD, "Other-Horse-43").refused(429, "Rate limit exceeded");
    // The command says the same to a process that runs beside it.
    let said = gateway.command(&["users", "unlock", "other@example.com"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    eventually("the running process has heard of it", Duration::from_secs(1), || {
        let reply = change(&gateway, &other, PASSWORD, "Other-Horse-43");
        (reply.status == 200).then_some(())
    });
    assert!(!gateway.command(&["users", "unlock", "nobody@example.com"]).status.success());
    // It opens no disabled account, and says so.
    assert!(gateway.command(&["users", "disable", "owner@example.com"]).status.success());
    let said = gateway.command(&["users", "unlock", "owner@example.com"]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("users enable"));
    let login = json!({ "email": "owner@example.com", "password": PASSWORD });
    gateway.client().post("/auth/login").json(&login).send().refused(403, "Account disabled");
}

#[test]
fn a11_an_operator_exports_every_account_as_json_lines_without_hashes_unless_asked() {
    let (_origin, gateway) = projects();
    let rows: String = (0..1_201)
        .map(|number| {
            format!("{{\"email\":\"user{number}@example.com\",\"verified\":true,\"name\":\"N \\\"{number}\\\"\"}}\n")
        })
        .collect();
    let file = gateway.directory().join("users.jsonl");
    std::fs::write(&file, rows).unwrap();
    let import = |file: &std::path::Path| gateway.command(&["users", "import", file.to_str().unwrap()]);
    assert!(import(&file).status.success());
    gateway.create_user("hashed@example.com", "editor");
    let export = |body: &Value| ask(&gateway, "POST", "/api/export", Some(body));
    let bare = export(&json!({})).expect(200);
    assert_eq!(bare.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(bare.header("cache-control"), Some("no-store"));
    let told = bare.text();
    assert!(!told.contains("password_hash") && !told.contains("$argon2"), "no hash is told unasked");
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1_202);
    let ids: Vec<&str> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]), "each once, in order");
    assert!(lines.iter().any(|line| line["name"] == "N \"1200\""));
    let whole = export(&json!({ "hashes": true })).expect(200).text();
    assert_eq!(whole.matches("$argon2id$").count(), 1, "of the one that has a password");
    for wrong in [json!({ "hashes": "yes" }), json!({ "all": true }), json!([])] {
        assert_eq!(export(&wrong).status, 400, "{wrong}");
    }
    // What was exported is what an import reads: everybody is there already.
    std::fs::write(&file, whole).unwrap();
    let again = import(&file);
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(said.starts_with("imported 0, skipped 1202 that exist, refused 0"), "{said}");
}
