//! Cells in Redis: one script decides about a whole stack of limits at one moment of the server's clock.
//!
//! What it promises:
//! - All limits of a charge are charged or none, in one round trip. In a cluster, where their keys lie in different slots,
//!   each slot is reserved by itself, all at once, and given back if another refuses; so a neighbour may for a moment see a
//!   reservation that is then taken back, and be refused for it, but never the other way round.
//! - Every key runs out by itself when its cell says the same as none, and is set with that time in one command.
//! - No call is sent twice that may have been run. If an answer is lost the charge stays, if it was made.
//! - A key that is known to be refused is refused here, without a question: see [`super::net`] for how long.
//! - If a server loses data (a crash without persistence, a failover), limits count anew what was lost. [`Identity`] tells.
//!
//! Redis 6.2 or later, and what speaks as it does (Valkey); `maxmemory-policy` must be `noeviction`, or counts may vanish.

mod client;
mod cluster;
mod operate;
mod options;
mod request;
mod script;
mod sentinel;
mod servers;
mod stream;
mod wire;

use std::sync::Arc;
use std::time::Duration;

pub use options::{RedisOptions, RedisOptionsError};
use portcullis_core::Timestamp;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use self::client::Client;
use super::net::FRESH;
use super::shared::{Answer, BoxFuture, Identity, Lender, Pulse, SharedStore, StoreError, Taken};
use crate::key::Key;
use crate::limiter::{Ask, Receipt, Standing};

/// Cells in Redis: one server, a master that Sentinels watch, or a cluster.
#[derive(Debug)]
pub struct RedisStore {
    inner: Arc<Client>,
    health: AbortHandle,
}

/// What a store has met with since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisFigures {
    /// Requests that were refused without a question, because their key was known to be refused.
    pub refused_locally: u64,
    /// Charges whose answer came after they had been given up: they stay charged.
    pub late: u64,
    /// Charges that could not be given back because too much was queued or there was no connection: they stay charged.
    pub lost_give_backs: u64,
}

impl RedisStore {
    /// A store that speaks to Redis by tasks on this runtime, which must have I/O and time. It does not wait for the
    /// connection; whoever wants to know
    /// asks [`SharedStore::ping`].
    ///
    /// # Errors
    /// [`StoreError`] where the CA file cannot be used.
    pub fn new(options: &RedisOptions, runtime: &Handle) -> Result<Self, StoreError> {
        let inner = Arc::new(Client::new(options, runtime)?);
        let watched = Arc::downgrade(&inner);
        let health = runtime.spawn(async move {
            while let Some(inner) = watched.upgrade() {
                // Whether it works is told to whoever asks; here it is for the resets.
                let _ = inner.ping().await;
                drop(inner);
                tokio::time::sleep(FRESH / 2).await;
            }
        });
        Ok(Self { inner, health: health.abort_handle() })
    }

    /// The policy by which a server would forget keys when it is full, as `allkeys-lru`; `None` where none would. It must be
    /// `noeviction`, or counts may vanish in silence.
    ///
    /// # Errors
    /// [`StoreError`] where a server does not tell.
    pub async fn eviction(&self) -> Result<Option<String>, StoreError> {
        self.inner.eviction().await
    }

    /// What the store has met with.
    #[must_use]
    pub fn figures(&self) -> RedisFigures {
        RedisFigures {
            refused_locally: self.inner.refusals.answered(),
            late: self.inner.servers.late(),
            lost_give_backs: self.inner.servers.lost(),
        }
    }

    /// Sets the time that scripts go by, for tests: it stands still from then on.
    #[cfg(feature = "test-clock")]
    pub fn set_time(&self, now: Timestamp) {
        *self.inner.moved.write() = format!("={}", now.as_nanos() / 1000);
        self.inner.refusals.forget_all();
    }

    /// Shifts the time that scripts go by against the server's, for tests.
    #[cfg(feature = "test-clock")]
    pub fn shift_time(&self, micros: i64) {
        *self.inner.moved.write() = format!("{micros:+}");
        self.inner.refusals.forget_all();
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.health.abort();
    }
}

impl SharedStore for RedisStore {
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
        Box::pin(self.inner.reset(key.name(limit)))
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
        Box::pin(self.inner.block(key.name(limit), how_long))
    }

    fn unblock<'a>(&'a self, limit: &'a str, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.inner.unblock(key.name(limit)))
    }

    fn ping(&self) -> BoxFuture<'_, Result<Identity, StoreError>> {
        Box::pin(self.inner.ping())
    }

    /// One server can: a step looks at its mark and charges. A cluster's mark lies on one node, and another may lose what it
    /// holds without it.
    fn lender(&self) -> Option<&dyn Lender> {
        self.inner.servers.is_one().then_some(self)
    }
}

impl Lender for RedisStore {
    fn pulse(&self) -> BoxFuture<'_, Result<Pulse, StoreError>> {
        Box::pin(self.inner.pulse())
    }

    fn take<'a>(&'a self, ask: &'a Ask<'a>, mark: &'a Identity) -> BoxFuture<'a, Result<Taken, StoreError>> {
        Box::pin(self.inner.take(ask, mark.as_str()))
    }

    fn reopen(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.inner.reopen())
    }
}
