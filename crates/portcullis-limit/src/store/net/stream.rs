//! A connection: TCP or TLS.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::{Address, Malformed};
use crate::store::StoreError;

/// How long making a connection may take, with everything that is said before the first command.
const CONNECT: Duration = Duration::from_secs(1);

/// Bytes to and from a server.
pub(in crate::store) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// How connections are made.
#[derive(Debug, Clone)]
pub(in crate::store) struct Dialer(Option<Arc<ClientConfig>>);

impl Dialer {
    /// TCP, or TLS with those who vouch for the servers; the CA file is read now. `program` is what the servers are.
    pub(in crate::store) fn new(program: &str, tls: bool, ca_file: Option<&Path>) -> Result<Self, StoreError> {
        Ok(Self(if tls { Some(Arc::new(tls_config(program, ca_file)?)) } else { None }))
    }

    /// Makes a connection on which nothing was said yet.
    pub(in crate::store) async fn dial(&self, store: &str, address: &Address) -> Result<Stream, StoreError> {
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(|e| broken(store, &e))?;
        // Commands are gathered before they are written: there is nothing to wait for.
        tcp.set_nodelay(true).map_err(|error| broken(store, &error))?;
        let Some(config) = &self.0 else { return Ok(Stream::Plain(tcp)) };
        let name = ServerName::try_from(address.host.clone()).map_err(|error| broken(store, &error))?;
        let tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await;
        Ok(Stream::Tls(Box::new(tls.map_err(|error| broken(store, &error))?)))
    }
}

/// A connection that is made within the time that one may take, with everything that is said on it.
pub(in crate::store) async fn in_time<T>(
    store: &str,
    connecting: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(CONNECT, connecting).await {
        Ok(made) => made,
        Err(_) => Err(broken(store, &format_args!("no answer within {} s", CONNECT.as_secs()))),
    }
}

/// Sends these bytes and reads the one answer to them; nothing else may be under way.
pub(in crate::store) async fn exchange<A>(
    stream: &mut Stream,
    store: &str,
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<Option<(A, usize)>, Malformed>,
) -> Result<A, StoreError> {
    stream.write_all(bytes).await.map_err(|error| broken(store, &error))?;
    stream.flush().await.map_err(|error| broken(store, &error))?;
    let mut bytes = Vec::with_capacity(128);
    loop {
        if stream.read_buf(&mut bytes).await.map_err(|error| broken(store, &error))? == 0 {
            return Err(broken(store, &"it closed the connection"));
        }
        match read(&bytes) {
            // More than one answer to one question would be taken for the answer to the next.
            Ok(Some((answer, length))) if length == bytes.len() => return Ok(answer),
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => return Err(not_understood(store, &bytes)),
        }
    }
}

/// What a server said, for people: it stands in lines of a log and on terminals, and whoever answers in the server's place
/// must neither begin a line of their own there nor say without end.
pub(in crate::store) fn readable(answer: &str) -> Box<str> {
    let quotes = |c: &char| matches!(c, '\'' | '"');
    let mut text = String::new();
    for c in answer.chars().take(SAID) {
        if quotes(&c) { text.push(c) } else { text.extend(c.escape_debug()) }
    }
    text.into()
}

/// The error of an answer that is none.
pub(in crate::store) fn not_understood(store: &str, bytes: &[u8]) -> StoreError {
    let answer = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).escape_default().to_string();
    StoreError::Protocol { store: store.into(), answer: answer.into() }
}

/// How many characters of what a server said people are told.
const SAID: usize = 200;

fn broken(store: &str, cause: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable { store: store.into(), cause: cause.to_string().into() }
}

fn tls_config(program: &str, ca_file: Option<&Path>) -> Result<ClientConfig, StoreError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            let bad = |cause: &dyn std::fmt::Display| {
                broken(program, &format_args!("the CA file {} cannot be used: {cause}", file.display()))
            };
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| bad(&error))? {
                roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
            }
            if roots.is_empty() {
                return Err(bad(&"there is no certificate in it"));
            }
        }
    }
    // The provider is named, as a process may have several.
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| broken(program, &error))?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
