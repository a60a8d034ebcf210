//! Leaky bucket: requests leave at a steady pace. As a meter it polices: what would leave too early is refused. As a queue it
//! shapes: what would leave too early waits for its turn, `max_delay` at most.
//!
//! Promise: let a request leave when its delay is over. Then in any interval of length t at most
//! `burst + t · count / window` units leave, besides what is given back in it and what a single request costs more than
//! `burst`. None waits longer than `max_delay`, and under a clock that goes forward they leave in the order in which they came.
//! Without `max_delay` none waits at all.
//!
//! The meter's arithmetic is the token bucket's, whose file has it: ITU-T I.371 defines the leaky bucket and the virtual
//! scheduling that we compute with as two forms of one algorithm. What differs is what one asks of them. A token bucket
//! forgives a pause: whoever was away may come with all that flowed in meanwhile, its whole quota unless told otherwise. A
//! leaky bucket shields what lies behind it from just that: it has no burst unless one is given (nginx's `limit_req` has
//! the same two forms, and calls the meter `nodelay`).

use std::time::Duration;

use portcullis_core::Timestamp;

use super::{Assessment, token_bucket};
use crate::rate::Rate;

/// The bucket, deeper by what may wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State(pub(super) token_bucket::State);

impl State {
    #[cfg(feature = "net")]
    pub(super) const fn of(numbers: [u64; 2]) -> Self {
        Self(token_bucket::State::of(numbers))
    }

    pub(super) fn advance(&mut self, rate: &Rate, now: Timestamp) -> Timestamp {
        self.0.advance(rate, now)
    }

    pub(super) fn assess(&self, rate: &Rate, cost: u64, now: Timestamp) -> Assessment {
        let said = self.0.assess(rate, cost, now);
        if said.retry_at.is_some() {
            return said;
        }
        // What goes beyond the burst waits until the bucket has flowed out so far that it does not.
        let burst = Duration::from_nanos(token_bucket::inflow(rate, rate.burst()));
        Assessment { delay: said.full_at.since(now.after(burst)), ..said }
    }

    pub(super) fn charge(&mut self, rate: &Rate, cost: u64, now: Timestamp) {
        self.0.charge(rate, cost, now);
    }

    pub(super) fn give_back(&mut self, rate: &Rate, cost: u64, at: Timestamp) {
        self.0.give_back(rate, cost, at);
    }

    pub(super) fn reward(&mut self, rate: &Rate, units: u64, now: Timestamp) {
        self.0.reward(rate, units, now);
    }

    pub(super) const fn expires_at(&self) -> Timestamp {
        self.0.expires_at()
    }
}
