//! The layer, called as tower calls it.

#![expect(clippy::unwrap_used, reason = "a helper that has nothing to work on fails its test")]

mod keys;
mod nested;
mod outage;
mod outcomes;
mod readiness;
mod refusals;
mod support;
mod waits;
