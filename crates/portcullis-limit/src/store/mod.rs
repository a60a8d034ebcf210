//! Where cells are kept. Every store keeps the same contract, asked of it by one suite of tests.

mod memory;
mod shard;

pub use memory::MemoryStore;
