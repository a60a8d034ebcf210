//! The path, normalised once: what is matched is what is forwarded (H7).
//!
//! A path that two programs could read differently is refused instead of guessed at. What remains is brought to one
//! spelling by RFC 3986 §6.2.2: escapes of unreserved characters are decoded, the others are written in upper case,
//! characters that must be escaped are, and empty segments are merged.

use std::borrow::Cow;
use std::fmt;

/// A path in its one spelling. Begins with `/`, holds only `pchar` of RFC 3986 and `/`; has no dot segment, no empty
/// segment (except after a trailing slash), no encoded slash or backslash, no `;` parameter and no segment that ends
/// in a dot or a space; its decoded form is UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NormalizedPath<'a>(Cow<'a, str>);

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("the path must begin with \"/\"")]
    NotAbsolute,
    /// A `%` without two hex digits.
    #[error("the path has a \"%\" without two hex digits")]
    BadEscape,
    /// `%2F` or `%5C`: one segment to some, two to others.
    #[error("the path has an encoded slash or backslash")]
    EncodedSlash,
    /// A raw backslash, which some servers read as a slash.
    #[error("the path has a backslash")]
    Backslash,
    /// A control character or a space, raw or encoded (a space may be written `%20`).
    #[error("the path has a control character or a raw space")]
    Control,
    /// `.` or `..` as a segment, raw or encoded.
    #[error("the path has a dot segment")]
    DotSegment,
    /// A segment that ends in a dot or a space, which some file systems drop.
    #[error("a segment of the path ends in a dot or a space")]
    TrailingDot,
    /// `;`, which some servers cut off with what follows.
    #[error("the path has a \";\" parameter")]
    Parameter,
    /// Bytes that are not ASCII, or escapes that do not decode to UTF-8.
    #[error("the path is not UTF-8")]
    NotUtf8,
}

/// What a byte means in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// `pchar` without `%`, `;` and `.`: stays as it is.
    Plain,
    Dot,
    Slash,
    Percent,
    Semicolon,
    Backslash,
    Control,
    /// Printable, but to be escaped.
    Escape,
    High,
}

const fn classify(byte: u8) -> Class {
    match byte {
        b'/' => Class::Slash,
        b'.' => Class::Dot,
        b'%' => Class::Percent,
        b';' => Class::Semicolon,
        b'\\' => Class::Backslash,
        0..=0x20 | 0x7f => Class::Control,
        0x80.. => Class::High,
        b'"' | b'#' | b'<' | b'>' | b'?' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => Class::Escape,
        _ => Class::Plain,
    }
}

static CLASSES: [Class; 256] = {
    let mut table = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop ends at 256")]
        let class = classify(byte as u8);
        table[byte] = class;
        byte += 1;
    }
    table
};

impl<'a> NormalizedPath<'a> {
    /// Normalises the path of a request target (without its query).
    ///
    /// Borrows where the path already has its one spelling, which is nearly always.
    ///
    /// # Errors
    /// [`PathError`] for every path that two programs could read differently.
    pub fn parse(path: &'a str) -> Result<Self, PathError> {
        let bytes = path.as_bytes();
        if bytes.first() != Some(&b'/') {
            return Err(PathError::NotAbsolute);
        }
        let mut previous = Class::Plain;
        for byte in bytes {
            let class = CLASSES[usize::from(*byte)];
            let ordinary = match class {
                Class::Plain => true,
                // A dot is ordinary inside a segment: after a plain byte, and not before a slash or the end.
                Class::Dot => previous == Class::Plain,
                Class::Slash => previous != Class::Slash && previous != Class::Dot,
                _ => false,
            };
            if !ordinary {
                return respell(bytes).map(|text| Self(Cow::Owned(text)));
            }
            previous = class;
        }
        if previous == Class::Dot {
            return Err(PathError::TrailingDot);
        }
        Ok(Self(Cow::Borrowed(path)))
    }

    /// The path as it is matched and forwarded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the path was already in its one spelling, so that the received target may be forwarded as it is.
    #[must_use]
    pub const fn is_unchanged(&self) -> bool {
        matches!(self.0, Cow::Borrowed(_))
    }

    /// The segments between slashes; a trailing slash gives an empty last one.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0[1..].split('/')
    }

    /// The same path, owning its text.
    #[must_use]
    pub fn into_owned(self) -> NormalizedPath<'static> {
        NormalizedPath(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Display for NormalizedPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The slow way: decodes what may be decoded, merges empty segments, refuses what is ambiguous.
fn respell(bytes: &[u8]) -> Result<String, PathError> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let escape = |out: &mut String, byte: u8| {
        out.push('%');
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    };
    let mut out = String::with_capacity(bytes.len() + 8);
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, mut tail)) = rest.split_first() {
        match CLASSES[usize::from(byte)] {
            Class::Plain | Class::Dot => {
                out.push(char::from(byte));
                decoded.push(byte);
            }
            Class::Slash => {
                check_segment(&out)?;
                if !out.ends_with('/') {
                    out.push('/');
                }
                decoded.push(b'/');
            }
            Class::Percent => {
                let (hex, after) = tail.split_at_checked(2).ok_or(PathError::BadEscape)?;
                tail = after;
                let value = hex_digit(hex[0])? << 4 | hex_digit(hex[1])?;
                decoded.push(value);
                match value {
                    b'/' | b'\\' => return Err(PathError::EncodedSlash),
                    b' ' => escape(&mut out, value),
                    0..=0x1f | 0x7f => return Err(PathError::Control),
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(value)),
                    _ => escape(&mut out, value),
                }
            }
            Class::Escape => {
                escape(&mut out, byte);
                decoded.push(byte);
            }
            Class::Semicolon => return Err(PathError::Parameter),
            Class::Backslash => return Err(PathError::Backslash),
            Class::Control => return Err(PathError::Control),
            Class::High => return Err(PathError::NotUtf8),
        }
        rest = tail;
    }
    check_segment(&out)?;
    // Also catches overlong forms such as %C0%AE, a dot to careless decoders. C1 controls hide in two bytes.
    let text = std::str::from_utf8(&decoded).map_err(|_| PathError::NotUtf8)?;
    if text.chars().any(char::is_control) {
        return Err(PathError::Control);
    }
    Ok(out)
}

/// Refuses a finished last segment that is a dot segment or ends in a dot or a space.
fn check_segment(out: &str) -> Result<(), PathError> {
    match out.rsplit('/').next() {
        Some("." | "..") => Err(PathError::DotSegment),
        Some(segment) if segment.ends_with('.') || segment.ends_with("%20") => Err(PathError::TrailingDot),
        _ => Ok(()),
    }
}

const fn hex_digit(byte: u8) -> Result<u8, PathError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(PathError::BadEscape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Result<String, PathError> {
        NormalizedPath::parse(path).map(|p| p.as_str().to_owned())
    }

    #[test]
    fn ordinary_paths_are_borrowed() {
        for path in ["/", "/projects", "/projects/42/", "/a.b/c-d_e~f", "/a!$&'()*+,=:@", "/.well-known/jwks.json"] {
            let parsed = NormalizedPath::parse(path).unwrap();
            assert_eq!(parsed.as_str(), path);
        }
        assert!(NormalizedPath::parse("/projects/42").unwrap().is_unchanged());
    }

    #[test]
    fn there_is_one_spelling() {
        for (given, spelled) in [
            ("/%61dmin", "/admin"),
            ("/a%2db", "/a-b"),
            ("//admin///x", "/admin/x"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%20b", "/a%20b"),
            ("/a|b{c}", "/a%7Cb%7Bc%7D"),
            ("/a%3bb", "/a%3Bb"),
            ("/x/", "/x/"),
            ("/x//", "/x/"),
        ] {
            assert_eq!(parse(given).as_deref(), Ok(spelled), "{given}");
        }
    }

    #[test]
    fn what_two_programs_could_read_differently_is_refused() {
        for (path, error) in [
            ("", PathError::NotAbsolute),
            ("admin", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("/a%2fb", PathError::EncodedSlash),
            ("/a%5Cb", PathError::EncodedSlash),
            ("/a\\b", PathError::Backslash),
            ("/..", PathError::DotSegment),
            ("/a/../b", PathError::DotSegment),
            ("/a/./b", PathError::DotSegment),
            ("/a/.", PathError::DotSegment),
            ("/a/%2e%2E/b", PathError::DotSegment),
            ("/a/.%2e", PathError::DotSegment),
            ("/admin.", PathError::TrailingDot),
            ("/admin./x", PathError::TrailingDot),
            ("/a/...", PathError::TrailingDot),
            ("/admin%2e", PathError::TrailingDot),
            ("/admin%20", PathError::TrailingDot),
            ("/admin%20/x", PathError::TrailingDot),
            ("/a;x=1/b", PathError::Parameter),
            ("/a/..;/b", PathError::Parameter),
            ("/a%00", PathError::Control),
            ("/a%0d%0ab", PathError::Control),
            ("/a b", PathError::Control),
            ("/a%zz", PathError::BadEscape),
            ("/a%4", PathError::BadEscape),
            ("/a%", PathError::BadEscape),
            ("/%c0%ae%c0%ae/x", PathError::NotUtf8),
            ("/%ff", PathError::NotUtf8),
            ("/é", PathError::NotUtf8),
            ("/%c2%85", PathError::Control),
        ] {
            assert_eq!(parse(path), Err(error), "{path}");
        }
    }

    #[test]
    fn a_normalised_path_is_a_fixed_point() {
        for path in ["//a//b", "/%7euser/%41", "/a%20b|c", "/.a/b.c", "/%25%32%66"] {
            let once = parse(path).unwrap();
            assert_eq!(parse(&once).unwrap(), once, "{path}");
        }
    }
}
