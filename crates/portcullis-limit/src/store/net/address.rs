//! Where a server is.

use std::net::IpAddr;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::store) struct Address {
    pub(in crate::store) host: String,
    pub(in crate::store) port: u16,
}

/// Why a text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum AddressError {
    Host,
    Port,
}

impl Address {
    /// Reads `host`, `host:port`, `[::1]` or `[::1]:port`.
    pub(in crate::store) fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, after)) => (host, after.strip_prefix(':').or((after.is_empty()).then_some(""))),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, Some("")),
            },
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
        if host.is_empty() || !host.bytes().all(plain) {
            return Err(AddressError::Host);
        }
        let port = match port.ok_or(AddressError::Host)? {
            "" => default_port,
            port => port.parse().ok().filter(|port| *port != 0).ok_or(AddressError::Port)?,
        };
        Ok(Self { host: host.to_owned(), port })
    }

    /// Whether it is this machine, so that what is said to it crosses no network.
    pub(in crate::store) fn is_here(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A server of a cluster may name any host for another.
        let host = self.host.escape_debug();
        if self.host.contains(':') { write!(f, "[{host}]:{}", self.port) } else { write!(f, "{host}:{}", self.port) }
    }
}
