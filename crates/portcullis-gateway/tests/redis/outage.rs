//! What each limit does while Redis is away, hangs or is slow, and how it is found again (L10).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::servers::Server;
use crate::support::origin::Origin;
use crate::{figure, gate, limit, metric, up};

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
    assert!(figure(&gateway, "portcullis_limit_decided_alone_total") >= 150);
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
