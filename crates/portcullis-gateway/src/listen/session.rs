//! What TLS agreed upon with a client, for as long as its connection lives.

use std::sync::Arc;

use http::HeaderValue;

use crate::tls::Material;

/// One TLS session as the requests in it see it.
#[derive(Debug)]
pub(crate) struct Session {
    material: Arc<Material>,
    /// The name that the client asked for, in lower case.
    server_name: Option<Box<str>>,
}

impl Session {
    pub(super) fn new(material: Arc<Material>, connection: &rustls::ServerConnection) -> Self {
        let server_name = connection.server_name().map(|name| name.to_ascii_lowercase().into());
        Self { material, server_name }
    }

    /// Whether a request for this host may come over this session (RFC 9110 §7.4). It may where the host has the certificate
    /// that the client was shown, because then a browser may send both hosts' requests on one connection (RFC 9113 §9.1.1).
    pub(crate) fn serves(&self, host: Option<&HeaderValue>) -> bool {
        let names = self.material.names();
        if !names.are_several() {
            return true;
        }
        // A head whose Host is not text is refused elsewhere; HTTP/1.0 needs none.
        let host = host.and_then(|host| host.to_str().ok()).map(without_port);
        match (host, self.server_name.as_deref()) {
            (None, _) => true,
            (Some(host), Some(name)) if host.eq_ignore_ascii_case(name) => true,
            (Some(host), name) => names.are_one(name, Some(host)),
        }
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
