//! What an operator does to one key: a penalty, a reward, a block.

use std::time::Duration;

use portcullis_core::Timestamp;
use portcullis_limit::{Algorithm, Ask};

use super::{Case, START, TICK, ask, rate, window};

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn l6_a_key_that_nobody_spends_is_whole_by_now_or_by_the_windows_end(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (rate, key) = (rate(algorithm, 10, window(algorithm)), case.anew().key(0, "u"));
        let aligned =
            matches!(algorithm, Algorithm::FixedWindow | Algorithm::SlidingWindowCounter | Algorithm::Calendar);
        let check = |what: &str, now: Timestamp| {
            let shown = case.peek(&ask(&rate, &key, 0), now);
            assert_eq!(shown.remaining, 10, "{algorithm}, {what}");
            let by = if aligned { now.after(window(algorithm)) } else { shown.at };
            assert!(shown.at <= shown.reset_at && shown.reset_at <= by, "{algorithm}, {what}: {shown:?}");
            // What could never fit finds it as whole.
            let denied = case.charge_one(&rate, &key, 11, now).expect_err("it is more than there is");
            assert_eq!(denied.standing.remaining, 10, "{algorithm}, {what}");
        };
        check("never seen", START);
        case.charge_one(&rate, &key, 4, START).expect("there is room");
        check("all ran out", START.after(window(algorithm) * 2));
    }
}

pub(crate) fn l6_a_penalty_takes_what_is_left_and_never_more(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (rate, key) = (rate(algorithm, 10, window(algorithm)), case.anew().key(0, "u"));
        let left = || case.peek(&ask(&rate, &key, 0), START).remaining;
        assert_eq!(case.take(&ask(&rate, &key, 4), START), 4, "{algorithm}");
        assert_eq!(left(), 6, "{algorithm}");
        assert_eq!(case.take(&ask(&rate, &key, 0), START), 0, "{algorithm}");
        assert_eq!(case.take(&ask(&rate, &key, 50), START), 6, "{algorithm}");
        assert_eq!((left(), case.take(&ask(&rate, &key, 1), START)), (0, 0), "{algorithm}");
        let denied = case.charge_one(&rate, &key, 1, START).expect_err("nothing is left");
        assert!(!denied.standing.blocked, "{algorithm}");
        // It runs out as what requests have spent does.
        assert_eq!(case.drain(&rate, &key, START.after(window(algorithm) * 2)), 10, "{algorithm}");
    }
}

pub(crate) fn l6_a_reward_gives_back_so_many_units_and_never_more_than_lack(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (rate, key) = (rate(algorithm, 10, window(algorithm)), case.anew().key(0, "u"));
        let left = || case.peek(&ask(&rate, &key, 0), START).remaining;
        // Of a key that nobody has spent nothing lacks.
        case.reward(&ask(&rate, &key, 3), START);
        assert_eq!(left(), 10, "{algorithm}");
        let first = case.charge_one(&rate, &key, 6, START).expect("there is room");
        case.charge_one(&rate, &key, 4, START).expect("there is room");
        case.charge_one(&rate, &key, 1, START).expect_err("nothing is left");
        case.reward(&ask(&rate, &key, 3), START);
        assert_eq!(left(), 3, "{algorithm}");
        assert_eq!(case.drain(&rate, &key, START), 3, "{algorithm}");
        case.reward(&ask(&rate, &key, 0), START);
        assert_eq!(left(), 0, "{algorithm}");
        case.reward(&ask(&rate, &key, 8), START);
        // A receipt of what was given back gives back what is there, at most to the whole quota.
        case.give_back(&first.receipts()[0], START);
        assert_eq!(left(), 10, "{algorithm}");
        case.charge_one(&rate, &key, 2, START).expect("there is room");
        case.reward(&ask(&rate, &key, u64::MAX), START);
        assert_eq!(case.drain(&rate, &key, START), 10, "{algorithm}");
    }
}

pub(crate) fn l6_a_reward_reaches_what_was_counted_in_the_window_before(case: &Case<'_>) {
    let algorithm = Algorithm::SlidingWindowCounter;
    if !case.algorithms().contains(&algorithm) {
        return;
    }
    for (count, units, millis) in [(10, 2, 1_000), (97, 13, 20_001), (1_000_000, 77_777, 31_234), (7, 3, 59_000)] {
        let (rate, key) = (rate(algorithm, count, window(algorithm)), case.anew().key(0, "u"));
        case.charge_one(&rate, &key, count, START).expect("there is room");
        let now = START.after(window(algorithm) + Duration::from_millis(millis));
        let before = case.peek(&ask(&rate, &key, 0), now).remaining;
        assert!(before < count, "{count}");
        let spent = (count - before).min(2).min(before);
        case.charge_one(&rate, &key, spent, now).expect("there is room");
        case.reward(&ask(&rate, &key, spent + units), now);
        assert_eq!(case.peek(&ask(&rate, &key, 0), now).remaining, (before + units).min(count), "{count}");
    }
    // A window later still it had run out by itself.
    let (rate, key) = (rate(algorithm, 10, window(algorithm)), case.anew().key(0, "u"));
    case.charge_one(&rate, &key, 10, START).expect("there is room");
    let late = START.after(window(algorithm) * 2);
    case.reward(&ask(&rate, &key, 3), late);
    assert_eq!(case.drain(&rate, &key, late), 10);
}

pub(crate) fn l6_a_blocked_key_is_refused_until_that_moment_and_then_begins_anew(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (rate, case) = (rate(algorithm, 10, window(algorithm)), case.anew());
        let (key, other) = (case.key(0, "u"), case.key(0, "other"));
        let until = START.after(HOUR);
        assert_eq!(case.block(&ask(&rate, &key, 0), HOUR, START), until, "{algorithm}");
        for at in [START, START.after(HOUR / 3), until.before(TICK)] {
            for cost in [0, 1, 11] {
                let denied = case.charge_one(&rate, &key, cost, at).expect_err("it is blocked");
                assert_eq!(denied.standing.reset_at, until, "{algorithm}: {cost}");
                assert_eq!(denied.retry_after, until.since(at), "{algorithm}: {cost}");
                assert!(denied.standing.blocked && denied.standing.remaining == 0, "{algorithm}: {denied:?}");
            }
            let shown = case.peek(&ask(&rate, &key, 0), at);
            assert!(shown.blocked && shown.reset_at == until && shown.quota == 10, "{algorithm}: {shown:?}");
            let reported = Ask { enforce: false, ..ask(&rate, &key, 1) };
            let report = case.charge(&[reported], at).expect("it only reports");
            assert!(report.standings()[0].would_refuse && report.receipts().is_empty(), "{algorithm}");
        }
        assert!(!case.peek(&ask(&rate, &other, 1), START).blocked, "{algorithm}: it is one key's");
        assert_eq!(case.drain(&rate, &key, until), 10, "{algorithm}: whoever waits as long as told is admitted");
    }
}

pub(crate) fn l6_a_block_takes_the_place_of_all_that_was_counted(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (rate, case) = (rate(algorithm, 10, window(algorithm)), case.anew());
        let (key, other) = (case.key(0, "u"), case.key(1, "u"));
        let charge = case.charge_one(&rate, &key, 4, START).expect("there is room");
        let until = case.block(&ask(&rate, &key, 0), HOUR, START);
        // Nothing that was charged before, and nothing an operator does beside, opens it or shortens it.
        case.give_back(&charge.receipts()[0], START);
        case.reward(&ask(&rate, &key, 10), START);
        assert_eq!(case.take(&ask(&rate, &key, 1), START), 0, "{algorithm}");
        // In a stack nothing is charged of the others.
        let stack = [ask(&rate, &other, 1), ask(&rate, &key, 1), ask(&rate, &key, 1)];
        for _ in 0..20 {
            let denied = case.charge(&stack, START).expect_err("it is blocked");
            assert_eq!((denied.standing.limit, denied.standing.reset_at), (0, until), "{algorithm}");
        }
        assert_eq!(case.peek(&ask(&rate, &other, 0), START).remaining, 10, "{algorithm}");
        case.charge(&stack, until).expect("it is over");
        assert_eq!(case.peek(&ask(&rate, &key, 0), until).remaining, 8, "{algorithm}");
    }
}

pub(crate) fn l6_a_block_holds_whatever_the_rate_becomes(case: &Case<'_>) {
    for before in case.algorithms() {
        let key = case.anew().key(0, "u");
        case.block(&ask(&rate(before, 2, window(before)), &key, 0), HOUR, START);
        for after in case.algorithms() {
            let rate = rate(after, 100, window(after));
            let denied = case.charge_one(&rate, &key, 1, START.after(HOUR - TICK)).expect_err("it is blocked");
            assert!(denied.standing.blocked, "{before}, then {after}");
        }
        let rate = rate(case.carried(Algorithm::SlidingWindowLog), 3, HOUR);
        assert_eq!(case.drain(&rate, &key, START.after(HOUR)), 3, "{before}");
    }
}

pub(crate) fn l6_a_block_is_lifted_by_hand_or_by_a_reset_and_nothing_else_is(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (rate, key) = (rate(algorithm, 10, window(algorithm)), case.anew().key(0, "u"));
        let left = |now: Timestamp| case.peek(&ask(&rate, &key, 0), now).remaining;
        assert!(!case.unblock(&key, START), "{algorithm}");
        case.charge_one(&rate, &key, 4, START).expect("there is room");
        assert!(!case.unblock(&key, START), "{algorithm}");
        assert_eq!(left(START), 6, "{algorithm}: what is counted stays");
        case.block(&ask(&rate, &key, 0), HOUR, START);
        assert!(case.unblock(&key, START) && !case.unblock(&key, START), "{algorithm}");
        assert_eq!(left(START), 10, "{algorithm}");
        case.block(&ask(&rate, &key, 0), HOUR, START);
        // Another block takes the place of the first, and may be shorter.
        assert_eq!(case.block(&ask(&rate, &key, 0), HOUR / 2, START), START.after(HOUR / 2), "{algorithm}");
        assert!(case.reset(&key) && !case.reset(&key), "{algorithm}");
        case.charge_one(&rate, &key, 1, START).expect("it was lifted");
        case.block(&ask(&rate, &key, 0), HOUR, START);
        assert!(!case.unblock(&key, START.after(HOUR)), "{algorithm}: it was over");
    }
}

pub(crate) fn l6_a_block_is_never_shorter_than_the_refusal_that_stands(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (rate, key) = (rate(algorithm, 1, window(algorithm)), case.anew().key(0, "u"));
        case.charge_one(&rate, &key, 1, START).expect("there is room");
        let refused = case.charge_one(&rate, &key, 1, START).expect_err("there is none");
        let until = case.block(&ask(&rate, &key, 0), Duration::from_secs(1), START);
        assert_eq!(until, refused.standing.reset_at, "{algorithm}");
        case.charge_one(&rate, &key, 1, until.before(TICK)).expect_err("it is blocked");
        case.charge_one(&rate, &key, 1, until).expect("it is over");
    }
}
