//! Several gates that count together in a real Redis, and what each limit does while it is away (L2, L10).

#[path = "redis/leases.rs"]
mod leases;
#[path = "../../portcullis-limit/tests/redis/servers.rs"]
#[expect(dead_code, reason = "one harness for the tests of the store and for these")]
mod servers;
#[path = "support/mod.rs"]
#[expect(dead_code, reason = "one harness for all tests of the binary")]
mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use servers::Server;
use support::PROJECT_ROUTES;
use support::client::Client;
use support::origin::Origin;
use support::process::{Gateway, Setup};

/// A gate whose limits are in this Redis.
fn gate(origin: &Origin, redis: &Server, limits: &str) -> Gateway {
    let store = format!("[limits]\nstore = \"{}\"\n\n{limits}", redis.url());
    Setup::before(origin).with(PROJECT_ROUTES).with(&store).start()
}

fn limit(name: &str, path: &str, rest: &str) -> String {
    format!("[[limit]]\nname = \"{name}\"\nmatch = \"GET /public/{path}\"\nkey = \"address\"\n{rest}\n\n")
}

/// Waits until a gate's metric has this value.
fn metric(gateway: &Gateway, line: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !gateway.operator().metrics().lines().any(|told| told == line) {
        assert!(Instant::now() < deadline, "never {line}:\n{}", gateway.operator().metrics());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn up(gateway: &Gateway) {
    metric(gateway, "portcullis_limit_store_up 1");
}

#[test]
fn l2_four_gates_on_one_redis_admit_exactly_the_quota_of_every_exact_algorithm() {
    let (origin, redis) = (Origin::echo(), Server::start(&[]));
    let algorithms =
        ["token-bucket", "leaky-bucket", "fixed-window", "sliding-window-counter", "sliding-window-log", "calendar"];
    let limits: String = algorithms
        .iter()
        .map(|algorithm| {
            let more = if *algorithm == "leaky-bucket" { "burst = 100\n" } else { "" };
            limit(algorithm, algorithm, &format!("quota = \"100 per day\"\nalgorithm = \"{algorithm}\"\n{more}"))
        })
        .collect();
    let gates: Vec<Gateway> = (0..4).map(|_| gate(&origin, &redis, &limits)).collect();
    gates.iter().for_each(up);
    let address = gates[0].client().address;
    for algorithm in algorithms {
        let admitted: usize = std::thread::scope(|scope| {
            let crowd: Vec<_> = (0..20)
                .map(|number| {
                    let listen = gates[number % 4].listen;
                    scope.spawn(move || {
                        let client = Client::at(listen, address);
                        let path = format!("/public/{algorithm}");
                        (0..50).filter(|_| client.get(&path).send().status == 200).count()
                    })
                })
                .collect();
            crowd.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(admitted, 100, "{algorithm}");
    }
    assert_eq!(redis.cli(&["--scan", "--pattern", "rl:*"]).lines().filter(|key| !key.starts_with("rl::")).count(), 6);
}

#[test]
fn l7_every_gate_tells_the_same_standing_and_a_reset_at_one_counts_at_all() {
    let (origin, redis) = (Origin::echo(), Server::start(&[]));
    let limits = limit("shared", "a", "quota = \"5 per hour\"");
    let gates = [gate(&origin, &redis, &limits), gate(&origin, &redis, &limits)];
    gates.iter().for_each(up);
    let address = gates[0].client().address;
    let ask = |number: usize| Client::at(gates[number].listen, address).get("/public/a").send();
    let remaining = |reply: &support::client::Reply| reply.header("x-ratelimit-remaining").map(str::to_owned);
    for left in ["4", "3", "2", "1", "0"] {
        let reply = ask(left.parse::<usize>().unwrap() % 2).expect(200);
        assert_eq!(remaining(&reply).as_deref(), Some(left));
    }
    let (here, there) = (ask(0).expect(429), ask(1).expect(429));
    assert_eq!(here.header("x-ratelimit-reset"), there.header("x-ratelimit-reset"));
    let address = address.to_string();
    let output = gates[0].command(&["limits", "show", "shared", "--address", &address]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("shared: 0 of 5 left"), "{output:?}");
    assert!(gates[0].command(&["limits", "reset", "shared", "--address", &address]).status.success());
    let deadline = Instant::now() + Duration::from_secs(2);
    while ask(1).status != 200 {
        assert!(Instant::now() < deadline, "the other gate still refuses from memory");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn l10_while_redis_is_away_each_limit_does_what_it_was_told_and_is_back_within_two_seconds() {
    let (origin, mut redis) = (Origin::echo(), Server::start(&[]));
    let limits = limit("local", "local", "quota = \"3 per hour\"")
        + &limit("open", "open", "quota = \"3 per hour\"\noutage = \"open\"")
        + &limit("closed", "closed", "quota = \"30 per hour\"\noutage = \"closed\"")
        + "[[limit]]\nname = \"login\"\npreset = \"login\"\noutage = \"open\"\n";
    let gateway = gate(&origin, &redis, &limits);
    up(&gateway);
    let client = gateway.client();
    let passed = |path: &str, times: usize| (0..times).filter(|_| client.get(path).send().status == 200).count();
    let wrong = || {
        let body = json!({ "email": "nobody@example.com", "password": "Wrong-password-1" });
        client.post("/auth/login").json(&body).send().status
    };
    assert_eq!((passed("/public/local", 2), passed("/public/closed", 2), wrong()), (2, 2, 401));

    redis.kill();
    metric(&gateway, "portcullis_limit_store_up 0");
    let begun = Instant::now();
    assert_eq!(passed("/public/local", 5), 1, "what was counted before counts on");
    assert_eq!(passed("/public/open", 10), 10);
    let refused = client.get("/public/closed").send().refused(503, "Service unavailable");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(begun.elapsed() < Duration::from_secs(2), "nobody waits for a store that is gone: {:?}", begun.elapsed());
    assert_eq!((0..8).filter(|_| wrong() == 401).count(), 4, "a login is never open, whatever the file says");

    redis.run();
    let returned = Instant::now();
    while client.get("/public/closed").send().status != 200 {
        assert!(returned.elapsed() < Duration::from_secs(2), "it is not asked again");
        std::thread::sleep(Duration::from_millis(20));
    }
    up(&gateway);
    let records = gateway.output();
    for word in ["is away; each limit does what its `outage` says", "the store of the limits is back"] {
        assert!(records.contains(word), "{records}");
    }
}

#[test]
fn l10_a_redis_that_hangs_or_is_slow_costs_a_decision_fifty_milliseconds_at_most_and_nothing_piles_up() {
    let (origin, redis) = (Origin::echo(), Server::start(&[]));
    let gateway = gate(&origin, &redis, &limit("local", "a", "quota = \"10000 per hour\""));
    up(&gateway);
    let client = gateway.client();
    for _ in 0..10 {
        client.get("/public/a").send().expect(200);
    }
    redis.signal("-STOP");
    let took: Vec<Duration> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            client.get("/public/a").send().expect(200);
            begun.elapsed()
        })
        .collect();
    // One waits for as long as patience lasts; a busy machine may add to a few of the others.
    let late = took.iter().filter(|took| **took > Duration::from_millis(50)).count();
    assert!(late <= 10, "{late} of 200 waited: {:?}", took.iter().max());
    let alone =
        |line: &str| line.strip_prefix("portcullis_limit_decided_alone_total ").map(|n| n.parse::<u64>().unwrap());
    let metrics = gateway.operator().metrics();
    assert!(metrics.lines().find_map(alone).unwrap() >= 150, "{metrics}");
    redis.signal("-CONT");
    // A request finds out that it is back: nobody else asks what only a request can tell.
    let returned = Instant::now();
    while !gateway.operator().metrics().contains("portcullis_limit_store_up 1\n") {
        assert!(returned.elapsed() < Duration::from_secs(2), "it is not asked again");
        client.get("/public/a").send().expect(200);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn l10_a_gate_starts_without_its_redis_and_finds_it_later() {
    let (origin, mut redis) = (Origin::echo(), Server::start(&[]));
    redis.kill();
    let gateway = gate(&origin, &redis, &limit("local", "a", "quota = \"3 per hour\""));
    let client = gateway.client();
    client.get("/public/a").send().expect(200);
    redis.run();
    let deadline = Instant::now() + Duration::from_secs(3);
    while redis.cli(&["--scan", "--pattern", "rl:local:*"]).is_empty() {
        assert!(Instant::now() < deadline, "it does not count in Redis");
        client.get("/public/a").send();
        std::thread::sleep(Duration::from_millis(50));
    }
}
