//! Limits, as they apply when a file names none (L4–L8).

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::projects;
use crate::support::client::{Client, Reply};
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES};

/// A counter of two windows forgets a little while the test runs: 100 a minute are not quite two a second.
const SLACK: usize = 4;

/// How many requests pass before the first refusal, and that refusal.
fn until_refused(most: usize, mut send: impl FnMut() -> Reply) -> (usize, Reply) {
    for passed in 0..=most {
        let reply = send();
        limited_headers(&reply);
        if reply.status == 429 {
            return (passed, reply);
        }
        assert!(reply.status < 429, "{}: {}", reply.status, reply.text());
    }
    panic!("{most} requests passed and none was refused");
}

/// Fails unless the answer tells its limit (L7), in the older headers or the newer ones.
#[track_caller]
fn limited_headers(reply: &Reply) {
    let number = |name: &str| reply.header(name).map(|value| value.parse::<u64>().expect("a number"));
    if let Some(limit) = number("x-ratelimit-limit") {
        let remaining = number("x-ratelimit-remaining").expect("Remaining goes with Limit");
        let reset = number("x-ratelimit-reset").expect("Reset goes with Limit");
        assert!(remaining <= limit && reset > 1_700_000_000, "epoch seconds: {:?}", reply.headers);
    } else {
        assert!(reply.header("ratelimit").is_some(), "{}: {:?}", reply.status, reply.headers);
        assert!(reply.header("ratelimit-policy").is_some(), "{:?}", reply.headers);
    }
}

fn retry_after(reply: &Reply) -> u64 {
    reply.header("retry-after").expect("429 carries Retry-After").parse().expect("whole seconds")
}

fn wrong_login(client: &Client, number: usize) -> Reply {
    let body = json!({ "email": format!("nobody{number}@example.com"), "password": "Wrong-password-1" });
    client.post("/auth/login").json(&body).send()
}

/// Leaves no bucket boundary of a minute inside what follows.
fn calm(gateway: &Gateway) {
    gateway.operator().advance("2m");
}

#[test]
fn l5_a_stranger_is_limited_after_a_hundred_requests_a_minute() {
    let (origin, gateway) = projects();
    let client = gateway.client();
    let (passed, refused) = until_refused(100 + SLACK, || client.get("/public/status").send());
    assert!((100..=100 + SLACK).contains(&passed), "{passed}");
    assert_eq!(origin.requests().len(), passed, "what is refused reaches nobody");

    let refused = refused.refused(429, "Rate limit exceeded");
    let body = refused.json();
    assert_eq!((&body["limit"], &body["remaining"], &body["status"]), (&json!(100), &json!(0), &json!(429)), "{body}");
    let reset = body["resetAt"].as_str().unwrap();
    assert!(reset.len() >= 20 && reset.ends_with('Z') && reset.as_bytes()[10] == b'T', "ISO 8601: {reset}");
    let wait = retry_after(&refused);
    // The counter weighs the window before: a burst at the very start of one waits for its end and a little longer.
    assert!((1..=61).contains(&wait), "{wait}");

    // Another client is not touched.
    gateway.client().get("/public/status").send().expect(200);
    // A refused request is not charged, and Retry-After is never too early.
    for _ in 0..20 {
        client.get("/public/status").send();
    }
    let wait = retry_after(&client.get("/public/status").send().expect(429));
    gateway.operator().advance(&format!("{wait}s"));
    client.get("/public/status").send().expect(200);
}

#[test]
fn l5_a_sixth_login_within_fifteen_minutes_is_refused() {
    let (_origin, gateway) = projects();
    gateway.create_user("busy@example.com", "viewer");
    let client = gateway.client();
    let login = || {
        let body = json!({ "email": "busy@example.com", "password": PASSWORD, "delivery": "body" });
        client.post("/auth/login").json(&body).send()
    };
    for number in 0..5 {
        let reply = if number % 2 == 0 { login().expect(200) } else { wrong_login(&client, number).expect(401) };
        limited_headers(&reply);
    }
    let refused = login();
    limited_headers(&refused);
    let refused = refused.refused(429, "Too many login attempts. Try again in 15 minutes.");
    let wait = retry_after(&refused);
    assert!((840..=900).contains(&wait), "{wait}");

    // Five minutes later the message counts down, and another address is free.
    gateway.operator().advance("5m");
    let error = login().expect(429).error();
    assert_eq!(error, "Too many login attempts. Try again in 10 minutes.");
    let other = gateway.client();
    let body = json!({ "email": "busy@example.com", "password": PASSWORD, "delivery": "body" });
    other.post("/auth/login").json(&body).send().expect(200);
    // No other spelling of the address of the endpoint is a way around.
    assert_ne!(client.post("/auth/login?x=1").json(&body).send().status, 200);

    gateway.operator().advance("10m");
    login().expect(200);
}

#[test]
fn l5_a_user_has_three_hundred_a_minute_whatever_strangers_spent_at_its_address() {
    let (_origin, gateway) = projects();
    gateway.create_user("user@example.com", "viewer");
    let (token, _) = gateway.login("user@example.com");
    calm(&gateway);
    let client = gateway.client();
    until_refused(100 + SLACK, || client.get("/public/status").send());

    let (passed, refused) = until_refused(300 + 3 * SLACK, || client.get("/projects").bearer(&token).send());
    assert!((300..=300 + 3 * SLACK).contains(&passed), "{passed}");
    let refused = refused.refused(429, "Rate limit exceeded");
    assert_eq!(refused.json()["limit"], 300, "{}", refused.text());
    assert!((1..=61).contains(&retry_after(&refused)));

    // The quota is the user's wherever it calls from; another user at the same address has its own.
    gateway.client().get("/projects").bearer(&token).send().expect(429);
    let other = gateway.token("editor");
    client.get("/projects").bearer(&other).send().expect(200);
}

#[test]
fn l4_a_users_own_requests_leave_the_strangers_quota_alone() {
    let (_origin, gateway) = projects();
    let token = gateway.token("viewer");
    let client = gateway.client();
    for _ in 0..150 {
        client.get("/public/status").bearer(&token).send().expect(200);
    }
    let (passed, _) = until_refused(100 + SLACK, || client.get("/public/status").send());
    assert!(passed >= 100, "{passed}");
}

#[test]
fn l7_every_answer_of_a_limited_route_tells_its_limit() {
    let (_origin, gateway) = projects();
    let viewer = gateway.token("viewer");
    let client = gateway.client();
    let replies = [
        client.get("/public/status").send().expect(200),
        client.get("/projects").send().expect(401),
        client.get("/projects").bearer(&viewer).send().expect(200),
        client.post("/projects").bearer(&viewer).send().expect(403),
        client.request("HEAD", "/projects").bearer(&viewer).send().expect(200),
        client.post("/auth/refresh").json(&json!({ "refreshToken": "x" })).send().expect(401),
        wrong_login(&client, 0).expect(401),
    ];
    for reply in &replies {
        limited_headers(reply);
    }
    // The numbers count down.
    let remaining = |reply: Reply| {
        let older = reply.header("x-ratelimit-remaining").map(str::to_owned);
        older.expect("the older headers are on by default").parse::<u64>().unwrap()
    };
    let first = remaining(client.get("/projects").bearer(&viewer).send());
    let second = remaining(client.get("/projects").bearer(&viewer).send());
    assert_eq!(first, second + 1);
    assert!(first < 300);
}

#[test]
fn l9_a_limit_in_report_mode_counts_and_lets_through() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin)
        .with(PROJECT_ROUTES)
        .with(
            "[[limit]]\nname = \"watched\"\nmatch = \"/public/**\"\nkey = \"address\"\nquota = \"3 per minute\"\n\
             mode = \"report\"\n",
        )
        .start();
    let client = gateway.client();
    for _ in 0..10 {
        client.get("/public/status").send().expect(200);
    }
    let metrics = gateway.operator().metrics();
    let counted =
        metrics.lines().any(|line| line.contains("watched") && !line.starts_with('#') && !line.ends_with(" 0"));
    assert!(counted, "the hits are counted:\n{metrics}");
}

#[test]
fn l4_limits_of_a_request_are_charged_together_or_not_at_all() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin)
        .with(PROJECT_ROUTES)
        .with(
            "[[limit]]\nname = \"wide\"\nmatch = \"/public/**\"\nkey = \"address\"\nquota = \"6 per hour\"\n\
             algorithm = \"sliding-window-log\"\n\n\
             [[limit]]\nname = \"narrow\"\nmatch = \"GET /public/a\"\nkey = \"address\"\nquota = \"2 per hour\"\n\
             algorithm = \"sliding-window-log\"\n",
        )
        .start();
    let client = gateway.client();
    let ask = |path: &str| client.get(path).send().status;
    assert_eq!([ask("/public/a"), ask("/public/a"), ask("/public/a"), ask("/public/a")], [200, 200, 429, 429]);
    // The two refusals spent nothing of the wide limit: four of its six are left.
    assert_eq!([0; 5].map(|_| ask("/public/b")), [200, 200, 200, 200, 429]);
    assert_eq!(origin.requests().len(), 6);
}

#[test]
fn l1_each_algorithm_admits_its_quota_and_no_more() {
    let (hour, month) = ("quota = \"5 per hour\"", "quota = \"5 per month\"\ntime_zone = \"America/St_Johns\"");
    let bursting = format!("{hour}\nburst = 5");
    for (algorithm, quota, longest) in [
        ("token-bucket", hour, 7_200),
        ("leaky-bucket", &bursting, 7_200),
        ("fixed-window", hour, 7_200),
        ("sliding-window-counter", hour, 7_200),
        ("sliding-window-log", hour, 7_200),
        ("calendar", month, 31 * 86_400 + 3_600),
    ] {
        let origin = Origin::echo();
        let table = format!(
            "[[limit]]\nname = \"x\"\nmatch = \"/public/**\"\nkey = \"address\"\nalgorithm = \"{algorithm}\"\n{quota}\n"
        );
        let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(&table).start();
        let client = gateway.client();
        let statuses: Vec<u16> = (0..8).map(|_| client.get("/public/status").send().status).collect();
        assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429], "{algorithm}");
        let wait = retry_after(&client.get("/public/status").send());
        assert!((1..=longest).contains(&wait), "{algorithm}: {wait}");
        gateway.operator().advance(&format!("{wait}s"));
        client.get("/public/status").send().expect(200);
    }
}

#[test]
fn l5_a_flood_in_parallel_is_held_to_the_quota() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin)
        .with(PROJECT_ROUTES)
        .with(
            "[[limit]]\nname = \"x\"\nmatch = \"/public/**\"\nkey = \"address\"\nquota = \"50 per hour\"\n\
               algorithm = \"sliding-window-log\"\n",
        )
        .start();
    let address = gateway.client().address;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let client = Client::at(gateway.listen, address);
                for _ in 0..20 {
                    client.get("/public/status").send();
                }
            });
        }
    });
    sleep(Duration::from_millis(50));
    assert_eq!(origin.requests().len(), 50);
}

#[test]
fn l12_what_is_over_the_quota_is_answered_later_and_others_are_not() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin)
        .with(PROJECT_ROUTES)
        .with(
            "[limits]\nheaders = \"both\"\n\n[[limit]]\nname = \"slow\"\nmatch = \"/public/**\"\nkey = \"address\"\n\
             quota = \"2 per hour\"\nmode = \"delay\"\ndelay = \"700ms\"\n\n[[limit]]\nname = \"hard\"\n\
             match = \"/public/**\"\nkey = \"address\"\nquota = \"4 per hour\"\n",
        )
        .start();
    let client = gateway.client();
    let timed = |client: &Client| {
        let begun = Instant::now();
        let reply = client.get("/public/status").send();
        (reply, begun.elapsed())
    };
    for _ in 0..2 {
        timed(&client).0.expect(200);
    }
    let slowed = Duration::from_millis(700);
    for _ in 0..2 {
        let (reply, took) = timed(&client);
        assert!(reply.status == 200 && took >= slowed, "{} after {took:?}", reply.status);
    }
    let (reply, _) = timed(&client);
    let refused = reply.refused(429, "Rate limit exceeded");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"hard\";q=4;w=3600"), "the limit that slows is not told");
    assert!(refused.header("ratelimit").is_some_and(|value| value.starts_with("\"hard\";r=0;t=")), "{refused:?}");
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    // Another client's request passes while one is held back.
    std::thread::scope(|scope| {
        let slow = gateway.client();
        for _ in 0..2 {
            slow.get("/public/status").send().expect(200);
        }
        let held = scope.spawn(move || timed(&slow));
        sleep(Duration::from_millis(100));
        let other = gateway.client();
        timed(&other).0.expect(200);
        assert!(!held.is_finished(), "nobody waits for who is held back");
        assert!(held.join().unwrap().1 >= slowed);
    });
    let metrics = gateway.operator().metrics();
    assert!(metrics.contains("portcullis_limit_slowed_total{limit=\"slow\"} 3\n"), "{metrics}");
    assert!(metrics.contains("portcullis_requests_waiting 0\n"), "{metrics}");
}

#[test]
fn l6_an_operator_lists_shows_and_resets_limits_of_the_running_gate() {
    let (_origin, gateway) = projects();
    gateway.create_user("locked@example.com", "viewer");
    let client = gateway.client();
    for number in 0..5 {
        wrong_login(&client, number).expect(401);
    }
    wrong_login(&client, 5).expect(429);
    let limits = |arguments: &[&str]| {
        let output = gateway.command(&[&["limits"], arguments].concat());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let address = client.address.to_string();
    let (code, listed, _) = limits(&["list"]);
    assert_eq!(code, Some(0), "{listed}");
    for name in ["anonymous", "auth", "auth-endpoints", "login", "user", "verify"] {
        assert!(listed.lines().any(|line| line.starts_with(name)), "{listed}");
    }
    assert!(listed.contains("5 per 15m on POST /auth/login"), "{listed}");
    let said_of = |name: &str| listed.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default();
    assert!(said_of("anonymous").ends_with("(scope anonymous)"), "{listed}");
    assert!(said_of("auth").ends_with("(count denials)"), "{listed}");

    let (code, shown, _) = limits(&["show", "login", "--address", &address]);
    assert!(code == Some(0) && shown.starts_with("login: 0 of 5 left, all of it at 2"), "{shown}");
    let (_, other, _) = limits(&["show", "login", "--address", "192.0.2.77"]);
    assert!(other.starts_with("login: 5 of 5 left"), "{other}");
    assert!(limits(&["reset", "login", "--address", &address]).1.contains("counts anew"));
    assert!(limits(&["reset", "login", "--address", &address]).1.contains("had counted nothing"));
    wrong_login(&client, 6).expect(401);

    // By an account's address, though the limit counts by its id.
    let (token, _) = gateway.login("locked@example.com");
    client.get("/projects").bearer(&token).send().expect(200);
    let (_, shown, _) = limits(&["show", "user", "--user", "locked@example.com"]);
    assert!(shown.starts_with("user: 299 of 300 left"), "{shown}");
    let (_, shown, _) = limits(&["show", "user", "--user", "locked@example.com", "--role", "admin"]);
    assert!(shown.starts_with("user: 2999 of 3000 left"), "an admin has the ceiling: {shown}");

    for (arguments, exit, told) in [
        (&["show", "nothing", "--address", "192.0.2.1"][..], 1, "there is no limit named \"nothing\""),
        (&["show", "login"], 2, "this limit counts by address; say which"),
        (&["show", "user", "--user", "nobody@example.com"], 1, "no such account"),
        (&["show", "login", "--address", "home"], 2, "invalid"),
    ] {
        let (code, _, error) = limits(arguments);
        assert!(code == Some(exit) && error.contains(told), "{arguments:?}: {code:?} {error}");
    }
    // Only the operator may.
    let strangers = Client::at(gateway.admin, std::net::Ipv4Addr::LOCALHOST);
    strangers.get("/api/limits").send().expect(401);
    strangers.post("/api/limits/login/reset").json(&json!({ "address": address })).send().expect(401);
}

#[test]
fn l3_a_header_that_is_no_visible_ascii_counts_as_missing_and_the_address_stands_in() {
    let origin = Origin::echo();
    let limit = "[[limit]]\nname = \"tenant\"\nmatch = \"GET /public/**\"\nkey = \"header:X-Tenant\"\n\
                 quota = \"3 per hour\"\nalgorithm = \"sliding-window-log\"\n";
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(limit).start();
    let client = gateway.client();
    let of = |tenant: &str| client.get("/public/status").header("X-Tenant", tenant).send().status;
    // Three in all, however they are spelled: no name beyond visible ASCII has a count of its own.
    assert_eq!([of("caf\u{e9}"), of("\u{df}"), client.get("/public/status").send().status], [200; 3]);
    assert_eq!([of("caf\u{e9}"), of("\u{1f600}"), of("")], [429; 3]);
    assert_eq!([of("acme"), of("a c m e")], [200; 2], "these have");
    let elsewhere = gateway.client();
    elsewhere.get("/public/status").header("X-Tenant", "caf\u{e9}").send().expect(200);
}
