//! What is kept of secrets: their SHA-256, and nothing else anywhere (A5, T4, T9, T10, W1).

use std::path::PathBuf;
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::person::Person;
use crate::projects;
use crate::support::process::Gateway;
use crate::support::{PASSWORD, postgres};

const OTHER: &str = "Other-Horse-43";
const STRANGE: &str = "Strange-Horse-44";

/// Everything that a gateway has written, with where it stands: its state, the tables of its server, what it says.
pub(crate) fn written(gateway: &Gateway) -> Vec<(String, Vec<u8>)> {
    let mut written = vec![("what it says".to_owned(), gateway.output().into_bytes())];
    let mut waiting: Vec<PathBuf> = vec![gateway.state.clone()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                written.push((path.display().to_string(), bytes));
            }
        }
    }
    if let Some(url) = gateway.config_text().lines().find_map(|line| line.strip_prefix("database = ")) {
        let dumped = Command::new(postgres::programs().unwrap().join("pg_dump"))
            .args(["--data-only", "--inserts", url.trim_matches('"')])
            .output()
            .expect("it can be run");
        assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
        written.push(("the tables of the server".to_owned(), dumped.stdout));
    }
    written
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    let Some(first) = part.first() else { return true };
    // Byte by byte through a database takes long in a build without optimisation; most bytes are not the first.
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|byte| byte == first) {
        at += next;
        if bytes[at..].starts_with(part) {
            return true;
        }
        at += 1;
    }
    false
}

/// Where a value stands, as bytes or as hexadecimal digits, which is how a server prints bytes.
pub(crate) fn places(written: &[(String, Vec<u8>)], value: &[u8]) -> Vec<String> {
    let digits = hex::encode(value);
    let stands = |bytes: &[u8]| holds(bytes, value) || holds(bytes, digits.as_bytes());
    written.iter().filter(|(_, bytes)| stands(bytes)).map(|(place, _)| place.clone()).collect()
}

/// The token of the only mail of a subject to an address.
fn mailed(gateway: &Gateway, email: &str, count: usize, subject: &str) -> String {
    let mails = gateway.operator().await_mails(email, count);
    mails.iter().find(|mail| mail.subject == subject).unwrap_or_else(|| panic!("no {subject:?} in {mails:?}")).token()
}

#[test]
fn t4_t9_t10_a5_of_every_secret_only_its_hash_is_kept_in_any_table_file_or_log() {
    let (_origin, gateway) = projects();
    let ann = Person::new(&gateway, "ann");
    let client = || gateway.client();
    let post = |target: &str, body: &Value| client().post(target).bearer(&ann.access).json(body).send();
    let text = |value: &Value, member: &str| value[member].as_str().unwrap().to_owned();

    let pair = client().post("/auth/refresh").json(&json!({ "refreshToken": ann.refresh })).send().expect(200).json();
    let rotated = post(&format!("/auth/api-keys/{}/rotate", ann.key_id), &json!({ "password": PASSWORD }));
    let rotated = text(&rotated.expect(201).json(), "key");
    client()
        .post("/auth/register")
        .json(&json!({ "email": "bob@example.com", "password": STRANGE }))
        .send()
        .expect(202);
    let verify = mailed(&gateway, "bob@example.com", 1, "Confirm your e-mail address");
    client().post("/auth/forgot-password").json(&json!({ "email": ann.email })).send().expect(202);
    let reset = mailed(&gateway, &ann.email, 1, "Set another password");
    post("/auth/change-email", &json!({ "email": "new@example.com", "password": PASSWORD })).expect(202);
    let confirm = mailed(&gateway, "new@example.com", 1, "Confirm your new e-mail address");

    // What is presented in wrong places, and a wrong password, is in no record either.
    for secret in [&ann.refresh, &reset, &ann.key] {
        client().get(&format!("/nowhere?token={secret}")).send().expect(404);
        client().get(&format!("/public/status?access_token={secret}")).send().expect(200);
        client().get("/projects").bearer(&format!("x{secret}")).send().expect(401);
        client().post("/auth/refresh").json(&json!({ "refreshToken": format!("x{secret}") })).send().expect(401);
    }
    client().get(&format!("/auth/reset-password?token={reset}")).send().expect(200);
    let wrong = json!({ "email": ann.email, "password": OTHER });
    client().post("/auth/login").json(&wrong).send().refused(401, "Invalid credentials");
    // Events are written a moment later.
    std::thread::sleep(std::time::Duration::from_millis(1_500));

    let value = |pair: &str| pair.split_once('=').unwrap().1.to_owned();
    let written = written(&gateway);
    let recorded = |what: &str| written.iter().any(|(_, bytes)| holds(bytes, what.as_bytes()));
    assert!(recorded("/nowhere") || recorded("not_found"), "there are records to look through");
    for (what, secret) in [
        ("a spent refresh token", ann.refresh.clone()),
        ("its successor", text(&pair, "refreshToken")),
        ("a refresh token's cookie", value(&ann.refresh_cookie)),
        ("a session's cookie", value(&ann.session)),
        ("an API key", ann.key.clone()),
        ("its successor", rotated),
        ("a link to verify", verify),
        ("a link to reset", reset),
        ("a link to confirm", confirm),
    ] {
        assert_eq!(places(&written, secret.as_bytes()), [""; 0], "{what} stands in the clear");
        if let Ok(bytes) = hex::decode(&secret) {
            assert_eq!(places(&written, &bytes), [""; 0], "{what} stands as the bytes it is made of");
        }
        let hash = places(&written, digest(&SHA256, secret.as_bytes()).as_ref());
        assert!(!hash.is_empty(), "{what} is known by its hash");
        assert!(hash.iter().all(|place| place.contains(".db") || place.contains("tables")), "{what}: {hash:?}");
    }
    for (what, secret) in [
        ("a password", PASSWORD),
        ("a pending password", STRANGE),
        ("a wrong password", OTHER),
        ("an access token's signature", ann.access.rsplit('.').next().unwrap()),
        ("a cookie's signature", ann.cookie.rsplit('.').next().unwrap()),
    ] {
        assert_eq!(places(&written, secret.as_bytes()), [""; 0], "{what}");
    }
}
