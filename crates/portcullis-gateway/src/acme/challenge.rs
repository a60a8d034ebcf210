//! What is answered to whoever verifies that this gate is the host of a name. It is there while an order is under way only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;
use portcullis_auth::certificate::plain_name;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::ServerConfig;
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::PrivateKeyDer;

use crate::pem::provider;

/// Where the files of HTTP-01 lie (RFC 8555 §8.3).
const WELL_KNOWN: &str = "/.well-known/acme-challenge/";

/// The protocol of TLS-ALPN-01 (RFC 8737 §6.2). Nothing is spoken by it.
pub(super) const ACME_TLS: &[u8] = b"acme-tls/1";

/// Answers to challenges.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    /// Whether a handshake may be for one: what every other handshake asks.
    tls: AtomicBool,
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Key authorizations by their tokens.
    files: HashMap<Box<str>, Box<str>>,
    /// Terms of a handshake by the name that it has to be for.
    handshakes: HashMap<Box<str>, Arc<ServerConfig>>,
}

impl Challenges {
    /// Serves a key authorization as a file.
    pub(super) fn serve(&self, token: &str, authorization: &str) {
        self.table.write().files.insert(token.into(), authorization.into());
    }

    /// Shows, to whoever asks for this name by the protocol of the challenge, a certificate that holds the digest of a key
    /// authorization (RFC 8737 §3).
    ///
    /// # Errors
    /// Where no such certificate can be made.
    pub(super) fn show(&self, name: &str, digest: &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let config = terms(name, digest)?;
        self.table.write().handshakes.insert(name.into(), Arc::new(config));
        self.tls.store(true, Ordering::Release);
        Ok(())
    }

    /// Answers nothing any more.
    pub(super) fn clear(&self) {
        self.tls.store(false, Ordering::Release);
        *self.table.write() = Table::default();
    }

    /// The file at a path, where there is one.
    pub(crate) fn file(&self, path: &str) -> Option<Vec<u8>> {
        let token = path.strip_prefix(WELL_KNOWN)?;
        self.table.read().files.get(token).map(|text| text.as_bytes().to_vec())
    }

    /// Whether any handshake is waited for. It costs the others one look at a word of memory.
    pub(crate) fn awaits_a_handshake(&self) -> bool {
        self.tls.load(Ordering::Acquire)
    }

    /// The terms of a handshake that is a challenge: it offers that protocol and no other, and asks for a name that is being
    /// verified.
    pub(crate) fn terms(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut offered = hello.alpn()?;
        if offered.next() != Some(ACME_TLS) || offered.next().is_some() {
            return None;
        }
        self.table.read().handshakes.get(&*plain_name(hello.server_name()?)).cloned()
    }
}

fn terms(name: &str, digest: &[u8]) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let provider = provider();
    let private = PrivateKeyDer::try_from(key.serialize_der())?;
    let signing = provider.key_provider.load_private_key(private)?;
    // Its critical extension is one that nobody who judges certificates knows; so this one is not judged.
    let certified = CertifiedKey::new(vec![certificate.der().clone()], signing);
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_by_its_whole_path_until_the_order_is_over() {
        let challenges = Challenges::default();
        challenges.serve("tok-en_1", "tok-en_1.thumb");
        assert_eq!(challenges.file("/.well-known/acme-challenge/tok-en_1").unwrap(), b"tok-en_1.thumb");
        for other in ["/.well-known/acme-challenge/", "/.well-known/acme-challenge/tok", "/tok-en_1", ""] {
            assert_eq!(challenges.file(other), None, "{other}");
        }
        challenges.clear();
        assert_eq!(challenges.file("/.well-known/acme-challenge/tok-en_1"), None);
    }

    #[test]
    fn handshakes_are_looked_at_only_while_one_is_waited_for() {
        let challenges = Challenges::default();
        assert!(!challenges.awaits_a_handshake());
        challenges.show("a.example", &[7; 32]).unwrap();
        assert!(challenges.awaits_a_handshake());
        challenges.clear();
        assert!(!challenges.awaits_a_handshake());
    }
}
