//! Every number of the preset limits (L5), to the last request: time stands still, so that nothing comes back meanwhile.

use std::time::Duration;

use serde_json::{Value, json};

use super::lockout::{CEO, REFUSED, WRONG, house, login};
use crate::projects;
use crate::support::PASSWORD;
use crate::support::client::{Client, Reply};
use crate::support::origin::Origin;
use crate::support::process::Gateway;

const LOGIN: &str = "Too many login attempts. Try again in 15 minutes.";

fn stopped() -> (Origin, Gateway) {
    let (origin, gateway) = projects();
    gateway.operator().stop_clock();
    (origin, gateway)
}

/// Fails unless the answer says that so many of a quota are left.
#[track_caller]
fn told(reply: &Reply, limit: u64, remaining: u64) {
    let number = |name: &str| reply.header(name).unwrap_or_default().parse::<u64>();
    let told = (number("x-ratelimit-limit"), number("x-ratelimit-remaining"));
    assert_eq!(told, (Ok(limit), Ok(remaining)), "{}: {:?}", reply.status, reply.headers);
}

/// Fails unless it is a refusal by a limit of this quota, told in every way; how long to wait.
#[track_caller]
fn refused(reply: Reply, limit: u64, error: &str) -> Duration {
    let reply = reply.refused(429, error);
    told(&reply, limit, 0);
    let body = reply.json();
    assert_eq!(
        (&body["limit"], &body["remaining"], &body["status"]),
        (&json!(limit), &json!(0), &json!(429)),
        "{body}"
    );
    let wait = reply.header("retry-after").expect("a refusal says when").parse().expect("whole seconds");
    Duration::from_secs(wait)
}

/// After exactly so long the request passes, and a second before it does not.
#[track_caller]
fn comes_back(gateway: &Gateway, wait: Duration, ask: impl Fn() -> Reply) {
    gateway.operator().step(wait.saturating_sub(Duration::from_secs(1)));
    assert_eq!(ask().status, 429, "a second before {wait:?} are over");
    gateway.operator().step(Duration::from_secs(1));
    assert_ne!(ask().status, 429, "after {wait:?}");
}

fn wrong_login(client: &Client, number: usize) -> Reply {
    let body = json!({ "email": format!("nobody{number}@example.com"), "password": WRONG });
    client.post("/auth/login").json(&body).send()
}

#[test]
fn l5_a_stranger_has_exactly_a_hundred_requests_a_minute() {
    let (origin, gateway) = stopped();
    let client = gateway.client();
    let ask = || client.get("/public/status").send();
    for left in (0..100).rev() {
        told(&ask().expect(200), 100, left);
    }
    let wait = refused(ask(), 100, "Rate limit exceeded");
    assert_eq!(origin.requests().len(), 100);
    gateway.client().get("/public/status").send().expect(200);
    comes_back(&gateway, wait, ask);
}

#[test]
fn l5_a_user_has_exactly_three_hundred_requests_a_minute_and_an_admin_three_thousand() {
    let (_origin, gateway) = projects();
    for (role, quota) in [("viewer", 300), ("admin", 3_000)] {
        let token = gateway.token(role);
        gateway.operator().stop_clock();
        let client = gateway.client();
        let ask = || client.get("/projects").bearer(&token).send();
        for left in (0..quota).rev() {
            told(&ask().expect(200), quota, left);
        }
        let wait = refused(ask(), quota, "Rate limit exceeded");
        // Wherever it calls from; and strangers at the same address have lost nothing.
        refused(gateway.client().get("/projects").bearer(&token).send(), quota, "Rate limit exceeded");
        told(&client.get("/public/status").send().expect(200), 100, 99);
        comes_back(&gateway, wait, ask);
    }
}

#[test]
fn l5_the_endpoints_that_take_addresses_and_passwords_have_exactly_twenty_a_minute_together() {
    let (_origin, gateway) = stopped();
    let client = gateway.client();
    let register = |number: usize| {
        let body = json!({ "email": format!("r{number}@example.com"), "password": PASSWORD });
        client.post("/auth/register").json(&body).send()
    };
    let forgot = |number: usize| {
        client.post("/auth/forgot-password").json(&json!({ "email": format!("f{number}@example.com") })).send()
    };
    let mut left = 20;
    let mut spent = |reply: Reply| {
        left -= 1;
        assert_ne!(reply.status, 429, "{left}: {}", reply.text());
        left
    };
    for number in 0..5 {
        spent(wrong_login(&client, number));
    }
    for number in 0..15 {
        let reply = if number % 2 == 0 { register(number) } else { forgot(number) };
        told(&reply.clone(), 20, spent(reply));
    }
    let wait = refused(register(99), 20, "Rate limit exceeded");
    assert_eq!(refused(forgot(99), 20, "Rate limit exceeded"), wait);
    // All twenty may be of one second, at the beginning of a window: of the counter one is back 3 s into the next one.
    assert!((1..=63).contains(&wait.as_secs()), "{wait:?}");
    // Where two limits refuse, the longer wait is told.
    refused(wrong_login(&client, 99), 5, LOGIN);
    // What is not shielded so goes on, and so does another address.
    told(&client.get("/public/status").send().expect(200), 100, 79);
    assert_ne!(
        gateway.client().post("/auth/forgot-password").json(&json!({ "email": "a@example.com" })).send().status,
        429
    );
    comes_back(&gateway, wait, || forgot(99));
}

#[test]
fn l5_an_address_has_exactly_five_logins_in_fifteen_minutes() {
    let (_origin, gateway) = projects();
    gateway.create_user("busy@example.com", "viewer");
    gateway.operator().stop_clock();
    let client = gateway.client();
    let right = || {
        let body = json!({ "email": "busy@example.com", "password": PASSWORD, "delivery": "body" });
        client.post("/auth/login").json(&body).send()
    };
    // Right ones and wrong ones, each a minute after the other.
    for (number, left) in (0..5).rev().enumerate() {
        let reply = if number % 2 == 0 { right().expect(200) } else { wrong_login(&client, number).expect(401) };
        told(&reply, 5, left);
        gateway.operator().step(Duration::from_secs(60));
    }
    let wait = refused(right(), 5, "Too many login attempts. Try again in 10 minutes.");
    assert_eq!(wait, Duration::from_secs(600), "the first is five minutes old");
    gateway.operator().step(Duration::from_millis(539_999));
    refused(right(), 5, "Too many login attempts. Try again in 2 minutes.");
    gateway.operator().step(Duration::from_millis(1));
    refused(right(), 5, "Too many login attempts. Try again in 1 minutes.");
    comes_back(&gateway, Duration::from_secs(60), right);
    let wait = refused(right(), 5, "Too many login attempts. Try again in 1 minutes.");
    assert_eq!(wait, Duration::from_secs(60), "each is counted for a quarter of an hour by itself");
    // At another address there are five more.
    wrong_login(&gateway.client(), 0).expect(401);
}

#[test]
fn l5_exactly_ten_wrong_links_or_passwords_an_hour_and_nothing_else_is_counted() {
    let (_origin, gateway) = stopped();
    let client = gateway.client();
    let verify = |body: &Value| client.post("/auth/verify").json(body).send();
    for _ in 0..5 {
        let malformed = verify(&json!({ "tokens": 1 }));
        assert!((400..429).contains(&malformed.status), "{}", malformed.text());
    }
    let wrong = || verify(&json!({ "token": "a".repeat(43) }));
    for left in (0..10).rev() {
        let reply = wrong();
        assert!((400..429).contains(&reply.status), "{left}: {}", reply.text());
        // Twenty a minute cover it too; what is closest to refusal is told.
        told(&reply, 10, left);
    }
    let wait = refused(wrong(), 10, "Rate limit exceeded");
    assert!((1..=3_960).contains(&wait.as_secs()), "{wait:?}");
    // A password asked for elsewhere by the same stranger is refused alike, and another stranger's is not.
    let reset = json!({ "token": "a".repeat(43), "password": PASSWORD });
    refused(client.post("/auth/reset-password").json(&reset).send(), 10, "Rate limit exceeded");
    assert_ne!(gateway.client().post("/auth/reset-password").json(&reset).send().status, 429);
    comes_back(&gateway, wait, wrong);
}

#[test]
fn l5_an_account_takes_exactly_five_wrong_passwords_in_fifteen_minutes_from_whatever_addresses() {
    let (_origin, gateway) = house();
    gateway.operator().stop_clock();
    for _ in 0..5 {
        login(&gateway, CEO, WRONG, None).refused(401, "Invalid credentials");
        gateway.operator().step(Duration::from_secs(60));
    }
    for password in [WRONG, PASSWORD] {
        let reply = login(&gateway, CEO, password, None).refused(429, &REFUSED.replace("15", "10"));
        assert_eq!(reply.header("retry-after"), Some("600"));
        assert_eq!((&reply.json()["limit"], &reply.json()["remaining"]), (&json!(5), &json!(0)));
    }
    // Another account has its own five.
    login(&gateway, "other@example.com", WRONG, None).refused(401, "Invalid credentials");
    comes_back(&gateway, Duration::from_secs(600), || login(&gateway, CEO, PASSWORD, None));
}
