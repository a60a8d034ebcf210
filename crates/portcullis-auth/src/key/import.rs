//! A private key of a file, as other programs write it: PKCS#8 (RFC 5208), SEC 1 (RFC 5915) or PKCS#1 (RFC 8017) in PEM.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{EcdsaKeyPair, RsaKeyPair};
use zeroize::Zeroizing;

use super::signing::ecdsa_of;
use super::{KeyError, SigningError, SigningKey, der, jwk};
use crate::algorithm::Algorithm;

/// Why a PEM text is no key to sign with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// A passphrase is needed, and there is nobody to ask.
    #[error(
        "the private key is encrypted; write it without a passphrase, `openssl pkey -in FILE -out plain.pem` with umask \
         077, import that and delete it"
    )]
    Encrypted,
    /// Nothing that could sign.
    #[error("this is a public key or a certificate; to sign, the private key is needed")]
    Public,
    /// OpenSSH's own form.
    #[error(
        "this key is in OpenSSH's own form; `ssh-keygen -p -m PKCS8 -f COPY` rewrites a copy of it, or make a new one with \
         `openssl genpkey`"
    )]
    OpenSsh,
    /// No PEM block with a private key, or several.
    #[error("not one private key in PEM: {0}")]
    Pem(&'static str),
    /// A key for another algorithm.
    #[error("this is {found}, which cannot sign with {wanted}, the algorithm of [tokens]")]
    Kind {
        /// What it is.
        found: &'static str,
        /// What it should be for.
        wanted: Algorithm,
    },
    /// The right kind, but broken or of the wrong size.
    #[error("the private key cannot be used: {0}")]
    Unusable(&'static str),
    /// A verifier would not trust it.
    #[error("the private key must not be used: {0}")]
    Weak(KeyError),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Library,
}

/// The families of keys that sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    Ec,
    Ed25519,
    Other,
}

impl Kind {
    const fn of(algorithm: Algorithm) -> Self {
        use Algorithm::{EdDsa, Es256, Es384, Es512, Hs256, Hs384, Hs512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match algorithm {
            Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => Self::Rsa,
            Es256 | Es384 | Es512 => Self::Ec,
            EdDsa => Self::Ed25519,
            Hs256 | Hs384 | Hs512 => Self::Other,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Rsa => "an RSA key",
            Self::Ec => "an elliptic-curve key",
            Self::Ed25519 => "an Ed25519 key",
            Self::Other => "a key of another kind",
        }
    }

    const fn unusable(self) -> ImportError {
        ImportError::Unusable(match self {
            Self::Rsa => "an RSA key has 2048 to 8192 bits and numbers that fit together",
            Self::Ec => "it is broken, or lies on another curve than that of the algorithm",
            Self::Ed25519 | Self::Other => "it is broken",
        })
    }
}

impl SigningKey {
    /// From the PEM text of a private key.
    ///
    /// # Errors
    /// [`ImportError`] says what it is instead, and what to do about it.
    pub fn import(algorithm: Algorithm, pem: &str) -> Result<Self, ImportError> {
        let has = |label: &str| pem.contains(&format!("-----BEGIN {label}-----"));
        if has("ENCRYPTED PRIVATE KEY") || pem.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(ImportError::Encrypted);
        }
        let labels = ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"];
        let mut found = labels.into_iter().filter(|label| has(label));
        let (label, kind, der) = match (found.next(), found.next()) {
            (Some(label), None) => {
                let der = der::from_pem(pem, label).map_err(ImportError::Pem)?;
                let kind = match label {
                    "EC PRIVATE KEY" => Kind::Ec,
                    "RSA PRIVATE KEY" => Kind::Rsa,
                    _ => kind_of_pkcs8(&der),
                };
                (label, kind, der)
            }
            (Some(_), Some(_)) => return Err(ImportError::Pem("the file holds several keys")),
            (None, _) if has("OPENSSH PRIVATE KEY") => return Err(ImportError::OpenSsh),
            (None, _) if has("PUBLIC KEY") || has("RSA PUBLIC KEY") || has("CERTIFICATE") => {
                return Err(ImportError::Public);
            }
            (None, _) => return Err(ImportError::Pem("there is no private key in it")),
        };
        let wanted = Kind::of(algorithm);
        if kind != wanted || wanted == Kind::Other {
            return Err(ImportError::Kind { found: kind.name(), wanted: algorithm });
        }
        let library = |_| ImportError::Library;
        // Stored keys have one form, PKCS#8.
        let pkcs8 = match label {
            "EC PRIVATE KEY" => {
                let pair =
                    EcdsaKeyPair::from_private_key_der(ecdsa_of(algorithm), &der).map_err(|_| kind.unusable())?;
                Zeroizing::new(pair.to_pkcs8v1().map_err(library)?.as_ref().to_vec())
            }
            "RSA PRIVATE KEY" => {
                let pair = RsaKeyPair::from_der(&der).map_err(|_| kind.unusable())?;
                Zeroizing::new(pair.as_der().map_err(library)?.as_ref().to_vec())
            }
            _ => der,
        };
        let key = Self::from_private(algorithm, &pkcs8).map_err(|error| match error {
            SigningError::NotAKey(_) => kind.unusable(),
            SigningError::Key(error) => ImportError::Weak(error),
            SigningError::Library => ImportError::Library,
        })?;
        // A key whose halves do not fit together would make tokens that nobody accepts.
        if key.signs_what_it_verifies() { Ok(key) } else { Err(kind.unusable()) }
    }

    fn signs_what_it_verifies(&self) -> bool {
        let Ok(token) = self.sign("JWT", b"{}") else { return false };
        let Some((message, signature)) = token.rsplit_once('.') else { return false };
        crate::jws::decode(signature)
            .is_ok_and(|signature| self.verification_key().verifies(message.as_bytes(), &signature))
    }
}

/// The family that a PrivateKeyInfo (RFC 5208 §5) names.
fn kind_of_pkcs8(mut der: &[u8]) -> Kind {
    let mut read = || {
        let mut inside = der::take(&mut der, der::SEQUENCE)?;
        der::take(&mut inside, der::INTEGER)?;
        let mut algorithm = der::take(&mut inside, der::SEQUENCE)?;
        der::take(&mut algorithm, der::OBJECT_IDENTIFIER)
    };
    match read() {
        Some(jwk::RSA) => Kind::Rsa,
        Some(jwk::EC) => Kind::Ec,
        Some(jwk::ED25519) => Kind::Ed25519,
        _ => Kind::Other,
    }
}
