//! Where cells are kept. Every store keeps the same contract, asked of it by one suite of tests.

mod memory;
#[cfg(feature = "redis")]
mod net;
#[cfg(feature = "redis")]
mod redis;
mod shard;
mod shared;
mod table;

pub use memory::MemoryStore;
#[cfg(feature = "redis")]
pub use redis::{RedisFigures, RedisOptions, RedisOptionsError, RedisStore};
pub use shared::{Answer, BoxFuture, Identity, SharedStore, StoreError};
pub(crate) use table::CellId;
