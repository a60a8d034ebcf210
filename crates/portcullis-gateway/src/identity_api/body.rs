//! Request bodies: what cannot be read is told, and nothing of it is echoed.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::answer::Refused;

/// Reads a JSON body. Members that the endpoint does not know are refused: a `role` in a registration is an attempt, or
/// a mistake that must not pass in silence.
pub(crate) fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Refused> {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // A page of another site can send text/plain or a form without asking, but never this type.
    if !is_media(media, "application/json") {
        let unsupported =
            Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type", "unsupported_media_type");
        return Err(unsupported.with_detail("send application/json"));
    }
    let invalid = |detail: String| {
        Refused::new(StatusCode::BAD_REQUEST, "Invalid request body", "invalid_body").with_detail(detail)
    };
    let read = serde_json::from_slice(body).map_err(|error| {
        // Data errors name members, which are ours; syntax errors have a place. Neither repeats a value.
        let detail = match error.classify() {
            serde_json::error::Category::Data => shape_of(&error),
            _ => format!("not valid JSON at line {} column {}", error.line(), error.column()),
        };
        invalid(detail)
    })?;
    // A list is read too, member by member in the order in which our code happens to name them, which nobody was told of.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(invalid("send a JSON object".to_owned()));
    }
    Ok(read)
}

/// Whether the body is a form as browsers send it.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    is_media(media, "application/x-www-form-urlencoded")
}

fn is_media(held: &str, wanted: &str) -> bool {
    held.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case(wanted))
}

/// A data error without the values that serde quotes in some of them.
fn shape_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("missing field") || text.starts_with("unknown field") || text.starts_with("duplicate field") {
        let text: String = text.chars().take(200).collect();
        return text.split(" at line").next().unwrap_or_default().to_owned();
    }
    format!("a member has the wrong type at line {} column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(default)]
        danger: bool,
    }

    #[test]
    fn a_body_is_an_object_and_no_list_of_what_its_members_would_be() {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let read = |body: &str| json::<Sample>(&headers, body.as_bytes()).map(|sample| sample.danger);
        assert!(matches!(read(" {\"danger\": true}"), Ok(true)));
        assert!(matches!(read("{}"), Ok(false)));
        for wrong in
            ["[]", " [true]", "[false]", "null", "true", "\"\"", "", "{\"danger\": 1}", "{}{}", "{\"other\": 1}"]
        {
            let refused = read(wrong).unwrap_err();
            assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{wrong}");
        }
    }
}
