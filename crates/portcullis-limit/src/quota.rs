//! Quotas as people write them: `5 per 15m`, `60 per minute`, `100/min`, `10,000 per month`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use portcullis_core::{DurationError, HumanDuration};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::calendar::Period;

/// So many requests in so long a window, or in a period of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    /// At most a billion. Small, because a quota travels with every charge.
    count: u32,
    window_nanos: u64,
    /// A month or a year, whose length the calendar tells; days and weeks are kept as what they mostly last.
    varies: Option<Period>,
}

/// Why a text or a pair is not a quota.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// Not `<count> per <window>`.
    #[error("\"{0}\" is not a quota; write for example \"5 per 15m\" or \"60 per minute\"")]
    Form(String),
    /// A count outside of 1 to 1,000,000,000.
    #[error("the count must be between 1 and 1,000,000,000")]
    Count,
    /// A window outside of one millisecond to 366 days.
    #[error("the window must be between 1ms and 366d")]
    Window,
    /// A window that is not a duration.
    #[error(transparent)]
    Duration(#[from] DurationError),
}

const MAX_COUNT: u32 = 1_000_000_000;
const MAX_WINDOW: Duration = DAY.saturating_mul(366);
const DAY: Duration = Duration::from_secs(86_400);

impl Quota {
    /// A quota of `count` requests per `window`.
    ///
    /// # Errors
    /// [`QuotaError`] where one of them is out of bounds.
    pub fn new(count: u64, window: Duration) -> Result<Self, QuotaError> {
        let count =
            u32::try_from(count).ok().filter(|count| (1..=MAX_COUNT).contains(count)).ok_or(QuotaError::Count)?;
        if !(Duration::from_millis(1)..=MAX_WINDOW).contains(&window) {
            return Err(QuotaError::Window);
        }
        Ok(Self { count, window_nanos: u64::try_from(window.as_nanos()).unwrap_or(u64::MAX), varies: None })
    }

    /// A quota of `count` requests per period of the calendar.
    ///
    /// # Errors
    /// [`QuotaError::Count`] where the count is out of bounds.
    pub fn per(count: u64, period: Period) -> Result<Self, QuotaError> {
        let varies = matches!(period, Period::Month | Period::Year).then_some(period);
        let days = match period {
            Period::Day => 1,
            Period::Week => 7,
            Period::Month => 31,
            Period::Year => 366,
        };
        Ok(Self { varies, ..Self::new(count, DAY * days)? })
    }

    /// Requests per window.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.count as u64
    }

    /// The window. Of a month and of a year it is the longest there is: 31 and 366 days.
    #[must_use]
    pub const fn window(self) -> Duration {
        Duration::from_nanos(self.window_nanos)
    }

    /// The window in nanoseconds: at most 3.2e16, so that it fits and products with a count fit in 128 bits.
    pub(crate) const fn window_nanos(self) -> u64 {
        self.window_nanos
    }

    /// The period of the calendar that the window can stand for, if one.
    #[must_use]
    pub fn period(self) -> Option<Period> {
        self.varies.or_else(|| match self.window() {
            DAY => Some(Period::Day),
            window if window == DAY * 7 => Some(Period::Week),
            _ => None,
        })
    }

    /// Whether the window's length depends on which one it is.
    pub(crate) const fn varies(self) -> bool {
        self.varies.is_some()
    }
}

impl FromStr for Quota {
    type Err = QuotaError;

    fn from_str(text: &str) -> Result<Self, QuotaError> {
        let form = || QuotaError::Form(text.to_owned());
        let (count, window) = text.split_once(" per ").or_else(|| text.split_once('/')).ok_or_else(form)?;
        let count = count.trim().replace([',', '_'], "").parse().map_err(|_| form())?;
        let window = window.trim();
        match window.strip_prefix("1 ").unwrap_or(window) {
            "month" => return Self::per(count, Period::Month),
            "year" => return Self::per(count, Period::Year),
            _ => {}
        }
        // "per minute" is "per 1 minute".
        let window: HumanDuration = match window.as_bytes().first() {
            Some(first) if first.is_ascii_alphabetic() => format!("1 {window}").parse()?,
            _ => window.parse()?,
        };
        Self::new(count, window.0)
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.varies {
            Some(period) => write!(f, "{} per {period}", self.count),
            None => write!(f, "{} per {}", self.count, HumanDuration(self.window())),
        }
    }
}

impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Quota {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_read_as_people_write_them() {
        for (text, count, secs) in [
            ("5 per 15m", 5, 900),
            ("60 per minute", 60, 60),
            ("100/min", 100, 60),
            ("10 per hour", 10, 3600),
            ("10,000 per day", 10_000, 86_400),
            ("1000 per 1h 30m", 1000, 5400),
            ("10,000 per month", 10_000, 31 * 86_400),
            ("7/year", 7, 366 * 86_400),
        ] {
            let quota: Quota = text.parse().unwrap();
            assert_eq!((quota.count(), quota.window()), (count, Duration::from_secs(secs)), "{text}");
            assert_eq!(quota.to_string().parse::<Quota>().unwrap(), quota);
        }
    }

    #[test]
    fn l1_a_window_that_the_calendar_has_stands_for_its_period() {
        for (text, period) in [
            ("5 per day", Some(Period::Day)),
            ("5 per 24h", Some(Period::Day)),
            ("5 per week", Some(Period::Week)),
            ("5 per 1 month", Some(Period::Month)),
            ("5 per year", Some(Period::Year)),
            ("5 per 31d", None),
            ("5 per hour", None),
        ] {
            assert_eq!(text.parse::<Quota>().unwrap().period(), period, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_quota_is_told_with_an_example() {
        for (text, error) in [
            ("5", QuotaError::Form("5".into())),
            ("many per minute", QuotaError::Form("many per minute".into())),
            ("-1 per minute", QuotaError::Form("-1 per minute".into())),
            ("0 per minute", QuotaError::Count),
            ("0 per month", QuotaError::Count),
            ("9999999999 per minute", QuotaError::Count),
            ("5 per 0", QuotaError::Window),
            ("5 per 400d", QuotaError::Window),
            ("5 per 15", QuotaError::Duration(DurationError::NoUnit("15".into()))),
            ("5 per fortnight", QuotaError::Duration(DurationError::UnknownUnit("fortnight".into()))),
        ] {
            assert_eq!(text.parse::<Quota>(), Err(error), "{text}");
        }
    }
}
