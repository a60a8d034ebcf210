//! Content codings of request bodies (RFC 9110 §8.4): which one a body came in, and what it is without it.
//!
//! Only gzip is taken, and only once. `deflate` means two formats in the field, with and without the frame of zlib, and one
//! body can be both; what is coded twice multiplies what little was sent twice.

use std::io::Read as _;

use flate2::bufread::GzDecoder;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};
use portcullis_core::Reason;

/// The coding of a body that is shown to checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// None.
    Identity,
    /// One member of RFC 1952.
    Gzip,
}

/// How many times its size a body may become. Deflate reaches 1032; what people send stays below 30.
const MOST_TIMES: u64 = 100;

/// What a body may become however small it was, in bytes: a short one that repeats itself is no bomb.
const ALWAYS: u64 = 16 * 1024;

impl Coding {
    /// The coding of a request body, by its head.
    ///
    /// # Errors
    /// [`Reason::UnsupportedCoding`] for any that is not taken, and for more than one.
    pub fn of(headers: &HeaderMap, takes_gzip: bool) -> Result<Self, Reason> {
        let is = |value: &HeaderValue, coding: &[u8]| value.as_bytes().trim_ascii().eq_ignore_ascii_case(coding);
        let all = headers.get_all(CONTENT_ENCODING);
        if all.iter().all(|value| is(value, b"identity")) {
            return Ok(Self::Identity);
        }
        let mut values = all.iter();
        match (values.next(), values.next()) {
            (Some(only), None) if takes_gzip && is(only, b"gzip") => Ok(Self::Gzip),
            _ => Err(Reason::UnsupportedCoding { takes_gzip }),
        }
    }
}

/// The content of a body that came as gzip, of at most `max` bytes. It takes no more memory than that, and gives up as soon
/// as there is more.
///
/// # Errors
/// [`Reason::BodyTooLarge`] for what becomes larger than `max`, or than a hundred times what was received;
/// [`Reason::InvalidBody`] for what is broken, ends too soon, or has anything after its one member.
pub fn gunzip(received: &[u8], max: u64) -> Result<Vec<u8>, Reason> {
    let received_len = received.len() as u64;
    let max = max.min(received_len.saturating_mul(MOST_TIMES).max(ALWAYS));
    let mut decoder = GzDecoder::new(received);
    // Room for what most become; a length that the stream names of itself is not believed.
    let room = received_len.saturating_mul(4).min(max);
    let mut content = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
    let read = decoder.by_ref().take(max.saturating_add(1)).read_to_end(&mut content);
    if content.len() as u64 > max {
        return Err(Reason::BodyTooLarge(max));
    }
    // The reader checks the sum and the length at the end, and fails where the end is missing.
    read.map_err(|_| Reason::InvalidBody("the body is not gzip, or broken"))?;
    if !decoder.into_inner().is_empty() {
        return Err(Reason::InvalidBody("something follows after the end of the gzip member"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::GzEncoder;
    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::*;

    const BROKEN: Reason = Reason::InvalidBody("the body is not gzip, or broken");
    const TRAILED: Reason = Reason::InvalidBody("something follows after the end of the gzip member");

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn coded(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (CONTENT_ENCODING, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn h5_one_coding_is_taken_where_the_route_says_so_and_never_two() {
        for values in [&[][..], &["identity"], &["Identity", "identity "]] {
            assert_eq!(Coding::of(&coded(values), false), Ok(Coding::Identity), "{values:?}");
        }
        for values in [&["gzip"][..], &["GZip"]] {
            assert_eq!(Coding::of(&coded(values), true), Ok(Coding::Gzip), "{values:?}");
            assert_eq!(Coding::of(&coded(values), false), Err(Reason::UnsupportedCoding { takes_gzip: false }));
        }
        for values in [
            &["gzip, gzip"][..],
            &["gzip", "gzip"],
            &["gzip", "identity"],
            &["identity", "gzip"],
            &["gzip,"],
            &["x-gzip"],
            &["deflate"],
            &["br"],
            &[""],
            &["gzip;q=1"],
        ] {
            let refused = Err(Reason::UnsupportedCoding { takes_gzip: true });
            assert_eq!(Coding::of(&coded(values), true), refused, "{values:?}");
        }
    }

    #[test]
    fn h5_a_bomb_is_given_up_by_its_size_and_by_its_ratio() {
        let bomb = gzip(&vec![b'x'; 8 << 20]);
        assert!(bomb.len() < 10_000, "a thousandth");
        assert_eq!(gunzip(&bomb, 10_240), Err(Reason::BodyTooLarge(10_240)));
        assert_eq!(gunzip(&bomb, 1 << 30), Err(Reason::BodyTooLarge(bomb.len() as u64 * 100)));
        // To the byte.
        let exact = gzip(&vec![b'x'; 10_240]);
        assert_eq!(gunzip(&exact, 10_240).map(|content| content.len()), Ok(10_240));
        assert_eq!(gunzip(&exact, 10_239), Err(Reason::BodyTooLarge(10_239)));
        // A short one may repeat itself.
        assert_eq!(gunzip(&gzip(&[b' '; 16_384]), 1 << 20).map(|content| content.len()), Ok(16_384));
        assert_eq!(gunzip(&gzip(&[b' '; 16_385]), 1 << 20), Err(Reason::BodyTooLarge(16_384)));
        assert_eq!(gunzip(&gzip(b""), 0), Ok(Vec::new()));
    }

    #[test]
    fn h5_what_ends_too_soon_or_goes_on_is_no_body() {
        let whole = gzip(b"{\"a\":1}");
        for end in 0..whole.len() {
            assert_eq!(gunzip(&whole[..end], 1024), Err(BROKEN), "{end} bytes");
        }
        assert_eq!(gunzip(&[&whole[..], b"\0"].concat(), 1024), Err(TRAILED));
        assert_eq!(gunzip(&[&whole[..], &whole].concat(), 1024), Err(TRAILED), "a second member");
        for at in [whole.len() - 1, whole.len() - 8, 0, 2, 12] {
            let mut broken = whole.clone();
            broken[at] ^= 0x55;
            assert_eq!(gunzip(&broken, 1024), Err(BROKEN), "byte {at}");
        }
        assert_eq!(gunzip(b"{\"a\":1}", 1024), Err(BROKEN), "not coded at all");
        let twice = gunzip(&gzip(&whole), 1024).unwrap();
        assert_eq!(twice, whole, "one layer is undone, and what is below is no JSON");
        // The optional fields of a member take nothing from its content.
        let mut named =
            GzBuilder::new().filename("a.json").comment("c").extra(&b"e"[..]).write(Vec::new(), Compression::fast());
        named.write_all(b"{}").unwrap();
        assert_eq!(gunzip(&named.finish().unwrap(), 1024), Ok(b"{}".to_vec()));
    }

    proptest! {
        #[test]
        fn what_was_coded_comes_back_and_chance_never_panics(content: Vec<u8>, noise: Vec<u8>) {
            prop_assert_eq!(gunzip(&gzip(&content), 1 << 20), Ok(content));
            let _ = gunzip(&noise, 1024);
            let _ = gunzip(&[&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0][..], &noise].concat(), 1024);
        }
    }
}
