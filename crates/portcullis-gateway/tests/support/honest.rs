//! An honest client of HTTP/2: what a test asks by HTTP/1.1, asked and answered by the other version.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::client::Reply;

/// How long an answer may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The version of HTTP that one side of the gate speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.1.
    One,
    /// HTTP/2 without TLS, from the first byte on.
    Two,
}

pub(crate) const VERSIONS: [Version; 2] = [Version::One, Version::Two];

/// A request, whichever version it goes by.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) headers: &'a [(String, String)],
    pub(super) body: Option<&'a [u8]>,
    pub(super) trailers: &'a [(String, String)],
}

/// Asks on a connection of its own, from this address.
pub(super) fn exchange(gate: SocketAddr, from: Ipv4Addr, asked: &Asked<'_>) -> io::Result<Reply> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(gate).await?;
        let (sender, connection) =
            Builder::new().enable_push(false).handshake(stream).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        tokio::time::timeout(PATIENCE, ask(sender, gate, asked)).await.map_err(io::Error::other)?
    })
}

async fn ask(sender: SendRequest<Bytes>, gate: SocketAddr, asked: &Asked<'_>) -> io::Result<Reply> {
    let mut sender = sender.ready().await.map_err(io::Error::other)?;
    let head = head(gate, asked)?;
    let waits = head.headers().contains_key("expect");
    let ends = asked.body.is_none() && asked.trailers.is_empty();
    let (mut answer, mut to) = sender.send_request(head, ends).map_err(io::Error::other)?;
    let mut interim = Vec::new();
    if !ends && (!waits || is_invited(&mut answer, &mut interim).await) {
        send(&mut to, asked)?;
    }
    let (head, mut from) = answer.await.map_err(io::Error::other)?.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = from.data().await {
        let piece = piece.map_err(io::Error::other)?;
        from.flow_control().release_capacity(piece.len()).map_err(io::Error::other)?;
        body.extend_from_slice(&piece);
    }
    let trailers = from.trailers().await.map_err(io::Error::other)?.unwrap_or_default();
    Ok(Reply {
        status: head.status.as_u16(),
        headers: fields(&head.headers),
        body,
        trailers: fields(&trailers),
        interim,
    })
}

fn head(gate: SocketAddr, asked: &Asked<'_>) -> io::Result<http::Request<()>> {
    let named = |name: &str| asked.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
    let authority = named("host").map_or_else(|| gate.to_string(), |(_, value)| value.clone());
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(asked.target);
    let uri = uri.build().map_err(io::Error::other)?;
    let mut request = http::Request::builder().method(asked.method).uri(uri);
    for (name, value) in asked.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        request = request.header(name, value);
    }
    if let Some(body) = asked.body
        && asked.trailers.is_empty()
        && named("content-length").is_none()
    {
        request = request.header("content-length", body.len());
    }
    request.body(()).map_err(io::Error::other)
}

/// Whether a client that asked first is to send its body.
async fn is_invited(answer: &mut ResponseFuture, interim: &mut Vec<u16>) -> bool {
    match poll_fn(|cx| answer.poll_informational(cx)).await {
        Some(Ok(said)) => {
            interim.push(said.status().as_u16());
            said.status() == 100
        }
        _ => false,
    }
}

fn send(to: &mut SendStream<Bytes>, asked: &Asked<'_>) -> io::Result<()> {
    let body = Bytes::copy_from_slice(asked.body.unwrap_or_default());
    // A gate that has answered already may take no more of it.
    let sent = to.send_data(body, asked.trailers.is_empty());
    if asked.trailers.is_empty() || sent.is_err() {
        return Ok(());
    }
    let mut trailers = HeaderMap::new();
    for (name, value) in asked.trailers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
        trailers.append(name, HeaderValue::from_str(value).map_err(io::Error::other)?);
    }
    to.send_trailers(trailers).map_err(io::Error::other)
}

/// Fields as the other client tells them.
pub(super) fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}
