//! What TLS agreed upon with a client, for as long as its connection lives.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use portcullis_auth::certificate::plain_name;
use portcullis_core::{Principal, Timestamp};
use rustls_pki_types::CertificateDer;

use super::link::Link;
use crate::tls::{ClientTrust, Material};

/// How long it is believed that nothing has happened to a client's certificate. A new list of what is revoked counts at
/// once; this is about those that expire.
const BELIEVED: Duration = Duration::from_secs(60);

/// Who a client's certificate proves it to be, or why it proves nothing (any more).
pub(crate) type Proven = Result<Arc<Principal>, &'static str>;

/// One TLS session as the requests in it see it.
#[derive(Debug)]
pub(crate) struct Session {
    material: Arc<Material>,
    /// The name that the client asked for, in its plain spelling.
    server_name: Option<Box<str>>,
    /// The client's certificates, its own first; empty where it presented none.
    chain: Vec<CertificateDer<'static>>,
    judged: RefCell<Option<Judged>>,
}

/// What was last found about the client's certificates.
#[derive(Debug)]
struct Judged {
    by: Arc<Material>,
    until: Timestamp,
    proven: Proven,
}

impl Session {
    /// What a handshake ended with; `None` where it left out what it must not.
    pub(super) fn new(material: Arc<Material>, agreed: &rustls::ServerConnection, now: Timestamp) -> Option<Self> {
        let chain = agreed.peer_certificates().unwrap_or_default().iter().map(|one| one.clone().into_owned()).collect();
        let server_name = agreed.server_name().map(|name| plain_name(name).into());
        let session = Self { material, server_name, chain, judged: RefCell::new(None) };
        let trust = session.material.client();
        if session.chain.is_empty() && trust.is_some_and(ClientTrust::is_required) {
            return None;
        }
        // A session that goes on brings the certificate of its first handshake along, and nobody has looked at it today.
        let is_fresh = agreed.handshake_kind() != Some(rustls::HandshakeKind::Resumed);
        if let (true, Some(own), Some(trust)) = (is_fresh, session.chain.first(), trust) {
            session.remember(&session.material, trust.identify(own), now);
        }
        Some(session)
    }

    /// Whether a request for this host may come over this session (RFC 9110 §7.4). Where clients prove themselves by
    /// certificates, only for the very name that the handshake was about. Otherwise also for a host that has the certificate
    /// that the client was shown, because then a browser may send both hosts' requests on one connection (RFC 9113 §9.1.1).
    pub(crate) fn serves(&self, host: Option<&HeaderValue>) -> bool {
        let names = self.material.names();
        let proves = self.material.client().is_some();
        if !proves && !names.are_several() {
            return true;
        }
        // A head whose Host is not text is refused elsewhere; HTTP/1.0 needs none.
        let host = host.and_then(|host| host.to_str().ok()).map(without_port);
        match (host, self.server_name.as_deref()) {
            (None, _) => true,
            (Some(host), Some(name)) if host.eq_ignore_ascii_case(name) || plain_name(host) == name => true,
            (Some(_), Some(_)) if proves => false,
            (Some(host), name) => names.are_one(name, Some(host)),
        }
    }

    /// What the client's certificate proves by what is known now, where it presented one or had to.
    fn proves(&self, current: &Arc<Material>, now: Timestamp) -> Option<Proven> {
        if let Some(judged) = &*self.judged.borrow()
            && Arc::ptr_eq(&judged.by, current)
            && now < judged.until
        {
            return Some(judged.proven.clone());
        }
        match (self.chain.is_empty(), current.client()) {
            (true, Some(trust)) if trust.is_required() => Some(Err("a client certificate is required")),
            (true, _) => None,
            (false, Some(trust)) => {
                let proven = trust.judge(&self.chain, now);
                self.remember(current, proven.clone(), now);
                Some(proven)
            }
            (false, None) => Some(Err("client certificates are not believed here any more")),
        }
    }

    fn remember(&self, by: &Arc<Material>, proven: Proven, now: Timestamp) {
        self.judged.replace(Some(Judged { by: Arc::clone(by), until: now.after(BELIEVED), proven }));
    }
}

/// A host without its port.
fn without_port(host: &str) -> &str {
    // In an IPv6 address in brackets the last colon may be one of its own.
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

impl Link {
    /// What the client's certificate proves at this moment; `None` without one.
    pub(crate) fn certificate(&self) -> Option<Proven> {
        let session: &Rc<Session> = self.session.get()?;
        let shared = &self.core.shared;
        let current = shared.tls().load();
        session.proves(current.as_ref()?, shared.clock.now())
    }
}
