//! An answer as bytes, for the moments when no request of hyper's stands behind it.

use http::{HeaderValue, StatusCode};
use portcullis_core::{Problem, RequestId, Timestamp};

/// A problem as a whole HTTP/1.1 answer that ends the connection.
pub(crate) fn bytes(problem: &Problem, id: RequestId, now: Timestamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024 + problem.body.len());
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(problem.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason_phrase(problem.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in &problem.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"x-request-id: ");
    out.extend_from_slice(&id.to_hex());
    out.extend_from_slice(b"\r\nconnection: close\r\ndate: ");
    out.extend_from_slice(date(now).as_bytes());
    out.extend_from_slice(b"\r\ncontent-length: ");
    out.extend_from_slice(problem.body.len().to_string().as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(&problem.body);
    out
}

fn reason_phrase(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

/// The moment as the value of a `Date` field.
pub(crate) fn date_value(now: Timestamp) -> HeaderValue {
    // Letters, digits, commas and colons are always a header value.
    HeaderValue::try_from(date(now)).unwrap_or_else(|_| HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

/// The moment as RFC 9110 §5.6.7 writes it.
fn date(now: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = i64::try_from(now.as_secs()).unwrap_or(0);
    let utc = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        DAYS[usize::from(utc.weekday().number_days_from_sunday())],
        utc.day(),
        MONTHS[usize::from(u8::from(utc.month())) - 1],
        utc.year(),
        utc.hour(),
        utc.minute(),
        utc.second()
    )
}

#[cfg(test)]
mod tests {
    use portcullis_core::Reason;

    use super::*;

    #[test]
    fn an_answer_is_complete_and_ends_the_connection() {
        let id = RequestId::from_bits(7);
        let problem = Problem::new(&Reason::RequestTimeout, id);
        let text = String::from_utf8(bytes(&problem, id, Timestamp::from_secs(784_111_777))).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), "{head}");
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        assert!(head.contains("\r\nx-request-id: 00000000000000000000000000000007\r\n"), "{head}");
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        assert!(body.contains("\"error\":\"Request timeout\""), "{body}");
    }
}
