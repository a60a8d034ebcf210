//! Findings: the event log, metrics and the blocklist.
//!
//! Everything here is fed from the hot path and must not slow it down: an event is put into a bounded queue, a metric is
//! one relaxed add to a counter of the thread's own, and an empty blocklist is one relaxed load. Whatever a stranger can
//! make longer (queue, aggregation table, files, labels, blocks) has a bound, and what a bound costs is counted.

mod block;
mod event;
mod metrics;
mod recorder;

pub use block::{Block, BlockTable, BlockTableError};
pub use event::{EventLog, EventLogOptions, EventStats};
pub use metrics::{ComparedLimits, Counter, Gauge, Handshake, Http2Flood, Metrics, Outcome, Sample};
pub use recorder::Recorder;
