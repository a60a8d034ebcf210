//! A table of cells by their identities: open addressing with linear probing, 32 bytes a slot and nothing beside, so that a
//! check touches one line of memory, and mostly no second.
//!
//! Identities are hashed with a secret, so they lie evenly and nobody outside can make them crowd.

use crate::algorithm::{Held, Packed};
use crate::rate::Algorithm;

/// Whose a cell is: 120 bits of a keyed hash of its key. That two of a hundred million keys share one is a matter of
/// 2^-67, and nobody outside can aim at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CellId {
    high: u64,
    /// The lowest byte is zero.
    low: u64,
}

/// Cells by their identities.
///
/// Once it is more than small, memory for the fullest table is reserved, and touched only as the table grows into it: thousands
/// of tables that each moved from smaller to larger memory would leave as much behind as they hold.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Slot>,
    len: u32,
    /// The most cells that are ever held.
    most: u32,
}

/// An identity and its packed cell; two in a line of memory.
#[repr(align(32))]
#[derive(Clone, Copy, Debug)]
struct Slot {
    high: u64,
    /// The lowest byte tells the algorithm, or that it is a block; zero means that the slot is empty.
    low: u64,
    expires_at: u64,
    word: u64,
}

/// At most four slots of five are taken: beyond that, runs of taken ones grow long.
const FULLEST: (usize, usize) = (4, 5);
/// A table that is too full grows by a quarter: 50 bytes a cell at most. Growing copies every cell, five times in all.
const SMALLEST: usize = 8;
/// Up to so many slots a table has memory of just its size: with few keys, thousands of tables would otherwise take a page
/// of memory each, and crowd in the same few sets of a cache.
const SMALL: usize = 64;

impl CellId {
    pub(super) const fn new(high: u64, low: u64) -> Self {
        Self { high, low: low & !0xff }
    }

    /// Bits that are not those by which a table finds its slot.
    pub(super) const fn spread(self) -> u64 {
        self.low >> 8
    }
}

impl Slot {
    const EMPTY: Self = Self { high: 0, low: 0, expires_at: 0, word: 0 };

    fn new(id: CellId, cell: Packed) -> Self {
        let index = Algorithm::ALL.iter().position(|known| cell.held == Held::Cell(*known));
        let tag = index.unwrap_or(Algorithm::ALL.len()) as u64 + 1;
        Self { high: id.high, low: id.low | tag, expires_at: cell.expires_at, word: cell.word }
    }

    const fn is_empty(&self) -> bool {
        self.low & 0xff == 0
    }

    const fn is_of(&self, id: CellId) -> bool {
        self.high == id.high && self.low & !0xff == id.low && !self.is_empty()
    }

    fn cell(&self) -> Option<Packed> {
        let index = ((self.low & 0xff) as usize).checked_sub(1)?;
        let held = Algorithm::ALL.get(index).map_or(Held::Block, |algorithm| Held::Cell(*algorithm));
        Some(Packed { held, expires_at: self.expires_at, word: self.word })
    }
}

impl Table {
    /// An empty one, for so many cells at most; beyond that it works, but may have to move.
    pub(super) fn new(most: usize) -> Self {
        Self { slots: Vec::new(), len: 0, most: u32::try_from(most).unwrap_or(u32::MAX) }
    }

    /// Cells that are held.
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Slots that there are, taken or not.
    pub(super) const fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The slot that holds an identity.
    pub(super) fn find(&self, id: CellId) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(id.high);
        loop {
            let slot = &self.slots[at];
            if slot.is_of(id) {
                return Some(at);
            }
            if slot.is_empty() {
                return None;
            }
            at = self.next(at);
        }
    }

    /// What a slot holds; `None` if it is empty.
    pub(super) fn get(&self, at: usize) -> Option<Packed> {
        self.slots.get(at).and_then(Slot::cell)
    }

    /// Puts another cell into a slot that is taken.
    pub(super) fn set(&mut self, at: usize, cell: Packed) {
        let Slot { high, low, .. } = self.slots[at];
        self.slots[at] = Slot::new(CellId::new(high, low), cell);
    }

    /// Puts a cell in under an identity that is not held.
    pub(super) fn insert(&mut self, id: CellId, cell: Packed) {
        if (self.len() + 1) * FULLEST.1 > self.slots.len() * FULLEST.0 {
            self.grow();
        }
        self.put(Slot::new(id, cell));
        self.len += 1;
    }

    /// Empties a slot. What follows it moves up, so it may be taken again by another.
    pub(super) fn remove(&mut self, at: usize) {
        let (mut hole, mut next) = (at, self.next(at));
        while !self.slots[next].is_empty() {
            // A cell may move up as far as its home, and no further.
            let home = self.home(self.slots[next].high);
            if self.distance(home, next) >= self.distance(hole, next) {
                self.slots[hole] = self.slots[next];
                hole = next;
            }
            next = self.next(next);
        }
        self.slots[hole] = Slot::EMPTY;
        self.len -= 1;
    }

    /// Gives memory back that a past flood has left behind.
    pub(super) fn shrink(&mut self) {
        if self.len() < self.slots.len() / 4 {
            let before = std::mem::take(&mut self.slots);
            let needed = self.len() * FULLEST.1 / FULLEST.0 + 1;
            if self.len > 0 {
                self.spread(before, needed.max(SMALLEST));
            }
        }
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() + self.slots.len() / 4).max(SMALLEST);
        let cells: Vec<Slot> = self.slots.iter().filter(|slot| !slot.is_empty()).copied().collect();
        self.slots.clear();
        self.spread(cells, slots);
    }

    /// Puts cells into a table of so many slots that is empty.
    fn spread(&mut self, cells: Vec<Slot>, slots: usize) {
        if slots > self.slots.capacity() {
            let fullest = self.most as usize * FULLEST.1 / FULLEST.0;
            // A quarter beyond, because growth does not end where the fullest table does.
            let reserved = if slots <= SMALL { slots } else { slots.max(fullest + fullest / 4 + 1) };
            self.slots = Vec::with_capacity(reserved);
        }
        self.slots.resize(slots, Slot::EMPTY);
        for slot in cells.into_iter().filter(|slot| !slot.is_empty()) {
            self.put(slot);
        }
    }

    fn put(&mut self, slot: Slot) {
        let mut at = self.home(slot.high);
        while !self.slots[at].is_empty() {
            at = self.next(at);
        }
        self.slots[at] = slot;
    }

    /// Where an identity would lie if nobody else did: its share of the way through the table.
    fn home(&self, high: u64) -> usize {
        ((u128::from(high) * self.slots.len() as u128) >> 64) as usize
    }

    const fn next(&self, at: usize) -> usize {
        if at + 1 < self.slots.len() { at + 1 } else { 0 }
    }

    const fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn cell(word: u64) -> Packed {
        let held = Algorithm::ALL.get((word % 7) as usize).map_or(Held::Block, |algorithm| Held::Cell(*algorithm));
        Packed { held, expires_at: word + 7, word }
    }

    proptest! {
        /// Identities that crowd at the table's end, around it and at its beginning.
        #[test]
        fn l2_a_table_holds_what_was_put_in_and_nothing_else(
            steps in prop::collection::vec((0_u64..40, prop::bool::weighted(0.6)), 1..300),
        ) {
            let (mut table, mut model) = (Table::new(16), HashMap::new());
            let id = |key: u64| CellId::new(if key < 20 { u64::MAX - key / 3 } else { key }, key << 8);
            for (step, (key, puts)) in steps.into_iter().enumerate() {
                match (table.find(id(key)), puts) {
                    (Some(at), true) => table.set(at, cell(step as u64)),
                    (None, true) => table.insert(id(key), cell(step as u64)),
                    (Some(at), false) => table.remove(at),
                    (None, false) => table.shrink(),
                }
                if puts { model.insert(key, cell(step as u64)); } else { model.remove(&key); }
                prop_assert_eq!(table.len(), model.len());
                for key in 0..40 {
                    prop_assert_eq!(table.find(id(key)).and_then(|at| table.get(at)), model.get(&key).copied());
                }
            }
            prop_assert_eq!((0..table.slots()).filter_map(|at| table.get(at)).count(), model.len());
        }
    }

    #[test]
    fn l2_a_cell_costs_50_bytes_at_most_and_a_table_moves_only_while_it_is_small() {
        assert_eq!(size_of::<Slot>(), 32);
        let (mut table, mut first) = (Table::new(100_000), None);
        for number in 0..100_000_u64 {
            table.insert(CellId::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number << 8), cell(number));
            assert!(table.len() < 30 || table.slots() * size_of::<Slot>() <= 51 * table.len(), "{number}");
            if table.slots() > SMALL {
                assert_eq!(*first.get_or_insert(table.slots.as_ptr()), table.slots.as_ptr(), "{number}");
            }
        }
    }
}
