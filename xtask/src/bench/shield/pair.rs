//! The certificate that all servers show, who shows it, and a client that tells what was agreed.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore};

use super::stage::{Running, Stage};
use crate::bench::peers::{self, Certified};
use crate::process::free_port;
use crate::tools::{self, Tool};

/// What the certificate is for.
const NAME: &str = "api.example.com";
/// The suite that every server speaks with `wrk` and with [`Client`], by the name of OpenSSL.
const SUITE: &str = "TLS_AES_256_GCM_SHA384";
/// How long a server may take over one step.
const PATIENCE: Duration = Duration::from_secs(10);

/// An ECDSA P-256 certificate that vouches for itself.
pub(super) struct Pair {
    chain: PathBuf,
    key: PathBuf,
    both: PathBuf,
    client: Client,
}

/// Our own name.
pub(super) const OURS: &str = "Portcullis";
/// Who is measured.
pub(super) const SERVERS: [&str; 3] = [OURS, "nginx", "haproxy"];

impl Pair {
    pub(super) fn make(stage: &Stage) -> Result<Self, String> {
        let failed = |error: rcgen::Error| format!("a certificate: {error}");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let params = CertificateParams::new(vec![NAME.to_owned()]).map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        let directory = stage.fresh("pair")?;
        let (chain, secret) = (certificate.pem(), key.serialize_pem());
        let write = |name: &str, text: &str| -> Result<PathBuf, String> {
            use std::os::unix::fs::PermissionsExt as _;
            let path = directory.join(name);
            let failed = |error| format!("{}: {error}", path.display());
            fs::write(&path, text).map_err(failed)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
            Ok(path)
        };
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).map_err(|error| format!("a certificate: {error}"))?;
        Ok(Self {
            chain: write("chain.pem", &chain)?,
            key: write("key.pem", &secret)?,
            both: write("both.pem", &format!("{chain}{secret}"))?,
            client: Client::new(roots)?,
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Starts a server, and sees that it agrees to what is measured.
    pub(super) fn start(&self, stage: &Stage, part: &str, server: &str) -> Result<Running, String> {
        let certified = Certified { chain: &self.chain, key: &self.key, both: &self.both, suite: SUITE };
        let name = format!("{part}-{server}");
        let running = match server {
            "nginx" => {
                let listen = free_port()?;
                stage.start(&name, listen, &peers::nginx_tls(listen, &stage.room, certified)?)?
            }
            "haproxy" => {
                tools::ensure(&[Tool::new("haproxy", "haproxy")])?;
                let listen = free_port()?;
                stage.start(&name, listen, &peers::haproxy_tls(listen, &stage.room, certified)?)?
            }
            _ => stage.gateway(&name, &self.tables())?,
        };
        self.client.shake(running.address).map_err(|why| format!("{server}: {why}"))?;
        // Nobody resumes, so the second is a whole one as well.
        self.client.shake(running.address).map_err(|why| format!("{server}: {why}"))?;
        Ok(running)
    }

    fn tables(&self) -> String {
        format!(
            "[tls]\ncertificates = [{{ cert = {:?}, key = {:?} }}]\nmin_version = \"1.3\"\n\n\
             [identity]\nenabled = false\n\n[limits]\npreset = \"none\"\n\n[routes]\notherwise = \"public\"\n\n\
             [headers]\npreset = \"danger-off\"\n",
            self.chain.display().to_string(),
            self.key.display().to_string()
        )
    }
}

/// A client that never resumes.
#[derive(Clone)]
pub(super) struct Client(Arc<ClientConfig>);

impl Client {
    /// It offers suites in the order in which OpenSSL does, which `wrk` leaves as it is, so that it is told what `wrk` is.
    fn new(roots: RootCertStore) -> Result<Self, String> {
        let provider = CryptoProvider {
            cipher_suites: vec![
                cipher_suite::TLS13_AES_256_GCM_SHA384,
                cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
                cipher_suite::TLS13_AES_128_GCM_SHA256,
            ],
            kx_groups: vec![kx_group::X25519],
            ..default_provider()
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider));
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).map_err(|error| error.to_string())?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    /// One full handshake, and a farewell that the server answers by closing: then it is done with all of it.
    pub(super) fn shake(&self, address: SocketAddr) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("a handshake: {error}");
        let mut stream = TcpStream::connect(address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let name = ServerName::try_from(NAME).map_err(|error| error.to_string())?;
        let mut tls = ClientConnection::new(Arc::clone(&self.0), name).map_err(|error| error.to_string())?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).map_err(failed)?;
        }
        agreed(&tls)?;
        tls.send_close_notify();
        while tls.wants_write() {
            tls.write_tls(&mut stream).map_err(failed)?;
        }
        let mut rest = [0; 4096];
        loop {
            match stream.read(&mut rest) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // Who closes without having read everything resets.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

/// Whether it was what all are measured by.
fn agreed(tls: &ClientConnection) -> Result<(), String> {
    let suite = tls.negotiated_cipher_suite().map(|suite| suite.suite());
    let (version, kind) = (tls.protocol_version(), tls.handshake_kind());
    if version == Some(ProtocolVersion::TLSv1_3)
        && suite == Some(CipherSuite::TLS13_AES_256_GCM_SHA384)
        && kind == Some(HandshakeKind::Full)
    {
        return Ok(());
    }
    Err(format!("agreed to {version:?}, {suite:?}, {kind:?} instead of a full handshake of TLS 1.3 with {SUITE}"))
}
