//! Cells in memory: shards with short locks, a bounded number of keys, and idle keys reclaimed as others come.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use indexmap::IndexMap;
use indexmap::map::Entry;
use parking_lot::{Mutex, MutexGuard};
use portcullis_core::Timestamp;
use smallvec::SmallVec;

use crate::algorithm::{Assessment, Cell};
use crate::key::Key;
use crate::limiter::{Ask, Charge, Denied, Receipt, Standing};

/// A power of two: enough that cores seldom meet at one lock.
const SHARDS: usize = 256;
/// How many cells an insertion looks at for one to reclaim. Two for one keeps the idle ones from piling up.
const RECLAIM_STEPS: usize = 2;
/// From how many cells the one that runs out first is evicted when a shard is full of live ones.
const EVICTION_SAMPLE: usize = 8;

/// Cells in this process's memory.
///
/// A key costs about 200 bytes (a sliding window log 8 more for each admitted request), so the default bound of a
/// million keys is about 200 MB at worst. When it is reached and nothing is idle, the cell that runs out first among a
/// small sample is evicted: that key's limit starts anew, which is counted.
#[derive(Debug)]
pub struct MemoryStore {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    shard_capacity: usize,
    evictions: AtomicU64,
}

#[derive(Debug)]
struct Shard {
    cells: IndexMap<Key, Slot, RandomState>,
    /// Where reclaiming goes on.
    cursor: usize,
}

#[derive(Debug)]
struct Slot {
    cell: Cell,
    expires_at: Timestamp,
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
        let hasher = RandomState::new();
        let shard = || Mutex::new(Shard { cells: IndexMap::with_hasher(hasher.clone()), cursor: 0 });
        let shards = std::iter::repeat_with(shard).take(SHARDS).collect();
        Self { shards, hasher, shard_capacity: keys.div_ceil(SHARDS).max(1), evictions: AtomicU64::new(0) }
    }

    /// Keys that are held, idle ones that were not yet reclaimed included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().cells.len()).sum()
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
            let mut shard = shard.lock();
            shard.cells.retain(|_, slot| slot.expires_at > now);
            shard.cursor = 0;
            let spare = shard.cells.capacity() / 4;
            if shard.cells.len() < spare {
                shard.cells.shrink_to_fit();
            }
        }
    }

    /// Forgets a key; `true` if it was held.
    pub fn reset(&self, key: &Key) -> bool {
        self.shards[self.shard_of(key)].lock().cells.swap_remove(key).is_some()
    }

    /// Charges all asks or none. Asks that are not enforced never refuse and are charged with the others.
    pub(crate) fn charge(&self, asks: &[Ask<'_>], now: Timestamp) -> Result<Charge, Denied> {
        // All shards are locked in one order before anything is looked at, so that two stacks of limits neither wait
        // for each other nor see each other's halves.
        let places: SmallVec<[usize; 4]> = asks.iter().map(|ask| self.shard_of(&ask.key)).collect();
        let mut order = places.clone();
        order.sort_unstable();
        order.dedup();
        let mut guards: SmallVec<[MutexGuard<'_, Shard>; 4]> =
            order.iter().map(|index| self.shards[*index].lock()).collect();
        let guard_of = |index: usize| order.iter().position(|held| *held == places[index]).unwrap_or_default();

        let mut standings: SmallVec<[Standing; 4]> = SmallVec::new();
        let mut denied: Option<Denied> = None;
        for (index, ask) in asks.iter().enumerate() {
            let assessment = guards[guard_of(index)].assess(ask, now);
            let standing = Standing::new(ask, &assessment);
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
        for (index, ask) in asks.iter().enumerate() {
            if guards[guard_of(index)].commit(ask, now, self.shard_capacity) {
                self.evictions.fetch_add(1, Ordering::Relaxed);
            }
            receipts.push(Receipt { key: ask.key.clone(), rate: *ask.rate, cost: ask.cost, at: now });
        }
        Ok(Charge::new(receipts, standings))
    }

    /// Gives back what a receipt stands for.
    pub(crate) fn give_back(&self, receipt: &Receipt, now: Timestamp) {
        let mut shard = self.shards[self.shard_of(&receipt.key)].lock();
        if let Some(slot) = shard.cells.get_mut(&receipt.key)
            && slot.cell.is_of(receipt.rate.algorithm())
        {
            slot.cell.advance(&receipt.rate, now);
            slot.cell.give_back(&receipt.rate, receipt.cost, receipt.at);
            slot.expires_at = slot.cell.expires_at(&receipt.rate);
        }
    }

    fn shard_of(&self, key: &Key) -> usize {
        // Bits that the map inside neither takes its bucket nor its tag from.
        (self.hasher.hash_one(key) >> 32) as usize % SHARDS
    }
}

impl Shard {
    /// What the cell says of an ask; the cell itself is brought up to date, which changes no answer.
    fn assess(&mut self, ask: &Ask<'_>, now: Timestamp) -> Assessment {
        match self.cells.get_mut(&ask.key) {
            Some(slot) if slot.cell.is_of(ask.rate.algorithm()) => {
                slot.cell.advance(ask.rate, now);
                slot.cell.assess(ask.rate, ask.cost, now)
            }
            _ => {
                let mut fresh = Cell::new(ask.rate.algorithm());
                fresh.advance(ask.rate, now);
                fresh.assess(ask.rate, ask.cost, now)
            }
        }
    }

    /// Charges the ask; `true` if a live cell had to make room for it.
    fn commit(&mut self, ask: &Ask<'_>, now: Timestamp, capacity: usize) -> bool {
        let mut evicted = false;
        if !self.cells.contains_key(&ask.key) {
            self.reclaim(now);
            if self.cells.len() >= capacity {
                evicted = self.evict(now);
            }
        }
        let fresh = || Slot { cell: Cell::new(ask.rate.algorithm()), expires_at: now };
        let slot = match self.cells.entry(ask.key.clone()) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(free) => free.insert(fresh()),
        };
        if !slot.cell.is_of(ask.rate.algorithm()) {
            *slot = fresh();
        }
        slot.cell.advance(ask.rate, now);
        slot.cell.charge(ask.rate, ask.cost, now);
        slot.expires_at = slot.cell.expires_at(ask.rate);
        evicted
    }

    /// Looks at the next few cells and drops the idle ones.
    fn reclaim(&mut self, now: Timestamp) {
        for _ in 0..RECLAIM_STEPS {
            if self.cursor >= self.cells.len() {
                self.cursor = 0;
            }
            match self.cells.get_index(self.cursor) {
                Some((_, slot)) if slot.expires_at <= now => {
                    // The last cell takes its place, so the cursor stays.
                    self.cells.swap_remove_index(self.cursor);
                }
                Some(_) => self.cursor += 1,
                None => return,
            }
        }
    }

    /// Evicts, among the next few cells, the one that runs out first; `true` if it was still live.
    fn evict(&mut self, now: Timestamp) -> bool {
        let len = self.cells.len();
        let candidates = (0..EVICTION_SAMPLE.min(len)).map(|step| (self.cursor + step) % len);
        let first = candidates.min_by_key(|index| self.cells.get_index(*index).map(|(_, slot)| slot.expires_at));
        let Some(first) = first else { return false };
        self.cursor = (self.cursor + EVICTION_SAMPLE) % len;
        self.cells.swap_remove_index(first).is_some_and(|(_, slot)| slot.expires_at > now)
    }
}
