//! What an X.509 certificate says (RFC 5280). Whether it may be believed is another question, which TLS answers: nothing
//! here looks at a signature.

use portcullis_core::Timestamp;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

/// What one certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateText {
    /// The DNS names among its alternative names, in lower case, without a final dot.
    pub dns: Vec<Box<str>>,
    /// The URIs among them.
    pub uris: Vec<Box<str>>,
    /// The mail addresses among them.
    pub emails: Vec<Box<str>>,
    /// The common names of its subject.
    pub common_names: Vec<Box<str>>,
    /// From when on it is good.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// Whether it may sign other certificates (RFC 5280 §4.2.1.9).
    pub is_authority: bool,
    /// Whether its key may sign certificates or revocation lists (RFC 5280 §4.2.1.3).
    pub signs_others: bool,
}

/// Why a certificate cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a valid X.509 certificate")]
pub struct InvalidCertificate;

impl CertificateText {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`InvalidCertificate`] where it is not one, where something stands behind it, or where a part that is read here is
    /// not as RFC 5280 has it.
    pub fn read(der: &[u8]) -> Result<Self, InvalidCertificate> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| InvalidCertificate)?;
        if !rest.is_empty() {
            return Err(InvalidCertificate);
        }
        let validity = certificate.validity();
        let mut text = Self {
            dns: Vec::new(),
            uris: Vec::new(),
            emails: Vec::new(),
            common_names: Vec::new(),
            not_before: moment(validity.not_before.timestamp()),
            not_after: moment(validity.not_after.timestamp()),
            is_authority: certificate
                .basic_constraints()
                .map_err(|_| InvalidCertificate)?
                .is_some_and(|found| found.value.ca),
            signs_others: certificate
                .key_usage()
                .map_err(|_| InvalidCertificate)?
                .is_some_and(|found| found.value.key_cert_sign() || found.value.crl_sign()),
        };
        // A name that cannot be read as text is a name that somebody else may read otherwise.
        for name in certificate.subject().iter_common_name() {
            text.common_names.push(name.as_str().map_err(|_| InvalidCertificate)?.into());
        }
        let mut seen = false;
        for extension in certificate.iter_extensions() {
            if extension.oid != OID_X509_EXT_SUBJECT_ALT_NAME {
                continue;
            }
            let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
                return Err(InvalidCertificate);
            };
            // RFC 5280 §4.2: no extension stands twice.
            if std::mem::replace(&mut seen, true) {
                return Err(InvalidCertificate);
            }
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(name) => text.dns.push(plain_name(name).into()),
                    GeneralName::URI(uri) => text.uris.push((*uri).into()),
                    GeneralName::RFC822Name(mail) => text.emails.push((*mail).into()),
                    GeneralName::Invalid(..) => return Err(InvalidCertificate),
                    _ => {}
                }
            }
        }
        Ok(text)
    }
}

/// A DNS name as names are compared: in lower case, without the dot of the root.
#[must_use]
pub fn plain_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// When the next issue of a revocation list in DER is due; `None` where it does not say or is not one.
#[must_use]
pub fn next_update(der: &[u8]) -> Option<Timestamp> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    list.next_update().map(|at| moment(at.timestamp()))
}

fn moment(seconds: i64) -> Timestamp {
    // What ended before 1970 has ended.
    Timestamp::from_secs(u64::try_from(seconds).unwrap_or(0))
}
