//! Compact JWS (RFC 7515 §3.1), read strictly. Follows RFC 8725: the key decides the algorithm, never the token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::algorithm::Algorithm;
use crate::json;
use crate::key::{KeySet, VerificationKey};

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

    /// Verifies the signature with the one key that is meant, and gives the payload.
    pub(crate) fn verify(self, keys: &KeySet) -> Result<Vec<u8>, JwsError> {
        let key = keys.find(self.header.kid.as_deref(), &self.header.alg)?;
        self.verify_with(key)
    }

    /// Whether the header names this algorithm.
    pub(crate) fn is_signed_by(&self, algorithm: Algorithm) -> bool {
        *self.header.alg == *algorithm.as_str()
    }

    fn verify_with(self, key: &VerificationKey) -> Result<Vec<u8>, JwsError> {
        if !self.is_signed_by(key.algorithm()) {
            return Err(JwsError::Algorithm);
        }
        if !key.verifies(self.signed, &self.signature) {
            return Err(JwsError::Signature);
        }
        Ok(self.payload)
    }
}

/// Verifies a compact JWS with a set of keys and gives its payload.
///
/// # Errors
/// [`JwsError`] says which rule it breaks; to a client all of them are one answer.
pub fn verify(token: &str, keys: &KeySet) -> Result<Vec<u8>, JwsError> {
    Unverified::parse(token)?.verify(keys)
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
