//! Rate limits that are exact: six algorithms, cells in memory or in Redis, several limits charged at once or not at all, and
//! a tower layer for axum.
//!
//! # In an axum app
//!
//! With the feature `tower`, a limit is a layer: the module `tower` begins with an example, and `examples/` of the crate has two apps to
//! start from, one in memory and one on Redis.
//!
//! # Without HTTP
//!
//! A [`Limiter`] charges [`Ask`]s. Each is a limit's name, the [`Key`] of whoever is counted, and a [`Rate`]: a [`Quota`] and
//! the [`Algorithm`] that keeps it. Time is a parameter.
//!
//! ```
//! use portcullis_limit::{Algorithm, Ask, Clock, Key, Limiter, Patience, Rate, Refused, SystemClock};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let rate = Rate::new("2 per 1m".parse()?, Algorithm::SlidingWindowLog, None)?;
//! let limiter = Limiter::default();
//! let mut key = Key::named("mails");
//! key.push_text('u', "alice");
//!
//! let ask = Ask::new("mails", key, &rate);
//! for left in [1, 0] {
//!     let charge = limiter.charge(&[ask.clone()], SystemClock.now(), &mut Patience::default()).await.map_err(|_| "refused")?;
//!     assert_eq!(charge.standings()[0].remaining, left);
//! }
//! match limiter.charge(&[ask], SystemClock.now(), &mut Patience::default()).await {
//!     Err(Refused::Denied(denied)) => println!("again in {:?}", denied.retry_after),
//!     other => panic!("{other:?}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Several asks in one call are charged all or none. What an outcome does not cost is given back with its [`Receipt`]
//! ([`Limiter::give_back`]). Where there is one limit in memory and nothing is ever given back, [`MemoryStore::check`] is the
//! shortest way.
//!
//! # Which algorithm
//!
//! | | what it promises | what it keeps for a key |
//! |---|---|---|
//! | [`SlidingWindowCounter`](Algorithm::SlidingWindowCounter) | at most the quota in aligned windows, less than twice it in any; an estimate, cheap | two counts |
//! | [`SlidingWindowLog`](Algorithm::SlidingWindowLog) | never more than the quota in any window | the time of each admitted request |
//! | [`TokenBucket`](Algorithm::TokenBucket) | at most the burst, and the rate over time | one time |
//! | [`LeakyBucket`](Algorithm::LeakyBucket) | an even flow; others are refused, or wait for their turn | one time |
//! | [`FixedWindow`](Algorithm::FixedWindow) | the quota in each aligned window, so twice as much around its edge | one count |
//! | [`Calendar`](Algorithm::Calendar) | the quota in each day, week, month or year of a time zone | one count |
//!
//! A refused request is never charged, and waiting for as long as a refusal says is always enough, if nobody else spends the
//! same key.
//!
//! # Which store
//!
//! [`MemoryStore`]: one process, some 50 bytes a key, a bounded number of keys. `RedisStore` (feature `redis`; one server,
//! Sentinel, Cluster, TLS): all processes count together, a whole stack of limits in one script, by the server's clock; a limit
//! that is asked for all the time takes portions of its quota instead ([`Ask::lease`]). `MemcachedStore` (feature `memcached`): all
//! processes together too, for those algorithms that memcached can keep. While a store over a network is away each limit does
//! what its [`Outage`] says, and no decision waits longer than the [`PATIENCE`].
//!
//! # Features
//!
//! - `tower`: the layer.
//! - `redis`: the store in Redis.
//! - `memcached`: the store in memcached.
//! - `test-clock`: lets tests move the time of scripts in Redis. A release build refuses it.

mod algorithm;
mod breaker;
mod calendar;
pub mod headers;
mod key;
mod lease;
mod limiter;
mod message;
mod operate;
mod outage;
mod quota;
mod rate;
mod store;
mod text;
#[cfg(feature = "tower")]
pub mod tower;

pub use calendar::{Calendar, Period, Stretch, UnknownTimeZone};
pub use key::Key;
pub use lease::LeaseFigures;
pub use limiter::{Ask, Charge, Denied, Limiter, Receipt, Receipts, Refused, Standing};
pub use message::fill_wait;
pub use operate::{BLOCK_AT_LEAST, BLOCK_AT_MOST};
pub use outage::{Outage, PATIENCE, Patience, StoreEvent, StoreObserver};
pub use portcullis_core::{
    AddressKey, ClientAddress, Clock, ForwardHeader, IpNet, ManualClock, Secret, SystemClock, Timestamp, TrustedHops,
};
pub use quota::{Quota, QuotaError};
pub use rate::{Algorithm, MAX_DELAY, MAX_LOG_QUOTA, Rate, RateError, UnknownAlgorithm};
pub use store::{Answer, BoxFuture, Identity, Lender, MemoryStore, Pulse, SharedStore, StoreError, Taken};
#[cfg(feature = "memcached")]
pub use store::{MemcachedFigures, MemcachedOptions, MemcachedOptionsError, MemcachedStore, NotCarried};
#[cfg(feature = "redis")]
pub use store::{RedisFigures, RedisOptions, RedisOptionsError, RedisStore};

#[cfg(all(feature = "test-clock", not(debug_assertions)))]
compile_error!("the feature `test-clock` lets anyone move time; a release build must not have it");

/// The code of the README is run as that of the documentation is.
#[cfg(all(doctest, feature = "tower"))]
#[doc = include_str!("../README.md")]
struct Readme;
