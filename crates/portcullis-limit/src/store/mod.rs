//! Where cells are kept. Every store keeps the same contract, asked of it by one suite of tests.

mod memory;

pub use memory::MemoryStore;
