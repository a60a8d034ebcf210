//! HTTP/2 from outside: an honest client's requests, and frames that no honest client sends.

mod floods;
mod heads;
mod requests;
mod time;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};

use self::raw::Raw;
use super::*;

#[path = "../../../../tests/support/http2.rs"]
pub(crate) mod raw;

/// Bounds for tests, with HTTP/2 from the first byte on.
fn bounds() -> TransportSettings {
    TransportSettings { h2c: true, ..transport() }
}

/// A gateway that speaks HTTP/2.
fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::with(bounds(), super::upstream(&[upstream.address]), None)
}

/// One whole answer.
#[derive(Debug)]
struct Answered {
    status: u16,
    headers: HeaderMap,
    body: String,
    trailers: HeaderMap,
}

/// Lets an honest client talk over one connection.
fn talk<T>(address: SocketAddr, work: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let (sender, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        tokio::time::timeout(Duration::from_secs(10), work(sender)).await.expect("no answer in ten seconds")
    })
}

/// Sends a request with a body, or none, and takes the whole answer.
async fn ask(sender: &SendRequest<Bytes>, request: Request<()>, body: Option<&[u8]>) -> Result<Answered, h2::Error> {
    let mut sender = sender.clone().ready().await?;
    let (response, mut stream) = sender.send_request(request, body.is_none())?;
    if let Some(body) = body {
        stream.send_data(Bytes::copy_from_slice(body), true)?;
    }
    take(response).await
}

/// Takes the whole answer.
async fn take(response: h2::client::ResponseFuture) -> Result<Answered, h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    let body = String::from_utf8(body).unwrap();
    Ok(Answered { status: head.status.as_u16(), headers: head.headers, body, trailers })
}

fn get(path: &str) -> Request<()> {
    Request::builder().uri(format!("http://api.example{path}")).body(()).unwrap()
}

/// One request on a connection of its own.
fn ask_once(gateway: &Gateway, request: Request<()>, body: Option<&[u8]>) -> Result<Answered, h2::Error> {
    talk(gateway.address, async |sender| ask(&sender, request, body).await)
}

/// Whether one connection was closed for this flood, and none for another.
fn counted(gateway: &Gateway, kind: &str) {
    let mut shown = gateway.shared.metrics.render();
    let began = std::time::Instant::now();
    // What the library finds is known when the connection has ended.
    while !floods_in(&shown) && began.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(20));
        shown = gateway.shared.metrics.render();
    }
    let floods = shown.lines().filter(|line| line.starts_with(FLOODS) && !line.ends_with(" 0"));
    assert_eq!(floods.collect::<Vec<_>>(), [format!("{FLOODS}kind=\"{kind}\"}} 1")]);
}

const FLOODS: &str = "portcullis_http2_floods_total{";

fn floods_in(shown: &str) -> bool {
    shown.lines().any(|line| line.starts_with(FLOODS) && !line.ends_with(" 0"))
}
