//! The algorithms, pure: data and a time in, data out. A store swaps the cell; the sum of algorithms and stores is all
//! there is to write, never their product.
//!
//! Every algorithm charges only what it admits (a refused request leaves the cell as it was), never tells a client to
//! come back too early, and survives a clock that goes backwards. The clocks of two cores never agree exactly, so a cell
//! that has seen a moment does not go back behind it by less than a window: it judges by the later of the two. A clock
//! that is set back further moves the cell with it, with all it holds. Neither opens a limit, and neither locks one for
//! longer than two windows (two periods of a calendar).

mod calendar;
#[cfg(test)]
mod counter_error;
mod fixed_window;
mod leaky_bucket;
mod packed;
#[cfg(test)]
mod promises;
mod sliding_counter;
mod sliding_log;
mod token_bucket;

use std::time::Duration;

pub(crate) use packed::{Held, Logs, Packed};
use portcullis_core::Timestamp;
#[cfg(feature = "redis")]
pub(crate) use sliding_log::Summary as LogSummary;

use crate::rate::{Algorithm, Rate};

/// The state of one key under one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    TokenBucket(token_bucket::State),
    LeakyBucket(leaky_bucket::State),
    FixedWindow(fixed_window::State),
    SlidingWindowCounter(sliding_counter::State),
    SlidingWindowLog(sliding_log::State),
    Calendar(calendar::State),
}

/// What an algorithm says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assessment {
    /// `None`: admitted. Otherwise the earliest moment at which it will be, if nothing else spends the key.
    pub(crate) retry_at: Option<Timestamp>,
    /// How many units are left: after this request if it is admitted, as things stand if not.
    pub(crate) remaining: u64,
    /// When the whole quota is back, if nothing else spends the key.
    pub(crate) full_at: Timestamp,
    /// How long the request has to wait for its turn once it is admitted; zero if it is refused.
    pub(crate) delay: Duration,
    /// Whether it is refused because an operator blocked the key, whatever its rate says.
    pub(crate) blocked: bool,
}

impl Assessment {
    const fn admitted(remaining: u64, full_at: Timestamp) -> Self {
        Self { retry_at: None, remaining, full_at, delay: Duration::ZERO, blocked: false }
    }

    const fn refused(retry_at: Timestamp, remaining: u64, full_at: Timestamp) -> Self {
        Self { retry_at: Some(retry_at), remaining, full_at, delay: Duration::ZERO, blocked: false }
    }

    /// What is said of a key that is blocked until then.
    #[cold]
    pub(crate) const fn blocked(until: Timestamp) -> Self {
        Self { blocked: true, ..Self::refused(until, 0, until) }
    }
}

impl Cell {
    /// The cell of a key that was never seen.
    #[inline(always)]
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::TokenBucket => Self::TokenBucket(token_bucket::State::default()),
            Algorithm::LeakyBucket => Self::LeakyBucket(leaky_bucket::State::default()),
            Algorithm::FixedWindow => Self::FixedWindow(fixed_window::State::default()),
            Algorithm::SlidingWindowCounter => Self::SlidingWindowCounter(sliding_counter::State::default()),
            Algorithm::SlidingWindowLog => Self::SlidingWindowLog(sliding_log::State::default()),
            Algorithm::Calendar => Self::Calendar(calendar::State::default()),
        }
    }

    /// The cell that a store over a network keeps as these numbers, moments in nanoseconds: of a bucket when it is full and
    /// since when it is not, of windows their start and what was admitted, of a calendar start, end and what was admitted.
    /// `None` for a log, whose moments stay in the store ([`LogSummary`]).
    #[cfg(feature = "net")]
    pub(crate) const fn of(algorithm: Algorithm, [a, b, c]: [u64; 3]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::TokenBucket => Self::TokenBucket(token_bucket::State::of([a, b])),
            Algorithm::LeakyBucket => Self::LeakyBucket(leaky_bucket::State::of([a, b])),
            Algorithm::FixedWindow => Self::FixedWindow(fixed_window::State::of([a, b])),
            Algorithm::SlidingWindowCounter => Self::SlidingWindowCounter(sliding_counter::State::of([a, b, c])),
            Algorithm::Calendar => Self::Calendar(calendar::State::of([a, b, c])),
            Algorithm::SlidingWindowLog => return None,
        })
    }

    /// Brings the cell up to the present, so that the other questions may be asked, and tells by which moment it judges:
    /// `now`, or a later one that it has seen. Forgets only what no longer counts.
    #[inline(always)]
    pub(crate) fn advance(&mut self, rate: &Rate, now: Timestamp) -> Timestamp {
        match self {
            Self::TokenBucket(state) => state.advance(rate, now),
            Self::LeakyBucket(state) => state.advance(rate, now),
            Self::FixedWindow(state) => state.advance(rate, now),
            Self::SlidingWindowCounter(state) => state.advance(rate, now),
            Self::SlidingWindowLog(state) => state.advance(rate, now),
            Self::Calendar(state) => state.advance(rate, now),
        }
    }

    /// Whether a request of this cost would be admitted at a moment that [`Cell::advance`] told.
    #[inline(always)]
    pub(crate) fn assess(&self, rate: &Rate, cost: u64, now: Timestamp) -> Assessment {
        // What can never be admitted is never promised; below this line a cost fits into the empty cell.
        if cost > rate.capacity() {
            return self.never(rate, now);
        }
        match self {
            Self::TokenBucket(state) => state.assess(rate, cost, now),
            Self::LeakyBucket(state) => state.assess(rate, cost, now),
            Self::FixedWindow(state) => state.assess(rate, cost, now),
            Self::SlidingWindowCounter(state) => state.assess(rate, cost, now),
            Self::SlidingWindowLog(state) => state.assess(rate, cost, now),
            Self::Calendar(state) => state.assess(rate, cost, now),
        }
    }

    /// How things stand for a request that no cell has room for.
    #[cold]
    fn never(&self, rate: &Rate, now: Timestamp) -> Assessment {
        let said = self.assess(rate, 0, now);
        Assessment::refused(Timestamp::MAX, said.remaining, said.full_at)
    }

    /// Charges a request that was admitted at a moment that [`Cell::advance`] told.
    #[inline(always)]
    pub(crate) fn charge(&mut self, rate: &Rate, cost: u64, now: Timestamp) {
        match self {
            Self::TokenBucket(state) => state.charge(rate, cost, now),
            Self::LeakyBucket(state) => state.charge(rate, cost, now),
            Self::FixedWindow(state) => state.charge(cost),
            Self::SlidingWindowCounter(state) => state.charge(cost),
            Self::SlidingWindowLog(state) => state.charge(cost, now),
            Self::Calendar(state) => state.charge(cost),
        }
    }

    /// Gives back what was charged at `at`, a moment that [`Cell::advance`] told then. What has since run out by itself
    /// is not given back twice.
    pub(crate) fn give_back(&mut self, rate: &Rate, cost: u64, at: Timestamp) {
        match self {
            Self::TokenBucket(state) => state.give_back(rate, cost, at),
            Self::LeakyBucket(state) => state.give_back(rate, cost, at),
            Self::FixedWindow(state) => state.give_back(rate, cost, at),
            Self::SlidingWindowCounter(state) => state.give_back(rate, cost, at),
            Self::SlidingWindowLog(state) => state.give_back(cost, at),
            Self::Calendar(state) => state.give_back(cost, at),
        }
    }

    /// Gives units back that nobody holds a receipt for, the latest first, until nothing of the quota lacks; at a moment that
    /// [`Cell::advance`] told.
    pub(crate) fn reward(&mut self, rate: &Rate, units: u64, now: Timestamp) {
        match self {
            Self::TokenBucket(state) => state.reward(rate, units, now),
            Self::LeakyBucket(state) => state.reward(rate, units, now),
            Self::FixedWindow(state) => state.reward(units),
            Self::SlidingWindowCounter(state) => state.reward(rate, units, now),
            Self::SlidingWindowLog(state) => state.reward(units),
            Self::Calendar(state) => state.reward(units),
        }
    }

    /// From when on the cell says the same as an absent one.
    #[inline(always)]
    pub(crate) fn expires_at(&self, rate: &Rate) -> Timestamp {
        match self {
            Self::TokenBucket(state) => state.expires_at(),
            Self::LeakyBucket(state) => state.expires_at(),
            Self::FixedWindow(state) => state.expires_at(rate),
            Self::SlidingWindowCounter(state) => state.expires_at(rate),
            Self::SlidingWindowLog(state) => state.expires_at(rate),
            Self::Calendar(state) => state.expires_at(),
        }
    }
}

/// `a * b / c`, rounded up, in 128 bits; `c` is not zero.
fn mul_div_ceil(a: u64, b: u64, c: u64) -> u64 {
    u64::try_from((u128::from(a) * u128::from(b)).div_ceil(u128::from(c))).unwrap_or(u64::MAX)
}

/// `a * b / c`, rounded down, in 128 bits; `c` is not zero.
fn mul_div(a: u64, b: u64, c: u64) -> u64 {
    u64::try_from(u128::from(a) * u128::from(b) / u128::from(c)).unwrap_or(u64::MAX)
}

/// Whether a window's start is ahead of the present only because another core's clock is: by one window at most.
const fn is_just_ahead(start: u64, now: Timestamp, window: u64) -> bool {
    start > now.as_nanos() && start - now.as_nanos() <= window
}

/// The start of the aligned window that holds a moment, in nanoseconds.
const fn window_start(at: Timestamp, window: u64) -> u64 {
    at.as_nanos() - at.as_nanos() % window
}
