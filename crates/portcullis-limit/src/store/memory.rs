//! Cells in memory: shards with short locks, a bounded number of keys, and idle keys reclaimed as others come.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use portcullis_core::Timestamp;
use siphasher::sip128::SipHasher13;
use smallvec::SmallVec;

use super::shard::{Charged, Shard};
use super::table::CellId;
use crate::algorithm::Assessment;
use crate::key::Key;
use crate::limiter::{Ask, Charge, Denied, Receipt, Standing, Standings};
use crate::rate::Algorithm;

/// Enough that cores seldom meet at one lock; a power of two.
const FEWEST_SHARDS: usize = 256;
/// About how many keys a shard holds when the store is full, so that a shard that grows under its lock, and copies them all,
/// keeps others waiting for microseconds only.
const SHARD_KEYS: usize = 4_096;

/// Cells in this process's memory. Idle ones are reclaimed as others come; [`MemoryStore::sweep`] reclaims all that are idle,
/// for whoever wants the memory back after a rush.
///
/// A key costs 55 to 70 bytes (a sliding window log 50 more, and 8 to 16 for each admitted request it holds, at most its
/// quota), so the default bound of a million keys is 70 MB, reserved when the first come and
/// taken only as they do. Keys themselves are not kept: a cell
/// is found by 120 bits of their hash (SipHash-1-3, 128 bits), which is seeded at random, so that nobody outside can choose
/// keys that collide.
///
/// When the bound is reached and nothing is idle, the cell that runs out first among a small sample is evicted: that key's
/// limit starts anew, which is counted.
#[derive(Debug)]
pub struct MemoryStore {
    shards: Box<[Line]>,
    hasher: SipHasher13,
    shard_capacity: usize,
    evictions: AtomicU64,
}

/// A shard on a line of memory of its own, so that cores which lock two neighbours do not wait for each other.
#[repr(align(64))]
#[derive(Debug)]
struct Line(Mutex<Shard>);

/// Where a key is: its identity, and the shard that follows from it.
#[derive(Clone, Copy)]
struct Place {
    id: CellId,
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
        let shards = keys.div_ceil(SHARD_KEYS).next_power_of_two().max(FEWEST_SHARDS);
        let (seed, shard_capacity) = (RandomState::new(), keys.div_ceil(shards).max(1));
        Self {
            shards: (0..shards).map(|_| Line(Mutex::new(Shard::new(shard_capacity)))).collect(),
            hasher: SipHasher13::new_with_keys(seed.hash_one(0), seed.hash_one(1)),
            shard_capacity,
            evictions: AtomicU64::new(0),
        }
    }

    /// Keys that are held, idle ones that were not yet reclaimed included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.lock().len()).sum()
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
            shard.0.lock().sweep(now);
        }
    }

    /// Forgets a key; `true` if it was held.
    pub fn reset(&self, key: &Key) -> bool {
        let place = self.place(key);
        self.lock(place).remove(place.id)
    }

    /// How a key stands. It looks at a copy, so that asking about another moment than the present changes nothing.
    pub(crate) fn peek(&self, ask: &Ask<'_>, now: Timestamp) -> Standing {
        let place = self.place(&ask.key);
        let shard = self.lock(place);
        if let Some(until) = shard.blocked_until(place.id, now) {
            return Standing::new(ask, &Assessment::blocked(until), now);
        }
        let mut cell = shard.cell(place.id, ask.rate);
        drop(shard);
        let at = cell.advance(ask.rate, now);
        Standing::new(ask, &cell.assess(ask.rate, ask.cost, at), now)
    }

    /// Gives units back that nobody holds a receipt for, as many as the ask costs, until nothing of the quota lacks.
    pub(crate) fn reward(&self, ask: &Ask<'_>, now: Timestamp) {
        let place = self.place(&ask.key);
        self.lock(place).reward(place.id, ask, now);
    }

    /// Refuses a key until a moment, whatever its rate, in place of all that was counted.
    pub(crate) fn block(&self, key: &Key, until: Timestamp, now: Timestamp) {
        let place = self.place(key);
        if self.lock(place).block(place.id, until, now, self.shard_capacity) {
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lifts a block; `true` if there was one.
    pub(crate) fn unblock(&self, key: &Key, now: Timestamp) -> bool {
        let place = self.place(key);
        let mut shard = self.lock(place);
        shard.blocked_until(place.id, now).is_some() && shard.remove(place.id)
    }

    /// Charges one ask for good: without a receipt, which costs as much as the rest. For whoever counts one limit and never
    /// gives back.
    ///
    /// # Errors
    /// [`Denied`] where the limit refuses.
    pub fn check(&self, ask: &Ask<'_>, now: Timestamp) -> Result<Standing, Denied> {
        // Compiled by itself, without the questions which algorithm it is, and without writing to memory what it answers
        // before the answer is made: that costs as much as a lock.
        if ask.rate.algorithm() == Algorithm::TokenBucket {
            self.check_as(Algorithm::TokenBucket, ask, now)
        } else {
            self.check_other(ask, now)
        }
    }

    #[inline(never)]
    fn check_other(&self, ask: &Ask<'_>, now: Timestamp) -> Result<Standing, Denied> {
        match ask.rate.algorithm() {
            Algorithm::SlidingWindowCounter => self.check_as(Algorithm::SlidingWindowCounter, ask, now),
            other => self.check_as(other, ask, now),
        }
    }

    #[inline(always)]
    fn check_as(&self, algorithm: Algorithm, ask: &Ask<'_>, now: Timestamp) -> Result<Standing, Denied> {
        let place = self.place(&ask.key);
        let (said, charged) = self.lock(place).charge(algorithm, place.id, ask, now, self.shard_capacity);
        self.note(charged.as_ref());
        let standing = Standing::new(ask, &said, now);
        match said.retry_at.filter(|_| ask.enforce) {
            Some(retry_at) => Err(Denied { standing, retry_after: retry_at.since(now) }),
            None => Ok(standing),
        }
    }

    /// Charges all asks or none. Asks that are not enforced never refuse.
    pub(crate) fn charge(&self, asks: &[Ask<'_>], now: Timestamp) -> Result<Charge, Denied> {
        if let [ask] = asks { self.charge_one(ask, now) } else { self.charge_all(asks, now) }
    }

    /// The same for the request that asks for one limit, as most do: one lock, one look.
    fn charge_one(&self, ask: &Ask<'_>, now: Timestamp) -> Result<Charge, Denied> {
        match ask.rate.algorithm() {
            Algorithm::TokenBucket => self.charge_as(Algorithm::TokenBucket, ask, now),
            Algorithm::SlidingWindowCounter => self.charge_as(Algorithm::SlidingWindowCounter, ask, now),
            other => self.charge_as(other, ask, now),
        }
    }

    #[inline(always)]
    fn charge_as(&self, algorithm: Algorithm, ask: &Ask<'_>, now: Timestamp) -> Result<Charge, Denied> {
        let place = self.place(&ask.key);
        let (said, charged) = self.lock(place).charge(algorithm, place.id, ask, now, self.shard_capacity);
        let standing = Standing::new(ask, &said, now);
        // One answer, filled where it is returned: moving it costs more than finding the cell.
        let mut answer = Ok(Charge::default());
        if let Some(retry_at) = said.retry_at.filter(|_| ask.enforce) {
            answer = Err(Denied { standing, retry_after: retry_at.since(now) });
        } else if let Ok(charge) = &mut answer {
            charge.push(standing, charged.map(|charged| self.receipt(ask, place.id, &charged)));
        }
        answer
    }

    #[inline(never)]
    fn charge_all(&self, asks: &[Ask<'_>], now: Timestamp) -> Result<Charge, Denied> {
        // All shards are locked in one order before anything is looked at, so that two stacks of limits neither wait
        // for each other nor see each other's halves.
        let places: SmallVec<[Place; 4]> = asks.iter().map(|ask| self.place(&ask.key)).collect();
        let mut order: SmallVec<[usize; 4]> = places.iter().map(|place| place.shard).collect();
        order.sort_unstable();
        order.dedup();
        let mut guards: SmallVec<[MutexGuard<'_, Shard>; 4]> =
            order.iter().map(|index| self.shards[*index].0.lock()).collect();
        let guard_of = |place: Place| order.iter().position(|held| *held == place.shard).unwrap_or_default();

        let mut standings = Standings::new();
        let mut denied: Option<Denied> = None;
        for (index, (ask, place)) in asks.iter().zip(&places).enumerate() {
            let before = asks[..index].iter().zip(&places).filter(|(_, earlier)| earlier.id == place.id);
            let before = before.fold(0, |sum: u64, (earlier, _)| sum.saturating_add(earlier.cost));
            let assessment = guards[guard_of(*place)].assess(place.id, ask, before, now);
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
            let charged = guards[guard_of(*place)].commit(place.id, ask, now, self.shard_capacity);
            receipts.push(self.receipt(ask, place.id, &charged));
        }
        Ok(Charge::new(receipts, standings))
    }

    /// Gives back what a receipt stands for. One of another store is none of a cell's here.
    pub(crate) fn give_back(&self, receipt: &Receipt, now: Timestamp) {
        self.lock(self.place_of(receipt.id)).give_back(receipt.id, receipt, now);
    }

    fn receipt(&self, ask: &Ask<'_>, id: CellId, charged: &Charged) -> Receipt {
        self.note(Some(charged));
        Receipt {
            limit: ask.key.limit(),
            id,
            rate: *ask.rate,
            cost: ask.cost,
            at: charged.at,
            shared: None,
            leased: None,
        }
    }

    fn note(&self, charged: Option<&Charged>) {
        if charged.is_some_and(|charged| charged.evicted) {
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn place(&self, key: &Key) -> Place {
        let hash = self.hasher.hash(key.as_bytes());
        self.place_of(CellId::new(hash.h1, hash.h2))
    }

    const fn place_of(&self, id: CellId) -> Place {
        Place { id, shard: id.spread() as usize & (self.shards.len() - 1) }
    }

    fn lock(&self, place: Place) -> MutexGuard<'_, Shard> {
        self.shards[place.shard].0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l2_a_shard_and_its_lock_share_a_line_of_memory() {
        assert_eq!(size_of::<Line>(), 64);
    }
}
