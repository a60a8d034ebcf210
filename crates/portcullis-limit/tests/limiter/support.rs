//! What the tests of a limiter in memory share, beside what those of every store do.

use portcullis_core::Timestamp;
use portcullis_limit::{Ask, Charge, Denied, Key, Limiter, Rate};

use crate::contract::Subject;
pub(crate) use crate::contract::{START, ask, rate, window};

/// Charges all asks or none.
pub(crate) fn charge(limiter: &Limiter, asks: &[Ask<'_>], now: Timestamp) -> Result<Charge, Denied> {
    Subject::charge(limiter, asks, now)
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

/// A key of a limit with one text in it.
pub(crate) fn key(limit: u32, text: &str) -> Key {
    let mut key = Key::new(limit);
    key.push_text('u', text);
    key
}
