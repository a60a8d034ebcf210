//! The token as a field of a form, for pages that work without scripts.
//!
//! Read as narrowly as browsers write it: what another reader could take for something else holds no token. That decides
//! nothing about the upstream, which gets the same bytes; it decides whether whoever made the form knew a token, and one that
//! was signed for this session is known to its own pages only, wherever in the body it stands.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use memchr::memmem;
use portcullis_core::{Reason, Timestamp};

use super::{BoundTo, Csrf};
use crate::check::{Check, Seen};

/// RFC 2046 §5.1.1: a boundary has at most 70 characters.
const LONGEST_BOUNDARY: usize = 70;
/// The longest head of one part. Browsers write two lines.
const LONGEST_PART_HEAD: usize = 4_096;

/// How a form is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// `application/x-www-form-urlencoded`
    UrlEncoded,
    /// `multipart/form-data` with this boundary (RFC 7578).
    Multipart(&'a str),
}

/// The values of one field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held<'a> {
    /// None, or an empty one.
    Nothing,
    /// This one.
    One(Cow<'a, [u8]>),
    /// Several: two readers could take different ones.
    Several,
}

impl<'a> Kind<'a> {
    /// The kind of form that a body is by its headers; `None` for anything else, for two types at once, and for a content
    /// coding that would have to be undone first.
    pub(super) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let (media, None) = (types.next()?.to_str().ok()?, types.next()) else { return None };
        if headers.contains_key(CONTENT_ENCODING) {
            return None;
        }
        let (essence, parameters) = media.split_once(';').unwrap_or((media, ""));
        let essence = essence.trim_matches([' ', '\t']);
        if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Some(Self::UrlEncoded);
        }
        if !essence.eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        // One parameter and no other, as browsers write it.
        let (name, value) = parameters.split_once('=')?;
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        let fits = (1..=LONGEST_BOUNDARY).contains(&value.len())
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte));
        (name.trim_matches([' ', '\t']).eq_ignore_ascii_case("boundary") && fits).then_some(Self::Multipart(value))
    }

    /// The field of this name.
    pub(super) fn field<'b>(self, body: &'b [u8], name: &str) -> Held<'b> {
        match self {
            Self::UrlEncoded => {
                let own = form_urlencoded::parse(body).filter(|(held, _)| held == name);
                one_of(own.map(|(_, value)| match value {
                    Cow::Borrowed(value) => Cow::Borrowed(value.as_bytes()),
                    Cow::Owned(value) => Cow::Owned(value.into_bytes()),
                }))
            }
            Self::Multipart(boundary) => {
                let Some(parts) = parts(body, boundary) else { return Held::Nothing };
                one_of(parts.into_iter().filter(|(head, _)| is_field(head, name)).map(|(_, value)| value.into()))
            }
        }
    }
}

fn one_of<'b>(mut values: impl Iterator<Item = Cow<'b, [u8]>>) -> Held<'b> {
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Held::One(value),
        (_, None) => Held::Nothing,
        (_, Some(_)) => Held::Several,
    }
}

/// The parts of a whole multipart body, each with its head; `None` where it is not one from its first byte to its last.
fn parts<'b>(body: &'b [u8], boundary: &str) -> Option<Vec<(&'b [u8], &'b [u8])>> {
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(delimiter.as_bytes());
    // The first delimiter has no line before it.
    let mut rest = body.strip_prefix(&delimiter.as_bytes()[2..])?;
    let mut parts = Vec::new();
    loop {
        if let Some(end) = rest.strip_prefix(b"--") {
            return matches!(end, b"" | b"\r\n").then_some(parts);
        }
        rest = rest.strip_prefix(b"\r\n")?;
        let (part, after) = rest.split_at(finder.find(rest)?);
        rest = &after[delimiter.len()..];
        let head = memmem::find(&part[..part.len().min(LONGEST_PART_HEAD)], b"\r\n\r\n")?;
        parts.push((&part[..head], &part[head + 4..]));
    }
}

/// Whether a part's head names this field, and no file: `Content-Disposition: form-data; name="…"` and nothing behind it.
fn is_field(head: &[u8], name: &str) -> bool {
    let Ok(head) = std::str::from_utf8(head) else { return false };
    let mut dispositions = head.split("\r\n").filter_map(|line| {
        let (header, value) = line.split_once(':')?;
        header.eq_ignore_ascii_case("content-disposition").then(|| value.trim_matches([' ', '\t']))
    });
    let (Some(value), None) = (dispositions.next(), dispositions.next()) else { return false };
    let Some((kind, parameter)) = value.split_once(';') else { return false };
    let named = parameter.trim_matches([' ', '\t']).strip_prefix("name=\"").and_then(|rest| rest.strip_suffix('"'));
    kind.eq_ignore_ascii_case("form-data") && named == Some(name)
}

/// The check of a form whose head held no token; made for one request, because a token has its hour.
#[derive(Debug)]
pub struct FormToken {
    csrf: Arc<Csrf>,
    now: Timestamp,
}

impl FormToken {
    /// A check at this moment.
    #[must_use]
    pub const fn new(csrf: Arc<Csrf>, now: Timestamp) -> Self {
        Self { csrf, now }
    }
}

impl Check for FormToken {
    fn check(&self, seen: &Seen<'_>, body: &[u8]) -> Result<(), Reason> {
        let principal = seen.principal.ok_or(Reason::MissingCsrfToken)?;
        self.csrf.check_form(seen.headers, body, BoundTo::of(principal), self.now)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn typed(media: &[&str]) -> HeaderMap {
        media.iter().map(|media| (CONTENT_TYPE, HeaderValue::from_bytes(media.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn h2_only_what_a_browser_writes_is_a_form() {
        for (media, kind) in [
            (&["application/x-www-form-urlencoded"][..], Some(Kind::UrlEncoded)),
            (&["Application/X-WWW-Form-URLEncoded; charset=utf-8"], Some(Kind::UrlEncoded)),
            (
                &["multipart/form-data; boundary=----WebKitFormBoundaryAb1"],
                Some(Kind::Multipart("----WebKitFormBoundaryAb1")),
            ),
            (&["multipart/form-data;boundary=\"x y\""], None),
            (&["multipart/form-data; boundary=\"x\""], Some(Kind::Multipart("x"))),
            (&["multipart/form-data"], None),
            (&["multipart/form-data; boundary="], None),
            (&["multipart/form-data; charset=utf-8; boundary=x"], None),
            (&["multipart/form-data; boundary=x; boundary=y"], None),
            (&["multipart/mixed; boundary=x"], None),
            (&["text/plain"], None),
            (&["application/json"], None),
            (&["application/x-www-form-urlencoded, text/plain"], None),
            (&["application/x-www-form-urlencoded", "application/x-www-form-urlencoded"], None),
            (&["applic\u{e4}tion/x-www-form-urlencoded"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(Kind::of(&typed(media)), kind, "{media:?}");
        }
        let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
        assert_eq!(Kind::of(&typed(&[&long])), None);
        let mut coded = typed(&["application/x-www-form-urlencoded"]);
        coded.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(Kind::of(&coded), None, "who reads it unpacked reads something else");
    }

    #[test]
    fn h2_a_field_that_is_there_twice_is_nobodys() {
        let one = |text: &'static str| Held::One(Cow::Borrowed(text.as_bytes()));
        for (body, held) in [
            ("a=1&_csrf=tok&b=2", one("tok")),
            ("%5Fcsrf=t%6Fk", Held::One(Cow::Owned(b"tok".to_vec()))),
            ("_csrf=", Held::Nothing),
            ("_csrf", Held::Nothing),
            ("", Held::Nothing),
            ("csrf=tok", Held::Nothing),
            ("_CSRF=tok", Held::Nothing),
            ("_csrf=tok&_csrf=tok", Held::Several),
            ("_csrf=&_csrf=tok", Held::Several),
            ("_csrf=tok&%5fcsrf=tok", Held::Several),
            ("a=1;_csrf=tok", Held::Nothing),
        ] {
            assert_eq!(Kind::UrlEncoded.field(body.as_bytes(), "_csrf"), held, "{body}");
        }
        let Held::One(read) = Kind::UrlEncoded.field(b"_csrf=\xff\xfe%ff", "_csrf") else { panic!("one field") };
        assert!(!read.is_ascii(), "what is not UTF-8 is no token");
    }

    #[test]
    fn h2_the_field_of_a_multipart_form_is_found_and_a_file_is_none() {
        let part = |head: &str, value: &str| format!("--x\r\n{head}\r\n\r\n{value}\r\n");
        let field = |name: &str, value: &str| part(&format!("Content-Disposition: form-data; name=\"{name}\""), value);
        let ends = "--x--\r\n";
        let file =
            part("Content-Disposition: form-data; name=\"_csrf\"; filename=\"a\"\r\nContent-Type: text/plain", "tok");
        let read = |body: &str| match Kind::Multipart("x").field(body.as_bytes(), "_csrf") {
            Held::One(value) => String::from_utf8_lossy(&value).into_owned(),
            Held::Nothing => "-".to_owned(),
            Held::Several => "several".to_owned(),
        };
        for (body, expected) in [
            (field("a", "1") + &field("_csrf", "tok") + ends, "tok"),
            (field("_csrf", "tok") + "--x--", "tok"),
            (part("content-disposition:form-data; name=\"_csrf\"\r\nX: y", "tok") + ends, "tok"),
            (field("_csrf", "to\r\n-x\r\nk") + ends, "to\r\n-x\r\nk"),
            (field("_csrf", "tok") + &field("_csrf", "tok") + ends, "several"),
            (file.clone() + ends, "-"),
            (file + &field("_csrf", "tok") + ends, "tok"),
            (field("_csrf", "") + ends, "-"),
            (field("_csrf", "tok"), "-"),
            (format!("preamble\r\n{}{ends}", field("_csrf", "tok")), "-"),
            (field("_csrf", "tok") + ends + "epilogue", "-"),
            (field("_csrf", "tok").replace("\r\n", "\n") + ends, "-"),
            (part("Content-Disposition: form-data; name=_csrf", "tok") + ends, "-"),
            (part("Content-Disposition: attachment; name=\"_csrf\"", "tok") + ends, "-"),
            (
                part(
                    "Content-Disposition: form-data; name=\"_csrf\"\r\nContent-Disposition: form-data; name=\"a\"",
                    "t",
                ) + ends,
                "-",
            ),
            ("--x\r\n_csrf\r\n".to_owned() + ends, "-"),
            ("--y--".to_owned(), "-"),
            ("--x".to_owned(), "-"),
            ("--xy\r\n".to_owned() + ends, "-"),
            (String::new(), "-"),
        ] {
            assert_eq!(read(&body), expected, "{body}");
        }
        let long = part(&format!("Content-Disposition: form-data; name=\"_csrf\"\r\nX: {}", "y".repeat(5_000)), "tok");
        assert_eq!(read(&(long + ends)), "-", "the head of a part has a bound");
    }
}
