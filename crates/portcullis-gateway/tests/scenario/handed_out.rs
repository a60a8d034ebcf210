//! Whoever reads the accounts' database finds nothing to log in with (A5, T4, T9, T10).

use serde_json::json;

use crate::projects;
use crate::support::PASSWORD;
use crate::support::database::Accounts;
use crate::support::process::Gateway;

const OTHER: &str = "Other-Horse-43";

/// Everything that the database holds, and what is left of what it held.
fn dump(accounts: &Accounts) -> Vec<u8> {
    match accounts {
        Accounts::File(path) => {
            let log = path.with_file_name(format!("{}-wal", path.file_name().unwrap().to_str().unwrap()));
            [std::fs::read(path).unwrap(), std::fs::read(log).unwrap_or_default()].concat()
        }
        // Bytes are shown as their hexadecimal digits, rows as text.
        Accounts::Server(_) => {
            let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'portcullis'";
            let rows = |table: &String| accounts.texts(&format!("SELECT t::text FROM {table} t")).join("\n");
            accounts.texts(tables).iter().map(rows).collect::<Vec<_>>().join("\n").into_bytes()
        }
    }
}

/// Fails where a secret stands in the dump: as it was handed out, as the bytes that its digits stand for, or their text.
fn is_not_in(dump: &[u8], what: &str, secret: &str) {
    let contains = |bytes: &[u8]| dump.windows(bytes.len()).any(|window| window == bytes);
    assert!(!contains(secret.as_bytes()), "{what} stands in the database");
    assert!(!contains(hex_of(secret.as_bytes()).as_bytes()), "{what} stands in the database, in hexadecimal");
    if let Some(bytes) = bytes_of(secret) {
        assert!(!contains(&bytes), "{what} stands in the database as bytes");
    }
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that hexadecimal digits stand for.
fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

fn token(gateway: &Gateway, email: &str, count: usize, subject: &str) -> String {
    let mails = gateway.operator().await_mails(email, count);
    mails.into_iter().rfind(|mail| mail.subject == subject).unwrap().token()
}

#[test]
fn a5_nothing_that_was_handed_out_stands_in_the_database() {
    let (_origin, gateway) = projects();
    let mut secrets: Vec<(&str, String)> = vec![("a password", PASSWORD.into()), ("a new password", OTHER.into())];
    let client = gateway.client();
    let registered = json!({ "email": "ann@example.com", "password": PASSWORD });
    client.post("/auth/register").json(&registered).send().expect(202);
    let verify = token(&gateway, "ann@example.com", 1, "Confirm your e-mail address");
    secrets.push(("a link that waits", verify.clone()));
    for (what, secret) in &secrets {
        is_not_in(&dump(&gateway.accounts()), what, secret);
    }
    client.post("/auth/verify").json(&json!({ "token": verify })).send().expect(200);
    let (access, refresh) = gateway.login("ann@example.com");
    let body = json!({ "refreshToken": refresh });
    let renewed = client.post("/auth/refresh").json(&body).send().expect(200).json();
    secrets.push(("a spent refresh token", refresh));
    secrets.push(("a refresh token", renewed["refreshToken"].as_str().unwrap().to_owned()));
    secrets.push(("the signature of an access token", access.rsplit('.').next().unwrap().to_owned()));
    let session = json!({ "email": "ann@example.com", "password": PASSWORD, "delivery": "session" });
    let reply = gateway.client().post("/auth/login").json(&session).send().expect(200);
    let cookie = reply.set_cookie("session").unwrap();
    secrets.push(("a session's cookie", cookie.split(['=', ';']).nth(1).unwrap().to_owned()));
    let key = json!({ "name": "ci", "password": PASSWORD });
    let key = client.post("/auth/api-keys").bearer(&access).json(&key).send().expect(201).json();
    let key = key["key"].as_str().unwrap();
    // Its first characters are shown to its owner in lists, so that they are kept.
    secrets.push(("the secret part of an API key", key[key.len() - 40..].to_owned()));
    let asked = json!({ "email": "ann@example.com" });
    client.post("/auth/forgot-password").json(&asked).send().expect(202);
    secrets.push(("a reset link", token(&gateway, "ann@example.com", 2, "Set another password")));
    let change = json!({ "email": "new@example.com", "password": PASSWORD });
    client.post("/auth/change-email").bearer(&access).json(&change).send().expect(202);
    let confirm = token(&gateway, "new@example.com", 1, "Confirm your new e-mail address");
    secrets.push(("a link to another address", confirm));

    let now = dump(&gateway.accounts());
    assert!(now.windows(15).any(|window| window == b"ann@example.com"), "what is no secret is found");
    assert!(now.windows(10).any(|window| window == b"$argon2id$"));
    for (what, secret) in &secrets {
        is_not_in(&now, what, secret);
    }
    // Nor does the hash of a link or a token open anything in its place.
    let stored = gateway.accounts().text(
        "SELECT lower(hex(hash)) FROM account_link UNION SELECT lower(hex(hash)) FROM refresh_token",
        "SELECT encode(hash, 'hex') FROM account_link UNION SELECT encode(hash, 'hex') FROM refresh_token",
    );
    let stored = gateway.accounts().texts(stored);
    assert!(stored.len() >= 4, "{stored:?}");
    for hash in &stored {
        let reset = json!({ "token": hash, "password": OTHER });
        gateway.client().post("/auth/reset-password").json(&reset).send().refused(400, "Invalid or expired link");
        let confirm = json!({ "token": hash });
        gateway.client().post("/auth/confirm-email").json(&confirm).send().refused(400, "Invalid or expired link");
        let refresh = json!({ "refreshToken": hash });
        gateway.client().post("/auth/refresh").json(&refresh).send().refused(401, "Invalid refresh token");
    }
    let of_links = secrets.iter().find(|(what, _)| *what == "a reset link").unwrap();
    let reset = json!({ "token": of_links.1, "password": OTHER });
    client.post("/auth/reset-password").json(&reset).send().expect(200);
    is_not_in(&dump(&gateway.accounts()), "a new password", OTHER);
}
