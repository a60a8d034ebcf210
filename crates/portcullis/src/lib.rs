//! The gate: one decision with many doors.

mod pattern;
mod table;

pub use pattern::{Pattern, PatternError};
