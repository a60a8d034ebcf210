//! Ports that several rooms share. Each has one contract; adapters live beside the engine they speak to.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use crate::{Principal, Scheme, Timestamp};

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

/// The name of an opaque credential: what it is, and the SHA-256 of its text. The text itself goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpaqueName {
    /// [`Scheme::ApiKey`] or [`Scheme::Session`].
    pub scheme: Scheme,
    /// Its SHA-256.
    pub hash: [u8; 32],
}

/// Whose an opaque credential is.
#[derive(Debug)]
pub enum Found {
    /// This one's.
    Holder(Box<Principal>),
    /// It was somebody's.
    Revoked,
    /// Nobody's.
    Nobody,
}

/// The keeper could not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keeper of API keys and sessions does not answer")]
pub struct Unanswered;

/// An answer that takes a while.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The keeper of opaque credentials: API keys and server sessions. Asked about one that is not remembered, so an answer may
/// come from the database.
pub trait Holders: Send + Sync {
    /// Whose it is at this moment.
    fn find(&self, name: OpaqueName) -> Answer<Result<Found, Unanswered>>;
}

/// No list at all: nobody is blocked, nothing is revoked, and nobody has a key or a session. For a bare guard and for tests.
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

impl Holders for Nobody {
    fn find(&self, _: OpaqueName) -> Answer<Result<Found, Unanswered>> {
        Box::pin(std::future::ready(Ok(Found::Nobody)))
    }
}
