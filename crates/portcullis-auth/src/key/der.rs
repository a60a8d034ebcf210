//! As much of DER (X.690) and PEM (RFC 7468) as a public key needs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// The first block with this label.
pub(super) fn from_pem(pem: &str, label: &str) -> Result<Vec<u8>, &'static str> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let inside = pem
        .split_once(&begin)
        .and_then(|(_, rest)| rest.split_once(&end))
        .map(|(inside, _)| inside)
        .ok_or("the PEM block is missing or has another label")?;
    let compact: String = inside.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(compact).map_err(|_| "the PEM block is not base64")
}

/// Takes one element with this tag from the front: its content.
pub(super) fn take<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&found, rest) = input.split_first()?;
    if found != tag {
        return None;
    }
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > 3 {
            return None;
        }
        rest = after;
        bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
    };
    let (content, after) = rest.split_at_checked(length)?;
    *input = after;
    Some(content)
}

/// An element with this tag and content.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|byte| *byte != 0).map_or(&length[7..], |first| &length[first..]);
    if content.len() >= 0x80 {
        // A key's length takes at most three bytes.
        out.push(0x80 | u8::try_from(significant.len()).unwrap_or(0x7f));
    }
    out.extend_from_slice(significant);
    out.extend_from_slice(content);
    out
}

/// A positive integer from its big-endian bytes.
pub(super) fn positive(magnitude: &[u8]) -> Vec<u8> {
    let mut content = magnitude.to_vec();
    if content.first().is_none_or(|first| first & 0x80 != 0) {
        content.insert(0, 0);
    }
    element(INTEGER, &content)
}
