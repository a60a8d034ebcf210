//! One certificate chain with its key, read from two files.

use std::path::Path;
use std::sync::Arc;

use portcullis_auth::certificate::CertificateText;
use portcullis_core::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::{Finding, PairFiles, Place};
use crate::config::Outside;
use crate::pem::{self, PemError};

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
        let chain = content(outside, Place::Cert(index), &files.cert, pem::certificates);
        let chain = chain.map_err(|finding| found.push(finding)).ok();
        let key = content(outside, Place::Key(index), &files.key, pem::private_key);
        let key = key.map_err(|finding| found.push(finding)).ok();
        if outside.is_world_readable(&files.key) {
            let message = format!("everyone on this machine may read the private key {}", files.key.display());
            let hint = "chmod 600, and a new key if strangers were here";
            found.push(Finding::warning(Place::Key(index), message).hint(hint));
        }
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

/// What a file holds, by the function that reads it.
fn content<T>(
    outside: &dyn Outside,
    place: Place,
    file: &Path,
    read: impl FnOnce(&[u8]) -> Result<T, PemError>,
) -> Result<T, Finding> {
    let name = file.display();
    let wrong = |why: String| Finding::error(place, why);
    let bytes = outside.read(file).map_err(|error| wrong(format!("cannot read {name}: {error}")))?;
    read(&Zeroizing::new(bytes)).map_err(|error| wrong(format!("{name} cannot be used: {error}")))
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
