//! What is memory's own: how many keys it holds, and which it drops; and rates that cannot be made.

use std::time::Duration;

use crate::contract::Subject;
use crate::support::{START, ask, charge, charge_one, key, rate, window};
use portcullis_limit::{Algorithm, Ask, Limiter, MemoryStore, Quota, Rate, RateError};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn l1_a_bucket_that_would_never_refuse_cannot_be_made() {
    let quota: Quota = "1 per day".parse().unwrap();
    assert_eq!(Rate::new(quota, Algorithm::TokenBucket, Some(1_000_000)), Err(RateError::BurstTooLong));
    let quota: Quota = "1,000,000,000 per second".parse().unwrap();
    assert_eq!(Rate::new(quota, Algorithm::TokenBucket, None), Err(RateError::TooFast));
}

#[test]
fn l1_a_request_waits_for_the_slowest_of_its_queues_and_not_for_one_that_only_reports() {
    let limiter = Limiter::default();
    let queue = |quota: &str| {
        let rate = Rate::new(quota.parse().unwrap(), Algorithm::LeakyBucket, None).unwrap();
        rate.with_max_delay(Duration::from_secs(10)).unwrap()
    };
    let (slow, fast) = (queue("1 per second"), queue("10 per second"));
    let (a, b) = (key(0, "u"), key(1, "u"));
    for turn in 0..5 {
        let charge = charge(&limiter, &[ask(&fast, &b, 1), ask(&slow, &a, 1)], START).unwrap();
        assert_eq!(charge.delay(), Duration::from_secs(turn));
        assert_eq!(charge.standings()[0].delay, Duration::from_millis(100 * turn));
    }
    let reported = Ask { enforce: false, ..ask(&slow, &a, 1) };
    assert_eq!(charge(&limiter, &[reported], START).unwrap().delay(), Duration::ZERO);
    // Whoever leaves the queue lets those behind come sooner.
    let last = charge_one(&limiter, &slow, &a, 1, START).unwrap();
    limiter.give_back(&last.receipts()[0], START);
    assert_eq!(charge_one(&limiter, &slow, &a, 1, START).unwrap().delay(), last.delay());
}

#[test]
fn l2_one_check_for_good_counts_like_a_charge_and_refuses_alike() {
    for algorithm in Algorithm::ALL {
        let window = window(algorithm);
        let (charged, checked) = (Limiter::default(), Limiter::default());
        let (rate, key) = (rate(algorithm, 3, window), key(0, "u"));
        for second in 0..200 {
            let now = START.after(window * second / 60);
            let charge = charge_one(&charged, &rate, &key, 1, now).map(|charge| charge.standings()[0].clone());
            assert_eq!(checked.local().check(&ask(&rate, &key, 1), now), charge, "{algorithm} at {second}");
        }
    }
}

#[test]
fn l2_idle_keys_vanish_as_others_come_and_when_swept() {
    for algorithm in Algorithm::ALL {
        let window = window(algorithm);
        let limiter = Limiter::default();
        let rate = rate(algorithm, 5, window);
        for n in 0..20_000u32 {
            charge_one(&limiter, &rate, &key(0, &n.to_string()), 1, START).unwrap();
        }
        let later = START.after(window * 2);
        for n in 0..40_000u32 {
            charge_one(&limiter, &rate, &key(1, &n.to_string()), 1, later).unwrap();
        }
        assert!(limiter.local().len() < 41_000, "{algorithm}: {} keys", limiter.local().len());
        limiter.local().sweep(later.after(window * 2));
        assert!(limiter.local().is_empty(), "{algorithm}: {} keys", limiter.local().len());
        assert_eq!(limiter.local().evictions(), 0, "{algorithm}");
    }
}

#[test]
fn l2_a_full_store_stays_within_its_bound_and_counts_what_it_evicts() {
    let limiter = Limiter::new(MemoryStore::with_capacity(2_560));
    let rate = rate(Algorithm::SlidingWindowCounter, 5, MINUTE);
    for n in 0..50_000u32 {
        charge_one(&limiter, &rate, &key(0, &n.to_string()), 1, START).unwrap();
    }
    assert!(limiter.local().len() <= 2_560);
    assert!(limiter.local().evictions() >= 50_000 - 2_560);
}

#[test]
fn l2_a_flood_of_short_lived_keys_does_not_evict_a_long_lock() {
    let limiter = Limiter::new(MemoryStore::with_capacity(2_560));
    let (login, flood) = (rate(Algorithm::SlidingWindowLog, 1, MINUTE * 15), rate(Algorithm::FixedWindow, 5, MINUTE));
    let victims: Vec<_> = (0..50).map(|n: u32| key(0, &n.to_string())).collect();
    for key in &victims {
        charge_one(&limiter, &login, key, 1, START).unwrap();
    }
    for n in 0..50_000u32 {
        charge_one(&limiter, &flood, &key(1, &n.to_string()), 1, START).unwrap();
    }
    let still_locked = victims.iter().filter(|key| charge_one(&limiter, &login, key, 1, START).is_err()).count();
    assert_eq!(still_locked, victims.len());
}

#[test]
fn l6_a_flood_of_other_keys_does_not_lift_a_block() {
    let limiter = Limiter::new(MemoryStore::with_capacity(2_560));
    let flood = rate(Algorithm::FixedWindow, 5, MINUTE * 60 * 24);
    let victims: Vec<_> = (0..50).map(|n: u32| key(0, &n.to_string())).collect();
    for key in &victims {
        block_it(&limiter, &ask(&flood, key, 0));
    }
    for n in 0..50_000u32 {
        charge_one(&limiter, &flood, &key(1, &n.to_string()), 1, START).unwrap();
    }
    assert!(victims.iter().all(|key| charge_one(&limiter, &flood, key, 1, START).is_err()));
    // When it is over, it goes as idle keys do.
    limiter.local().sweep(START.after(MINUTE));
    assert!(victims.iter().all(|key| !limiter.local().reset(key)));
}

fn block_it(limiter: &Limiter, ask: &Ask<'_>) {
    Subject::block(limiter, ask, MINUTE, START);
}
