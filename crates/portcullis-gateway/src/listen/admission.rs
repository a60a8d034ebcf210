//! How many connections may be open: in the process, and from one client address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use portcullis_core::{AddressKey, ClientAddress};

use crate::config::TransportSettings;

const SHARDS: usize = 64;

/// How much of an IPv6 address is one client: what a provider gives to one customer.
const IPV6_PREFIX: u8 = 64;

/// Counts open connections for all cores.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    open: AtomicUsize,
    hasher: RandomState,
    by_address: Shards,
}

type Shard = Mutex<HashMap<AddressKey, usize>>;

#[derive(Debug)]
struct Shards([Shard; SHARDS]);

impl Default for Shards {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Admission {
    /// A seat for one more connection, or `None` where the process or the address has its share already.
    pub(crate) fn seat(self: &Arc<Self>, peer: IpAddr, bounds: &TransportSettings) -> Option<Seat> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= bounds.max_connections {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        // A trusted hop speaks for many clients; the bound is for one.
        let key = (!bounds.trusted_hops.trusts(peer)).then(|| ClientAddress::new(peer).key(IPV6_PREFIX));
        let mut seat = Seat { admission: Arc::clone(self), key: None };
        if let Some(key) = key {
            let mut shard = self.shard(key).lock();
            let count = shard.entry(key).or_insert(0);
            if *count >= bounds.max_connections_per_address.max(1) {
                return None;
            }
            *count += 1;
            seat.key = Some(key);
        }
        Some(seat)
    }

    fn shard(&self, key: AddressKey) -> &Shard {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let index = self.hasher.hash_one(key) as usize % SHARDS;
        &self.by_address.0[index]
    }
}

/// One open connection's place. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Seat {
    admission: Arc<Admission>,
    key: Option<AddressKey>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(key) = self.key
            && let Entry::Occupied(mut entry) = self.admission.shard(key).lock().entry(key)
        {
            // An address without connections is forgotten, or the table would grow with every stranger.
            if *entry.get() <= 1 {
                entry.remove();
            } else {
                *entry.get_mut() -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::tests::transport;

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let admission = Arc::new(Admission::default());
        let bounds = TransportSettings { max_connections: 4, max_connections_per_address: 2, ..transport() };
        let greedy: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::ffff:2".parse().unwrap();
        let other: IpAddr = "192.0.2.7".parse().unwrap();
        let first = admission.seat(greedy, &bounds).unwrap();
        let _second = admission.seat(neighbour, &bounds).unwrap();
        assert!(admission.seat(greedy, &bounds).is_none(), "one /64 is one client");
        let _third = admission.seat(other, &bounds).unwrap();
        let _fourth = admission.seat(other, &bounds).unwrap();
        assert!(admission.seat("192.0.2.8".parse().unwrap(), &bounds).is_none(), "the process has its bound");
        drop(first);
        assert!(admission.seat(greedy, &bounds).is_some());
    }

    #[test]
    fn a_closed_connection_leaves_nothing_behind() {
        let admission = Arc::new(Admission::default());
        for last in 0..200_u8 {
            drop(admission.seat(IpAddr::from([192, 0, 2, last]), &transport()).unwrap());
        }
        assert_eq!(admission.by_address.0.iter().map(|shard| shard.lock().len()).sum::<usize>(), 0);
        assert_eq!(admission.open.load(Ordering::Relaxed), 0);
    }
}
