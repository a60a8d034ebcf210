//! The list of blocked addresses and networks.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hashbrown::{DefaultHashBuilder, HashMap};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use parking_lot::{Mutex, RwLock};
use portcullis_core::ports::Blocklist;
use portcullis_core::{Timestamp, unmapped};

/// Shards of the table. Clients differ in their addresses, so readers on different cores rarely meet at one lock.
const SHARDS: usize = 64;

/// Bytes that are kept of a block's reason.
const MAX_REASON: usize = 200;

/// One blocked address or network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The network; a single address is a /32 or a /128.
    pub network: IpNet,
    /// Until when; [`Timestamp::MAX`] is "never ends".
    pub until: Timestamp,
    /// Who or what put it there, in the operator's words (at most 200 bytes are kept).
    pub reason: Box<str>,
}

/// Why a block was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockTableError {
    /// The table holds as many blocks as it may, none of which has ended.
    #[error("the blocklist is full ({0} blocks)")]
    Full(usize),
    /// The network is so wide that it would lock out everybody.
    #[error("{0} would block everybody; a block covers at most a /4 of IPv4 or a /8 of IPv6")]
    TooWide(IpNet),
}

/// Blocked addresses and networks in memory, each until a moment, bounded in number.
///
/// A lookup asks one hash table per prefix length in use (usually one or two), and costs one relaxed load while the
/// table is empty. An IPv4 address mapped into IPv6 is its IPv4 address, on both sides.
#[derive(Debug)]
pub struct BlockTable {
    hasher: DefaultHashBuilder,
    shards: Box<[RwLock<HashMap<IpNet, Entry>>]>,
    /// Writers take turns here; readers never look at it.
    lengths: Mutex<Lengths>,
    /// Bit `n` is set while a block of prefix length `n` exists.
    v4_in_use: AtomicU64,
    v6_in_use: [AtomicU64; 3],
    len: AtomicUsize,
    capacity: usize,
}

/// How many blocks there are of each prefix length.
#[derive(Debug)]
struct Lengths {
    v4: [u32; 33],
    v6: [u32; 129],
}

#[derive(Debug)]
struct Entry {
    until: Timestamp,
    reason: Box<str>,
}

impl Default for BlockTable {
    fn default() -> Self {
        Self::with_capacity(100_000)
    }
}

impl BlockTable {
    /// A table for at most `capacity` blocks (100,000 by default).
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            shards: (0..SHARDS).map(|_| RwLock::new(HashMap::new())).collect(),
            lengths: Mutex::new(Lengths { v4: [0; 33], v6: [0; 129] }),
            v4_in_use: AtomicU64::new(0),
            v6_in_use: [const { AtomicU64::new(0) }; 3],
            len: AtomicUsize::new(0),
            capacity,
        }
    }

    /// Blocks a network until a moment; a block that exists for the same network is replaced. Bits behind the prefix
    /// are ignored. A full table first forgets what has ended by `now`.
    ///
    /// # Errors
    /// [`BlockTableError::TooWide`] for a network that is almost everybody, [`BlockTableError::Full`] when there is no
    /// room.
    pub fn add(&self, network: IpNet, until: Timestamp, reason: &str, now: Timestamp) -> Result<(), BlockTableError> {
        let network = canonical(network);
        let narrowest = if matches!(network, IpNet::V4(_)) { 4 } else { 8 };
        if network.prefix_len() < narrowest {
            return Err(BlockTableError::TooWide(network));
        }
        let mut lengths = self.lengths.lock();
        let known = self.shard(&network).read().contains_key(&network);
        if !known && self.len.load(Ordering::Relaxed) >= self.capacity {
            self.forget(&mut lengths, |entry| entry.until <= now);
            if self.len.load(Ordering::Relaxed) >= self.capacity {
                return Err(BlockTableError::Full(self.capacity));
            }
        }
        let entry = Entry { until, reason: reason[..reason.floor_char_boundary(MAX_REASON)].into() };
        if self.shard(&network).write().insert(network, entry).is_none() {
            lengths.change(&network, 1);
            self.publish(&lengths);
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Lifts the block of exactly this network; says whether there was one.
    pub fn remove(&self, network: IpNet) -> bool {
        let network = canonical(network);
        let mut lengths = self.lengths.lock();
        let removed = self.shard(&network).write().remove(&network).is_some();
        if removed {
            lengths.change(&network, -1);
            self.publish(&lengths);
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        removed
    }

    /// The blocks in force at `now`, ordered by network.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<Block> {
        let mut blocks = Vec::new();
        for shard in &self.shards {
            blocks.extend(shard.read().iter().filter(|(_, entry)| entry.until > now).map(|(network, entry)| Block {
                network: *network,
                until: entry.until,
                reason: entry.reason.clone(),
            }));
        }
        blocks.sort_unstable_by_key(|block| block.network);
        blocks
    }

    /// Forgets the blocks that have ended by `now`. Nothing depends on it but memory: an ended block blocks nobody.
    pub fn purge(&self, now: Timestamp) {
        self.forget(&mut self.lengths.lock(), |entry| entry.until <= now);
    }

    /// How many blocks the table holds, ended ones that are not yet forgotten included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether the table holds no block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn forget(&self, lengths: &mut Lengths, ended: impl Fn(&Entry) -> bool) {
        let mut forgotten = 0;
        for shard in &self.shards {
            shard.write().retain(|network, entry| {
                let ended = ended(entry);
                if ended {
                    lengths.change(network, -1);
                    forgotten += 1;
                }
                !ended
            });
        }
        self.publish(lengths);
        self.len.fetch_sub(forgotten, Ordering::Relaxed);
    }

    fn publish(&self, lengths: &Lengths) {
        self.v4_in_use.store(bits(&lengths.v4), Ordering::Relaxed);
        for (word, counts) in self.v6_in_use.iter().zip(lengths.v6.chunks(64)) {
            word.store(bits(counts), Ordering::Relaxed);
        }
    }

    fn shard(&self, network: &IpNet) -> &RwLock<HashMap<IpNet, Entry>> {
        // The top bits: the tables inside the shards use the others.
        &self.shards[(self.hasher.hash_one(network) >> 58) as usize]
    }

    /// The later of `found` and the end of this very network's block, where that is still in force.
    fn later(&self, found: Option<Timestamp>, network: IpNet, now: Timestamp) -> Option<Timestamp> {
        let until = self.shard(&network).read().get(&network).map(|entry| entry.until).filter(|until| *until > now);
        found.max(until)
    }
}

impl Blocklist for BlockTable {
    fn blocked_until(&self, address: IpAddr, now: Timestamp) -> Option<Timestamp> {
        if self.is_empty() {
            return None;
        }
        let mut found = None;
        match unmapped(address) {
            IpAddr::V4(address) => {
                for length in ones(self.v4_in_use.load(Ordering::Relaxed)) {
                    if let Ok(network) = Ipv4Net::new(address, length) {
                        found = self.later(found, IpNet::V4(network.trunc()), now);
                    }
                }
            }
            IpAddr::V6(address) => {
                for (word, base) in self.v6_in_use.iter().zip([0, 64, 128]) {
                    for length in ones(word.load(Ordering::Relaxed)) {
                        if let Ok(network) = Ipv6Net::new(address, base + length) {
                            found = self.later(found, IpNet::V6(network.trunc()), now);
                        }
                    }
                }
            }
        }
        found
    }
}

impl Lengths {
    fn change(&mut self, network: &IpNet, by: i32) {
        let length = usize::from(network.prefix_len());
        let count = match network {
            IpNet::V4(_) => &mut self.v4[length],
            IpNet::V6(_) => &mut self.v6[length],
        };
        *count = count.saturating_add_signed(by);
    }
}

/// One bit per count that is not zero.
fn bits(counts: &[u32]) -> u64 {
    counts.iter().enumerate().fold(0, |bits, (index, count)| bits | (u64::from(*count > 0) << index))
}

/// The positions of the bits that are set.
fn ones(mut bits: u64) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let position = bits.trailing_zeros();
        bits &= bits.checked_sub(1)?;
        u8::try_from(position).ok()
    })
}

/// The network without the bits behind its prefix, and as IPv4 where it is a part of the mapped range.
fn canonical(network: IpNet) -> IpNet {
    if let IpNet::V6(v6) = network
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(length) = v6.prefix_len().checked_sub(96)
        && let Ok(v4) = Ipv4Net::new(v4, length)
    {
        return IpNet::V4(v4.trunc());
    }
    network.trunc()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn until(table: &BlockTable, address: &str, now: u64) -> Option<Timestamp> {
        table.blocked_until(address.parse().unwrap(), at(now))
    }

    #[test]
    fn w4_a_block_ends_by_itself() {
        let table = BlockTable::default();
        assert_eq!(until(&table, "192.0.2.1", 0), None);
        table.add(net("192.0.2.1/32"), at(100), "three endpoints", at(0)).unwrap();
        assert_eq!(until(&table, "192.0.2.1", 99), Some(at(100)));
        assert_eq!(until(&table, "192.0.2.1", 100), None);
        assert_eq!(until(&table, "192.0.2.2", 0), None);
    }

    #[test]
    fn w4_networks_cover_their_addresses_and_the_longest_stay_counts() {
        let table = BlockTable::default();
        table.add(net("198.51.100.77/24"), at(10), "", at(0)).unwrap();
        table.add(net("198.51.100.7/32"), at(20), "", at(0)).unwrap();
        table.add(net("2001:db8:1::9/64"), at(30), "", at(0)).unwrap();
        table.add(net("2001:db8:2::9/128"), at(40), "", at(0)).unwrap();
        assert_eq!(until(&table, "198.51.100.7", 0), Some(at(20)));
        assert_eq!(until(&table, "198.51.100.8", 0), Some(at(10)));
        assert_eq!(until(&table, "198.51.101.8", 0), None);
        assert_eq!(until(&table, "2001:db8:1::abcd", 0), Some(at(30)));
        assert_eq!(until(&table, "2001:db8:2::9", 0), Some(at(40)));
        assert_eq!(until(&table, "2001:db8:2::8", 0), None);
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address_on_both_sides() {
        let table = BlockTable::default();
        table.add(net("::ffff:192.0.2.0/120"), at(10), "", at(0)).unwrap();
        assert_eq!(until(&table, "192.0.2.9", 0), Some(at(10)));
        assert_eq!(until(&table, "::ffff:192.0.2.9", 0), Some(at(10)));
        assert!(table.remove(net("192.0.2.0/24")));
        assert!(!table.remove(net("192.0.2.0/24")));
        assert_eq!(until(&table, "192.0.2.9", 0), None);
        assert!(table.is_empty());
    }

    #[test]
    fn nobody_can_block_everybody_by_a_slip() {
        let table = BlockTable::default();
        for wide in ["0.0.0.0/0", "::/0", "128.0.0.0/1", "::ffff:0:0/96"] {
            assert!(matches!(table.add(net(wide), at(9), "", at(0)), Err(BlockTableError::TooWide(_))), "{wide}");
        }
    }

    #[test]
    fn a_full_table_forgets_what_has_ended_and_refuses_otherwise() {
        let table = BlockTable::with_capacity(2);
        table.add(net("10.0.0.1/32"), at(5), "a", at(0)).unwrap();
        table.add(net("10.0.0.2/32"), at(50), "b", at(0)).unwrap();
        assert_eq!(table.add(net("10.0.0.3/32"), at(50), "c", at(0)), Err(BlockTableError::Full(2)));
        table.add(net("10.0.0.2/32"), at(60), "again", at(0)).unwrap();
        table.add(net("10.0.0.3/32"), at(50), "c", at(5)).unwrap();
        let listed = table.list(at(5));
        assert_eq!(
            listed.iter().map(|block| block.network).collect::<Vec<_>>(),
            [net("10.0.0.2/32"), net("10.0.0.3/32")]
        );
        assert_eq!(&*listed[0].reason, "again");
        table.purge(at(55));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let table = BlockTable::default();
        table.add(net("10.0.0.1/32"), at(5), &"ä".repeat(500), at(0)).unwrap();
        assert_eq!(table.list(at(0))[0].reason.len(), 200);
    }

    #[test]
    fn readers_and_writers_agree_under_concurrency() {
        let table = BlockTable::default();
        std::thread::scope(|scope| {
            for part in 0..4_u8 {
                let table = &table;
                scope.spawn(move || {
                    for host in 0..=255_u8 {
                        let address = IpAddr::from([10, 0, part, host]);
                        table.add(address.into(), at(9), "", at(0)).unwrap();
                        assert_eq!(table.blocked_until(address, at(0)), Some(at(9)));
                        if host % 2 == 0 {
                            assert!(table.remove(address.into()));
                            assert_eq!(table.blocked_until(address, at(0)), None);
                        }
                    }
                });
            }
        });
        assert_eq!(table.len(), 512);
        assert_eq!(table.list(at(0)).len(), 512);
    }
}
