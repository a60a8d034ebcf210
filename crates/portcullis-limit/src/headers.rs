//! What the client is told of its limits (L7).

use std::fmt::Write;
use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use portcullis_core::Timestamp;

use crate::limiter::Standing;

/// How a client is told of its limits (L7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitHeaders {
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    #[default]
    Legacy,
    /// `RateLimit-Policy` and `RateLimit` of the IETF draft.
    Draft,
    /// All of them.
    Both,
    /// None. A refusal still carries `Retry-After`.
    Neither,
}

impl LimitHeaders {
    /// Sets those that are wanted, of the limit with this name: [`insert`], [`insert_draft`], both or neither.
    pub fn insert(self, headers: &mut HeaderMap, standing: &Standing, name: &str) {
        if matches!(self, Self::Legacy | Self::Both) {
            insert(headers, standing);
        }
        if matches!(self, Self::Draft | Self::Both) {
            insert_draft(headers, standing, name, standing.at);
        }
    }
}

/// `X-RateLimit-Limit`.
pub const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
/// `X-RateLimit-Remaining`.
pub const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
/// `X-RateLimit-Reset`.
pub const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Sets `X-RateLimit-Limit`, `-Remaining` and `-Reset` (epoch seconds, rounded up). What an upstream sent under these
/// names is replaced. Of a refusal nothing remains that the request could use, as its body says too (L8).
pub fn insert(headers: &mut HeaderMap, standing: &Standing) {
    headers.insert(LIMIT, digits(standing.quota));
    headers.insert(REMAINING, digits(usable(standing)));
    headers.insert(RESET, digits(standing.reset_at.as_secs_ceil()));
}

/// What is left for such a request: of a limit that refuses it nothing, even where some would do for a cheaper one.
const fn usable(standing: &Standing) -> u64 {
    if standing.would_refuse { 0 } else { standing.remaining }
}

/// A number as a value. Every answer to a limited request has three of them; converted by the `http` crate each would allocate
/// twice.
fn digits(number: u64) -> HeaderValue {
    let (mut text, mut from, mut rest) = ([0; 20], 20, number);
    loop {
        from -= 1;
        text[from] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    HeaderValue::from_bytes(&text[from..]).unwrap_or_else(|_| HeaderValue::from(number))
}

/// `RateLimit-Policy` of the IETF draft.
pub const DRAFT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// `RateLimit` of the IETF draft.
pub const DRAFT_STATE: HeaderName = HeaderName::from_static("ratelimit");

/// The largest integer of a structured field (RFC 9651 §3.3.1).
const MAX_INTEGER: u64 = 999_999_999_999_999;

/// Sets `RateLimit-Policy: "name";q=100;w=60` and `RateLimit: "name";r=42;t=18` as draft-ietf-httpapi-ratelimit-headers-10
/// has them: the quota's count and its window in seconds (of a bucket too, whose burst may be another number), what remains,
/// and in how many seconds all of it is back, or the request admitted that was refused; seconds rounded up. A name that a
/// structured field cannot carry (RFC 9651 §3.3.3: printable ASCII) is told with `?` in place of the rest.
pub fn insert_draft(headers: &mut HeaderMap, standing: &Standing, name: &str, now: Timestamp) {
    let name = quoted(name);
    let window = whole_seconds(standing.window);
    let wait = whole_seconds(standing.reset_at.since(now));
    set(headers, DRAFT_POLICY, format_args!("{name};q={};w={window}", standing.per_window.min(MAX_INTEGER)));
    set(headers, DRAFT_STATE, format_args!("{name};r={};t={wait}", usable(standing).min(MAX_INTEGER)));
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: std::fmt::Arguments<'_>) {
    let mut text = String::with_capacity(64);
    // Writing to a string does not fail, and `quoted` lets no byte through that a header could not carry.
    if write!(text, "{value}").is_ok()
        && let Ok(value) = HeaderValue::try_from(text)
    {
        headers.insert(name, value);
    }
}

/// Seconds, rounded up: a client told to wait less would come too early.
fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).min(MAX_INTEGER)
}

/// A string of a structured field.
fn quoted(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    text.push('"');
    for character in name.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            ' '..='~' => text.push(character),
            _ => text.push('?'),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing() -> Standing {
        Standing {
            blocked: false,
            limit: 0,
            quota: 5,
            per_window: 60,
            window: Duration::from_millis(900_500),
            remaining: 4,
            reset_at: Timestamp::from_millis(1_000_001),
            would_refuse: false,
            at: Timestamp::from_millis(999_000),
            delay: Duration::ZERO,
        }
    }

    #[test]
    fn l7_moments_and_seconds_are_rounded_up() {
        let mut headers = HeaderMap::new();
        headers.insert(LIMIT, HeaderValue::from_static("from the upstream"));
        insert(&mut headers, &standing());
        assert_eq!(
            (&headers[LIMIT], &headers[REMAINING], &headers[RESET]),
            (&"5".parse().unwrap(), &"4".parse().unwrap(), &"1001".parse().unwrap())
        );

        insert_draft(&mut headers, &standing(), "login", Timestamp::from_millis(999_000));
        assert_eq!(headers[DRAFT_POLICY], r#""login";q=60;w=901"#);
        assert_eq!(headers[DRAFT_STATE], r#""login";r=4;t=2"#);
    }

    #[test]
    fn l8_of_a_refusal_nothing_remains_in_any_header() {
        let refused = Standing { remaining: 2, would_refuse: true, ..standing() };
        let mut headers = HeaderMap::new();
        LimitHeaders::Both.insert(&mut headers, &refused, "dear");
        assert_eq!((&headers[REMAINING], &headers[LIMIT]), (&"0".parse().unwrap(), &"5".parse().unwrap()));
        assert_eq!(headers[DRAFT_STATE], r#""dear";r=0;t=2"#);
    }

    #[test]
    fn l7_numbers_are_told_as_they_are() {
        for number in [0, 7, 10, 99, 100, 1_795_234_421, u64::MAX] {
            assert_eq!(digits(number), HeaderValue::from(number));
        }
    }

    #[test]
    fn l7_a_name_cannot_break_out_of_its_string() {
        let mut headers = HeaderMap::new();
        insert_draft(&mut headers, &standing(), "a\"\\;q=9\r\né", Timestamp::from_secs(2_000));
        assert_eq!(headers[DRAFT_POLICY], r#""a\"\\;q=9???";q=60;w=901"#);
        assert_eq!(headers[DRAFT_STATE], r#""a\"\\;q=9???";r=4;t=0"#);
    }

    #[test]
    fn l7_numbers_stay_within_what_a_structured_field_can_carry() {
        let mut headers = HeaderMap::new();
        let never = Standing { remaining: u64::MAX, reset_at: Timestamp::MAX, ..standing() };
        insert_draft(&mut headers, &never, "x", Timestamp::EPOCH);
        assert_eq!(headers[DRAFT_STATE], format!("\"x\";r={MAX_INTEGER};t={}", u64::MAX.div_ceil(1_000_000_000)));
    }
}
