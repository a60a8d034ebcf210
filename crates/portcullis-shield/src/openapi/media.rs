//! Media types (RFC 9110 §8.3.1) and the ranges that a document names.

/// A media type, read strictly: a body that two programs could take for different things is taken by neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MediaType<'t> {
    /// Type and subtype in lower case.
    pub(super) essence: String,
    /// Names in lower case, values without their quotes.
    parameters: Vec<(String, std::borrow::Cow<'t, str>)>,
}

impl<'t> MediaType<'t> {
    /// Reads the value of a `Content-Type`; `None` where it is not one media type.
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        let (essence, mut rest) = match text.find(';') {
            Some(at) => (&text[..at], &text[at..]),
            None => (text, ""),
        };
        let essence = essence.trim_matches([' ', '\t']).to_ascii_lowercase();
        let (kind, subtype) = essence.split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let mut parameters: Vec<(String, std::borrow::Cow<'t, str>)> = Vec::new();
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
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Whether texts of it are UTF-8, as far as it says.
    pub(super) fn is_utf8(&self) -> bool {
        self.parameter("charset")
            .is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("us-ascii"))
    }

    pub(super) fn is_json(&self) -> bool {
        is_json(&self.essence)
    }
}

pub(super) fn is_json(essence: &str) -> bool {
    matches!(essence, "application/json" | "text/json") || essence.ends_with("+json")
}

/// A token or a quoted string, and what follows it.
fn value_of(text: &str) -> Option<(std::borrow::Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return is_token(value).then_some((value.into(), rest));
    };
    let end = quoted.find('"')?;
    let value = &quoted[..end];
    // An escaped quote is legal, in nobody's use, and read differently by many.
    let plain = !value.contains('\\') && value.chars().all(|c| !c.is_control());
    plain.then_some((value.into(), &quoted[end + 1..]))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A media type or a range of them, as a document names what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    essence: String,
    parameters: Vec<(String, String)>,
}

impl Range {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let MediaType { essence, parameters } = MediaType::parse(text)?;
        let parameters = parameters.into_iter().filter(|(name, _)| name != "charset");
        Some(Self { essence, parameters: parameters.map(|(name, value)| (name, value.into_owned())).collect() })
    }

    /// The more of it is said, the sooner it is asked.
    pub(super) fn precision(&self) -> usize {
        match (self.essence.as_str(), self.essence.ends_with("/*")) {
            ("*/*", _) => 0,
            (_, true) => 1,
            _ => 2 + self.parameters.len(),
        }
    }

    pub(super) fn covers(&self, media: &MediaType<'_>) -> bool {
        let essence = match self.essence.strip_suffix('*') {
            Some("*/") => true,
            Some(kind) => media.essence.starts_with(kind),
            None => self.essence == media.essence,
        };
        essence && self.parameters.iter().all(|(name, value)| media.parameter(name) == Some(value))
    }

    pub(super) fn essence(&self) -> &str {
        &self.essence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "application /json",
            "application/json\u{b}",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(!MediaType::parse("application/json; charset=utf-7").unwrap().is_utf8());
    }

    #[test]
    fn ranges_cover_by_what_they_say() {
        let covers = |range: &str, text: &str| Range::parse(range).unwrap().covers(&MediaType::parse(text).unwrap());
        assert!(covers("application/json", "application/json; charset=utf-8"));
        assert!(covers("application/json; charset=utf-8", "application/json"));
        assert!(covers("text/*", "text/html") && !covers("text/*", "textual/html"));
        assert!(covers("*/*", "image/png"));
        assert!(
            covers("application/x; v=1", "application/x; v=1") && !covers("application/x; v=1", "application/x; v=2")
        );
        assert!(!covers("application/json", "application/problem+json"));
        let mut ranges = ["*/*", "text/*", "text/plain", "text/plain; v=1"].map(|text| Range::parse(text).unwrap());
        ranges.sort_by_key(|range| std::cmp::Reverse(range.precision()));
        assert_eq!(ranges.map(|range| range.precision()), [3, 2, 1, 0]);
    }
}
