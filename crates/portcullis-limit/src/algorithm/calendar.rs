//! Calendar quota: a count that starts anew with every day, week, month or year of a time zone.
//!
//! Promise: at most `count` units in every period as the wall calendar has it, however long it is; so up to twice that around
//! a midnight that ends one.
//!
//! A cell remembers the stretch that it counts in, so that a request computes no dates unless it is the first of its
//! period.

use portcullis_core::Timestamp;

use super::Assessment;
use crate::calendar::{Calendar, Stretch};
use crate::rate::Rate;

/// The period (its first moment and the next one's, in nanoseconds) and what was admitted in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) used: u64,
}

/// The period around a moment; a rate without a calendar has none that ends.
fn around(rate: &Rate, at: Timestamp) -> Stretch {
    let endless = Stretch { start: Timestamp::EPOCH, end: Timestamp::MAX };
    rate.calendar().map_or(endless, |calendar: Calendar| calendar.around(at))
}

impl State {
    #[cfg(feature = "net")]
    pub(super) const fn of([start, end, used]: [u64; 3]) -> Self {
        Self { start, end, used }
    }

    pub(super) fn advance(&mut self, rate: &Rate, now: Timestamp) -> Timestamp {
        // No period is longer than its quota's window by more than a day; one that is was counted by another calendar, from
        // before a reload.
        let longest = rate.quota().window_nanos().saturating_add(DAY);
        let nanos = now.as_nanos();
        if self.start <= nanos && nanos < self.end && self.end - self.start <= longest {
            return now;
        }
        let present = around(rate, now);
        if self.start == present.end.as_nanos() {
            // The clock of another core is ahead. Going back would let the next request open this period anew.
            return present.end;
        }
        if present.start.as_nanos() >= self.end {
            self.used = 0;
        }
        // A period far ahead means that the clock was set back, and one that overlaps that there was another calendar: what
        // was used still counts, in the present period.
        (self.start, self.end) = (present.start.as_nanos(), present.end.as_nanos());
        now
    }

    pub(super) fn assess(&self, rate: &Rate, cost: u64, _: Timestamp) -> Assessment {
        let left = rate.quota().count().saturating_sub(self.used);
        let next = Timestamp::from_nanos(self.end);
        match left.checked_sub(cost) {
            Some(remaining) => Assessment::admitted(remaining, next),
            None => Assessment::refused(next, left, next),
        }
    }

    pub(super) const fn charge(&mut self, cost: u64) {
        self.used = self.used.saturating_add(cost);
    }

    pub(super) fn give_back(&mut self, cost: u64, at: Timestamp) {
        if (self.start..self.end).contains(&at.as_nanos()) {
            self.used = self.used.saturating_sub(cost);
        }
    }

    pub(super) const fn reward(&mut self, units: u64) {
        self.used = self.used.saturating_sub(units);
    }

    pub(super) const fn expires_at(&self) -> Timestamp {
        Timestamp::from_nanos(self.end)
    }
}

const DAY: u64 = 86_400_000_000_000;
