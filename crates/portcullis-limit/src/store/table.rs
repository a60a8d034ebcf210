//! A table of cells by their identities: open addressing, 32 bytes a slot and nothing beside. A cell lies in the line of memory that
//! its identity names, which has two slots, or in the next that had one free; so a check touches one line, and seldom a second.
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
    lines: Vec<Line>,
    len: u32,
    /// The most cells that are ever held.
    most: u32,
}

/// What a processor loads at once. Slot `2n` and slot `2n + 1` are those of line `n`.
#[repr(align(64))]
#[derive(Clone, Copy, Debug)]
struct Line([Slot; 2]);

/// An identity and its packed cell.
#[derive(Clone, Copy, Debug)]
struct Slot {
    high: u64,
    /// The lowest byte tells the algorithm, or that it is a block; zero means that the slot is empty.
    low: u64,
    expires_at: u64,
    word: u64,
}

/// At most three slots of five are taken: a look then touches 1.3 lines at most. With four of five it would be 1.9, for 15 bytes a cell.
const FULLEST: (usize, usize) = (3, 5);
/// In lines, as `SMALL`. A table that is too full grows by a quarter: 70 bytes a cell at most. Growing copies every cell, five
/// times in all.
const SMALLEST: usize = 4;
/// Up to so many lines a table has memory of just its size: with few keys, thousands of tables would otherwise take a page
/// of memory each, and crowd in the same few sets of a cache.
const SMALL: usize = 32;

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

impl Line {
    const EMPTY: Self = Self([Slot::EMPTY; 2]);

    /// Whether a cell that belongs here had to go further.
    const fn is_full(&self) -> bool {
        !self.0[0].is_empty() & !self.0[1].is_empty()
    }
}

impl Table {
    /// An empty one, for so many cells at most; beyond that it works, but may have to move.
    pub(super) fn new(most: usize) -> Self {
        Self { lines: Vec::new(), len: 0, most: u32::try_from(most).unwrap_or(u32::MAX) }
    }

    /// Cells that are held.
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Slots that there are, taken or not.
    pub(super) const fn slots(&self) -> usize {
        2 * self.lines.len()
    }

    /// The slot that holds an identity.
    #[inline]
    pub(super) fn find(&self, id: CellId) -> Option<usize> {
        let mut at = self.home(id.high);
        loop {
            let line = self.lines.get(at)?;
            if line.0[0].is_of(id) {
                return Some(2 * at);
            }
            if line.0[1].is_of(id) {
                return Some(2 * at + 1);
            }
            if !line.is_full() {
                return None;
            }
            at = self.next(at);
        }
    }

    /// What a slot holds; `None` if it is empty.
    pub(super) fn get(&self, at: usize) -> Option<Packed> {
        self.lines.get(at / 2)?.0[at % 2].cell()
    }

    /// Puts another cell into a slot that is taken.
    pub(super) fn set(&mut self, at: usize, cell: Packed) {
        let slot = &mut self.lines[at / 2].0[at % 2];
        *slot = Slot::new(CellId::new(slot.high, slot.low), cell);
    }

    /// Puts a cell in under an identity that is not held.
    pub(super) fn insert(&mut self, id: CellId, cell: Packed) {
        if (self.len() + 1) * FULLEST.1 > self.slots() * FULLEST.0 {
            self.grow();
        }
        self.put(Slot::new(id, cell));
        self.len += 1;
    }

    /// Empties a slot. A cell that had to go further may come back into it, so it may be taken again by another.
    pub(super) fn remove(&mut self, at: usize) {
        let (mut hole, mut line) = (at, at / 2);
        // Nobody went past a line that has a free slot. There is one that has: a table is never full.
        while self.lines[line].is_full() {
            line = self.next(line);
            let comes_back = |slot: &Slot| {
                let home = self.home(slot.high);
                !slot.is_empty() && self.distance(home, line) >= self.distance(hole / 2, line)
            };
            if let Some(index) = self.lines[line].0.iter().position(comes_back) {
                self.lines[hole / 2].0[hole % 2] = self.lines[line].0[index];
                hole = 2 * line + index;
            }
        }
        self.lines[hole / 2].0[hole % 2] = Slot::EMPTY;
        self.len -= 1;
    }

    /// Gives memory back that a past flood has left behind.
    pub(super) fn shrink(&mut self) {
        if self.len() < self.slots() / 4 {
            let before = std::mem::take(&mut self.lines);
            let needed = (self.len() * FULLEST.1 / FULLEST.0 + 1).div_ceil(2);
            if self.len > 0 {
                self.spread(cells(&before), needed.max(SMALLEST));
            }
        }
    }

    fn grow(&mut self) {
        let lines = (self.lines.len() + self.lines.len() / 4).max(SMALLEST);
        let cells = cells(&self.lines);
        self.lines.clear();
        self.spread(cells, lines);
    }

    /// Puts cells into a table of so many lines that is empty.
    fn spread(&mut self, cells: Vec<Slot>, lines: usize) {
        if lines > self.lines.capacity() {
            let fullest = (self.most as usize * FULLEST.1 / FULLEST.0).div_ceil(2);
            // A quarter beyond, because growth does not end where the fullest table does.
            let reserved = if lines <= SMALL { lines } else { lines.max(fullest + fullest / 4 + 1) };
            self.lines = Vec::with_capacity(reserved);
        }
        self.lines.resize(lines, Line::EMPTY);
        for slot in cells {
            self.put(slot);
        }
    }

    fn put(&mut self, slot: Slot) {
        let mut at = self.home(slot.high);
        loop {
            if let Some(free) = self.lines[at].0.iter_mut().find(|free| free.is_empty()) {
                *free = slot;
                return;
            }
            at = self.next(at);
        }
    }

    /// The line where an identity lies while there is room: its share of the way through the table.
    fn home(&self, high: u64) -> usize {
        ((u128::from(high) * self.lines.len() as u128) >> 64) as usize
    }

    const fn next(&self, line: usize) -> usize {
        if line + 1 < self.lines.len() { line + 1 } else { 0 }
    }

    const fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.lines.len() - from }
    }
}

/// Everything that is held in some lines.
fn cells(lines: &[Line]) -> Vec<Slot> {
    lines.iter().flat_map(|line| line.0).filter(|slot| !slot.is_empty()).collect()
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
    fn l2_a_cell_costs_70_bytes_at_most_and_a_table_moves_only_while_it_is_small() {
        assert_eq!((size_of::<Slot>(), size_of::<Line>()), (32, 64));
        let (mut table, mut first) = (Table::new(100_000), None);
        for number in 0..100_000_u64 {
            table.insert(CellId::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number << 8), cell(number));
            assert!(table.len() < 30 || table.slots() * size_of::<Slot>() <= 70 * table.len(), "{number}");
            if table.lines.len() > SMALL {
                assert_eq!(*first.get_or_insert(table.lines.as_ptr()), table.lines.as_ptr(), "{number}");
            }
        }
    }

    #[test]
    fn l2_a_look_into_a_full_table_touches_one_line_and_seldom_a_second() {
        // xorshift64*, seeded.
        let (mut table, mut state) = (Table::new(4_000), 1_u64);
        while table.len() < 4_000 || (table.len() + 1) * FULLEST.1 <= table.slots() * FULLEST.0 {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            table.insert(CellId::new(state.wrapping_mul(0x2545_f491_4f6c_dd1d), state << 8), cell(1));
        }
        let further = |at: usize| table.distance(table.home(table.lines[at / 2].0[at % 2].high), at / 2);
        let walked: usize = (0..table.slots()).filter(|at| table.get(*at).is_some()).map(further).sum();
        let lines = 1.0 + walked as f64 / table.len() as f64;
        assert!(lines < 1.4, "{lines} lines for a look");
    }
}
