//! The way to one address of an upstream: TCP, and TLS where that is asked for.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::config::{UpstreamSettings, UpstreamTls};

/// Bytes to and from an upstream.
pub(crate) enum Stream {
    /// As they are.
    Plain(TcpStream),
    /// Protected. Reading past an end that TLS did not announce is an error, so that nothing cut short looks complete.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Who is at one address.
pub(crate) struct Peer {
    text: Arc<str>,
    literal: Option<SocketAddr>,
    tls: Option<(UpstreamTls, Option<ServerName<'static>>)>,
    http2: bool,
}

impl Peer {
    /// The peer at this address of an upstream.
    pub(crate) fn new(settings: &UpstreamSettings, text: &Arc<str>) -> Self {
        let tls = settings.tls.as_ref().map(|tls| (tls.clone(), tls.name(text)));
        Self { text: Arc::clone(text), literal: text.parse().ok(), tls, http2: settings.http2 }
    }

    /// `host:port`.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Opens a connection, up to the point where requests can be sent.
    pub(crate) async fn dial(&self) -> io::Result<Stream> {
        let tcp = match self.literal {
            Some(address) => TcpStream::connect(address).await?,
            None => TcpStream::connect(&*self.text).await?,
        };
        tcp.set_nodelay(true)?;
        let Some((tls, name)) = &self.tls else { return Ok(Stream::Plain(tcp)) };
        // Settings hold no address that TLS has no name for; if they did, it would not be spoken to without.
        let name = name.clone().ok_or_else(|| io::Error::other("there is no name that its certificate must be for"))?;
        let stream = TlsConnector::from(tls.client()).connect(name, tcp).await?;
        // A peer that does not choose speaks HTTP/1.1 (RFC 9113 section 3.3); what was asked for is h2.
        if self.http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other(rustls::Error::NoApplicationProtocol));
        }
        Ok(Stream::Tls(Box::new(stream)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
