//! Compact JWS (RFC 7515 §3.1), read strictly. Follows RFC 8725: the key decides the algorithm, never the token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::algorithm::Algorithm;
use crate::json;
use crate::key::{KeyMark, KeySet};

/// A longer token is refused before any work is done for it.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// A longer `kid` names no key of anybody.
const MAX_KID_BYTES: usize = 256;

/// Why a text is not a JWS that these keys signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwsError {
    /// Longer than [`MAX_TOKEN_BYTES`].
    TooLong,
    /// Not three parts.
    Parts,
    /// A part is not base64url without padding, in its one spelling.
    Base64,
    /// The header is not a JSON object with unique members, or a member has the wrong type.
    Header,
    /// The header asks for something we do not follow: `crit`, `b64`, `zip`, or a key of its own (`jwk`, `jku`, `x5u`,
    /// `x5c`).
    Extension,
    /// No key of this name, or none that could be meant.
    UnknownKey,
    /// The header's `alg` is not the one the key is pinned to; `none` is among them.
    Algorithm,
    /// The signature does not verify.
    Signature,
}

impl std::error::Error for JwsError {}

impl std::fmt::Display for JwsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.why())
    }
}

impl JwsError {
    /// The same for the operator's records.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::TooLong => "the token is too long",
            Self::Parts => "a token has three parts",
            Self::Base64 => "a part of the token is not base64url",
            Self::Header => "the token's header is not valid",
            Self::Extension => "the token's header asks for an extension or brings its own key",
            Self::UnknownKey => "no known key fits the token",
            Self::Algorithm => "the token's algorithm is not its key's",
            Self::Signature => "the token's signature is not valid",
        }
    }
}

/// The parts of a token, decoded but not believed.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
    signature: Vec<u8>,
    signed: &'a [u8],
}

/// The members of a header that we read.
#[derive(Debug)]
pub(crate) struct Header {
    alg: Box<str>,
    pub(crate) kid: Option<Box<str>>,
    pub(crate) typ: Option<Box<str>>,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    pub(crate) fn parse(token: &'a str) -> Result<Self, JwsError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwsError::TooLong);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwsError::Parts);
        };
        let signed = &token.as_bytes()[..header.len() + 1 + payload.len()];
        Ok(Self {
            header: Header::parse(&decode(header)?)?,
            payload: decode(payload)?,
            signature: decode(signature)?,
            signed,
        })
    }

    /// Verifies the signature with the one key that is meant, and tells which that was.
    pub(crate) fn verify(&self, keys: &KeySet) -> Result<KeyMark, JwsError> {
        let (key, mark) = keys.find(self.header.kid.as_deref(), &self.header.alg)?;
        if !self.is_signed_by(key.algorithm()) {
            return Err(JwsError::Algorithm);
        }
        if !key.verifies(self.signed, &self.signature) {
            return Err(JwsError::Signature);
        }
        Ok(mark)
    }

    /// Whether the header names this algorithm.
    pub(crate) fn is_signed_by(&self, algorithm: Algorithm) -> bool {
        *self.header.alg == *algorithm.as_str()
    }
}

/// Verifies a compact JWS with a set of keys and gives its payload.
///
/// # Errors
/// [`JwsError`] says which rule it breaks; to a client all of them are one answer.
pub fn verify(token: &str, keys: &KeySet) -> Result<Vec<u8>, JwsError> {
    let parsed = Unverified::parse(token)?;
    parsed.verify(keys)?;
    Ok(parsed.payload)
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, JwsError> {
        let mut members = json::object(bytes).map_err(|_| JwsError::Header)?;
        // We implement no extension, so a `crit` is either unknown to us or empty, and both are errors (RFC 7515
        // §4.1.11). A key that the token brings along proves nothing about its issuer.
        for refused in ["crit", "b64", "zip", "jwk", "jku", "x5u", "x5c", "enc"] {
            if members.contains_key(refused) {
                return Err(JwsError::Extension);
            }
        }
        let mut text = |name: &str| match members.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.into_boxed_str())),
            Some(_) => Err(JwsError::Header),
        };
        let header = Self { alg: text("alg")?.ok_or(JwsError::Header)?, kid: text("kid")?, typ: text("typ")? };
        if header.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
            return Err(JwsError::UnknownKey);
        }
        Ok(header)
    }
}

/// base64url without padding and with zero trailing bits: one spelling for one value, or a token could be rewritten into
/// another text that verifies.
pub(crate) fn decode(part: &str) -> Result<Vec<u8>, JwsError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::Base64)
}

/// base64url without padding.
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The signing input of a token: its header and its payload.
pub(crate) fn signing_input(algorithm: Algorithm, kid: &str, typ: &str, payload: &[u8]) -> String {
    let header = serde_json::json!({ "alg": algorithm.as_str(), "kid": kid, "typ": typ });
    format!("{}.{}", encode(header.to_string()), encode(payload))
}

/// The length of the longest token that a payload of so many bytes makes, whatever its key.
#[must_use]
pub fn longest_token(algorithm: Algorithm, payload: usize) -> usize {
    // A key is named by its thumbprint, the base64url of a SHA-256.
    const KID: &str = "0123456789012345678901234567890123456789012";
    let signature = match algorithm {
        Algorithm::Hs256 => 32,
        Algorithm::Hs384 => 48,
        Algorithm::Hs512 | Algorithm::Es256 | Algorithm::EdDsa => 64,
        Algorithm::Es384 => 96,
        Algorithm::Es512 => 132,
        // The largest modulus that a key may have.
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => 8192 / 8,
    };
    let encoded = |bytes: usize| (bytes * 4).div_ceil(3);
    signing_input(algorithm, KID, "at+jwt", b"").len() + encoded(payload) + 1 + encoded(signature)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(json: &str) -> Result<Header, JwsError> {
        Header::parse(json.as_bytes())
    }

    #[test]
    fn t2_each_rule_has_its_own_answer() {
        let keys = KeySet::default();
        for (token, error) in [
            ("", JwsError::Parts),
            ("a.b", JwsError::Parts),
            ("a.b.c.d.e", JwsError::Parts),
            ("a.b.c", JwsError::Base64),
            ("eyJhbGciOiJFUzI1NiJ9.e30.e30=", JwsError::Base64),
            // 0x7b7d is "e30"; "e31" has the same bytes and other trailing bits.
            ("e31.e30.e30", JwsError::Base64),
            ("e3+.e30.e30", JwsError::Base64),
            ("e30.e30.e30", JwsError::Header),
            ("W10.e30.e30", JwsError::Header),
            ("eyJhbGciOiJFUzI1NiJ9.e30.", JwsError::UnknownKey),
        ] {
            assert_eq!(verify(token, &keys).unwrap_err(), error, "{token}");
        }
        assert_eq!(verify(&"a".repeat(MAX_TOKEN_BYTES + 1), &keys).unwrap_err(), JwsError::TooLong);
    }

    #[test]
    fn t2_header_members_are_read_once_and_by_their_type() {
        assert!(header(r#"{"alg":"ES256","kid":"k","typ":"JWT","cty":"x","x5t":"y","unknown":[1]}"#).is_ok());
        for (json, error) in [
            (r#"{"alg":"none","alg":"ES256"}"#, JwsError::Header),
            (r#"{"alg":"ES256","\u0061lg":"none"}"#, JwsError::Header),
            (r#"{"ALG":"ES256"}"#, JwsError::Header),
            (r#"{"alg":null}"#, JwsError::Header),
            (r#"{"alg":"ES256","kid":{}}"#, JwsError::Header),
            (r#"{"alg":"ES256","typ":1}"#, JwsError::Header),
            (r#"{"alg":"ES256","crit":["exp","exp"]}"#, JwsError::Extension),
            (r#"{"alg":"ES256","crit":null}"#, JwsError::Extension),
            (r#"{"alg":"ES256","b64":true}"#, JwsError::Extension),
            (r#"{"alg":"dir","enc":"A256GCM"}"#, JwsError::Extension),
        ] {
            assert_eq!(header(json).unwrap_err(), error, "{json}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,40}\\.?\\PC{0,40}\\.?\\PC{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Unverified::parse(&text);
            let _ = json::object(&bytes);
            let token = format!("{}.{}.{}", encode(&bytes), encode(&bytes), encode(&bytes));
            prop_assert!(verify(&token, &KeySet::default()).is_err());
        }

        #[test]
        fn base64url_has_one_spelling(text in "[A-Za-z0-9_-]{0,12}") {
            if let Ok(bytes) = decode(&text) {
                prop_assert_eq!(encode(bytes), text);
            }
        }
    }
}
