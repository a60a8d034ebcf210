//! Whose word about clients is believed: authorities, the lists of what they have revoked, and the rules by which a
//! certificate's name becomes a principal.

use std::path::PathBuf;
use std::sync::Arc;

use portcullis_auth::certificate::{CertificateRules, CertificateText, next_update};
use portcullis_core::{Principal, Timestamp};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertRevocationListError, CertificateError, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};

use super::{Finding, Place};
use crate::config::Outside;
use crate::pem;

/// How clients prove themselves by certificates, and where the files for it are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPlan {
    /// The authorities that vouch for clients, as PEM.
    pub ca: PathBuf,
    /// What they have revoked, as PEM or DER. Empty: nothing is.
    pub crls: Vec<PathBuf>,
    /// Whether nobody gets in without a certificate.
    pub required: bool,
    /// Whose certificates are whose.
    pub rules: CertificateRules,
}

/// What a client's certificate is judged by.
#[derive(Debug)]
pub(crate) struct ClientTrust {
    verifier: Arc<dyn ClientCertVerifier>,
    rules: CertificateRules,
    required: bool,
}

impl ClientTrust {
    /// Loads what the plan says; `None` where a finding says why it cannot be.
    pub(super) fn load(
        outside: &dyn Outside,
        plan: &ClientPlan,
        provider: &Arc<CryptoProvider>,
        now: Timestamp,
        found: &mut Vec<Finding>,
    ) -> Option<Self> {
        let roots = authorities(outside, plan, now, found);
        let roots = roots.map_err(|why| found.push(Finding::error(Place::Ca, why))).ok();
        let lists = lists(outside, plan, now, found);
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots?), Arc::clone(provider))
            .with_crls(lists?)
            // A list that should have been replaced long ago may hide what was revoked since (RFC 5280 §6.3.3).
            .enforce_revocation_expiration();
        if !plan.required {
            builder = builder.allow_unauthenticated();
        }
        match builder.build() {
            Ok(verifier) => Some(Self { verifier, rules: plan.rules.clone(), required: plan.required }),
            Err(error) => {
                let place =
                    if matches!(error, VerifierBuilderError::InvalidCrl(_)) { Place::Crl(0) } else { Place::Ca };
                let message = match &error {
                    VerifierBuilderError::InvalidCrl(CertRevocationListError::ParseError) => {
                        "a revocation list cannot be read".to_owned()
                    }
                    error => format!("certificates of clients cannot be verified: {error}"),
                };
                found.push(Finding::error(place, message));
                None
            }
        }
    }

    pub(super) const fn verifier(&self) -> &Arc<dyn ClientCertVerifier> {
        &self.verifier
    }

    /// Whether nobody gets in without a certificate.
    pub(crate) const fn is_required(&self) -> bool {
        self.required
    }

    /// Judges a chain with everything that is known now, the client's own certificate first.
    ///
    /// # Errors
    /// Why it proves nothing, for the operator.
    pub(crate) fn judge(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<Arc<Principal>, &'static str> {
        let (own, others) = chain.split_first().ok_or("there is no client certificate")?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.as_secs()));
        self.verifier.verify_client_cert(own, others, now).map_err(|error| in_words(&error))?;
        self.identify(own)
    }

    /// Who holds a certificate that was verified a moment ago.
    ///
    /// # Errors
    /// Why it is nobody, for the operator.
    pub(crate) fn identify(&self, own: &CertificateDer<'_>) -> Result<Arc<Principal>, &'static str> {
        let text = CertificateText::read(own).map_err(|_| "the client certificate cannot be read")?;
        self.rules.principal(&text).map(Arc::new)
    }
}

fn in_words(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Revoked) => "the client certificate was revoked",
        rustls::Error::InvalidCertificate(
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. },
        ) => "the revocation list of the client certificate's authority has expired",
        rustls::Error::InvalidCertificate(CertificateError::UnknownRevocationStatus) => {
            "no revocation list is about the client certificate"
        }
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the client certificate has expired"
        }
        _ => "the client certificate is not believed (any more)",
    }
}

/// The authorities in the file.
///
/// # Errors
/// Why nobody can be believed by it; nobody must be let in for that.
fn authorities(
    outside: &dyn Outside,
    plan: &ClientPlan,
    now: Timestamp,
    found: &mut Vec<Finding>,
) -> Result<RootCertStore, String> {
    let name = plan.ca.display();
    let bytes = outside.read(&plan.ca).map_err(|error| format!("cannot read {name}: {error}"))?;
    let certificates = pem::certificates(&bytes).map_err(|error| format!("{name} cannot be used: {error}"))?;
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(certificates) {
        let text = CertificateText::read(&certificate)
            .map_err(|error| format!("certificate {number} in {name} cannot be used: {error}"))?;
        if !text.is_authority {
            return Err(format!(
                "certificate {number} in {name} is not an authority's: it may sign no others (RFC 5280)"
            ));
        }
        if text.not_after <= now {
            let when = text.not_after.to_rfc3339();
            found.push(
                Finding::warning(Place::Ca, format!("authority {number} in {name} expired at {when}"))
                    .hint("it is not believed any more"),
            );
            continue;
        }
        roots.add(certificate).map_err(|error| format!("certificate {number} in {name} cannot be used: {error}"))?;
    }
    if roots.is_empty() { Err(format!("every authority in {name} has expired")) } else { Ok(roots) }
}

fn lists(
    outside: &dyn Outside,
    plan: &ClientPlan,
    now: Timestamp,
    found: &mut Vec<Finding>,
) -> Option<Vec<CertificateRevocationListDer<'static>>> {
    let mut all = Vec::new();
    for (index, file) in plan.crls.iter().enumerate() {
        let name = file.display();
        let wrong = |message: String| Finding::error(Place::Crl(index), message);
        let bytes = match outside.read(file) {
            Ok(bytes) => bytes,
            Err(error) => {
                found.push(wrong(format!("cannot read {name}: {error}")));
                return None;
            }
        };
        let lists = if bytes.first() == Some(&SEQUENCE) {
            vec![CertificateRevocationListDer::from(bytes)]
        } else {
            let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
            lists.unwrap_or_default()
        };
        if lists.is_empty() {
            found.push(
                wrong(format!("there is no revocation list in {name}"))
                    .hint("it must hold \"-----BEGIN X509 CRL-----\""),
            );
            return None;
        }
        for list in &lists {
            if let Some(due) = next_update(list).filter(|due| *due <= now) {
                let message = format!("the revocation list {name} expired at {}", due.to_rfc3339());
                let hint = "no certificate of its authority is believed until there is a new one";
                found.push(Finding::warning(Place::Crl(index), message).hint(hint));
            }
        }
        all.extend(lists);
    }
    Some(all)
}

/// The first byte of anything in DER that is not one value (X.690 §8.9).
const SEQUENCE: u8 = 0x30;
