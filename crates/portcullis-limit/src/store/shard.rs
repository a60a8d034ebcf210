//! One lock's worth of cells.

use portcullis_core::Timestamp;

use super::table::{CellId, Table};
use crate::algorithm::{Assessment, Cell, Held, Logs, Packed};
use crate::limiter::{Ask, Receipt};
use crate::rate::{Algorithm, Rate};

/// How many slots an insertion looks at for idle cells to reclaim. More than one cell for each that comes, even where
/// the table is half empty, so that idle ones do not pile up.
const RECLAIM_STEPS: usize = 8;
/// From how many cells the one that runs out first is evicted when a shard is full of live ones. They lie where their
/// hashes put them, so a stranger does not choose whom they stand beside.
const EVICTION_SAMPLE: usize = 8;

/// The cells whose keys hash to one lock.
#[derive(Debug)]
pub(super) struct Shard {
    cells: Table,
    /// The slot where reclaiming goes on.
    cursor: usize,
    /// Boxed, so that a shard fits into a line of memory with its lock: few limits keep logs.
    logs: Box<Logs>,
}

/// What became of a charge.
pub(super) struct Charged {
    /// By which moment the cell judged.
    pub(super) at: Timestamp,
    /// Whether a live cell had to make room for it.
    pub(super) evicted: bool,
}

impl Shard {
    pub(super) fn new(capacity: usize) -> Self {
        Self { cells: Table::new(capacity), cursor: 0, logs: Box::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// What the cell says of an ask, where asks before it in the same stack will have taken `before` of the same key.
    pub(super) fn assess(&mut self, id: CellId, ask: &Ask<'_>, before: u64, now: Timestamp) -> Assessment {
        if let Some(until) = self.blocked_until(id, now) {
            return Assessment::blocked(until);
        }
        let cost = ask.cost.saturating_add(before);
        let (slot, mut cell) = self.open(id, ask.rate);
        let at = cell.advance(ask.rate, now);
        let said = cell.assess(ask.rate, cost, at);
        self.keep(slot, cell, ask.rate);
        said
    }

    /// Charges an ask that was assessed.
    pub(super) fn commit(&mut self, id: CellId, ask: &Ask<'_>, now: Timestamp, capacity: usize) -> Charged {
        let (slot, mut cell) = self.open(id, ask.rate);
        let at = cell.advance(ask.rate, now);
        cell.charge(ask.rate, ask.cost, at);
        Charged { at, evicted: self.close(id, slot, cell, ask.rate, now, capacity) }
    }

    /// Both in one look, for a request that asks nothing else. `algorithm` is the rate's: told as a constant, it is not asked
    /// for again.
    #[inline(always)]
    pub(super) fn charge(
        &mut self,
        algorithm: Algorithm,
        id: CellId,
        ask: &Ask<'_>,
        now: Timestamp,
        capacity: usize,
    ) -> (Assessment, Option<Charged>) {
        let slot = self.find(id);
        if let Some(until) = slot.and_then(|(_, packed)| packed.blocked_until(now)) {
            return (Assessment::blocked(until), None);
        }
        let mut cell = match slot {
            Some((_, packed)) => packed.open(algorithm, ask.rate, &mut self.logs),
            None => Cell::new(algorithm),
        };
        let at = cell.advance(ask.rate, now);
        let said = cell.assess(ask.rate, ask.cost, at);
        if said.retry_at.is_some() || ask.cost == 0 {
            self.keep(slot, cell, ask.rate);
            return (said, None);
        }
        cell.charge(ask.rate, ask.cost, at);
        let before = slot.map(|(_, packed)| packed);
        let evicted = slot.is_none() && self.make_room(now, capacity);
        let packed = Packed::close(cell, algorithm, ask.rate, before, &mut self.logs);
        match slot {
            Some((slot, _)) => self.cells.set(slot, packed),
            None => self.cells.insert(id, packed),
        }
        (said, Some(Charged { at, evicted }))
    }

    /// Gives back what a receipt stands for, as far as the cell still holds it.
    pub(super) fn give_back(&mut self, id: CellId, receipt: &Receipt, now: Timestamp) {
        let Some((slot, packed)) = self.find(id) else { return };
        let algorithm = receipt.rate.algorithm();
        if packed.held == Held::Cell(algorithm) {
            let mut cell = packed.open(algorithm, &receipt.rate, &mut self.logs);
            cell.advance(&receipt.rate, now);
            cell.give_back(&receipt.rate, receipt.cost, receipt.at);
            self.cells.set(slot, Packed::close(cell, algorithm, &receipt.rate, Some(packed), &mut self.logs));
        }
    }

    /// Gives units back that nobody holds a receipt for, as many as the ask costs.
    pub(super) fn reward(&mut self, id: CellId, ask: &Ask<'_>, now: Timestamp) {
        let Some((slot, packed)) = self.find(id) else { return };
        let algorithm = ask.rate.algorithm();
        if packed.held == Held::Cell(algorithm) {
            let mut cell = packed.open(algorithm, ask.rate, &mut self.logs);
            let at = cell.advance(ask.rate, now);
            cell.reward(ask.rate, ask.cost, at);
            self.cells.set(slot, Packed::close(cell, algorithm, ask.rate, Some(packed), &mut self.logs));
        }
    }

    /// Puts a block in place of what was counted; tells whether a live cell had to make room for it.
    pub(super) fn block(&mut self, id: CellId, until: Timestamp, now: Timestamp, capacity: usize) -> bool {
        if let Some((slot, packed)) = self.find(id) {
            packed.drop_log(&mut self.logs);
            self.cells.set(slot, Packed::block(until));
            return false;
        }
        let evicted = self.make_room(now, capacity);
        self.cells.insert(id, Packed::block(until));
        evicted
    }

    /// Until when a key is blocked, if it is.
    pub(super) fn blocked_until(&self, id: CellId, now: Timestamp) -> Option<Timestamp> {
        self.find(id)?.1.blocked_until(now)
    }

    /// A copy of a key's cell; a fresh one where there is none.
    pub(super) fn cell(&self, id: CellId, rate: &Rate) -> Cell {
        self.find(id).map_or_else(|| Cell::new(rate.algorithm()), |(_, packed)| packed.copy(rate, &self.logs))
    }

    /// Forgets a key; `true` if it was held.
    pub(super) fn remove(&mut self, id: CellId) -> bool {
        let found = self.find(id);
        if let Some((slot, packed)) = found {
            self.drop_cell(slot, packed);
        }
        found.is_some()
    }

    /// Drops every idle cell, and memory that a past flood has left behind.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        let mut slot = 0;
        while slot < self.cells.slots() {
            match self.cells.get(slot) {
                // Another may have moved up into the slot.
                Some(packed) if packed.expires_at <= now.as_nanos() => self.drop_cell(slot, packed),
                _ => slot += 1,
            }
        }
        self.cells.shrink();
        self.logs.shrink_to_fit();
    }

    fn find(&self, id: CellId) -> Option<(usize, Packed)> {
        let slot = self.cells.find(id)?;
        Some((slot, self.cells.get(slot)?))
    }

    /// Where a key's cell is, and the cell; a fresh one where there is none of the rate's algorithm. A log is taken out until
    /// it is closed.
    fn open(&mut self, id: CellId, rate: &Rate) -> (Option<(usize, Packed)>, Cell) {
        match self.find(id) {
            Some((slot, packed)) => (Some((slot, packed)), packed.open(rate.algorithm(), rate, &mut self.logs)),
            None => (None, Cell::new(rate.algorithm())),
        }
    }

    /// Puts a cell back that was brought up to date and nothing else, which changes no answer, but has to be kept where a
    /// clock was set back: the cell moved with it.
    fn keep(&mut self, slot: Option<(usize, Packed)>, cell: Cell, rate: &Rate) {
        if let Some((slot, packed)) = slot
            && packed.held == Held::Cell(rate.algorithm())
        {
            self.cells.set(slot, Packed::close(cell, rate.algorithm(), rate, Some(packed), &mut self.logs));
        }
    }

    /// Puts a cell back where it was, or in where there was none; tells whether a live one had to make room.
    fn close(
        &mut self,
        id: CellId,
        slot: Option<(usize, Packed)>,
        cell: Cell,
        rate: &Rate,
        now: Timestamp,
        capacity: usize,
    ) -> bool {
        if let Some((slot, packed)) = slot {
            self.cells.set(slot, Packed::close(cell, rate.algorithm(), rate, Some(packed), &mut self.logs));
            return false;
        }
        let evicted = self.make_room(now, capacity);
        let packed = Packed::close(cell, rate.algorithm(), rate, None, &mut self.logs);
        self.cells.insert(id, packed);
        evicted
    }

    /// Reclaims what is idle nearby, and evicts where that is not enough; tells whether it was a live one.
    #[inline(never)]
    fn make_room(&mut self, now: Timestamp, capacity: usize) -> bool {
        self.reclaim(now);
        self.cells.len() >= capacity && self.evict(now)
    }

    fn drop_cell(&mut self, slot: usize, packed: Packed) {
        packed.drop_log(&mut self.logs);
        self.cells.remove(slot);
    }

    /// Looks at the next few slots and drops the idle cells.
    fn reclaim(&mut self, now: Timestamp) {
        for _ in 0..RECLAIM_STEPS.min(self.cells.slots()) {
            let slot = self.next_slot();
            if let Some(packed) = self.cells.get(slot)
                && packed.expires_at <= now.as_nanos()
            {
                self.drop_cell(slot, packed);
            }
        }
    }

    /// Evicts, among the next few cells, the one that runs out first; `true` if it was still live. A block only if there is
    /// nothing else: an operator made it, and a flood of other keys must not lift it.
    fn evict(&mut self, now: Timestamp) -> bool {
        let mut first: Option<(usize, Packed)> = None;
        let mut seen = 0;
        for _ in 0..self.cells.slots() {
            let slot = self.next_slot();
            let Some(packed) = self.cells.get(slot) else { continue };
            let rank = |packed: Packed| (packed.blocked_until(now).is_some(), packed.expires_at);
            if first.is_none_or(|(_, first)| rank(packed) < rank(first)) {
                first = Some((slot, packed));
            }
            seen += 1;
            if seen == EVICTION_SAMPLE {
                break;
            }
        }
        let Some((slot, packed)) = first else { return false };
        self.drop_cell(slot, packed);
        packed.expires_at > now.as_nanos()
    }

    /// The slot under the cursor, which moves on; tables grow and shrink, so it may have to begin anew.
    fn next_slot(&mut self) -> usize {
        let slot = if self.cursor < self.cells.slots() { self.cursor } else { 0 };
        self.cursor = slot + 1;
        slot
    }
}
