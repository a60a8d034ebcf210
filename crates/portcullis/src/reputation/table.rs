//! Scores in memory: a fixed number of them, 32 bytes each.
//!
//! An address has sixteen places where its score may lie, told by a hash with a secret. Where all are taken, the least
//! suspicious makes room, and where even that is worse than the newcomer, the newcomer is not remembered. A newcomer has one
//! offence: so whoever has a score above that of a single offence is never forgotten to make room, however many addresses
//! an attacker has. He can fill the table with addresses that are worse than a newcomer, by offending from each again and
//! again; others are then judged as if nothing were known of them, which is no worse than without a table.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use portcullis_core::{AddressKey, Timestamp, unmapped};

use super::{Class, Repute, Rules};

/// Places where a score may lie.
const WAYS: usize = 16;
/// Groups of so many places under one lock.
const GROUPS: usize = 16;
/// Locks. With the above 65,536 addresses in 2 MiB, which are taken with the first offence.
const SHARDS: usize = 256;
/// A score below this is as good as none.
const NOTHING: f32 = 0.5;

/// One address.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    /// As IPv6, an IPv4 address mapped into it.
    address: [u64; 2],
    /// When the score was what it says, in nanoseconds; zero: the cell is empty.
    at: u64,
    score: f32,
    /// Until when it counts as challenged, in seconds.
    challenged: u32,
}

type Shard = Mutex<Box<[Cell]>>;

/// The scores of addresses.
pub(crate) struct Reputation {
    shards: OnceLock<Box<[Shard]>>,
    hasher: RandomState,
    forgotten: AtomicU64,
    unheard: AtomicU64,
}

/// What one record changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) before: Class,
    pub(super) after: Class,
}

/// An address of which something is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnownAddress {
    /// The address, or the first one of an IPv6 network.
    pub address: IpAddr,
    /// What is thought of it.
    pub repute: Repute,
}

/// How many addresses are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReputationFigures {
    /// Of which anything is known.
    pub known: u64,
    /// That are suspect.
    pub suspect: u64,
    /// That are bad.
    pub bad: u64,
    /// That count as challenged.
    pub challenged: u64,
    /// Addresses that made room for others before their score had run out, since the start.
    pub forgotten: u64,
    /// Offences that were not remembered because the table is full of worse, since the start.
    pub unheard: u64,
}

impl Default for Reputation {
    fn default() -> Self {
        Self {
            shards: OnceLock::new(),
            hasher: RandomState::new(),
            forgotten: AtomicU64::new(0),
            unheard: AtomicU64::new(0),
        }
    }
}

impl Cell {
    fn repute(&self, rules: &Rules, now: Timestamp) -> Repute {
        if self.at == 0 {
            return Repute::default();
        }
        let passed = now.since(Timestamp::from_nanos(self.at));
        let score = rules.decayed(self.score, passed).min(rules.highest());
        let until = Timestamp::from_secs(u64::from(self.challenged));
        // A challenge that lies further ahead than one can last is from before a clock was set back, or a reload.
        let latest = now.after(rules.challenged_for.saturating_add(Duration::from_secs(1)));
        let challenged_until = (until > now).then(|| until.min(latest));
        Repute { score, class: rules.class(score), challenged_until }
    }

    fn is_spent(&self, repute: &Repute) -> bool {
        self.at == 0 || (repute.score < NOTHING && repute.challenged_until.is_none())
    }

    fn ip(&self) -> IpAddr {
        let bits = u128::from(self.address[0]) << 64 | u128::from(self.address[1]);
        unmapped(IpAddr::V6(Ipv6Addr::from_bits(bits)))
    }
}

/// How hard an address clings to its place. A challenge counts as the wrong credential that most of them are for.
fn rank(repute: &Repute, rules: &Rules) -> f32 {
    let challenged = if repute.challenged_until.is_some() { f32::from(rules.weights.denied) } else { 0.0 };
    repute.score + challenged
}

fn words(address: AddressKey) -> [u64; 2] {
    let bits = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}

impl Reputation {
    /// What is thought of an address.
    pub(super) fn of(&self, address: AddressKey, rules: &Rules, now: Timestamp) -> Repute {
        // Until somebody offends there is nothing to look at.
        let Some(shards) = self.shards.get() else { return Repute::default() };
        let words = words(address);
        let (shard, first) = self.place(words);
        let cells = shards[shard].lock();
        let found = cells[first..first + WAYS].iter().find(|cell| cell.address == words && cell.at != 0);
        let found = found.copied();
        drop(cells);
        found.map_or_else(Repute::default, |cell| cell.repute(rules, now))
    }

    /// Adds to an address's score, and lets it count as challenged until a moment if one is given.
    pub(super) fn raise(
        &self,
        address: AddressKey,
        by: f32,
        challenged_until: Option<Timestamp>,
        rules: &Rules,
        now: Timestamp,
    ) -> Change {
        let words = words(address);
        let (shard, first) = self.place(words);
        let mut cells = self.shards()[shard].lock();
        let ways = &mut cells[first..first + WAYS];
        let held = ways.iter().position(|cell| cell.address == words && cell.at != 0);
        let before = held.map_or_else(Repute::default, |at| ways[at].repute(rules, now));
        let until = before.challenged_until.max(challenged_until);
        let score = (before.score + by).min(rules.highest());
        let after = Repute { score, class: rules.class(score), challenged_until: until };
        let Some(at) = held.or_else(|| self.room(ways, &after, rules, now)) else {
            self.unheard.fetch_add(1, Ordering::Relaxed);
            return Change { before: before.class, after: before.class };
        };
        let seconds = until.map_or(0, Timestamp::as_secs_ceil);
        let challenged = u32::try_from(seconds).unwrap_or(u32::MAX);
        ways[at] = Cell { address: words, at: now.as_nanos().max(1), score, challenged };
        Change { before: before.class, after: after.class }
    }

    /// Forgets an address; `true` if anything was known of it.
    pub(super) fn forget(&self, address: AddressKey) -> bool {
        let Some(shards) = self.shards.get() else { return false };
        let words = words(address);
        let (shard, first) = self.place(words);
        let mut cells = shards[shard].lock();
        let found = cells[first..first + WAYS].iter_mut().find(|cell| cell.address == words && cell.at != 0);
        found.map(|cell| *cell = Cell::default()).is_some()
    }

    /// The addresses with the highest scores, the worst first.
    pub(super) fn worst(&self, most: usize, rules: &Rules, now: Timestamp) -> Vec<KnownAddress> {
        let mut known = Vec::new();
        self.each(rules, now, |cell, repute| known.push(KnownAddress { address: cell.ip(), repute }));
        known.sort_by(|a, b| rank(&b.repute, rules).total_cmp(&rank(&a.repute, rules)).then(a.address.cmp(&b.address)));
        known.truncate(most);
        known
    }

    /// How many addresses are remembered.
    pub(super) fn figures(&self, rules: &Rules, now: Timestamp) -> ReputationFigures {
        let (forgotten, unheard) = (self.forgotten.load(Ordering::Relaxed), self.unheard.load(Ordering::Relaxed));
        let mut figures = ReputationFigures { forgotten, unheard, ..ReputationFigures::default() };
        self.each(rules, now, |_, repute| {
            figures.known += 1;
            figures.suspect += u64::from(repute.class == Class::Suspect);
            figures.bad += u64::from(repute.class == Class::Bad);
            figures.challenged += u64::from(repute.challenged_until.is_some());
        });
        figures
    }

    fn each(&self, rules: &Rules, now: Timestamp, mut see: impl FnMut(&Cell, Repute)) {
        for shard in self.shards.get().into_iter().flatten() {
            // Judged without the lock: 256 cells are copied sooner than their powers are computed.
            let cells = shard.lock().clone();
            for cell in &cells {
                let repute = cell.repute(rules, now);
                if !cell.is_spent(&repute) {
                    see(cell, repute);
                }
            }
        }
    }

    /// Where a newcomer may lie: an empty place, or that of the least suspicious if it is no worse.
    fn room(&self, ways: &[Cell], newcomer: &Repute, rules: &Rules, now: Timestamp) -> Option<usize> {
        let mut least: Option<(usize, f32)> = None;
        for (at, cell) in ways.iter().enumerate() {
            let repute = cell.repute(rules, now);
            if cell.is_spent(&repute) {
                return Some(at);
            }
            let rank = rank(&repute, rules);
            if least.is_none_or(|(_, lowest)| rank < lowest) {
                least = Some((at, rank));
            }
        }
        let (at, _) = least.filter(|(_, lowest)| *lowest <= rank(newcomer, rules))?;
        self.forgotten.fetch_add(1, Ordering::Relaxed);
        Some(at)
    }

    fn shards(&self) -> &[Shard] {
        self.shards.get_or_init(|| {
            let cells = || vec![Cell::default(); GROUPS * WAYS].into_boxed_slice();
            (0..SHARDS).map(|_| Mutex::new(cells())).collect()
        })
    }

    /// The lock and the first of the places.
    fn place(&self, words: [u64; 2]) -> (usize, usize) {
        let hash = self.hasher.hash_one(words) as usize;
        (hash % SHARDS, (hash / SHARDS) % GROUPS * WAYS)
    }
}

#[cfg(test)]
mod tests;
