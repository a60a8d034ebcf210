//! What each algorithm promises (L14), held against random loads.

use std::time::Duration;

use portcullis_core::Timestamp;
use proptest::prelude::*;

use super::Cell;
use crate::calendar::Period;
use crate::quota::Quota;
use crate::rate::{Algorithm, Rate};

/// Aligned to every window used here.
const START: u64 = 1_795_219_200_000_000_000;

/// A rate and the requests that ask it: moments, at most a quarter of a window out of order, and costs.
#[derive(Clone, Debug)]
struct Load {
    rate: Rate,
    requests: Vec<(Timestamp, u64)>,
}

/// One that was admitted: by which moment the cell judged, when it may leave, and its cost.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    at: u64,
    leaves: u64,
    cost: u64,
}

fn loads(algorithm: Algorithm) -> impl Strategy<Value = Load> {
    rates(algorithm).prop_flat_map(|rate| {
        let window = rate.quota().window_nanos();
        // Mostly crowded, now and then a pause in which everything is forgotten.
        let gap = prop_oneof![8 => 0..=window / 8, 4 => 0..=window, 1 => 0..=3 * window, 2 => Just(0)];
        let request = (gap, 0..=window / 4, 1..=rate.capacity().min(4));
        prop::collection::vec(request, 1..120).prop_map(move |steps| {
            let mut clock = START;
            let requests = steps.into_iter().map(|(gap, behind, cost)| {
                clock += gap;
                // Every third request or so comes from a core whose clock is behind.
                let behind = if behind % 3 == 0 { behind } else { 0 };
                (Timestamp::from_nanos(clock - behind), cost)
            });
            Load { rate, requests: requests.collect() }
        })
    })
}

fn rates(algorithm: Algorithm) -> impl Strategy<Value = Rate> {
    let windows = prop::sample::select(vec![1_u64, 7, 1_000, 60_000]);
    let periods = prop::sample::select(vec![Period::Day, Period::Week, Period::Month, Period::Year]);
    let zones = prop::sample::select(vec!["UTC", "Europe/Berlin", "Pacific/Apia", "Africa/Cairo"]);
    (1_u64..30, windows, 1_u64..40, 0..4_u32, (periods, zones)).prop_map(
        move |(count, millis, burst, queue, (period, zone))| {
            if algorithm == Algorithm::Calendar {
                let quota = Quota::per(count, period).unwrap();
                return Rate::new(quota, algorithm, None).unwrap().in_time_zone(zone).unwrap();
            }
            let window = Duration::from_millis(millis);
            let quota = Quota::new(count, window).unwrap();
            let rate = Rate::new(quota, algorithm, algorithm.has_burst().then_some(burst)).unwrap();
            match algorithm {
                // Every fourth does not shape; a queue need not be a whole number of turns long.
                Algorithm::LeakyBucket => rate.with_max_delay(window * queue / 3).unwrap(),
                _ => rate,
            }
        },
    )
}

/// Runs a load and checks on the way what holds for every algorithm.
fn run(load: &Load) -> Result<Vec<Admitted>, TestCaseError> {
    let rate = &load.rate;
    let mut cell = Cell::new(rate.algorithm());
    let mut admitted = Vec::new();
    for (now, cost) in &load.requests {
        let at = cell.advance(rate, *now);
        prop_assert!(at >= *now);
        let said = cell.assess(rate, *cost, at);
        prop_assert!(said.delay <= rate.max_delay());
        match said.retry_at {
            None => {
                let before = cell.clone();
                cell.charge(rate, *cost, at);
                let leaves = at.after(said.delay).as_nanos();
                admitted.push(Admitted { at: at.as_nanos(), leaves, cost: *cost });

                let mut back = cell.clone();
                back.give_back(rate, *cost, at);
                back.advance(rate, at);
                for cost in 1..=rate.capacity() {
                    prop_assert_eq!(back.assess(rate, cost, at), before.assess(rate, cost, at), "given back");
                }
            }
            Some(retry_at) => {
                // Whoever comes again in between, and is refused, is told the same moment: refusals push nothing.
                let mut again = cell.clone();
                let asked_again = again.advance(rate, at.after(retry_at.since(at) / 2));
                if asked_again < retry_at {
                    prop_assert_eq!(again.assess(rate, *cost, asked_again).retry_at, Some(retry_at), "pushed");
                }
                prop_assert!(retry_at > at, "a refusal promises the future");
                prop_assert!(!admits(&cell, rate, *cost, Timestamp::from_nanos(retry_at.as_nanos() - 1)), "too late");
                prop_assert!(admits(&cell, rate, *cost, retry_at), "too early");
                prop_assert!(admits(&cell, rate, *cost, retry_at.after(rate.quota().window() / 3)), "and not for long");
            }
        }
        // What is left is exactly what one more request could take now, and the whole quota is back when told.
        if said.remaining > 0 {
            prop_assert!(admits(&cell, rate, said.remaining, at));
        }
        prop_assert!(!admits(&cell, rate, said.remaining + 1, at));
        prop_assert!(admits(&cell, rate, rate.capacity(), said.full_at.max(at)));
        vanishes(&cell, rate)?;
    }
    Ok(admitted)
}

/// Whether a copy of the cell would admit the cost at that moment.
fn admits(cell: &Cell, rate: &Rate, cost: u64, at: Timestamp) -> bool {
    let mut cell = cell.clone();
    let at = cell.advance(rate, at);
    cell.assess(rate, cost, at).retry_at.is_none()
}

/// From the moment it names, a cell says the same as one that never was.
fn vanishes(cell: &Cell, rate: &Rate) -> Result<(), TestCaseError> {
    for wait in [0, 1, 3] {
        let at = cell.expires_at(rate).after(rate.quota().window() * wait / 2);
        let (mut held, mut fresh) = (cell.clone(), Cell::new(rate.algorithm()));
        prop_assert_eq!(held.advance(rate, at), fresh.advance(rate, at));
        for cost in 1..=rate.capacity() {
            prop_assert_eq!(held.assess(rate, cost, at), fresh.assess(rate, cost, at), "idle, and not forgotten");
        }
    }
    Ok(())
}

/// Every run of consecutive admissions: the length of the interval that holds their moments, and their sum.
fn runs(admitted: &[Admitted], moment: fn(&Admitted) -> u64) -> impl Iterator<Item = (u64, u64)> {
    (0..admitted.len()).flat_map(move |first| {
        let (mut earliest, mut latest, mut sum) = (u64::MAX, 0, 0);
        admitted[first..].iter().map(move |one| {
            (earliest, latest, sum) = (earliest.min(moment(one)), latest.max(moment(one)), sum + one.cost);
            (latest - earliest, sum)
        })
    })
}

fn no_aligned_window_exceeds_the_quota(rate: &Rate, admitted: &[Admitted]) -> Result<(), TestCaseError> {
    let window = rate.quota().window_nanos();
    for chunk in admitted.chunk_by(|a, b| a.at / window == b.at / window) {
        let sum: u64 = chunk.iter().map(|one| one.cost).sum();
        prop_assert!(sum <= rate.quota().count(), "{sum} in one window");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn l14_a_token_bucket_admits_at_most_its_burst_and_what_flows_in(load in loads(Algorithm::TokenBucket)) {
        let (count, window) = (u128::from(load.rate.quota().count()), u128::from(load.rate.quota().window_nanos()));
        let burst = u128::from(load.rate.capacity());
        for (length, sum) in runs(&run(&load)?, |one| one.at) {
            prop_assert!(u128::from(sum) * window <= burst * window + u128::from(length) * count);
        }
    }

    #[test]
    fn l14_a_leaky_bucket_lets_at_most_its_burst_and_what_flows_out_leave(load in loads(Algorithm::LeakyBucket)) {
        let interval = u128::from(load.rate.interval_nanos());
        let admitted = run(&load)?;
        // A request may cost more than the burst; it then leaves at once, but not before all that it costs has its turn.
        let costliest = admitted.iter().map(|one| one.cost).max().unwrap_or(1);
        let burst = u128::from(load.rate.burst().max(costliest));
        for (length, sum) in runs(&admitted, |one| one.leaves) {
            prop_assert!(u128::from(sum) * interval <= burst * interval + u128::from(length));
        }
        // The queue is bounded: what is admitted is what leaves, the longest delay later at most.
        let delay = load.rate.max_delay().as_nanos();
        for (length, sum) in runs(&admitted, |one| one.at) {
            prop_assert!(u128::from(sum) * interval <= burst * interval + u128::from(length) + delay);
        }
    }

    #[test]
    fn l14_a_leaky_bucket_lets_requests_leave_in_the_order_in_which_they_came(load in loads(Algorithm::LeakyBucket)) {
        let mut load = load;
        load.requests.sort_unstable();
        prop_assert!(run(&load)?.is_sorted_by_key(|one| one.leaves));
    }

    #[test]
    fn l14_a_calendar_admits_at_most_its_quota_in_each_period(load in loads(Algorithm::Calendar)) {
        let calendar = load.rate.calendar().unwrap();
        let stretch = |one: &Admitted| calendar.around(Timestamp::from_nanos(one.at)).start;
        for chunk in run(&load)?.chunk_by(|a, b| stretch(a) == stretch(b)) {
            let sum: u64 = chunk.iter().map(|one| one.cost).sum();
            prop_assert!(sum <= load.rate.quota().count(), "{sum} in one period");
        }
    }

    #[test]
    fn l14_a_fixed_window_admits_at_most_its_quota_in_each_aligned_window(load in loads(Algorithm::FixedWindow)) {
        no_aligned_window_exceeds_the_quota(&load.rate, &run(&load)?)?;
    }

    #[test]
    fn l14_a_sliding_log_admits_at_most_its_quota_in_any_window(load in loads(Algorithm::SlidingWindowLog)) {
        let quota = load.rate.quota();
        for (length, sum) in runs(&run(&load)?, |one| one.at) {
            prop_assert!(length >= quota.window_nanos() || sum <= quota.count());
        }
    }

    #[test]
    fn l14_a_sliding_counter_keeps_its_error_bound(load in loads(Algorithm::SlidingWindowCounter)) {
        let admitted = run(&load)?;
        no_aligned_window_exceeds_the_quota(&load.rate, &admitted)?;
        let (count, window) = (u128::from(load.rate.quota().count()), u128::from(load.rate.quota().window_nanos()));
        for (length, sum) in runs(&admitted, |one| one.at) {
            let length = u128::from(length);
            prop_assert!(length >= window || u128::from(sum) * window <= count * (window + length));
        }
    }
}

/// A load whose requests are held to three rates in turns, each with a burst as much smaller as its quota is, and the largest.
fn turns(algorithm: Algorithm) -> impl Strategy<Value = (Rate, Vec<(Timestamp, Rate)>)> {
    let rates = |algorithm: Algorithm, burst: u64| {
        [60_u64, 20, 3].map(|count| {
            let quota = Quota::new(count, Duration::from_secs(60)).unwrap();
            let burst = algorithm.has_burst().then_some((burst * count / 60).max(1));
            Rate::new(quota, algorithm, burst).unwrap()
        })
    };
    let step = (prop_oneof![3 => Just(0_u64), 3 => 0_u64..2_000, 1 => 0_u64..90_000], 0_usize..3);
    (1_u64..150, prop::collection::vec(step, 1..300)).prop_map(move |(burst, steps)| {
        let (rates, mut clock) = (rates(algorithm, burst), START);
        let requests = steps.into_iter().map(|(gap, class)| {
            clock += gap * 1_000_000;
            (Timestamp::from_nanos(clock), rates[class])
        });
        (rates[0], requests.collect())
    })
}

/// What is admitted where the rate changes from request to request.
fn run_in_turns(requests: &[(Timestamp, Rate)]) -> Vec<Admitted> {
    let mut cell = Cell::new(requests[0].1.algorithm());
    let mut admitted = Vec::new();
    for (now, rate) in requests {
        let at = cell.advance(rate, *now);
        if cell.assess(rate, 1, at).retry_at.is_none() {
            cell.charge(rate, 1, at);
            admitted.push(Admitted { at: at.as_nanos(), leaves: at.as_nanos(), cost: 1 });
        }
    }
    admitted
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn l12_buckets_whose_rates_take_turns_promise_what_the_largest_does(
        (largest, requests) in prop::sample::select(vec![Algorithm::TokenBucket, Algorithm::LeakyBucket]).prop_flat_map(turns)
    ) {
        for (length, sum) in runs(&run_in_turns(&requests), |one| one.at) {
            prop_assert!(sum <= largest.burst() + length / largest.interval_nanos(), "{sum} in {length} ns");
        }
    }

    #[test]
    fn l12_a_log_whose_rates_take_turns_promises_what_the_largest_does((largest, requests) in turns(Algorithm::SlidingWindowLog)) {
        for (length, sum) in runs(&run_in_turns(&requests), |one| one.at) {
            prop_assert!(length >= largest.quota().window_nanos() || sum <= largest.quota().count());
        }
    }

    #[test]
    fn l12_windows_whose_rates_take_turns_promise_what_the_largest_does(
        (largest, requests) in
            prop::sample::select(vec![Algorithm::FixedWindow, Algorithm::SlidingWindowCounter]).prop_flat_map(turns)
    ) {
        no_aligned_window_exceeds_the_quota(&largest, &run_in_turns(&requests))?;
    }
}

#[test]
fn l14_the_counters_bound_is_reached_and_so_cannot_be_promised_smaller() {
    let rate = Rate::new("100 per minute".parse().unwrap(), Algorithm::SlidingWindowCounter, None).unwrap();
    let (mut cell, minute) = (Cell::new(rate.algorithm()), rate.quota().window());
    let end = Timestamp::from_nanos(START).after(minute).before(Duration::from_nanos(1));
    let at = cell.advance(&rate, end);
    cell.charge(&rate, 100, at);
    // From the very end of one window to nearly the end of the next: as much again, but only bit by bit.
    let mut more = 0;
    for step in 0..6_000 {
        let now = Timestamp::from_nanos(START).after(minute + Duration::from_millis(10) * step);
        let at = cell.advance(&rate, now);
        while cell.assess(&rate, 1, at).retry_at.is_none() {
            cell.charge(&rate, 1, at);
            more += 1;
        }
        assert!(more <= 100 * (u64::from(step) + 1) / 6_000 + 1, "{more} after {step} steps");
    }
    assert_eq!(more, 99);
}

#[test]
fn a_cell_stays_small() {
    assert!(size_of::<Cell>() <= 40, "{} bytes", size_of::<Cell>());
}
