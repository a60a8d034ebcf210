//! What a request is counted under.

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_core::AddressKey;
use smallvec::SmallVec;

/// The key of one cell: which limit, and the parts by which it counts. Parts carry their kind and length, so that two
/// different lists of parts never make the same key.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Key(SmallVec<[u8; 56]>);

impl Clone for Key {
    fn clone(&self) -> Self {
        // Copied at once: the clone that `SmallVec` has by itself goes byte by byte, on the hottest path there is.
        Self(SmallVec::from_slice(&self.0))
    }
}

/// Longer texts are replaced by their SHA-256, so that a client that chooses a long header does not choose our memory.
const MAX_TEXT: usize = 48;

impl Key {
    /// A key of the limit with this index, without parts yet.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self(SmallVec::from_slice(&limit.to_be_bytes()))
    }

    /// The limit's index.
    #[must_use]
    pub fn limit(&self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }

    /// Counts by an address.
    pub fn push_address(&mut self, address: AddressKey) {
        match address.ip() {
            std::net::IpAddr::V4(ip) => self.push(b'4', &ip.octets()),
            std::net::IpAddr::V6(ip) => self.push(b'6', &ip.octets()),
        }
    }

    /// Counts by a text of some kind.
    ///
    /// # Panics
    /// If `kind` is not a lower-case ASCII letter: digits are taken by addresses, upper case by digests.
    pub fn push_text(&mut self, kind: char, text: &str) {
        assert!(kind.is_ascii_lowercase(), "a kind of text is a lower-case ASCII letter");
        let kind = kind as u8;
        if text.len() <= MAX_TEXT {
            self.push(kind, text.as_bytes());
        } else {
            // The upper-case letter keeps a digest apart from a text of 32 bytes.
            self.push(kind.to_ascii_uppercase(), digest(&SHA256, text.as_bytes()).as_ref());
        }
    }

    fn push(&mut self, kind: u8, bytes: &[u8]) {
        self.0.push(kind);
        self.0.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use portcullis_core::ClientAddress;

    use super::*;

    fn texts(limit: u32, parts: &[&str]) -> Key {
        let mut key = Key::new(limit);
        for part in parts {
            key.push_text('h', part);
        }
        key
    }

    #[test]
    fn different_parts_never_make_the_same_key() {
        assert_ne!(texts(1, &["a", "bc"]), texts(1, &["ab", "c"]));
        assert_ne!(texts(1, &["a"]), texts(2, &["a"]));
        assert_ne!(texts(1, &["a", ""]), texts(1, &["a"]));
        let mut address = Key::new(1);
        address.push_address(ClientAddress::new(IpAddr::from([1, 2, 3, 4])).key(64));
        assert_ne!(address, texts(1, &["\u{1}\u{2}\u{3}\u{4}"]));
        assert_eq!(texts(7, &["a"]).limit(), 7);
    }

    #[test]
    fn l3_long_texts_are_hashed() {
        let long = "x".repeat(10_000);
        let key = texts(1, &[&long]);
        assert!(key.0.len() <= 56 && !key.0.spilled());
        assert_ne!(key, texts(1, &[&"y".repeat(10_000)]));
    }
}
