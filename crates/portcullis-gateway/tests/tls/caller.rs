//! A client that speaks HTTP/1.1 over TLS, and hides nothing of what happens below.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::authority::{Authority, Issued};

/// What a client brings along; connections of one caller share their tickets.
#[derive(Clone)]
pub(crate) struct Caller {
    gate: SocketAddr,
    config: ClientConfig,
}

impl Caller {
    /// Without a certificate.
    pub(crate) fn new(authority: &Authority, gate: SocketAddr) -> Self {
        Self { gate, config: builder(authority, rustls::ALL_VERSIONS).with_no_client_auth() }
    }

    /// With this certificate.
    pub(crate) fn with(authority: &Authority, gate: SocketAddr, own: &Issued) -> Self {
        Self::with_versions(authority, gate, own, rustls::ALL_VERSIONS)
    }

    pub(crate) fn with_versions(
        authority: &Authority,
        gate: SocketAddr,
        own: &Issued,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let chain = vec![CertificateDer::from(own.der.clone())];
        let key = PrivateKeyDer::try_from(own.key_der.clone()).unwrap();
        Self { gate, config: builder(authority, versions).with_client_auth_cert(chain, key).unwrap() }
    }

    /// Speaks these versions of TLS only.
    pub(crate) fn speaking(
        authority: &Authority,
        gate: SocketAddr,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        Self { gate, config: builder(authority, versions).with_no_client_auth() }
    }

    pub(crate) fn offering(mut self, protocols: &[&[u8]]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        self
    }

    /// Asks for no name (SNI).
    pub(crate) fn nameless(mut self) -> Self {
        self.config.enable_sni = false;
        self
    }

    /// What it brings along, for a client of another kind.
    pub(crate) const fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// A connection on which the handshake is done, as far as a client can tell.
    pub(crate) fn connect(&self, name: &str) -> io::Result<Call> {
        let socket = TcpStream::connect(self.gate)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::new(self.config.clone()), name).map_err(io::Error::other)?;
        let mut call = Call { stream: StreamOwned::new(connection, socket), unread: Vec::new() };
        while call.stream.conn.is_handshaking() {
            call.stream.conn.complete_io(&mut call.stream.sock)?;
        }
        Ok(call)
    }

    /// One GET on a connection of its own.
    pub(crate) fn get(&self, host: &str, target: &str) -> io::Result<Answer> {
        self.connect(host)?.get(host, target, "")
    }
}

fn builder(
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der())).unwrap();
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
}

/// One connection.
pub(crate) struct Call {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
    unread: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header that may stand once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.head.lines().skip(1).filter_map(|line| {
            let (this, value) = line.split_once(':')?;
            this.eq_ignore_ascii_case(name).then_some(value.trim())
        });
        let value = found.next();
        assert!(found.next().is_none(), "{name} stands twice: {}", self.head);
        value
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }
}

impl Call {
    pub(crate) fn kind(&self) -> Option<HandshakeKind> {
        self.stream.conn.handshake_kind()
    }

    /// The certificate that it was shown.
    pub(crate) fn shown(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().unwrap()[0].to_vec()
    }

    pub(crate) fn send(&mut self, bytes: &str) -> io::Result<()> {
        self.stream.write_all(bytes.as_bytes())?;
        self.stream.flush()
    }

    /// A GET with more header lines, each with its line end.
    pub(crate) fn get(&mut self, host: &str, target: &str, more: &str) -> io::Result<Answer> {
        self.send(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"))?;
        self.answer()
    }

    /// Reads what has come; false at a proper end (close_notify).
    fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer)?;
        self.unread.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }

    /// The next answer's head.
    pub(crate) fn head(&mut self) -> io::Result<Answer> {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
        Ok(Answer { status, head, body: Vec::new() })
    }

    /// The next answer with its body.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head()?;
        match answer.header("content-length").map(|length| length.parse::<usize>().unwrap()) {
            Some(length) => answer.body = self.take(length)?,
            None if answer.header("transfer-encoding").is_some() => loop {
                let line = self.line()?;
                let size = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
                answer.body.extend(self.take(size)?);
                self.line()?;
                if size == 0 {
                    break;
                }
            },
            None => answer.body = self.until_close()?,
        }
        Ok(answer)
    }

    pub(crate) fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.unread.drain(..length).collect())
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// How many bytes came behind what was read.
    pub(crate) fn unread(&self) -> usize {
        self.unread.len()
    }

    /// What comes until the gate says that it is all; an error where it breaks off without saying so.
    pub(crate) fn until_close(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? {}
        Ok(std::mem::take(&mut self.unread))
    }
}
