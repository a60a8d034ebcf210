//! One client connection from its first byte to its last: hyper drives the requests, the deadlines drive hyper.
//!
//! hyper's own header timeout is not used: it runs while a kept connection is idle, and closes without an answer. Here
//! an idle connection, a head that dribbles in and a client that stops reading have a deadline each, all behind one
//! coarse alarm.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::rt::ReadBuf;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use portcullis_core::{Facts, Reason};

use super::deadlines::Late;
use super::guarded::{Guarded, Transport};
use super::link::{Link, Phase};
use super::wheel::Alarm;
use crate::proxy::{self, ClientBody, wire};

/// How long we go on reading what a refused client still sends, so that it gets to read our answer instead of a reset.
const LINGER: Duration = Duration::from_secs(1);

/// How many bytes of it.
const LINGER_BYTES: usize = 256 * 1024;

/// The smallest buffer that hyper takes.
const MIN_BUFFER: usize = 8 * 1024;

/// How long a fresh connection may be silent when the process is about to stop.
pub(super) const LAST_CALL: Duration = Duration::from_millis(500);

/// How hyper's part of a connection ended.
enum End {
    /// In order, or by the client.
    Done,
    /// The head cannot be served; the client has not been told yet.
    Refused(Reason),
    /// In the middle of something.
    Broken,
}

/// Serves a connection to its end.
pub(crate) async fn serve<I: Transport>(io: I, link: Rc<Link>) {
    let alarm = link.core.wheel.alarm();
    let mut builder = http1::Builder::new();
    builder.max_buf_size(link.transport.max_head_bytes.max(MIN_BUFFER)).max_header_size(link.transport.max_head_bytes);
    builder.header_read_timeout(None);
    if link.transport.max_headers != 100 {
        // A hundred is hyper's own bound, and the only one that costs it no allocation.
        builder.max_headers(link.transport.max_headers);
    }
    let service = {
        let link = Rc::clone(&link);
        service_fn(move |request: Request<Incoming>| proxy::serve(Rc::clone(&link), request.map(ClientBody::Http1)))
    };
    let mut connection = builder.serve_connection(Guarded::new(io, Rc::clone(&link)), service);
    let mut told = false;
    let end = poll_fn(|cx| drive(&mut connection, &link, &alarm, &mut told, cx)).await;
    let parts = connection.into_parts();
    drop(parts.service);
    let mut io = parts.io.into_inner();
    if let Some(tunnel) = link.tunnel.take() {
        return match end {
            End::Done => tunnel.run(io, parts.read_buf, &link, &alarm).await,
            End::Refused(_) | End::Broken => (),
        };
    }
    match end {
        End::Done if link.broken.get() => io.cut_off(),
        End::Done => close(&mut io, &link, &alarm, &[]).await,
        End::Broken => io.cut_off(),
        End::Refused(reason) => {
            let answer = refusal(&link, reason);
            link.lingers.set(true);
            close(&mut io, &link, &alarm, &answer).await;
        }
    }
}

/// One turn of a connection: lets hyper go on, then looks at the deadlines.
fn drive<I, S, B>(
    connection: &mut http1::Connection<Guarded<I>, S>,
    link: &Rc<Link>,
    alarm: &Alarm,
    told: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<End>
where
    I: Transport,
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if link.core.draining.get() && !*told {
        *told = true;
        match (link.phase(), link.has_served()) {
            // It has had its answers and asks nothing.
            (Phase::Idle, true) => return Poll::Ready(End::Done),
            // It was accepted a moment ago: its first request is on the way, and is answered with `Connection: close`.
            (Phase::Idle, false) => link.deadlines.set(Late::Idle, LAST_CALL),
            (Phase::Head, _) => {}
            (Phase::Exchange, _) => Pin::new(&mut *connection).graceful_shutdown(),
        }
    }
    loop {
        let polled = Pin::new(&mut *connection).poll(cx);
        let missed = link.deadlines.take_missed();
        match polled {
            Poll::Ready(Ok(())) => {
                return Poll::Ready(if link.take_swallowed().is_some() {
                    End::Refused(Reason::Malformed(UNREADABLE))
                } else {
                    End::Done
                });
            }
            Poll::Ready(Err(error)) => return Poll::Ready(judge(link, &error)),
            Poll::Pending if missed.is_some() => return Poll::Ready(End::Broken),
            Poll::Pending => {}
        }
        match link.deadlines.take_due() {
            None => break,
            Some(Late::Idle) => return Poll::Ready(End::Done),
            Some(Late::Head) => return Poll::Ready(End::Refused(Reason::RequestTimeout)),
            Some(Late::ClientWrite) => {
                link.core.shared.metrics.connections_stalled.add(1);
                return Poll::Ready(End::Broken);
            }
            Some(Late::Credential) if link.goes_on(link.holder().as_deref()) => {}
            // The exchange answers for its own deadlines if it still can; if nobody takes the news, it cannot.
            Some(late) => link.deadlines.miss(late),
        }
    }
    alarm.ring_by(link.deadlines.next(), cx);
    Poll::Pending
}

const UNREADABLE: &str = "the request head is not valid HTTP/1.1 (RFC 9112 section 2.1)";

/// What an error of hyper's means to the client.
fn judge(link: &Link, error: &hyper::Error) -> End {
    let swallowed = link.take_swallowed();
    if link.phase() == Phase::Exchange || (swallowed.is_none() && !error.is_parse()) {
        return End::Broken;
    }
    End::Refused(match swallowed {
        Some(StatusCode::URI_TOO_LONG) => Reason::TargetTooLong,
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => Reason::HeadTooLarge,
        // HTTP/2 with prior knowledge ends here too: its preface is no HTTP/1.1 head (RFC 9113 section 3.4).
        _ => Reason::Malformed(UNREADABLE),
    })
}

/// The complete answer to a head that never became a request.
pub(super) fn refusal(link: &Link, reason: Reason) -> Vec<u8> {
    let shared = &link.core.shared;
    let id = link.core.ids.next();
    let now = shared.clock.now();
    let facts = Facts {
        method: &Method::GET,
        target: &Uri::from_static("/"),
        headers: &HeaderMap::new(),
        peer: link.peer,
        secure: link.is_secure(),
        certificate: None,
        id,
        now,
    };
    shared.metrics.refused(&reason);
    let refusal = shared.gate.refuse(&facts, reason);
    let mut problem = refusal.problem();
    if link.is_bare() {
        problem.headers.remove(STRICT_TRANSPORT_SECURITY);
    }
    shared.metrics.request(portcullis_watch::Outcome::Refuse, problem.status.as_u16(), Duration::ZERO);
    wire::bytes(&problem, id, now)
}

/// Writes what is left to say and closes: our direction first, so that the client can read to the end.
pub(super) async fn close<I: Transport>(io: &mut I, link: &Rc<Link>, alarm: &Alarm, mut bytes: &[u8]) {
    link.deadlines.clear_all();
    link.deadlines.set(Late::Total, LINGER);
    let mut late = pin!(poll_fn(|cx| {
        if link.deadlines.take_due().is_some() {
            return Poll::Ready(());
        }
        alarm.ring_by(link.deadlines.next(), cx);
        Poll::Pending
    }));
    let mut left = LINGER_BYTES;
    let mut shut = false;
    poll_fn(|cx| {
        while !bytes.is_empty() {
            match Pin::new(&mut *io).poll_write(cx, bytes) {
                Poll::Ready(Ok(written)) if written > 0 => bytes = &bytes[written..],
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return late.as_mut().poll(cx),
            }
        }
        if !shut {
            match Pin::new(&mut *io).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => shut = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return late.as_mut().poll(cx),
            }
        }
        while link.lingers.get() && left > 0 {
            let mut scratch = link.core.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *io).poll_read(cx, buffer.unfilled()) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => left = left.saturating_sub(buffer.filled().len()),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    drop(scratch);
                    return late.as_mut().poll(cx);
                }
            }
        }
        Poll::Ready(())
    })
    .await;
}
