//! As much of DER (X.690) and PEM (RFC 7468) as a public key needs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// The one block with this label. It may be a private key, so what is left of it on the way is wiped.
pub(super) fn from_pem(pem: &str, label: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let (inside, after) = pem
        .split_once(&begin)
        .and_then(|(_, rest)| rest.split_once(&end))
        .ok_or("the PEM block is missing or has another label")?;
    // Which one would be meant? Taking the first leaves somebody wondering why the second verifies nothing.
    if after.contains(&begin) {
        return Err("the file holds several keys");
    }
    // As long as the text, so that it does not move while it grows and leave copies behind.
    let mut compact = Zeroizing::new(String::with_capacity(inside.len()));
    compact.extend(inside.chars().filter(|c| !c.is_ascii_whitespace()));
    let mut der = Zeroizing::new(Vec::with_capacity(compact.len()));
    STANDARD.decode_vec(compact.as_bytes(), &mut der).map_err(|_| "the PEM block is not base64")?;
    Ok(der)
}

/// One block with this label, in lines of 64 characters (RFC 7468 §2).
pub(super) fn to_pem(der: &[u8], label: &str) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
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
        // DER knows one spelling of a length: no indefinite one, no leading zero, no long form where the short one does.
        if bytes.len() > 3 || bytes.first().is_none_or(|first| *first == 0) {
            return None;
        }
        rest = after;
        let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        if length < 0x80 {
            return None;
        }
        length
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_have_one_spelling() {
        let take = |mut bytes: &[u8]| take(&mut bytes, SEQUENCE).map(<[u8]>::to_vec);
        assert_eq!(take(&[0x30, 1, 7]), Some(vec![7]));
        assert_eq!(take(&[0x30, 0]), Some(vec![]));
        for bad in [
            &[][..],
            &[0x30],
            &[0x31, 1, 7],
            &[0x30, 2, 7],
            &[0x30, 0x81, 1, 7],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x82, 0, 1, 7],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0xff],
        ] {
            assert_eq!(take(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_file_with_several_keys_is_refused() {
        let block = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        assert_eq!(*from_pem(&format!("A comment.\r\n{block}"), "PUBLIC KEY").unwrap(), [0, 0, 0]);
        assert!(from_pem(&block.repeat(2), "PUBLIC KEY").is_err());
        assert!(from_pem(block, "PRIVATE KEY").is_err());
        assert!(from_pem("-----BEGIN PUBLIC KEY-----\nAAAA", "PUBLIC KEY").is_err());
        assert!(from_pem(&block.replace("AAAA", "A_A-"), "PUBLIC KEY").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(length in prop_oneof![0_usize..300, 65_000_usize..66_000]) {
            let content = vec![7; length];
            let written = element(SEQUENCE, &content);
            let mut rest = written.as_slice();
            prop_assert_eq!(take(&mut rest, SEQUENCE), Some(content.as_slice()));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut rest = bytes.as_slice();
            while take(&mut rest, bytes.first().copied().unwrap_or_default()).is_some_and(|content| !content.is_empty()) {}
        }
    }
}
