//! From a socket to a connection over TLS: what is agreed upon, within which time, and who serves the connection then.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use hyper_util::rt::TokioIo;
use portcullis_core::Reason;
use portcullis_watch::Handshake;
use rustls::HandshakeKind;
use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::{self, LAST_CALL};
use super::deadlines::Late;
use super::http2;
use super::link::Link;
use super::session::Session;
use super::wheel::Alarm;
use crate::tls::Material;

/// The protocols that are spoken over TLS (ALPN, RFC 7301), the best first. A client that offers others only is refused by the
/// handshake, so that nobody can make it read an answer of another protocol's (ALPACA).
pub(crate) const fn protocols(http2: bool) -> &'static [&'static [u8]] {
    if http2 { &[HTTP_2, HTTP_11] } else { &[HTTP_11] }
}

const HTTP_2: &[u8] = b"h2";

const HTTP_11: &[u8] = b"http/1.1";

/// The first byte of a TLS record that holds a handshake (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 22;

const NOT_TLS: &str = "this address speaks HTTPS: write https:// in front of it";

/// Agrees with a client on TLS, and serves what comes over it.
pub(super) async fn serve(stream: TcpStream, link: Rc<Link>) {
    let Some(material) = link.core.shared.tls().load_full() else { return };
    let alarm = link.core.wheel.alarm();
    // One deadline for all of it: who sends a byte at a time gains nothing by it.
    link.deadlines.clear_all();
    link.deadlines.set(Late::Head, link.transport.head_timeout);
    let mut first = [0];
    let handshakes = &link.core.shared.metrics;
    match in_time(&link, &alarm, stream.peek(&mut first)).await {
        Some(Ok(1)) if first[0] == HANDSHAKE_RECORD => {}
        Some(Ok(1)) => {
            handshakes.handshake(Handshake::Plain);
            return answer_in_the_clear(stream, first[0], &link, &alarm).await;
        }
        // It went away without a word, as a check of the port's health does.
        Some(_) => return,
        None => return handshakes.handshake(Handshake::Late),
    }
    let agreed = match in_time(&link, &alarm, agree(stream, &material, &link)).await {
        Some(agreed) => agreed,
        None => return handshakes.handshake(Handshake::Late),
    };
    let stream = match agreed {
        Ok(Some(stream)) => stream,
        // Whoever verifies us has seen what it came for.
        Ok(None) => return,
        Err(error) => {
            // The alert has told the client. Strangers' mistakes are no news for an operator.
            tracing::debug!(%error, peer = %link.peer, "a TLS handshake failed");
            return handshakes.handshake(Handshake::Failed);
        }
    };
    let agreed = stream.get_ref().1;
    let now = link.core.shared.clock.now();
    let Some(session) = Session::new(material, agreed, now) else {
        return handshakes.handshake(Handshake::Failed);
    };
    let resumed = agreed.handshake_kind() == Some(HandshakeKind::Resumed);
    handshakes.handshake(if resumed { Handshake::Resumed } else { Handshake::Full });
    // The cell is empty: a connection has one handshake.
    let _ = link.session.set(Rc::new(session));
    link.await_first_request();
    drop(alarm);
    serve_chosen(stream, link).await;
}

/// Hands the connection to the protocol that was chosen; who offered none speaks HTTP/1.1.
async fn serve_chosen(stream: TlsStream<TcpStream>, link: Rc<Link>) {
    if stream.get_ref().1.alpn_protocol() == Some(HTTP_2) {
        http2::serve(TokioIo::new(stream), link).await;
    } else {
        connection::serve(TokioIo::new(stream), link).await;
    }
}

/// The handshake itself. What the client says first is read before the terms are chosen. `None` where it was a challenge of
/// ACME's: nothing is ever spoken on such a connection (RFC 8737 §3).
async fn agree(
    stream: TcpStream,
    material: &Arc<Material>,
    link: &Link,
) -> std::io::Result<Option<TlsStream<TcpStream>>> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let challenges = link.core.shared.challenges();
    if challenges.awaits_a_handshake()
        && let Some(terms) = challenges.terms(&start.client_hello())
    {
        let mut stream = start.into_stream(terms).await?;
        stream.shutdown().await?;
        return Ok(None);
    }
    start.into_stream(Arc::clone(material.config())).await.map(Some)
}

/// Lets something happen within the connection's deadlines; `None` where it did not.
async fn in_time<T>(link: &Link, alarm: &Alarm, what: impl Future<Output = T>) -> Option<T> {
    let mut what = pin!(what);
    let mut told = false;
    poll_fn(|cx| {
        if let Poll::Ready(done) = what.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        if link.core.draining.get() && !std::mem::replace(&mut told, true) {
            link.deadlines.set(Late::Head, LAST_CALL);
        }
        if link.deadlines.take_due().is_some() {
            return Poll::Ready(None);
        }
        alarm.ring_by(link.deadlines.next(), cx);
        Poll::Pending
    })
    .await
}

/// Somebody wrote http:// where https:// belongs. Their request is not read: it has been sent in the clear, and an answer
/// that sends them on would let them never notice.
async fn answer_in_the_clear(stream: TcpStream, first: u8, link: &Rc<Link>, alarm: &Alarm) {
    // Methods begin with a capital; what does not is no HTTP, and gets no answer in it.
    if first.is_ascii_uppercase() {
        let answer = connection::refusal(link, Reason::Malformed(NOT_TLS));
        link.lingers.set(true);
        connection::close(&mut TokioIo::new(stream), link, alarm, &answer).await;
    }
}
