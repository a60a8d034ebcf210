//! Leased quota (L11): a node takes portions of a quota from the shared store and decides by itself.
//!
//! A portion is an ordinary charge of the shared cell, made in one step with a look at the store's mark. So the store's own
//! bound covers all that nodes hold: what a node that dies has not spent is simply spent, and exact charges of the same key by
//! others fit in beside it. What a portion may do is bounded on this side: it is spent within the aligned window that it was
//! charged in, by a clock that cannot be late, or not at all. With that, at most the quota is admitted in every aligned
//! window by all nodes together, while the store keeps what it acknowledged. When it may not have, its mark is another:
//! all that is held is dropped, and nothing is taken until the window of the loss is over ([`ground`]).
//!
//! Algorithms that promise something of aligned windows keep their promise with that: fixed window, calendar, and the sliding
//! window counter, whose own bound follows from the counts of two aligned windows wherever in them requests fall. A log, and
//! buckets, promise something of every interval; a portion that is spent later than it was charged breaks that by its size,
//! so that they are not leased ([`crate::Rate::check_lease`]).
//!
//! What it costs is use: units that one node holds are not there for another ([`demand`] says how many that are), and those of a
//! node that dies are lost for the window.

mod charge;
mod demand;
mod ground;
mod keeper;
mod pool;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use portcullis_core::Timestamp;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use self::ground::is_open;
use self::ground::{DRIFT, Footing, Ground, JITTER};
use self::pool::{Pool, Said, View};
use crate::key::Key;
use crate::limiter::{Ask, Denied, Receipt, Standing};
use crate::rate::Rate;

const SHARDS: usize = 64;
/// How many keys are leased at once, about 40 MB at the very most; each request of any other is asked for by itself.
const KEYS: usize = 65_536;

/// What leased limits have done and hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseFigures {
    /// Requests that were decided here, without a question.
    pub decided: u64,
    /// Keys that portions are taken of.
    pub keys: u64,
    /// Units that are held and not spent.
    pub held: u64,
    /// Units that were taken.
    pub taken: u64,
    /// Units that were given back unspent.
    pub given_back: u64,
    /// Requests that were refused because the store may have lost something in their limit's window.
    pub closed: u64,
}

/// All portions that a node holds.
#[derive(Debug)]
pub(crate) struct Leases {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    ground: Ground,
    /// Those that somebody has to look after, each once.
    queue: Mutex<VecDeque<Arc<Lease>>>,
    queued: Notify,
    keys: AtomicUsize,
    decided: AtomicU64,
    taken: AtomicU64,
    given_back: AtomicU64,
    closed: AtomicU64,
}

type Shard = HashMap<u64, SmallVec<[Arc<Lease>; 1]>, BuildHasherDefault<Hashed>>;

/// A key of a limit, and the units of it that are here.
#[derive(Debug)]
pub(crate) struct Lease {
    limit: Box<str>,
    key: Key,
    rate: Rate,
    pool: Mutex<Pool>,
}

/// What a request was charged out of a portion.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    lease: Arc<Lease>,
    generation: u64,
    /// Whether this process's memory counted it too, in the receipt's cell.
    pub(crate) counted: bool,
}

/// What is said of an ask without waiting.
enum Spend {
    Said(Arc<Lease>, Said),
    /// It has to be waited for.
    Empty(Arc<Lease>),
    /// There is no room for another key.
    Full,
}

/// A number that is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

impl Leases {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            hasher: RandomState::new(),
            ground: Ground::default(),
            queue: Mutex::default(),
            queued: Notify::new(),
            keys: AtomicUsize::new(0),
            decided: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            given_back: AtomicU64::new(0),
            closed: AtomicU64::new(0),
        }
    }

    /// Whether an ask is decided by portions. What costs nothing, or more than there can ever be, needs none.
    #[inline]
    pub(crate) fn covers(&self, ask: &Ask<'_>) -> bool {
        ask.lease && ask.cost > 0 && ask.cost <= ask.rate.capacity() && ask.rate.check_lease().is_ok()
    }

    /// Spends units that are here.
    fn spend(&self, ask: &Ask<'_>, now: Instant) -> Spend {
        let Some(lease) = self.find(ask, now) else { return Spend::Full };
        let (said, fetch) = lease.pool.lock().spend(ask.cost, self.ground.generation(), now);
        if fetch {
            self.look_after(&lease);
        }
        match said {
            Some(said) => {
                self.decided.fetch_add(1, Ordering::Relaxed);
                self.note(&said);
                Spend::Said(lease, said)
            }
            None => Spend::Empty(lease),
        }
    }

    fn note(&self, said: &Said) {
        self.closed.fetch_add(u64::from(matches!(said, Said::Closed(_))), Ordering::Relaxed);
    }

    /// The lease of a key and rate; a new one where there is room.
    fn find(&self, ask: &Ask<'_>, now: Instant) -> Option<Arc<Lease>> {
        let hash = self.hasher.hash_one(ask.key.as_bytes());
        let mut shard = self.shard(hash).lock();
        let held = shard.get(&hash).into_iter().flatten();
        let held =
            held.clone().find(|lease| lease.key == ask.key && lease.rate == *ask.rate && *lease.limit == *ask.limit);
        if let Some(lease) = held {
            return Some(Arc::clone(lease));
        }
        if self.keys.load(Ordering::Relaxed) >= KEYS {
            return None;
        }
        self.keys.fetch_add(1, Ordering::Relaxed);
        let (limit, key, rate) = (ask.limit.into(), ask.key.clone(), *ask.rate);
        let lease = Arc::new(Lease { limit, key, rate, pool: Mutex::new(Pool::new(now)) });
        shard.entry(hash).or_default().push(Arc::clone(&lease));
        Some(lease)
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        // The table below goes by the lowest and the highest bits.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    /// Hands a lease to one of those who speak to the store.
    fn look_after(&self, lease: &Arc<Lease>) {
        self.queue.lock().push_back(Arc::clone(lease));
        self.queued.notify_one();
    }

    /// How a leased limit stands that is closed because the store may have lost something, as far as that is known; `None`
    /// where it is open, or not leased.
    pub(crate) fn closed(&self, ask: &Ask<'_>) -> Option<Standing> {
        match self.ground.footing(ask.rate, Instant::now()) {
            Footing::Closed { until, now, .. } if ask.lease && ask.rate.check_lease().is_ok() => {
                Some(closed(ask.key.limit(), ask.rate, until, now).standing)
            }
            _ => None,
        }
    }

    /// Gives units back to the portion that they were spent from, as long as that may be spent.
    pub(crate) fn put_back(&self, tag: &Tag, cost: u64) {
        tag.lease.pool.lock().put_back(cost, tag.generation, self.ground.generation(), Instant::now());
    }

    /// Drops what is held of a key, because it was reset.
    pub(crate) fn drop_key(&self, key: &Key) {
        let hash = self.hasher.hash_one(key.as_bytes());
        for lease in self.shard(hash).lock().get(&hash).into_iter().flatten().filter(|lease| lease.key == *key) {
            lease.pool.lock().drop_all();
        }
    }

    fn each(&self, mut what: impl FnMut(&Arc<Lease>)) {
        for shard in &self.shards {
            shard.lock().values().flatten().for_each(&mut what);
        }
    }

    /// Takes everything out that is not spent, to be given back.
    pub(crate) fn release(&self) -> Vec<Receipt> {
        let (ground, now, mut receipts) = (self.ground.generation(), Instant::now(), Vec::new());
        self.each(|lease| receipts.extend(lease.pool.lock().release(ground, now)));
        self.given_back.fetch_add(receipts.iter().map(|receipt| receipt.cost).sum(), Ordering::Relaxed);
        receipts
    }

    pub(crate) fn figures(&self) -> LeaseFigures {
        let (ground, now, mut held) = (self.ground.generation(), Instant::now(), 0);
        self.each(|lease| held += lease.pool.lock().held(ground, now));
        LeaseFigures {
            decided: self.decided.load(Ordering::Relaxed),
            keys: self.keys.load(Ordering::Relaxed) as u64,
            held,
            taken: self.taken.load(Ordering::Relaxed),
            given_back: self.given_back.load(Ordering::Relaxed),
            closed: self.closed.load(Ordering::Relaxed),
        }
    }
}

/// The refusal of a limit that is closed until a moment of the store, where it is `now`.
fn closed(limit: u32, rate: &Rate, until: Timestamp, now: Timestamp) -> Denied {
    let standing = Standing {
        limit,
        quota: rate.capacity(),
        window: rate.quota().window(),
        remaining: 0,
        reset_at: until,
        would_refuse: true,
        blocked: false,
        at: now,
        delay: Duration::ZERO,
    };
    // What time it is there is known from below only, and not as well each time.
    let wait = until.since(now);
    Denied { standing, retry_after: wait + wait / DRIFT + JITTER }
}

impl View {
    /// How the limit of an ask stands.
    fn standing(&self, ask: &Ask<'_>) -> Standing {
        Standing {
            limit: ask.key.limit(),
            quota: ask.rate.capacity(),
            window: ask.rate.quota().window(),
            remaining: self.remaining,
            reset_at: self.reset_at,
            would_refuse: false,
            blocked: false,
            at: self.at,
            delay: Duration::ZERO,
        }
    }
}
