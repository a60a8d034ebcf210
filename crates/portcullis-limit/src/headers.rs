//! What the client is told of its limits (L7).

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use crate::limiter::Standing;

/// `X-RateLimit-Limit`.
pub const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
/// `X-RateLimit-Remaining`.
pub const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
/// `X-RateLimit-Reset`.
pub const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Sets `X-RateLimit-Limit`, `-Remaining` and `-Reset` (epoch seconds, rounded up). What an upstream sent under these
/// names is replaced.
pub fn insert(headers: &mut HeaderMap, standing: &Standing) {
    headers.insert(LIMIT, HeaderValue::from(standing.quota));
    headers.insert(REMAINING, HeaderValue::from(standing.remaining));
    headers.insert(RESET, HeaderValue::from(standing.reset_at.as_secs_ceil()));
}
