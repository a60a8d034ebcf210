//! The examples as they are built and run, asked over HTTP as anybody asks them.

#![expect(clippy::unwrap_used, reason = "a helper that has nothing to work on fails its test")]

#[path = "../../../portcullis-gateway/tests/support/console.rs"]
mod console;
mod readme;
mod support;

#[expect(dead_code, reason = "each test binary uses its own part of what they share")]
#[path = "../redis/servers.rs"]
mod servers;

use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use servers::{Server, free_port, wait_until};
use support::{Answer, Example};

/// So many at once, each on a connection of its own; the statuses they were answered with.
fn at_once(count: usize, ask: impl Fn(usize) -> Answer + Sync) -> Vec<u16> {
    thread::scope(|scope| {
        let tasks: Vec<_> = (0..count).map(|n| (n, &ask)).map(|(n, ask)| scope.spawn(move || ask(n).status)).collect();
        tasks.into_iter().map(|task| task.join().unwrap()).collect()
    })
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|other| **other == status).count()
}

#[test]
fn the_example_with_memory_admits_exactly_what_it_allows() {
    let app = Example::start("axum_memory", &[]);
    let statuses = at_once(60, |_| app.get("/export", &[("x-api-key", "key-of-alice")]));
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (3, 57), "{statuses:?}");
    // Another user has an allowance of their own; a key that nobody issued counts for nothing.
    assert_eq!(app.get("/export", &[("x-api-key", "key-of-bob")]).status, 200);
    let made_up = at_once(10, |n| app.get("/export", &[("x-api-key", &format!("made-up-{n}"))]));
    assert_eq!(count(&made_up, 200), 3, "{made_up:?}");
    // What was refused inside is not counted outside, and what an address has spent is no other's loss.
    let hello = app.get("/", &[]);
    assert_eq!((hello.status, hello.number("x-ratelimit-limit")), (200, 300));
    assert!(hello.number("x-ratelimit-remaining") >= 292, "{hello:?}");
    let other = app.get("/", &[("x-forwarded-for", "203.0.113.9")]);
    assert_eq!(other.number("x-ratelimit-remaining"), 299, "{other:?}");
}

#[test]
fn the_example_with_memory_counts_wrong_passwords_only_and_tells_what_a_client_needs() {
    let app = Example::start("axum_memory", &[]);
    for _ in 0..20 {
        assert_eq!(app.post("/login", &[], "correct horse").status, 200);
    }
    let statuses = at_once(40, |_| app.post("/login", &[], "wrong"));
    assert_eq!((count(&statuses, 401), count(&statuses, 429)), (5, 35), "{statuses:?}");
    let refused = app.post("/login", &[], "correct horse");
    assert_eq!(refused.status, 429);
    assert!((890..=900).contains(&refused.number("retry-after")), "{refused:?}");
    assert_eq!((refused.number("x-ratelimit-limit"), refused.number("x-ratelimit-remaining")), (5, 0));
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    let body: serde_json::Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(body["error"], "Too many login attempts. Try again in 15 minutes.");
    assert_eq!((&body["limit"], &body["remaining"], &body["status"]), (&5.into(), &0.into(), &429.into()));
    let reset = body["resetAt"].as_str().unwrap();
    assert!(reset.len() == 24 && reset.ends_with('Z'), "{reset}");
    // The answer to a HEAD has the head of the refusal, and no body that would be taken for the next answer.
    let app = Example::start("axum_memory", &[]);
    for expected in [200, 200, 200, 429] {
        let head = app.request("HEAD", "/export", &[], "");
        assert_eq!((head.status, head.body.as_str()), (expected, ""), "{head:?}");
    }
}

#[test]
fn l10_two_instances_of_the_example_with_redis_share_and_get_by_without_it_and_share_again() {
    let mut redis = Server::start(&[]);
    // On a machine that is busy with other tests an answer may take longer than anybody waits for it elsewhere.
    let patient = [("PATIENCE_MS", "10000")];
    let [one, two] = [0, 1].map(|_| Example::start_with("axum_redis", &[&redis.url()], &patient));
    let client = |n: u8| format!("203.0.113.{n}");
    let ask = |app: &Example, n: u8| app.get("/", &[("x-forwarded-for", &client(n))]);
    let pays = |app: &Example, n: u8| app.post("/pay", &[("x-forwarded-for", &client(n))], "").status;
    wait_until("both have found Redis", || [&one, &two].iter().all(|app| pays(app, 250) != 503));

    // Together.
    let statuses = at_once(240, |n| ask(if n % 2 == 0 { &one } else { &two }, 1));
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (100, 140), "{statuses:?}");
    let wrong = at_once(40, |n| {
        let app = if n % 2 == 0 { &one } else { &two };
        app.post("/login", &[("x-forwarded-for", &client(1))], "wrong")
    });
    assert_eq!((count(&wrong, 401), count(&wrong, 429)), (5, 35), "{wrong:?}");
    for _ in 0..30 {
        assert_eq!(ask(&one, 2).status, 200);
    }

    // Each for itself: by what it has counted, or not at all.
    redis.kill();
    let began = Instant::now();
    let statuses = at_once(100, |_| ask(&one, 2));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (70, 30), "{statuses:?}");
    for app in [&one, &two] {
        wait_until("it has seen that Redis is away", || pays(app, 3) == 503);
    }

    // Together again, by a Redis that remembers nothing.
    redis.run();
    let strangers = AtomicU16::new(0);
    let pays_at_once = |app: &Example| {
        // Over each of its connections; each connection comes back by itself.
        let statuses = at_once(24, |_| {
            let [high, low] = strangers.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            app.post("/pay", &[("x-forwarded-for", &format!("198.18.{high}.{low}"))], "")
        });
        count(&statuses, 200) == 24
    };
    for app in [&one, &two] {
        wait_until("it has seen that Redis is back", || pays_at_once(app));
    }
    let statuses = at_once(240, |n| ask(if n % 2 == 0 { &one } else { &two }, 6));
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (100, 140), "{statuses:?}");
}

#[test]
fn l10_the_example_with_redis_serves_where_there_is_none() {
    let app = Example::start("axum_redis", &[&format!("redis://127.0.0.1:{}", free_port())]);
    let began = Instant::now();
    let statuses = at_once(120, |_| app.get("/", &[]));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (100, 20), "{statuses:?}");
    let refused = app.post("/pay", &[], "");
    assert_eq!((refused.status, refused.number("retry-after")), (503, 1), "{refused:?}");
}
