//! Login: the pair, the unverified, the wrong (A6), and logout (A8, T8).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::projects;
use crate::support::client::Reply;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, eventually};

fn login(gateway: &Gateway, email: &str, password: &str) -> Reply {
    let credentials = json!({ "email": email, "password": password, "delivery": "body" });
    gateway.client().post("/auth/login").json(&credentials).send()
}

#[test]
fn a6_a_login_yields_a_pair_that_no_cache_may_keep() {
    let (_origin, gateway) = projects();
    gateway.create_user("pair@example.com", "viewer");
    let reply = login(&gateway, "pair@example.com", PASSWORD).expect(200);
    assert!(reply.header("cache-control").unwrap().contains("no-store"));
    let pair = reply.json();
    assert_eq!(pair["tokenType"], "Bearer");
    assert_eq!(pair["expiresIn"], 900);
    let refresh = pair["refreshToken"].as_str().unwrap();
    assert_eq!(refresh.len(), 64, "256 bits in hex: {refresh}");
    assert!(refresh.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()));
    gateway.client().get("/projects").bearer(pair["accessToken"].as_str().unwrap()).send().expect(200);
    assert!(reply.headers("set-cookie").is_empty(), "delivery was \"body\"");
}

#[test]
fn a6_a_wrong_password_and_an_unknown_address_are_told_alike_and_take_as_long() {
    let origin = Origin::echo();
    // More attempts than an account takes otherwise: it is the time of their hashes that is compared.
    let gateway = Setup::before(&origin).with("[identity.lockout]\nattempts = 100\n").start();
    gateway.create_user("real@example.com", "viewer");
    let without_id = |reply: Reply| {
        assert_eq!(reply.status, 401, "{}", reply.text());
        let mut body = reply.json();
        body.as_object_mut().unwrap().remove("request_id");
        let mut names: Vec<String> = reply.headers.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        (body, names)
    };
    let wrong = without_id(login(&gateway, "real@example.com", "Wrong-password-1"));
    let unknown = without_id(login(&gateway, "nobody@example.com", "Wrong-password-1"));
    assert_eq!(wrong, unknown);
    assert_eq!(wrong.0["error"], "Invalid credentials");

    let median = |email: &str| {
        let mut times: Vec<Duration> = (0..9)
            .map(|_| {
                let start = Instant::now();
                login(&gateway, email, "Wrong-password-1").refused(401, "Invalid credentials");
                start.elapsed()
            })
            .collect();
        times.sort();
        times[times.len() / 2]
    };
    let (known, unknown) = (median("real@example.com"), median("nobody@example.com"));
    // Without a hash for unknown addresses the two differ by a factor of ten and more.
    let ratio = known.as_secs_f64() / unknown.as_secs_f64();
    assert!((0.4..2.5).contains(&ratio), "known {known:?}, unknown {unknown:?}");
}

#[test]
fn a6_an_unverified_account_is_told_so_only_with_the_right_password() {
    let (_origin, gateway) = projects();
    let body = json!({ "email": "pending@example.com", "password": PASSWORD });
    gateway.client().post("/auth/register").json(&body).send().expect(202);
    let reply = login(&gateway, "pending@example.com", PASSWORD).refused(403, "Email not verified");
    assert!(reply.text().to_lowercase().contains("resend"), "a hint how to get another mail: {}", reply.text());
    login(&gateway, "pending@example.com", "Wrong-password-1").refused(401, "Invalid credentials");
    // A grant for a pending account would show at once.
    assert!(!reply.text().contains("accessToken"));
}

#[test]
fn a5_a_verification_mail_can_be_sent_again_and_the_answer_tells_nothing() {
    let (_origin, gateway) = projects();
    let body = json!({ "email": "again@example.com", "password": PASSWORD });
    gateway.client().post("/auth/register").json(&body).send().expect(202);
    gateway.operator().await_mails("again@example.com", 1);
    let resend =
        |email: &str| gateway.client().post("/auth/resend-verification").json(&json!({ "email": email })).send();
    let known = resend("again@example.com");
    let unknown = resend("nobody@example.com");
    assert!((200..300).contains(&known.status), "{}: {}", known.status, known.text());
    assert_eq!((known.status, &known.body), (unknown.status, &unknown.body));
    let mails = gateway.operator().await_mails("again@example.com", 2);
    let works = mails.iter().any(|mail| {
        let verify = json!({ "token": mail.token() });
        (200..300).contains(&gateway.client().post("/auth/verify").json(&verify).send().status)
    });
    assert!(works, "a mailed token verifies");
    assert!(gateway.operator().mails("nobody@example.com").is_empty());
}

#[test]
fn a8_logout_ends_the_session_by_the_refresh_token_alone() {
    let (_origin, gateway) = projects();
    gateway.create_user("out@example.com", "viewer");
    let (access, refresh) = gateway.login("out@example.com");
    let (other_access, other_refresh) = gateway.login("out@example.com");
    gateway.client().get("/projects").bearer(&access).send().expect(200);

    let reply = gateway.client().post("/auth/logout").json(&json!({ "refreshToken": refresh })).send();
    assert!((200..300).contains(&reply.status), "{}: {}", reply.status, reply.text());

    gateway
        .client()
        .post("/auth/refresh")
        .json(&json!({ "refreshToken": refresh }))
        .send()
        .refused(401, "Invalid refresh token");
    // Every node sees a revocation within a second; the token was in the cache of verified tokens.
    let refused = eventually("the access token is revoked", Duration::from_secs(2), || {
        let reply = gateway.client().get("/projects").bearer(&access).send();
        (reply.status != 200).then_some(reply)
    });
    refused.refused(401, "Token has been revoked");

    // The other device goes on.
    gateway.client().get("/projects").bearer(&other_access).send().expect(200);
    gateway.client().post("/auth/refresh").json(&json!({ "refreshToken": other_refresh })).send().expect(200);
}

#[test]
fn t8_endpoints_that_issue_credentials_ignore_a_stale_one() {
    let (_origin, gateway) = projects();
    gateway.create_user("stale@example.com", "viewer");
    let credentials = json!({ "email": "stale@example.com", "password": PASSWORD, "delivery": "body" });
    let reply = gateway.client().post("/auth/login").bearer("stale.or.garbage").json(&credentials).send().expect(200);
    let refresh = reply.json()["refreshToken"].as_str().unwrap().to_owned();
    gateway
        .client()
        .post("/auth/refresh")
        .bearer("stale.or.garbage")
        .json(&json!({ "refreshToken": refresh }))
        .send()
        .expect(200);
}

#[test]
fn no_secret_reaches_a_log_or_lies_in_the_state_in_plain() {
    let (_origin, gateway) = projects();
    let body = json!({ "email": "secret@example.com", "password": PASSWORD });
    gateway.client().post("/auth/register").json(&body).send().expect(202);
    let mailed = gateway.operator().await_mails("secret@example.com", 1).remove(0).token();
    gateway.client().post("/auth/verify").json(&json!({ "token": mailed })).send();
    let (access, refresh) = gateway.login("secret@example.com");
    gateway.client().get("/projects").bearer(&access).send().expect(200);
    gateway.client().get("/analytics").bearer(&access).send().expect(403);
    login(&gateway, "secret@example.com", "Wrong-password-1").expect(401);
    let mistaken = format!("/projects?token={refresh}");
    gateway.client().get(&mistaken).send().expect(401);
    std::thread::sleep(Duration::from_millis(500));

    let signature = access.rsplit('.').next().unwrap();
    let secrets = [PASSWORD, "Wrong-password-1", mailed.as_str(), refresh.as_str(), signature];
    let output = gateway.output();
    let mut texts = vec![("its output".to_owned(), output.into_bytes())];
    let mut waiting = vec![gateway.state.clone()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            } else {
                texts.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    assert!(texts.len() > 2, "there is state to look at: {texts:?}");
    for (place, text) in &texts {
        for secret in secrets {
            let found = text.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} stands in {place}");
        }
    }
}
