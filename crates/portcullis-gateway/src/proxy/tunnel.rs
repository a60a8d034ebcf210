//! After a 101 the two sockets belong to each other: bytes go both ways until one side ends, nobody speaks, the
//! credential expires or is revoked (T13) or the process stops.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::rt::{Read, ReadBuf, Write};
use portcullis_core::Principal;

use super::pool::Socket;
use crate::listen::{Alarm, Late, Link, Transport};

/// Bytes that wait in each direction.
const BUFFER: usize = 16 * 1024;

/// Pieces that are carried before others get a turn.
const TURNS: usize = 16;

/// The upstream's end of a tunnel that was granted.
pub(crate) struct Tunnel {
    /// The bare socket.
    pub(crate) socket: Socket,
    /// What the upstream said right behind its 101.
    pub(crate) read_ahead: Bytes,
    /// How long nobody may speak.
    pub(crate) idle_timeout: Duration,
    /// Whose credential opened it.
    pub(crate) holder: Option<Arc<Principal>>,
}

impl Tunnel {
    /// Carries bytes until the tunnel ends.
    pub(crate) async fn run<I: Transport>(mut self, mut client: I, said: Bytes, link: &Rc<Link>, alarm: &Alarm) {
        link.deadlines.clear_all();
        if !link.goes_on(self.holder.as_deref()) {
            return;
        }
        link.deadlines.set(Late::Idle, self.idle_timeout);
        let mut up = Direction::new(said);
        let mut down = Direction::new(std::mem::take(&mut self.read_ahead));
        std::future::poll_fn(|cx| {
            let mut moved = false;
            let up_end = up.carry(&mut client, &mut self.socket, &mut moved, link, cx);
            let down_end = down.carry(&mut self.socket, &mut client, &mut moved, link, cx);
            if moved {
                link.deadlines.set(Late::Idle, self.idle_timeout);
            }
            match (up_end, down_end) {
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(()),
                (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(()),
                _ => {}
            }
            while let Some(late) = link.deadlines.take_due() {
                if late != Late::Credential || !link.goes_on(self.holder.as_deref()) {
                    return Poll::Ready(());
                }
            }
            alarm.ring_by(link.deadlines.next(), cx);
            Poll::Pending
        })
        .await;
    }
}

/// One direction of a tunnel.
struct Direction {
    waiting: Bytes,
    /// Whether what was written may still wait on our side of the socket.
    unflushed: bool,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The sender has ended; what waits still has to be written.
    Ending,
    Ended,
}

impl Direction {
    const fn new(waiting: Bytes) -> Self {
        Self { waiting, unflushed: true, stage: Stage::Open }
    }

    /// Carries what can be carried now. Ready when this direction has ended.
    fn carry(
        &mut self,
        from: &mut (impl Read + Unpin),
        to: &mut (impl Write + Unpin),
        moved: &mut bool,
        link: &Link,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        for _ in 0..TURNS {
            while self.waiting.has_remaining() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.waiting))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.waiting.advance(written);
                *moved = true;
            }
            match self.stage {
                Stage::Open => {
                    let mut scratch = link.core.scratch.borrow_mut();
                    let mut buffer = ReadBuf::new(&mut scratch[..BUFFER]);
                    if Pin::new(&mut *from).poll_read(cx, buffer.unfilled())?.is_pending() {
                        // TLS keeps what the socket did not take, and nobody else would come back for it.
                        if self.unflushed && Pin::new(&mut *to).poll_flush(cx)?.is_ready() {
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    }
                    if buffer.filled().is_empty() {
                        self.stage = Stage::Ending;
                    } else {
                        let filled = buffer.filled();
                        self.unflushed = true;
                        // Nearly always all of it goes out at once, without a buffer of the tunnel's own.
                        let written = match Pin::new(&mut *to).poll_write(cx, filled) {
                            Poll::Ready(written) => written?,
                            Poll::Pending => 0,
                        };
                        *moved = true;
                        if written < filled.len() {
                            self.waiting = BytesMut::from(&filled[written..]).freeze();
                        }
                    }
                }
                Stage::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.stage = Stage::Ended;
                }
                Stage::Ended => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
