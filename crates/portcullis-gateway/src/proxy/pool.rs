//! Connections to the upstreams, one pool for each core: nothing in it is locked.
//!
//! The connection used last is used first, so that the others grow old and are let go. hyper's connection future is kept
//! beside its sender and driven by the task of the request that borrows it: no task, no channel between tasks.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use portcullis_core::Reason;
use smallvec::SmallVec;

use super::body::RequestBody;
use super::dial::{Peer, Stream};
use super::lanes::{Lanes, Seat};
use crate::config::UpstreamSettings;
use crate::listen::{Late, Link, ProxySettings, Tick, Wheel};
use crate::upstream_tls::{advice, tls_error};

/// How long the same address is not complained about again.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// What is read ahead of an upstream for a client that does not keep up, in bytes; hyper's own bound is six times that.
const MAX_BUFFER: usize = 64 * 1024;

/// An upstream's socket as hyper sees it.
pub(crate) type Socket = TokioIo<Stream>;

/// An upstream's socket as hyper sees it: one buffer is sent as one buffer. hyper asks for a vectored write even of a
/// single one, which costs the kernel more than a plain one.
struct Plain(Socket);

impl Read for Plain {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match bufs {
            [bytes] => Pin::new(&mut self.0).poll_write(cx, bytes),
            _ => Pin::new(&mut self.0).poll_write_vectored(cx, bufs),
        }
    }
}

/// One connection to an upstream. Whoever holds it drives it.
pub(crate) struct Connected {
    pub(crate) sender: SendRequest<RequestBody>,
    connection: Connection<Plain, RequestBody>,
    ended: bool,
}

impl Connected {
    /// Lets the connection read and write. Ready when it has ended.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let polled = self.connection.poll_without_shutdown(cx);
        self.ended = polled.is_ready();
        polled
    }

    /// Whether it can take another request now.
    fn is_fit(&mut self, cx: &mut Context<'_>) -> bool {
        // An upstream that closed it, or said something unasked, is seen here.
        self.drive(cx).is_pending() && self.sender.is_ready()
    }

    /// The bare socket and what was read ahead of it, after a 101.
    pub(crate) fn into_socket(self) -> (Socket, bytes::Bytes) {
        let parts = self.connection.into_parts();
        (parts.io.0, parts.read_buf)
    }
}

/// An unused connection.
struct Unused {
    connected: Box<Connected>,
    until: Tick,
}

/// One address of an upstream.
pub(crate) struct Address {
    peer: Peer,
    unused: RefCell<Vec<Unused>>,
    /// The connections of HTTP/2, where that is spoken.
    lanes: Lanes,
    failed_until: Cell<Option<Tick>>,
    /// Until when nobody needs to be told again what is wrong with it.
    told: Cell<Option<Tick>>,
    wheel: Rc<Wheel>,
    idle_timeout: Duration,
    max_idle: usize,
}

impl Address {
    /// Takes the connection back. Whether it is fit for another request is asked when there is one.
    pub(crate) fn give_back(&self, connected: Box<Connected>) {
        let mut unused = self.unused.borrow_mut();
        if !connected.ended && unused.len() < self.max_idle {
            unused.push(Unused { connected, until: self.wheel.after(self.idle_timeout) });
        }
    }

    /// An unused connection that is still good.
    fn take(&self, cx: &mut Context<'_>) -> Option<Box<Connected>> {
        loop {
            let Unused { mut connected, until } = self.unused.borrow_mut().pop()?;
            if until > self.wheel.now() && connected.is_fit(cx) {
                return Some(connected);
            }
        }
    }

    fn is_skipped(&self) -> bool {
        self.failed_until.get().is_some_and(|until| until > self.wheel.now())
    }

    /// Tells the operator what is wrong with it. What TLS has to say is a matter of configuration or of an attack, and is
    /// told aloud, once in a while; that nobody listens is known already.
    pub(crate) fn tell(&self, error: &(dyn std::error::Error + 'static)) {
        let address = self.peer.text();
        let Some(fault) = tls_error(error) else {
            return tracing::debug!(address, %error, "an upstream cannot be reached or gives no answer");
        };
        if self.told.get().is_none_or(|until| until <= self.wheel.now()) {
            self.told.set(Some(self.wheel.after(TELL_AGAIN)));
            tracing::warn!(address, error = %fault, "TLS with an upstream fails: {}", advice(fault));
        }
    }

    async fn connect(&self) -> Result<Box<Connected>, io::Error> {
        let stream = self.peer.dial().await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_BUFFER)
            .handshake(Plain(TokioIo::new(stream)))
            .await
            .map_err(io::Error::other)?;
        Ok(Box::new(Connected { sender, connection, ended: false }))
    }
}

/// One upstream with its addresses.
pub(crate) struct Upstream {
    pub(crate) settings: UpstreamSettings,
    addresses: Vec<Rc<Address>>,
    next: Cell<usize>,
}

/// A borrowed connection.
pub(crate) struct Borrowed {
    pub(crate) connected: Box<Connected>,
    pub(crate) home: Rc<Address>,
    /// Whether it has served a request before, and may thus be stale.
    pub(crate) reused: bool,
}

impl Upstream {
    /// A connection: one that is unused, or a fresh one. The addresses take turns; one that cannot be reached is
    /// skipped for a while, and the next is tried. Nothing has been sent yet, so trying again is always safe.
    ///
    /// # Errors
    /// [`Reason::UpstreamUnreachable`] or, when time ran out, [`Reason::UpstreamTimeout`].
    pub(crate) async fn borrow(&self, link: &Link, fresh: bool) -> Result<Borrowed, Reason> {
        let mut reason = Reason::UpstreamUnreachable;
        for home in self.candidates() {
            if !fresh {
                let taken = poll_fn(|cx| Poll::Ready(home.take(cx))).await;
                if let Some(connected) = taken {
                    return Ok(Borrowed { connected, home, reused: true });
                }
            }
            match self.in_time(&home, link, home.connect()).await {
                Ok(connected) => return Ok(Borrowed { connected, home, reused: false }),
                Err(Tried::Over) => return Err(Reason::UpstreamTimeout),
                Err(Tried::Failed(why)) => reason = why,
            }
        }
        Err(reason)
    }

    /// The same for HTTP/2: a place on a connection.
    ///
    /// # Errors
    /// As [`Upstream::borrow`].
    pub(crate) async fn seat(&self, link: &Link) -> Result<(Seat, Rc<Address>), Reason> {
        let mut reason = Reason::UpstreamUnreachable;
        for home in self.candidates() {
            match self.in_time(&home, link, home.lanes.seat(&home.peer, &home.wheel)).await {
                Ok(seat) => return Ok((seat, home)),
                Err(Tried::Over) => return Err(Reason::UpstreamTimeout),
                Err(Tried::Failed(why)) => reason = why,
            }
        }
        Err(reason)
    }

    /// Opens a connection to an address within `connect_timeout`. An address that fails is skipped for a while.
    async fn in_time<T>(
        &self,
        home: &Address,
        link: &Link,
        opening: impl Future<Output = io::Result<T>>,
    ) -> Result<T, Tried> {
        link.deadlines.set(Late::Connect, self.settings.connect_timeout);
        let opened = open_in_time(home, link, opening).await;
        link.deadlines.clear(Late::Connect);
        match opened {
            Ok(_) => home.failed_until.set(None),
            Err(Tried::Over) => {}
            Err(Tried::Failed(_)) => {
                home.failed_until.set(Some(home.wheel.after(self.settings.retry_failed_after)));
            }
        }
        opened
    }

    /// The addresses in the order in which to try them: those in disgrace last, for they may be all there is.
    fn candidates(&self) -> SmallVec<[Rc<Address>; 4]> {
        let count = self.addresses.len();
        let first = self.next.get();
        self.next.set((first + 1) % count.max(1));
        let mut order: SmallVec<[Rc<Address>; 4]> =
            (0..count).map(|step| Rc::clone(&self.addresses[(first + step) % count])).collect();
        if count > 1 {
            order.sort_by_key(|address| address.is_skipped());
        }
        order
    }
}

/// Why there is no connection.
enum Tried {
    /// The whole exchange ran out of time, not this address.
    Over,
    /// This address failed.
    Failed(Reason),
}

async fn open_in_time<T>(
    home: &Address,
    link: &Link,
    opening: impl Future<Output = io::Result<T>>,
) -> Result<T, Tried> {
    let mut opening = std::pin::pin!(opening);
    poll_fn(|cx| {
        match link.deadlines.take_missed() {
            Some(Late::Connect) => return Poll::Ready(Err(Tried::Failed(Reason::UpstreamTimeout))),
            Some(_) => return Poll::Ready(Err(Tried::Over)),
            None => {}
        }
        opening.as_mut().poll(cx).map_err(|error| {
            home.tell(&error);
            Tried::Failed(Reason::UpstreamUnreachable)
        })
    })
    .await
}

/// The upstreams of one core.
pub(crate) struct Pool {
    wheel: Rc<Wheel>,
    built: RefCell<Option<Built>>,
}

/// The upstreams of one snapshot of the settings.
struct Built {
    settings: Arc<[UpstreamSettings]>,
    upstreams: Vec<Rc<Upstream>>,
}

impl Pool {
    pub(crate) const fn new(wheel: Rc<Wheel>) -> Self {
        Self { wheel, built: RefCell::new(None) }
    }

    /// The upstream with this index in these settings.
    pub(crate) fn upstream(&self, settings: &ProxySettings, index: usize) -> Option<Rc<Upstream>> {
        let mut built = self.built.borrow_mut();
        if let Some(built) = &*built
            && Arc::ptr_eq(&built.settings, &settings.upstreams)
        {
            return built.upstreams.get(index).cloned();
        }
        // A reload: requests under way keep their upstream alive, unused connections are let go.
        let upstreams: Vec<_> = settings.upstreams.iter().map(|settings| self.build(settings)).collect();
        let found = upstreams.get(index).cloned();
        *built = Some(Built { settings: Arc::clone(&settings.upstreams), upstreams });
        found
    }

    fn build(&self, settings: &UpstreamSettings) -> Rc<Upstream> {
        let addresses = settings
            .addresses
            .iter()
            .map(|text| {
                Rc::new(Address {
                    peer: Peer::new(settings, text),
                    told: Cell::new(None),
                    unused: RefCell::default(),
                    lanes: Lanes::default(),
                    failed_until: Cell::new(None),
                    wheel: Rc::clone(&self.wheel),
                    idle_timeout: settings.idle_timeout,
                    max_idle: settings.max_idle,
                })
            })
            .collect();
        Rc::new(Upstream { settings: settings.clone(), addresses, next: Cell::new(0) })
    }

    /// Lets go of connections that nobody has used for long.
    pub(crate) fn sweep(&self) {
        let now = self.wheel.now();
        if let Some(built) = &*self.built.borrow() {
            for address in built.upstreams.iter().flat_map(|upstream| &upstream.addresses) {
                address.unused.borrow_mut().retain(|unused| unused.until > now);
                address.lanes.sweep(address.idle_timeout, &self.wheel);
            }
        }
    }
}
