//! Accepting connections: one current-thread runtime for each core, each with its own listening sockets.
//!
//! Nothing that a connection does leaves its core, so nothing on the way of a request needs a lock. What must be exact
//! across cores (connections per address, the gate's limits) is shared through [`Shared`] and `admission`.

mod admission;
mod bind;
mod connection;
mod core;
mod deadlines;
mod guarded;
mod handshake;
mod http2;
mod link;
mod session;
mod wheel;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderValue, Request};
use portcullis::{Gate, Policy};
use portcullis_core::{Clock, Reason};
use portcullis_watch::Metrics;
use tokio::sync::watch;

pub use self::bind::{Door, ListenError, Listeners};
pub(crate) use self::deadlines::Late;
pub(crate) use self::guarded::Transport;
pub(crate) use self::handshake::protocols;
pub(crate) use self::link::Link;
pub(crate) use self::wheel::{Alarm, TICK, Tick, Wheel};
use crate::acme::Challenges;
use crate::config::{TransportSettings, UpstreamSettings};
use crate::proxy::{AccessLog, Held, IdentityHandle, ToHttps};
use crate::tls;

/// What the transport reads of the configuration. One snapshot is taken for each request.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// Time-outs and bounds of client connections. Connections keep those they were opened with.
    pub transport: Arc<TransportSettings>,
    /// Where admitted requests go; the policy's routes name one by its index here.
    pub upstreams: Arc<[UpstreamSettings]>,
}

/// What all cores share.
pub struct Shared {
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) identity: Option<IdentityHandle>,
    pub(crate) access_log: Option<AccessLog>,
    /// What the process holds of bodies that have to be whole.
    pub(crate) held: Arc<Held>,
    settings: ArcSwap<ProxySettings>,
    /// What handshakes need; empty where no TLS is spoken.
    tls: Arc<tls::Current>,
    /// What is answered to whoever verifies that this gate is the host of a name.
    challenges: Arc<Challenges>,
    /// Where the plain listener beside TLS leads.
    to_https: Option<ToHttps>,
    /// Odd while a reload is under way.
    epoch: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// What the cores need: the gate, a clock, the settings, where to count, the identity endpoints (where there are
    /// any) and the access log (where it is on).
    #[must_use]
    pub fn new(
        gate: Arc<Gate>,
        clock: Arc<dyn Clock>,
        settings: ProxySettings,
        metrics: Arc<Metrics>,
        identity: Option<IdentityHandle>,
        access_log: Option<AccessLog>,
    ) -> Self {
        Self {
            gate,
            clock,
            metrics,
            identity,
            access_log,
            held: Arc::default(),
            settings: ArcSwap::from_pointee(settings),
            tls: Arc::default(),
            challenges: Arc::default(),
            to_https: None,
            epoch: AtomicU64::new(0),
        }
    }

    /// The same for cores that also speak TLS: with what is needed for that, the URL under which clients know this gate, and
    /// the port at which TLS is spoken.
    #[must_use]
    pub fn with_tls(self, material: Arc<tls::Material>, public_url: &str, port: u16) -> Self {
        self.tls.store(Some(material));
        Self { to_https: Some(ToHttps::new(public_url, port)), ..self }
    }

    /// From now on handshakes go by this.
    pub(crate) fn use_tls(&self, material: &Arc<tls::Material>) {
        self.tls.store(Some(Arc::clone(material)));
    }

    /// What handshakes need at the moment; empty where no TLS is spoken.
    pub(crate) const fn tls(&self) -> &Arc<tls::Current> {
        &self.tls
    }

    /// Answers to challenges of ACME's; empty but for the moments of an order.
    pub(crate) const fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    /// Where a request in the clear is sent on to.
    pub(crate) fn to_https<B>(&self, request: &Request<B>) -> Result<HeaderValue, Reason> {
        match (&self.to_https, &*self.tls.load()) {
            (Some(way), Some(material)) => way.location(request, material.names()),
            _ => Err(Reason::Misdirected),
        }
    }

    /// Replaces policy and settings together: no request is decided by one and forwarded by the other, where the same
    /// index may mean another upstream. Only one thread at a time may reload.
    pub fn reload(&self, settings: ProxySettings, policy: Policy) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.settings.store(Arc::new(settings));
        self.gate.reload(policy);
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Looks at the settings of the moment. No count that other cores share is touched.
    pub(crate) fn with_settings<T>(&self, look: impl FnOnce(&ProxySettings) -> T) -> T {
        look(&self.settings.load())
    }

    /// The number of the present configuration; `None` while it changes.
    pub(crate) fn epoch(&self) -> Option<u64> {
        Some(self.epoch.load(Ordering::SeqCst)).filter(|epoch| epoch.is_multiple_of(2))
    }
}

/// Whether the cores go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// They go on.
    NotYet,
    /// They finish what is under way, within this time.
    Within(Duration),
}

/// The running cores.
#[derive(Debug)]
pub struct Cores {
    threads: Vec<JoinHandle<io::Result<()>>>,
    stop: watch::Sender<Stop>,
}

/// Starts one thread with one runtime for each core of the listeners.
///
/// # Errors
/// Where the system gives no more threads.
pub fn run(listeners: Listeners, shared: &Arc<Shared>) -> io::Result<Cores> {
    let (stop, word) = watch::channel(Stop::NotYet);
    let admission = Arc::default();
    let mut threads = Vec::with_capacity(listeners.cores.len());
    for (index, sockets) in listeners.cores.into_iter().enumerate() {
        let (shared, admission, word) = (Arc::clone(shared), Arc::clone(&admission), word.clone());
        let thread = std::thread::Builder::new().name(format!("core-{index}"));
        threads.push(thread.spawn(move || core::run(shared, sockets, admission, word))?);
    }
    Ok(Cores { threads, stop })
}

impl Cores {
    /// Tells the cores to stop: they accept what is queued and nothing more, finish the requests under way with
    /// `Connection: close`, and cut off what is left after `drain`. Returns at once.
    pub fn stop(&self, drain: Duration) {
        self.stop.send_replace(Stop::Within(drain));
    }

    /// Waits until every core has ended. Blocks: call it from a thread that may.
    ///
    /// # Errors
    /// The first error of a core that could not run.
    pub fn join(self) -> io::Result<()> {
        let mut result = Ok(());
        for thread in self.threads {
            let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("a core panicked")));
            result = result.and(ended);
        }
        result
    }
}

#[cfg(test)]
pub(crate) mod tests;
