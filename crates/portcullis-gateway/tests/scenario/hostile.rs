//! What strangers put where an address, a name or a password belongs (A1, A2, W1).

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::projects;
use crate::support::client::{Client, Reply};
use crate::support::operator::Mail;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES};

const OTHER: &str = "Other-Horse-43";

fn send(gateway: &Gateway, target: &str, access: &str, body: &Value) -> Reply {
    gateway.client().post(target).bearer(access).json(body).send()
}

/// The processor time that a gateway has taken so far, in the kernel's ticks.
fn worked(gateway: &Gateway) -> u64 {
    let line = std::fs::read_to_string(format!("/proc/{}/stat", gateway.id())).unwrap();
    // After the name of the program, which may hold anything, stands the third field; the 14th and 15th are ticks.
    let fields: Vec<&str> = line.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// Where a password can be sent, with a link and as somebody who is logged in.
fn with_password(link: &str, password: &str) -> [(&'static str, Value); 5] {
    [
        ("/auth/register", json!({ "email": "new@example.com", "password": password })),
        ("/auth/login", json!({ "email": "owner@example.com", "password": password })),
        ("/auth/change-password", json!({ "currentPassword": PASSWORD, "newPassword": password })),
        ("/auth/change-password", json!({ "currentPassword": password, "newPassword": OTHER })),
        ("/auth/reset-password", json!({ "token": link, "password": password })),
    ]
}

#[test]
fn a2_a_megabyte_in_a_passwords_place_is_refused_before_anything_is_hashed() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with("[limits]\npreset = \"none\"\n").start();
    gateway.create_user("owner@example.com", "viewer");
    let (access, _) = gateway.login("owner@example.com");
    let asked = gateway.client().post("/auth/forgot-password").json(&json!({ "email": "owner@example.com" })).send();
    asked.expect(202);
    let link = gateway.operator().await_mails("owner@example.com", 1).remove(0).token();

    // What a login costs here, in this build and on this machine.
    const LOGINS: u64 = 10;
    let begun = worked(&gateway);
    for _ in 0..LOGINS {
        send(&gateway, "/auth/login", "", &with_password("", "Wrong-password-1")[1].1).expect(401);
    }
    let logins = worked(&gateway) - begun;
    let is_little = |sent: u64, spent: u64| {
        assert!(spent * LOGINS * 4 < logins * sent, "{spent} ticks for {sent} refusals, {logins} for {LOGINS} logins");
    };

    let begun = worked(&gateway);
    let mut sent = 0;
    for (target, body) in with_password(&link, &"aA1-".repeat(256 * 1024)).iter().cycle().take(25) {
        let started = Instant::now();
        let refused = send(&gateway, target, &access, body);
        assert_eq!((refused.status, refused.error().as_str()), (413, "Request body too large"), "{target}");
        assert!(refused.body.len() < 1_000, "{target} is answered with {} bytes", refused.body.len());
        assert!(started.elapsed() < Duration::from_secs(2), "{target} took {:?}", started.elapsed());
        sent += 1;
    }
    // As pages send it, and in the address's place.
    let form = format!("email=owner%40example.com&password={}", "a".repeat(1 << 20));
    for target in ["/auth/login", "/auth/register"] {
        let client = gateway.client();
        let post = client.post(target).header("Content-Type", "application/x-www-form-urlencoded");
        assert_eq!(post.body(form.as_bytes()).send().status, 413);
        let body = json!({ "email": "a".repeat(1 << 20), "password": PASSWORD });
        assert_eq!(client.post(target).json(&body).send().status, 413);
        sent += 2;
    }
    is_little(sent, worked(&gateway) - begun);

    // What fits into a body and is longer than any password: every way in which one is set refuses it unhashed, and no
    // link is spent on it.
    let begun = worked(&gateway);
    let long = (0..1_000).map(|number| format!("Kelp {number} ")).collect::<String>()[..4_097].to_owned();
    for (target, body) in with_password(&link, &long).iter().filter(|(_, body)| body["currentPassword"] != *long) {
        if *target == "/auth/login" {
            continue;
        }
        for _ in 0..4 {
            let told = send(&gateway, target, &access, body).refused(400, "Validation failed").json();
            assert_eq!(told["details"][0]["message"], "Must be at most 4096 bytes", "{target}");
        }
    }
    is_little(12, worked(&gateway) - begun);
    send(&gateway, "/auth/login", "", &with_password("", &long)[1].1).refused(401, "Invalid credentials");

    // The longest that may be is as good as any other.
    let longest = &long[..4_096];
    send(&gateway, "/auth/reset-password", "", &json!({ "token": link, "password": longest })).expect(200);
    send(&gateway, "/auth/login", "", &with_password("", longest)[1].1).expect(200);
    send(&gateway, "/auth/login", "", &with_password("", &longest[..4_095])[1].1).refused(401, "Invalid credentials");
}

#[test]
fn a2_a_password_of_which_normalization_makes_more_keeps_nobody_waiting() {
    let (_origin, gateway) = projects();
    // Marks upon marks, which have to be put in order, and characters that become three of them.
    for piece in ["\u{316}\u{301}", "\u{1d160}", "\u{fb2c}", "\u{390}"] {
        let password = format!("aA1-{}", piece.repeat(4_000 / piece.len()));
        let body = json!({ "email": "marks@example.com", "password": password });
        let begun = Instant::now();
        let reply = gateway.client().post("/auth/register").json(&body).send();
        assert!(matches!(reply.status, 202 | 400), "{}", reply.text());
        gateway.client().post("/auth/login").json(&body).send();
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
}

/// What is no single address, whatever it looks like.
const NO_ADDRESS: &[&str] = &[
    "owner@example.com,evil@example.com",
    "owner@example.com, evil@example.com",
    "owner@example.com;evil@example.com",
    "owner@example.com evil@example.com",
    "owner@example.com\r\nBcc: evil@example.com",
    "owner@example.com\nBcc: evil@example.com",
    "owner@example.com\rBcc: evil@example.com",
    "owner@example.com\r\n\r\nA body",
    "owner@example.com\u{0}",
    "owner@example.com\u{0}@evil.example",
    "owner\u{0}@example.com",
    "owner@example.com\u{0}.evil.example",
    "owner%00@example.com\u{7f}",
    "owner@example.com%0d%0aBcc: evil@example.com",
    "Owner <owner@example.com>",
    "<owner@example.com>",
    "<evil@example.com>owner@example.com",
    "owner@example.com>\r\nRCPT TO:<evil@example.com",
    "\"owner\"@example.com",
    "owner(evil@example.com)@example.com",
    "owner@[127.0.0.1]",
    "owner@example.com@evil.example",
    "@evil.example:owner@example.com",
    "owner\u{ff20}example.com",
    "\u{43e}wner@example.com",
    "owner@ex\u{430}mple.com",
    "owner@example.com\u{200b}",
    "o\u{202e}renw@example.com",
    "owner@example\u{3002}com",
    "=?utf-8?q?owner?=\u{20}<evil@example.com>",
];

#[test]
fn a1_what_is_no_single_address_is_refused_wherever_one_is_set_and_nobody_is_mailed() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with("[limits]\npreset = \"none\"\n").start();
    gateway.create_user("owner@example.com", "viewer");
    let (access, _) = gateway.login("owner@example.com");
    let file = gateway.directory().join("password");
    std::fs::write(&file, PASSWORD).unwrap();
    for (number, email) in NO_ADDRESS.iter().enumerate() {
        let body = json!({ "email": email, "password": PASSWORD });
        for target in ["/auth/register", "/auth/change-email"] {
            let told = send(&gateway, target, &access, &body).refused(400, "Validation failed");
            assert_eq!(told.json()["details"][0]["field"], "email", "{target}: {email:?}");
            assert!(!told.text().contains("evil"), "what was sent is not repeated: {}", told.text());
        }
        for (target, status) in [("/auth/forgot-password", 202), ("/auth/resend-verification", 202)] {
            assert_eq!(send(&gateway, target, &access, &json!({ "email": email })).status, status, "{email:?}");
        }
        send(&gateway, "/auth/login", "", &body).refused(401, "Invalid credentials");
        // The command line takes no NUL; what it takes is judged by the same rule.
        if number % 6 == 0 {
            let create = ["users", "create", "--password-file", file.to_str().unwrap(), "--email", email];
            let created = gateway.command(&create);
            assert_eq!(created.status.code(), Some(2), "{email:?}: {}", String::from_utf8_lossy(&created.stdout));
        }
    }
    assert_eq!(gateway.accounts().texts("SELECT email FROM account"), ["owner@example.com"]);
    assert!(gateway.accounts().texts("SELECT email FROM pending").is_empty());
    assert_eq!(gateway.operator().get("/mail.json").expect(200).json(), json!([]), "nobody is mailed");
}

#[test]
fn a1_a_hostile_name_reaches_neither_a_letter_nor_a_line_of_the_log() {
    let (_origin, gateway) = projects();
    for name in [
        "Ann\r\nBcc: evil@example.com",
        "Ann\nSubject: evil",
        "Ann\u{0}",
        "Ann\u{1b}[2Jevil",
        "Ann\u{9b}2Jevil",
        "Ann\u{2028}evil",
        "Ann\u{85}evil",
        "Ann\u{202e}live",
    ] {
        let body = json!({ "email": "ann@example.com", "password": PASSWORD, "name": name });
        let told = send(&gateway, "/auth/register", "", &body).refused(400, "Validation failed");
        assert_eq!(told.json()["details"][0]["field"], "name", "{name:?}");
        assert!(!told.text().contains("evil"), "{}", told.text());
    }
    // What is only unusual is a name, and is nobody's business but its owner's.
    let name = "<img src=x onerror=alert(1)> \"Ann\" {{7*7}} evil@example.com, https://evil.example";
    let body = json!({ "email": "ann@example.com", "password": PASSWORD, "name": name });
    send(&gateway, "/auth/register", "", &body).expect(202);
    let mail: Mail = gateway.operator().await_mails("ann@example.com", 1).remove(0);
    assert!(!mail.text.contains("evil") && !mail.subject.contains("evil"), "{mail:?}");
    send(&gateway, "/auth/verify", "", &json!({ "token": mail.token() })).expect(200);
    let (access, _) = gateway.login("ann@example.com");
    let page = gateway.client().get("/auth/account").bearer(&access).header("Accept", "text/html").send().expect(200);
    assert!(page.text().contains("&lt;img src=x") && !page.text().contains("<img"), "{}", page.text());

    // Whoever writes the records by a request writes one line, and no log is painted.
    let client = gateway.client();
    let hostile = client.post("/auth/login").header("User-Agent", "x\u{2028}\u{9b}2J login_succeeded");
    hostile.json(&json!({ "email": "a\r\n{\"kind\":\"login_succeeded\"}\u{1b}[2J", "password": "\u{1b}]0;x" })).send();
    drop(client.get("/auth/%0a%1b%5b2J%e2%80%a8forged").send());
    let forged = |text: &str| text.contains(['\u{1b}', '\u{9b}', '\u{2028}', '\u{0}']) || text.contains("evil");
    assert!(!forged(&gateway.output()), "{}", gateway.output());
    let records = gateway.records();
    assert!(records.iter().all(|line| !forged(&line.to_string())), "{records:?}");
    assert!(records.iter().filter(|line| line["kind"] == "login_succeeded").count() <= 1, "{records:?}");
}

/// PostgreSQL takes no NUL in a text and SQLite takes any: what holds one is refused before it gets there.
#[test]
fn a9_a_nul_in_any_text_is_a_clients_mistake_on_either_engine() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with("[limits]\npreset = \"none\"\n").start();
    gateway.create_user("owner@example.com", "viewer");
    let (access, _) = gateway.login("owner@example.com");
    let desk = Client::at(gateway.admin, Ipv4Addr::LOCALHOST);
    let operator = gateway.operator().token;
    let id = gateway.accounts().texts("SELECT id FROM account").remove(0);
    for nul in ["\u{0}", "a\u{0}b", "owner@example.com\u{0}"] {
        for (method, target, body) in [
            ("POST", "/auth/register", json!({ "email": nul, "password": PASSWORD })),
            ("POST", "/auth/register", json!({ "email": "a@example.com", "password": PASSWORD, "name": nul })),
            ("POST", "/auth/login", json!({ "email": nul, "password": nul })),
            ("POST", "/auth/login", json!({ "email": "owner@example.com", "password": nul })),
            ("POST", "/auth/refresh", json!({ "refreshToken": nul })),
            ("POST", "/auth/logout", json!({ "refreshToken": nul })),
            ("POST", "/auth/verify", json!({ "token": nul })),
            ("POST", "/auth/resend-verification", json!({ "email": nul })),
            ("POST", "/auth/forgot-password", json!({ "email": nul })),
            ("POST", "/auth/reset-password", json!({ "token": nul, "password": OTHER })),
            ("POST", "/auth/confirm-email", json!({ "token": nul })),
            ("POST", "/auth/change-email", json!({ "email": nul, "password": PASSWORD })),
            ("PATCH", "/auth/me", json!({ "name": nul })),
            ("DELETE", "/auth/me", json!({ "password": nul })),
            ("POST", "/auth/api-keys", json!({ "name": nul, "password": PASSWORD })),
            ("POST", "/auth/api-keys", json!({ "name": "ci", "scopes": [nul], "password": PASSWORD })),
            ("DELETE", "/auth/sessions/a%00b", Value::Null),
            ("DELETE", "/auth/api-keys/%00", Value::Null),
        ] {
            let client = gateway.client();
            let reply = client.request(method, target).bearer(&access).json(&body).send();
            assert!(reply.status < 500, "{method} {target} {body}: {}", reply.text());
            assert!(reply.status >= 400 || reply.status == 202 || target == "/auth/logout", "{method} {target} {body}");
        }
        let account = format!("/api/accounts/{id}");
        for (method, target, body) in [
            ("POST", "/api/accounts", json!({ "email": nul, "password": PASSWORD })),
            ("POST", "/api/accounts", json!({ "email": "b@example.com", "password": PASSWORD, "name": nul })),
            ("POST", "/api/accounts", json!({ "email": "b@example.com", "password": PASSWORD, "role": nul })),
            ("POST", "/api/accounts", json!({ "email": "b@example.com", "password": PASSWORD, "plan": nul })),
            ("PATCH", &account, json!({ "name": nul })),
            ("PATCH", &account, json!({ "role": nul })),
            ("PATCH", &account, json!({ "plan": nul })),
            ("GET", "/api/accounts?email=%00", Value::Null),
            ("GET", "/api/accounts?role=a%00b", Value::Null),
            ("GET", "/api/accounts?cursor=a%00b", Value::Null),
            ("GET", "/api/accounts/a%00b", Value::Null),
            ("DELETE", "/api/accounts/a%00b", Value::Null),
            ("POST", "/api/accounts/a%00b/revoke", Value::Null),
        ] {
            let request = desk.request(method, target).bearer(&operator);
            let reply = if body.is_null() { request.send() } else { request.json(&body).send() };
            assert!(reply.status < 500, "{method} {target} {body}: {}", reply.text());
            assert!(reply.status >= 400 || method == "GET", "{method} {target} {body}: {}", reply.text());
        }
    }
    assert_eq!(gateway.accounts().texts("SELECT email FROM account"), ["owner@example.com"]);
    // A file of users is judged row by row: one that holds a NUL takes none of its neighbours along.
    let file = gateway.directory().join("users.jsonl");
    let row =
        |email: &str, member: &str| json!({ "email": email, "verified": true, member: "a\u{0}b" }).to_string() + "\n";
    let rows: String = ["name", "role", "plan", "id", "password_hash", "created_at"]
        .iter()
        .enumerate()
        .map(|(number, member)| row(&format!("bad{number}@example.com"), member))
        .chain([
            json!({ "email": "good@example.com", "verified": true }).to_string() + "\n",
            row("x\u{0}@example.com", "name"),
        ])
        .collect();
    std::fs::write(&file, rows).unwrap();
    let done = gateway.command(&["users", "import", file.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(told.contains("imported 1, skipped 0 that exist, refused 7"), "{told}");
    assert!(!told.contains('\0'), "{told:?}");
}
