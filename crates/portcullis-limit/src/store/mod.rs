//! Where cells are kept. Every store keeps the same contract, asked of it by one suite of tests.

mod memory;
mod shard;
mod shared;

pub use memory::MemoryStore;
pub use shared::{Answer, BoxFuture, Identity, SharedStore, StoreError};
