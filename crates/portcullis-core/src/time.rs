//! Time as a parameter: a [`Timestamp`] is passed in, only a [`Clock`] at the edge makes one.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const NANOS: u64 = 1_000_000_000;

/// A point in time: nanoseconds since the Unix epoch (good until the year 2554).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch, 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);
    /// The last representable moment; stands for "never".
    pub const MAX: Self = Self(u64::MAX);

    /// From nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since the Unix epoch; saturates.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// From seconds since the Unix epoch; saturates.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(NANOS))
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whole seconds since the Unix epoch, rounded down (a JWT `NumericDate`).
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / NANOS
    }

    /// Whole seconds since the Unix epoch, rounded up: a moment named to a client is never too early.
    #[must_use]
    pub const fn as_secs_ceil(self) -> u64 {
        self.0.div_ceil(NANOS)
    }

    /// This moment plus a duration; saturates at [`Timestamp::MAX`].
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// This moment minus a duration; saturates at the epoch.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }

    /// The time that has passed since `earlier`, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// RFC 3339 text in UTC with milliseconds, e.g. `2026-11-21T04:13:41.000Z` (ISO 8601).
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = i64::try_from(self.as_secs()).unwrap_or(i64::MAX);
        let Ok(utc) = time::OffsetDateTime::from_unix_timestamp(secs) else {
            return f.write_str("never");
        };
        // Digits are set by hand: every refusal and every record carries a moment, and formatting each part by itself
        // costs more than deciding about the request.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut set = |from: usize, to: usize, mut number: u64| {
            for digit in text[from..to].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        set(0, 4, u64::from(utc.year().unsigned_abs()));
        set(5, 7, u64::from(u8::from(utc.month())));
        set(8, 10, u64::from(utc.day()));
        set(11, 13, u64::from(utc.hour()));
        set(14, 16, u64::from(utc.minute()));
        set(17, 19, u64::from(utc.second()));
        set(20, 23, (self.0 % NANOS) / 1_000_000);
        f.write_str(std::str::from_utf8(&text).unwrap_or("never"))
    }
}

/// Where the edge gets its time from.
pub trait Clock: Send + Sync {
    /// The present moment, by which everything is decided.
    fn now(&self) -> Timestamp;

    /// What the machine's own clock shows. Where that was set back, it is earlier than [`Clock::now`], which goes on.
    fn wall(&self) -> Timestamp {
        self.now()
    }

    /// Goes on from `mark` if that is later than now: a moment that somebody has acted upon is not lived through twice.
    fn raise(&self, mark: Timestamp);
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the edge that reads the clock for everyone else")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::EPOCH.after(since)
    }

    /// The operating system's clock is nobody's to move.
    fn raise(&self, _: Timestamp) {}
}

/// A clock that stands still until it is moved; for tests and for replaying logs.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.0))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::SeqCst);
    }

    /// Sets the clock to `now`, back too.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn raise(&self, mark: Timestamp) {
        self.0.fetch_max(mark.0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_is_utc_with_milliseconds() {
        let moment = Timestamp::from_millis(1_795_234_421_042);
        assert_eq!(moment.to_rfc3339(), "2026-11-21T04:13:41.042Z");
    }

    #[test]
    fn a_moment_named_to_a_client_is_rounded_up() {
        assert_eq!(Timestamp::from_nanos(1).as_secs_ceil(), 1);
        assert_eq!(Timestamp::from_secs(7).as_secs_ceil(), 7);
    }
}
