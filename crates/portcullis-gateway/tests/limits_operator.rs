//! What an operator does to limits that several gates share in a real Redis, and candidates beside live ones (L6, L9).

#[path = "../../portcullis-limit/tests/redis/servers.rs"]
#[expect(dead_code, reason = "one harness for the tests of the store and for these")]
mod servers;
#[path = "support/mod.rs"]
#[expect(dead_code, reason = "one harness for all tests of the binary")]
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use servers::Server;
use support::PROJECT_ROUTES;
use support::client::Client;
use support::origin::Origin;
use support::process::{Gateway, Setup};

/// A gate whose limits are in this Redis, or in memory.
fn gate(origin: &Origin, redis: Option<&Server>, limits: &str) -> Gateway {
    let store =
        redis.map_or_else(String::new, |redis| format!("[limits]\nstore = \"{}\"\npatience = \"1s\"\n\n", redis.url()));
    let gateway = Setup::before(origin).with(PROJECT_ROUTES).with(&(store + limits)).start();
    if redis.is_some() {
        within("the store is asked", Duration::from_secs(5), || {
            gateway.operator().metrics().contains("portcullis_limit_store_up 1\n")
        });
    }
    gateway
}

fn limit(name: &str, rest: &str) -> String {
    format!("[[limit]]\nname = \"{name}\"\nmatch = \"GET /public/**\"\nkey = \"address\"\n{rest}\n\n")
}

#[track_caller]
fn within(what: &str, time: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + time;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What `portcullis limits …` says where it succeeds.
#[track_caller]
fn limits(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.command(&[&["limits"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("it is text")
}

fn status(gateway: &Gateway, client: &Client) -> u16 {
    Client::at(gateway.listen, client.address).get("/public/status").send().status
}

/// The numbers in the line of a pair: requests, both admit, both refuse, only the limit, only the candidate.
fn compared(gateway: &Gateway) -> Vec<u64> {
    let told = limits(gateway, &["compare"]);
    let line = told.lines().find(|line| line.starts_with("live ")).unwrap_or_else(|| panic!("{told}"));
    line.split_whitespace().skip(2).take(5).map(|number| number.parse().expect("a number")).collect()
}

#[test]
fn l9_a_candidate_beside_a_live_limit_is_judged_in_its_place_in_memory_and_in_redis() {
    let (origin, redis) = (Origin::echo(), Server::start(&[]));
    let file = limit("live", "quota = \"3 per day\"\nalgorithm = \"sliding-window-log\"")
        + &limit("next", "quota = \"5 per day\"\nalgorithm = \"token-bucket\"\nmode = \"report\"\nreplaces = \"live\"");
    for store in [None, Some(&redis)] {
        let gates: Vec<Gateway> =
            (0..if store.is_some() { 2 } else { 1 }).map(|_| gate(&origin, store, &file)).collect();
        let client = gates[0].client();
        assert!(limits(&gates[0], &["compare"]).contains("no request yet"));
        let statuses: Vec<u16> = (0..9).map(|number| status(&gates[number % gates.len()], &client)).collect();
        assert_eq!(statuses, [200, 200, 200, 429, 429, 429, 429, 429, 429]);
        let mut sum = [0; 5];
        for gateway in &gates {
            compared(gateway).into_iter().zip(&mut sum).for_each(|(number, sum)| *sum += number);
        }
        assert_eq!(sum, [9, 3, 4, 2, 0], "three pass both, two only the candidate, four neither");
        let address = client.address.to_string();
        let shown = limits(&gates[0], &["show", "next", "--address", &address]);
        assert!(shown.starts_with("next: 0 of 5 left"), "its count is that of the same limit alone: {shown}");
        let metrics = gates[0].operator().metrics();
        let series = "portcullis_limit_compared_total{limit=\"live\",candidate=\"next\",live=";
        assert_eq!(metrics.lines().filter(|line| line.starts_with(series)).count(), 4, "{metrics}");
        if store.is_none() {
            for (live, candidate, value) in
                [("admitted", "admitted", 3), ("refused", "refused", 4), ("refused", "admitted", 2)]
            {
                let line = format!("{series}\"{live}\",candidate_would=\"{candidate}\"}} {value}\n");
                assert!(metrics.contains(&line), "{line}{metrics}");
            }
        }
        let listed = limits(&gates[0], &["list"]);
        let told = if store.is_some() { "shared" } else { "memory" };
        assert!(listed.lines().skip(1).all(|line| line.contains(told)), "{listed}");
        assert!(listed.contains("(in place of live: portcullis limits compare)"), "{listed}");
        within("the disagreement is recorded", Duration::from_secs(5), || {
            let records = gates[0].records();
            records.iter().any(|record| record["kind"] == "limits_disagree" && record["limit"] == "next")
        });
    }
}

#[test]
fn l6_a_block_at_one_gate_holds_at_all_and_outlives_redis_wherever_it_was_met() {
    let (origin, mut redis) = (Origin::echo(), Server::start(&[]));
    let file = limit("shared", "quota = \"100 per day\"");
    let gates = [gate(&origin, Some(&redis), &file), gate(&origin, Some(&redis), &file)];
    let (client, other) = (gates[0].client(), gates[0].client());
    let address = client.address.to_string();
    assert_eq!([status(&gates[0], &client), status(&gates[1], &client)], [200, 200]);
    limits(&gates[0], &["block", "shared", "--address", &address, "--for", "1h"]);
    for gateway in &gates {
        within("it is refused", Duration::from_millis(1_500), || status(gateway, &client) == 429);
        assert_eq!(status(gateway, &other), 200);
        let shown = limits(gateway, &["show", "shared", "--address", &address]);
        assert!(shown.starts_with("shared refuses them until 2"), "{shown}");
    }
    redis.kill();
    for gateway in &gates {
        within("the store is given up", Duration::from_secs(5), || {
            gateway.operator().metrics().contains("portcullis_limit_store_up 0\n")
        });
        assert_eq!([status(gateway, &client), status(gateway, &other)], [429, 200], "each goes by what it has met");
    }
    // What is not certain everywhere is told, and holds here.
    let address = other.address.to_string();
    let output = gates[0].command(&["limits", "block", "shared", "--address", &address, "--for", "1h"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("on this gate alone"), "{said}");
    assert_eq!([status(&gates[0], &other), status(&gates[1], &other)], [429, 200]);
    redis.run();
    for gateway in &gates {
        // It has lost its data, and with them the block.
        within("the store is back", Duration::from_secs(5), || status(gateway, &client) == 200);
    }
}

#[test]
fn l6_a_penalty_under_fire_takes_what_requests_do_not_and_not_one_unit_more() {
    let (origin, redis) = (Origin::echo(), Server::start(&[]));
    let file = limit("shared", "quota = \"120 per day\"\nalgorithm = \"sliding-window-log\"");
    let gates = [gate(&origin, Some(&redis), &file), gate(&origin, Some(&redis), &file)];
    let client = gates[0].client();
    let address = client.address.to_string();
    let (admitted, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (gateway, admitted, client) = (&gates[number % 2], &admitted, &client);
            scope.spawn(move || {
                for _ in 0..40 {
                    admitted.fetch_add(usize::from(status(gateway, client) == 200), Ordering::Relaxed);
                }
            });
        }
        for gateway in &gates {
            let (taken, address) = (&taken, &address);
            scope.spawn(move || {
                for _ in 0..3 {
                    let said = limits(gateway, &["penalty", "shared", "--address", address, "--by", "15"]);
                    let units = said.split(' ').next().and_then(|units| units.parse::<usize>().ok());
                    taken.fetch_add(units.unwrap_or_else(|| panic!("{said}")), Ordering::Relaxed);
                }
            });
        }
    });
    let (admitted, taken) = (admitted.into_inner(), taken.into_inner());
    assert!(taken > 0, "{admitted} were admitted first");
    assert_eq!(admitted + taken, 120, "{admitted} admitted, {taken} taken");
    let shown = limits(&gates[1], &["reward", "shared", "--address", &address, "--by", "2"]);
    assert!(shown.starts_with("shared: 2 of 120 left"), "{shown}");
}
