//! An authority of the test's own, and an origin that speaks TLS.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// Somebody who issues certificates.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        // A name of its own: two authorities of one name are told apart by signatures only.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate can be made");
        Self { pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// A certificate for this name or address.
    pub(crate) fn issue(&self, name: &str) -> Issued {
        self.issue_with(name, |_| {})
    }

    /// One that has expired.
    pub(crate) fn expired(&self, name: &str) -> Issued {
        self.issue_with(name, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name that certificates can be for");
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate can be made");
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// A certificate that nobody vouches for.
pub(crate) fn self_signed(name: &str) -> Issued {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate can be made");
    Issued { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

impl Issued {
    /// What a server with this certificate speaks; with clients of this authority only, if there is one.
    pub(crate) fn server(&self, clients: Option<&Authority>, alpn: &[&str]) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("there are versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
                let provider = Arc::new(aws_lc_rs::default_provider());
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    pub(crate) fn write(&self, certificate: &Path, key: &Path) {
        std::fs::write(certificate, &self.certificate).unwrap();
        std::fs::write(key, &self.key).unwrap();
    }
}

/// The server's end of a connection.
pub(crate) type Wire = StreamOwned<ServerConnection, TcpStream>;

/// An origin that speaks TLS. Every connection has a thread of its own.
pub(crate) struct TlsOrigin {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    config: Mutex<Arc<ServerConfig>>,
    hellos: Mutex<Vec<Hello>>,
    stop: AtomicBool,
}

/// A handshake that came to its end.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) name: Option<String>,
    pub(crate) resumed: bool,
    pub(crate) client_certificate: Option<Vec<u8>>,
}

impl TlsOrigin {
    /// Runs the script once for each connection whose handshake is complete.
    pub(crate) fn start(config: Arc<ServerConfig>, script: impl Fn(&mut Wire) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { config: Mutex::new(config), hellos: Mutex::default(), stop: AtomicBool::new(false) });
        let (here, script) = (Arc::clone(&shared), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if here.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (here, script) = (Arc::clone(&here), Arc::clone(&script));
                let Ok(mut stream) = stream else { continue };
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    let config = Arc::clone(&here.config.lock().unwrap());
                    let mut connection = ServerConnection::new(config).unwrap();
                    while connection.is_handshaking() {
                        if connection.complete_io(&mut stream).is_err() {
                            return;
                        }
                    }
                    here.hellos.lock().unwrap().push(Hello {
                        name: connection.server_name().map(str::to_owned),
                        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
                        client_certificate: connection.peer_certificates().map(|chain| chain[0].to_vec()),
                    });
                    script(&mut StreamOwned::new(connection, stream));
                });
            }
        });
        Self { address, shared }
    }

    /// Answers every request with this text.
    pub(crate) fn saying(config: Arc<ServerConfig>, text: &'static str) -> Self {
        Self::start(config, move |wire| {
            while head(wire).is_some() {
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
                if wire.write_all(answer.as_bytes()).and_then(|()| wire.flush()).is_err() {
                    return;
                }
            }
        })
    }

    /// What the next connection is answered with.
    pub(crate) fn show(&self, config: Arc<ServerConfig>) {
        *self.shared.config.lock().unwrap() = config;
    }

    pub(crate) fn hellos(&self) -> Vec<Hello> {
        self.shared.hellos.lock().unwrap().clone()
    }
}

impl Drop for TlsOrigin {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts, so that it sees the word.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_millis(200));
    }
}

/// The next request's head.
pub(crate) fn head(wire: &mut Wire) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match wire.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}
