//! Refusals as a client of gRPC reads them.
//!
//! gRPC maps a plain HTTP status to one of its own where an answer has none, but clients differ in what they make of the body
//! of such an answer: tonic reads a problem's JSON as a message with a broken prefix. A status of gRPC in an answer without a
//! body (Trailers-Only in the gRPC specification of HTTP/2) is understood by all.

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use portcullis_core::{Problem, Reason};

/// The media type, with or without a suffix such as `+proto`.
const GRPC: &[u8] = b"application/grpc";

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether content of this type is gRPC's. `application/grpc-web` is another protocol, over HTTP as it is.
pub(super) fn is_grpc(content_type: &HeaderValue) -> bool {
    let bytes = content_type.as_bytes();
    bytes.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
        && matches!(bytes.get(GRPC.len()), None | Some(b'+' | b';'))
}

/// Turns a refusal into one of gRPC. Its headers stay, `Retry-After` among them.
pub(super) fn instead_of(problem: &mut Problem, reason: &Reason) {
    problem.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    problem.headers.insert(GRPC_STATUS, code(problem.status));
    if let Ok(message) = HeaderValue::from_str(&escaped(reason.error())) {
        problem.headers.insert(GRPC_MESSAGE, message);
    }
    problem.status = StatusCode::OK;
    problem.body = Vec::new();
}

/// The code of gRPC that says the same.
fn code(status: StatusCode) -> HeaderValue {
    HeaderValue::from_static(match status.as_u16() {
        // INVALID_ARGUMENT
        400 | 411 | 414 | 415 | 417 | 422 | 431 => "3",
        // UNAUTHENTICATED
        401 => "16",
        // PERMISSION_DENIED
        403 | 421 => "7",
        // UNIMPLEMENTED: as for a method that there is not.
        404 | 405 => "12",
        // RESOURCE_EXHAUSTED
        413 | 429 => "8",
        // UNAVAILABLE
        408 | 502..=504 => "14",
        // INTERNAL
        500 => "13",
        // UNKNOWN
        _ => "2",
    })
}

/// A text as gRPC writes it into a header: printable ASCII without the percent sign, the rest by its bytes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_from_what_only_begins_like_it() {
        for (name, expected) in [
            ("application/grpc", true),
            ("Application/gRPC+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(&HeaderValue::from_static(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_message_is_printable_whatever_it_says() {
        assert_eq!(escaped("100 % é\n"), "100 %25 %C3%A9%0A");
    }
}
