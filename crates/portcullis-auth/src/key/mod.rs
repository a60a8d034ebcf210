//! Keys: parsed once, pinned to one algorithm, ready to verify.

mod der;
mod import;
mod jwk;
mod roca;
mod set;
mod signing;

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256, digest};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use aws_lc_rs::{constant_time, hmac};

pub use import::ImportError;
pub use set::{KeySet, KeySource};
pub use signing::{SigningError, SigningKey};

use crate::algorithm::Algorithm;

/// A key that verifies signatures of exactly one algorithm (RFC 8725 §3.1).
#[derive(Clone, Debug)]
pub struct VerificationKey {
    kid: Option<Box<str>>,
    algorithm: Algorithm,
    material: Material,
    /// The public members of its JWK; `None` for a shared secret, which is never shown.
    public: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Tells keys apart; see [`VerificationKey::mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyMark([u8; 32]);

#[derive(Clone)]
enum Material {
    Secret(Arc<hmac::Key>),
    Public(Arc<ParsedPublicKey>),
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret(…)",
            Self::Public(_) => "Public(…)",
        })
    }
}

/// Why something is not a key we would trust.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a JWK or a JWK set, or a member is missing or has the wrong type.
    #[error("not a valid JWK: {0}")]
    Jwk(&'static str),
    /// Not PEM, or not a public key in it.
    #[error("not a PEM public key: {0}")]
    Pem(&'static str),
    /// A key for something else than signatures.
    #[error("the key is not for verifying signatures (use, key_ops)")]
    Use,
    /// The key's type or curve does not go with its algorithm.
    #[error("the key does not go with the algorithm {0}")]
    Mismatch(String),
    /// A curve we do not follow.
    #[error("\"{0}\" is not a supported curve")]
    Curve(String),
    /// An algorithm we do not follow.
    #[error("\"{0}\" is not a supported signature algorithm")]
    Algorithm(String),
    /// A key that could be broken.
    #[error("the key is too weak: {0}")]
    Weak(&'static str),
    /// The bytes are no key of their kind (a point off its curve, for example).
    #[error("the key's value is not valid")]
    Invalid,
    /// Two keys of one name.
    #[error("two keys have the kid \"{0}\"")]
    DuplicateKid(String),
    /// Shared secrets and public keys in one set.
    #[error("a set must not mix shared secrets and public keys")]
    MixedSet,
    /// A set without a usable key.
    #[error("the set has no key for signatures")]
    Empty,
}

impl VerificationKey {
    /// From a shared secret, for HS256, HS384 or HS512.
    ///
    /// # Errors
    /// [`KeyError::Weak`] for a secret shorter than the hash (RFC 7518 §3.2), [`KeyError::Mismatch`] for an algorithm
    /// that takes no secret.
    pub fn from_secret(algorithm: Algorithm, kid: Option<&str>, secret: &[u8]) -> Result<Self, KeyError> {
        let hash = match algorithm {
            Algorithm::Hs256 => hmac::HMAC_SHA256,
            Algorithm::Hs384 => hmac::HMAC_SHA384,
            Algorithm::Hs512 => hmac::HMAC_SHA512,
            other => return Err(KeyError::Mismatch(other.to_string())),
        };
        if secret.len() < hash.digest_algorithm().output_len() {
            return Err(KeyError::Weak("a shared secret must be at least as long as the hash"));
        }
        let material = Material::Secret(Arc::new(hmac::Key::new(hash, secret)));
        Ok(Self { kid: kid.map(Into::into), algorithm, material, public: None })
    }

    /// From a PEM public key (`-----BEGIN PUBLIC KEY-----`, RFC 7468 §13) for one algorithm.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with it.
    pub fn from_pem(algorithm: Algorithm, kid: Option<&str>, pem: &str) -> Result<Self, KeyError> {
        let der = der::from_pem(pem, "PUBLIC KEY").map_err(KeyError::Pem)?;
        Self::from_spki(algorithm, kid, &der)
    }

    /// From a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) for one algorithm.
    fn from_spki(algorithm: Algorithm, kid: Option<&str>, spki: &[u8]) -> Result<Self, KeyError> {
        let jwk = jwk::members_of_spki(algorithm, spki)?;
        let mut key = jwk::key_from_members(&jwk, Some(algorithm))?;
        key.kid = kid.map(Into::into);
        Ok(key)
    }

    /// From one JWK (RFC 7517), as text. A key without `alg` is pinned to `algorithm`, or to the only one its type
    /// allows.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with it.
    pub fn from_jwk(json: &str, algorithm: Option<Algorithm>) -> Result<Self, KeyError> {
        let members = crate::json::object(json.as_bytes()).map_err(|_| KeyError::Jwk("not a JSON object"))?;
        jwk::key_from_members(&members, algorithm)
    }

    fn from_public_bytes(
        algorithm: Algorithm,
        kid: Option<Box<str>>,
        bytes: &[u8],
        public: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, KeyError> {
        let verification = verification_of(algorithm).ok_or_else(|| KeyError::Mismatch(algorithm.to_string()))?;
        let parsed = ParsedPublicKey::new(verification, bytes).map_err(|_| KeyError::Invalid)?;
        Ok(Self { kid, algorithm, material: Material::Public(Arc::new(parsed)), public: Some(public) })
    }

    /// The key's name.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The same key under a name.
    #[must_use]
    pub fn named(mut self, kid: &str) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// The only algorithm it verifies.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether it is a shared secret.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(self.material, Material::Secret(_))
    }

    /// The JWK thumbprint of a public key (RFC 7638), base64url of SHA-256.
    #[must_use]
    pub fn thumbprint(&self) -> Option<String> {
        // A map without `alg`, `kid` and `use`, sorted by name and without white space, is what the RFC asks for.
        let canonical = serde_json::to_vec(&std::collections::BTreeMap::from_iter(self.public.as_ref()?)).ok()?;
        Some(crate::jws::encode(digest(&SHA256, &canonical)))
    }

    /// The key's mark: what it is, what it is called and what it verifies, in one hash. Equal marks mean the same key.
    fn mark(&self) -> KeyMark {
        let mut context = Context::new(&SHA256);
        context.update(self.algorithm.as_str().as_bytes());
        // A name of nothing and no name at all are two things.
        context.update(&[u8::from(self.kid.is_some())]);
        let kid = self.kid.as_deref().unwrap_or_default();
        context.update(&kid.len().to_be_bytes());
        context.update(kid.as_bytes());
        match &self.material {
            // A hash under the secret stands for it.
            Material::Secret(key) => context.update(hmac::sign(key, b"portcullis key mark").as_ref()),
            Material::Public(_) => context.update(self.thumbprint().unwrap_or_default().as_bytes()),
        }
        let mut mark = [0; 32];
        mark.copy_from_slice(context.finish().as_ref());
        KeyMark(mark)
    }

    /// The public key as PEM (`-----BEGIN PUBLIC KEY-----`, RFC 7468 §13), `None` for a shared secret.
    #[must_use]
    pub fn public_pem(&self) -> Option<String> {
        let Material::Public(key) = &self.material else { return None };
        Some(der::to_pem(key.as_der().ok()?.as_ref(), "PUBLIC KEY"))
    }

    /// The public JWK, `None` for a shared secret.
    fn public_jwk(&self) -> Option<serde_json::Value> {
        let mut members = self.public.clone()?;
        members.insert("alg".into(), self.algorithm.as_str().into());
        members.insert("use".into(), "sig".into());
        if let Some(kid) = &self.kid {
            members.insert("kid".into(), (**kid).into());
        }
        Some(members.into())
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => {
                let tag = hmac::sign(key, message);
                constant_time::verify_slices_are_equal(tag.as_ref(), signature).is_ok()
            }
            Material::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// The verification algorithm behind a name, `None` for those with a shared secret.
fn verification_of(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return None,
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
        Algorithm::EdDsa => &signature::ED25519,
    })
}
