//! Cells as a store in memory keeps them: two numbers each, of which the first is when the cell runs out, so that a slot of
//! the store needs nothing else to be reclaimed. A log is longer; it lies beside, under a number.

use portcullis_core::Timestamp;
use slab::Slab;

use super::{Cell, calendar, fixed_window, leaky_bucket, sliding_counter, sliding_log, token_bucket};
use crate::rate::{Algorithm, Rate};

/// What is held under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// The cell of this algorithm.
    Cell(Algorithm),
    /// A block, in place of a cell: whoever asks is refused until it runs out.
    Block,
}

/// A cell in two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) held: Held,
    /// From when on the cell says the same as an absent one, in nanoseconds.
    pub(crate) expires_at: u64,
    pub(crate) word: u64,
}

/// The logs of a shard's cells.
pub(crate) type Logs = Slab<sliding_log::State>;

impl Packed {
    /// The cell, to be put back with [`Packed::close`]; a fresh one where this is of another algorithm than the rate's, as
    /// may be after a reload. A log is taken out, not copied.
    ///
    /// A window that became longer or shorter in a reload makes the start come out differently. The algorithms take that
    /// for what they take a clock for that was set: nothing opens, and what was used counts in the present window at most.
    #[inline(always)]
    pub(crate) fn open(self, algorithm: Algorithm, rate: &Rate, logs: &mut Logs) -> Cell {
        let Self { expires_at, word, .. } = self;
        if self.held != Held::Cell(algorithm) {
            return Cell::new(algorithm);
        }
        let window = rate.quota().window_nanos();
        match algorithm {
            Algorithm::TokenBucket => Cell::TokenBucket(bucket(expires_at, word)),
            Algorithm::LeakyBucket => Cell::LeakyBucket(leaky_bucket::State(bucket(expires_at, word))),
            Algorithm::FixedWindow => {
                Cell::FixedWindow(fixed_window::State { start: expires_at.saturating_sub(window), used: word })
            }
            Algorithm::SlidingWindowCounter => {
                let start = expires_at.saturating_sub(2 * window);
                let (current, previous) = halves(word);
                Cell::SlidingWindowCounter(sliding_counter::State { start, current, previous })
            }
            Algorithm::SlidingWindowLog => {
                let log = number(word).and_then(|number| logs.get_mut(number));
                Cell::SlidingWindowLog(log.map(std::mem::take).unwrap_or_default())
            }
            Algorithm::Calendar => {
                let (used, secs) = halves(word);
                let start = expires_at.saturating_sub(secs * NANOS);
                Cell::Calendar(calendar::State { start, end: expires_at, used })
            }
        }
    }

    /// A copy of the cell, for whoever only asks.
    pub(crate) fn copy(self, rate: &Rate, logs: &Logs) -> Cell {
        match (self.held, rate.algorithm()) {
            (Held::Cell(Algorithm::SlidingWindowLog), Algorithm::SlidingWindowLog) => Cell::SlidingWindowLog(
                number(self.word).and_then(|number| logs.get(number)).cloned().unwrap_or_default(),
            ),
            _ => self.open(rate.algorithm(), rate, &mut Logs::new()),
        }
    }

    /// The cell in two numbers, in place of what `before` was.
    #[inline(always)]
    pub(crate) fn close(cell: Cell, algorithm: Algorithm, rate: &Rate, before: Option<Self>, logs: &mut Logs) -> Self {
        let held = before.and_then(Self::log);
        if let Some(number) = held
            && !matches!(cell, Cell::SlidingWindowLog(_))
        {
            logs.try_remove(number);
        }
        let expires_at = cell.expires_at(rate).as_nanos();
        let word = match cell {
            Cell::TokenBucket(state) | Cell::LeakyBucket(leaky_bucket::State(state)) => state.lacking_since,
            Cell::FixedWindow(state) => state.used,
            Cell::SlidingWindowCounter(state) => joined(state.current, state.previous),
            Cell::SlidingWindowLog(state) => match held.and_then(|number| Some((number, logs.get_mut(number)?))) {
                Some((number, held)) => {
                    *held = state;
                    number as u64
                }
                None => logs.insert(state) as u64,
            },
            // Periods begin and end with whole seconds.
            Cell::Calendar(state) => joined(state.used, state.end.saturating_sub(state.start) / NANOS),
        };
        Self { held: Held::Cell(algorithm), expires_at, word }
    }

    /// A block until then.
    pub(crate) const fn block(until: Timestamp) -> Self {
        Self { held: Held::Block, expires_at: until.as_nanos(), word: 0 }
    }

    /// Until when this refuses whoever asks; `None` where it is a cell, or is over.
    #[inline(always)]
    pub(crate) fn blocked_until(self, now: Timestamp) -> Option<Timestamp> {
        (self.held == Held::Block && self.expires_at > now.as_nanos()).then(|| Timestamp::from_nanos(self.expires_at))
    }

    /// Lets go of what the cell keeps beside its numbers.
    pub(crate) fn drop_log(self, logs: &mut Logs) {
        if let Some(number) = self.log() {
            logs.try_remove(number);
        }
    }

    fn log(self) -> Option<usize> {
        number(self.word).filter(|_| self.held == Held::Cell(Algorithm::SlidingWindowLog))
    }
}

const NANOS: u64 = 1_000_000_000;

const fn bucket(full_at: u64, lacking_since: u64) -> token_bucket::State {
    token_bucket::State { full_at, lacking_since }
}

fn number(word: u64) -> Option<usize> {
    usize::try_from(word).ok()
}

/// Two numbers in one. Both are within a billion or little more: units that were admitted, or seconds of a period.
fn joined(low: u64, high: u64) -> u64 {
    let half = |number| u64::from(u32::try_from(number).unwrap_or(u32::MAX));
    half(low) | half(high) << 32
}

const fn halves(word: u64) -> (u64, u64) {
    (word & 0xffff_ffff, word >> 32)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::quota::Quota;

    proptest! {
        #[test]
        fn l2_a_cell_is_the_same_after_it_was_packed(
            algorithm in prop::sample::select(Algorithm::ALL.to_vec()),
            requests in prop::collection::vec((0_u64..30_000, 1_u64..5), 1..40),
        ) {
            let rate = Rate::new(Quota::new(20, Duration::from_secs(86_400)).unwrap(), algorithm, None).unwrap();
            let (mut logs, mut kept, mut packed) = (Logs::new(), Cell::new(algorithm), None::<Packed>);
            let mut now = Timestamp::from_secs(1_795_219_200);
            for (gap, cost) in requests {
                now = now.after(Duration::from_secs(gap));
                let mut opened = packed.map_or_else(|| Cell::new(algorithm), |packed| packed.open(algorithm, &rate, &mut logs));
                for cell in [&mut kept, &mut opened] {
                    let at = cell.advance(&rate, now);
                    if cell.assess(&rate, cost, at).retry_at.is_none() {
                        cell.charge(&rate, cost, at);
                    }
                }
                prop_assert_eq!(&opened, &kept);
                let closed = Packed::close(opened, algorithm, &rate, packed, &mut logs);
                prop_assert_eq!(closed.expires_at, kept.expires_at(&rate).as_nanos());
                prop_assert_eq!(&closed.copy(&rate, &logs), &kept);
                packed = Some(closed);
            }
            prop_assert_eq!(logs.len(), usize::from(algorithm == Algorithm::SlidingWindowLog));
            // Another algorithm takes over, and the log goes.
            let other = Rate::new(rate.quota(), Algorithm::FixedWindow, None).unwrap();
            let cell = packed.unwrap().open(other.algorithm(), &other, &mut logs);
            Packed::close(cell, other.algorithm(), &other, packed, &mut logs);
            prop_assert!(logs.is_empty());
        }
    }
}
