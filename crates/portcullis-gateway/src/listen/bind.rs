//! Taking the addresses: once plainly, so that nobody shares them unknowingly, then once for each core.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait in the kernel for each core.
const BACKLOG: i32 = 1024;

/// Why an address cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another program listens there.
    #[error("cannot listen on {0}: the address is already in use by another program")]
    InUse(SocketAddr),
    /// A low port without the right to it.
    #[error("cannot listen on {0}: this user may not open that port (ports below 1024 need CAP_NET_BIND_SERVICE)")]
    Forbidden(SocketAddr),
    /// No interface of this machine has it.
    #[error("cannot listen on {0}: no interface of this machine has that address")]
    NotHere(SocketAddr),
    /// Something else.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

impl ListenError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::PermissionDenied => Self::Forbidden(address),
            io::ErrorKind::AddrNotAvailable => Self::NotHere(address),
            _ => Self::Other { address, source },
        }
    }
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Requests in the clear: from this machine, or from whoever ended TLS before us.
    Open,
    /// Requests over TLS, which ends here.
    Tls,
    /// Nothing but the way to https.
    Redirect,
}

/// The listening sockets, one of every address for each core.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) cores: Vec<Vec<(Door, TcpListener)>>,
    addresses: Vec<(Door, SocketAddr)>,
}

impl Listeners {
    /// Takes the addresses for `cores` cores (at least one). Port 0 takes a free port, the same on every core.
    ///
    /// # Errors
    /// [`ListenError`] names the address that cannot be had, and why.
    pub fn bind(addresses: &[(Door, SocketAddr)], cores: usize) -> Result<Self, ListenError> {
        let mut listeners: Vec<Vec<(Door, TcpListener)>> = (0..cores.max(1)).map(|_| Vec::new()).collect();
        let mut bound = Vec::with_capacity(addresses.len());
        for &(door, address) in addresses {
            // SO_REUSEPORT would let a second instance share the port silently and take half of the connections. A
            // plain bind fails where anybody listens already.
            let probe = open(address, false).map_err(|source| ListenError::new(address, source))?;
            let address = probe.local_addr().ok().and_then(|local| local.as_socket()).unwrap_or(address);
            drop(probe);
            for core in &mut listeners {
                let socket = open(address, true).map_err(|source| ListenError::new(address, source))?;
                core.push((door, socket.into()));
            }
            bound.push((door, address));
        }
        Ok(Self { cores: listeners, addresses: bound })
    }

    /// The addresses that were taken, with the real port where 0 was asked for.
    #[must_use]
    pub fn local_addrs(&self) -> &[(Door, SocketAddr)] {
        &self.addresses
    }
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        // An IPv6 address means IPv6: who wants both families writes both addresses.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_told_by_its_address_even_if_it_is_shared() {
        let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let first = Listeners::bind(&[(Door::Open, free)], 2).unwrap();
        let address = first.local_addrs()[0].1;
        assert_ne!(address.port(), 0);
        assert_eq!(first.cores.len(), 2);
        let error = Listeners::bind(&[(Door::Tls, address)], 2).unwrap_err();
        assert!(matches!(error, ListenError::InUse(taken) if taken == address), "{error}");
        assert_eq!(
            error.to_string(),
            format!("cannot listen on {address}: the address is already in use by another program")
        );
    }

    #[test]
    fn an_address_of_another_machine_is_told() {
        let error = Listeners::bind(&[(Door::Open, "192.0.2.1:0".parse().unwrap())], 1).unwrap_err();
        assert!(matches!(error, ListenError::NotHere(_)), "{error}");
    }
}
