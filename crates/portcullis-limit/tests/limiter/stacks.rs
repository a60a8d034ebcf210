//! Stacks of limits: charged together or not at all, given back exactly, reported without being enforced.

use std::time::Duration;

use crate::support::{START, ask, charge, charge_one, key, rate, window};
use portcullis_limit::{Algorithm, Ask, Limiter, MemoryStore, Quota, Rate, RateError};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn l1_a_bucket_admits_its_whole_burst_at_once_even_where_the_quota_does_not_divide_the_window() {
    for count in [3, 7, 11, 13, 70, 299] {
        for algorithm in Algorithm::ALL {
            let window = window(algorithm);
            let (limiter, rate, key) = (Limiter::default(), rate(algorithm, count, window), key(0, "u"));
            let admitted = (0..2 * count).filter(|_| charge_one(&limiter, &rate, &key, 1, START).is_ok()).count();
            assert_eq!(admitted as u64, count, "{algorithm}");
        }
    }
}

#[test]
fn l1_a_bucket_that_would_never_refuse_cannot_be_made() {
    let quota: Quota = "1 per day".parse().unwrap();
    assert_eq!(Rate::new(quota, Algorithm::TokenBucket, Some(1_000_000)), Err(RateError::BurstTooLong));
    let quota: Quota = "1,000,000,000 per second".parse().unwrap();
    assert_eq!(Rate::new(quota, Algorithm::TokenBucket, None), Err(RateError::TooFast));
}

#[test]
fn l6_a_refused_request_is_charged_nowhere() {
    for algorithm in Algorithm::ALL {
        let window = window(algorithm);
        let limiter = Limiter::default();
        let (wide, narrow) = (rate(algorithm, 10, window), rate(algorithm, 1, window));
        let (a, b) = (key(0, "u"), key(1, "u"));
        let stack = [ask(&wide, &a, 1), ask(&narrow, &b, 1)];
        charge(&limiter, &stack, START).unwrap();
        for _ in 0..50 {
            assert_eq!(charge(&limiter, &stack, START).unwrap_err().standing.limit, 1, "{algorithm}");
        }
        assert_eq!(limiter.peek(&ask(&wide, &a, 0), START).remaining, 9, "{algorithm}");
    }
}

#[test]
fn l6_the_longest_wait_is_told_and_whoever_waits_it_is_admitted() {
    let limiter = Limiter::default();
    let rates = [
        rate(Algorithm::FixedWindow, 1, MINUTE),
        rate(Algorithm::SlidingWindowLog, 1, MINUTE * 60),
        rate(Algorithm::TokenBucket, 2, MINUTE),
    ];
    let keys = [key(0, "u"), key(1, "u"), key(2, "u")];
    let stack: Vec<Ask<'_>> = rates.iter().zip(&keys).map(|(rate, key)| ask(rate, key, 1)).collect();
    charge(&limiter, &stack, START).unwrap();
    let denied = charge(&limiter, &stack, START).unwrap_err();
    assert_eq!((denied.standing.limit, denied.retry_after), (1, MINUTE * 60));
    let wait = denied.retry_after;
    assert!(charge(&limiter, &stack, START.after(wait - Duration::from_nanos(1))).is_err());
    assert!(charge(&limiter, &stack, START.after(wait)).is_ok());
}

#[test]
fn l6_one_key_asked_twice_in_a_stack_is_spent_twice() {
    for algorithm in Algorithm::ALL {
        let window = window(algorithm);
        let limiter = Limiter::default();
        let (rate, key) = (rate(algorithm, 3, window), key(0, "u"));
        let twice = [ask(&rate, &key, 1), ask(&rate, &key, 1)];
        assert!(charge(&limiter, &twice, START).is_ok(), "{algorithm}");
        assert!(charge(&limiter, &twice, START).is_err(), "{algorithm}: four of three");
        assert!(charge_one(&limiter, &rate, &key, 1, START).is_ok(), "{algorithm}");
    }
}

#[test]
fn l6_a_cost_over_the_capacity_is_never_admitted_and_never_promised() {
    for algorithm in Algorithm::ALL {
        let window = window(algorithm);
        let (limiter, rate, key) = (Limiter::default(), rate(algorithm, 3, window), key(0, "u"));
        let denied = charge_one(&limiter, &rate, &key, 4, START).unwrap_err();
        assert_eq!(denied.standing.reset_at, portcullis_core::Timestamp::MAX, "{algorithm}");
        let reported = Ask { enforce: false, ..ask(&rate, &key, u64::MAX) };
        assert!(charge(&limiter, &[reported], START).unwrap().standings()[0].would_refuse, "{algorithm}");
    }
}

#[test]
fn l6_what_is_given_back_is_as_if_it_had_never_been_charged() {
    for algorithm in Algorithm::ALL {
        let window = window(algorithm);
        let limiter = Limiter::default();
        let (rate, key) = (rate(algorithm, 10, window), key(0, "u"));
        charge_one(&limiter, &rate, &key, 3, START).unwrap();
        let before = limiter.peek(&ask(&rate, &key, 1), START);
        let charge = charge_one(&limiter, &rate, &key, 5, START).unwrap();
        assert_ne!(limiter.peek(&ask(&rate, &key, 1), START), before, "{algorithm}");
        limiter.give_back(&charge.receipts()[0], START);
        assert_eq!(limiter.peek(&ask(&rate, &key, 1), START), before, "{algorithm}");
    }
}

#[test]
fn l6_a_late_refund_gives_nothing_that_had_already_run_out() {
    for algorithm in Algorithm::ALL {
        let window = window(algorithm);
        let limiter = Limiter::default();
        let (rate, key) = (rate(algorithm, 10, window), key(0, "u"));
        let charge = charge_one(&limiter, &rate, &key, 10, START).unwrap();
        let later = START.after(window * 2);
        charge_one(&limiter, &rate, &key, 4, later).unwrap();
        limiter.give_back(&charge.receipts()[0], later);
        let admitted = (0..20).filter(|_| charge_one(&limiter, &rate, &key, 1, later).is_ok()).count();
        assert_eq!(admitted, 6, "{algorithm}");
    }
}

#[test]
fn l6_a_key_that_is_reset_starts_anew() {
    for algorithm in Algorithm::ALL {
        let window = window(algorithm);
        let limiter = Limiter::default();
        let (rate, key) = (rate(algorithm, 2, window), key(0, "u"));
        charge_one(&limiter, &rate, &key, 2, START).unwrap();
        assert!(charge_one(&limiter, &rate, &key, 1, START).is_err());
        assert!(limiter.local().reset(&key) && !limiter.local().reset(&key));
        assert!(charge_one(&limiter, &rate, &key, 2, START).is_ok());
    }
}

#[test]
fn l9_a_limit_that_only_reports_says_exactly_what_it_would_have_done() {
    for algorithm in Algorithm::ALL {
        let window = window(algorithm);
        let (enforcing, reporting) = (Limiter::default(), Limiter::default());
        let (rate, key) = (rate(algorithm, 5, window), key(0, "u"));
        // A client that never stops: it must be seen to be admitted again, as it would be (a refused one costs nothing).
        for second in 0..300 {
            let now = START.after(Duration::from_secs(second));
            let refused = charge_one(&enforcing, &rate, &key, 1, now).is_err();
            let reported = charge(&reporting, &[Ask { enforce: false, ..ask(&rate, &key, 1) }], now).unwrap();
            assert_eq!(reported.standings()[0].would_refuse, refused, "{algorithm} at {second} s");
            assert_eq!(reported.receipts().len(), usize::from(!refused), "{algorithm} at {second} s");
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
