//! Whoever reads the accounts' database finds nothing to log in with (A5, T4, T9, T10).

use serde_json::json;

use super::at_rest::{places, written};
use crate::projects;
use crate::support::PASSWORD;
use crate::support::process::Gateway;

const OTHER: &str = "Other-Horse-43";

/// Fails where a secret stands in what was written: as it was handed out, as the bytes that its digits stand for, or their
/// text.
fn is_not_in(written: &[(String, Vec<u8>)], what: &str, secret: &str) {
    for value in [Some(secret.as_bytes().to_vec()), hex::decode(secret).ok()].into_iter().flatten() {
        assert_eq!(places(written, &value), [""; 0], "{what} stands there");
    }
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
        is_not_in(&written(&gateway), what, secret);
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

    let now = written(&gateway);
    for known in ["ann@example.com", "$argon2id$"] {
        assert!(!places(&now, known.as_bytes()).is_empty(), "what is no secret is found: {known}");
    }
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
    is_not_in(&written(&gateway), "a new password", OTHER);
}
