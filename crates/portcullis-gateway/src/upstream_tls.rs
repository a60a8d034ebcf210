//! TLS towards an upstream: who it must prove to be, and who we are to it.
//!
//! The files are read where the configuration is checked, so that a mistake in them is found there; afterwards they are
//! looked at every second, and what changed is used for the next connection. Files that cannot be used change nothing.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{
    self, AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::config::Outside;
use crate::pem::{self, PemError};

/// What `[[upstreams]] tls` says.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsRules {
    /// The authorities that vouch for the upstream; `None` for those that browsers trust.
    pub(crate) ca: Option<PathBuf>,
    /// Our certificate and its private key, for an upstream that asks for one.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// The name that is asked for and verified, instead of the host of the address.
    pub(crate) name: Option<ServerName<'static>>,
    /// Public keys of which the upstream must have one, as SHA-256 of their SubjectPublicKeyInfo; empty for any.
    pub(crate) pins: Vec<Pin>,
    /// Whether HTTP/2 is asked for.
    pub(crate) http2: bool,
    /// Whether any certificate will do.
    pub(crate) danger_accept_invalid_certificates: bool,
}

/// The SHA-256 of a public key's SubjectPublicKeyInfo (RFC 7469 section 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pin([u8; 32]);

impl Pin {
    /// Reads `sha256/BASE64`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix("sha256/")?).ok()?;
        bytes.try_into().ok().map(Self)
    }

    fn of(certificate: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        let mut pin = [0; 32];
        pin.copy_from_slice(digest::digest(&digest::SHA256, &key).as_ref());
        Ok(Self(pin))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", STANDARD.encode(self.0))
    }
}

/// Which of the files is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFile {
    /// `ca`.
    Ca,
    /// `cert`.
    Certificate,
    /// `key`.
    Key,
}

/// Why TLS towards an upstream cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub(crate) struct TlsFault {
    /// The file at fault.
    pub(crate) file: TlsFile,
    path: PathBuf,
    why: String,
}

/// TLS towards one upstream. Clones share what was read last.
#[derive(Clone, Debug)]
pub struct UpstreamTls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rules: TlsRules,
    client: ArcSwap<ClientConfig>,
    seen: Mutex<Seen>,
}

/// What the files looked like.
#[derive(Debug, Default)]
struct Seen {
    used: Vec<Stamp>,
    last: Vec<Stamp>,
}

/// What tells one state of a file from another: modification in nanoseconds, size, device and inode; zeros where there is
/// no file.
type Stamp = (i128, u64, u64, u64);

impl UpstreamTls {
    /// Reads the files.
    ///
    /// # Errors
    /// The file that cannot be used.
    pub(crate) fn new(rules: TlsRules, outside: &dyn Outside) -> Result<Self, TlsFault> {
        let used = rules.stamps();
        let client = ArcSwap::from_pointee(rules.read(outside)?);
        Ok(Self(Arc::new(Shared { rules, client, seen: Mutex::new(Seen { last: used.clone(), used }) })))
    }

    /// What the next connection is made with. Sessions are resumed by whoever holds the same one.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.0.client.load_full()
    }

    /// The name that an upstream at this `host:port` must prove.
    pub(crate) fn name(&self, address: &str) -> Option<ServerName<'static>> {
        self.0.rules.name.clone().or_else(|| server_name(host(address)))
    }

    /// Whether any certificate will do.
    pub(crate) fn accepts_anything(&self) -> bool {
        self.0.rules.danger_accept_invalid_certificates
    }

    /// Reads the files again if they have changed since they were used and rest since the last look: a certificate and
    /// its key are rarely replaced in one step. `None` where nothing has changed.
    pub(crate) fn refresh(&self, outside: &dyn Outside) -> Option<Result<(), String>> {
        let now = self.0.rules.stamps();
        let mut seen = self.0.seen.lock();
        let rests = seen.last == now;
        seen.last.clone_from(&now);
        if seen.used == now || !rests {
            return None;
        }
        // Whatever comes of it: the same bytes are not tried again.
        seen.used = now;
        Some(self.0.rules.read(outside).map(|client| self.0.client.store(Arc::new(client))).map_err(|f| f.to_string()))
    }
}

/// The host of `host:port`.
pub(crate) fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// A host as a name that a certificate can be for.
pub(crate) fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host).ok().map(|name| name.to_owned())
}

impl TlsRules {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.ca.iter().chain(identity).map(PathBuf::as_path)
    }

    fn stamps(&self) -> Vec<Stamp> {
        let stamp = |path: &Path| {
            std::fs::metadata(path).map_or((0, 0, 0, 0), |about| {
                let nanoseconds = i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
                (nanoseconds, about.len(), about.dev(), about.ino())
            })
        };
        self.paths().map(stamp).collect()
    }

    fn read(&self, outside: &dyn Outside) -> Result<ClientConfig, TlsFault> {
        let fault = |file, path: &Path, why: String| TlsFault { file, path: path.to_owned(), why };
        let read = |file, path: &Path| {
            outside.read(path).map_err(|error| fault(file, path, format!("it cannot be read: {error}")))
        };
        let nowhere = Path::new("");
        let provider = pem::provider();
        let roots = match &self.ca {
            Some(path) => {
                pem::roots(&read(TlsFile::Ca, path)?).map_err(|error| fault(TlsFile::Ca, path, error.to_string()))?
            }
            None => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| fault(TlsFile::Ca, nowhere, error.to_string()))?;
        let builder = if self.pins.is_empty() && !self.danger_accept_invalid_certificates {
            builder.with_root_certificates(roots)
        } else {
            let usual = if self.danger_accept_invalid_certificates {
                None
            } else {
                let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
                let path = self.ca.as_deref().unwrap_or(nowhere);
                Some(built.map_err(|error| fault(TlsFile::Ca, path, error.to_string()))?)
            };
            let algorithms = provider.signature_verification_algorithms;
            let verifier = Verifier { usual, pins: self.pins.clone(), algorithms };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        };
        let mut client = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = read(TlsFile::Certificate, certificate)?;
                let private = read(TlsFile::Key, key)?;
                let pair = pem::certified_key(&chain, &private).map_err(|error| match error {
                    PemError::NoCertificate | PemError::Unreadable(..) => {
                        fault(TlsFile::Certificate, certificate, error.to_string())
                    }
                    error => fault(TlsFile::Key, key, error.to_string()),
                })?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
            }
        };
        // One protocol is asked for, and what an upstream speaks is then no matter of chance.
        client.alpn_protocols = vec![if self.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        Ok(client)
    }
}

/// Verification that is more than usual (pins), or none.
#[derive(Debug)]
struct Verifier {
    /// The usual verification; `None` where any certificate will do.
    usual: Option<Arc<WebPkiServerVerifier>>,
    pins: Vec<Pin>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(usual) = &self.usual {
            usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        }
        if !self.pins.is_empty() {
            let pin = Pin::of(end_entity)?;
            if !self.pins.contains(&pin) {
                return Err(rustls::Error::General(format!("its public key is {pin}, which is none of \"pins\"")));
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    // Whoever shows a certificate must hold its key, even where any certificate will do.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The fault of TLS that an error comes from.
pub(crate) fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // What an I/O error wraps is not its source, but has one.
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// What an operator may do about it.
pub(crate) fn advice(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(fault) => match fault {
            // A bad signature is that of another authority with the name of one that is trusted.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "who issued its certificate is not trusted; \"ca\" names who is"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name; \"name\" says which one to expect"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet, or this machine's clock is behind"
            }
            _ => "its certificate is refused",
        },
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::HandshakeFailure
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied,
        ) => "it asks for a certificate that it accepts; \"cert\" and \"key\" name ours",
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)
        | rustls::Error::NoApplicationProtocol => "it does not speak the protocol that \"http2\" says",
        rustls::Error::InvalidMessage(_) => "it does not seem to speak TLS",
        _ => "the handshake failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address_is_what_a_certificate_is_for() {
        for (address, expected) in
            [("api.internal:443", "api.internal"), ("[::1]:443", "::1"), ("10.0.0.1:1", "10.0.0.1")]
        {
            assert_eq!(host(address), expected);
            assert!(server_name(host(address)).is_some());
        }
        assert!(server_name("a b").is_none() && server_name("").is_none());
    }

    #[test]
    fn a_pin_is_a_whole_sha256() {
        let pin = Pin([7; 32]);
        assert_eq!(Pin::parse(&pin.to_string()), Some(pin));
        for wrong in ["", "sha256/", "sha256/AAAA", "sha1/AAAA", &pin.to_string()[7..]] {
            assert_eq!(Pin::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_fault_of_tls_is_found_below_other_errors() {
        let fault = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let wrapped = std::io::Error::other(std::io::Error::other(fault.clone()));
        assert_eq!(tls_error(&wrapped), Some(&fault));
        assert_eq!(tls_error(&std::io::Error::from(std::io::ErrorKind::NotFound)), None);
    }
}
