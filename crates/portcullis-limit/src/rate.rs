//! A quota with the algorithm that keeps it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::calendar::{Calendar, UnknownTimeZone};
use crate::quota::Quota;

/// How a quota is kept. What each promises is stated at its file in `algorithm/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// A bucket of `burst` that refills steadily (GCRA).
    TokenBucket,
    /// A steady flow: no burst unless one is given, and a queue if a longest delay is given.
    LeakyBucket,
    /// A count that starts anew at every multiple of the window.
    FixedWindow,
    /// Two fixed windows, weighted by how far the second has come.
    #[default]
    SlidingWindowCounter,
    /// The time of every admitted request.
    SlidingWindowLog,
    /// A count that starts anew with every day, week, month or year of a time zone.
    Calendar,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 6] = [
        Self::TokenBucket,
        Self::LeakyBucket,
        Self::FixedWindow,
        Self::SlidingWindowCounter,
        Self::SlidingWindowLog,
        Self::Calendar,
    ];

    /// Its name in a configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenBucket => "token-bucket",
            Self::LeakyBucket => "leaky-bucket",
            Self::FixedWindow => "fixed-window",
            Self::SlidingWindowCounter => "sliding-window-counter",
            Self::SlidingWindowLog => "sliding-window-log",
            Self::Calendar => "calendar",
        }
    }

    /// Whether it is a bucket, which has a burst.
    #[must_use]
    pub const fn has_burst(self) -> bool {
        matches!(self, Self::TokenBucket | Self::LeakyBucket)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not an algorithm; choose token-bucket, leaky-bucket, fixed-window, sliding-window-counter, \
     sliding-window-log or calendar"
)]
pub struct UnknownAlgorithm(pub String);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL.into_iter().find(|a| a.as_str() == name).ok_or_else(|| UnknownAlgorithm(name.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The largest quota of a log: it keeps 8 bytes for every admitted request, 80 KB for one key at most.
pub const MAX_LOG_QUOTA: u64 = 10_000;

/// The longest that an empty bucket may take to fill: a hundred years. Beyond that, moments would not fit in a
/// [`portcullis_core::Timestamp`], and a bucket whose arithmetic saturates would never refuse.
pub(crate) const MAX_FILL: Duration = Duration::from_secs(100 * 366 * 86_400);

/// The shortest time between two units of a bucket. Intervals are whole nanoseconds, rounded up; from here on up that
/// makes a bucket slower than its quota by a thousandth at most, and never faster.
const MIN_INTERVAL_NANOS: u64 = 1_000;

/// The longest that a leaky bucket may make a request wait. A request that waits costs memory, and its client's patience
/// ends about here.
pub const MAX_DELAY: Duration = Duration::from_secs(60);

/// A quota, the algorithm that keeps it and what that algorithm alone asks for: a bucket's size, a queue's longest delay, a
/// calendar's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    quota: Quota,
    algorithm: Algorithm,
    burst: u32,
    max_delay_nanos: u64,
    calendar: Option<Calendar>,
    /// What follows from the above, so that no request divides for it.
    capacity: u32,
    interval_nanos: u64,
}

/// Why a quota and an algorithm do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RateError {
    /// A burst where there is no bucket.
    #[error("`burst` goes with the algorithms token-bucket and leaky-bucket only")]
    BurstWithoutBucket,
    /// A burst of nothing or of more than a billion.
    #[error("`burst` must be between 1 and 1,000,000,000")]
    Burst,
    /// A bucket that takes more than a hundred years to fill.
    #[error("a bucket of this `burst` takes more than a hundred years to fill; lower `burst` or raise the quota")]
    BurstTooLong,
    /// A bucket that fills faster than its arithmetic can tell.
    #[error("a bucket fills at most once in a microsecond; use a quota of at most 1,000,000 per second")]
    TooFast,
    /// A log that would grow too long.
    #[error("a sliding-window-log keeps every request; use it for quotas up to {MAX_LOG_QUOTA}")]
    LogTooLong,
    /// A delay where there is no queue.
    #[error("`max_delay` goes with the algorithm leaky-bucket only")]
    DelayWithoutQueue,
    /// A delay of more than a minute.
    #[error("`max_delay` must be at most 1m")]
    Delay,
    /// A month or a year where something of one length is asked for.
    #[error("months and years differ in length; use the algorithm calendar, or a quota such as \"1000 per 30d\"")]
    NotOneLength,
    /// A window that no calendar has.
    #[error("a calendar counts per day, week, month or year; for any other window use fixed-window")]
    NotInCalendar,
    /// A time zone where there is no calendar.
    #[error("`time_zone` goes with the algorithm calendar only")]
    TimeZoneWithoutCalendar,
    /// A lease of what promises something of every interval.
    #[error(
        "this algorithm cannot be leased: it promises something of every interval, and a portion is spent later than it was \
         counted; use fixed-window, sliding-window-counter or calendar"
    )]
    NotLeasable,
    /// A lease of a window that is over before a portion is worth anything.
    #[error("a window shorter than a second is not leased; a portion would be over before it is spent")]
    LeaseTooShort,
    /// A time zone that there is not.
    #[error(transparent)]
    TimeZone(#[from] UnknownTimeZone),
}

impl Rate {
    /// Puts them together. The burst of a token bucket is its quota's count unless told otherwise, that of a leaky bucket
    /// one request. A calendar is that of UTC.
    ///
    /// # Errors
    /// [`RateError`] where they do not go together.
    pub fn new(quota: Quota, algorithm: Algorithm, burst: Option<u64>) -> Result<Self, RateError> {
        let burst = match burst {
            None if algorithm == Algorithm::LeakyBucket => 1,
            None => quota.count(),
            Some(_) if !algorithm.has_burst() => return Err(RateError::BurstWithoutBucket),
            Some(0) | Some(1_000_000_001..) => return Err(RateError::Burst),
            Some(burst) => burst,
        };
        let burst = u32::try_from(burst).map_err(|_| RateError::Burst)?;
        if matches!(algorithm, Algorithm::SlidingWindowLog) && quota.count() > MAX_LOG_QUOTA {
            return Err(RateError::LogTooLong);
        }
        let calendar = match algorithm {
            Algorithm::Calendar => Some(Calendar::utc(quota.period().ok_or(RateError::NotInCalendar)?)),
            _ if quota.varies() => return Err(RateError::NotOneLength),
            _ => None,
        };
        // Rounded up: a bucket is never faster than its quota.
        let interval_nanos = quota.window_nanos().div_ceil(quota.count());
        if algorithm.has_burst() {
            // The quota itself, not the interval: rounding it up would hide that it is too fast.
            if quota.window_nanos() / quota.count() < MIN_INTERVAL_NANOS {
                return Err(RateError::TooFast);
            }
            let fill = u128::from(burst) * u128::from(interval_nanos);
            if fill > MAX_FILL.as_nanos() {
                return Err(RateError::BurstTooLong);
            }
        }
        Ok(Self { quota, algorithm, burst, max_delay_nanos: 0, calendar, capacity: burst, interval_nanos })
    }

    /// Lets requests beyond a leaky bucket's burst wait for their turn, this long at most, instead of being refused.
    ///
    /// # Errors
    /// [`RateError`] where there is no queue, or the delay is longer than [`MAX_DELAY`].
    pub fn with_max_delay(self, max_delay: Duration) -> Result<Self, RateError> {
        if self.algorithm != Algorithm::LeakyBucket {
            return Err(RateError::DelayWithoutQueue);
        }
        let nanos = u64::try_from(max_delay.as_nanos()).unwrap_or(u64::MAX);
        if max_delay > MAX_DELAY {
            return Err(RateError::Delay);
        }
        // A minute's queue holds sixty million at most.
        let queue = u32::try_from(nanos / self.interval_nanos).map_err(|_| RateError::Delay)?;
        Ok(Self { max_delay_nanos: nanos, capacity: self.burst + queue, ..self })
    }

    /// Lets a calendar's periods begin at the midnights of a time zone, by its IANA name.
    ///
    /// # Errors
    /// [`RateError`] where there is no calendar or no such time zone.
    pub fn in_time_zone(self, name: &str) -> Result<Self, RateError> {
        let calendar = self.calendar.ok_or(RateError::TimeZoneWithoutCalendar)?;
        Ok(Self { calendar: Some(Calendar::new(calendar.period(), name)?), ..self })
    }

    /// Whether portions of it can be leased (L11): whether it keeps its promise if what is charged at one moment of an
    /// aligned window is spent at a later one of the same window.
    ///
    /// # Errors
    /// [`RateError`] where it does not.
    #[inline]
    pub const fn check_lease(&self) -> Result<(), RateError> {
        match self.algorithm {
            Algorithm::FixedWindow | Algorithm::SlidingWindowCounter | Algorithm::Calendar => {
                if self.quota.window_nanos() < 1_000_000_000 { Err(RateError::LeaseTooShort) } else { Ok(()) }
            }
            _ => Err(RateError::NotLeasable),
        }
    }

    /// The quota.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// How many units a bucket admits at once; the quota's count where there is no bucket.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst as u64
    }

    /// How long an admitted request may have to wait at most; zero everywhere but in a leaky bucket that shapes.
    #[must_use]
    pub const fn max_delay(&self) -> Duration {
        Duration::from_nanos(self.max_delay_nanos)
    }

    /// The calendar by which periods begin, where the algorithm is [`Algorithm::Calendar`].
    #[must_use]
    pub const fn calendar(&self) -> Option<Calendar> {
        self.calendar
    }

    /// Whether what was counted by one of the two means the same to the other, so that both may take turns in one cell: they
    /// have one algorithm, one window (one period of one time zone), and buckets and queues that are about as deep in time.
    /// Otherwise each takes what the other wrote for another window's, and begins anew: whoever makes them take turns is
    /// admitted without end. [`Key::push_rate`](crate::Key::push_rate) gives each a cell of its own.
    #[must_use]
    pub fn counts_like(&self, other: &Self) -> bool {
        let of = |rate: &Self| (rate.algorithm, rate.quota.window_nanos(), rate.calendar, rate.half_windows());
        of(self) == of(other)
    }

    /// How many half windows a bucket and its queue are deep, to the nearest; 0 where there is no bucket. A bucket cuts off
    /// what lies further ahead than its own depth and a window more, and two of one number differ by half a window at most.
    pub(crate) const fn half_windows(&self) -> u64 {
        let window = self.quota.window_nanos();
        if self.algorithm.has_burst() { (self.depth_nanos() + window / 4) / (window / 2) } else { 0 }
    }

    /// Nanoseconds in which a bucket gains one unit, rounded up: a bucket is never faster than its quota.
    pub(crate) const fn interval_nanos(&self) -> u64 {
        self.interval_nanos
    }

    /// Nanoseconds that a bucket takes to fill and its queue to drain: how far ahead of the present admission can go. Within
    /// [`MAX_FILL`] and [`MAX_DELAY`].
    pub(crate) const fn depth_nanos(&self) -> u64 {
        self.burst() * self.interval_nanos + self.max_delay_nanos
    }

    /// The most that one moment can admit: the bucket's size and its queue's, or the quota's count. A request may not cost
    /// more.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        self.capacity as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l1_algorithms_have_names() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
        }
        let error = "leaky".parse::<Algorithm>().unwrap_err().to_string();
        assert!(error.contains("choose token-bucket"), "{error}");
    }

    #[test]
    fn l1_what_belongs_to_one_algorithm_is_refused_with_another() {
        let rate = |quota: &str, algorithm| Rate::new(quota.parse().unwrap(), algorithm, None);
        let second = Duration::from_secs(1);
        let leaky = rate("10 per second", Algorithm::LeakyBucket).unwrap();
        assert_eq!((leaky.burst(), leaky.capacity(), leaky.max_delay()), (1, 1, Duration::ZERO));
        let shaping = leaky.with_max_delay(second / 2).unwrap();
        assert_eq!((shaping.capacity(), shaping.max_delay()), (6, second / 2));
        assert_eq!(leaky.with_max_delay(second * 61), Err(RateError::Delay));
        let bucket = rate("10 per second", Algorithm::TokenBucket).unwrap();
        assert_eq!(bucket.with_max_delay(second), Err(RateError::DelayWithoutQueue));

        assert_eq!(rate("10 per month", Algorithm::TokenBucket), Err(RateError::NotOneLength));
        assert_eq!(rate("10 per hour", Algorithm::Calendar), Err(RateError::NotInCalendar));
        let month = rate("10 per month", Algorithm::Calendar).unwrap();
        assert_eq!(month.calendar().map(Calendar::time_zone), Some("UTC"));
        let there = month.in_time_zone("Asia/Tokyo").unwrap();
        assert_eq!(there.calendar().map(Calendar::time_zone), Some("Asia/Tokyo"));
        assert_ne!(there, month);
        assert_eq!(month.in_time_zone("Asia/Nowhere"), Err(RateError::TimeZone(UnknownTimeZone)));
        assert_eq!(bucket.in_time_zone("UTC"), Err(RateError::TimeZoneWithoutCalendar));
    }

    #[test]
    fn rates_count_alike_only_where_neither_takes_the_others_window_for_another() {
        let rate = |quota: &str, algorithm, burst| Rate::new(quota.parse().unwrap(), algorithm, burst).unwrap();
        let counter = |quota| rate(quota, Algorithm::SlidingWindowCounter, None);
        assert!(counter("10 per hour").counts_like(&counter("7,000 per 60m")));
        assert!(!counter("10 per hour").counts_like(&counter("10 per minute")));
        assert!(!counter("10 per hour").counts_like(&rate("10 per hour", Algorithm::FixedWindow, None)));

        let bucket = |quota, burst| rate(quota, Algorithm::TokenBucket, burst);
        // Intervals are rounded up to whole nanoseconds, so that the two are not quite equally deep.
        assert!(bucket("10 per minute", None).counts_like(&bucket("600,007 per minute", None)));
        assert!(bucket("10 per minute", Some(10)).counts_like(&bucket("10 per minute", Some(12))));
        assert!(!bucket("10 per minute", Some(10)).counts_like(&bucket("10 per minute", Some(1000))));
        let queue = rate("10 per second", Algorithm::LeakyBucket, None);
        assert!(!queue.counts_like(&queue.with_max_delay(Duration::from_secs(60)).unwrap()));

        let month = rate("10 per month", Algorithm::Calendar, None);
        assert!(month.counts_like(&rate("20 per month", Algorithm::Calendar, None)));
        assert!(!month.counts_like(&month.in_time_zone("Asia/Tokyo").unwrap()));
        assert!(!month.counts_like(&rate("10 per day", Algorithm::Calendar, None)));
    }

    #[test]
    fn a_burst_needs_a_bucket_and_a_log_must_stay_short() {
        let quota: Quota = "20000 per hour".parse().unwrap();
        assert_eq!(Rate::new(quota, Algorithm::FixedWindow, Some(5)), Err(RateError::BurstWithoutBucket));
        assert_eq!(Rate::new(quota, Algorithm::TokenBucket, Some(0)), Err(RateError::Burst));
        assert_eq!(Rate::new(quota, Algorithm::SlidingWindowLog, None), Err(RateError::LogTooLong));
        assert_eq!(Rate::new(quota, Algorithm::TokenBucket, Some(5)).unwrap().capacity(), 5);
    }
}
