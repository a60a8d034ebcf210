//! The machine's clock is set back: nothing that had ended begins again, and nobody is kept out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::client::Reply;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES, claims, eventually};

fn start() -> (Origin, Gateway) {
    let origin = Origin::echo();
    let limit = "[[limit]]\nname = \"slow\"\nmatch = \"/public/**\"\nkey = \"address\"\nquota = \"1 per 2s\"\n";
    let tables = format!("{PROJECT_ROUTES}\n{limit}\n[tokens]\nrefresh = \"50m\"\n");
    let gateway = Setup::before(&origin).with(&tables).start();
    (origin, gateway)
}

fn refresh(gateway: &Gateway, token: &str) -> Reply {
    gateway.client().post("/auth/refresh").json(&json!({ "refreshToken": token })).send()
}

fn read(gateway: &Gateway, access: &str) -> Reply {
    gateway.client().get("/projects").bearer(access).send()
}

fn metric(gateway: &Gateway, name: &str) -> u64 {
    let text = gateway.operator().metrics();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.trim().parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that the gateway is said to disagree with")]
fn real_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A user with a session that has lived through an hour: what is over, and what is not.
struct Past {
    expired_access: String,
    spent: String,
    expired: String,
    ended: String,
    ended_access: String,
}

impl Past {
    /// Lets an hour pass, in which everything ends.
    fn live(gateway: &Gateway) -> Self {
        gateway.create_user("ann@example.com", "editor");
        let (expired_access, expired) = gateway.login("ann@example.com");
        gateway.operator().advance("1h");
        let (_, spent) = gateway.login("ann@example.com");
        let next = refresh(gateway, &spent).expect(200).json()["refreshToken"].as_str().unwrap().to_owned();
        refresh(gateway, &next).expect(200);
        let (ended_access, ended) = gateway.login("ann@example.com");
        let reply = gateway.client().post("/auth/logout").json(&json!({ "refreshToken": ended })).send();
        assert!((200..300).contains(&reply.status));
        let past = Self { expired_access, spent, expired, ended, ended_access };
        past.is_over(gateway);
        past
    }

    fn is_over(&self, gateway: &Gateway) {
        read(gateway, &self.expired_access).refused(401, "Token expired");
        for token in [&self.spent, &self.expired, &self.ended] {
            refresh(gateway, token).refused(401, "Invalid refresh token");
        }
        assert_eq!(read(gateway, &self.ended_access).status, 401);
    }
}

/// Everybody may enter as before, and is counted as before.
fn nobody_is_kept_out(gateway: &Gateway) {
    let (access, token) = gateway.login("ann@example.com");
    read(gateway, &access).expect(200);
    let pair = refresh(gateway, &token).expect(200).json();
    let access = pair["accessToken"].as_str().unwrap();
    read(gateway, access).expect(200);
    let issued = claims(access)["iat"].as_u64().unwrap();
    assert!(issued <= real_seconds() + 1, "issued in the future of whoever's clock is right");

    let client = gateway.client();
    client.get("/public/status").send().expect(200);
    let refused = client.get("/public/status").send();
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(wait <= 4, "two windows at most, not {wait} s");
    eventually("a limit goes on", Duration::from_secs(8), || {
        (client.get("/public/status").send().status == 200).then_some(())
    });
}

#[test]
fn t2_t4_a_clock_set_back_an_hour_revives_no_token_and_keeps_nobody_out() {
    let (_origin, gateway) = start();
    let past = Past::live(&gateway);
    assert_eq!(metric(&gateway, "portcullis_clock_lead_seconds"), 0);
    let (access, token) = gateway.login("ann@example.com");
    gateway.operator().set_back("1h");

    past.is_over(&gateway);
    assert!((3590..=3600).contains(&metric(&gateway, "portcullis_clock_lead_seconds")));
    assert!(
        gateway.output().contains("the machine's clock is 3599 s behind") || gateway.output().contains("3600 s behind")
    );
    read(&gateway, &access).expect(200);
    refresh(&gateway, &token).expect(200);
    nobody_is_kept_out(&gateway);
    // Time goes on from where it was: what was issued before ends when it should.
    gateway.operator().advance("1h");
    gateway.operator().advance("17m");
    read(&gateway, &access).refused(401, "Token expired");
}

#[test]
fn t2_t4_a_restart_after_the_clock_was_set_back_an_hour_revives_no_token_and_keeps_nobody_out() {
    let (_origin, mut gateway) = start();
    let past = Past::live(&gateway);
    let (access, token) = gateway.login("ann@example.com");
    // The mark is kept once a second; a new process sees the machine's own clock, which knows nothing of that hour.
    std::thread::sleep(Duration::from_millis(1_500));
    gateway.kill();
    gateway.launch();

    past.is_over(&gateway);
    assert!(metric(&gateway, "portcullis_clock_lead_seconds") >= 3500);
    read(&gateway, &access).expect(200);
    refresh(&gateway, &token).expect(200);
    nobody_is_kept_out(&gateway);
    let output = gateway.command(&["users", "create", "--email", "bob@example.com", "--role", "viewer"]);
    assert!(output.status.success(), "commands go by the same time: {output:?}");
}

#[test]
fn a_clock_that_was_days_ahead_for_a_moment_locks_nobody_out_once_it_is_right() {
    let (_origin, mut gateway) = start();
    gateway.create_user("ann@example.com", "editor");
    let body = json!({ "email": "ann@example.com", "password": PASSWORD, "delivery": "body" });
    gateway.client().post("/auth/login").json(&body).send().expect(200);
    gateway.operator().advance("720h");
    let (future, _) = gateway.login("ann@example.com");
    read(&gateway, &future).expect(200);
    gateway.operator().set_back("720h");
    eventually("time starts again", Duration::from_secs(2), || {
        (metric(&gateway, "portcullis_clock_lead_seconds") == 0).then_some(())
    });
    assert_eq!(read(&gateway, &future).status, 401, "nor does a token from then live until then");
    nobody_is_kept_out(&gateway);

    gateway.operator().advance("720h");
    std::thread::sleep(Duration::from_millis(1_500));
    gateway.kill();
    gateway.launch();
    assert_eq!(metric(&gateway, "portcullis_clock_lead_seconds"), 0);
    assert_eq!(read(&gateway, &future).status, 401);
    nobody_is_kept_out(&gateway);
    assert!(gateway.output().contains("The mark is passed over"), "{}", gateway.output());
}
