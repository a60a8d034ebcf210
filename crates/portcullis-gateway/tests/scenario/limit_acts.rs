//! What an operator does to what a limit has counted against somebody (L6), and that it is taken down (W1).

use serde_json::json;

use crate::support::PROJECT_ROUTES;
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

const LIMITS: &str = "[[limit]]\nname = \"status\"\nmatch = \"GET /public/**\"\nkey = \"address\"\nquota = \"10 per hour\"\n\
                      algorithm = \"sliding-window-log\"\n\n[[limit]]\nname = \"users\"\nmatch = \"GET /projects\"\n\
                      key = \"user\"\nquota = \"10 per hour\"\nexempt = [\"admin\"]\ndanger_no_ceiling = true\n\n\
                      [[limit]]\nname = \"trial\"\nmatch = \"GET /public/**\"\nkey = \"address\"\n\
                      quota = \"1000 per hour\"\nmode = \"report\"\n\n[[limit]]\npreset = \"login\"\n\n[[limit]]\n\
                      preset = \"verify\"\n";

fn gate(origin: &Origin) -> Gateway {
    Setup::before(origin).with(PROJECT_ROUTES).with(LIMITS).start()
}

/// What `portcullis limits …` answers: its code, and what it says.
fn limits(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String) {
    let output = gateway.command(&[&["limits"], arguments].concat());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[track_caller]
fn told(gateway: &Gateway, arguments: &[&str], beginning: &str) -> String {
    let (code, text) = limits(gateway, arguments);
    assert!(code == Some(0) && text.starts_with(beginning), "{arguments:?}: {code:?} {text}");
    text
}

fn passes(client: &Client) -> usize {
    (0..12).filter(|_| client.get("/public/status").send().status == 200).count()
}

#[test]
fn l6_an_operator_takes_units_from_one_key_and_gives_some_back() {
    let origin = Origin::echo();
    let gateway = gate(&origin);
    let client = gateway.client();
    let address = client.address.to_string();
    let of = |act: &'static str, by: &'static str| {
        let address = address.clone();
        move |gateway: &Gateway| limits(gateway, &[act, "status", "--address", &address, "--by", by]).1
    };
    assert!(of("penalty", "4")(&gateway).starts_with("4 of 4 taken; status: 6 of 10 left"));
    assert!(of("penalty", "40")(&gateway).starts_with("6 of 40 taken; status: 0 of 10 left"));
    client.get("/public/status").send().refused(429, "Rate limit exceeded");
    assert!(of("penalty", "1")(&gateway).starts_with("0 of 1 taken; status: 0 of 10 left"));
    assert!(of("reward", "3")(&gateway).starts_with("status: 3 of 10 left"));
    assert_eq!(passes(&client), 3);
    assert!(of("reward", "300")(&gateway).starts_with("status: 10 of 10 left"));
    assert_eq!(passes(&client), 10);

    for (arguments, exit, told) in [
        (&["penalty", "status", "--address", "192.0.2.1", "--by", "0"][..], 2, "0 is not in 1.."),
        (&["penalty", "status", "--address", "192.0.2.1"], 2, "--by"),
        (&["reward", "nothing", "--address", "192.0.2.1", "--by", "1"], 1, "there is no limit named \"nothing\""),
        (&["reward", "status", "--by", "1"], 2, "this limit counts by address; say which"),
    ] {
        let (code, error) = limits(&gateway, arguments);
        assert!(code == Some(exit) && error.contains(told), "{arguments:?}: {code:?} {error}");
    }
}

#[test]
fn l6_an_operator_blocks_one_key_until_a_moment_and_lifts_that() {
    let origin = Origin::echo();
    let gateway = gate(&origin);
    let (client, other) = (gateway.client(), gateway.client());
    let address = client.address.to_string();
    client.get("/public/status").send().expect(200);
    let said =
        told(&gateway, &["block", "status", "--address", &address, "--for", "1h"], "status refuses them until 2");
    let shown = told(&gateway, &["show", "status", "--address", &address], "status refuses them until 2");
    assert!(shown.contains(said.trim().rsplit(' ').next().unwrap()), "{said} {shown}");
    let refused = client.get("/public/status").send().refused(429, "Rate limit exceeded");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&wait), "{wait}");
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    other.get("/public/status").send().expect(200);
    // By time alone: whoever waits as long as told is admitted.
    gateway.operator().advance("59m");
    client.get("/public/status").send().expect(429);
    gateway.operator().advance("1m");
    assert_eq!(passes(&client), 10, "it begins anew");

    told(&gateway, &["block", "status", "--address", &address, "--for", "300d"], "status refuses them until 2");
    client.get("/public/status").send().expect(429);
    told(&gateway, &["unblock", "status", "--address", &address], "status does not block them any more");
    told(&gateway, &["unblock", "status", "--address", &address], "status did not block them");
    assert_eq!(passes(&client), 10);
    told(&gateway, &["block", "status", "--address", &address, "--for", "1h"], "status refuses them until 2");
    told(&gateway, &["reset", "status", "--address", &address], "status counts anew");
    assert_eq!(passes(&client), 10);

    // A limit that only reports goes on reporting.
    told(
        &gateway,
        &["block", "trial", "--address", &other.address.to_string(), "--for", "1h"],
        "trial only reports: it would refuse them until 2",
    );
    other.get("/public/status").send().expect(200);
    let metrics = gateway.operator().metrics();
    assert!(metrics.contains("portcullis_limit_would_hits_total{limit=\"trial\"} 1\n"), "{metrics}");

    for (arguments, exit, told) in [
        (&["block", "status", "--address", "192.0.2.1", "--for", "999ms"][..], 2, "a block lasts 1s at least and 366d"),
        (&["block", "status", "--address", "192.0.2.1", "--for", "367d"], 2, "a block lasts 1s at least and 366d"),
        (&["block", "status", "--address", "192.0.2.1", "--for", "1"], 2, "has no unit"),
        (&["block", "status", "--address", "192.0.2.1"], 2, "--for"),
        (&["block", "users", "--user", "admin@example.com", "--for", "1h"], 2, "the limit does not hold for them"),
    ] {
        if arguments.contains(&"admin@example.com") {
            gateway.create_user("admin@example.com", "admin");
        }
        let (code, error) = limits(&gateway, arguments);
        assert!(code == Some(exit) && error.contains(told), "{arguments:?}: {code:?} {error}");
    }
}

#[test]
fn l6_a_block_of_an_account_holds_wherever_it_comes_from() {
    let origin = Origin::echo();
    let gateway = gate(&origin);
    gateway.create_user("ann@example.com", "viewer");
    gateway.create_user("ben@example.com", "viewer");
    let [(ann, _), (ben, _)] = ["ann@example.com", "ben@example.com"].map(|email| gateway.login(email));
    told(&gateway, &["block", "users", "--user", "ann@example.com", "--for", "10m"], "users refuses them until 2");
    for _ in 0..2 {
        gateway.client().get("/projects").bearer(&ann).send().refused(429, "Rate limit exceeded");
    }
    gateway.client().get("/projects").bearer(&ben).send().expect(200);
}

#[test]
fn w1_what_an_operator_does_to_a_limit_is_in_the_audit_trail_with_who_and_whom() {
    let origin = Origin::echo();
    let gateway = gate(&origin);
    gateway.create_user("ann@example.com", "viewer");
    let user = ["users", "--user", "ann@example.com"];
    for act in
        [&["penalty", "--by", "2"][..], &["reward", "--by", "1"], &["block", "--for", "1h"], &["unblock"], &["reset"]]
    {
        let (code, text) = limits(&gateway, &[&act[..1], &user, &act[1..]].concat());
        assert_eq!(code, Some(0), "{text}");
    }
    told(&gateway, &["block", "status", "--address", "192.0.2.7", "--for", "90s"], "status refuses them");
    // However long the rest is, how much it was is not cut off; and nothing begins a line of its own in the log.
    let long = format!("\n{}", "x".repeat(300));
    let subject = ["users", "--user", "s", "--issuer", &long];
    assert_eq!(limits(&gateway, &[&["penalty"], &subject[..], &["--by", "3"]].concat()).0, Some(0));
    // What was not done is not there.
    assert_eq!(limits(&gateway, &["block", "status", "--address", "192.0.2.8", "--for", "999d"]).0, Some(2));
    assert_eq!(limits(&gateway, &["reset", "status"]).0, Some(2));
    let rows = gateway.accounts().texts(
        "SELECT action || '|' || client || '|' || detail || '|' || coalesce((SELECT email FROM account WHERE id = account_id), '') \
         FROM audit WHERE action LIKE 'limit%' AND request_id IS NOT NULL AND at > 0 ORDER BY id",
    );
    let log = gateway.output();
    assert!(log.contains(r"by 3: users: user s, issuer \nxxx") && !log.contains("\nxxx"), "{log}");
    assert_eq!(
        rows,
        [
            "limit_penalty|operator 127.0.0.1|by 2: users: user ann@example.com|ann@example.com",
            "limit_reward|operator 127.0.0.1|by 1: users: user ann@example.com|ann@example.com",
            "limit_blocked|operator 127.0.0.1|for 1h: users: user ann@example.com|ann@example.com",
            "limit_unblocked|operator 127.0.0.1|users: user ann@example.com|ann@example.com",
            "limit_reset|operator 127.0.0.1|users: user ann@example.com|ann@example.com",
            "limit_blocked|operator 127.0.0.1|for 90s: status: address 192.0.2.7|",
            &format!("limit_penalty|operator 127.0.0.1|by 3: users: user s, issuer \\n{}|", "x".repeat(170)),
        ]
    );
}

#[test]
fn w1_without_accounts_the_log_has_what_an_operator_does_to_a_limit() {
    let origin = Origin::echo();
    let limit = "[[limit]]\nname = \"status\"\nmatch = \"GET /public/**\"\nkey = \"address\"\nquota = \"2 per hour\"\n";
    let gateway = Setup::open(&origin).with(limit).start();
    told(&gateway, &["block", "status", "--address", "192.0.2.7", "--for", "1h"], "status refuses them");
    let log = gateway.output();
    assert!(log.contains("limit_blocked") && log.contains("for 1h: status: address 192.0.2.7"), "{log}");
}

#[test]
fn l6_only_the_operator_changes_what_a_limit_holds_against_somebody() {
    let origin = Origin::echo();
    let gateway = gate(&origin);
    let stranger = Client::at(gateway.admin, std::net::Ipv4Addr::LOCALHOST);
    let whom = json!({ "address": "192.0.2.1" });
    for (act, body) in [
        ("penalty", json!({ "whom": whom, "units": 1 })),
        ("reward", json!({ "whom": whom, "units": 1 })),
        ("block", json!({ "whom": whom, "for": "1h" })),
        ("unblock", whom.clone()),
    ] {
        stranger.post(&format!("/api/limits/status/{act}")).json(&body).send().expect(401);
    }
    let token = gateway.operator().token;
    for (act, body, detail) in [
        ("penalty", json!({ "whom": whom, "units": 0 }), "at least 1 unit"),
        ("penalty", json!({ "whom": whom, "units": 1, "adress": "x" }), "unknown field"),
        ("reward", json!({ "whom": { "adress": "192.0.2.1" }, "units": 1 }), "unknown field"),
        ("block", json!({ "whom": whom }), "missing field"),
        ("block", json!({ "whom": whom, "for": "9999999d" }), "is too long"),
        ("block", json!({ "whom": whom, "for": "999d" }), "a block lasts"),
        ("block", json!({ "whom": whom, "for": "soon" }), "is not a duration"),
        ("block", json!({ "whom": { "user": "nobody" }, "for": "1h" }), "no such account"),
    ] {
        let reply = stranger.post(&format!("/api/limits/status/{act}")).bearer(&token).json(&body).send();
        assert!((400..500).contains(&reply.status), "{act} {body}: {}", reply.status);
        assert!(reply.text().contains(detail), "{act} {body}: {}", reply.text());
    }
}

#[test]
fn l11_where_nothing_is_leased_there_is_nothing_to_open_again_and_nothing_is_written_down() {
    let origin = Origin::echo();
    let gateway = gate(&origin);
    let (code, text) = limits(&gateway, &["reopen"]);
    assert!(code == Some(1) && text.contains("the limits count in this gate's own memory"), "{code:?} {text}");
    let stranger = Client::at(gateway.admin, std::net::Ipv4Addr::LOCALHOST);
    stranger.post("/api/limit-store/reopen").send().expect(401);
    let reply = stranger.post("/api/limit-store/reopen").bearer(&gateway.operator().token).send().expect(409);
    assert_eq!(reply.json()["error"], "Conflict", "{}", reply.text());
    assert!(gateway.accounts().texts("SELECT detail FROM audit WHERE action LIKE 'lease%'").is_empty());
}

#[test]
fn l6_an_operator_shows_resets_and_blocks_what_is_counted_by_claims() {
    let origin = Origin::echo();
    let limit = "[tokens]\nclaims = [\"email\", \"tier\"]\n\n[[limit]]\nname = \"team\"\nmatch = \"GET /projects\"\n\
                 key = [\"claim:tier\", \"claim:email\"]\nquota = \"3 per hour\"\nalgorithm = \"sliding-window-log\"\n";
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(limit).start();
    gateway.create_user("ann@example.com", "viewer");
    gateway.create_user("ben@example.com", "viewer");
    let [(ann, _), (ben, _)] = ["ann@example.com", "ben@example.com"].map(|email| gateway.login(email));
    let client = gateway.client();
    let ask = |token: &str| client.get("/projects").bearer(token).send();
    for _ in 0..3 {
        ask(&ann).expect(200);
    }
    ask(&ann).refused(429, "Rate limit exceeded");
    ask(&ben).expect(200);

    let about_ann = ["--claim", "email=ann@example.com", "--claim", "tier=free"];
    let of = |act: &[&str], whom: &[&str], beginning: &str| {
        told(&gateway, &[&act[..1], &["team"], whom, &act[1..]].concat(), beginning)
    };
    of(&["show"], &about_ann, "team: 0 of 3 left");
    of(&["show"], &["--claim", "tier=free", "--claim", "email=ben@example.com"], "team: 2 of 3 left");
    of(&["show"], &["--claim", "tier=paid", "--claim", "email=ann@example.com"], "team: 3 of 3 left");
    of(&["reset"], &about_ann, "team counts anew for them");
    of(&["penalty", "--by", "1"], &about_ann, "1 of 1 taken; team: 2 of 3 left");
    of(&["reward", "--by", "1"], &about_ann, "team: 3 of 3 left");
    ask(&ann).expect(200);
    of(&["block", "--for", "1h"], &about_ann, "team refuses them until 2");
    ask(&ann).refused(429, "Rate limit exceeded");
    ask(&ben).expect(200);
    of(&["unblock"], &about_ann, "team does not block them any more");
    ask(&ann).expect(200);

    // The address stands in for a claim that is left out, as it does for a token without it: another count.
    let address = client.address.to_string();
    of(&["show"], &["--claim", "tier=free", "--address", &address], "team: 3 of 3 left");
    for (whom, refusal) in [
        (&["--claim", "tier=free"][..], "this limit counts by claim:email; say which"),
        (&["--claim", "tier"], "`claim` is written NAME=VALUE"),
        (&["--claim", "=free"], "`claim` is written NAME=VALUE"),
        (&["--claim", "tier=free", "--claim", "tier=paid"], "the claim \"tier\" is written twice"),
    ] {
        for act in [&["show"][..], &["reset"], &["block", "--for", "1h"]] {
            let (code, error) = limits(&gateway, &[&act[..1], &["team"], whom, &act[1..]].concat());
            assert!(code == Some(2) && error.contains(refusal), "{act:?} {whom:?}: {code:?} {error}");
        }
    }

    // The trail has the claims, as it has whom else an act was about.
    let rows = gateway.accounts().texts("SELECT detail FROM audit WHERE action = 'limit_blocked'");
    assert_eq!(rows, ["for 1h: team: claim email=ann@example.com, claim tier=free"]);
}

#[test]
fn l6_whom_an_operator_does_not_name_is_nobody_and_never_guessed() {
    let origin = Origin::echo();
    let routes = "\n[[limit]]\nname = \"routes\"\nmatch = \"GET /public/**\"\nkey = [\"address\", \"route\"]\nquota = \"9 per hour\"\n";
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(LIMITS).with(routes).start();
    gateway.create_user("ann@example.com", "viewer");
    let (ann, _) = gateway.login("ann@example.com");
    let client = gateway.client();
    let address = client.address.to_string();
    client.get("/projects").bearer(&ann).send().expect(200);
    // With the user, the address is not looked at; alone it is that of whoever proves no user.
    told(&gateway, &["show", "users", "--user", "ann@example.com"], "users: 9 of 10 left");
    told(&gateway, &["show", "users", "--user", "ann@example.com", "--address", &address], "users: 9 of 10 left");
    told(&gateway, &["show", "users", "--address", &address], "users: 10 of 10 left");
    for (limit, whom, needed) in [
        ("users", &[][..], "user"),
        ("status", &[], "address"),
        ("status", &["--user", "ann@example.com"], "address"),
        ("routes", &["--route", "GET /public/**"], "address"),
        ("routes", &["--address", &address], "route"),
    ] {
        for act in [&["show"][..], &["reset"], &["unblock"], &["penalty", "--by", "1"], &["block", "--for", "1h"]] {
            let (code, text) = limits(&gateway, &[&act[..1], &[limit], whom, &act[1..]].concat());
            let refusal = format!("this limit counts by {needed}; say which");
            assert!(code == Some(2) && text.contains(&refusal), "{act:?} {limit} {whom:?}: {code:?} {text}");
        }
    }
    assert!(gateway.accounts().texts("SELECT detail FROM audit WHERE action LIKE 'limit%'").is_empty());
}
