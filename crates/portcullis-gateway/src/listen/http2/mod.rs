//! One client connection that speaks HTTP/2. Each of its streams is an exchange of its own: a task with a [`Link`] of its
//! own, which is decided about and forwarded as a request of HTTP/1.1 is. The connection's part is here: its deadlines, what
//! it may ask for in vain, and its end.

mod flood;
mod frames;
mod prior;
mod stream;
mod watched;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection};
use portcullis_core::Reason;
use portcullis_watch::Http2Flood;

use self::watched::{Traffic, Watched};
use super::deadlines::Late;
use super::guarded::Transport;
use super::link::Link;
use super::wheel::Alarm;

use self::frames::PREFACE;
pub(super) use self::prior::knows_http2;

/// What a client may send on one stream before any of it has been taken, in bytes.
const STREAM_WINDOW: u32 = 128 * 1024;

/// The same on one connection.
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// The largest piece of an answer that waits for the socket, in bytes. There is one for each stream.
const PIECE: usize = 16 * 1024;

/// Heads of the requests under way on one connection, in multiples of the largest that one may have.
const HEADS: usize = 8;

/// Faults of a client by which the HTTP library has reset streams before it closes the connection for good.
const MAX_FAULTS: usize = 1_024;

/// Streams that a client has given up before they were looked at, at which the HTTP library closes the connection.
const MAX_UNSEEN: usize = 4_096;

/// Streams that we ended and of which more may be on its way.
const MAX_RESET: usize = 100;

/// How long a client that was told to go is listened to, so that it gets to read why.
const LINGER: Duration = Duration::from_secs(1);

/// How long a client may take to say that it has understood that the connection ends.
const LAST_CALL: Duration = Duration::from_millis(500);

/// What the streams of one connection share.
struct Streams {
    link: Rc<Link>,
    traffic: Rc<Traffic>,
    open: Cell<usize>,
    /// Bytes of the heads of those.
    heads: Cell<usize>,
    /// Alarms that no stream has at the moment: making one costs more than handing it on.
    alarms: RefCell<Vec<Alarm>>,
    /// Whether the client was told that the connection ends.
    closing: Cell<bool>,
}

impl Streams {
    /// Room for one more request with a head of this size.
    fn enter(self: &Rc<Self>, head: usize) -> Option<Seat> {
        let heads = self.heads.get() + head;
        if heads > HEADS * self.link.transport.max_head_bytes {
            return None;
        }
        self.heads.set(heads);
        self.open.set(self.open.get() + 1);
        // From now on the stream has deadlines of its own.
        self.link.deadlines.clear(Late::Idle);
        Some(Seat { streams: Rc::clone(self), head })
    }

    /// A client has left no room for an answer for too long. The stream is reset, which wakes the connection: it looks at the
    /// budget then.
    fn stalled(&self) {
        self.link.core.shared.metrics.connections_stalled.add(1);
        self.traffic.budgets.spend(Http2Flood::ZeroWindow);
    }
}

/// One stream's place in its connection.
struct Seat {
    streams: Rc<Streams>,
    head: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let streams = &self.streams;
        streams.open.set(streams.open.get() - 1);
        streams.heads.set(streams.heads.get() - self.head);
        if streams.open.get() == 0 {
            let wait = if streams.closing.get() { LAST_CALL } else { streams.link.transport.idle_timeout };
            streams.link.deadlines.set(Late::Idle, wait);
        }
    }
}

/// How a connection ended.
enum End {
    /// In order.
    Done,
    /// It is cut off.
    Broken,
}

/// Serves a connection of HTTP/2 from its preface to its end.
pub(super) async fn serve<I: Transport>(io: I, link: Rc<Link>) {
    let alarm = link.core.wheel.alarm();
    let traffic = Rc::new(Traffic::new(&link));
    let streams = Rc::new(Streams {
        link: Rc::clone(&link),
        traffic: Rc::clone(&traffic),
        open: Cell::new(0),
        heads: Cell::new(0),
        alarms: RefCell::default(),
        closing: Cell::new(false),
    });
    let mut handshake = pin!(builder(&link).handshake::<_, Bytes>(Watched::new(io, Rc::clone(&traffic))));
    let begun = poll_fn(|cx| {
        traffic.begin_turn();
        if let Poll::Ready(begun) = handshake.as_mut().poll(cx) {
            return Poll::Ready(begun.ok());
        }
        if traffic.budgets.tripped().is_some() || link.deadlines.take_due().is_some() {
            return Poll::Ready(None);
        }
        alarm.ring_by(link.deadlines.next(), cx);
        Poll::Pending
    })
    .await;
    // Who does not begin with the preface gets nothing: no frame of ours would be understood (RFC 9113 section 3.4).
    let Some(mut connection) = begun else { return };
    let mut driver = Driver { link: &link, traffic: &traffic, streams: &streams, told: false };
    let end = poll_fn(|cx| driver.turn(&mut connection, &alarm, cx)).await;
    if matches!(end, End::Broken) {
        link.broken.set(true);
    }
    // The streams still open hear of its end by the library, and their tasks with them.
}

fn builder(link: &Link) -> Builder {
    let head = u32::try_from(link.transport.max_head_bytes).unwrap_or(u32::MAX);
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(link.transport.max_concurrent_streams)
        // Heads up to twice the bound are read, so that they can be refused with an answer of ours.
        .max_header_list_size(head.saturating_mul(2))
        .max_send_buffer_size(PIECE)
        .max_local_error_reset_streams(Some(MAX_FAULTS))
        // The budget for streams that are given up counts these too, and is smaller.
        .max_pending_accept_reset_streams(MAX_UNSEEN)
        // What a client still sends on a stream that we ended, because it has not heard of that yet, is no fault.
        .max_concurrent_reset_streams(MAX_RESET)
        .reset_stream_duration(Duration::from_secs(5));
    builder
}

/// What drives the connection's own part.
struct Driver<'a> {
    link: &'a Rc<Link>,
    traffic: &'a Traffic,
    streams: &'a Rc<Streams>,
    /// Whether it was told why it has to go.
    told: bool,
}

impl Driver<'_> {
    /// One turn: lets the library go on, begins what was asked for, then looks at the deadlines.
    fn turn<I: Transport>(
        &mut self,
        connection: &mut Connection<Watched<I>, Bytes>,
        alarm: &Alarm,
        cx: &mut Context<'_>,
    ) -> Poll<End> {
        self.traffic.begin_turn();
        if self.link.core.draining.get() {
            self.end_in_order(connection);
        }
        loop {
            if let Some(kind) = self.traffic.budgets.tripped()
                && !self.told
            {
                self.report(kind);
                self.send_away(connection, h2::Reason::ENHANCE_YOUR_CALM);
            }
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    stream::begin(self.streams, request, respond);
                    continue;
                }
                Poll::Ready(Some(Err(error))) => {
                    let calm = error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) && !error.is_remote();
                    if calm && !self.told {
                        self.report(Http2Flood::Library);
                    }
                    return Poll::Ready(if error.is_io() { End::Broken } else { End::Done });
                }
                Poll::Ready(None) => return Poll::Ready(End::Done),
                Poll::Pending => {}
            }
            if self.traffic.budgets.tripped().is_some() && !self.told {
                continue;
            }
            match self.link.deadlines.take_due() {
                None => break,
                Some(Late::Idle) if self.streams.closing.get() => return Poll::Ready(End::Done),
                Some(Late::Idle) => self.end_in_order(connection),
                Some(Late::Head) => {
                    self.link.core.shared.metrics.refused(&Reason::RequestTimeout);
                    self.send_away(connection, h2::Reason::NO_ERROR);
                }
                Some(late) => {
                    if late == Late::ClientWrite {
                        self.link.core.shared.metrics.connections_stalled.add(1);
                    }
                    return Poll::Ready(End::Broken);
                }
            }
        }
        alarm.ring_by(self.link.deadlines.next(), cx);
        Poll::Pending
    }

    /// Takes no more requests, and ends when those under way have ended.
    fn end_in_order<I: Transport>(&self, connection: &mut Connection<Watched<I>, Bytes>) {
        if self.streams.closing.replace(true) {
            return;
        }
        connection.graceful_shutdown();
        if self.streams.open.get() == 0 {
            self.link.deadlines.set(Late::Idle, LAST_CALL);
        }
    }

    /// Ends the connection with all its streams at once.
    fn send_away<I: Transport>(&mut self, connection: &mut Connection<Watched<I>, Bytes>, why: h2::Reason) {
        if self.told {
            return;
        }
        self.told = true;
        connection.abrupt_shutdown(why);
        self.link.deadlines.clear_all();
        self.link.deadlines.set(Late::Total, LINGER);
    }

    fn report(&self, kind: Http2Flood) {
        let shared = &self.link.core.shared;
        shared.metrics.http2_flood(kind);
        shared.gate.note_flood(self.link.peer, kind.as_str(), shared.clock.now());
    }
}
