//! However many ask at once, exactly as many are admitted as the quota says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use portcullis_limit::{Algorithm, Charge, Limiter, Rate};

use crate::support::{START, ask, charge, charge_one, key, rate, window};

/// Runs `work` on so many threads that all begin at once, and counts those that say yes.
fn at_once(threads: u64, work: impl Fn(u64) -> bool + Sync) -> u64 {
    let (gate, yes) = (Barrier::new(usize::try_from(threads).expect("few threads")), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (gate, yes, work) = (&gate, &yes, &work);
            scope.spawn(move || {
                gate.wait();
                if work(thread) {
                    yes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    yes.into_inner()
}

#[test]
fn l14_a_thousand_at_once_at_a_limit_of_a_hundred_are_exactly_a_hundred() {
    for algorithm in Algorithm::ALL {
        let window = window(algorithm);
        let (limiter, rate, key) = (Limiter::default(), rate(algorithm, 100, window), key(0, "u"));
        // No two threads read the same clock.
        let admitted = at_once(1000, |thread| {
            let now = START.after(Duration::from_micros(thread * 7 % 500));
            charge_one(&limiter, &rate, &key, 1, now).is_ok()
        });
        assert_eq!(admitted, 100, "{algorithm}");
    }
}

#[test]
fn l14_a_thousand_at_once_at_a_queue_each_get_a_turn_of_their_own_or_are_refused() {
    let quota = "100 per second".parse().expect("a quota");
    let rate =
        Rate::new(quota, Algorithm::LeakyBucket, None).and_then(|rate| rate.with_max_delay(Duration::from_millis(990)));
    let (limiter, rate, key) = (Limiter::default(), rate.expect("a rate within bounds"), key(0, "u"));
    let turns = Mutex::new(Vec::new());
    let admitted = at_once(1000, |_| {
        let charge = charge_one(&limiter, &rate, &key, 1, START);
        turns.lock().expect("no thread fails").extend(charge.as_ref().map(Charge::delay).ok());
        charge.is_ok()
    });
    assert_eq!(admitted, 100);
    let mut turns = turns.into_inner().expect("no thread fails");
    turns.sort_unstable();
    assert_eq!(turns, (0..100).map(|turn| Duration::from_millis(10 * turn)).collect::<Vec<_>>());
}

#[test]
fn l4_stacks_in_any_order_are_charged_whole_or_not_at_all_and_never_lock_each_other_out() {
    for algorithm in Algorithm::ALL {
        let window = window(algorithm);
        let limiter = Limiter::default();
        let (wide, narrow) = (rate(algorithm, 100, window), rate(algorithm, 60, window));
        let (a, b) = (key(0, "u"), key(1, "u"));
        let admitted = at_once(400, |thread| {
            let mut stack = [ask(&wide, &a, 1), ask(&narrow, &b, 1)];
            if thread % 2 == 0 {
                stack.reverse();
            }
            charge(&limiter, &stack, START).is_ok()
        });
        assert_eq!(admitted, 60, "{algorithm}");
        assert_eq!(limiter.peek(&ask(&wide, &a, 0), START).remaining, 40, "{algorithm}: charged by a refused stack");
        assert_eq!(limiter.peek(&ask(&narrow, &b, 0), START).remaining, 0, "{algorithm}");
    }
}

#[test]
fn l6_charges_that_are_given_back_at_once_leave_exactly_the_kept_ones() {
    for algorithm in Algorithm::ALL {
        let window = window(algorithm);
        let (limiter, rate, key) = (Limiter::default(), rate(algorithm, 1_000, window), key(0, "u"));
        let kept = at_once(64, |thread| {
            for _ in 0..20 {
                let charge = charge_one(&limiter, &rate, &key, 2, START).expect("64 times 2 and a few fit");
                limiter.give_back(&charge.receipts()[0], START);
            }
            charge_one(&limiter, &rate, &key, 1 + thread % 3, START).is_ok()
        });
        assert_eq!(kept, 64, "{algorithm}");
        let used: u64 = (0..64).map(|thread| 1 + thread % 3).sum();
        assert_eq!(limiter.peek(&ask(&rate, &key, 0), START).remaining, 1_000 - used, "{algorithm}");
    }
}
