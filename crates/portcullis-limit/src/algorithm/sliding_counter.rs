//! Sliding window counter: this aligned window's count, plus the previous one's in the share that a sliding window still
//! covers. Two numbers for each key.
//!
//! Promise: it is exact where the previous window's requests were spread evenly. At worst they all came at its end. Then an
//! interval of length t, up to one window, can hold `count · (1 + t / window)` units and no more: what a token bucket of
//! the same quota admits, so never a burst of more than `count` and less than twice that in a whole window. Aligned
//! windows hold at most `count` each.
//!
//! Why: let the interval reach b into a window, and the window before have admitted P. At the last admission, at most b
//! in, the count C of this window satisfies `C + P · (1 − b / window) <= count`, so `P + C <= count + P · b / window`.
//!
//! How often it decides otherwise than a log is measured by `counter_error`: hardly ever for clients below their limit, for
//! one decision in twenty to ten where one client in a hundred sends twice what it may, with the same sum admitted. Finer
//! windows were tried and change little: with sixty in place of one it was still one in 25 (steady, diurnal; one in 160 in
//! bursts), and sixty numbers are no smaller than most logs. Whoever is refused half of the time stands at the edge all of the time, where being a
//! moment early or late is another decision. Whoever needs it exact takes the log.

use portcullis_core::Timestamp;

use super::{Assessment, is_just_ahead, mul_div, mul_div_ceil, window_start};
use crate::rate::Rate;

/// The present window (its start in nanoseconds), its count and the previous one's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(super) start: u64,
    pub(super) current: u64,
    pub(super) previous: u64,
}

impl State {
    #[cfg(feature = "net")]
    pub(super) const fn of([start, current, previous]: [u64; 3]) -> Self {
        Self { start, current, previous }
    }

    pub(super) fn advance(&mut self, rate: &Rate, now: Timestamp) -> Timestamp {
        let window = rate.quota().window_nanos();
        if is_just_ahead(self.start, now, window) {
            // Going back to the window before would weigh its own requests as if they were a window older.
            return Timestamp::from_nanos(self.start);
        }
        let start = window_start(now, window);
        if start > self.start {
            self.previous = if start - self.start == window { self.current } else { 0 };
            self.current = 0;
        } else if start < self.start {
            // The clock was set back. How much the previous window weighed is not known any more: all of it counts, in
            // the present window, up to the quota, which is the most that both can have weighed.
            self.current = self.current.saturating_add(self.previous).min(rate.quota().count());
            self.previous = 0;
        }
        self.start = start;
        now
    }

    pub(super) fn assess(&self, rate: &Rate, cost: u64, now: Timestamp) -> Assessment {
        let (count, window) = (rate.quota().count(), rate.quota().window_nanos());
        let elapsed = now.as_nanos() - self.start;
        // Rounded up: in doubt the previous window weighs more.
        let weighted = mul_div_ceil(self.previous, window - elapsed, window);
        let left = count.saturating_sub(self.current.saturating_add(weighted));
        match left.checked_sub(cost) {
            Some(remaining) => Assessment::admitted(remaining, self.full_at(rate, cost)),
            None => Assessment::refused(self.retry_at(rate, cost), left, self.full_at(rate, 0)),
        }
    }

    pub(super) const fn charge(&mut self, cost: u64) {
        self.current = self.current.saturating_add(cost);
    }

    pub(super) fn give_back(&mut self, rate: &Rate, cost: u64, at: Timestamp) {
        let window = rate.quota().window_nanos();
        let charged_in = window_start(at, window);
        if charged_in == self.start {
            self.current = self.current.saturating_sub(cost);
        } else if charged_in.saturating_add(window) == self.start {
            self.previous = self.previous.saturating_sub(cost);
        }
    }

    pub(super) fn reward(&mut self, rate: &Rate, units: u64, now: Timestamp) {
        let units_of_before = units.saturating_sub(self.current);
        self.current = self.current.saturating_sub(units);
        let window = rate.quota().window_nanos();
        let rest = window - (now.as_nanos() - self.start);
        let weighted = mul_div_ceil(self.previous, rest, window);
        // The most that weighs so many units less, not so many requests less: they weigh only a part each.
        let most = mul_div(weighted.saturating_sub(units_of_before), window, rest);
        self.previous = self.previous.min(most);
    }

    pub(super) fn expires_at(&self, rate: &Rate) -> Timestamp {
        Timestamp::from_nanos(self.start.saturating_add(rate.quota().window_nanos().saturating_mul(2)))
    }

    /// The earliest moment at which a refused request is admitted.
    fn retry_at(&self, rate: &Rate, cost: u64) -> Timestamp {
        let (count, window) = (rate.quota().count(), rate.quota().window_nanos());
        // In this window, the previous one must have lost enough weight.
        if let Some(room) = count.checked_sub(self.current.saturating_add(cost))
            && room < self.previous
        {
            return Timestamp::from_nanos(self.start.saturating_add(wait_for(self.previous, room, window)));
        }
        // In the next one, this one is the previous.
        let room = count.saturating_sub(cost);
        let next = self.start.saturating_add(window);
        if room >= self.current {
            return Timestamp::from_nanos(next);
        }
        Timestamp::from_nanos(next.saturating_add(wait_for(self.current, room, window)))
    }

    /// When neither window weighs anything any more.
    fn full_at(&self, rate: &Rate, cost: u64) -> Timestamp {
        let window = rate.quota().window_nanos();
        let windows = if self.current.saturating_add(cost) > 0 { 2 } else { 1 };
        Timestamp::from_nanos(self.start.saturating_add(window.saturating_mul(windows)))
    }
}

/// How far into a window `previous` weighs at most `room`: the smallest e with ceil(previous · (w − e) / w) <= room.
fn wait_for(previous: u64, room: u64, window: u64) -> u64 {
    window - mul_div(room, window, previous)
}
