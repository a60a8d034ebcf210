//! Ports that several rooms share. Each has one contract; adapters live beside the engine they speak to.

use std::net::IpAddr;

use crate::{Principal, Timestamp};

/// What the record of revocations says of a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing speaks against it.
    Good,
    /// Its token, session or user version was revoked.
    Revoked,
    /// The record is older than `max_staleness`: nobody can say, so nobody may enter (503).
    Unknown,
}

/// The record of revoked tokens, sessions and user versions. Asked on every request with one of our own tokens, so an
/// answer comes from memory.
pub trait Revocations: Send + Sync {
    /// Whether the principal's token is still good at `now`.
    fn standing(&self, principal: &Principal, now: Timestamp) -> Standing;
}

/// The list of blocked addresses. Asked on every request, so an answer comes from memory.
pub trait Blocklist: Send + Sync {
    /// Until when the address is blocked, or `None` where it is not.
    fn blocked_until(&self, address: IpAddr, now: Timestamp) -> Option<Timestamp>;
}

/// No list at all: nobody is blocked and nothing is revoked. For a bare guard and for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Blocklist for Nobody {
    fn blocked_until(&self, _: IpAddr, _: Timestamp) -> Option<Timestamp> {
        None
    }
}

impl Revocations for Nobody {
    fn standing(&self, _: &Principal, _: Timestamp) -> Standing {
        Standing::Good
    }
}
