//! Quotas: pure rate-limit algorithms, the stores that hold their cells, and the limiter that charges several at once.

mod algorithm;
mod breaker;
mod calendar;
pub mod headers;
mod key;
mod limiter;
mod message;
mod operate;
mod outage;
mod quota;
mod rate;
mod store;
#[cfg(feature = "tower")]
pub mod tower;

pub use calendar::{Calendar, Period, Stretch, UnknownTimeZone};
pub use key::Key;
pub use limiter::{Ask, Charge, Denied, Limiter, Receipt, Receipts, Refused, Standing};
pub use message::fill_wait;
pub use operate::{BLOCK_AT_LEAST, BLOCK_AT_MOST};
pub use outage::{Outage, PATIENCE, Patience, StoreEvent, StoreObserver};
pub use portcullis_core::{
    AddressKey, ClientAddress, Clock, ForwardHeader, IpNet, ManualClock, Secret, SystemClock, Timestamp, TrustedHops,
};
pub use quota::{Quota, QuotaError};
pub use rate::{Algorithm, MAX_DELAY, MAX_LOG_QUOTA, Rate, RateError, UnknownAlgorithm};
pub use store::{Answer, BoxFuture, Identity, MemoryStore, SharedStore, StoreError};
#[cfg(feature = "redis")]
pub use store::{RedisFigures, RedisOptions, RedisOptionsError, RedisStore};

#[cfg(all(feature = "test-clock", not(debug_assertions)))]
compile_error!("the feature `test-clock` lets anyone move time; a release build must not have it");
