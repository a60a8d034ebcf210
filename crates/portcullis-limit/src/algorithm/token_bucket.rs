//! Token bucket, as the generic cell rate algorithm (ITU-T I.371): two numbers for each key.
//!
//! Promise: in any interval of length t at most `burst + t · count / window` units are admitted, besides what is given
//! back in it.

use portcullis_core::Timestamp;

use super::Assessment;
use crate::rate::Rate;

/// The theoretical arrival time, when the bucket will be full again; and since when it has not been full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(super) full_at: u64,
    pub(super) lacking_since: u64,
}

/// Nanoseconds that `units` take to flow in: a whole number for each, so that units taken one by one and all at once
/// cost the same. [`Rate::new`] keeps the burst's within [`crate::rate::MAX_FILL`].
pub(super) fn inflow(rate: &Rate, units: u64) -> u64 {
    units.saturating_mul(rate.interval_nanos())
}

impl State {
    #[cfg(feature = "net")]
    pub(super) const fn of([full_at, lacking_since]: [u64; 2]) -> Self {
        Self { full_at, lacking_since }
    }

    pub(super) fn advance(&mut self, rate: &Rate, now: Timestamp) -> Timestamp {
        // A full bucket's worth ahead is the most that admission can cause. A little more is another core's clock: cutting
        // it off would give away that much inflow each time two cores take turns. Much more is a clock that was set back.
        let latest = now.as_nanos().saturating_add(rate.depth_nanos());
        if self.full_at > latest.saturating_add(rate.quota().window_nanos()) {
            self.full_at = latest;
        }
        self.full_at = self.full_at.max(now.as_nanos());
        now
    }

    pub(super) fn assess(&self, rate: &Rate, cost: u64, now: Timestamp) -> Assessment {
        let allowed = now.as_nanos().saturating_add(rate.depth_nanos());
        let charged = self.full_at.saturating_add(inflow(rate, cost));
        let units = |nanos: u64| nanos / rate.interval_nanos();
        if charged <= allowed {
            Assessment::admitted(units(allowed - charged), Timestamp::from_nanos(charged))
        } else {
            let retry_at = Timestamp::from_nanos(now.as_nanos().saturating_add(charged - allowed));
            let left = units(allowed.saturating_sub(self.full_at));
            Assessment::refused(retry_at, left, Timestamp::from_nanos(self.full_at))
        }
    }

    pub(super) fn charge(&mut self, rate: &Rate, cost: u64, now: Timestamp) {
        let now = now.as_nanos();
        self.lacking_since = if self.full_at <= now { now } else { self.lacking_since.min(now) };
        self.full_at = self.full_at.max(now).saturating_add(inflow(rate, cost));
    }

    pub(super) fn give_back(&mut self, rate: &Rate, cost: u64, at: Timestamp) {
        // A bucket that was full since then has got the units back by itself; what it lacks now, others took.
        if at.as_nanos() >= self.lacking_since {
            self.full_at = self.full_at.saturating_sub(inflow(rate, cost));
        }
    }

    pub(super) fn reward(&mut self, rate: &Rate, units: u64, now: Timestamp) {
        self.full_at = self.full_at.saturating_sub(inflow(rate, units)).max(now.as_nanos());
    }

    pub(super) const fn expires_at(&self) -> Timestamp {
        Timestamp::from_nanos(self.full_at)
    }
}
