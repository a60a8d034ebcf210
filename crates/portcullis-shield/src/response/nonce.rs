//! One random value for each page, by which a browser tells the page's own scripts from injected ones (CSP3 §6.7.2.3).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use rand::Rng as _;

/// Random bytes: 144 bits, a multiple of three so that base64 needs no padding.
const BYTES: usize = 18;
/// What they become in base64.
const TEXT: usize = 24;

/// A nonce, in the alphabet of base64url, which no template has to escape. CSP asks for 128 bits at least.
#[derive(Clone, PartialEq, Eq)]
pub struct Nonce([u8; TEXT]);

impl Nonce {
    /// Draws one from the cryptographic generator of this thread.
    #[must_use]
    pub fn draw() -> Self {
        let mut bytes = [0; BYTES];
        rand::rng().fill_bytes(&mut bytes);
        let mut text = [b'A'; TEXT];
        // Eighteen bytes are always twenty-four digits.
        let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
        debug_assert_eq!(written, Ok(TEXT));
        Self(text)
    }

    /// For the request header that tells it to the upstream.
    #[must_use]
    pub fn to_header(&self) -> HeaderValue {
        // Digits of base64url are always a header value.
        HeaderValue::from_bytes(&self.0).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    pub(super) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Whoever can read it can run scripts in the page it belongs to, so it goes into no log.
impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn h1_a_nonce_has_128_bits_and_more_and_comes_once() {
        let drawn: HashSet<Vec<u8>> = (0..1_000).map(|_| Nonce::draw().0.to_vec()).collect();
        assert_eq!(drawn.len(), 1_000);
        for text in &drawn {
            assert_eq!(URL_SAFE_NO_PAD.decode(text).unwrap().len() * 8, 144);
        }
        assert_eq!(format!("{:?}", Nonce::draw()), "Nonce(..)");
    }
}
