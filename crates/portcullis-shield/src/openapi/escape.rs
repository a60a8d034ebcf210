//! Percent-decoding, once and strictly (RFC 3986 §2.1).

use std::borrow::Cow;

/// The text has a `%` without two hex digits, or is not UTF-8 when it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadEscape;

/// Decodes a text. With `plus`, a `+` stands for a space, as forms write it.
pub(super) fn decode(text: &str, plus: bool) -> Result<Cow<'_, str>, BadEscape> {
    if !text.bytes().any(|byte| byte == b'%' || (plus && byte == b'+')) {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next())? << 4 | hex(bytes.next())?,
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| BadEscape)
}

fn hex(byte: Option<u8>) -> Result<u8, BadEscape> {
    let digit = byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(BadEscape)?;
    u8::try_from(digit).map_err(|_| BadEscape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once_and_strictly() {
        for (text, plus, decoded) in [
            ("a", true, "a"),
            ("a+b", true, "a b"),
            ("a+b", false, "a+b"),
            ("%2541", true, "%41"),
            ("caf%C3%a9", false, "café"),
        ] {
            assert_eq!(decode(text, plus).as_deref(), Ok(decoded), "{text}");
        }
        for text in ["%", "%4", "%zz", "%+1", "%ff", "%c0%ae", "%ed%a0%80"] {
            assert_eq!(decode(text, true), Err(BadEscape), "{text}");
        }
    }
}
