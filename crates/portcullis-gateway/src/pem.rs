//! Certificates and private keys as they lie in files (PEM, RFC 7468), for every side of TLS.
//!
//! What a file must hold is said where it is read, and a file that holds something else is refused with the reason: a CA
//! file without a certificate, for one, must never mean that everybody is trusted, nor that nobody can be.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, InconsistentKeys, RootCertStore};

/// Why the contents of a file are not what they should be.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum PemError {
    /// There is no certificate in it.
    #[error("there is no certificate in it (\"-----BEGIN CERTIFICATE-----\")")]
    NoCertificate,
    /// There is no private key in it.
    #[error("there is no private key in it (\"-----BEGIN PRIVATE KEY-----\")")]
    NoKey,
    /// There is more than one private key in it, and nobody can say which is meant.
    #[error("there is more than one private key in it")]
    SeveralKeys,
    /// The private key asks for a passphrase.
    #[error("the private key is encrypted; `openssl pkey -in KEY -out PLAIN` takes the passphrase off")]
    EncryptedKey,
    /// The text between the lines is not what PEM says.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The certificate with this number, from one, cannot be read.
    #[error("certificate {0} in it cannot be read: {1}")]
    Unreadable(usize, rustls::Error),
    /// The private key is of a kind that is not used.
    #[error("the private key cannot be used: {0}")]
    UnusableKey(rustls::Error),
    /// The private key belongs to another certificate.
    #[error("the private key does not belong to the first certificate")]
    OtherKey,
}

/// The cryptography of every TLS configuration here. It is named wherever one is made, as a process may have several.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The certificates in a file, in its order; at least one.
///
/// # Errors
/// Where there is none, or the file is damaged.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    some(text, PemError::NoCertificate)
}

/// The certificates in a file as authorities that are trusted; at least one.
///
/// # Errors
/// Where there is none, one cannot be read, or the file is damaged.
pub(crate) fn roots(text: &[u8]) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in certificates(text)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| PemError::Unreadable(number + 1, error))?;
    }
    Ok(roots)
}

/// The one private key in a file.
///
/// # Errors
/// Where there is none or more than one, it is encrypted, or the file is damaged.
pub(crate) fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    // Both spellings: PKCS #8 (RFC 7468 section 11), and the header of RFC 1421 that OpenSSL still writes.
    if [&b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..], b"Proc-Type: 4,ENCRYPTED"]
        .into_iter()
        .any(|mark| text.windows(mark.len()).any(|window| window == mark))
    {
        return Err(PemError::EncryptedKey);
    }
    let mut keys = some(text, PemError::NoKey)?;
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key),
        (Some(_), false) => Err(PemError::SeveralKeys),
        (None, _) => Err(PemError::NoKey),
    }
}

/// A certificate with those that vouch for it, and the private key that belongs to it.
///
/// # Errors
/// Where one of the files is not what it should be, or the two do not belong together.
pub(crate) fn certified_key(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, PemError> {
    let (chain, key) = (certificates(chain)?, private_key(key)?);
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => PemError::OtherKey,
        rustls::Error::InvalidCertificate(_) => PemError::Unreadable(1, error),
        error => PemError::UnusableKey(error),
    })
}

/// Everything of one kind in a file, or `none` where there is nothing of it.
fn some<T: PemObject>(text: &[u8], none: PemError) -> Result<Vec<T>, PemError> {
    let found: Vec<T> = T::pem_slice_iter(text).collect::<Result<_, _>>().map_err(damaged)?;
    if found.is_empty() { Err(none) } else { Ok(found) }
}

/// What is wrong with a file, without a byte of it: it may hold a key.
fn damaged(error: pem::Error) -> PemError {
    let why = match error {
        pem::Error::MissingSectionEnd { .. } => "a \"-----BEGIN …-----\" has no \"-----END …-----\"",
        pem::Error::IllegalSectionStart { .. } => "a line that begins with \"-----BEGIN\" is not whole",
        pem::Error::Base64Decode(_) => "what stands between the lines is not base64",
        _ => "it is not PEM",
    };
    PemError::Damaged(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_and_its_key_are_read() {
        let (certificate, key) = pair();
        assert_eq!(certified_key(certificate.as_bytes(), key.as_bytes()).unwrap().cert.len(), 1);
        assert_eq!(roots(certificate.repeat(2).as_bytes()).unwrap().len(), 2);
        // Many tools write both into one file.
        let both = format!("{key}\n{certificate}");
        assert!(certified_key(both.as_bytes(), both.as_bytes()).is_ok());
    }

    #[test]
    fn h6_a_file_without_a_certificate_is_nobodys_authority() {
        let (_, key) = pair();
        for text in ["", "\n", "-----BEGIN NOTHING-----\n-----END NOTHING-----\n", &key] {
            assert_eq!(roots(text.as_bytes()).unwrap_err(), PemError::NoCertificate, "{text:?}");
        }
        let text = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(roots(text), Err(PemError::Unreadable(1, _))));
    }

    #[test]
    fn h6_a_key_of_another_certificate_is_refused() {
        let ((certificate, _), (_, other)) = (pair(), pair());
        assert_eq!(certified_key(certificate.as_bytes(), other.as_bytes()).unwrap_err(), PemError::OtherKey);
    }

    #[test]
    fn a_key_that_cannot_be_used_is_told_apart() {
        let (certificate, key) = pair();
        let wrong = |text: &str| private_key(text.as_bytes()).unwrap_err();
        assert_eq!(wrong(&certificate), PemError::NoKey);
        assert_eq!(wrong(&key.repeat(2)), PemError::SeveralKeys);
        assert_eq!(wrong(&key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")), PemError::EncryptedKey);
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
                   -----END RSA PRIVATE KEY-----\n";
        assert_eq!(wrong(old), PemError::EncryptedKey);
        assert!(matches!(wrong("-----BEGIN PRIVATE KEY-----\nAAAA\n"), PemError::Damaged(_)));
        let text = wrong("-----BEGIN PRIVATE KEY-----\n!secret!\n-----END PRIVATE KEY-----\n").to_string();
        assert!(text.contains("base64") && !text.contains("secret"), "{text}");
    }
}
