//! A certificate authority of the test's own.

use std::path::Path;
use std::time::Duration;

use portcullis_core::{Clock as _, SystemClock};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, CertificateSigningRequestParams,
    CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber, date_time_ymd,
};
use time::OffsetDateTime;

/// So far in the future.
pub(crate) fn from_now(wait: Duration) -> OffsetDateTime {
    let now = i64::try_from(SystemClock.now().as_secs()).unwrap();
    OffsetDateTime::from_unix_timestamp(now).unwrap() + wait
}

/// Signs what a test needs.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key.
pub(crate) struct Issued {
    pub(crate) pem: String,
    pub(crate) der: Vec<u8>,
    pub(crate) key: String,
    pub(crate) key_der: Vec<u8>,
}

impl Issued {
    /// Writes `name.pem` and `name.key`, the key for its owner only.
    pub(crate) fn write(&self, directory: &Path, name: &str) {
        use std::os::unix::fs::OpenOptionsExt as _;
        std::fs::write(directory.join(format!("{name}.pem")), &self.pem).unwrap();
        let mut options = std::fs::OpenOptions::new();
        let key =
            options.write(true).create(true).truncate(true).mode(0o600).open(directory.join(format!("{name}.key")));
        std::io::Write::write_all(&mut key.unwrap(), self.key.as_bytes()).unwrap();
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "The authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.issuer.der().to_vec()
    }

    /// A server's certificate for these names.
    pub(crate) fn server(&self, names: &[&str]) -> Issued {
        self.issue(|params| {
            params.subject_alt_names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    }

    /// A client's certificate with these alternative names.
    pub(crate) fn client(&self, serial: u64, names: &[SanType]) -> Issued {
        self.issue(|params| {
            params.serial_number = Some(SerialNumber::from(serial));
            params.subject_alt_names = names.to_vec();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    /// A certificate that nobody but itself vouches for.
    pub(crate) fn none(id: &str) -> Issued {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Issued {
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            key: key.serialize_pem(),
            key_der: key.serialize_der(),
        }
    }

    /// What somebody asks for who made the key.
    pub(crate) fn sign(&self, request: &CertificateSigningRequestParams) -> Certificate {
        request.signed_by(&self.issuer).unwrap()
    }

    /// A certificate of any kind.
    pub(crate) fn issue(&self, shape: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2090, 1, 1);
        shape(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            key: key.serialize_pem(),
            key_der: key.serialize_der(),
        }
    }

    /// A list that revokes these serial numbers, good until the given year.
    pub(crate) fn revokes(&self, serials: &[u64], until: i32) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}
