//! Cells in memory: shards with short locks, a bounded number of keys, and idle keys reclaimed as others come.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use portcullis_core::Timestamp;
use smallvec::SmallVec;

use super::shard::Shard;
use crate::algorithm::Cell;
use crate::key::Key;
use crate::limiter::{Ask, Charge, Denied, Receipt, Standing, Standings};

/// A power of two: enough that cores seldom meet at one lock.
const SHARDS: usize = 256;

/// Cells in this process's memory.
///
/// A key costs about 250 bytes at worst (a sliding window log 8 to 16 more for each admitted request it holds, at most
/// its quota), so the default bound of a million keys is about 250 MB, taken only as keys come. When it is reached and
/// nothing is idle, the cell that runs out first among a small sample is evicted: that key's limit starts anew, which is
/// counted.
#[derive(Debug)]
pub struct MemoryStore {
    shards: Box<[Mutex<Shard>]>,
    /// Seeded at random (SipHash): nobody outside can choose keys that collide.
    hasher: RandomState,
    shard_capacity: usize,
    evictions: AtomicU64,
}

/// Where a key is: its hash, and the shard that follows from it.
#[derive(Clone, Copy)]
struct Place {
    hash: u64,
    shard: usize,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::with_capacity(1_000_000)
    }
}

impl MemoryStore {
    /// A store for at most about `keys` keys.
    #[must_use]
    pub fn with_capacity(keys: usize) -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        let shard_capacity = keys.div_ceil(SHARDS).max(1);
        Self { shards, hasher: RandomState::new(), shard_capacity, evictions: AtomicU64::new(0) }
    }

    /// Keys that are held, idle ones that were not yet reclaimed included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether no key is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many live cells were evicted because the store was full.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// Reclaims every idle cell, one shard after the other.
    pub fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            shard.lock().sweep(now);
        }
    }

    /// Forgets a key; `true` if it was held.
    pub fn reset(&self, key: &Key) -> bool {
        let place = self.place(key);
        self.lock(place).remove(place.hash, key)
    }

    /// How a key stands. It looks at a copy, so that asking about another moment than the present changes nothing.
    pub(crate) fn peek(&self, ask: &Ask<'_>, now: Timestamp) -> Standing {
        let (place, algorithm) = (self.place(&ask.key), ask.rate.algorithm());
        let held = self.lock(place).cell(place.hash, &ask.key);
        let mut cell = held.filter(|cell| cell.is_of(algorithm)).unwrap_or_else(|| Cell::new(algorithm));
        let at = cell.advance(ask.rate, now);
        Standing::new(ask, &cell.assess(ask.rate, ask.cost, at), now)
    }

    /// Charges all asks or none. Asks that are not enforced never refuse.
    pub(crate) fn charge(&self, asks: &[Ask<'_>], now: Timestamp) -> Result<Charge, Denied> {
        // All shards are locked in one order before anything is looked at, so that two stacks of limits neither wait
        // for each other nor see each other's halves.
        let places: SmallVec<[Place; 4]> = asks.iter().map(|ask| self.place(&ask.key)).collect();
        let mut order: SmallVec<[usize; 4]> = places.iter().map(|place| place.shard).collect();
        order.sort_unstable();
        order.dedup();
        let mut guards: SmallVec<[MutexGuard<'_, Shard>; 4]> =
            order.iter().map(|index| self.shards[*index].lock()).collect();
        let guard_of = |place: Place| order.iter().position(|held| *held == place.shard).unwrap_or_default();

        let mut standings = Standings::new();
        let mut denied: Option<Denied> = None;
        for (index, (ask, place)) in asks.iter().zip(&places).enumerate() {
            let twin = |(earlier, at): &(&Ask<'_>, &Place)| at.hash == place.hash && earlier.key == ask.key;
            let before = asks[..index].iter().zip(&places).filter(twin);
            let before = before.fold(0, |sum: u64, (earlier, _)| sum.saturating_add(earlier.cost));
            let assessment = guards[guard_of(*place)].assess(place.hash, ask, before, now);
            let standing = Standing::new(ask, &assessment, now);
            if let Some(retry_at) = assessment.retry_at
                && ask.enforce
            {
                let retry_after = retry_at.since(now);
                // The longest wait is told: whoever waits that long is admitted by all.
                if denied.as_ref().is_none_or(|held| held.retry_after < retry_after) {
                    denied = Some(Denied { standing: standing.clone(), retry_after });
                }
            }
            standings.push(standing);
        }
        if let Some(denied) = denied {
            return Err(denied);
        }

        let mut receipts = SmallVec::new();
        for ((ask, place), standing) in asks.iter().zip(&places).zip(&standings) {
            if standing.would_refuse || ask.cost == 0 {
                continue;
            }
            let (at, evicted) = guards[guard_of(*place)].commit(place.hash, ask, now, self.shard_capacity);
            if evicted {
                self.evictions.fetch_add(1, Ordering::Relaxed);
            }
            receipts.push(Receipt { key: ask.key.clone(), rate: *ask.rate, cost: ask.cost, at, shared: None });
        }
        Ok(Charge::new(receipts, standings))
    }

    /// Gives back what a receipt stands for.
    pub(crate) fn give_back(&self, receipt: &Receipt, now: Timestamp) {
        let place = self.place(&receipt.key);
        self.lock(place).give_back(place.hash, receipt, now);
    }

    fn place(&self, key: &Key) -> Place {
        let hash = self.hasher.hash_one(key);
        // Bits from the middle: the table inside takes its bucket from the lowest and its tag from the highest.
        Place { hash, shard: (hash >> 32) as usize % SHARDS }
    }

    fn lock(&self, place: Place) -> MutexGuard<'_, Shard> {
        self.shards[place.shard].lock()
    }
}
