//! A cluster: which node serves which slot, learned from the nodes and kept up to date.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crc::{CRC_16_XMODEM, Crc};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::request::Request;
use super::sentinel::Target;
use super::stream::{Connector, name, say};
use super::wire::{Value, Words};
use crate::store::StoreError;
use crate::store::net::{Address, Lane};

/// The number of slots of every cluster.
const SLOTS: usize = 16384;
/// How often a call follows where a node sends it.
const HOPS: usize = 4;
/// How long the map is trusted without a reason to doubt it, and how soon it is asked for again.
const REFRESH: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_millis(100);

/// The slot of a key. Our keys have no braces, so that the whole key counts.
pub(super) fn slot(key: &str) -> u16 {
    const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);
    CRC.checksum(key.as_bytes()) % SLOTS as u16
}

/// The nodes of a cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    map: watch::Receiver<Arc<Map>>,
    nodes: Arc<Nodes>,
}

#[derive(Debug)]
struct Nodes {
    seeds: Vec<Address>,
    connector: Connector,
    timeout: Duration,
    runtime: Handle,
    lanes: Mutex<HashMap<Address, Arc<Node>>>,
    /// Something suggests that the map is old.
    doubted: Notify,
}

/// A node, and the host by which it is reached.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) lane: Lane<Request>,
    host: String,
}

/// The lane of each slot's master.
#[derive(Debug, Default)]
struct Map {
    masters: Vec<Arc<Node>>,
    /// An index into `masters` for each slot.
    slots: Vec<Option<u16>>,
}

impl Cluster {
    pub(super) fn new(seeds: Vec<Address>, connector: Connector, timeout: Duration, runtime: &Handle) -> Self {
        let nodes = Arc::new(Nodes {
            seeds,
            connector,
            timeout,
            runtime: runtime.clone(),
            lanes: Mutex::default(),
            doubted: Notify::new(),
        });
        let (publish, map) = watch::channel(Arc::default());
        runtime.spawn(keep(Arc::clone(&nodes), publish));
        Self { map, nodes }
    }

    /// How it is named in messages.
    pub(super) fn name(&self) -> Box<str> {
        self.nodes.name()
    }

    /// All masters.
    pub(super) async fn masters(&self, deadline: Instant) -> Result<Vec<Arc<Node>>, StoreError> {
        Ok(self.known(deadline).await?.masters.clone())
    }

    /// Asks the node that serves a slot, wherever it has gone.
    pub(super) async fn call(&self, slot: u16, mut request: Request, deadline: Instant) -> Result<Value, StoreError> {
        let map = self.known(deadline).await?;
        let mut node = map.node(slot).ok_or_else(|| {
            self.nodes.doubted.notify_one();
            self.unavailable(format_args!("no node serves slot {slot}"))
        })?;
        for _ in 0..HOPS {
            let answer = node.lane.call(request.clone(), deadline).await;
            if matches!(answer, Err(StoreError::Unavailable { .. })) {
                self.nodes.doubted.notify_one();
            }
            let answer = answer?;
            // A node that sends a call away has not run it.
            let (asking, to) = match &answer {
                Value::Error(error) if error.starts_with("MOVED ") => (false, error),
                Value::Error(error) if error.starts_with("ASK ") => (true, error),
                _ => return Ok(answer),
            };
            if !asking {
                self.nodes.doubted.notify_one();
            }
            let Some(address) = to.split(' ').nth(2).and_then(|to| address(to, &node.host)) else {
                return Ok(answer);
            };
            request.asking = asking;
            node = self.nodes.node(&address);
        }
        Err(self.unavailable("its nodes send calls to each other"))
    }

    /// Tells the node that serves a slot. What a node would send elsewhere, or what there is no node for, is lost.
    pub(super) fn tell(&self, slot: u16, request: Request) {
        let node = self.map.borrow().node(slot);
        if let Some(node) = node {
            node.lane.tell(request);
        }
    }

    /// Calls that nobody waits for and that were not made.
    pub(super) fn lost(&self) -> u64 {
        self.nodes.lanes.lock().values().map(|node| node.lane.lost()).sum()
    }

    /// Answers that came after their call was given up.
    pub(super) fn late(&self) -> u64 {
        self.nodes.lanes.lock().values().map(|node| node.lane.late()).sum()
    }

    async fn known(&self, deadline: Instant) -> Result<Arc<Map>, StoreError> {
        {
            let map = self.map.borrow();
            if !map.masters.is_empty() {
                return Ok(Arc::clone(&map));
            }
        }
        let mut map = self.map.clone();
        let known = timeout_at(deadline, map.wait_for(|map| !map.masters.is_empty())).await;
        match known {
            Ok(Ok(map)) => Ok(Arc::clone(&map)),
            _ => Err(self.unavailable("none of its nodes says who serves which slot")),
        }
    }

    fn unavailable(&self, cause: impl ToString) -> StoreError {
        StoreError::Unavailable { store: self.nodes.name(), cause: cause.to_string().into() }
    }
}

impl Map {
    fn node(&self, slot: u16) -> Option<Arc<Node>> {
        let index = (*self.slots.get(usize::from(slot))?)?;
        self.masters.get(usize::from(index)).cloned()
    }
}

impl Nodes {
    fn name(&self) -> Box<str> {
        let seeds: Vec<String> = self.seeds.iter().map(ToString::to_string).collect();
        format!("the Redis cluster at {}", seeds.join(",")).into()
    }

    fn node(&self, address: &Address) -> Arc<Node> {
        let mut lanes = self.lanes.lock();
        let node = lanes.entry(address.clone()).or_insert_with(|| {
            let target = Target::Fixed { address: address.clone(), connector: self.connector.clone() };
            let lane = Lane::new(target, self.timeout, &self.runtime);
            Arc::new(Node { lane, host: address.host.clone() })
        });
        Arc::clone(node)
    }

    /// The map as one node knows it.
    async fn ask(&self, node: &Address) -> Result<Map, StoreError> {
        let store = name(node);
        let asking = async {
            let mut stream = self.connector.connect(node).await?;
            say(&mut stream, &store, "CLUSTER", &Words::of(&["SLOTS"])).await
        };
        let late = |_| StoreError::TimedOut { store: store.clone(), after: SOON * 10 };
        let answer = timeout(SOON * 10, asking).await.map_err(late)??;
        let ranges = masters(&answer, &node.host);
        let ranges = ranges.filter(|ranges| !ranges.is_empty()).ok_or_else(|| StoreError::Protocol {
            store: store.clone(),
            answer: "a map of the cluster that is empty or not understood".into(),
        })?;
        let mut map = Map { masters: Vec::new(), slots: vec![None; SLOTS] };
        let mut order: Vec<Address> = Vec::new();
        for (from, to, address) in ranges {
            let index = order.iter().position(|held| *held == address).unwrap_or_else(|| {
                map.masters.push(self.node(&address));
                order.push(address);
                order.len() - 1
            });
            map.slots[from..=to].fill(u16::try_from(index).ok());
        }
        // Nodes that serve nothing any more are left; calls that are under way are still answered.
        self.lanes.lock().retain(|address, _| order.contains(address));
        Ok(map)
    }
}

/// Keeps the map up to date until nobody reads it.
async fn keep(nodes: Arc<Nodes>, publish: watch::Sender<Arc<Map>>) {
    loop {
        let known: Vec<Address> = nodes.lanes.lock().keys().cloned().collect();
        let mut found = false;
        for node in known.iter().chain(&nodes.seeds) {
            if let Ok(map) = nodes.ask(node).await {
                publish.send_replace(Arc::new(map));
                found = true;
                break;
            }
        }
        let next = async {
            // However many calls doubt it, it is asked for ten times a second at most.
            sleep(SOON).await;
            if found {
                // Without a doubt, for as long as it is trusted.
                let _ = timeout(REFRESH, nodes.doubted.notified()).await;
            }
        };
        tokio::select! {
            () = publish.closed() => return,
            () = next => {}
        }
    }
}

/// The ranges of slots and their masters, out of the answer to `CLUSTER SLOTS`.
fn masters(answer: &Value, asked: &str) -> Option<Vec<(usize, usize, Address)>> {
    let range = |range: &Value| {
        let [from, to, master, ..] = range.array()? else { return None };
        let bound = |value: &Value| usize::try_from(value.int()?).ok().filter(|slot| *slot < SLOTS);
        let [host, port, ..] = master.array()? else { return None };
        // A node that does not know its own address, or may not tell it, is the one that was asked.
        let host = host.text().filter(|host| !host.is_empty() && *host != "?").unwrap_or(asked);
        let port = u16::try_from(port.int()?).ok()?;
        let (from, to) = (bound(from)?, bound(to)?);
        (from <= to).then(|| (from, to, Address { host: host.to_owned(), port }))
    };
    answer.array()?.iter().map(range).collect()
}

/// The address in `MOVED 3999 127.0.0.1:6381`; without a host it is that of the node that says so.
fn address(text: &str, host: &str) -> Option<Address> {
    let (named, port) = text.rsplit_once(':')?;
    let host = if named.is_empty() { host } else { named };
    Some(Address { host: host.to_owned(), port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12182);
    }
}
