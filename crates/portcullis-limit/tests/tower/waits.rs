//! Waits: those that the layer keeps for a request, and those that it tells a client.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_limit::tower::{By, Limit, LimitEvent, LimitLayer};
use portcullis_limit::{Algorithm, Period, Quota, Rate};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::support::{answer, app, from, limits, number, status};

fn leaky(quota: &str, longest: Duration) -> Rate {
    let rate = Rate::new(quota.parse().unwrap(), Algorithm::LeakyBucket, None).unwrap();
    rate.with_max_delay(longest).unwrap()
}

#[tokio::test(start_paused = true)]
async fn l12_requests_over_the_flow_wait_for_their_turn_and_those_that_would_wait_too_long_are_refused() {
    let (limits, _) = limits();
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let layer = LimitLayer::new(&limits).observe(move |event, _| {
        if let LimitEvent::Delayed { limit, wait } = event {
            heard.lock().unwrap().push(((*limit).to_owned(), wait.as_millis()));
        }
    });
    let (app, _) = app(layer.limit(Limit::new("flow", leaky("10 per 1s", Duration::from_millis(300)))));
    let began = Instant::now();
    let all: Vec<_> = (0..5)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { (status(&app, from("192.0.2.1", &[])).await, Instant::now()) })
        })
        .collect();
    let mut went = Vec::new();
    for one in all {
        let (status, at) = one.await.unwrap();
        went.push((status, at.duration_since(began).as_millis()));
    }
    went.sort_unstable();
    // A timer may be a millisecond late, never early.
    let expected = [(200, 0), (200, 100), (200, 200), (200, 300), (429, 0)];
    for (went, expected) in went.iter().zip(expected) {
        assert!(went.0 == expected.0 && (expected.1..=expected.1 + 2).contains(&went.1), "{went:?} {expected:?}");
    }
    assert_eq!(*told.lock().unwrap(), [("flow".into(), 100), ("flow".into(), 200), ("flow".into(), 300)]);
}

#[tokio::test(start_paused = true)]
async fn l12_only_so_many_wait_at_once_and_who_finds_no_place_is_not_charged() {
    let (limits, _) = limits();
    let limit = Limit::new("flow", leaky("100 per 1s", Duration::from_secs(60))).by(By::everyone());
    let (app, _) = app(LimitLayer::new(&limits).limit(limit));
    let waiting: Vec<_> = (0..1_025)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { status(&app, from("192.0.2.1", &[])).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    // There was one that went on at once, and 1,024 wait. Whoever comes now is told when its turn would be.
    for _ in 0..200 {
        let refused = answer(&app, from("192.0.2.1", &[])).await;
        assert_eq!((refused.status().as_u16(), number(&refused, "retry-after")), (429, 11));
    }
    for one in waiting {
        assert_eq!(one.await.unwrap(), 200);
    }
}

#[test]
fn l7_a_client_that_waits_for_as_long_as_it_is_told_is_admitted() {
    let rates = (0..Algorithm::ALL.len(), 1..50_u64, 1..100_000_u64, 1..4_u64);
    let steps = proptest::collection::vec(0..20_000_u64, 1..40);
    let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config::with_cases(256));
    let strategy = (rates, steps);
    let tried = runner.run(&strategy, |((algorithm, count, window, cost), steps)| {
        let algorithm = Algorithm::ALL[algorithm];
        let quota = match algorithm {
            Algorithm::Calendar => Quota::per(count, Period::Day).unwrap(),
            _ => Quota::new(count, Duration::from_millis(window)).unwrap(),
        };
        let Ok(rate) = Rate::new(quota, algorithm, None) else { return Ok(()) };
        prop_assume!(cost <= rate.capacity());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (limits, clock) = limits();
            let (app, _) = app(LimitLayer::new(&limits).limit(Limit::new("api", rate).cost(cost)));
            for step in steps {
                clock.advance(Duration::from_millis(step));
                let mut refused = answer(&app, from("192.0.2.1", &[])).await;
                if refused.status() == 429 {
                    let wait = number(&refused, "retry-after");
                    prop_assert!(wait >= 1);
                    clock.advance(Duration::from_secs(wait));
                    refused = answer(&app, from("192.0.2.1", &[])).await;
                    prop_assert_eq!(refused.status().as_u16(), 200, "{} after {} s", rate.algorithm(), wait);
                }
            }
            Ok(())
        })
    });
    tried.unwrap();
}
