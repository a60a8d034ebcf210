//! Keys that sign our own tokens.

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SystemRandom, fill};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair,
};
use portcullis_core::Secret;
use zeroize::Zeroizing;

use super::{KeyError, VerificationKey, der};
use crate::algorithm::Algorithm;
use crate::jws;

/// A private key with its name and its one algorithm.
pub struct SigningKey {
    kid: Box<str>,
    algorithm: Algorithm,
    material: Material,
    verification: VerificationKey,
}

enum Material {
    Secret(Box<hmac::Key>, Secret<Vec<u8>>),
    Ecdsa(EcdsaKeyPair, Secret<Vec<u8>>),
    Ed25519(Ed25519KeyPair, Secret<Vec<u8>>),
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding, Secret<Vec<u8>>),
}

/// Why a key cannot be made or cannot sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The bytes are no private key for the algorithm.
    #[error("not a private key for {0}")]
    NotAKey(Algorithm),
    /// The key would not be trusted by a verifier.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The cryptographic library failed, for want of randomness for example.
    #[error("the cryptographic library failed")]
    Library,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes a new key: 2048 bits for RSA, as long as the hash for a shared secret.
    ///
    /// # Errors
    /// [`SigningError::Library`] for want of randomness.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SigningError> {
        use Algorithm::{EdDsa, Es256, Es384, Es512, Hs256, Hs384, Hs512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        let library = |_| SigningError::Library;
        // Each branch makes the only copy that this function holds; it is wiped on the way out.
        let bytes = Zeroizing::new(match algorithm {
            Hs256 | Hs384 | Hs512 => {
                let mut secret = vec![0; secret_len(algorithm)];
                fill(&mut secret).map_err(library)?;
                secret
            }
            Es256 | Es384 | Es512 => {
                let pair = EcdsaKeyPair::generate(ecdsa_of(algorithm)).map_err(library)?;
                pair.to_pkcs8v1().map_err(library)?.as_ref().to_vec()
            }
            EdDsa => Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()).map_err(library)?.as_ref().to_vec(),
            Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(library)?;
                pair.as_der().map_err(library)?.as_ref().to_vec()
            }
        });
        Self::from_private(algorithm, &bytes)
    }

    /// From a private key: PKCS#8 DER (RFC 5208), or the bytes of a shared secret.
    ///
    /// # Errors
    /// [`SigningError::NotAKey`] where the bytes are none, [`SigningError::Key`] where it is too weak.
    pub fn from_private(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, SigningError> {
        use Algorithm::{EdDsa, Es256, Es384, Es512, Hs256, Hs384, Hs512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        let not_a_key = |_| SigningError::NotAKey(algorithm);
        let private = Secret::new(bytes.to_vec());
        let (material, verification) = match algorithm {
            Hs256 | Hs384 | Hs512 => {
                let verification = VerificationKey::from_secret(algorithm, None, bytes)?;
                let hash = match algorithm {
                    Hs256 => hmac::HMAC_SHA256,
                    Hs384 => hmac::HMAC_SHA384,
                    _ => hmac::HMAC_SHA512,
                };
                (Material::Secret(Box::new(hmac::Key::new(hash, bytes)), private), verification)
            }
            Es256 | Es384 | Es512 => {
                let pair = EcdsaKeyPair::from_pkcs8(ecdsa_of(algorithm), bytes).map_err(not_a_key)?;
                let spki = pair.public_key().as_der().map_err(|_| SigningError::Library)?;
                let verification = VerificationKey::from_spki(algorithm, None, spki.as_ref())?;
                (Material::Ecdsa(pair, private), verification)
            }
            EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(bytes).map_err(not_a_key)?;
                let spki = pair.public_key().as_der().map_err(|_| SigningError::Library)?;
                let verification = VerificationKey::from_spki(algorithm, None, spki.as_ref())?;
                (Material::Ed25519(pair, private), verification)
            }
            Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => {
                let pair = RsaKeyPair::from_pkcs8(bytes).map_err(not_a_key)?;
                let spki = pair.public_key().as_der().map_err(|_| SigningError::Library)?;
                let verification = VerificationKey::from_spki(algorithm, None, spki.as_ref())?;
                (Material::Rsa(Box::new(pair), rsa_of(algorithm), private), verification)
            }
        };
        // A secret has no public half to take a thumbprint of; its name is a hash under itself. That tells no more than any
        // token signed with it does, and the name need not be stored beside the secret.
        let kid = match verification.thumbprint() {
            Some(thumbprint) => thumbprint,
            None => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
                jws::encode(&hmac::sign(&key, b"portcullis kid").as_ref()[..16])
            }
        };
        Ok(Self { verification: verification.named(&kid), kid: kid.into(), algorithm, material })
    }

    /// From a PEM private key in PKCS#8 form (`-----BEGIN PRIVATE KEY-----`, RFC 7468 §10).
    ///
    /// # Errors
    /// As [`SigningKey::from_private`].
    pub fn from_pem(algorithm: Algorithm, pem: &str) -> Result<Self, SigningError> {
        let der = der::from_pem(pem, "PRIVATE KEY").map_err(KeyError::Pem)?;
        Self::from_private(algorithm, &der)
    }

    /// The private key as [`SigningKey::from_private`] takes it.
    #[must_use]
    pub const fn private(&self) -> &Secret<Vec<u8>> {
        match &self.material {
            Material::Secret(_, private)
            | Material::Ecdsa(_, private)
            | Material::Ed25519(_, private)
            | Material::Rsa(_, _, private) => private,
        }
    }

    /// The key's name: the thumbprint of RFC 7638 for a key pair.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its one algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub const fn verification_key(&self) -> &VerificationKey {
        &self.verification
    }

    /// Signs claims (JSON) into a compact token with this `typ`.
    ///
    /// # Errors
    /// [`SigningError::Library`] for want of randomness.
    pub fn sign(&self, typ: &str, claims: &[u8]) -> Result<String, SigningError> {
        let mut token = jws::signing_input(self.algorithm, &self.kid, typ, claims);
        let message = token.as_bytes();
        let signature = match &self.material {
            Material::Secret(key, _) => jws::encode(hmac::sign(key, message)),
            Material::Ecdsa(pair, _) => {
                jws::encode(pair.sign(&SystemRandom::new(), message).map_err(|_| SigningError::Library)?)
            }
            Material::Ed25519(pair, _) => jws::encode(pair.sign(message)),
            Material::Rsa(pair, encoding, _) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| SigningError::Library)?;
                jws::encode(signature)
            }
        };
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }
}

const fn secret_len(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Hs384 => 48,
        Algorithm::Hs512 => 64,
        _ => 32,
    }
}

pub(super) fn ecdsa_of(algorithm: Algorithm) -> &'static EcdsaSigningAlgorithm {
    match algorithm {
        Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        Algorithm::Es512 => &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
        _ => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
    }
}

fn rsa_of(algorithm: Algorithm) -> &'static dyn RsaEncoding {
    match algorithm {
        Algorithm::Rs384 => &signature::RSA_PKCS1_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_SHA512,
        _ => &signature::RSA_PKCS1_SHA256,
    }
}
