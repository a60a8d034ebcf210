//! Moments as other systems write them.

use portcullis_core::Timestamp;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// Reads RFC 3339, with the `T` as a space and without an offset (then UTC) as databases write it too. `None` for anything
/// else, and for a moment before 1970.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if !text.is_ascii() || !(19..=40).contains(&text.len()) {
        return None;
    }
    let (date, clock) = (&text[..10], &text[11..]);
    if !matches!(text.as_bytes()[10], b'T' | b't' | b' ') {
        return None;
    }
    let clock = clock.strip_suffix(" UTC").unwrap_or(clock);
    let digits = clock.find(['+', '-', 'Z', 'z']).unwrap_or(clock.len());
    let (clock, offset) = clock.split_at(digits);
    let offset = match offset {
        "" => "Z".to_owned(),
        // PostgreSQL writes +00.
        hours if hours.len() == 3 => format!("{hours}:00"),
        other => other.to_uppercase(),
    };
    let moment = OffsetDateTime::parse(&format!("{date}T{clock}{offset}"), &Rfc3339).ok()?;
    let nanos = moment.to_offset(UtcOffset::UTC).unix_timestamp_nanos();
    u64::try_from(nanos).ok().map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_databases_write_them() {
        for text in [
            "2024-02-29T12:30:00Z",
            "2024-02-29T12:30:00.000Z",
            "2024-02-29t12:30:00z",
            "2024-02-29 12:30:00",
            "2024-02-29 12:30:00.000000+00",
            "2024-02-29 12:30:00 UTC",
            "2024-02-29T14:30:00+02:00",
            "2024-02-29 10:30:00-02",
        ] {
            assert_eq!(parse(text), Some(Timestamp::from_secs(1_709_209_800)), "{text}");
        }
        for text in [
            "",
            "2024-02-29",
            "2024-02-30 12:30:00",
            "1969-12-31 23:59:59",
            "29.02.2024 12:30:00",
            "0000-00-00 00:00:00",
            "2024-02-29 12:30:00+",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
