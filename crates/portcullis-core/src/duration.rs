//! Durations as people write them: `15m`, `1h 30m`, `250ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration written as numbers with units: `ms`, `s`, `m`, `h`, `d`, `w`, added up when several are given.
///
/// A bare number is refused (nobody can tell seconds from milliseconds by looking at it), except `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(pub Duration);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No text at all.
    #[error("a duration is missing; write for example \"15m\"")]
    Empty,
    /// A number without a unit.
    #[error("\"{0}\" has no unit; write for example \"{0}s\" or \"{0}m\"")]
    NoUnit(String),
    /// A unit nobody knows.
    #[error("unknown unit \"{0}\"; units are ms, s, m, h, d, w")]
    UnknownUnit(String),
    /// Something that is not a whole number where one must stand.
    #[error("\"{0}\" is not a duration; write for example \"90s\", \"15m\", \"1h 30m\"")]
    NotANumber(String),
    /// More than about 580 years.
    #[error("\"{0}\" is too long")]
    TooLong(String),
}

impl FromStr for HumanDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(DurationError::Empty);
        }
        if rest == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let mut total = Duration::ZERO;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| DurationError::NotANumber(text.to_owned()))?;
            let tail = tail.trim_start();
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, after) = tail.split_at(letters);
            let millis = unit_millis(unit).ok_or_else(|| {
                if unit.is_empty() && after.is_empty() {
                    DurationError::NoUnit(number.to_string())
                } else if unit.is_empty() {
                    DurationError::NotANumber(text.to_owned())
                } else {
                    DurationError::UnknownUnit(unit.to_owned())
                }
            })?;
            let part = number
                .checked_mul(millis)
                .filter(|millis| *millis < u64::MAX / 1_000_000)
                .ok_or_else(|| DurationError::TooLong(text.to_owned()))?;
            total += Duration::from_millis(part);
            rest = after.trim_start();
        }
        Ok(Self(total))
    }
}

/// Milliseconds of one unit of time, by the names people use.
fn unit_millis(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "second" | "seconds" => 1_000,
        "m" | "min" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        "w" | "week" | "weeks" => 604_800_000,
        _ => return None,
    })
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if millis.is_multiple_of(size) {
                return write!(f, "{}{unit}", millis / size);
            }
        }
        write!(f, "{millis}ms")
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Duration, DurationError> {
        text.parse::<HumanDuration>().map(|d| d.0)
    }

    #[test]
    fn durations_are_numbers_with_units() {
        assert_eq!(parse("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(parse("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("2 days"), Ok(Duration::from_secs(172_800)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn a_bare_number_is_refused_with_a_hint() {
        assert_eq!(parse("15"), Err(DurationError::NoUnit("15".into())));
        assert_eq!(parse("15 parsecs"), Err(DurationError::UnknownUnit("parsecs".into())));
        assert!(matches!(parse("soon"), Err(DurationError::NotANumber(_))));
        assert!(matches!(parse("-5s"), Err(DurationError::NotANumber(_))));
        assert!(matches!(parse("99999999999999w"), Err(DurationError::TooLong(_))));
        assert!(matches!(parse(" "), Err(DurationError::Empty)));
    }

    #[test]
    fn display_reads_back() {
        for text in ["15m", "90s", "7d", "1500ms", "1w"] {
            let parsed: HumanDuration = text.parse().unwrap();
            assert_eq!(parsed.to_string().parse::<HumanDuration>().unwrap(), parsed);
        }
    }
}
