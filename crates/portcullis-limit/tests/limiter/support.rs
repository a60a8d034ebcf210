//! What the tests of this crate share.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portcullis_core::Timestamp;
use portcullis_limit::{Algorithm, Ask, Charge, Denied, Key, Limiter, Outage, Patience, Quota, Rate, Refused};

/// A moment that is a multiple of every window used here, so that aligned windows begin at it.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_795_219_200);

/// Polls once: a store in memory never waits, and a charge that does is a failure.
pub(crate) fn charge(limiter: &Limiter, asks: &[Ask<'_>], now: Timestamp) -> Result<Charge, Denied> {
    let mut patience = Patience::default();
    match pin!(limiter.charge(asks, now, &mut patience)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(charge)) => Ok(charge),
        Poll::Ready(Err(Refused::Denied(denied))) => Err(denied),
        Poll::Ready(other) => panic!("memory is never away: {other:?}"),
        Poll::Pending => panic!("a store in memory answers at once"),
    }
}

/// Charges one enforced limit.
pub(crate) fn charge_one(
    limiter: &Limiter,
    rate: &Rate,
    key: &Key,
    cost: u64,
    now: Timestamp,
) -> Result<Charge, Denied> {
    charge(limiter, &[ask(rate, key, cost)], now)
}

/// An enforced ask.
pub(crate) fn ask<'a>(rate: &'a Rate, key: &Key, cost: u64) -> Ask<'a> {
    Ask { limit: "tested", key: key.clone(), rate, cost, enforce: true, refundable: false, outage: Outage::Local }
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

/// A key of a limit with one text in it.
pub(crate) fn key(limit: u32, text: &str) -> Key {
    let mut key = Key::new(limit);
    key.push_text('u', text);
    key
}
