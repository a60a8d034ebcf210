//! Cells in Redis: one script decides about a whole stack of limits at one moment of the server's clock.
//!
//! What it promises:
//! - All limits of a charge are charged or none, in one round trip. In a cluster, where their keys lie in different slots,
//!   each slot is reserved by itself, all at once, and given back if another refuses; so a neighbour may for a moment see a
//!   reservation that is then taken back, and be refused for it, but never the other way round.
//! - Every key runs out by itself when its cell says the same as none, and is set with that time in one command.
//! - No call is sent twice that may have been run. If an answer is lost the charge stays, if it was made.
//! - A key that is known to be refused is refused here, without a question: see [`refusals`] for how long.
//! - If a server loses data (a crash without persistence, a failover), limits count anew what was lost. [`Identity`] tells.
//!
//! Redis 6.2 or later, and what speaks as it does (Valkey); `maxmemory-policy` must be `noeviction`, or counts may vanish.

mod cluster;
mod lane;
mod options;
mod refusals;
mod script;
mod sentinel;
mod stream;
mod wire;

use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

pub use options::{RedisOptions, RedisOptionsError};
use parking_lot::{Mutex, RwLock};
use portcullis_core::Timestamp;
use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::cluster::{Cluster, slot};
use self::lane::{Lane, Request};
use self::options::Arrangement;
use self::refusals::{FRESH, Refusals, with_twins};
use self::script::{CHARGE, EPOCH, GIVE_BACK, Verdict};
use self::sentinel::Target;
use self::stream::{Connector, error_of};
use self::wire::Value;
use super::shared::{Answer, BoxFuture, Identity, SharedStore, StoreError};
use crate::key::Key;
use crate::limiter::{Ask, Charge, Denied, Receipt, Receipts, Standing, Standings};

/// The key that is set anew with every reset, so that all instances forget what they know of refusals. A limit without a
/// name could have keys that begin like it, but there is none.
const RESETS: &str = "rl::resets";
/// The key of the mark that tells a store from what it is after it lost its data.
const EPOCH_KEY: &str = "rl::epoch";

/// Cells in Redis: one server, a master that Sentinels watch, or a cluster.
#[derive(Debug)]
pub struct RedisStore {
    inner: Arc<Inner>,
    health: AbortHandle,
}

#[derive(Debug)]
struct Inner {
    servers: Servers,
    name: Box<str>,
    timeout: Duration,
    refusals: Refusals,
    clock: ServerClock,
    /// What a test makes of the server's time.
    moved: RwLock<String>,
}

#[derive(Debug)]
enum Servers {
    /// Lanes to one server, taken in turns.
    One {
        lanes: Vec<Lane>,
        next: AtomicUsize,
    },
    Cluster(Box<Cluster>),
}

/// What a store has met with since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisFigures {
    /// Requests that were refused without a question, because their key was known to be refused.
    pub refused_locally: u64,
    /// Charges whose answer came after they had been given up: they stay charged.
    pub late: u64,
    /// Charges that could not be given back because too much was queued or there was no connection: they stay charged.
    pub lost_give_backs: u64,
}

impl RedisStore {
    /// A store that speaks to Redis by tasks on this runtime. It does not wait for the connection; whoever wants to know
    /// asks [`SharedStore::ping`].
    ///
    /// # Errors
    /// [`StoreError`] where the CA file cannot be used.
    pub fn new(options: &RedisOptions, runtime: &Handle) -> Result<Self, StoreError> {
        let connector = Connector::new(options)?;
        let fixed =
            || options.hosts.first().cloned().map(|address| Target::Fixed { address, connector: connector.clone() });
        let target = match &options.arrangement {
            Arrangement::Cluster => None,
            Arrangement::Single => fixed(),
            Arrangement::Sentinel(master) => Some(Target::Master {
                master: master.clone(),
                sentinels: options.hosts.clone(),
                to_sentinels: connector.to_sentinels(options),
                connector: connector.clone(),
            }),
        };
        let (servers, name) = match target {
            Some(target) => {
                let lane = || Lane::new(target.clone(), options.timeout, runtime);
                let lanes = std::iter::repeat_with(lane).take(options.connections.max(1)).collect();
                (Servers::One { lanes, next: AtomicUsize::new(0) }, target.name())
            }
            None => {
                let cluster = Cluster::new(options.hosts.clone(), connector, options.timeout, runtime);
                let name = cluster.name();
                (Servers::Cluster(Box::new(cluster)), name)
            }
        };
        let inner = Arc::new(Inner {
            servers,
            name,
            timeout: options.timeout,
            refusals: Refusals::new(),
            clock: ServerClock::default(),
            moved: RwLock::new("+0".to_owned()),
        });
        let watched = Arc::downgrade(&inner);
        let health = runtime.spawn(async move {
            while let Some(inner) = watched.upgrade() {
                // Whether it works is told to whoever asks; here it is for the resets.
                let _ = inner.ping().await;
                drop(inner);
                tokio::time::sleep(FRESH / 2).await;
            }
        });
        Ok(Self { inner, health: health.abort_handle() })
    }

    /// What the store has met with.
    #[must_use]
    pub fn figures(&self) -> RedisFigures {
        RedisFigures {
            refused_locally: self.inner.refusals.answered(),
            late: self.inner.servers.late(),
            lost_give_backs: self.inner.servers.lost(),
        }
    }

    /// Sets the time that scripts go by, for tests: it stands still from then on.
    #[cfg(feature = "test-clock")]
    pub fn set_time(&self, now: Timestamp) {
        *self.inner.moved.write() = format!("={}", now.as_nanos() / 1000);
        self.inner.refusals.forget_all();
    }

    /// Shifts the time that scripts go by against the server's, for tests.
    #[cfg(feature = "test-clock")]
    pub fn shift_time(&self, micros: i64) {
        *self.inner.moved.write() = format!("{micros:+}");
        self.inner.refusals.forget_all();
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.health.abort();
    }
}

impl SharedStore for RedisStore {
    fn charge<'a>(&'a self, asks: &'a [Ask<'a>]) -> BoxFuture<'a, Answer> {
        Box::pin(self.inner.charge(asks))
    }

    fn peek<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<Standing, StoreError>> {
        Box::pin(self.inner.peek(ask))
    }

    fn give_back(&self, receipt: Receipt) {
        self.inner.give_back(&receipt);
    }

    fn reset<'a>(&'a self, limit: &'a str, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.inner.reset(key.name(limit)))
    }

    fn ping(&self) -> BoxFuture<'_, Result<Identity, StoreError>> {
        Box::pin(self.inner.ping())
    }
}

impl Inner {
    async fn charge(&self, asks: &[Ask<'_>]) -> Answer {
        let names: Vec<String> = asks.iter().map(|ask| ask.key.name(ask.limit)).collect();
        if asks.is_empty() {
            return Ok(Ok(Charge::new(Receipts::new(), Standings::new())));
        }
        if let Some(denied) = self.refusals.find(asks, &names) {
            return Ok(Err(denied));
        }
        let (asked, mark) = (std::time::Instant::now(), self.refusals.mark());
        let deadline = Instant::now() + self.timeout;
        // One group on one server; in a cluster one for each slot.
        let mut groups: Vec<Group<'_>> = Vec::with_capacity(1);
        for (index, (ask, name)) in asks.iter().zip(&names).enumerate() {
            let slot = self.servers.slot(name);
            match groups.iter_mut().find(|group| group.slot == slot) {
                Some(group) => group.push(index, ask, name),
                None => groups.push(Group { slot, places: vec![index], asks: vec![ask], names: vec![name] }),
            }
        }
        let verdicts = match groups.as_slice() {
            [group] => vec![self.ask(group, true, deadline).await],
            groups => join(groups.iter().map(|group| self.ask(group, true, deadline))).await,
        };
        if verdicts.iter().all(|verdict| verdict.as_ref().is_ok_and(|verdict| verdict.admitted)) {
            return Ok(Ok(admitted(&groups, verdicts)));
        }
        let mut denied: Option<(usize, Denied)> = None;
        let mut failed = None;
        for (group, verdict) in groups.iter().zip(verdicts) {
            match verdict {
                Ok(verdict) if verdict.admitted => {
                    // Reserved in vain: another group refuses or is out of reach.
                    group.receipts(&verdict).for_each(|(_, receipt)| self.give_back(&receipt));
                }
                Ok(verdict) => {
                    for (at, said) in verdict.said.iter().enumerate() {
                        let ask = group.asks[at];
                        let Some(retry_at) = said.assessment.retry_at.filter(|_| ask.enforce) else { continue };
                        let standing = Standing::new(ask, &said.assessment, verdict.now);
                        let refused = Denied { standing, retry_after: retry_at.since(verdict.now) };
                        let cost = with_twins(asks, &names, group.places[at]);
                        self.refusals.learn(ask, group.names[at], cost, refused.clone(), asked, mark);
                        // The longest wait is told, of several the first ask's: whoever waits that long is admitted by all.
                        let place = group.places[at];
                        if denied.as_ref().is_none_or(|(before, held)| {
                            held.retry_after < refused.retry_after
                                || (held.retry_after == refused.retry_after && place < *before)
                        }) {
                            denied = Some((place, refused));
                        }
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        match (denied, failed) {
            (Some((_, denied)), _) => Ok(Err(denied)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(StoreError::Protocol {
                store: self.name.clone(),
                answer: "a refusal without a limit that refuses".into(),
            }),
        }
    }

    async fn peek(&self, ask: &Ask<'_>) -> Result<Standing, StoreError> {
        let name = ask.key.name(ask.limit);
        let group = Group { slot: self.servers.slot(&name), places: vec![0], asks: vec![ask], names: vec![&name] };
        let verdict = self.ask(&group, false, Instant::now() + self.timeout).await?;
        let said = verdict.said.first().ok_or_else(|| self.protocol(&Value::Nil))?;
        Ok(Standing::new(ask, &said.assessment, verdict.now))
    }

    /// Runs the script for the asks of one slot.
    async fn ask(&self, group: &Group<'_>, write: bool, deadline: Instant) -> Result<Verdict, StoreError> {
        let moved = self.moved();
        let mut around = self.clock.now();
        loop {
            let words = script::charge_words(&group.asks, &group.names, write, around, &moved);
            match self.servers.call(group.slot, Request::script(&CHARGE, words), deadline).await? {
                Value::Error(error) => match script::clock_of(&error) {
                    // The periods of a calendar that it was told are not around its time; it charged nothing.
                    Some(now) if now != around => {
                        self.clock.set(now);
                        around = now;
                    }
                    _ => return Err(error_of(&self.name, &error)),
                },
                value => {
                    let verdict = script::read(&group.asks, &group.names, &value);
                    let verdict = verdict.ok_or_else(|| self.protocol(&value))?;
                    // Only calendars ask for it, and so only they keep it.
                    if group.asks.iter().any(|ask| ask.rate.calendar().is_some()) {
                        self.clock.set(verdict.now);
                    }
                    return Ok(verdict);
                }
            }
        }
    }

    fn give_back(&self, receipt: &Receipt) {
        let Some(name) = receipt.shared.as_deref() else { return };
        self.refusals.forget(name);
        let words = script::give_back_words(receipt, name, &self.moved());
        self.servers.tell(self.servers.slot(name), Request::script(&GIVE_BACK, words));
    }

    async fn reset(&self, name: String) -> Result<bool, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let removed = self.command(self.servers.slot(&name), "DEL", &[&name], deadline).await;
        // Even if it is not known whether it was done. Later than that: whoever reads the mark anew asks after the reset.
        let mark = format!("{:016x}", RandomState::new().hash_one(&name));
        let told = self.command(self.servers.slot(RESETS), "SET", &[RESETS, &mark, "PX", "86400000"], deadline).await;
        self.refusals.forget_all();
        told?;
        Ok(removed?.int() == Some(1))
    }

    async fn ping(&self) -> Result<Identity, StoreError> {
        let (asked, deadline) = (std::time::Instant::now(), Instant::now() + self.timeout);
        let mark = format!("{:016x}", RandomState::new().hash_one(EPOCH_KEY));
        let epoch = Request::script(&EPOCH, wire::Words::of(&["1", EPOCH_KEY, &mark]));
        let epoch = self.answer(self.servers.call(self.servers.slot(EPOCH_KEY), epoch, deadline).await)?;
        let resets = self.command(self.servers.slot(RESETS), "GET", &[RESETS], deadline).await?;
        self.refusals.resets(resets.text().unwrap_or_default(), asked);
        let mut runs = Vec::new();
        for info in self.servers.info(deadline).await? {
            let info = self.answer(Ok(info))?;
            let run = info.text().and_then(|text| text.lines().find_map(|line| line.strip_prefix("run_id:")));
            runs.push(run.ok_or_else(|| self.protocol(&info))?.trim().to_owned());
        }
        runs.sort_unstable();
        Ok(Identity::new(format!("{} {}", epoch.text().unwrap_or_default(), runs.join(" "))))
    }

    async fn command(
        &self,
        slot: u16,
        command: &'static str,
        words: &[&str],
        deadline: Instant,
    ) -> Result<Value, StoreError> {
        self.answer(self.servers.call(slot, Request::command(command, words), deadline).await)
    }

    /// An error that the server tells is one.
    fn answer(&self, answer: Result<Value, StoreError>) -> Result<Value, StoreError> {
        match answer? {
            Value::Error(error) => Err(error_of(&self.name, &error)),
            value => Ok(value),
        }
    }

    fn moved(&self) -> String {
        if cfg!(feature = "test-clock") { self.moved.read().clone() } else { String::new() }
    }

    fn protocol(&self, answer: &Value) -> StoreError {
        let answer = format!("{answer:?}").chars().take(120).collect::<String>().into();
        StoreError::Protocol { store: self.name.clone(), answer }
    }
}

/// The asks of a charge whose keys lie in one slot, and their places in the charge.
struct Group<'a> {
    slot: u16,
    places: Vec<usize>,
    asks: Vec<&'a Ask<'a>>,
    names: Vec<&'a str>,
}

impl<'a> Group<'a> {
    fn push(&mut self, place: usize, ask: &'a Ask<'a>, name: &'a str) {
        self.places.push(place);
        self.asks.push(ask);
        self.names.push(name);
    }

    /// What was charged, each with the place of its ask.
    fn receipts(&self, verdict: &Verdict) -> impl Iterator<Item = (usize, Receipt)> {
        let charged = self.asks.iter().zip(&self.names).zip(&verdict.said).zip(&self.places);
        let charged = charged.filter(|(((ask, _), said), _)| said.fits && ask.cost > 0);
        charged.map(|(((ask, name), said), place)| (*place, Receipt::shared(ask, said.at, name)))
    }
}

/// The charge that the groups make together, in the order of the asks.
fn admitted(groups: &[Group<'_>], verdicts: Vec<Result<Verdict, StoreError>>) -> Charge {
    let mut receipts: SmallVec<[(usize, Receipt); 4]> = SmallVec::new();
    let mut standings: SmallVec<[(usize, Standing); 4]> = SmallVec::new();
    for (group, verdict) in groups.iter().zip(verdicts.into_iter().flatten()) {
        receipts.extend(group.receipts(&verdict));
        let told = group.asks.iter().zip(&verdict.said);
        let told = told.map(|(ask, said)| Standing::new(ask, &said.assessment, verdict.now));
        standings.extend(group.places.iter().copied().zip(told));
    }
    if groups.len() > 1 {
        receipts.sort_unstable_by_key(|(place, _)| *place);
        standings.sort_unstable_by_key(|(place, _)| *place);
    }
    let receipts = receipts.into_iter().map(|(_, receipt)| receipt).collect();
    Charge::new(receipts, standings.into_iter().map(|(_, standing)| standing).collect())
}

impl Servers {
    fn slot(&self, name: &str) -> u16 {
        match self {
            Self::One { .. } => 0,
            Self::Cluster(_) => slot(name),
        }
    }

    async fn call(&self, slot: u16, request: Request, deadline: Instant) -> Result<Value, StoreError> {
        match self {
            Self::One { .. } => self.lane().call(request, deadline).await,
            Self::Cluster(cluster) => cluster.call(slot, request, deadline).await,
        }
    }

    fn tell(&self, slot: u16, request: Request) {
        match self {
            Self::One { .. } => self.lane().tell(request),
            Self::Cluster(cluster) => cluster.tell(slot, request),
        }
    }

    /// What each master says of itself.
    async fn info(&self, deadline: Instant) -> Result<Vec<Value>, StoreError> {
        let info = || Request::command("INFO", &["server"]);
        match self {
            Self::One { .. } => Ok(vec![self.lane().call(info(), deadline).await?]),
            Self::Cluster(cluster) => {
                let masters = cluster.masters(deadline).await?;
                join(masters.iter().map(|lane| lane.call(info(), deadline))).await.into_iter().collect()
            }
        }
    }

    fn lane(&self) -> &Lane {
        match self {
            Self::One { lanes, next } if lanes.len() > 1 => &lanes[next.fetch_add(1, Ordering::Relaxed) % lanes.len()],
            Self::One { lanes, .. } => &lanes[0],
            Self::Cluster(_) => unreachable!("a cluster has a lane for each node"),
        }
    }

    fn lost(&self) -> u64 {
        match self {
            Self::One { lanes, .. } => lanes.iter().map(Lane::lost).sum(),
            Self::Cluster(cluster) => cluster.lost(),
        }
    }

    fn late(&self) -> u64 {
        match self {
            Self::One { lanes, .. } => lanes.iter().map(Lane::late).sum(),
            Self::Cluster(cluster) => cluster.late(),
        }
    }
}

/// About what time it is at the server, without a clock of our own being asked: it told, and so much has passed since.
#[derive(Debug)]
struct ServerClock(Mutex<(Timestamp, Instant)>);

impl Default for ServerClock {
    fn default() -> Self {
        Self(Mutex::new((Timestamp::EPOCH, Instant::now())))
    }
}

impl ServerClock {
    fn now(&self) -> Timestamp {
        let (told, at) = *self.0.lock();
        told.after(at.elapsed())
    }

    fn set(&self, now: Timestamp) {
        *self.0.lock() = (now, Instant::now());
    }
}

/// Waits for all, at once.
async fn join<T, F: Future<Output = T>>(futures: impl Iterator<Item = F>) -> Vec<T> {
    enum Slot<T, F> {
        Waiting(Pin<Box<F>>),
        Ready(Option<T>),
    }
    let mut slots: Vec<Slot<T, F>> = futures.map(|future| Slot::Waiting(Box::pin(future))).collect();
    std::future::poll_fn(|cx| {
        let mut waiting = false;
        for slot in &mut slots {
            if let Slot::Waiting(future) = slot {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *slot = Slot::Ready(Some(value)),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    let taken = slots.into_iter().filter_map(|slot| match slot {
        Slot::Ready(value) => value,
        Slot::Waiting(_) => None,
    });
    taken.collect()
}
