//! An API that speaks HTTP/2: it remembers what it is asked, and puts every request to another one that speaks HTTP/1.1. So
//! whatever an origin of these tests can do is done over HTTP/2 as well.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::honest::fields;
use super::origin::{Origin, Seen};

/// The server. The library that reads its requests resets streams whose heads are none of HTTP/2.
#[derive(Debug)]
pub(crate) struct Http2Origin {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<Vec<Seen>>,
    broken: AtomicUsize,
}

impl Http2Origin {
    /// Every stream is a connection to this origin.
    pub(crate) fn before(origin: &Origin) -> Self {
        let behind = origin.address;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let here = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, behind, Arc::clone(&here)));
            }
        });
        Self { address, shared, runtime: Some(runtime) }
    }

    /// Whole requests, in the order in which they ended. Pseudo-header fields stand first among the headers.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The last of them.
    pub(crate) fn last(&self) -> Seen {
        self.requests().pop().expect("the origin has seen a request")
    }

    /// How many requests were given up before their end.
    pub(crate) fn broken(&self) -> usize {
        self.shared.broken.load(Ordering::SeqCst)
    }
}

impl Drop for Http2Origin {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(stream: TcpStream, behind: SocketAddr, shared: Arc<Shared>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(translate(request, respond, behind, Arc::clone(&shared)));
    }
}

async fn translate(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    behind: SocketAddr,
    shared: Arc<Shared>,
) {
    let Ok(seen) = read(request).await else {
        shared.broken.fetch_add(1, Ordering::SeqCst);
        return;
    };
    shared.requests.lock().unwrap().push(seen.clone());
    if ask(&seen, behind, &mut respond).await.is_err() {
        respond.send_reset(Reason::INTERNAL_ERROR);
    }
}

/// The whole request, or why it broke off.
async fn read(request: Request<RecvStream>) -> Result<Seen, h2::Error> {
    let (head, mut from) = request.into_parts();
    let pseudo = |name: &str, value: Option<&str>| value.map(|value| (name.to_owned(), value.to_owned()));
    let authority = pseudo(":authority", head.uri.authority().map(|authority| authority.as_str()));
    let mut headers: Vec<_> = authority.into_iter().chain(pseudo(":scheme", head.uri.scheme_str())).collect();
    headers.extend(fields(&head.headers));
    let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let mut seen = Seen { method: head.method.to_string(), target, headers, ..Seen::default() };
    while let Some(piece) = from.data().await {
        let piece = piece?;
        from.flow_control().release_capacity(piece.len())?;
        seen.body.extend_from_slice(&piece);
    }
    seen.trailers = fields(&from.trailers().await?.unwrap_or_default());
    Ok(seen)
}

/// Asks by HTTP/1.1 and hands the answer on.
async fn ask(seen: &Seen, behind: SocketAddr, respond: &mut SendResponse<Bytes>) -> io::Result<()> {
    let mut origin = BufReader::new(TcpStream::connect(behind).await?);
    origin.get_mut().write_all(&request(seen)).await?;
    let (status, headers) = loop {
        let (status, headers) = head(&mut origin).await?;
        if status >= 200 {
            break (status, headers);
        }
        if status == 101 {
            return Err(io::Error::other("HTTP/2 has no upgrade"));
        }
    };
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let chunked = value("transfer-encoding").is_some();
    let length = value("content-length").and_then(|length| length.parse::<usize>().ok());
    let mut answer = Response::builder().status(status).body(()).map_err(io::Error::other)?;
    *answer.headers_mut() = headers;
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        answer.headers_mut().remove(name);
    }
    let bare = seen.method == "HEAD" || matches!(status, 204 | 304) || (!chunked && length == Some(0));
    let mut to = respond.send_response(answer, bare).map_err(io::Error::other)?;
    if bare {
        return Ok(());
    }
    let sent = match length {
        _ if chunked => chunks(&mut origin, &mut to).await,
        Some(length) => {
            let mut body = vec![0; length];
            match origin.read_exact(&mut body).await {
                Ok(_) => to.send_data(body.into(), true).map_err(io::Error::other),
                Err(error) => Err(error),
            }
        }
        None => {
            let mut body = Vec::new();
            match origin.read_to_end(&mut body).await {
                Ok(_) => to.send_data(body.into(), true).map_err(io::Error::other),
                Err(error) => Err(error),
            }
        }
    };
    if sent.is_err() {
        to.send_reset(Reason::INTERNAL_ERROR);
    }
    Ok(())
}

/// The bytes of a request as HTTP/1.1 has it.
fn request(seen: &Seen) -> Vec<u8> {
    let host = seen.header(":authority").unwrap_or_default();
    let mut bytes = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", seen.method, seen.target).into_bytes();
    let line = |(name, value): &(String, String)| format!("{name}: {value}\r\n").into_bytes();
    seen.headers.iter().filter(|(name, _)| !name.starts_with(':')).for_each(|field| bytes.extend(line(field)));
    if seen.header("content-length").is_some() {
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&seen.body);
    } else if !seen.body.is_empty() || !seen.trailers.is_empty() {
        bytes.extend(format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", seen.body.len()).into_bytes());
        if !seen.body.is_empty() {
            bytes.extend_from_slice(&seen.body);
            bytes.extend_from_slice(b"\r\n0\r\n");
        }
        seen.trailers.iter().for_each(|field| bytes.extend(line(field)));
        bytes.extend_from_slice(b"\r\n");
    } else {
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

async fn line(origin: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    origin.read_line(&mut line).await?;
    let whole = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(whole.to_owned())
}

async fn head(origin: &mut BufReader<TcpStream>) -> io::Result<(u16, HeaderMap)> {
    let status = line(origin).await?;
    let status = status.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok((status, lines(origin).await?))
}

/// Fields up to the empty line.
async fn lines(origin: &mut BufReader<TcpStream>) -> io::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    loop {
        let line = line(origin).await?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
        headers.append(name, HeaderValue::from_str(value.trim()).map_err(io::Error::other)?);
    }
}

async fn chunks(origin: &mut BufReader<TcpStream>, to: &mut SendStream<Bytes>) -> io::Result<()> {
    loop {
        let size = usize::from_str_radix(&line(origin).await?, 16).map_err(io::Error::other)?;
        if size == 0 {
            let trailers = lines(origin).await?;
            return if trailers.is_empty() { to.send_data(Bytes::new(), true) } else { to.send_trailers(trailers) }
                .map_err(io::Error::other);
        }
        let mut piece = vec![0; size];
        origin.read_exact(&mut piece).await?;
        if !line(origin).await?.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        to.send_data(piece.into(), false).map_err(io::Error::other)?;
    }
}
