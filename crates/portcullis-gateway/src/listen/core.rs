//! One core: its runtime, its listeners, its connections and everything they share without a lock.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::STRICT_TRANSPORT_SECURITY;
use hyper_util::rt::TokioIo;
use portcullis_core::{Problem, Reason};
use portcullis_watch::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::admission::Admission;
use super::bind::Door;
use super::connection;
use super::handshake;
use super::http2;
use super::link::Link;
use super::wheel::{TICK, Wheel};
use super::{Shared, Stop};
use crate::proxy::{Pool, RequestIds, wire};

/// How long accepting pauses when the process has no file descriptor left: long enough for some to close.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Bytes that are read from a client at once.
const SCRATCH: usize = 64 * 1024;

/// What the connections of one core share.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wheel: Rc<Wheel>,
    pub(crate) pool: Pool,
    pub(crate) ids: RequestIds,
    pub(crate) scratch: RefCell<Box<[u8]>>,
    pub(crate) draining: Cell<bool>,
    open: Cell<usize>,
    routes: RefCell<HashMap<Arc<str>, Counter>>,
}

impl Core {
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Self> {
        let wheel = Wheel::new();
        Rc::new(Self {
            shared,
            pool: Pool::new(Rc::clone(&wheel)),
            wheel,
            ids: RequestIds::new(),
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            draining: Cell::new(false),
            open: Cell::new(0),
            routes: RefCell::default(),
        })
    }

    /// Counts a request by its route. The counters are looked up once on each core; labels come from the configuration,
    /// so there are as many as it has routes.
    pub(crate) fn count_route(&self, route: &Arc<str>) {
        let mut routes = self.routes.borrow_mut();
        if let Some(counter) = routes.get(route) {
            return counter.add(1);
        }
        let counter = self.shared.metrics.route_requests(route);
        counter.add(1);
        routes.insert(Arc::clone(route), counter);
    }

    /// Serves one accepted connection on a task of its own.
    fn serve(self: &Rc<Self>, stream: TcpStream, door: Door, peer: IpAddr, admission: &Arc<Admission>) {
        let metrics = &self.shared.metrics;
        metrics.connections_accepted.add(1);
        let transport = self.shared.with_settings(|settings| Arc::clone(&settings.transport));
        let Some(seat) = admission.seat(peer, &transport) else {
            metrics.connections_refused.add(1);
            // A handshake to say so would cost more than what is refused.
            if door != Door::Tls {
                refuse(self, &stream, door);
            }
            return;
        };
        // Answers are written whole; waiting to fill a packet only delays them. Where it fails the socket is gone.
        let _ = stream.set_nodelay(true);
        let open = Open::new(self);
        let link = Link::new(Rc::clone(self), transport, door, peer);
        // hyper bounds its own loops; tokio's budget on top would only make the exchange's parts miss each other.
        tokio::task::spawn_local(tokio::task::unconstrained(async move {
            let asks_for_http2 = door == Door::Open && link.transport.h2c;
            let is_http2 = if asks_for_http2 { http2::knows_http2(&stream, &link).await } else { Some(false) };
            match is_http2 {
                // Apart, so that a connection of HTTP/1.1 is no larger for it.
                Some(true) => Box::pin(http2::serve(TokioIo::new(stream), link)).await,
                Some(false) if door == Door::Tls => Box::pin(handshake::serve(stream, link)).await,
                Some(false) => connection::serve(TokioIo::new(stream), link).await,
                None => {}
            }
            drop((seat, open));
        }));
    }
}

/// Counts a connection while it is open.
struct Open(Rc<Core>);

impl Open {
    fn new(core: &Rc<Core>) -> Self {
        core.open.set(core.open.get() + 1);
        core.shared.metrics.connections_open.add(1);
        Self(Rc::clone(core))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.shared.metrics.connections_open.add(-1);
    }
}

/// A connection too many is told so if its socket takes it at once, and closed.
fn refuse(core: &Core, stream: &TcpStream, door: Door) {
    let id = core.ids.next();
    let mut problem = Problem::new(&Reason::Overloaded, id);
    core.shared.gate.policy().response_headers().apply(&mut problem.headers);
    if door != Door::Open {
        problem.headers.remove(STRICT_TRANSPORT_SECURITY);
    }
    // It has a right to an answer, not to our time.
    let _ = socket2::SockRef::from(stream).send(&wire::bytes(&problem, id, core.shared.clock.now()));
}

/// Runs one core until it is told to stop and has drained.
pub(super) fn run(
    shared: Arc<Shared>,
    listeners: Vec<(Door, std::net::TcpListener)>,
    admission: Arc<Admission>,
    stop: watch::Receiver<Stop>,
) -> io::Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(main(Core::new(shared), listeners, admission, stop))
    // What is still open when the runtime goes is cut off: the drain time is over.
}

async fn main(
    core: Rc<Core>,
    listeners: Vec<(Door, std::net::TcpListener)>,
    admission: Arc<Admission>,
    mut stop: watch::Receiver<Stop>,
) -> io::Result<()> {
    let mut accepting = Vec::with_capacity(listeners.len());
    for (door, listener) in listeners {
        let listener = TcpListener::from_std(listener)?;
        accepting.push(tokio::task::spawn_local(accept(
            Rc::clone(&core),
            listener,
            door,
            Arc::clone(&admission),
            stop.clone(),
        )));
    }
    let turning = tokio::task::spawn_local(turn(Rc::clone(&core)));
    let drain = loop {
        if let Stop::Within(drain) = *stop.borrow_and_update() {
            break drain;
        }
        if stop.changed().await.is_err() {
            break Duration::ZERO;
        }
    };
    // The acceptors have seen the same word: they take what is queued and close.
    core.draining.set(true);
    for acceptor in accepting {
        // An acceptor that panicked accepts nothing any more either.
        let _ = acceptor.await;
    }
    core.wheel.wake_all();
    let last = tokio::time::Instant::now() + drain;
    while core.open.get() > 0 && tokio::time::Instant::now() < last {
        tokio::time::sleep(Duration::from_millis(5).min(TICK)).await;
    }
    turning.abort();
    Ok(())
}

/// Turns the wheel, and lets go of upstream connections that nobody has used for long.
async fn turn(core: Rc<Core>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut count = 0_u32;
    loop {
        ticks.tick().await;
        core.wheel.advance();
        count = count.wrapping_add(1);
        if count.is_multiple_of(64) {
            core.pool.sweep();
        }
    }
}

async fn accept(
    core: Rc<Core>,
    listener: TcpListener,
    door: Door,
    admission: Arc<Admission>,
    mut stop: watch::Receiver<Stop>,
) {
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => take(&core, door, &admission, accepted).await,
            _ = stop.wait_for(|word| *word != Stop::NotYet) => break,
        }
    }
    // A client whose connection waits in the kernel has done everything right. The kernel is asked itself: the runtime
    // may not have heard of the latest ones yet.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, peer)) = listener.accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            core.serve(stream, door, peer.ip(), &admission);
        }
    }
}

async fn take(core: &Rc<Core>, door: Door, admission: &Arc<Admission>, accepted: io::Result<(TcpStream, SocketAddr)>) {
    match accepted {
        Ok((stream, peer)) => core.serve(stream, door, peer.ip(), admission),
        Err(error) if is_exhausted(&error) => {
            tracing::warn!(%error, "cannot accept connections for the moment");
            tokio::time::sleep(BACK_OFF).await;
        }
        // The client was gone before we came; the next one is not.
        Err(error) => tracing::debug!(%error, "a connection failed before it was accepted"),
    }
}

/// Whether the process or the machine has run out of descriptors or memory.
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}
