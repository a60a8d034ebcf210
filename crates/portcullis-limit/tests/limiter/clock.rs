//! Clocks of several cores never agree to the nanosecond, and a machine's clock may be set back: neither opens a limit,
//! and neither locks one for good.

use std::time::Duration;

use crate::support::{START, ask, charge_one, key, rate, window};
use portcullis_core::Timestamp;
use portcullis_limit::{Algorithm, Limiter};

const WINDOW: Duration = Duration::from_secs(60);

/// How many single requests are admitted at one moment.
fn drain(limiter: &Limiter, algorithm: Algorithm, now: Timestamp) -> u64 {
    let (rate, key) = (rate(algorithm, 10, window(algorithm)), key(0, "u"));
    (0..30).filter(|_| charge_one(limiter, &rate, &key, 1, now).is_ok()).count() as u64
}

#[test]
fn l14_a_core_whose_clock_is_a_moment_behind_does_not_open_a_window() {
    for algorithm in Algorithm::ALL {
        let limiter = Limiter::default();
        let boundary = START.after(window(algorithm));
        let before = boundary.before(Duration::from_millis(1));
        // The window before the boundary is spent, then one core is already in the next while the other is not yet.
        assert_eq!(drain(&limiter, algorithm, before), 10, "{algorithm}");
        let next = drain(&limiter, algorithm, boundary);
        let behind = drain(&limiter, algorithm, before);
        let again = drain(&limiter, algorithm, boundary);
        assert!(next + behind + again <= 10, "{algorithm}: {next} + {behind} + {again} after the boundary");
        if !matches!(algorithm, Algorithm::FixedWindow | Algorithm::Calendar) {
            assert_eq!(next + behind + again, 0, "{algorithm}");
        }
    }
}

#[test]
fn l14_moments_that_arrive_out_of_order_are_not_forgotten_early() {
    let limiter = Limiter::default();
    let algorithm = Algorithm::SlidingWindowLog;
    assert_eq!(drain(&limiter, algorithm, START.after(Duration::from_secs(5))), 10);
    assert_eq!(drain(&limiter, algorithm, START), 0);
    assert_eq!(drain(&limiter, algorithm, START.after(WINDOW)), 0, "they came five seconds later than that");
    assert_eq!(drain(&limiter, algorithm, START.after(WINDOW + Duration::from_secs(5))), 10);
}

#[test]
fn l14_a_clock_set_back_far_neither_opens_nor_locks_a_limit() {
    for algorithm in Algorithm::ALL {
        // The counter is the hard case: its spent window is the previous one when the clock jumps, to the end of one.
        let window = window(algorithm);
        for jump_from in [Duration::ZERO, window] {
            let limiter = Limiter::default();
            drain(&limiter, algorithm, START);
            let spent = START.after(jump_from);
            drain(&limiter, algorithm, spent);
            let past = START.before(window * 1440).after(window - Duration::from_millis(1));
            assert_eq!(drain(&limiter, algorithm, past), 0, "{algorithm}: set back, it opened");
            let later = past.after(window * 2);
            assert!(drain(&limiter, algorithm, later) > 0, "{algorithm}: still locked after two windows");
        }
    }
}

#[test]
fn l14_two_cores_that_take_turns_do_not_make_a_bucket_flow_faster() {
    let (limiter, rate, key) = (Limiter::default(), rate(Algorithm::TokenBucket, 10, WINDOW), key(0, "u"));
    let behind = START;
    let ahead = START.after(Duration::from_secs(1));
    let admitted = (0..2_000)
        .filter(|turn| charge_one(&limiter, &rate, &key, 1, if turn % 2 == 0 { ahead } else { behind }).is_ok())
        .count();
    assert_eq!(admitted, 10);
}

#[test]
fn l14_asking_about_the_future_changes_nothing() {
    for algorithm in Algorithm::ALL {
        let limiter = Limiter::default();
        let window = window(algorithm);
        let (rate, key) = (rate(algorithm, 10, window), key(0, "u"));
        drain(&limiter, algorithm, START);
        assert!(!limiter.peek(&ask(&rate, &key, 10), START.after(window * 3)).would_refuse, "{algorithm}");
        assert_eq!(drain(&limiter, algorithm, START), 0, "{algorithm}");
    }
}
