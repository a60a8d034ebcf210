//! What every store promises, asked of each of them in the same words.
//!
//! A store in memory is given the time, and so is one over a network by the switch that only tests have.

mod charges;
mod clocks;
mod likeness;
mod operate;
mod rates;

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portcullis_core::Timestamp;
use portcullis_limit::{
    Algorithm, Ask, Charge, Denied, Key, Limiter, Patience, Quota, Rate, Receipt, Refused, Standing,
};

pub(crate) use charges::*;
pub(crate) use clocks::*;
pub(crate) use likeness::*;
pub(crate) use operate::*;
pub(crate) use rates::*;

/// A moment that is a multiple of every window used here, so that aligned windows begin at it.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_795_219_200);
/// The shortest time that every store can tell apart.
pub(crate) const TICK: Duration = Duration::from_micros(1);

/// Calls a macro with the name of every promise.
macro_rules! promises {
    ($callback:ident) => {
        $callback!(
            l1_a_bucket_admits_its_whole_burst_at_once_even_where_the_quota_does_not_divide_the_window,
            l1_a_leaky_bucket_lets_requests_wait_for_their_turn,
            l6_a_refused_request_is_charged_nowhere,
            l6_the_longest_wait_is_told_and_whoever_waits_it_is_admitted,
            l6_one_key_asked_twice_in_a_stack_is_spent_twice,
            l6_a_cost_over_the_capacity_is_never_admitted_and_never_promised,
            l6_a_cost_of_nothing_is_admitted_and_charges_nothing,
            l6_what_is_given_back_is_as_if_it_had_never_been_charged,
            l6_what_is_given_back_in_part_leaves_exactly_the_rest,
            l6_what_is_given_back_one_by_one_leaves_what_others_were_charged,
            l6_a_part_given_back_at_the_windows_end_leaves_exactly_the_rest,
            l6_a_late_refund_gives_nothing_that_had_already_run_out,
            l6_a_key_that_is_reset_starts_anew,
            l6_a_key_that_nobody_spends_is_whole_by_now_or_by_the_windows_end,
            l6_a_penalty_takes_what_is_left_and_never_more,
            l6_a_reward_gives_back_so_many_units_and_never_more_than_lack,
            l6_a_reward_reaches_what_was_counted_in_the_window_before,
            l6_a_blocked_key_is_refused_until_that_moment_and_then_begins_anew,
            l6_a_block_takes_the_place_of_all_that_was_counted,
            l6_a_block_holds_whatever_the_rate_becomes,
            l6_a_block_is_lifted_by_hand_or_by_a_reset_and_nothing_else_is,
            l6_a_block_is_never_shorter_than_the_refusal_that_stands,
            l9_a_limit_that_only_reports_says_exactly_what_it_would_have_done,
            l9_a_stack_that_reports_and_enforces_is_charged_as_one,
            l2_another_algorithm_or_quota_under_the_same_key_neither_fails_nor_opens_it_twice,
            l12_rates_that_take_turns_admit_no_more_together_than_the_largest_alone,
            l14_a_server_whose_clock_is_a_moment_behind_does_not_open_a_window,
            l14_a_clock_set_back_far_neither_opens_nor_locks_a_limit,
            l14_whoever_waits_exactly_as_long_as_told_is_admitted,
            l2_every_store_answers_as_memory_does
        );
    };
}
pub(crate) use promises;

/// A store under test.
pub(crate) trait Subject {
    fn charge(&self, asks: &[Ask<'_>], now: Timestamp) -> Result<Charge, Denied>;
    fn peek(&self, ask: &Ask<'_>, now: Timestamp) -> Standing;
    fn give_back(&self, receipt: &Receipt, now: Timestamp);
    fn reset(&self, limit: &str, key: &Key) -> bool;
    fn take(&self, ask: &Ask<'_>, now: Timestamp) -> u64;
    fn reward(&self, ask: &Ask<'_>, now: Timestamp);
    fn block(&self, ask: &Ask<'_>, how_long: Duration, now: Timestamp) -> Timestamp;
    fn unblock(&self, limit: &str, key: &Key, now: Timestamp) -> bool;

    /// Whether it counts by this rate; where it does not, it promises nothing.
    fn carries(&self, _: &Rate) -> bool {
        true
    }

    /// Whether its time may be set back while it holds what was counted before.
    fn may_be_set_back(&self) -> bool {
        true
    }
}

/// What a future of a store in memory is ready with: it never waits, and one that does is a failure.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a store in memory answers at once"),
    }
}

impl Subject for Limiter {
    fn charge(&self, asks: &[Ask<'_>], now: Timestamp) -> Result<Charge, Denied> {
        let mut patience = Patience::default();
        match at_once(Self::charge(self, asks, now, &mut patience)) {
            Ok(charge) => Ok(charge),
            Err(Refused::Denied(denied)) => Err(denied),
            Err(other) => panic!("memory is never away: {other:?}"),
        }
    }

    fn peek(&self, ask: &Ask<'_>, now: Timestamp) -> Standing {
        Self::peek(self, ask, now)
    }

    fn give_back(&self, receipt: &Receipt, now: Timestamp) {
        Self::give_back(self, receipt, now);
    }

    fn reset(&self, _: &str, key: &Key) -> bool {
        self.local().reset(key)
    }

    fn take(&self, ask: &Ask<'_>, now: Timestamp) -> u64 {
        at_once(Self::take(self, ask, now)).expect("memory is never away")
    }

    fn reward(&self, ask: &Ask<'_>, now: Timestamp) {
        at_once(Self::reward(self, ask, now)).expect("memory is never away");
    }

    fn block(&self, ask: &Ask<'_>, how_long: Duration, now: Timestamp) -> Timestamp {
        at_once(Self::block(self, ask, how_long, now)).expect("memory is never away")
    }

    fn unblock(&self, limit: &str, key: &Key, now: Timestamp) -> bool {
        at_once(Self::unblock(self, limit, key, now)).expect("memory is never away")
    }
}

/// One question to a store, with keys that nobody else uses.
pub(crate) struct Case<'s> {
    subject: &'s dyn Subject,
    id: u64,
}

impl<'s> Case<'s> {
    pub(crate) fn new(subject: &'s dyn Subject) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { subject, id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// The same store with other keys.
    pub(crate) fn anew(&self) -> Self {
        Self::new(self.subject)
    }

    /// The algorithms that the store carries.
    pub(crate) fn algorithms(&self) -> Vec<Algorithm> {
        let carried = |algorithm: &Algorithm| self.subject.carries(&rate(*algorithm, 1, window(*algorithm)));
        Algorithm::ALL.into_iter().filter(carried).collect()
    }

    /// This algorithm, or one that the store carries.
    pub(crate) fn carried(&self, algorithm: Algorithm) -> Algorithm {
        if self.algorithms().contains(&algorithm) { algorithm } else { Algorithm::FixedWindow }
    }

    /// A key of a limit with one text in it.
    pub(crate) fn key(&self, limit: u32, text: &str) -> Key {
        let mut key = Key::new(limit);
        key.push_text('n', &self.id.to_string());
        key.push_text('l', &limit.to_string());
        key.push_text('u', text);
        key
    }

    pub(crate) fn charge(&self, asks: &[Ask<'_>], now: Timestamp) -> Result<Charge, Denied> {
        self.subject.charge(asks, now)
    }

    /// Charges one enforced limit.
    pub(crate) fn charge_one(&self, rate: &Rate, key: &Key, cost: u64, now: Timestamp) -> Result<Charge, Denied> {
        self.charge(&[ask(rate, key, cost)], now)
    }

    pub(crate) fn peek(&self, ask: &Ask<'_>, now: Timestamp) -> Standing {
        self.subject.peek(ask, now)
    }

    pub(crate) fn give_back(&self, receipt: &Receipt, now: Timestamp) {
        self.subject.give_back(receipt, now);
    }

    pub(crate) fn reset(&self, key: &Key) -> bool {
        self.subject.reset("tested", key)
    }

    pub(crate) fn take(&self, ask: &Ask<'_>, now: Timestamp) -> u64 {
        self.subject.take(ask, now)
    }

    pub(crate) fn reward(&self, ask: &Ask<'_>, now: Timestamp) {
        self.subject.reward(ask, now);
    }

    pub(crate) fn block(&self, ask: &Ask<'_>, how_long: Duration, now: Timestamp) -> Timestamp {
        self.subject.block(ask, how_long, now)
    }

    pub(crate) fn unblock(&self, key: &Key, now: Timestamp) -> bool {
        self.subject.unblock("tested", key, now)
    }

    /// How many single requests are admitted at one moment.
    pub(crate) fn drain(&self, rate: &Rate, key: &Key, now: Timestamp) -> u64 {
        (0..30).filter(|_| self.charge_one(rate, key, 1, now).is_ok()).count() as u64
    }
}

/// An enforced ask.
pub(crate) fn ask<'a>(rate: &'a Rate, key: &Key, cost: u64) -> Ask<'a> {
    Ask { cost, ..Ask::new("tested", key.clone(), rate) }
}

/// A rate of `count` per `window`; a leaky bucket gets the burst that every other algorithm allows.
pub(crate) fn rate(algorithm: Algorithm, count: u64, window: Duration) -> Rate {
    let quota = Quota::new(count, window).expect("a quota within bounds");
    let burst = (algorithm == Algorithm::LeakyBucket).then_some(count);
    Rate::new(quota, algorithm, burst).expect("a rate within bounds")
}

/// A window that the algorithm can keep: a minute, or the shortest that a calendar has.
pub(crate) fn window(algorithm: Algorithm) -> Duration {
    Duration::from_secs(if algorithm == Algorithm::Calendar { 86_400 } else { 60 })
}
