//! Patterns of method and path: `GET /projects/{id}`, `/public/**`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use http::Method;
use portcullis_core::NormalizedPath;

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// This very text.
    Literal(Box<str>),
    /// Any one segment that is not empty; named for those who ask for it.
    Parameter(Box<str>),
}

/// An optional method and a path whose segments are literal, `{name}` (any one segment) or, at the end, `**` (any
/// number of segments, none included). `GET` covers `HEAD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub(crate) method: Option<Method>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) tail: bool,
    text: Box<str>,
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Neither a path nor a method and a path.
    #[error("write a path, or a method and a path: \"GET /projects/{{id}}\"")]
    Form,
    /// The method is not one.
    #[error("\"{0}\" is not a method; write it in capitals, as in \"GET /projects\"")]
    Method(String),
    /// `**` somewhere else than at the end.
    #[error("\"**\" may stand only at the end of a pattern")]
    TailInside,
    /// A `{…}` that is not a whole segment with a name, or a stray `*`.
    #[error("\"{0}\" is not a segment; a variable segment is written \"{{name}}\", the rest of a path \"**\"")]
    Segment(String),
    /// The literal part is a path that the gate would refuse or spell otherwise, so it could never match.
    #[error("the path can never match: {0}")]
    Unmatchable(String),
}

impl Pattern {
    /// Whether the pattern ends in `**`.
    #[must_use]
    pub const fn has_tail(&self) -> bool {
        self.tail
    }

    /// Which segment the one variable of this name is, counted from zero; `None` where there is none, or more than one.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<usize> {
        let is_it = |segment: &Segment| matches!(segment, Segment::Parameter(other) if **other == *name);
        let mut found = self.segments.iter().enumerate().filter(|(_, segment)| is_it(segment));
        let only = (found.next(), found.next());
        if let (Some((index, _)), None) = only { Some(index) } else { None }
    }

    /// Its method, `None` for any.
    #[must_use]
    pub const fn method(&self) -> Option<&Method> {
        self.method.as_ref()
    }

    /// Whether any request could be covered by both, where letter case and a trailing slash do not matter.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let methods = match (&self.method, &other.method) {
            (Some(one), Some(two)) => {
                one == two || (one == Method::GET && two == Method::HEAD) || (one == Method::HEAD && two == Method::GET)
            }
            _ => true,
        };
        let (one, two) = (self.folded(), other.folded());
        let lengths = match one.len().cmp(&two.len()) {
            Ordering::Less => self.tail,
            Ordering::Equal => true,
            Ordering::Greater => other.tail,
        };
        let alike = |pair: (&Segment, &Segment)| match pair {
            (Segment::Literal(one), Segment::Literal(two)) => one.eq_ignore_ascii_case(two),
            (Segment::Literal(text), Segment::Parameter(_)) | (Segment::Parameter(_), Segment::Literal(text)) => {
                !text.is_empty()
            }
            (Segment::Parameter(_), Segment::Parameter(_)) => true,
        };
        methods && lengths && one.iter().zip(two).all(alike)
    }

    /// Its segments without the empty one after a trailing slash; the root keeps its own.
    fn folded(&self) -> &[Segment] {
        match self.segments.as_slice() {
            [before @ .., Segment::Literal(last)] if last.is_empty() && !before.is_empty() => before,
            all => all,
        }
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let text = text.trim();
        let (method, path) = match text.split_once(char::is_whitespace) {
            Some((method, path)) => (Some(parse_method(method)?), path.trim_start()),
            None => (None, text),
        };
        let Some(inside) = path.strip_prefix('/') else { return Err(PatternError::Form) };
        let mut segments = Vec::new();
        let mut tail = false;
        let parts: Vec<&str> = inside.split('/').collect();
        for (index, part) in parts.iter().enumerate() {
            let last = index + 1 == parts.len();
            if *part == "**" {
                if !last {
                    return Err(PatternError::TailInside);
                }
                tail = true;
            } else if let Some(name) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if !named {
                    return Err(PatternError::Segment((*part).to_owned()));
                }
                segments.push(Segment::Parameter(name.into()));
            } else if part.contains(['{', '}', '*']) {
                return Err(PatternError::Segment((*part).to_owned()));
            } else if part.is_empty() && !last {
                return Err(PatternError::Unmatchable("empty segments are merged, write one \"/\"".to_owned()));
            } else {
                check_literal(part)?;
                segments.push(Segment::Literal((*part).into()));
            }
        }
        Ok(Self { method, segments, tail, text: text.into() })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_method(text: &str) -> Result<Method, PatternError> {
    let capitals = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if capitals => Ok(method),
        _ => Err(PatternError::Method(text.to_owned())),
    }
}

/// A literal must already have the spelling that the gate gives to paths.
fn check_literal(segment: &str) -> Result<(), PatternError> {
    let path = format!("/{segment}");
    let spelled = NormalizedPath::parse(&path).map_err(|error| PatternError::Unmatchable(error.to_string()))?;
    if spelled.as_str() != path {
        return Err(PatternError::Unmatchable(format!("write \"{}\"", spelled.as_str())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_patterns_meet_where_one_request_could_be_covered_by_both() {
        let meet = |one: &str, two: &str| {
            let [one, two]: [Pattern; 2] = [one, two].map(|text| text.parse().unwrap());
            assert_eq!(one.meets(&two), two.meets(&one), "{one} {two}");
            one.meets(&two)
        };
        for (one, two) in [
            ("/a/b", "/A/B/"),
            ("GET /a", "/a"),
            ("GET /a", "HEAD /a"),
            ("/**", "/"),
            ("/a/**", "/a"),
            ("/a/**", "/a/b/c"),
            ("/{x}/b", "/a/{y}"),
            ("/a/**", "/{x}/b/**"),
            ("/", "/"),
        ] {
            assert!(meet(one, two), "{one} {two}");
        }
        for (one, two) in [
            ("/a", "/b"),
            ("GET /a", "POST /a"),
            ("HEAD /a", "POST /a"),
            ("/a", "/a/b"),
            ("/a/{x}", "/a"),
            ("/a/b/**", "/a"),
            ("/{x}", "/"),
        ] {
            assert!(!meet(one, two), "{one} {two}");
        }
    }

    #[test]
    fn patterns_are_a_method_and_a_path() {
        let pattern: Pattern = "DELETE /projects/{id}".parse().unwrap();
        assert_eq!(pattern.method(), Some(&Method::DELETE));
        assert_eq!(pattern.to_string(), "DELETE /projects/{id}");
        assert_eq!((pattern.parameter("id"), pattern.parameter("projects")), (Some(1), None));
        assert_eq!("/{id}/of/{id}".parse::<Pattern>().unwrap().parameter("id"), None);
        assert!("/**".parse::<Pattern>().unwrap().has_tail());
        assert!("/".parse::<Pattern>().is_ok());
        assert!("/projects/".parse::<Pattern>().is_ok());
    }

    #[test]
    fn a_pattern_that_can_never_match_is_refused() {
        for (text, error) in [
            ("projects", PatternError::Form),
            ("", PatternError::Form),
            ("get /projects", PatternError::Method("get".into())),
            ("/a/**/b", PatternError::TailInside),
            ("/a/b*", PatternError::Segment("b*".into())),
            ("/a/{b", PatternError::Segment("{b".into())),
            ("/a/{}", PatternError::Segment("{}".into())),
        ] {
            assert_eq!(text.parse::<Pattern>(), Err(error), "{text}");
        }
        for text in ["/a//b", "/a/../b", "/a%2fb", "/%61", "/a;b"] {
            assert!(matches!(text.parse::<Pattern>(), Err(PatternError::Unmatchable(_))), "{text}");
        }
    }
}
