//! One lock's worth of cells.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use portcullis_core::Timestamp;

use crate::algorithm::{Assessment, Cell};
use crate::key::Key;
use crate::limiter::{Ask, Receipt};

/// How many buckets an insertion looks at for idle cells to reclaim. More than one cell for each that comes, even where
/// the table is half empty, so that idle ones do not pile up.
const RECLAIM_STEPS: usize = 8;
/// From how many cells the one that runs out first is evicted when a shard is full of live ones. They lie where their
/// hashes put them, so a stranger does not choose whom they stand beside.
const EVICTION_SAMPLE: usize = 8;

/// The cells whose keys hash to one lock.
#[derive(Debug, Default)]
pub(super) struct Shard {
    slots: HashTable<Slot>,
    /// The bucket where reclaiming goes on.
    cursor: usize,
}

#[derive(Debug)]
struct Slot {
    /// Kept, so that a table that grows under its lock need not hash every key anew.
    hash: u64,
    key: Key,
    cell: Cell,
    expires_at: Timestamp,
}

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// What the cell says of an ask, where asks before it in the same stack will have taken `before` of the same key. The
    /// cell itself is brought up to date, which changes no answer.
    pub(super) fn assess(&mut self, hash: u64, ask: &Ask<'_>, before: u64, now: Timestamp) -> Assessment {
        let cost = ask.cost.saturating_add(before);
        match self.find_mut(hash, &ask.key) {
            Some(slot) if slot.cell.is_of(ask.rate.algorithm()) => {
                let now = slot.cell.advance(ask.rate, now);
                slot.cell.assess(ask.rate, cost, now)
            }
            _ => {
                let mut fresh = Cell::new(ask.rate.algorithm());
                let now = fresh.advance(ask.rate, now);
                fresh.assess(ask.rate, cost, now)
            }
        }
    }

    /// Charges the ask; tells by which moment, and whether a live cell had to make room for it.
    pub(super) fn commit(&mut self, hash: u64, ask: &Ask<'_>, now: Timestamp, capacity: usize) -> (Timestamp, bool) {
        if let Some(slot) = self.find_mut(hash, &ask.key) {
            return (slot.charge(ask, now), false);
        }
        self.reclaim(now);
        let evicted = self.slots.len() >= capacity && self.evict(now);
        let mut slot = Slot { hash, key: ask.key.clone(), cell: Cell::new(ask.rate.algorithm()), expires_at: now };
        let at = slot.charge(ask, now);
        self.slots.insert_unique(hash, slot, |slot| slot.hash);
        (at, evicted)
    }

    /// Gives back what a receipt stands for, as far as the cell still holds it.
    pub(super) fn give_back(&mut self, hash: u64, receipt: &Receipt, now: Timestamp) {
        if let Some(slot) = self.find_mut(hash, &receipt.key)
            && slot.cell.is_of(receipt.rate.algorithm())
        {
            slot.cell.advance(&receipt.rate, now);
            slot.cell.give_back(&receipt.rate, receipt.cost, receipt.at);
            slot.expires_at = slot.cell.expires_at(&receipt.rate);
        }
    }

    /// A copy of a key's cell.
    pub(super) fn cell(&self, hash: u64, key: &Key) -> Option<Cell> {
        self.slots.find(hash, |slot| slot.key == *key).map(|slot| slot.cell.clone())
    }

    /// Forgets a key; `true` if it was held.
    pub(super) fn remove(&mut self, hash: u64, key: &Key) -> bool {
        match self.slots.entry(hash, |slot| slot.key == *key, |slot| slot.hash) {
            Entry::Occupied(held) => {
                held.remove();
                true
            }
            Entry::Vacant(_) => false,
        }
    }

    /// Drops every idle cell, and memory that a past flood has left behind.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.slots.retain(|slot| slot.expires_at > now);
        if self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to_fit(|slot| slot.hash);
        }
    }

    fn find_mut(&mut self, hash: u64, key: &Key) -> Option<&mut Slot> {
        self.slots.find_mut(hash, |slot| slot.key == *key)
    }

    /// Looks at the next few buckets and drops the idle cells.
    fn reclaim(&mut self, now: Timestamp) {
        for _ in 0..RECLAIM_STEPS.min(self.slots.num_buckets()) {
            let bucket = self.next_bucket();
            if let Ok(held) = self.slots.get_bucket_entry(bucket)
                && held.get().expires_at <= now
            {
                held.remove();
            }
        }
    }

    /// Evicts, among the next few cells, the one that runs out first; `true` if it was still live.
    fn evict(&mut self, now: Timestamp) -> bool {
        let mut first: Option<(Timestamp, usize)> = None;
        let mut seen = 0;
        for _ in 0..self.slots.num_buckets() {
            let bucket = self.next_bucket();
            let Some(slot) = self.slots.get_bucket(bucket) else { continue };
            if first.is_none_or(|(expires_at, _)| slot.expires_at < expires_at) {
                first = Some((slot.expires_at, bucket));
            }
            seen += 1;
            if seen == EVICTION_SAMPLE {
                break;
            }
        }
        let Some((expires_at, bucket)) = first else { return false };
        if let Ok(held) = self.slots.get_bucket_entry(bucket) {
            held.remove();
        }
        expires_at > now
    }

    /// The bucket under the cursor, which moves on; tables grow and shrink, so it may have to begin anew.
    fn next_bucket(&mut self) -> usize {
        let bucket = if self.cursor < self.slots.num_buckets() { self.cursor } else { 0 };
        self.cursor = bucket + 1;
        bucket
    }
}

impl Slot {
    /// Charges what was admitted; tells by which moment. A cell of another algorithm, from before a reload, is replaced.
    fn charge(&mut self, ask: &Ask<'_>, now: Timestamp) -> Timestamp {
        if !self.cell.is_of(ask.rate.algorithm()) {
            self.cell = Cell::new(ask.rate.algorithm());
        }
        let at = self.cell.advance(ask.rate, now);
        self.cell.charge(ask.rate, ask.cost, at);
        self.expires_at = self.cell.expires_at(ask.rate);
        at
    }
}
