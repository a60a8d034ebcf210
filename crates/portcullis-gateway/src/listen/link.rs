//! What the parts of one client connection share: the bytes' side, the request's side and the driver between them.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use portcullis::Pass;
use portcullis_core::{Principal, Reason, Scheme, unmapped};

use super::bind::Door;
use super::core::Core;
use super::deadlines::{Deadlines, Late};
use super::session::Session;
use crate::config::TransportSettings;
use crate::proxy::Tunnel;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between two requests.
    Idle,
    /// Part of a head has arrived.
    Head,
    /// A request is being served.
    Exchange,
}

/// How often what a client's certificate opened is asked about while it goes on.
const CERTIFICATE_ASKED_AGAIN: Duration = Duration::from_secs(1);

/// One client connection, as its parts see each other. It never leaves its core.
pub(crate) struct Link {
    /// The core it lives on.
    pub(crate) core: Rc<Core>,
    /// The transport's bounds as they were when the connection was opened.
    pub(crate) transport: Arc<TransportSettings>,
    /// What the listener that it came by is for.
    pub(crate) door: Door,
    /// What was agreed upon by TLS, once it was.
    pub(crate) session: OnceCell<Rc<Session>>,
    /// Who is at the other end, IPv4 unwrapped.
    pub(crate) peer: IpAddr,
    /// Whether the peer is a trusted hop.
    pub(crate) peer_is_trusted: bool,
    /// What may take only so long.
    pub(crate) deadlines: Deadlines,
    /// The proof of the request under way; the body needs it for its trailers.
    pub(crate) pass: RefCell<Option<Pass>>,
    /// Why the request body broke off, for the answer.
    pub(crate) body_failure: RefCell<Option<Reason>>,
    /// Set before a 101 is written; taken once it is.
    pub(crate) tunnel: RefCell<Option<Tunnel>>,
    /// Whether the answer under way may outlive the end of its credential, but not its revocation.
    pub(crate) outlives_expiry: Cell<bool>,
    /// Whether the response head has been received from the upstream.
    pub(crate) answered: Cell<bool>,
    /// Whether the connection must end without looking complete.
    pub(crate) broken: Cell<bool>,
    /// Whether unread request bytes may be on their way when we close.
    pub(crate) lingers: Cell<bool>,
    /// Whether bytes of an exchange may still wait to be flushed.
    dirty: Cell<bool>,
    /// The status of the bare answer that hyper meant to give by itself.
    swallowed: Cell<Option<StatusCode>>,
    phase: Cell<Phase>,
    served: Cell<bool>,
    /// Whether it is one stream of a connection that carries many: what becomes of the connection is not for it to say.
    is_stream: bool,
    tail: Cell<Tail>,
    body_tail: Cell<Option<Tail>>,
    peer_text: OnceCell<HeaderValue>,
}

/// The last four bytes of something.
pub(crate) type Tail = [u8; 4];

impl Link {
    /// A connection that has just been accepted.
    pub(crate) fn new(core: Rc<Core>, transport: Arc<TransportSettings>, door: Door, peer: IpAddr) -> Rc<Self> {
        let peer = unmapped(peer);
        let deadlines = Deadlines::new(Rc::clone(&core.wheel));
        let peer_is_trusted = transport.trusted_hops.trusts(peer);
        let link = Self { peer_is_trusted, ..Self::fresh(core, transport, door, peer, deadlines) };
        link.await_first_request();
        Rc::new(link)
    }

    /// One stream of a connection of HTTP/2: to all that serves a request it is a connection with a single exchange.
    pub(crate) fn stream(connection: &Self) -> Rc<Self> {
        let core = Rc::clone(&connection.core);
        let deadlines = Deadlines::new(Rc::clone(&core.wheel));
        Rc::new(Self {
            session: connection.session.clone(),
            peer_is_trusted: connection.peer_is_trusted,
            is_stream: true,
            peer_text: OnceCell::from(connection.peer_text().clone()),
            ..Self::fresh(core, Arc::clone(&connection.transport), connection.door, connection.peer, deadlines)
        })
    }

    fn fresh(
        core: Rc<Core>,
        transport: Arc<TransportSettings>,
        door: Door,
        peer: IpAddr,
        deadlines: Deadlines,
    ) -> Self {
        Self {
            core,
            door,
            session: OnceCell::new(),
            peer,
            peer_is_trusted: false,
            transport,
            deadlines,
            pass: RefCell::new(None),
            body_failure: RefCell::new(None),
            tunnel: RefCell::new(None),
            outlives_expiry: Cell::new(false),
            answered: Cell::new(false),
            broken: Cell::new(false),
            lingers: Cell::new(false),
            dirty: Cell::new(false),
            swallowed: Cell::new(None),
            phase: Cell::new(Phase::Idle),
            served: Cell::new(false),
            is_stream: false,
            tail: Cell::new([0; 4]),
            body_tail: Cell::new(None),
            peer_text: OnceCell::new(),
        }
    }

    /// Begins the wait for the first request. Who connects has something to ask: the patience of a kept connection has to
    /// be earned.
    pub(crate) fn await_first_request(&self) {
        self.deadlines.clear_all();
        self.deadlines.set(Late::Idle, self.transport.head_timeout.min(self.transport.idle_timeout));
    }

    /// Whether the client speaks TLS with this process.
    pub(crate) fn is_secure(&self) -> bool {
        self.session.get().is_some()
    }

    /// Whether the client speaks in the clear where TLS is what we speak with clients: what is true of https must not be
    /// told to it (RFC 6797 §7.2).
    pub(crate) fn is_bare(&self) -> bool {
        self.door != Door::Open && !self.is_secure()
    }

    /// Where it stands.
    pub(crate) const fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Whether at least one request has been served.
    pub(crate) const fn has_served(&self) -> bool {
        self.served.get()
    }

    /// A head is complete: the exchange begins.
    pub(crate) fn begin_exchange(&self) {
        self.phase.set(Phase::Exchange);
        self.dirty.set(true);
        self.served.set(true);
        self.answered.set(false);
        self.outlives_expiry.set(false);
        self.lingers.set(false);
        self.body_tail.set(None);
        self.body_failure.take();
        self.deadlines.clear_all();
        if !self.transport.total_timeout.is_zero() {
            self.deadlines.set(Late::Total, self.transport.total_timeout);
        }
    }

    /// The response head has been received from the upstream. From now on the pace of what the client sends is an affair of
    /// both: it has the time for another piece, however slow it was.
    pub(crate) fn answer_begins(&self) {
        self.answered.set(true);
        if self.deadlines.awaits(Late::RequestBody) {
            self.deadlines.set(Late::RequestBody, self.transport.body_timeout);
        }
    }

    /// The answer has been handed over: the connection waits for the next request.
    pub(crate) fn end_exchange(&self) {
        self.phase.set(Phase::Idle);
        self.pass.take();
        self.deadlines.clear_all();
        if self.is_stream {
            return;
        }
        // If the last bytes read were not the end of this request, the next one has begun already and is a head.
        let tail = self.tail.get();
        let clean = tail == *b"\r\n\r\n" || tail.ends_with(b"\n\n") || self.body_tail.get() == Some(tail);
        let wait = if clean { self.transport.idle_timeout } else { self.transport.head_timeout };
        self.deadlines.set(Late::Idle, wait);
    }

    /// Bytes have arrived from the client.
    pub(crate) fn bytes_read(&self, bytes: &[u8]) {
        let mut tail = self.tail.get();
        if let Some(last) = bytes.last_chunk::<4>() {
            tail = *last;
        } else {
            for byte in bytes {
                tail.rotate_left(1);
                tail[3] = *byte;
            }
        }
        self.tail.set(tail);
        if self.phase.get() == Phase::Idle {
            self.phase.set(Phase::Head);
            self.deadlines.clear(Late::Idle);
            self.deadlines.set(Late::Head, self.transport.head_timeout);
        }
    }

    /// A piece of the request body has been taken out.
    pub(crate) fn body_read(&self, bytes: &[u8]) {
        self.body_tail.set(bytes.last_chunk::<4>().copied());
    }

    /// Whether what hyper writes now is its own bare answer to a head it cannot read: nothing of an exchange is left to
    /// write, and none is under way.
    pub(crate) const fn writes_unasked(&self) -> bool {
        !self.dirty.get()
    }

    /// Everything written so far has left.
    pub(crate) fn flushed(&self) {
        if self.phase.get() != Phase::Exchange {
            self.dirty.set(false);
        }
    }

    /// Keeps the status of hyper's bare answer; its bytes go nowhere.
    pub(crate) fn swallow(&self, bytes: &[u8]) {
        if self.swallowed.get().is_none() {
            let status = bytes.get(9..12).and_then(|digits| StatusCode::from_bytes(digits).ok());
            self.swallowed.set(Some(status.unwrap_or(StatusCode::BAD_REQUEST)));
        }
    }

    /// Takes the status of hyper's bare answer.
    pub(crate) fn take_swallowed(&self) -> Option<StatusCode> {
        self.swallowed.take()
    }

    /// Whose credential opened the exchange under way.
    pub(crate) fn holder(&self) -> Option<Arc<Principal>> {
        self.pass.borrow().as_ref().and_then(|pass| pass.principal().cloned())
    }

    /// Whether what the holder's credential opened may go on; if so, it is asked about again in time (T13).
    pub(crate) fn goes_on(&self, holder: Option<&Principal>) -> bool {
        let Some(holder) = holder else { return true };
        let shared = &self.core.shared;
        let mut wait = shared.gate.goes_on_for(holder, self.outlives_expiry.get(), shared.clock.now());
        if holder.parts().scheme == Scheme::Certificate {
            // The record of revocations knows nothing of certificates: the lists of their authorities do.
            wait = wait
                .filter(|_| matches!(self.certificate(), Some(Ok(_))))
                .map(|wait| wait.min(CERTIFICATE_ASKED_AGAIN));
        }
        if let Some(wait) = wait {
            self.deadlines.set(Late::Credential, wait);
        }
        wait.is_some()
    }

    /// The peer's address as a header value.
    pub(crate) fn peer_text(&self) -> &HeaderValue {
        self.peer_text.get_or_init(|| {
            HeaderValue::try_from(self.peer.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
        })
    }
}
