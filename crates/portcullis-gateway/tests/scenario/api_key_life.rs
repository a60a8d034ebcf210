//! What a key is given at its birth, and how long it keeps it (T9): its end, its plan, its scopes, through rotations too.

use std::sync::Barrier;
use std::time::Duration;

use serde_json::{Value, json};

use crate::projects;
use crate::support::client::Reply;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES, eventually};

/// Both ways to present a key.
const WAYS: [(&str, &str); 2] = [("X-API-Key", ""), ("Authorization", "Bearer ")];

/// A key that its owner made.
fn owners(gateway: &Gateway, email: &str, more: &Value) -> (String, String) {
    let (access, _) = gateway.login(email);
    let mut body = json!({ "name": "build server", "password": PASSWORD });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = gateway.client().post("/auth/api-keys").bearer(&access).json(&body).send().expect(201).json();
    (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
}

/// What a command of the operator's has printed.
struct Printed(String);

impl Printed {
    /// What stands in a line behind its first word.
    fn word(&self, first: &str) -> String {
        let line = self.0.lines().find_map(|line| line.strip_prefix(first));
        line.unwrap_or_else(|| panic!("no {first} in {}", self.0)).trim().to_owned()
    }
}

/// Runs a command of the operator's that has to succeed.
fn operator(gateway: &Gateway, arguments: &[&str]) -> Printed {
    let output = gateway.command(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Printed(text)
}

/// Asks with a key in both ways; the answers have to be alike.
#[track_caller]
fn ask(gateway: &Gateway, key: &str, method: &str, target: &str) -> Reply {
    let [one, other] = WAYS.map(|(header, prefix)| {
        let client = gateway.client();
        client.request(method, target).header(header, &format!("{prefix}{key}")).send()
    });
    assert_eq!(one.status, other.status, "{method} {target}: {} {}", one.text(), other.text());
    one
}

#[test]
fn t9_a_key_ends_when_it_was_to_and_is_nobodys_afterwards() {
    let (origin, gateway) = projects();
    gateway.create_user("ends@example.com", "editor");
    let (short, id) = owners(&gateway, "ends@example.com", &json!({ "expiresIn": 600 }));
    let (ever, _) = owners(&gateway, "ends@example.com", &json!({}));
    gateway.operator().advance("9m");
    ask(&gateway, &short, "GET", "/projects").expect(200);
    gateway.operator().advance("61s");
    let before = origin.requests().len();
    ask(&gateway, &short, "GET", "/projects").refused(401, "Token expired");
    ask(&gateway, &short, "GET", "/public/status").refused(401, "Token expired");
    assert_eq!(origin.requests().len(), before, "a key that has ended is no anonymous visitor");
    ask(&gateway, &ever, "GET", "/projects").expect(200);
    // It can be neither renewed nor listed.
    let (access, _) = gateway.login("ends@example.com");
    let rotate = gateway.client();
    let rotate = rotate.post(&format!("/auth/api-keys/{id}/rotate")).bearer(&access);
    rotate.json(&json!({ "password": PASSWORD, "overlap": 60 })).send().refused(404, "Not found");
    let listed = gateway.client().get("/auth/api-keys").bearer(&access).send().expect(200).json();
    assert_eq!(listed["apiKeys"].as_array().unwrap().len(), 1, "{listed}");
    // A year later the other one is as good as ever: nothing about it is kept for so long but the key itself.
    gateway.operator().advance("8760h");
    ask(&gateway, &ever, "GET", "/projects").expect(200);
}

#[test]
fn t9_a_plan_of_a_keys_own_is_told_to_the_api_and_counted_by() {
    let origin = Origin::echo();
    let limit = "[[limit]]\nname = \"keys\"\nmatch = \"/projects\"\nkey = \"api-key\"\n\
                 quota = { by = \"plan\", free = \"4 per hour\", gold = \"20 per hour\", otherwise = \"free\" }\n";
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(limit).start();
    gateway.create_user("plan@example.com", "editor");
    let email = ["--email", "plan@example.com"];
    let made =
        operator(&gateway, &["api-keys", "create", "--name", "nightly job", "--plan", "gold", email[0], email[1]]);
    let gold = made.word("key:");
    let (plain, _) = owners(&gateway, "plan@example.com", &json!({}));
    let told = |key: &str| {
        ask(&gateway, key, "GET", "/projects").expect(200);
        let seen = origin.last();
        assert_eq!(seen.twins("x-user-plan").len(), 1, "{:?}", seen.headers);
        seen.header("x-user-plan").unwrap().to_owned()
    };
    assert_eq!((told(&gold), told(&plain)), ("gold".into(), "free".into()));
    // What the owner is given later is the plain key's, and not the other's.
    operator(&gateway, &["users", "plan", "plan@example.com", "silver"]);
    eventually("the plan is heard of", Duration::from_secs(1), || {
        gateway.client().get("/public/status").header("X-API-Key", &plain).send().expect(200);
        (origin.last().header("x-user-plan") == Some("silver")).then_some(())
    });
    assert_eq!((told(&gold), told(&plain)), ("gold".into(), "silver".into()));
    ask(&gateway, &plain, "GET", "/projects").refused(429, "Rate limit exceeded");
    assert_eq!(told(&gold), "gold");
    // A client that names a plan beside its key is not heard.
    let client = gateway.client();
    client.get("/projects").header("X-API-Key", &gold).header("X-User-Plan", "enterprise").send().expect(200);
    assert_eq!(origin.last().header("x-user-plan"), Some("gold"));
}

#[test]
fn t9_scopes_and_plan_outlive_a_rotation_and_nothing_is_added_by_it() {
    let origin = Origin::echo();
    let routes = "[roles.writer]\npermissions = [\"posts:*\", \"reports:read\"]\n\n\
                  [[route]]\nmatch = \"/posts\"\npermissions = [\"posts:read\"]\n\n\
                  [[route]]\nmatch = \"GET /reports\"\npermissions = [\"reports:read\"]\n\n\
                  [[route]]\nmatch = \"GET /any\"\naccess = \"authenticated\"\n";
    let gateway = Setup::before(&origin).with(routes).start();
    gateway.create_user("scopes@example.com", "writer");
    let email = ["--email", "scopes@example.com"];
    let [one, two] = [["--scope", "posts:read"], ["--scope", "posts:write"]];
    let create = ["api-keys", "create", "--name", "reader", "--plan", "gold"];
    let made = operator(&gateway, &[&create[..], &one[..], &two[..], &email[..]].concat());
    let obeys = |key: &str| {
        ask(&gateway, key, "GET", "/posts").expect(200);
        let seen = origin.last();
        assert_eq!(
            (seen.header("x-user-plan"), seen.header("x-user-role")),
            (Some("gold"), None),
            "{:?}",
            seen.headers
        );
        for target in ["/reports", "/any"] {
            ask(&gateway, key, "GET", target).refused(403, "Insufficient permissions");
        }
    };
    obeys(&made.word("key:"));
    // The owner rotates it in the application, and the operator rotates what came of that.
    let (access, _) = gateway.login("scopes@example.com");
    let target = format!("/auth/api-keys/{}/rotate", made.word("id:"));
    let rotate = |more: Value| {
        let mut body = json!({ "password": PASSWORD, "overlap": 120 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        gateway.client().post(&target).bearer(&access).json(&body).send()
    };
    for more in [json!({ "scopes": ["reports:read"] }), json!({ "plan": "enterprise" }), json!({ "expiresIn": 9 })] {
        rotate(more).refused(400, "Invalid request body");
    }
    let second = rotate(json!({})).expect(201).json();
    assert_eq!(second["scopes"], json!(["posts:read", "posts:write"]));
    let (key, id) = (second["key"].as_str().unwrap(), second["id"].as_str().unwrap());
    obeys(key);
    let third = operator(&gateway, &["api-keys", "rotate", id, "--overlap", "1m", email[0], email[1]]).word("key:");
    obeys(&third);
    // While they overlap all three are good; each ends at its own time.
    obeys(&made.word("key:"));
    obeys(key);
    gateway.operator().advance("65s");
    ask(&gateway, key, "GET", "/posts").refused(401, "Token expired");
    obeys(&made.word("key:"));
    gateway.operator().advance("61s");
    ask(&gateway, &made.word("key:"), "GET", "/posts").refused(401, "Token expired");
    obeys(&third);
}

#[test]
fn t9_a_key_follows_its_owners_role_and_survives_a_new_password_and_a_disabled_account_has_none() {
    let (origin, gateway) = projects();
    gateway.create_user("follows@example.com", "viewer");
    let (key, _) = owners(&gateway, "follows@example.com", &json!({}));
    ask(&gateway, &key, "POST", "/projects").refused(403, "Insufficient permissions");
    let becomes = |arguments: &[&str], status: u16| {
        operator(&gateway, arguments);
        eventually(&format!("{arguments:?}"), Duration::from_secs(1), || {
            let reply = gateway.client().post("/projects").header("X-API-Key", &key).send();
            (reply.status == status).then_some(reply)
        })
    };
    becomes(&["users", "role", "follows@example.com", "editor"], 200);
    assert_eq!(origin.last().header("x-user-role"), Some("editor"));
    let (access, _) = gateway.login("follows@example.com");
    let body = json!({ "currentPassword": PASSWORD, "newPassword": "Other-Horse-43" });
    gateway.client().post("/auth/change-password").bearer(&access).json(&body).send().expect(200);
    ask(&gateway, &key, "POST", "/projects").expect(200);
    becomes(&["users", "role", "follows@example.com", "viewer"], 403);
    becomes(&["users", "disable", "follows@example.com"], 401).refused(401, "Token has been revoked");
    ask(&gateway, &key, "GET", "/public/status").refused(401, "Token has been revoked");
    becomes(&["users", "enable", "follows@example.com"], 403);
    becomes(&["users", "delete", "follows@example.com", "--yes"], 401).refused(401, "Invalid or expired token");
}

/// Of eight that are made at the same moment an account keeps as many keys as it may have. The two gateways may be one.
pub(crate) fn makes_no_more_keys_than_it_may(gateways: [&Gateway; 2]) {
    gateways[0].create_user("many@example.com", "editor");
    let (access, _) = gateways[0].login("many@example.com");
    let start = Barrier::new(8);
    let made: Vec<Reply> = std::thread::scope(|scope| {
        let (start, access) = (&start, &access);
        let makers = (0..8).map(|turn| {
            scope.spawn(move || {
                let body = json!({ "name": format!("server {turn}"), "password": PASSWORD });
                let client = gateways[turn % 2].client();
                let request = client.post("/auth/api-keys").bearer(access).json(&body);
                start.wait();
                request.send()
            })
        });
        let makers: Vec<_> = makers.collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    let (kept, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(|reply| reply.status == 201);
    assert_eq!((kept.len(), refused.len()), (3, 5));
    for reply in refused {
        reply.refused(409, "Too many API keys");
    }
    // Each that was made is good everywhere at once.
    for reply in kept {
        for gateway in gateways {
            ask(gateway, reply.json()["key"].as_str().unwrap(), "GET", "/projects").expect(200);
        }
    }
}

/// Three keys for an account.
pub(crate) const THREE: &str = "[identity.api_keys]\nper_account = 3\n";

#[test]
fn t9_of_eight_keys_made_at_once_an_account_keeps_as_many_as_it_may_have() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(THREE).start();
    makes_no_more_keys_than_it_may([&gateway, &gateway]);
}

#[test]
fn t9_t10_last_uses_outlive_a_restart_and_keep_a_session_awake() {
    let origin = Origin::echo();
    let lives = "[identity.sessions]\nidle = \"10m\"\n\n[tokens]\naccess = \"1h\"\n";
    let mut gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(lives).start();
    let email = "uses@example.com";
    gateway.create_user(email, "editor");
    let (key, used) = owners(&gateway, email, &json!({}));
    let (_, unused) = owners(&gateway, email, &json!({}));
    let session = || {
        let body = json!({ "email": email, "password": PASSWORD, "delivery": "session" });
        let reply = gateway.client().post("/auth/login").json(&body).send().expect(200);
        reply.set_cookie("session").unwrap().split(';').next().unwrap().to_owned()
    };
    let (awake, asleep) = (session(), session());
    let (access, _) = gateway.login(email);
    let last_use = |gateway: &Gateway, id: &str| {
        let listed = gateway.client().get("/auth/api-keys").bearer(&access).send().expect(200).json();
        let keys = listed["apiKeys"].as_array().unwrap();
        keys.iter().find(|key| key["id"] == id).unwrap()["lastUsedAt"].clone()
    };
    assert_eq!((last_use(&gateway, &used), last_use(&gateway, &unused)), (Value::Null, Value::Null));
    gateway.operator().advance("8m");
    ask(&gateway, &key, "GET", "/projects").expect(200);
    gateway.client().get("/projects").header("Cookie", &awake).send().expect(200);
    let before = last_use(&gateway, &used);
    assert!(before.is_string(), "{before}");
    gateway.process().signal(rustix::process::Signal::TERM);
    gateway.kill_remains();
    gateway.launch();
    assert_eq!((last_use(&gateway, &used), last_use(&gateway, &unused)), (before, Value::Null));
    // A new process goes by the machine's clock again, which knows nothing of those eight minutes.
    gateway.operator().advance("16m");
    gateway.client().get("/projects").header("Cookie", &awake).send().expect(200);
    gateway.client().get("/projects").header("Cookie", &asleep).send().refused(401, "Token expired");
}

#[test]
fn t10_limits_count_by_session() {
    let origin = Origin::echo();
    let limit = "[[limit]]\nname = \"sessions\"\nmatch = \"/projects\"\nkey = \"session\"\nquota = \"3 per hour\"\n";
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(limit).start();
    gateway.create_user("counts@example.com", "editor");
    let session = || {
        let body = json!({ "email": "counts@example.com", "password": PASSWORD, "delivery": "session" });
        let reply = gateway.client().post("/auth/login").json(&body).send().expect(200);
        ("Cookie", reply.set_cookie("session").unwrap().split(';').next().unwrap().to_owned())
    };
    let token = ("Authorization", format!("Bearer {}", gateway.login("counts@example.com").0));
    for (name, value) in [session(), session(), token] {
        // Wherever a session comes from, it is one.
        let reads = || gateway.client().get("/projects").header(name, &value).send();
        for _ in 0..3 {
            reads().expect(200);
        }
        reads().refused(429, "Rate limit exceeded");
    }
}
