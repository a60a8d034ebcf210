//! What clients are told and what their requests have cost, the same at every gate on one Redis (L6 to L8).

use std::time::{Duration, Instant};

use crate::servers::Server;
use crate::support::client::{Client, Reply};
use crate::support::origin::Origin;
use crate::support::process::Gateway;
use crate::{gate, limit, up};

const ALGORITHMS: [&str; 6] =
    ["token-bucket", "leaky-bucket", "fixed-window", "sliding-window-counter", "sliding-window-log", "calendar"];

/// A limit for each algorithm, at a path of its name.
fn one_of_each(count: u64, window: &str, rest: &str) -> String {
    let each = ALGORITHMS.iter().map(|algorithm| {
        let burst = if *algorithm == "leaky-bucket" { format!("burst = {count}\n") } else { String::new() };
        let window = if *algorithm == "calendar" { "day" } else { window };
        let rest = format!("algorithm = \"{algorithm}\"\nquota = \"{count} per {window}\"\n{burst}{rest}");
        limit(algorithm, algorithm, &rest)
    });
    each.collect()
}

/// Two gates on one Redis, and a client's way to each.
fn pair(origin: &Origin, redis: &Server, limits: &str) -> ([Gateway; 2], [Client; 2]) {
    // Nobody decides alone here because a busy machine answers late.
    let limits = format!("patience = \"1s\"\n{limits}");
    let gates = [gate(origin, redis, &limits), gate(origin, redis, &limits)];
    gates.iter().for_each(up);
    let address = gates[0].client().address;
    let clients = [0, 1].map(|number: usize| Client::at(gates[number].listen, address));
    (gates, clients)
}

fn number(reply: &Reply, name: &str) -> u64 {
    let value = reply.header(name).unwrap_or_else(|| panic!("no {name}: {} {:?}", reply.status, reply.headers));
    value.parse().expect("a number")
}

/// Waits until both gates say that so much is left: what is given back comes to Redis behind the answer.
#[track_caller]
fn left(gates: &[Gateway; 2], limit: &str, client: &Client, expected: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    for gate in gates {
        let shown = || {
            let output = gate.command(&["limits", "show", limit, "--address", &client.address.to_string()]);
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        while !shown().starts_with(&format!("{limit}: {expected} left")) {
            assert!(Instant::now() < deadline, "{limit} should have {expected}: {}", shown());
        }
    }
}

#[test]
fn l6_what_an_answer_cost_is_counted_for_every_gate_by_every_algorithm() {
    let redis = Server::start(&[]);
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.send("HTTP/1.1 200 OK\r\nX-Rows: 3\r\nContent-Length: 0\r\n\r\n")
    });
    let limits = one_of_each(20, "day", "cost = { header = \"X-Rows\", at_most = 10 }");
    let (gates, clients) = pair(&origin, &redis, &limits);
    for algorithm in ALGORITHMS {
        let path = format!("/public/{algorithm}");
        for (number_of, expected) in [(0, 17), (1, 14), (0, 11), (1, 8)] {
            let reply = clients[number_of].get(&path).send().expect(200);
            assert_eq!(number(&reply, "x-ratelimit-remaining"), expected, "{algorithm}");
            left(&gates, algorithm, &clients[0], &format!("{expected} of 20"));
        }
        // Eight are left, and the next might cost ten.
        for client in &clients {
            client.get(&path).send().expect(429);
        }
        left(&gates, algorithm, &clients[0], "8 of 20");
    }
}

#[test]
fn l7_l8_both_gates_refuse_in_the_same_words_to_get_and_to_head() {
    let (origin, redis) = (Origin::echo(), Server::start(&[]));
    let limits = format!(
        "headers = \"both\"\n{}{}",
        one_of_each(4, "hour", ""),
        limit("watched", "**", "quota = \"1 per hour\"\nmode = \"report\"")
    );
    let (_gates, clients) = pair(&origin, &redis, &limits);
    for algorithm in ALGORITHMS {
        let path = format!("/public/{algorithm}");
        for (index, expected) in [3, 2, 1, 0].into_iter().enumerate() {
            let reply = clients[index % 2].get(&path).send().expect(200);
            assert_eq!((number(&reply, "x-ratelimit-limit"), number(&reply, "x-ratelimit-remaining")), (4, expected));
        }
        for method in ["GET", "HEAD"] {
            let [here, there] = [0, 1].map(|index: usize| clients[index].request(method, &path).send().expect(429));
            for name in ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit-policy"] {
                assert_eq!(here.header(name), there.header(name), "{algorithm}: {name}");
            }
            assert!(here.header("ratelimit-policy").is_some_and(|told| told.starts_with(&format!("\"{algorithm}\""))));
            // A second may begin between the two.
            let waits = [&here, &there].map(|reply| number(reply, "retry-after"));
            assert!(waits[0] - waits[1] <= 1, "{algorithm}: {waits:?}");
            for (reply, wait) in [&here, &there].into_iter().zip(waits) {
                let state = format!("\"{algorithm}\";r=0;t={wait}");
                assert_eq!(reply.header("ratelimit"), Some(&*state), "{algorithm}");
            }
            if method == "GET" {
                let bodies = [&here, &there].map(Reply::json);
                for member in ["type", "title", "status", "error", "limit", "remaining", "resetAt"] {
                    assert!(
                        bodies[0][member] == bodies[1][member] && !bodies[0][member].is_null(),
                        "{member}: {bodies:?}"
                    );
                }
            } else {
                assert!(here.body.is_empty() && there.body.is_empty());
            }
        }
    }
}

#[test]
fn l7_whoever_waits_as_long_as_one_gate_says_is_admitted_by_the_other() {
    let (origin, redis) = (Origin::echo(), Server::start(&[]));
    let (_gates, clients) = pair(&origin, &redis, &one_of_each(3, "2s", ""));
    // Redis goes by its own clock, so the waits are real ones, all at once. Nobody waits for a calendar's midnight.
    std::thread::scope(|scope| {
        for algorithm in ALGORITHMS.into_iter().filter(|algorithm| *algorithm != "calendar") {
            let clients = &clients;
            scope.spawn(move || {
                let path = format!("/public/{algorithm}");
                for round in 0..2 {
                    let mut asked = 0;
                    let refused = loop {
                        let reply = clients[round % 2].get(&path).send();
                        if reply.status != 200 {
                            break reply.expect(429);
                        }
                        asked += 1;
                        assert!(asked < 50, "{algorithm} never refuses");
                    };
                    std::thread::sleep(Duration::from_secs(number(&refused, "retry-after")));
                    let reply = clients[(round + 1) % 2].get(&path).send();
                    assert_eq!(reply.status, 200, "{algorithm}: {:?}, then {:?}", refused.headers, reply.headers);
                }
            });
        }
    });
}
