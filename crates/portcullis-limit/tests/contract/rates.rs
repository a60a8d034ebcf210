//! What is held to another rate from request to request, as a limit by plan or by reputation does: in one cell where the rates
//! have one window, and apart where they have not.

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

pub(crate) fn l4_rates_of_several_windows_under_keys_that_name_them_never_begin_each_other_anew(case: &Case<'_>) {
    for algorithm in case.algorithms() {
        let (case, window) = (case.anew(), window(algorithm));
        let [small, large] = [(2, window), (3, window * 7)].map(|(count, window)| rate(algorithm, count, window));
        assert!(!small.counts_like(&large), "{algorithm}");
        let [small_key, large_key] = [small, large].map(|rate| {
            let mut key = case.key(0, "u");
            key.push_rate(&rate);
            key
        });
        let mut admitted = [0; 2];
        for _ in 0..20 {
            admitted[0] += u32::from(case.charge_one(&small, &small_key, 1, START).is_ok());
            admitted[1] += u32::from(case.charge_one(&large, &large_key, 1, START).is_ok());
        }
        assert_eq!(admitted, [2, 3], "{algorithm}");
    }
}
