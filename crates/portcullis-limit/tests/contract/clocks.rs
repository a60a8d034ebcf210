//! Clocks of two servers never agree exactly, and one may be set back: neither opens a limit, and neither locks one for good.

use std::time::Duration;

use portcullis_core::Timestamp;
use portcullis_limit::Algorithm;

use super::{Case, START, TICK, ask, rate, window};

pub(crate) fn l14_a_server_whose_clock_is_a_moment_behind_does_not_open_a_window(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (rate, key) = (rate(algorithm, 10, window(algorithm)), case.anew().key(0, "u"));
        let boundary = START.after(window(algorithm));
        let before = boundary.before(Duration::from_millis(1));
        // The window before the boundary is spent, then one clock is already in the next while the other is not yet.
        assert_eq!(case.drain(&rate, &key, before), 10, "{algorithm}");
        let next = case.drain(&rate, &key, boundary);
        let behind = case.drain(&rate, &key, before);
        let again = case.drain(&rate, &key, boundary);
        assert!(next + behind + again <= 10, "{algorithm}: {next} + {behind} + {again} after the boundary");
        if !matches!(algorithm, Algorithm::FixedWindow | Algorithm::Calendar) {
            assert_eq!(next + behind + again, 0, "{algorithm}");
        }
    }
}

pub(crate) fn l14_a_clock_set_back_far_neither_opens_nor_locks_a_limit(case: &Case<'_>) {
    if !case.subject.may_be_set_back() {
        return;
    }
    for algorithm in case.algorithms() {
        // The counter is the hard case: its spent window is the previous one when the clock jumps, to the end of one.
        let window = window(algorithm);
        for jump_from in [Duration::ZERO, window] {
            let (rate, key) = (rate(algorithm, 10, window), case.anew().key(0, "u"));
            case.drain(&rate, &key, START);
            case.drain(&rate, &key, START.after(jump_from));
            let past = START.before(window * 1440).after(window - Duration::from_millis(1));
            assert_eq!(case.drain(&rate, &key, past), 0, "{algorithm}: set back, it opened");
            let later = past.after(window * 2);
            assert!(case.drain(&rate, &key, later) > 0, "{algorithm}: still locked after two windows");
        }
    }
}

pub(crate) fn l14_whoever_waits_exactly_as_long_as_told_is_admitted(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        // Counts that do not divide the window, and moments that no unit falls on.
        for (count, cost, millis) in [(3, 1, 1), (7, 3, 17), (11, 11, 59_999), (299, 13, 30_001)] {
            let (rate, key) = (rate(algorithm, count, window(algorithm)), case.anew().key(0, "u"));
            let mut now = START.after(Duration::from_millis(millis));
            let mut refused = 0;
            for _ in 0..(count / cost * 2 + 6) {
                if let Err(denied) = case.charge_one(&rate, &key, cost, now) {
                    refused += 1;
                    assert!(denied.retry_after > Duration::ZERO, "{algorithm}");
                    assert_eq!(denied.standing.reset_at, denied.standing.at.after(denied.retry_after), "{algorithm}");
                    let too_early = now.after(denied.retry_after - TICK);
                    assert!(case.peek(&ask(&rate, &key, cost), too_early).would_refuse, "{algorithm}: too late");
                    now = now.after(denied.retry_after);
                    assert_eq!(now, Timestamp::from_nanos(now.as_nanos() / 1000 * 1000).max(now), "{algorithm}");
                    assert!(case.charge_one(&rate, &key, cost, now).is_ok(), "{algorithm} of {count}: too early");
                }
            }
            assert!(refused > 1, "{algorithm} of {count}");
        }
    }
}
