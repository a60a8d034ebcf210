//! Fixed window: a count that starts anew at every multiple of the window since the epoch.
//!
//! Promise: at most `count` units in every aligned window; so up to twice that around a boundary.

use portcullis_core::Timestamp;

use super::{Assessment, is_just_ahead, window_start};
use crate::rate::Rate;

/// The window (its start in nanoseconds) and what was admitted in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(super) start: u64,
    pub(super) used: u64,
}

impl State {
    #[cfg(feature = "net")]
    pub(super) const fn of([start, used]: [u64; 2]) -> Self {
        Self { start, used }
    }

    pub(super) fn advance(&mut self, rate: &Rate, now: Timestamp) -> Timestamp {
        let window = rate.quota().window_nanos();
        if is_just_ahead(self.start, now, window) {
            // Going back to the window before would let the next request open this one anew.
            return Timestamp::from_nanos(self.start);
        }
        let start = window_start(now, window);
        if start > self.start {
            self.used = 0;
        }
        // A start far ahead means that the clock was set back: what was used still counts, in the present window.
        self.start = start;
        now
    }

    pub(super) fn assess(&self, rate: &Rate, cost: u64, _: Timestamp) -> Assessment {
        let left = rate.quota().count().saturating_sub(self.used);
        let next = Timestamp::from_nanos(self.start.saturating_add(rate.quota().window_nanos()));
        match left.checked_sub(cost) {
            Some(remaining) => Assessment::admitted(remaining, next),
            None => Assessment::refused(next, left, next),
        }
    }

    pub(super) const fn charge(&mut self, cost: u64) {
        self.used = self.used.saturating_add(cost);
    }

    pub(super) fn give_back(&mut self, rate: &Rate, cost: u64, at: Timestamp) {
        if window_start(at, rate.quota().window_nanos()) == self.start {
            self.used = self.used.saturating_sub(cost);
        }
    }

    pub(super) const fn reward(&mut self, units: u64) {
        self.used = self.used.saturating_sub(units);
    }

    pub(super) fn expires_at(&self, rate: &Rate) -> Timestamp {
        Timestamp::from_nanos(self.start.saturating_add(rate.quota().window_nanos()))
    }
}
