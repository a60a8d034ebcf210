//! Cells in memcached: counts that its atomic commands count up and down.
//!
//! What it promises:
//! - It carries [`crate::Algorithm::FixedWindow`] (of a second or more) and [`crate::Algorithm::Calendar`], exactly: a count
//!   is one number, whose window is named in its key. What decides by more than one number is refused ([`NotCarried`]), and
//!   not approximated.
//! - Each limit of a charge is reserved by one atomic addition, all at once, in one round trip for each server; if one
//!   refuses, the others are given back. Never more than the quota is admitted; but a neighbour may for a moment see a
//!   reservation that is then given back, and be refused for it.
//! - Whether a key is blocked stands in an item of its own, which is read in the same write.
//! - An item is made by the command that counts first, together with the moment when it runs out: three seconds after its
//!   window ends.
//! - No call is sent twice that may have been run. If an answer is lost, what was reserved stays.
//! - The time is the servers', which tell whole seconds: instances agree about where a window ends to within a second, less
//!   once they have been there for a while. Whichever window one counts in, it is that window's one count. A wait that is told
//!   has that second added.
//! - A key that was refused is refused here for up to a quarter of a second, without a question.
//! - What memcached forgets counts anew: after a restart, `flush_all`, and for each item that it evicts because it is full
//!   ([`MemcachedFigures::evictions`]; with `-M` it answers an error instead). [`Identity`] tells the first two.
//!
//! memcached 1.6.10 or later; no proxy that does not pass on `stats`.

mod client;
mod clock;
mod frame;
mod host;
mod operate;
mod options;
mod wire;

use std::sync::Arc;
use std::time::Duration;

pub use frame::NotCarried;
pub use options::{MemcachedOptions, MemcachedOptionsError};
use portcullis_core::Timestamp;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use self::client::Client;
use self::frame::Frame;
use super::net::FRESH;
use super::shared::{Answer, BoxFuture, Identity, SharedStore, StoreError};
use crate::key::Key;
use crate::limiter::{Ask, Receipt, Standing};
use crate::rate::Rate;

/// Cells in memcached: on one server, or spread over several.
#[derive(Debug)]
pub struct MemcachedStore {
    inner: Arc<Client>,
    health: AbortHandle,
}

/// What a store has met with since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemcachedFigures {
    /// Requests that were refused without a question, because their key was known to be refused.
    pub refused_locally: u64,
    /// Reservations whose answer came after they had been given up: they stay.
    pub late: u64,
    /// Charges that could not be given back because too much was queued or there was no connection: they stay charged.
    pub lost_give_backs: u64,
    /// Items that the servers threw away to make room, since they were started: counts that began anew. It should be zero.
    pub evictions: u64,
}

impl MemcachedStore {
    /// A store that speaks to memcached by tasks on this runtime, which must have I/O and time. It does not wait for the
    /// connections; whoever wants to know asks [`SharedStore::ping`].
    ///
    /// # Errors
    /// [`StoreError`] where the CA file cannot be used.
    pub fn new(options: &MemcachedOptions, runtime: &Handle) -> Result<Self, StoreError> {
        let inner = Arc::new(Client::new(options, runtime)?);
        let watched = Arc::downgrade(&inner);
        let health = runtime.spawn(async move {
            while let Some(inner) = watched.upgrade() {
                // Whether it works is told to whoever asks; here it is for the resets, and for the time.
                let _ = inner.ping().await;
                drop(inner);
                tokio::time::sleep(FRESH / 2).await;
            }
        });
        Ok(Self { inner, health: health.abort_handle() })
    }

    /// Whether memcached carries this rate exactly. Asked for one that it does not carry, the store answers
    /// [`StoreError::NotCarried`].
    ///
    /// # Errors
    /// [`NotCarried`] where it does not.
    pub fn carries(rate: &Rate) -> Result<(), NotCarried> {
        Frame::of(rate).map(drop)
    }

    /// Tells by which rates a limit counts. Each charge does so too; but a reset has to know in which windows a key may have
    /// been counted by others, and where no charge came before it, this is how.
    ///
    /// # Errors
    /// [`NotCarried`] as [`MemcachedStore::carries`].
    pub fn introduce(&self, limit: &str, rate: &Rate) -> Result<(), NotCarried> {
        self.inner.introduce(limit, rate).map(drop)
    }

    /// What the store has met with.
    #[must_use]
    pub fn figures(&self) -> MemcachedFigures {
        let hosts = || self.inner.hosts.iter();
        MemcachedFigures {
            refused_locally: self.inner.refusals.answered(),
            late: hosts().map(|host| host.lane.late()).sum(),
            lost_give_backs: hosts().map(|host| host.lane.lost()).sum(),
            evictions: hosts().map(host::Host::evictions).sum(),
        }
    }

    /// Sets the time by which windows are found, for tests: it stands still from then on.
    #[cfg(feature = "test-clock")]
    pub fn set_time(&self, now: Timestamp) {
        *self.inner.moved.write() = Some(now);
        self.inner.refusals.forget_all();
    }
}

impl Drop for MemcachedStore {
    fn drop(&mut self) {
        self.health.abort();
    }
}

impl SharedStore for MemcachedStore {
    fn charge<'a>(&'a self, asks: &'a [Ask<'a>]) -> BoxFuture<'a, Answer> {
        Box::pin(self.inner.charge(asks))
    }

    fn peek<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<Standing, StoreError>> {
        Box::pin(self.inner.peek(ask))
    }

    fn give_back(&self, receipt: Receipt) {
        self.inner.give_back(&receipt);
    }

    fn reset<'a>(&'a self, limit: &'a str, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.inner.reset(limit, key))
    }

    fn reward<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.inner.reward(ask))
    }

    fn block<'a>(
        &'a self,
        limit: &'a str,
        key: &'a Key,
        how_long: Duration,
    ) -> BoxFuture<'a, Result<Timestamp, StoreError>> {
        Box::pin(self.inner.block(limit, key, how_long))
    }

    fn unblock<'a>(&'a self, limit: &'a str, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.inner.unblock(limit, key))
    }

    fn ping(&self) -> BoxFuture<'_, Result<Identity, StoreError>> {
        Box::pin(self.inner.ping())
    }
}
