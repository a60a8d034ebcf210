//! Limits by what is thought of an address, through the real binary (L12).

use std::process::Output;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES, eventually};

/// A log, so that a count of what passed is exact however long the test takes.
const CALM: &str = r#"
[[limit]]
name      = "calm"
algorithm = "sliding-window-log"
quota     = { by = "reputation", good = "40 per hour", suspect = "20 per hour", bad = "5 per hour", challenged = "10 per hour" }

[[limit]]
preset = "verify"
"#;

/// An API that has its public pages and nothing else.
fn origin() -> Origin {
    Origin::start(|exchange| {
        exchange.read_body()?;
        let found = !exchange.seen.target.contains("missing");
        exchange.answer(if found { "200 OK" } else { "404 Not Found" }, &json!({}))
    })
}

fn start() -> (Origin, Gateway) {
    let origin = origin();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(CALM).start();
    (origin, gateway)
}

/// How many requests without a credential pass before one is refused, and the limit that it is told.
fn passes(client: &Client) -> (usize, u64) {
    for passed in 0..100 {
        let reply = client.get("/public/status").send();
        if reply.status == 429 {
            return (passed, reply.json()["limit"].as_u64().unwrap());
        }
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    panic!("nothing was refused");
}

/// Asks for what other people's mistakes leave behind: 350 points.
fn scan(client: &Client) {
    for number in 0..70 {
        client.get(&format!("/backup-{number}.zip")).send().expect(404);
    }
}

fn class(gateway: &Gateway, address: &str) -> String {
    let reply = gateway.operator().get(&format!("/api/reputation/{address}")).expect(200);
    reply.json()["class"].as_str().unwrap().to_owned()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn l12_a_scanner_falls_to_the_lower_limit_and_comes_back_after_its_half_lives() {
    let (_origin, gateway) = start();
    let (scanner, other) = (gateway.client(), gateway.client());
    scan(&scanner);
    assert_eq!(class(&gateway, &scanner.address.to_string()), "bad");
    assert_eq!(passes(&scanner), (5, 5));
    assert_eq!(passes(&other), (40, 40), "nobody else is held to less");
    gateway.operator().advance("10m");
    assert_eq!(class(&gateway, &scanner.address.to_string()), "suspect");
    assert_eq!(passes(&scanner), (15, 20), "what passed before counts");
    gateway.operator().advance("10m");
    assert_eq!(class(&gateway, &scanner.address.to_string()), "good");
    assert_eq!(passes(&scanner), (20, 40));
}

#[test]
fn l12_what_the_api_does_not_have_and_ambiguous_paths_count_too() {
    let (origin, gateway) = start();
    let client = gateway.client();
    for _ in 0..19 {
        client.get("/public/missing").send().expect(404);
    }
    assert_eq!(origin.requests().len(), 19);
    // 95, less what time has taken.
    let shown = gateway.operator().get(&format!("/api/reputation/{}", client.address)).expect(200).json();
    assert!((90.0..=95.0).contains(&shown["score"].as_f64().unwrap()), "{shown}");
    for _ in 0..3 {
        client.get("/nowhere").send().expect(404);
    }
    assert_eq!(class(&gateway, &client.address.to_string()), "suspect");
    client.get("/public/status").send().expect(200);
    client.get("/public/status").send().expect(429);
    let hostile = gateway.client();
    for _ in 0..7 {
        hostile.get("/public/%2e%2e%2fadmin").send().expect(400);
    }
    assert_eq!(class(&gateway, &hostile.address.to_string()), "bad");
    // A head that two programs read differently is refused before the gate is asked, and counts as well.
    let smuggler = gateway.client();
    for _ in 0..7 {
        let request = smuggler.post("/public/status").header("Content-Length", "4").header("Content-Length", "5");
        assert!(request.send().status >= 400);
    }
    assert_eq!(class(&gateway, &smuggler.address.to_string()), "bad");
}

#[test]
fn l12_whoever_proves_an_identity_behind_a_bad_address_goes_on() {
    let (_origin, gateway) = start();
    gateway.create_user("ann@example.com", "viewer");
    let (token, refresh) = gateway.login("ann@example.com");
    let attacker = gateway.client();
    let colleague = Client::at(gateway.listen, attacker.address);
    scan(&attacker);
    assert_eq!(passes(&attacker), (5, 5));
    for number in 0..20 {
        let reply = colleague.get("/projects").bearer(&token).send();
        assert_eq!(reply.status, 200, "{number}: {}", reply.text());
        attacker.get("/public/status").send().expect(429);
    }
    // Her token ends, and she goes on with the next.
    gateway.operator().advance("1m");
    let body = json!({ "refreshToken": refresh });
    let pair = colleague.post("/auth/refresh").json(&body).send().expect(200).json();
    let token = pair["accessToken"].as_str().unwrap();
    colleague.get("/projects").bearer(token).send().expect(200);
    attacker.get("/public/status").send().expect(429);
    // Old sessions that come back make no bad name.
    let fresh = gateway.client();
    for _ in 0..10 {
        fresh.post("/auth/refresh").json(&json!({ "refreshToken": "long gone" })).send().expect(401);
    }
    assert_eq!(class(&gateway, &fresh.address.to_string()), "good");
    assert_eq!(passes(&fresh).1, 40, "and no challenge");
}

#[test]
fn l12_a_client_that_has_just_been_challenged_gets_the_lower_limit() {
    let (_origin, gateway) = start();
    gateway.create_user("ann@example.com", "viewer");
    let forger = gateway.client();
    forger.get("/public/status").bearer("forged.forged.forged").send().expect(401);
    assert_eq!(passes(&forger), (9, 10), "one of ten was the forged one");
    let guesser = gateway.client();
    let body = json!({ "email": "ann@example.com", "password": "Wrong-password-1", "delivery": "body" });
    guesser.post("/auth/login").json(&body).send().expect(401);
    assert_eq!(passes(&guesser), (9, 10));
    let shown = gateway.operator().get(&format!("/api/reputation/{}", guesser.address)).expect(200).json();
    assert!(shown["challengedUntil"].as_str().is_some_and(|until| until.ends_with('Z')), "{shown}");
    gateway.operator().advance("6m");
    assert_eq!(passes(&forger), (30, 40), "all that is left of forty");
    // Whoever logs in rightly was never challenged.
    let owner = gateway.client();
    let body = json!({ "email": "ann@example.com", "password": PASSWORD, "delivery": "body" });
    owner.post("/auth/login").json(&body).send().expect(200);
    assert_eq!(passes(&owner), (39, 40));
}

#[test]
fn l12_a_network_of_ipv6_shares_one_name_and_a_trusted_one_has_none() {
    let origin = origin();
    let tables = "[client]\ntrusted_hops = [\"127.0.0.0/8\"]\n[reputation]\ntrusted = [\"192.0.2.0/24\"]\n";
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(tables).with(CALM).start();
    let hop = gateway.client();
    let status = |target: &str, from: &str| hop.get(target).header("X-Forwarded-For", from).send().status;
    for number in 0..70 {
        // Ever another address of one network, and ever another of a monitoring that is trusted.
        assert_eq!(status("/nowhere", &format!("2001:db8:7::{number:x}")), 404);
        assert_eq!(status("/nowhere", "192.0.2.9"), 404);
    }
    assert_eq!(class(&gateway, "2001:db8:7::ffff:1"), "bad");
    assert_eq!((class(&gateway, "192.0.2.9"), class(&gateway, "2001:db8:8::1")), ("good".into(), "good".into()));
    let passed = |from: &dyn Fn(usize) -> String| {
        (0..60).filter(|number| status("/public/status", &from(*number)) == 200).count()
    };
    assert_eq!(passed(&|number| format!("2001:db8:7::a:{number:x}")), 5);
    assert_eq!(passed(&|number| format!("2001:db8:8::a:{number:x}")), 40);
    assert_eq!(passed(&|_| "192.0.2.9".to_owned()), 40);
}

#[test]
fn l12_an_operator_sees_what_is_known_and_has_it_forgotten() {
    let (_origin, gateway) = start();
    let scanner = gateway.client();
    let address = scanner.address.to_string();
    let run = |arguments: &[&str]| gateway.command(arguments);
    assert!(said(&run(&["reputation", "list"])).contains("nothing is known"));
    scan(&scanner);
    let listed = said(&run(&["reputation", "list"]));
    assert!(listed.starts_with(&address) && listed.contains(" bad ") && listed.lines().count() == 1, "{listed}");
    assert!(said(&run(&["reputation", "show", "--address", &address])).contains(" bad "));
    assert!(said(&run(&["reputation", "show", "--address", "2001:db8::7"])).contains("2001:db8::/64"));
    // A limit shows what holds for the address now.
    assert!(said(&run(&["limits", "show", "calm", "--address", &address])).contains("5 of 5 left"));
    assert!(said(&run(&["limits", "list"])).contains("bad 5 per 1h"), "{}", said(&run(&["limits", "list"])));

    let metrics = gateway.operator().metrics();
    for line in [
        "portcullis_reputation_addresses 1",
        "portcullis_reputation_bad 1",
        "portcullis_reputation_suspect 0",
        "portcullis_reputation_challenged 0",
        "portcullis_reputation_unheard_total 0",
        "portcullis_events_total{kind=\"address_suspect\"} 1",
        "portcullis_events_total{kind=\"address_bad\"} 1",
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line}:\n{metrics}");
    }
    for kind in ["address_suspect", "address_bad"] {
        eventually(kind, Duration::from_secs(5), || {
            let records = gateway.records();
            records.iter().any(|line| line["kind"] == kind && line["client"] == *address).then_some(())
        });
    }

    assert!(said(&run(&["reputation", "forget", "--address", &address])).contains("any more"));
    assert!(said(&run(&["reputation", "forget", "--address", &address])).contains("nothing was known"));
    let rows = gateway
        .accounts()
        .texts("SELECT action || '|' || client || '|' || detail FROM audit WHERE action LIKE 'reputation%' AND at > 0");
    assert_eq!(rows, vec![format!("reputation_forgotten|operator 127.0.0.1|address {address}"); 2]);
    let operator = gateway.operator();
    operator.get("/api/reputation/nobody").expect(400);
    assert_eq!(operator.get("/api/reputation").expect(200).json()["addresses"], json!([]));
    assert_eq!(passes(&scanner), (40, 40));
}

#[test]
fn l12_what_is_known_outlives_a_reload_and_not_a_restart() {
    let origin = origin();
    let mut gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(CALM).start();
    let scanner = gateway.client();
    let address = scanner.address.to_string();
    scan(&scanner);
    // The same as before, but an address is bad only from 400 points on.
    gateway.write_config("[reputation]\nbad = 400\n");
    gateway.process().signal(Signal::HUP);
    eventually("the new thresholds", Duration::from_secs(5), || (class(&gateway, &address) == "suspect").then_some(()));
    assert_eq!(passes(&scanner), (20, 20));
    gateway.process().signal(Signal::TERM);
    gateway.process().ended(Duration::from_secs(20));
    gateway.launch();
    assert_eq!(class(&gateway, &address), "good");
}
