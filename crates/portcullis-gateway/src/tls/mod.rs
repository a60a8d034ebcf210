//! What clients need to speak TLS with this gate: its certificates by name, and the terms of a handshake.
//!
//! A [`TlsPlan`] says where everything is kept, [`TlsPlan::load`] makes a [`Material`] of it. Nothing in a material changes: new
//! files make a new one, connections keep the one that they began with.

mod client;
mod names;
mod pair;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use portcullis_core::{Clock as _, Timestamp};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerConfig, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

pub use self::client::ClientPlan;
pub(crate) use self::client::ClientTrust;
pub(crate) use self::names::Names;
use self::pair::Pair;
pub(crate) use self::watch::keep_current;
use self::watch::{Marks, marks};
use crate::clock::ProcessClock;
use crate::config::Outside;
use crate::pem::provider;

/// A certificate chain and its key, as two files of PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// What becomes of a client that asks for a name that no certificate has, or for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownName {
    /// It is shown the first certificate.
    #[default]
    First,
    /// Its handshake fails.
    Refuse,
}

/// How TLS is spoken, and where the files for it are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPlan {
    /// The certificates; the first one is shown to whoever asks for no name of any. Empty only where one comes by ACME.
    pub pairs: Vec<PairFiles>,
    /// The file that a certificate which comes by ACME is kept in with its key, behind the others. Until it is there, no
    /// handshake succeeds for whoever would be shown it.
    pub acme: Option<PathBuf>,
    /// What becomes of unknown names.
    pub unknown: UnknownName,
    /// Whether TLS 1.2 is spoken besides 1.3.
    pub tls12: bool,
    /// How clients prove themselves by certificates; `None` where they do not.
    pub client: Option<ClientPlan>,
    /// Whether HTTP/2 is offered besides HTTP/1.1.
    pub http2: bool,
}

/// Something about a file: which one, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, as the place of the configuration that names it.
    pub place: Place,
    /// One sentence for the operator.
    pub message: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
    /// Whether the files can be used all the same.
    pub is_warning: bool,
}

impl Finding {
    fn error(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), hint: None, is_warning: false }
    }

    fn warning(place: Place, message: impl Into<String>) -> Self {
        Self { is_warning: true, ..Self::error(place, message) }
    }

    fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

/// Which key of the configuration names a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `cert` of the certificate with this index.
    Cert(usize),
    /// `key` of the certificate with this index.
    Key(usize),
    /// The authorities of clients.
    Ca,
    /// The revocation list with this index.
    Crl(usize),
    /// What came by ACME.
    Acme,
}

/// Everything that a handshake needs.
#[derive(Debug)]
pub struct Material {
    plan: TlsPlan,
    marks: Marks,
    config: Arc<ServerConfig>,
    names: Arc<Names>,
    client: Option<ClientTrust>,
    ticketer: Arc<dyn ProducesTickets>,
    expires: Option<Timestamp>,
}

impl Material {
    pub(crate) const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// The certificates by name.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// What clients' certificates are judged by, where any are asked for.
    pub(crate) const fn client(&self) -> Option<&ClientTrust> {
        self.client.as_ref()
    }

    /// When the first of the certificates expires; `None` where there is none yet.
    #[must_use]
    pub const fn expires(&self) -> Option<Timestamp> {
        self.expires
    }
}

/// The material of the moment; empty where no TLS is spoken.
pub type Current = ArcSwapOption<Material>;

/// What was loaded, and what there is to say of it. There is no material where a finding is an error.
pub type LoadedMaterial = (Option<Arc<Material>>, Vec<Finding>);

impl TlsPlan {
    /// All the files.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let clients = self.client.iter().flat_map(|client| std::iter::once(&client.ca).chain(&client.crls));
        self.pairs.iter().flat_map(|pair| [&pair.cert, &pair.key]).chain(&self.acme).chain(clients)
    }

    /// Loads the files. Tickets that `before` gave out stay good, unless clients prove themselves: then no session outlives what
    /// its certificate was judged by.
    #[must_use]
    pub fn load(&self, outside: &dyn Outside, before: Option<&Material>) -> LoadedMaterial {
        let mut found = Vec::new();
        // Before they are read: what is written meanwhile is seen as a change.
        let marks = marks(self);
        let provider = provider();
        let now = ProcessClock.now();
        let pairs: Vec<Option<Pair>> = (0..)
            .zip(&self.pairs)
            .map(|(at, files)| Pair::load(outside, at, files, &provider, now, &mut found))
            .collect();
        let client = self.client.as_ref().map(|plan| ClientTrust::load(outside, plan, &provider, now, &mut found));
        let client = match client {
            Some(None) => return (None, found),
            Some(Some(trust)) => Some(trust),
            None => None,
        };
        let Some(mut pairs) = pairs.into_iter().collect::<Option<Vec<Pair>>>() else { return (None, found) };
        let from_files = pairs.len();
        pairs.extend(self.acme.as_ref().and_then(|file| Pair::load_acme(outside, file, &provider, now, &mut found)));
        let expires = pairs.iter().map(|pair| pair.expires).min();
        let names = Arc::new(Names::new(pairs, from_files, self.unknown));
        let ticketer = match before {
            Some(before) if client.is_none() && before.client.is_none() => Ok(Arc::clone(&before.ticketer)),
            _ => aws_lc_rs::Ticketer::new(),
        };
        let made = ticketer.and_then(|ticketer| {
            let config = self.config(provider, &names, client.as_ref(), &ticketer)?;
            Ok(Material { plan: self.clone(), marks, config, names, client, ticketer, expires })
        });
        match made {
            Ok(material) => (Some(Arc::new(material)), found),
            Err(error) => {
                found.push(Finding::error(Place::Cert(0), format!("TLS cannot be set up: {error}")));
                (None, found)
            }
        }
    }

    fn config(
        &self,
        provider: Arc<CryptoProvider>,
        names: &Arc<Names>,
        client: Option<&ClientTrust>,
        ticketer: &Arc<dyn ProducesTickets>,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let versions: &[&rustls::SupportedProtocolVersion] =
            if self.tls12 { &[&rustls::version::TLS13, &rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
        let builder =
            ServerConfig::builder_with_details(provider, Arc::new(TlsClock)).with_protocol_versions(versions)?;
        let verifier = client.map_or_else(WebPkiClientVerifier::no_client_auth, |trust| Arc::clone(trust.verifier()));
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::clone(names) as _);
        // A session is in its ticket: what nobody keeps here, no stranger can make grow, and every core can go on with it.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::clone(ticketer);
        config.ignore_client_order = true;
        // What arrives before the handshake is done can be sent again by whoever recorded it (RFC 8446 §8).
        config.max_early_data_size = 0;
        config.alpn_protocols = crate::listen::protocols(self.http2).iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// Certificates and tickets expire by the process's clock, as everything else does.
#[derive(Debug)]
struct TlsClock;

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(ProcessClock.now().as_secs())))
    }
}
