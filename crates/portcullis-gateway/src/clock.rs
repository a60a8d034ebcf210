//! The process's clock: the operating system's, which the feature `test-clock` lets a test move.

use portcullis_core::{Clock, SystemClock, Timestamp};

#[cfg(feature = "test-clock")]
static OFFSET_NANOS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// The clock that everything in the process reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessClock;

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now();
        #[cfg(feature = "test-clock")]
        let now = now.after(std::time::Duration::from_nanos(OFFSET_NANOS.load(std::sync::atomic::Ordering::Relaxed)));
        now
    }
}

/// Moves the process's clock forward. Only a test build has this; timers of the runtime are not moved.
#[cfg(feature = "test-clock")]
pub fn advance(by: std::time::Duration) {
    let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
    OFFSET_NANOS.fetch_add(nanos, std::sync::atomic::Ordering::Relaxed);
}
