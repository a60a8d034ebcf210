//! A quota with the algorithm that keeps it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::quota::Quota;

/// How a quota is kept. What each promises is stated at its file in `algorithm/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// A bucket of `burst` that refills steadily (GCRA).
    TokenBucket,
    /// A count that starts anew at every multiple of the window.
    FixedWindow,
    /// Two fixed windows, weighted by how far the second has come.
    #[default]
    SlidingWindowCounter,
    /// The time of every admitted request.
    SlidingWindowLog,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] =
        [Self::TokenBucket, Self::FixedWindow, Self::SlidingWindowCounter, Self::SlidingWindowLog];

    /// Its name in a configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenBucket => "token-bucket",
            Self::FixedWindow => "fixed-window",
            Self::SlidingWindowCounter => "sliding-window-counter",
            Self::SlidingWindowLog => "sliding-window-log",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an algorithm; choose token-bucket, fixed-window, sliding-window-counter or sliding-window-log")]
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

/// A quota, the algorithm that keeps it and, for a bucket, its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    quota: Quota,
    algorithm: Algorithm,
    burst: u64,
}

/// Why a quota and an algorithm do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// A burst where there is no bucket.
    #[error("`burst` goes with the algorithm token-bucket only")]
    BurstWithoutBucket,
    /// A burst of nothing or of more than a billion.
    #[error("`burst` must be between 1 and 1,000,000,000")]
    Burst,
    /// A bucket that takes more than a hundred years to fill.
    #[error("a bucket of this `burst` takes more than a hundred years to fill; lower `burst` or raise the quota")]
    BurstTooLong,
    /// A bucket that fills faster than its arithmetic can tell.
    #[error("a token-bucket fills at most once in a microsecond; use a quota of at most 1,000,000 per second")]
    TooFast,
    /// A log that would grow too long.
    #[error("a sliding-window-log keeps every request; use it for quotas up to {MAX_LOG_QUOTA}")]
    LogTooLong,
}

impl Rate {
    /// Puts them together. The burst of a bucket is its quota's count unless told otherwise.
    ///
    /// # Errors
    /// [`RateError`] where they do not go together.
    pub fn new(quota: Quota, algorithm: Algorithm, burst: Option<u64>) -> Result<Self, RateError> {
        let burst = match (algorithm, burst) {
            (_, None) => quota.count(),
            (Algorithm::TokenBucket, Some(0) | Some(1_000_000_001..)) => return Err(RateError::Burst),
            (Algorithm::TokenBucket, Some(burst)) => burst,
            (_, Some(_)) => return Err(RateError::BurstWithoutBucket),
        };
        if matches!(algorithm, Algorithm::SlidingWindowLog) && quota.count() > MAX_LOG_QUOTA {
            return Err(RateError::LogTooLong);
        }
        let rate = Self { quota, algorithm, burst };
        if algorithm == Algorithm::TokenBucket {
            // The quota itself, not the interval: rounding it up would hide that it is too fast.
            if quota.window_nanos() / quota.count() < MIN_INTERVAL_NANOS {
                return Err(RateError::TooFast);
            }
            let fill = u128::from(burst) * u128::from(rate.interval_nanos());
            if fill > MAX_FILL.as_nanos() {
                return Err(RateError::BurstTooLong);
            }
        }
        Ok(rate)
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

    /// Nanoseconds in which a bucket gains one unit, rounded up: a bucket is never faster than its quota.
    pub(crate) fn interval_nanos(&self) -> u64 {
        self.quota.window_nanos().div_ceil(self.quota.count())
    }

    /// The most that one moment can admit: the bucket's size, or the quota's count. A request may not cost more.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        self.burst
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
    fn a_burst_needs_a_bucket_and_a_log_must_stay_short() {
        let quota: Quota = "20000 per hour".parse().unwrap();
        assert_eq!(Rate::new(quota, Algorithm::FixedWindow, Some(5)), Err(RateError::BurstWithoutBucket));
        assert_eq!(Rate::new(quota, Algorithm::TokenBucket, Some(0)), Err(RateError::Burst));
        assert_eq!(Rate::new(quota, Algorithm::SlidingWindowLog, None), Err(RateError::LogTooLong));
        assert_eq!(Rate::new(quota, Algorithm::TokenBucket, Some(5)).unwrap().capacity(), 5);
    }
}
