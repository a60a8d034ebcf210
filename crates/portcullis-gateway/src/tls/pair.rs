//! One certificate chain with its key, read from two files.

use std::sync::Arc;

use portcullis_auth::certificate::CertificateText;
use portcullis_core::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Finding, PairFiles, Place};
use crate::config::Outside;

/// A pair that fits together.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    /// The names that it is good for.
    pub(super) names: Vec<Box<str>>,
    pub(super) expires: Timestamp,
}

impl Pair {
    /// Reads a pair; `None` where a finding says why there is none.
    pub(super) fn load(
        outside: &dyn Outside,
        index: usize,
        files: &PairFiles,
        provider: &CryptoProvider,
        now: Timestamp,
        found: &mut Vec<Finding>,
    ) -> Option<Self> {
        let chain = chain(outside, index, files, found);
        let key = key(outside, index, files, found);
        let chain = chain?;
        let text = match CertificateText::read(chain.first()?) {
            Ok(text) => text,
            Err(error) => {
                found.push(Finding::error(Place::Cert(index), format!("{}: {error}", files.cert.display())));
                return None;
            }
        };
        judge_time(index, files, &text, now, found);
        if text.dns.is_empty() {
            let message = format!("{} names no host", files.cert.display());
            found
                .push(Finding::warning(Place::Cert(index), message).hint(
                    "browsers go by the alternative names of a certificate (subjectAltName), not by its subject",
                ));
        }
        match CertifiedKey::from_der(chain, key?, provider) {
            Ok(certified) => Some(Self { key: Arc::new(certified), names: text.dns, expires: text.not_after }),
            Err(rustls::Error::InconsistentKeys(_)) => {
                let message = format!("the key in {} is not the key of {}", files.key.display(), files.cert.display());
                let hint = "the file of the certificate must begin with the server's own certificate, before those that signed it";
                found.push(Finding::error(Place::Key(index), message).hint(hint));
                None
            }
            Err(error) => {
                let message = format!("the key in {} cannot be used: {error}", files.key.display());
                let hint = "ECDSA with P-256, P-384 or P-521, Ed25519, or RSA with 2048 bits or more";
                found.push(Finding::error(Place::Key(index), message).hint(hint));
                None
            }
        }
    }
}

fn chain(
    outside: &dyn Outside,
    index: usize,
    files: &PairFiles,
    found: &mut Vec<Finding>,
) -> Option<Vec<CertificateDer<'static>>> {
    let mut wrong = |message: String, hint| {
        let finding = Finding::error(Place::Cert(index), message);
        found.push(Finding { hint, ..finding });
        None
    };
    let name = files.cert.display();
    let bytes = match outside.read(&files.cert) {
        Ok(bytes) => bytes,
        Err(error) => return wrong(format!("cannot read {name}: {error}"), None),
    };
    match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(chain) if chain.is_empty() => {
            let hint = "it must hold at least one \"-----BEGIN CERTIFICATE-----\"";
            wrong(format!("there is no certificate in {name}"), Some(hint))
        }
        Ok(chain) => Some(chain),
        Err(error) => wrong(format!("{name} is not PEM: {error}"), None),
    }
}

fn key(
    outside: &dyn Outside,
    index: usize,
    files: &PairFiles,
    found: &mut Vec<Finding>,
) -> Option<PrivateKeyDer<'static>> {
    let name = files.key.display();
    let bytes = match outside.read(&files.key) {
        Ok(bytes) => zeroize::Zeroizing::new(bytes),
        Err(error) => {
            found.push(Finding::error(Place::Key(index), format!("cannot read {name}: {error}")));
            return None;
        }
    };
    if outside.is_world_readable(&files.key) {
        let message = format!("everyone on this machine may read the private key {name}");
        found
            .push(Finding::warning(Place::Key(index), message).hint("chmod 600, and a new key if strangers were here"));
    }
    if let Ok(key) = PrivateKeyDer::from_pem_slice(&bytes) {
        return Some(key);
    }
    let is_encrypted = bytes.windows(9).any(|part| part == b"ENCRYPTED");
    let finding = if is_encrypted {
        Finding::error(Place::Key(index), format!("the private key {name} is encrypted"))
            .hint("nobody can type its password at every start: decrypt it (openssl pkey -in … -out …) and chmod 600")
    } else {
        Finding::error(Place::Key(index), format!("there is no private key in {name}"))
            .hint("it must hold \"-----BEGIN PRIVATE KEY-----\", \"RSA PRIVATE KEY\" or \"EC PRIVATE KEY\" as PEM")
    };
    found.push(finding);
    None
}

/// A certificate at the wrong time does not stop the gate: who renews it needs a gate that takes the new one.
fn judge_time(index: usize, files: &PairFiles, text: &CertificateText, now: Timestamp, found: &mut Vec<Finding>) {
    let name = files.cert.display();
    let message = if text.not_after <= now {
        format!("the certificate {name} expired at {}", text.not_after.to_rfc3339())
    } else if text.not_before > now {
        format!("the certificate {name} is not valid before {}", text.not_before.to_rfc3339())
    } else {
        return;
    };
    found.push(Finding::warning(Place::Cert(index), message).hint("clients will refuse it"));
}
