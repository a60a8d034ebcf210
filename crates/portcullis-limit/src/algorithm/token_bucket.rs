//! Token bucket, as the generic cell rate algorithm (ITU-T I.371): one number for each key.
//!
//! Promise: in any interval of length t at most `burst + t · count / window` units are admitted.

use portcullis_core::Timestamp;

use super::{Assessment, mul_div_ceil};
use crate::rate::Rate;

/// The theoretical arrival time: when the bucket will be full again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    full_at: u64,
}

/// Nanoseconds that `units` take to flow in. Rounded up, so that the promise holds for quotas that do not divide their
/// window.
fn inflow(rate: &Rate, units: u64) -> u64 {
    mul_div_ceil(units, rate.quota().window_nanos(), rate.quota().count())
}

impl State {
    pub(super) fn advance(&mut self, rate: &Rate, now: Timestamp) {
        // A full bucket's worth ahead is the most that admission can cause; more means that the clock jumped back.
        let latest = now.as_nanos().saturating_add(inflow(rate, rate.capacity()));
        self.full_at = self.full_at.clamp(now.as_nanos(), latest);
    }

    pub(super) fn assess(&self, rate: &Rate, cost: u64, now: Timestamp) -> Assessment {
        let allowed = now.as_nanos().saturating_add(inflow(rate, rate.capacity()));
        let charged = self.full_at.saturating_add(inflow(rate, cost));
        let units = |missing: u64| {
            let nanos = u128::from(missing) * u128::from(rate.quota().count());
            u64::try_from(nanos / u128::from(rate.quota().window_nanos())).unwrap_or(u64::MAX)
        };
        if charged <= allowed {
            let full_at = Timestamp::from_nanos(charged);
            Assessment { retry_at: None, remaining: units(allowed - charged), full_at }
        } else {
            let retry_at = now.as_nanos().saturating_add(charged - allowed);
            Assessment {
                retry_at: Some(Timestamp::from_nanos(retry_at)),
                remaining: units(allowed.saturating_sub(self.full_at)),
                full_at: Timestamp::from_nanos(self.full_at),
            }
        }
    }

    pub(super) fn charge(&mut self, rate: &Rate, cost: u64, now: Timestamp) {
        self.full_at = self.full_at.max(now.as_nanos()).saturating_add(inflow(rate, cost));
    }

    pub(super) fn give_back(&mut self, rate: &Rate, cost: u64) {
        // What flowed in since then was already forgotten by `advance`; below the present the value means nothing.
        self.full_at = self.full_at.saturating_sub(inflow(rate, cost));
    }

    pub(super) const fn expires_at(&self) -> Timestamp {
        Timestamp::from_nanos(self.full_at)
    }
}
