//! Media types of bodies (RFC 9110 §8.3): read strictly where somebody relies on them, generously where a bound hangs on them.

use std::borrow::Cow;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use portcullis_core::Reason;

const WANTED: Reason = Reason::UnsupportedMediaType("send the body as Content-Type: application/json, in UTF-8");

/// Whether some reader may take a body with these headers for JSON: generous, because a bound hangs on it.
#[must_use]
pub fn may_be_json(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|value| {
        let essence = value.as_bytes().split(|byte| matches!(byte, b';' | b',')).next().unwrap_or_default();
        std::str::from_utf8(essence.trim_ascii()).is_ok_and(is_json)
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
    value.to_str().ok().and_then(MediaType::parse).is_some_and(|media| {
        media.is_json() && media.parameter("charset").is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8"))
    })
}

/// A media type, read strictly: a body that two programs could take for different things is taken by neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MediaType<'t> {
    /// Type and subtype in lower case.
    pub(crate) essence: String,
    /// Names in lower case, values without their quotes.
    parameters: Vec<(String, Cow<'t, str>)>,
}

impl<'t> MediaType<'t> {
    /// Reads the value of a `Content-Type`; `None` where it is not one media type.
    pub(crate) fn parse(text: &'t str) -> Option<Self> {
        let (essence, mut rest) = match text.find(';') {
            Some(at) => (&text[..at], &text[at..]),
            None => (text, ""),
        };
        let essence = essence.trim_matches([' ', '\t']).to_ascii_lowercase();
        if !is_essence(&essence) {
            return None;
        }
        let mut parameters: Vec<(String, Cow<'t, str>)> = Vec::new();
        while let Some(after) = rest.strip_prefix(';') {
            let after = after.trim_start_matches([' ', '\t']);
            if after.is_empty() {
                // An empty parameter at the end is common and harmless (RFC 9110 §5.6.6 allows it).
                rest = after;
                break;
            }
            let (name, value) = after.split_once('=')?;
            let name = name.to_ascii_lowercase();
            if !is_token(&name) || parameters.iter().any(|(known, _)| *known == name) {
                return None;
            }
            let (value, after) = value_of(value)?;
            parameters.push((name, value));
            rest = after.trim_start_matches([' ', '\t']);
        }
        rest.is_empty().then_some(Self { essence, parameters })
    }

    /// A parameter's value.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Whether texts of it are UTF-8, as far as it says.
    pub(crate) fn is_utf8(&self) -> bool {
        self.parameter("charset")
            .is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("us-ascii"))
    }

    /// Whether its contents are JSON, by its name.
    pub(crate) fn is_json(&self) -> bool {
        is_json(&self.essence)
    }

    pub(crate) fn into_parts(self) -> (String, Vec<(String, Cow<'t, str>)>) {
        (self.essence, self.parameters)
    }
}

/// A token or a quoted string, and what follows it.
fn value_of(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return is_token(value).then_some((value.into(), rest));
    };
    let end = quoted.find('"')?;
    let value = &quoted[..end];
    // An escaped quote is legal, in nobody's use, and read differently by many; what looks like the next parameter, or the
    // next type, is that for a reader that knows no quotes.
    let plain = !value.contains(['\\', ';', ',']) && value.chars().all(|c| !c.is_control());
    plain.then_some((value.into(), &quoted[end + 1..]))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// `application/json`, its old name, or whatever says by its suffix that it is written in JSON (RFC 6839 §3.1); in whatever
/// case.
pub(crate) fn is_json(essence: &str) -> bool {
    let suffix = essence.len().checked_sub("+json".len()).and_then(|at| essence.get(at..));
    ["application/json", "text/json"].iter().any(|name| essence.eq_ignore_ascii_case(name))
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json")) && is_essence(essence)
}

fn is_essence(text: &str) -> bool {
    text.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
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
            (&["application/vnd.api+json; profile=\"https://example.com/a b\""], true, true),
            (&["text/json"], true, true),
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

    #[test]
    fn one_media_type_is_read_and_anything_else_refused() {
        let read = |text| MediaType::parse(text).map(|media| media.essence);
        for (text, essence) in [
            ("application/json", "application/json"),
            ("Application/JSON ; Charset=\"utf-8\"", "application/json"),
            ("text/plain;charset=us-ascii;", "text/plain"),
            ("application/vnd.x+json; version=1; a=b", "application/vnd.x+json"),
        ] {
            assert_eq!(read(text).as_deref(), Some(essence), "{text}");
        }
        for text in [
            "",
            "json",
            "application/json, text/html",
            "application/json; charset=utf-8; charset=utf-16",
            "application/json; charset",
            "application/json; a=\"b\\\"c\"",
            "application/json; a=\"b",
            "application/json; a=b c",
            "application/json; a=\"b;c=d\"",
            "application /json",
            "application/json\u{b}",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(!MediaType::parse("application/json; charset=utf-7").unwrap().is_utf8());
    }
}
