//! The body of every refusal: problem details of RFC 9457 with our member `error`.

use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::{Reason, RequestId, Violation};

/// The media type of RFC 9457.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A refusal as the client will see it: a status, some headers and a JSON body.
///
/// The body has the members `type`, `title`, `status`, `error`, `request_id`, where there is something to say
/// `detail`, for content that breaks rules `details` (a list of `path`, `rule` and `message`), and for a limit `limit`, `remaining` and `resetAt` (ISO 8601).
#[derive(Clone, Debug)]
pub struct Problem {
    /// The status code.
    pub status: StatusCode,
    /// The headers that belong to this refusal.
    pub headers: HeaderMap,
    /// The body, JSON.
    pub body: Vec<u8>,
}

impl Problem {
    /// Renders a reason.
    #[must_use]
    pub fn new(reason: &Reason, id: RequestId) -> Self {
        Self::render(reason, Some(id))
    }

    /// Renders a reason where requests bear no id; the member `request_id` is left out.
    #[must_use]
    pub fn without_id(reason: &Reason) -> Self {
        Self::render(reason, None)
    }

    /// What is said in the place of an upstream's own error: its status code, and no word of it. A 404 is the one of
    /// [`Reason::NotFound`] to the last byte, so that nobody can tell what is hidden from what does not exist.
    #[must_use]
    pub fn instead_of(status: StatusCode, id: RequestId) -> Self {
        if status == StatusCode::NOT_FOUND {
            return Self::new(&Reason::NotFound, id);
        }
        let phrase = status.canonical_reason().unwrap_or("Error");
        let mut body = Vec::with_capacity(192);
        body.extend_from_slice(b"{\"type\":\"about:blank\",\"title\":");
        push_json(&mut body, phrase);
        body.extend_from_slice(b",\"status\":");
        body.extend_from_slice(status.as_str().as_bytes());
        body.extend_from_slice(b",\"error\":");
        push_json(&mut body, phrase);
        close(&mut body, Some(id));
        Self { status, headers: headers(), body }
    }

    fn render(reason: &Reason, id: Option<RequestId>) -> Self {
        let status = reason.status();
        let mut body = Vec::with_capacity(256);
        body.extend_from_slice(b"{\"type\":\"urn:portcullis:problem:");
        body.extend_from_slice(reason.told_slug().as_bytes());
        body.extend_from_slice(b"\",\"title\":");
        push_json(&mut body, status.canonical_reason().unwrap_or("Error"));
        body.extend_from_slice(b",\"status\":");
        body.extend_from_slice(status.as_str().as_bytes());
        body.extend_from_slice(b",\"error\":");
        push_json(&mut body, reason.error());
        if let Some(detail) = reason.detail() {
            body.extend_from_slice(b",\"detail\":");
            push_json(&mut body, &detail);
        }
        if let Reason::LimitReached(limited) = reason {
            body.extend_from_slice(b",\"limit\":");
            body.extend_from_slice(limited.quota.to_string().as_bytes());
            body.extend_from_slice(b",\"remaining\":0,\"resetAt\":\"");
            body.extend_from_slice(limited.reset_at.to_rfc3339().as_bytes());
            body.extend_from_slice(b"\"");
        }
        if let Reason::ValidationFailed(violations) = reason {
            push_details(&mut body, violations);
        }
        close(&mut body, id);

        let mut headers = headers();
        if let Some(challenge) = reason.challenge() {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = reason.retry_after_secs() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(codings) = reason.accepted_codings() {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(codings));
        }
        Self { status, headers, body }
    }
}

/// The headers of every refusal.
fn headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(CONTENT_TYPE, PROBLEM_JSON);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
}

/// Appends the member `request_id`, and the end.
fn close(body: &mut Vec<u8>, id: Option<RequestId>) {
    if let Some(id) = id {
        body.extend_from_slice(b",\"request_id\":\"");
        body.extend_from_slice(&id.to_hex());
        body.push(b'"');
    }
    body.push(b'}');
}

/// Appends the member `details`.
fn push_details(out: &mut Vec<u8>, violations: &[Violation]) {
    out.extend_from_slice(b",\"details\":[");
    for (index, Violation { path, rule, message }) in violations.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"path\":" } else { b",{\"path\":" });
        push_json(out, path);
        out.extend_from_slice(b",\"rule\":");
        push_json(out, rule);
        out.extend_from_slice(b",\"message\":");
        push_json(out, message);
        out.push(b'}');
    }
    out.push(b']');
}

/// Appends a JSON string (RFC 8259 §7).
fn push_json(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    // Nearly every text goes as it is; all characters that must be escaped are single bytes.
    let must_be_escaped = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(must_be_escaped) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Limited, Timestamp};

    #[test]
    fn l8_a_limit_tells_limit_remaining_and_reset() {
        let reason = Reason::LimitReached(Limited {
            limit: "user".into(),
            quota: 300,
            reset_at: Timestamp::from_secs(1_795_234_421),
            retry_after: Duration::from_millis(1500),
            message: None,
        });
        let problem = Problem::new(&reason, RequestId::from_bits(1));
        assert_eq!(
            String::from_utf8(problem.body).unwrap(),
            "{\"type\":\"urn:portcullis:problem:rate_limited\",\"title\":\"Too Many Requests\",\"status\":429,\
             \"error\":\"Rate limit exceeded\",\"limit\":300,\"remaining\":0,\"resetAt\":\"2026-11-21T04:13:41.000Z\",\
             \"request_id\":\"00000000000000000000000000000001\"}"
        );
        assert_eq!(problem.headers[RETRY_AFTER], "2");
        let body = String::from_utf8(Problem::without_id(&reason).body).unwrap();
        assert!(body.ends_with(",\"resetAt\":\"2026-11-21T04:13:41.000Z\"}"), "{body}");
    }

    #[test]
    fn h4_what_breaks_a_rule_is_told_by_place_rule_and_message() {
        let violation =
            |path: &str| Violation { path: path.into(), rule: "maximum".into(), message: "must be at most 100".into() };
        let problem =
            Problem::without_id(&Reason::ValidationFailed([violation("/items/0/quantity"), violation("/a\"b")].into()));
        assert_eq!(problem.status, StatusCode::BAD_REQUEST);
        assert_eq!(
            String::from_utf8(problem.body).unwrap(),
            "{\"type\":\"urn:portcullis:problem:validation_failed\",\"title\":\"Bad Request\",\"status\":400,\
             \"error\":\"Validation failed\",\"details\":[{\"path\":\"/items/0/quantity\",\"rule\":\"maximum\",\
             \"message\":\"must be at most 100\"},{\"path\":\"/a\\\"b\",\"rule\":\"maximum\",\
             \"message\":\"must be at most 100\"}]}"
        );
    }

    #[test]
    fn z7_what_is_hidden_is_told_like_what_does_not_exist() {
        let id = RequestId::from_bits(7);
        let missing = Problem::new(&Reason::NotFound, id);
        for same in
            [Problem::new(&Reason::NotOwner { hidden: true }, id), Problem::instead_of(StatusCode::NOT_FOUND, id)]
        {
            assert_eq!((same.status, &same.headers, &same.body), (missing.status, &missing.headers, &missing.body));
        }
        let refused = Problem::new(&Reason::InsufficientPermissions, id);
        let foreign = Problem::new(&Reason::NotOwner { hidden: false }, id);
        assert_eq!((foreign.status, foreign.headers, foreign.body), (refused.status, refused.headers, refused.body));
    }

    #[test]
    fn an_upstreams_error_is_told_by_its_status_code_alone() {
        let problem = Problem::instead_of(StatusCode::CONFLICT, RequestId::from_bits(1));
        assert_eq!(problem.status, StatusCode::CONFLICT);
        assert_eq!(
            String::from_utf8(problem.body).unwrap(),
            "{\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,\"error\":\"Conflict\",\
             \"request_id\":\"00000000000000000000000000000001\"}"
        );
    }

    #[test]
    fn text_is_escaped() {
        let mut out = Vec::new();
        push_json(&mut out, "a\"b\\c\n\u{e9}");
        assert_eq!(String::from_utf8(out).unwrap(), r#""a\"b\\c\u000aé""#);
    }
}
