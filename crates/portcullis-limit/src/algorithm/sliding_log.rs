//! Sliding window log: the moment of every admitted unit, 8 bytes each.
//!
//! Promise: at most `count` units in any window, wherever it begins.

use std::collections::VecDeque;

use portcullis_core::Timestamp;

use super::Assessment;
use crate::rate::Rate;

/// The moments of admitted units in nanoseconds, oldest first; never more than the largest quota that the key is held to,
/// as refused ones are not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    moments: VecDeque<u64>,
    /// The latest moment judged by, admitted or not: what has left by then is gone.
    seen: u64,
}

/// What an assessment needs of a log, without the log itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    /// How many units count.
    pub(crate) used: u64,
    /// The latest of them.
    pub(crate) newest: Option<u64>,
    /// The one after whose leaving the cost fits, if it does not yet.
    pub(crate) last_to_leave: Option<u64>,
}

impl Summary {
    pub(crate) fn assess(self, rate: &Rate, cost: u64, now: Timestamp) -> Assessment {
        let (count, window) = (rate.quota().count(), rate.quota().window_nanos());
        let left = count.saturating_sub(self.used);
        let leaves = |moment: u64| Timestamp::from_nanos(moment.saturating_add(window));
        match left.checked_sub(cost) {
            Some(remaining) => {
                let last = if cost > 0 { Some(now.as_nanos()) } else { self.newest };
                // Of an empty log nothing has to leave: the quota is whole.
                Assessment::admitted(remaining, last.map_or(now, leaves))
            }
            None => {
                let retry_at = leaves(self.last_to_leave.unwrap_or(now.as_nanos()));
                Assessment::refused(retry_at, left, self.newest.map_or(now, leaves))
            }
        }
    }
}

impl State {
    pub(super) fn advance(&mut self, rate: &Rate, now: Timestamp) -> Timestamp {
        let window = rate.quota().window_nanos();
        let now = if self.seen > now.as_nanos() && self.seen - now.as_nanos() <= window {
            // Another core's clock is a little ahead, and what it saw leave may not have left by this one.
            self.seen
        } else {
            // Moments far ahead mean that the clock was set back: they count as of now, for one window.
            let now = now.as_nanos();
            for moment in self.moments.iter_mut().rev().take_while(|moment| **moment > now) {
                *moment = now;
            }
            now
        };
        while self.moments.front().is_some_and(|moment| moment.saturating_add(window) <= now) {
            self.moments.pop_front();
        }
        // All others stay, even where the quota is smaller than they are many: the next request under the same key may be held
        // to a larger one, and would find room that was never given back.
        self.seen = now;
        Timestamp::from_nanos(now)
    }

    pub(super) fn assess(&self, rate: &Rate, cost: u64, now: Timestamp) -> Assessment {
        let used = self.moments.len() as u64;
        // So many of the oldest must leave.
        let must_leave = usize::try_from((used + cost).saturating_sub(rate.quota().count())).unwrap_or(usize::MAX);
        let newest = self.moments.back().copied();
        let last_to_leave = self.moments.get(must_leave.saturating_sub(1)).copied().or(newest);
        Summary { used, newest, last_to_leave }.assess(rate, cost, now)
    }

    pub(super) fn charge(&mut self, cost: u64, now: Timestamp) {
        for _ in 0..cost {
            self.moments.push_back(now.as_nanos());
        }
    }

    pub(super) fn give_back(&mut self, cost: u64, at: Timestamp) {
        for _ in 0..cost {
            if let Ok(index) = self.moments.binary_search(&at.as_nanos()) {
                self.moments.remove(index);
            }
        }
    }

    pub(super) fn reward(&mut self, units: u64) {
        let left = self.moments.len().saturating_sub(usize::try_from(units).unwrap_or(usize::MAX));
        self.moments.truncate(left);
    }

    pub(super) fn expires_at(&self, rate: &Rate) -> Timestamp {
        let newest = self.moments.back().copied().unwrap_or_default();
        Timestamp::from_nanos(newest.saturating_add(rate.quota().window_nanos()))
    }
}
