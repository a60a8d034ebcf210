//! Which version of HTTP a client speaks that was not asked: on a listener without TLS its first bytes say it.

use std::future::poll_fn;
use std::task::Poll;

use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::super::deadlines::Late;
use super::super::link::Link;
use super::super::wheel::TICK;
use super::{LAST_CALL, PREFACE};

/// So much of the preface is no method of HTTP/1.1.
const TELLING: usize = 4;

/// Whether a client begins with the preface of HTTP/2 (RFC 9113 section 3.3); its bytes are left where they are. `None` where
/// it says nothing in time.
pub(crate) async fn knows_http2(stream: &TcpStream, link: &Link) -> Option<bool> {
    let alarm = link.core.wheel.alarm();
    let mut told = false;
    loop {
        let mut first = [0; TELLING];
        let seen = poll_fn(|cx| {
            if link.core.draining.get() && !told {
                told = true;
                link.deadlines.set(Late::Idle, LAST_CALL);
            }
            let mut buffer = ReadBuf::new(&mut first);
            match stream.poll_peek(cx, &mut buffer) {
                Poll::Ready(seen) => return Poll::Ready(seen.ok()),
                Poll::Pending if link.deadlines.take_due().is_some() => return Poll::Ready(None),
                Poll::Pending => {}
            }
            alarm.ring_by(link.deadlines.next(), cx);
            Poll::Pending
        })
        .await?;
        // A client that has ended without a word is HTTP/1.1's to close.
        if seen == 0 || first[..seen] != PREFACE[..seen] {
            return Some(false);
        }
        if seen == TELLING {
            return Some(true);
        }
        if link.deadlines.take_due().is_some() {
            return None;
        }
        // The socket stays readable: waiting for it would not wait.
        tokio::time::sleep(TICK).await;
    }
}
