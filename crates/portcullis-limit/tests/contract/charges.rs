//! Stacks of limits: charged together or not at all, given back exactly, reported without being enforced.

use std::time::Duration;

use portcullis_core::Timestamp;
use portcullis_limit::{Algorithm, Ask, Rate, Standing};

use super::{Case, START, TICK, ask, rate, window};

const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn l1_a_bucket_admits_its_whole_burst_at_once_even_where_the_quota_does_not_divide_the_window(
    case: &Case<'_>,
) {
    for count in [3, 7, 13, 101] {
        for algorithm in case.algorithms() {
            let (rate, key) = (rate(algorithm, count, window(algorithm)), case.anew().key(0, "u"));
            let admitted = (0..2 * count).filter(|_| case.charge_one(&rate, &key, 1, START).is_ok()).count();
            assert_eq!(admitted as u64, count, "{algorithm}");
        }
    }
}

pub(crate) fn l1_a_leaky_bucket_lets_requests_wait_for_their_turn(case: &Case<'_>) {
    if !case.algorithms().contains(&Algorithm::LeakyBucket) {
        return;
    }
    let rate = Rate::new("7 per minute".parse().expect("a quota"), Algorithm::LeakyBucket, Some(2)).expect("a rate");
    let (rate, key) = (rate.with_max_delay(MINUTE / 2).expect("a queue"), case.key(0, "u"));
    let delays: Vec<Duration> =
        (0..20).map_while(|_| case.charge_one(&rate, &key, 1, START).ok()).map(|charge| charge.delay()).collect();
    // A seventh of a minute for each, rounded up; half a minute holds three and a half.
    let turn = Duration::from_nanos(8_571_428_572);
    assert_eq!(delays, [Duration::ZERO, Duration::ZERO, turn, turn * 2, turn * 3]);
    let reported = Ask { enforce: false, ..ask(&rate, &case.key(1, "u"), 3) };
    assert_eq!(case.charge(&[reported], START).expect("it is admitted").delay(), Duration::ZERO);
}

pub(crate) fn l6_a_refused_request_is_charged_nowhere(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let window = window(algorithm);
        let (wide, narrow) = (rate(algorithm, 10, window), rate(algorithm, 1, window));
        let case = case.anew();
        let (a, b) = (case.key(0, "u"), case.key(1, "u"));
        let stack = [ask(&wide, &a, 1), ask(&narrow, &b, 1)];
        case.charge(&stack, START).expect("it is admitted");
        for _ in 0..50 {
            assert_eq!(case.charge(&stack, START).expect_err("it is refused").standing.limit, 1, "{algorithm}");
        }
        assert_eq!(case.peek(&ask(&wide, &a, 0), START).remaining, 9, "{algorithm}");
    }
}

pub(crate) fn l6_the_longest_wait_is_told_and_whoever_waits_it_is_admitted(case: &Case<'_>) {
    let rates = [
        rate(Algorithm::FixedWindow, 1, MINUTE),
        rate(case.carried(Algorithm::SlidingWindowLog), 1, MINUTE * 60),
        rate(case.carried(Algorithm::TokenBucket), 2, MINUTE),
    ];
    let keys = [case.key(0, "u"), case.key(1, "u"), case.key(2, "u")];
    let stack: Vec<Ask<'_>> = rates.iter().zip(&keys).map(|(rate, key)| ask(rate, key, 1)).collect();
    case.charge(&stack, START).expect("it is admitted");
    let denied = case.charge(&stack, START).expect_err("it is refused");
    assert_eq!((denied.standing.limit, denied.retry_after), (1, MINUTE * 60));
    let wait = denied.retry_after;
    assert!(case.charge(&stack, START.after(wait - TICK)).is_err());
    assert!(case.charge(&stack, START.after(wait)).is_ok());
}

pub(crate) fn l6_one_key_asked_twice_in_a_stack_is_spent_twice(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (rate, key) = (rate(algorithm, 3, window(algorithm)), case.anew().key(0, "u"));
        let twice = [ask(&rate, &key, 1), ask(&rate, &key, 1)];
        let charge = case.charge(&twice, START).expect("it is admitted");
        assert_eq!(
            charge.standings().iter().map(|standing| standing.remaining).collect::<Vec<_>>(),
            [2, 1],
            "{algorithm}"
        );
        assert!(case.charge(&twice, START).is_err(), "{algorithm}: four of three");
        assert!(case.charge_one(&rate, &key, 1, START).is_ok(), "{algorithm}");
        assert!(case.charge_one(&rate, &key, 1, START).is_err(), "{algorithm}");
    }
}

pub(crate) fn l6_a_cost_over_the_capacity_is_never_admitted_and_never_promised(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (rate, key) = (rate(algorithm, 3, window(algorithm)), case.anew().key(0, "u"));
        let denied = case.charge_one(&rate, &key, 4, START).expect_err("it is refused");
        assert_eq!(denied.standing.reset_at, Timestamp::MAX, "{algorithm}");
        let reported = Ask { enforce: false, ..ask(&rate, &key, u64::MAX) };
        assert!(case.charge(&[reported], START).expect("it is admitted").standings()[0].would_refuse, "{algorithm}");
        assert_eq!(case.drain(&rate, &key, START), 3, "{algorithm}");
    }
}

pub(crate) fn l6_a_cost_of_nothing_is_admitted_and_charges_nothing(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (rate, key) = (rate(algorithm, 3, window(algorithm)), case.anew().key(0, "u"));
        let charge = case.charge_one(&rate, &key, 0, START).expect("it is admitted");
        assert!(charge.receipts().is_empty(), "{algorithm}");
        assert!(!case.reset(&key), "{algorithm}: something was written");
        case.charge_one(&rate, &key, 3, START).expect("it is admitted");
        assert_eq!(
            case.charge_one(&rate, &key, 0, START).expect("it is admitted").standings()[0].remaining,
            0,
            "{algorithm}"
        );
    }
}

pub(crate) fn l6_what_is_given_back_is_as_if_it_had_never_been_charged(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (rate, key) = (rate(algorithm, 10, window(algorithm)), case.anew().key(0, "u"));
        case.charge_one(&rate, &key, 3, START).expect("it is admitted");
        let before = case.peek(&ask(&rate, &key, 1), START);
        let charge = case.charge_one(&rate, &key, 5, START).expect("it is admitted");
        assert_ne!(case.peek(&ask(&rate, &key, 1), START), before, "{algorithm}");
        case.give_back(&charge.receipts()[0], START);
        assert_eq!(case.peek(&ask(&rate, &key, 1), START), before, "{algorithm}");
    }
}

pub(crate) fn l6_what_is_given_back_in_part_leaves_exactly_the_rest(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let rate = rate(algorithm, 20, window(algorithm));
        // A little later none of the ten, and not even three, have come back by themselves.
        for (part, late) in [(7, 0), (10, 0), (0, 0), (1, 0), (11, 0), (7, 5)] {
            // The twin was charged from the beginning what stays counted.
            let (case, stays) = (case.anew(), 10_u64.saturating_sub(part));
            let (key, twin) = (case.key(0, "u"), case.key(1, "u"));
            let charge = case.charge_one(&rate, &key, 10, START).expect("it is admitted");
            case.charge_one(&rate, &key, 2, START).expect("it is admitted");
            case.charge_one(&rate, &twin, 2 + stays, START).expect("it is admitted");
            let later = START.after(Duration::from_secs(late));
            case.give_back(&charge.receipts()[0].part(part), later);
            let [ours, theirs] =
                [&key, &twin].map(|key| Standing { limit: 0, ..case.peek(&ask(&rate, key, 0), later) });
            assert_eq!(ours, theirs, "{algorithm}: {part} of 10");
            let [ours, theirs] = [&key, &twin].map(|key| case.drain(&rate, key, later));
            assert_eq!(ours, theirs, "{algorithm}: {part} of 10");
            assert!(late > 0 || ours == 18 - stays, "{algorithm}: {part} of 10 left {ours}");
        }
    }
}

pub(crate) fn l6_what_is_given_back_one_by_one_leaves_what_others_were_charged(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (rate, key) = (rate(algorithm, 20, window(algorithm)), case.anew().key(0, "u"));
        for round in 1..=4 {
            let charge = case.charge_one(&rate, &key, 10, START).expect("it is admitted");
            case.give_back(&charge.receipts()[0].part(7), START);
            assert_eq!(case.peek(&ask(&rate, &key, 0), START).remaining, 20 - 3 * round, "{algorithm}");
            if 20 - 3 * round < 10 {
                assert!(
                    case.charge_one(&rate, &key, 10, START).is_err(),
                    "{algorithm}: never more than the quota at once"
                );
                break;
            }
        }
    }
}

pub(crate) fn l6_a_part_given_back_at_the_windows_end_leaves_exactly_the_rest(case: &Case<'_>) {
    // A bucket has no window.
    for algorithm in case.algorithms().into_iter().filter(|algorithm| !algorithm.has_burst()) {
        let window = window(algorithm);
        let rate = rate(algorithm, 20, window);
        // The answer comes in the last moment of the window, in the first of the next, and when all is over.
        for late in [window - TICK, window, window + TICK, window * 2 - TICK, window * 2, window * 3] {
            let (case, later) = (case.anew(), START.after(late));
            let (key, twin) = (case.key(0, "u"), case.key(1, "u"));
            let charge = case.charge_one(&rate, &key, 10, START).expect("it is admitted");
            case.charge_one(&rate, &twin, 3, START).expect("it is admitted");
            for key in [&key, &twin] {
                case.charge_one(&rate, key, 4, later).expect("it is admitted");
            }
            case.give_back(&charge.receipts()[0].part(7), later);
            for moment in [later, later.after(window / 3), later.after(window)] {
                let [ours, theirs] =
                    [&key, &twin].map(|key| Standing { limit: 0, ..case.peek(&ask(&rate, key, 1), moment) });
                assert_eq!(ours, theirs, "{algorithm}, given back {late:?} after, seen at {moment}");
            }
        }
    }
}

pub(crate) fn l6_a_late_refund_gives_nothing_that_had_already_run_out(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let window = window(algorithm);
        let (rate, key) = (rate(algorithm, 10, window), case.anew().key(0, "u"));
        let charge = case.charge_one(&rate, &key, 10, START).expect("it is admitted");
        let later = START.after(window * 2);
        case.charge_one(&rate, &key, 4, later).expect("it is admitted");
        case.give_back(&charge.receipts()[0], later);
        assert_eq!(case.drain(&rate, &key, later), 6, "{algorithm}");
    }
}

pub(crate) fn l6_a_key_that_is_reset_starts_anew(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (rate, key) = (rate(algorithm, 2, window(algorithm)), case.anew().key(0, "u"));
        case.charge_one(&rate, &key, 2, START).expect("it is admitted");
        assert!(case.charge_one(&rate, &key, 1, START).is_err());
        assert!(case.reset(&key) && !case.reset(&key));
        assert!(case.charge_one(&rate, &key, 2, START).is_ok());
    }
}

pub(crate) fn l9_a_limit_that_only_reports_says_exactly_what_it_would_have_done(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (rate, enforced, reported) =
            (rate(algorithm, 5, window(algorithm)), case.anew().key(0, "u"), case.anew().key(0, "u"));
        // A client that never stops: it must be seen to be admitted again, as it would be (a refused one costs nothing).
        for second in (0..300).step_by(4) {
            let now = START.after(Duration::from_secs(second));
            let refused = case.charge_one(&rate, &enforced, 1, now).is_err();
            let report =
                case.charge(&[Ask { enforce: false, ..ask(&rate, &reported, 1) }], now).expect("it is admitted");
            assert_eq!(report.standings()[0].would_refuse, refused, "{algorithm} at {second} s");
            assert_eq!(report.receipts().len(), usize::from(!refused), "{algorithm} at {second} s");
        }
    }
}

pub(crate) fn l9_a_stack_that_reports_and_enforces_is_charged_as_one(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let window = window(algorithm);
        let (candidate, live) = (rate(algorithm, 1, window), rate(algorithm, 2, window));
        let case = case.anew();
        let (a, b) = (case.key(0, "u"), case.key(1, "u"));
        let stack = [Ask { enforce: false, ..ask(&candidate, &a, 1) }, ask(&live, &b, 1)];
        let told: Vec<_> = (0..2).map(|_| case.charge(&stack, START).expect("it is admitted")).collect();
        let told: Vec<_> =
            told.iter().map(|charge| (charge.standings()[0].would_refuse, charge.receipts().len())).collect();
        assert_eq!(told, [(false, 2), (true, 1)], "{algorithm}");
        let denied = case.charge(&stack, START).expect_err("it is refused");
        assert_eq!(denied.standing.limit, 1, "{algorithm}");
    }
}

pub(crate) fn l2_another_algorithm_or_quota_under_the_same_key_neither_fails_nor_opens_it_twice(case: &Case<'_>) {
    let day = Duration::from_secs(86_400);
    for before in case.algorithms() {
        for after in case.algorithms() {
            let key = case.anew().key(0, "u");
            case.charge_one(&rate(before, 10, day), &key, 4, START).expect("it is admitted");
            let smaller = rate(after, 5, day);
            let admitted = case.drain(&smaller, &key, START);
            // Of another algorithm nothing is known; of the same one everything, under the quota that is now.
            assert!(if before == after { admitted <= 5 } else { admitted == 5 }, "{before}, then {after}: {admitted}");
            assert_eq!(case.drain(&smaller, &key, START), 0, "{before}, then {after}");
        }
    }
}
