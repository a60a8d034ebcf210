//! Where cells are kept. Every store keeps the same contract, asked of it by one suite of tests.

#[cfg(feature = "memcached")]
mod memcached;
mod memory;
#[cfg(feature = "net")]
mod net;
#[cfg(feature = "redis")]
mod redis;
mod shard;
mod shared;
mod table;

#[cfg(feature = "memcached")]
pub use memcached::{MemcachedFigures, MemcachedOptions, MemcachedOptionsError, MemcachedStore, NotCarried};
pub use memory::MemoryStore;
#[cfg(feature = "redis")]
pub use redis::{RedisFigures, RedisOptions, RedisOptionsError, RedisStore};
pub use shared::{Answer, BoxFuture, Identity, Lender, Pulse, SharedStore, StoreError, Taken};
pub(crate) use table::CellId;
