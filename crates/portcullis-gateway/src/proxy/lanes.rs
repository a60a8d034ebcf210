//! Connections of HTTP/2 to one address of an upstream: many exchanges on each, and as few connections as do.
//!
//! A connection is a task of its own on the core. It is pinged where there is reason to doubt it (a request that ran out of
//! time, a long rest before it is used again) and given up when it does not answer: pings without a reason are what servers of
//! gRPC close connections for.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::sync::Notify;

use super::dial::{Peer, Stream};
use crate::listen::{Alarm, Tick, Wheel};

/// Connections of one core to one address at most. What they have no room for waits for its turn on one of them.
const MAX_LANES: usize = 16;

/// Requests that are sent on a connection before the peer has said how many it takes at once.
const STREAMS_AT_FIRST: usize = 100;

/// What an upstream may send ahead of one client that does not keep up, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;

/// What it may send ahead on a connection: no bound of its own, or clients that do not keep up would stop the others.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// The largest head of a response, as HTTP/2 counts it.
const MAX_HEAD: u32 = 64 * 1024;

/// Bytes of one request body that wait to be written.
const MAX_SEND_BUFFER: usize = 64 * 1024;

/// Streams that were reset by us and may still be spoken of by the peer.
const MAX_RESET_STREAMS: usize = 64;

/// How long a peer may take to answer a ping.
const PONG: Duration = Duration::from_secs(5);

/// A connection that rested for so long is doubted.
const LONG_REST: Duration = Duration::from_secs(10);

/// The connections to one address.
#[derive(Default)]
pub(crate) struct Lanes {
    open: RefCell<Vec<Rc<Lane>>>,
    /// Whether somebody opens one; the others wait for it.
    opening: Cell<bool>,
    /// How often opening has failed: whoever waited for a failure fails with it.
    failures: Cell<u64>,
    opened: Notify,
}

/// One connection.
struct Lane {
    sender: SendRequest<Bytes>,
    seats: Cell<usize>,
    /// Since when nobody has used it.
    rests_since: Cell<Tick>,
    pulse: Rc<Pulse>,
}

/// What a connection's task and its users tell each other.
#[derive(Default)]
struct Pulse {
    ended: Cell<bool>,
    /// Whether the peer is to be asked whether it is still there.
    doubted: Cell<bool>,
    /// Whether it has let a request run out of time, and not answered since.
    late: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

impl Pulse {
    fn wake(&self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.wake();
        }
    }

    /// Asks the peer whether it is still there.
    fn doubt(&self) {
        self.doubted.set(true);
        self.wake();
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Without anybody who could send, the connection's task closes it in order.
        self.pulse.wake();
    }
}

/// A place on a connection, for one exchange.
pub(crate) struct Seat {
    /// Sends one request.
    pub(crate) sender: SendRequest<Bytes>,
    /// Whether the connection was there before, and may thus be stale.
    pub(crate) reused: bool,
    lane: Rc<Lane>,
    wheel: Rc<Wheel>,
}

impl Seat {
    /// The peer did not answer in time. Until it answers a ping it gets no other request.
    pub(crate) fn late(&self) {
        self.lane.pulse.late.set(true);
        self.lane.pulse.doubt();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let seats = self.lane.seats.get().saturating_sub(1);
        self.lane.seats.set(seats);
        if seats == 0 {
            self.lane.rests_since.set(self.wheel.now());
        }
    }
}

/// Ends the wait of all who wait for a connection, however opening it ends.
struct Opening<'a>(&'a Lanes);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.opened.notify_waiters();
    }
}

impl Lanes {
    /// A place on a connection: on the emptiest that has room, or on a fresh one.
    ///
    /// # Errors
    /// Where no connection can be opened.
    pub(crate) async fn seat(&self, peer: &Peer, wheel: &Rc<Wheel>) -> io::Result<Seat> {
        let failures = self.failures.get();
        let mut waited = false;
        loop {
            let (best, has_room, count) = poll_fn(|cx| Poll::Ready(self.best(cx))).await;
            if let Some(lane) = best
                && (has_room || count >= MAX_LANES)
            {
                return Ok(Self::take(lane, wheel, !waited));
            }
            if !self.opening.get() {
                self.opening.set(true);
                let _opening = Opening(self);
                let lane = open(peer, wheel).await.inspect_err(|_| self.failures.set(self.failures.get() + 1))?;
                self.open.borrow_mut().push(Rc::clone(&lane));
                return Ok(Self::take(lane, wheel, false));
            }
            waited = true;
            self.opened.notified().await;
            if self.failures.get() != failures {
                return Err(io::Error::other("the connection that was waited for could not be opened"));
            }
        }
    }

    fn take(lane: Rc<Lane>, wheel: &Rc<Wheel>, reused: bool) -> Seat {
        let seats = lane.seats.get();
        lane.seats.set(seats + 1);
        if seats == 0 && lane.rests_since.get().has_passed(LONG_REST, wheel) {
            lane.pulse.doubt();
        }
        Seat { sender: lane.sender.clone(), reused, wheel: Rc::clone(wheel), lane }
    }

    /// The connection with the fewest exchanges, whether it has room for another, and how many connections there are.
    fn best(&self, cx: &mut Context<'_>) -> (Option<Rc<Lane>>, bool, usize) {
        let mut open = self.open.borrow_mut();
        // One that has ended, or that the peer is about to close (GOAWAY), takes nothing more.
        open.retain(|lane| {
            !lane.pulse.ended.get() && matches!(lane.sender.clone().poll_ready(cx), Poll::Ready(Ok(())))
        });
        let best = open.iter().min_by_key(|lane| (lane.pulse.late.get(), lane.seats.get())).cloned();
        let has_room = best
            .as_ref()
            .is_some_and(|lane| !lane.pulse.late.get() && lane.seats.get() < lane.sender.current_max_send_streams());
        (best, has_room, open.len())
    }

    /// Lets go of connections that nobody has used for so long.
    pub(crate) fn sweep(&self, idle_timeout: Duration, wheel: &Wheel) {
        self.open.borrow_mut().retain(|lane| {
            !lane.pulse.ended.get() && (lane.seats.get() > 0 || !lane.rests_since.get().has_passed(idle_timeout, wheel))
        });
    }
}

async fn open(peer: &Peer, wheel: &Rc<Wheel>) -> io::Result<Rc<Lane>> {
    let stream = peer.dial().await?;
    let (sender, mut connection) = Builder::new()
        .enable_push(false)
        .initial_max_send_streams(STREAMS_AT_FIRST)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD)
        .max_send_buffer_size(MAX_SEND_BUFFER)
        .max_concurrent_reset_streams(MAX_RESET_STREAMS)
        .handshake(stream)
        .await
        .map_err(io::Error::other)?;
    let pulse = Rc::<Pulse>::default();
    let pings = connection.ping_pong();
    let task = run(connection, pings, Rc::clone(&pulse), wheel.alarm(), Rc::clone(wheel));
    tokio::task::spawn_local(task);
    Ok(Rc::new(Lane { sender, seats: Cell::new(0), rests_since: Cell::new(wheel.now()), pulse }))
}

/// Lets a connection read and write until it ends.
async fn run(
    mut connection: Connection<Stream, Bytes>,
    mut pings: Option<PingPong>,
    pulse: Rc<Pulse>,
    alarm: Alarm,
    wheel: Rc<Wheel>,
) {
    let mut pong_by: Option<Tick> = None;
    let end = poll_fn(|cx| {
        pulse.task.replace(Some(cx.waker().clone()));
        if let Some(pings) = &mut pings {
            if pulse.doubted.take() && pong_by.is_none() && pings.send_ping(Ping::opaque()).is_ok() {
                pong_by = Some(wheel.after(PONG));
            }
            if pong_by.is_some() && matches!(pings.poll_pong(cx), Poll::Ready(Ok(_))) {
                pong_by = None;
                pulse.late.set(false);
            }
        }
        if pong_by.is_some_and(|by| by <= wheel.now()) {
            return Poll::Ready(Err(None));
        }
        let polled = Pin::new(&mut connection).poll(cx).map_err(Some);
        if polled.is_pending() {
            alarm.ring_by(pong_by.unwrap_or(Tick::NEVER), cx);
        }
        polled
    })
    .await;
    pulse.ended.set(true);
    match end {
        Ok(()) => {}
        Err(Some(error)) => tracing::debug!(%error, "a connection of HTTP/2 to an upstream broke off"),
        Err(None) => tracing::debug!("a connection of HTTP/2 to an upstream answers no ping"),
    }
}
