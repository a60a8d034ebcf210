//! Media types of bodies (RFC 9110 §8.3), as far as it matters whether something is JSON.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use portcullis_core::Reason;

const WANTED: Reason = Reason::UnsupportedMediaType("send the body as Content-Type: application/json, in UTF-8");

/// Whether some reader may take a body with these headers for JSON: generous, because a bound hangs on it.
#[must_use]
pub fn may_be_json(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|value| {
        let essence = value.as_bytes().split(|byte| matches!(byte, b';' | b',')).next().unwrap_or_default();
        is_json(essence.trim_ascii())
    })
}

/// Makes sure that every reader takes the body for JSON in UTF-8.
///
/// # Errors
/// [`Reason::UnsupportedMediaType`].
pub(crate) fn must_be_json(headers: &HeaderMap) -> Result<(), Reason> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if is_json_in_utf8(value) => Ok(()),
        _ => Err(WANTED),
    }
}

fn is_json_in_utf8(value: &HeaderValue) -> bool {
    // Nearly every client writes one of these.
    if matches!(value.as_bytes(), b"application/json" | b"application/json; charset=utf-8") {
        return true;
    }
    let Ok(text) = value.to_str() else { return false };
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let mut charset = None;
    for parameter in parameters.split(';').map(str::trim).filter(|parameter| !parameter.is_empty()) {
        let Some((name, value)) = parameter.split_once('=') else { return false };
        // A quoted text may hold what looks like the next parameter; nobody needs one here.
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        if !is_token(name) || !is_token(value) {
            return false;
        }
        if name.eq_ignore_ascii_case("charset") && charset.replace(value).is_some() {
            return false;
        }
    }
    is_json(essence.trim().as_bytes()) && charset.is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8"))
}

/// `application/json`, or whatever says by its suffix that it is written in JSON (RFC 6839 §3.1).
fn is_json(essence: &[u8]) -> bool {
    let suffix = b"+json";
    let ends = essence.len().checked_sub(suffix.len()).map(|at| &essence[at..]);
    essence.eq_ignore_ascii_case(b"application/json")
        || (ends.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            && std::str::from_utf8(essence)
                .is_ok_and(|text| text.split_once('/').is_some_and(|(kind, name)| is_token(kind) && is_token(name))))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (CONTENT_TYPE, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn h4_only_what_every_reader_takes_for_json_in_utf_8_is_json() {
        for (values, sure, perhaps) in [
            (&["application/json"][..], true, true),
            (&["Application/JSON ; Charset=\"UTF-8\""], true, true),
            (&["application/json;charset=utf-8;"], true, true),
            (&["application/merge-patch+json"], true, true),
            (&["application/vnd.api+json; profile=x"], true, true),
            (&["application/json; charset=utf-16"], false, true),
            (&["application/json; charset=utf-8; charset=utf-7"], false, true),
            (&["application/json, text/plain"], false, true),
            (&["application/json; charset"], false, true),
            (&["application/json; a=\"b;c=d\""], false, true),
            (&["application/json", "application/json"], false, true),
            (&["text/plain", "application/json"], false, true),
            (&["text/plain"], false, false),
            (&["application/jsonp"], false, false),
            (&["application/x-www-form-urlencoded"], false, false),
            (&["multipart/form-data; boundary=+json"], false, false),
            (&["+json"], false, false),
            (&["/+json"], false, false),
            (&[""], false, false),
            (&[], false, false),
        ] {
            let headers = headers(values);
            assert_eq!(must_be_json(&headers).is_ok(), sure, "{values:?}");
            assert_eq!(may_be_json(&headers), perhaps, "{values:?}");
        }
    }
}
