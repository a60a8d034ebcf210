//! What a request is counted under.

use std::fmt::Write as _;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_core::{AddressKey, HumanDuration};
use smallvec::SmallVec;

use crate::rate::Rate;
use crate::text::Text;

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

    /// A key of the limit with this name, without parts yet. The limit's index follows from its name (FNV-1a), so that limits
    /// which come and go beside it change nothing about it.
    #[must_use]
    pub fn named(limit: &str) -> Self {
        let hash = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        Self::new(limit.bytes().fold(0x811c_9dc5, hash))
    }

    /// All of it in bytes; two keys have the same only if they are the same.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The limit's index.
    #[inline]
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

    /// Counts by how a rate counts, for rates that cannot take turns in one cell ([`Rate::counts_like`]): those that count
    /// alike make the same part, others never do. `w=fixed-window/1h`, `w=calendar/month/Europe/Berlin`; of a bucket whose
    /// depth in time is not its window that follows in half windows, as in `w=token-bucket/1m/4`.
    pub fn push_rate(&mut self, rate: &Rate) {
        let mut text = Text::default();
        let (algorithm, window) = (rate.algorithm(), rate.quota().window());
        // Writing to a text does not fail.
        let _ = match rate.calendar() {
            Some(calendar) => write!(text, "{algorithm}/{}/{}", calendar.period(), calendar.time_zone()),
            None if window.subsec_nanos().is_multiple_of(1_000_000) => {
                write!(text, "{algorithm}/{}", HumanDuration(window))
            }
            None => write!(text, "{algorithm}/{}ns", window.as_nanos()),
        };
        if algorithm.has_burst() && rate.half_windows() != 2 {
            let _ = write!(text, "/{}", rate.half_windows());
        }
        self.push_text('w', text.as_str());
    }

    /// The key as text, `rl:<limit>:<parts>`, as stores over a network know it and people read it there:
    /// `rl:login:203.0.113.7`, `rl:api:2001:db8::,u=alice`.
    ///
    /// The limit goes by its name, which all instances know it by. Whatever is not a letter, a digit or one of `-._~@+/`
    /// is escaped as `%XX` (in parts `:` and `|` stand too), so that no text can break out of its place: two keys have one
    /// text only if they are the same, no brace makes a hash tag of a cluster, and no control character reaches a terminal.
    /// A digest stands in hexadecimal after the upper-case letter of its kind.
    #[must_use]
    pub fn name(&self, limit: &str) -> String {
        let mut name = String::with_capacity(self.0.len() + limit.len() + 16);
        name.push_str("rl:");
        escape(&mut name, limit.as_bytes(), b"");
        let mut before = ':';
        for (kind, bytes) in self.parts() {
            name.push(before);
            before = ',';
            // An address has no `=`, and everything else has one as its second character.
            let address = match kind {
                b'4' => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
                b'6' => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
                _ => None,
            };
            // Writing to a string does not fail.
            let _ = match address {
                Some(address) => write!(name, "{address}"),
                None => write!(name, "{}=", char::from(kind)),
            };
            if kind.is_ascii_uppercase() {
                for byte in bytes {
                    let _ = write!(name, "{byte:02x}");
                }
            } else if address.is_none() {
                escape(&mut name, bytes, b":|");
            }
        }
        if before == ':' {
            name.push(before);
        }
        name
    }

    /// The kind and the bytes of each part.
    fn parts(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = self.0.get(4..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (&[kind, length], after) = rest.split_first_chunk::<2>()?;
            let (bytes, after) = after.split_at_checked(usize::from(length))?;
            rest = after;
            Some((kind, bytes))
        })
    }

    fn push(&mut self, kind: u8, bytes: &[u8]) {
        self.0.push(kind);
        self.0.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(bytes);
    }
}

/// Appends a text in which only letters, digits, `-._~@+/` and what `also` holds stand for themselves.
fn escape(name: &mut String, text: &[u8], also: &[u8]) {
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~@+/".contains(byte) || also.contains(byte) {
            name.push(char::from(*byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(name, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis_core::ClientAddress;

    use super::*;
    use crate::quota::Quota;
    use crate::rate::Algorithm;

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

    #[test]
    fn l3_a_key_reads_as_its_limit_and_what_it_counts_by() {
        let mut key = Key::new(1);
        assert_eq!(key.name("all"), "rl:all:");
        key.push_address(ClientAddress::new(IpAddr::from([203, 0, 113, 7])).key(64));
        assert_eq!(key.name("login"), "rl:login:203.0.113.7");
        key.push_text('u', "alice@example.com");
        assert_eq!(key.name("login"), "rl:login:203.0.113.7,u=alice@example.com");
        let mut key = Key::new(1);
        key.push_address(ClientAddress::new("2001:db8::17".parse().unwrap()).key(64));
        assert_eq!(key.name("api"), "rl:api:2001:db8::");
        let long = texts(1, &[&"x".repeat(49)]).name("api");
        assert!(long.starts_with("rl:api:H=") && long.len() == "rl:api:H=".len() + 64, "{long}");
    }

    #[test]
    fn rates_that_do_not_count_alike_never_make_the_same_part() {
        let rate = |quota: &str, algorithm, burst| Rate::new(quota.parse().unwrap(), algorithm, burst).unwrap();
        let berlin = rate("10 per month", Algorithm::Calendar, None).in_time_zone("Europe/Berlin").unwrap();
        let odd = Rate::new(Quota::new(1, Duration::from_nanos(1_500_001)).unwrap(), Algorithm::FixedWindow, None);
        let rates = [
            rate("10 per hour", Algorithm::FixedWindow, None),
            rate("20 per 60m", Algorithm::FixedWindow, None),
            rate("10 per minute", Algorithm::FixedWindow, None),
            rate("10 per minute", Algorithm::TokenBucket, None),
            rate("10 per minute", Algorithm::TokenBucket, Some(20)),
            berlin,
            rate("10 per month", Algorithm::Calendar, None),
            odd.unwrap(),
        ];
        let name = |rate: &Rate| {
            let mut key = Key::new(1);
            key.push_rate(rate);
            key.name("l")
        };
        for (a, b) in rates.iter().flat_map(|a| rates.iter().map(move |b| (a, b))) {
            assert_eq!(name(a) == name(b), a.counts_like(b), "{a:?} {b:?}");
        }
        assert_eq!(name(&rates[1]), "rl:l:w=fixed-window/1h");
        assert_eq!(name(&rates[4]), "rl:l:w=token-bucket/1m/4");
        assert_eq!(name(&berlin), "rl:l:w=calendar/month/Europe/Berlin");
    }

    #[test]
    fn l3_no_text_breaks_out_of_its_place_in_a_name() {
        let hostile = texts(1, &["a{b}\r\n,u=root\0 \u{1b}[2J%é"]).name("x:{y},z");
        assert_eq!(hostile, "rl:x%3A%7By%7D%2Cz:h=a%7Bb%7D%0D%0A%2Cu%3Droot%00%20%1B%5B2J%25%C3%A9");
        let mut address = Key::new(1);
        address.push_address(ClientAddress::new(IpAddr::from([1, 2, 3, 4])).key(64));
        let keys = [
            texts(1, &["a", "b"]),
            texts(1, &["a,h=b"]),
            texts(1, &["a%2Ch%3Db"]),
            texts(1, &["a", ""]),
            texts(1, &["a"]),
            texts(1, &[""]),
            texts(1, &[]),
            texts(1, &["1.2.3.4"]),
            address,
        ];
        for limit in ["a", "a:h=a", ""] {
            let names: std::collections::HashSet<String> = keys.iter().map(|key| key.name(limit)).collect();
            assert_eq!(names.len(), keys.len(), "{names:?}");
        }
    }
}
