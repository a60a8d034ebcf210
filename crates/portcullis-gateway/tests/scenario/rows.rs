//! Limits as they count in one instance's memory: queues that wait, tiers, outcomes and reports. `tests/redis/keys.rs` asks
//! the same of a Redis.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::process::Setup;
use crate::support::{PROJECT_ROUTES, tiers};

#[test]
fn l1_a_leaky_bucket_lets_what_comes_at_once_leave_one_by_one_and_refuses_what_would_wait_too_long() {
    let arrivals = std::sync::Arc::new(Mutex::new(Vec::new()));
    let came = std::sync::Arc::clone(&arrivals);
    let origin = Origin::start(move |exchange| {
        came.lock().unwrap().push(Instant::now());
        exchange.read_body()?;
        exchange.answer("200 OK", &serde_json::json!({}))
    });
    let limit = "[[limit]]\nname = \"renderer\"\nmatch = \"GET /public/**\"\nkey = \"address\"\nalgorithm = \"leaky-bucket\"\n\
                 quota = \"5 per second\"\nburst = 1\nmax_delay = \"700ms\"\n";
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(limit).start();
    let address = gateway.client().address;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|_| {
                let client = Client::at(gateway.listen, address);
                scope.spawn(move || client.get("/public/a").send().status)
            })
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    // One at once, and three whose turn comes within 0.7 s: after 0.2, 0.4 and 0.6 s.
    let count = |status: u16| statuses.iter().filter(|told| **told == status).count();
    assert_eq!((count(200), count(429)), (4, 4), "{statuses:?}");
    let arrivals = arrivals.lock().unwrap().clone();
    for pair in arrivals.windows(2) {
        // A turn is told to the request with a coarse clock, and a busy machine wakes it late but never early.
        assert!(pair[1] - pair[0] > Duration::from_millis(120), "{:?} apart", pair[1] - pair[0]);
    }
    let all = arrivals[3] - arrivals[0];
    assert!(all >= Duration::from_millis(560), "four left within {all:?}");
}

#[test]
fn l4_tiers_stack_and_a_refusal_gives_back_what_was_taken_before() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(tiers::TIERS).start();
    tiers::stack(&gateway);
}

#[test]
fn l6_outcomes_costs_and_failures_of_ours_are_settled() {
    let origin = tiers::moody();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(tiers::OUTCOMES).start();
    tiers::outcomes(&gateway);
}

#[test]
fn l9_a_limit_that_reports_says_how_many_it_would_have_refused() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(tiers::REPORT).start();
    tiers::report(&gateway, &origin);
}
