//! What a store over a network is to the rest: something that may be slow, absent or full, and says so.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use portcullis_core::Timestamp;

use crate::key::Key;
use crate::limiter::{Ask, Charge, Denied, Receipt, Standing};

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a store answers to a charge: admitted or refused; or nothing, because it could not be asked.
pub type Answer = Result<Result<Charge, Denied>, StoreError>;

/// Cells that several processes share.
///
/// The time is the store's own, so that the clocks of the processes need not agree: standings and receipts carry its
/// moments, and how long to wait is reckoned by it. The futures may be polled on any runtime; every one of them ends in
/// bounded time, whatever the store does, and none of them asks twice for what may already have been done.
///
/// The stores of this crate implement it. One of your own can decide ([`Charge::default`], [`Denied`]), but has no receipts to
/// give back by: what those hold is between this crate and its stores.
///
/// A future that is dropped before it is ready leaves it open whether the charge was made. If it was, it stays: the bound
/// holds, and a client that hangs up is counted like one that waits.
pub trait SharedStore: fmt::Debug + Send + Sync {
    /// Charges all asks or none, as [`crate::Limiter::charge`] does.
    ///
    /// # Errors
    /// [`StoreError`] where the store did not decide. What it may have charged nevertheless stays charged.
    fn charge<'a>(&'a self, asks: &'a [Ask<'a>]) -> BoxFuture<'a, Answer>;

    /// How a limit stands towards a key, as far as the ask's cost would be admitted; nothing is charged or written.
    ///
    /// # Errors
    /// [`StoreError`] where the store did not answer.
    fn peek<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<Standing, StoreError>>;

    /// Gives one charge back, sooner or later: it is put in a bounded queue and never waits. What the queue has no room
    /// for, or what the store cannot be told, stays charged. A receipt of another store is ignored.
    fn give_back(&self, receipt: Receipt);

    /// Forgets all that was counted under a key of the limit with this name; `true` if there was something.
    ///
    /// # Errors
    /// [`StoreError`] where it is not certain that every instance goes by the reset.
    fn reset<'a>(&'a self, limit: &'a str, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Gives units back that nobody holds a receipt for, as many as the ask costs, until nothing of the quota lacks. A key
    /// that is blocked stays as it is.
    ///
    /// # Errors
    /// [`StoreError`] where it is not certain that it was done; [`StoreError::Unsupported`] where the store cannot do it.
    fn reward<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        let _ = ask;
        Box::pin(async { Err(StoreError::Unsupported { what: "give units back" }) })
    }

    /// Refuses a key of the limit with this name for so long from now on, in place of all that was counted under it; tells
    /// until when, by the store's clock. Charges of it are refused ([`Standing::blocked`]), whatever their rate and their
    /// cost; receipts of it give nothing back; [`SharedStore::reset`] lifts it. It goes by itself when it is over, and the
    /// key begins anew.
    ///
    /// # Errors
    /// As [`SharedStore::reward`].
    fn block<'a>(
        &'a self,
        limit: &'a str,
        key: &'a Key,
        how_long: Duration,
    ) -> BoxFuture<'a, Result<Timestamp, StoreError>> {
        let _ = (limit, key, how_long);
        Box::pin(async { Err(StoreError::Unsupported { what: "block a key" }) })
    }

    /// Lifts the block of a key; `true` if there was one. What is counted under a key that is not blocked stays.
    ///
    /// # Errors
    /// As [`SharedStore::reward`].
    fn unblock<'a>(&'a self, limit: &'a str, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        let _ = (limit, key);
        Box::pin(async { Err(StoreError::Unsupported { what: "lift a block" }) })
    }

    /// Whether the store works, asked of it now, and who it is.
    ///
    /// # Errors
    /// [`StoreError`] where it does not.
    fn ping(&self) -> BoxFuture<'_, Result<Identity, StoreError>>;

    /// Itself, if portions of its quotas can be leased ([`Ask::lease`]); a store that cannot tell in the step of a charge
    /// whether it has lost something counts each request by itself.
    fn lender(&self) -> Option<&dyn Lender> {
        None
    }
}

/// A store that portions of quotas can be leased from, because it knows itself.
pub trait Lender: fmt::Debug + Send + Sync {
    /// Who the store is, and what it knows of its losses.
    ///
    /// # Errors
    /// [`StoreError`] where it does not answer.
    fn pulse(&self) -> BoxFuture<'_, Result<Pulse, StoreError>>;

    /// Charges one ask as [`SharedStore::charge`] does, in one step with a look at the mark: only if it is still this one.
    ///
    /// # Errors
    /// [`StoreError`] where the store did not decide. What it may have charged nevertheless stays charged.
    fn take<'a>(&'a self, ask: &'a Ask<'a>, mark: &'a Identity) -> BoxFuture<'a, Result<Taken, StoreError>>;

    /// Takes an operator's word that it has lost nothing: from the next [`Lender::pulse`] on, whoever asks, it bears another mark
    /// and knows of no loss.
    ///
    /// # Errors
    /// [`StoreError`] where it is not certain that it was told; [`StoreError::Unsupported`] where it cannot be.
    fn reopen(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Err(StoreError::Unsupported { what: "be told that it lost nothing" }) })
    }
}

/// What a lender says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Its mark: while it stays, what the store acknowledged is there.
    pub mark: Identity,
    /// The moment, by the store's clock.
    pub at: Timestamp,
    /// Since when it has borne the mark. Until some seconds after that, others may still come who know of a loss.
    pub since: Timestamp,
    /// When it was found to have lost, or perhaps to have lost, what it had acknowledged.
    pub lost: Option<Timestamp>,
    /// Changes whenever someone resets a key.
    pub resets: Box<str>,
}

/// What a lender answers: admitted or refused; `None` where it bears another mark, and has charged nothing.
pub type Taken = Option<Result<Charge, Denied>>;

/// Who a store is: as long as it stays the same, what the store acknowledged is still there. It becomes another one when
/// the store was restarted, emptied or replaced by a replica, which may not have had everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity(Box<str>);

impl Identity {
    /// An identity by the text that a store tells itself apart by.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a store did not answer. The messages name the store's address, never a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be reached, or the connection broke.
    #[error("{store} is not reachable ({cause}); check that it runs and that the address is right")]
    Unavailable {
        /// Where it should be.
        store: Box<str>,
        /// What happened.
        cause: Box<str>,
    },
    /// It did not answer in time. The charge may have been made; then it stays.
    #[error("{store} did not answer within {} ms; it is overloaded, hangs, or is too far away", after.as_millis())]
    TimedOut {
        /// Where it is.
        store: Box<str>,
        /// How long it was waited for.
        after: Duration,
    },
    /// More is waiting for it than may. Nothing was charged.
    #[error("too many requests wait for {store}; it is overloaded or hangs")]
    Overloaded {
        /// Where it is.
        store: Box<str>,
    },
    /// It does not let us do what we must.
    #[error("{store} does not let us in ({answer}); check the user, the password and the user's rules: {needs}")]
    NotAllowed {
        /// Where it is.
        store: Box<str>,
        /// What it said.
        answer: Box<str>,
        /// The rights that are needed.
        needs: &'static str,
    },
    /// It has no memory left. Nothing was charged.
    #[error("{store} has no memory left; raise what it may take (Redis: maxmemory, memcached: -m)")]
    Full {
        /// Where it is.
        store: Box<str>,
    },
    /// It is there but cannot serve at the moment: it loads, runs a long script, or is a replica. Nothing was charged.
    #[error("{store} cannot serve at the moment ({answer})")]
    NotReady {
        /// Where it is.
        store: Box<str>,
        /// What it said.
        answer: Box<str>,
    },
    /// Under our key is something that we did not put there. Nothing was charged.
    #[error(
        "{store} holds something else under a key of a limit ({answer}); give the limits a database or a server of their own"
    )]
    Foreign {
        /// Where it is.
        store: Box<str>,
        /// What it said.
        answer: Box<str>,
    },
    /// It has no means to do this. Nothing was done.
    #[error("the store of the limits cannot {what}")]
    Unsupported {
        /// What was to be done.
        what: &'static str,
    },
    /// It cannot count by this rate exactly. Nothing was charged.
    #[error("{store} does not count by this limit: {cause}")]
    NotCarried {
        /// Where it is.
        store: Box<str>,
        /// Why, and what it counts by instead.
        cause: Box<str>,
    },
    /// An answer that is not understood.
    #[error(
        "{store} answered what is not understood ({answer}); is it what the URL says, Redis from 6.2 or memcached from \
         1.6.10 on?"
    )]
    Protocol {
        /// Where it is.
        store: Box<str>,
        /// What it said.
        answer: Box<str>,
    },
}

impl StoreError {
    /// A word for metrics and events: `unavailable`, `timeout`, `overloaded`, `not-allowed`, `full`, `not-ready`, `foreign`,
    /// `unsupported`, `not-carried` or `protocol`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::TimedOut { .. } => "timeout",
            Self::Overloaded { .. } => "overloaded",
            Self::NotAllowed { .. } => "not-allowed",
            Self::Full { .. } => "full",
            Self::NotReady { .. } => "not-ready",
            Self::Foreign { .. } => "foreign",
            Self::Unsupported { .. } => "unsupported",
            Self::NotCarried { .. } => "not-carried",
            Self::Protocol { .. } => "protocol",
        }
    }
}
