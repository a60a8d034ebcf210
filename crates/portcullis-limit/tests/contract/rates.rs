//! One key that is held to another rate from request to request, as one by reputation is.

use portcullis_limit::Rate;

use super::{Case, START, rate, window};

pub(crate) fn l12_rates_that_take_turns_admit_no_more_together_than_the_largest_alone(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (case, window) = (case.anew(), window(algorithm));
        let key = case.key(0, "u");
        let rates: [Rate; 3] = [2, 5, 10].map(|count| rate(algorithm, count, window));
        let [small, _, large] = &rates;
        assert_eq!(case.drain(small, &key, START), 2, "{algorithm}");
        // What was admitted counts whatever it was admitted by.
        assert!(case.drain(large, &key, START) <= 8, "{algorithm}");
        for step in 0..30 {
            // A refusal by the smallest makes no room for the largest.
            for rate in [small, &rates[step % 3], large] {
                assert!(case.charge_one(rate, &key, 1, START).is_err(), "{algorithm}, step {step}");
            }
        }
        assert_eq!(case.peek(&super::ask(large, &key, 0), START).remaining, 0, "{algorithm}");
        // The smaller rate tells when it admits, not when the larger does.
        let waits = [small, large].map(|rate| case.charge_one(rate, &key, 1, START).expect_err("refused").retry_after);
        assert!(waits[0] >= waits[1], "{algorithm}: {waits:?}");
        assert!(case.charge_one(small, &key, 1, START.after(waits[0])).is_ok(), "{algorithm}");
    }
}
