//! Clients that ask several gates for as long as a test lasts, and what each key was admitted.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::client::{Client, Connection};
use crate::support::origin::Origin;

/// Every algorithm, by the name of its limit, which is also its path's.
pub(crate) const ALGORITHMS: [&str; 6] =
    ["token-bucket", "leaky-bucket", "fixed-window", "sliding-window-counter", "sliding-window-log", "calendar"];
/// What a key may take of each.
pub(crate) const QUOTA: u64 = 40;
/// What an address may take of all together: less than the sum, so that stacks are refused by either.
pub(crate) const STACK: u64 = 200;
/// How many addresses ask at a time.
const AT_A_TIME: u64 = 3;

/// One limit for each algorithm, and one for all of them; no window ends while a test runs.
pub(crate) fn limits(outage: &str) -> String {
    let limit = |name: &str, path: &str, rest: &str| {
        format!(
            "[[limit]]\nname = \"{name}\"\nmatch = \"GET /public/{path}\"\nkey = \"address\"\noutage = \"{outage}\"\n{rest}\n\n"
        )
    };
    let each = ALGORITHMS.map(|name| {
        let quota = match name {
            "calendar" => format!("quota = \"{QUOTA} per year\""),
            "leaky-bucket" => format!("quota = \"{QUOTA} per 30d\"\nburst = {QUOTA}"),
            _ => format!("quota = \"{QUOTA} per 30d\""),
        };
        limit(name, name, &format!("algorithm = \"{name}\"\n{quota}"))
    });
    limit("all", "**", &format!("algorithm = \"sliding-window-log\"\nquota = \"{STACK} per 30d\"")) + &each.concat()
}

/// Numbers that are the same for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number below this one.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % bound
    }

    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// How often each key got neither a pass nor a refusal: it may have been charged all the same.
pub(crate) type Unknown = BTreeMap<(u64, &'static str), u64>;

/// Says stop when it goes: in a test that fails, others would ask for ever.
pub(crate) struct Stop<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Those who ask.
#[derive(Default)]
pub(crate) struct Crowd {
    stop: AtomicBool,
    /// The newest address that asks.
    newest: AtomicU64,
}

fn address(number: u64) -> Ipv4Addr {
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 77, high, low.wrapping_add(2))
}

/// The status of an answer on a connection of its own, kept for the next; `None` where there was none.
fn ask(kept: &mut HashMap<(SocketAddr, u64), Connection>, gate: SocketAddr, number: u64, path: &str) -> Option<u16> {
    let client = Client::at(gate, address(number));
    let mut connection = match kept.remove(&(gate, number)) {
        Some(connection) => connection,
        None => client.try_connect().ok()?,
    };
    // By the connection itself: the client's own way asks a second time where a kept one turns out to be closed.
    connection.send(client.get(&format!("/public/{path}?{number}")).bytes()).ok()?;
    let reply = connection.reply().ok()?;
    kept.insert((gate, number), connection);
    Some(reply.status)
}

impl Crowd {
    /// Asks gates at random, a few addresses at a time, until it is told to stop.
    pub(crate) fn run(&self, gates: &[SocketAddr], seed: u64) -> Unknown {
        let (mut dice, mut kept, mut unknown) = (Dice::new(seed), HashMap::new(), Unknown::new());
        while !self.stop.load(Ordering::Relaxed) {
            let gate = gates[dice.below(gates.len() as u64) as usize];
            let newest = self.newest.load(Ordering::Relaxed);
            let number = newest.saturating_sub(dice.below(AT_A_TIME));
            let path = ALGORITHMS[dice.below(6) as usize];
            if !matches!(ask(&mut kept, gate, number, path), Some(200 | 429)) {
                *unknown.entry((number, path)).or_default() += 1;
            }
            kept.retain(|(_, number), _| number + AT_A_TIME > newest);
            std::thread::sleep(Duration::from_millis(1));
        }
        unknown
    }

    /// Lets another address come, and the oldest go.
    pub(crate) fn next(&self) {
        self.newest.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Tells them to stop when the test ends, well or not.
    pub(crate) fn until_dropped(&self) -> Stop<'_> {
        Stop(&self.stop)
    }

    /// Asks for every key until it is refused, of all gates in turn, now that nothing befalls anyone any more.
    pub(crate) fn exhaust(&self, gates: &[SocketAddr], unknown: &mut Unknown) {
        let mut kept = HashMap::new();
        for number in 0..=self.newest.load(Ordering::Relaxed) {
            for path in ALGORITHMS {
                let refused = (0..4 * QUOTA).any(|turn| {
                    let gate = gates[turn as usize % gates.len()];
                    let status = ask(&mut kept, gate, number, path);
                    if !matches!(status, Some(200 | 429)) {
                        *unknown.entry((number, path)).or_default() += 1;
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    status == Some(429)
                });
                assert!(refused, "{path} never refuses address {number} again");
            }
            kept.clear();
        }
    }

    /// How many addresses have asked.
    pub(crate) fn addresses(&self) -> u64 {
        self.newest.load(Ordering::Relaxed) + 1
    }
}

/// What the origin was asked, by address and path: what was really admitted, whatever clients were told.
pub(crate) fn admitted(origin: &Origin) -> BTreeMap<(u64, &'static str), u64> {
    let mut all = BTreeMap::new();
    for seen in origin.requests() {
        let target = seen.target.strip_prefix("/public/").and_then(|rest| rest.split_once('?'));
        let (path, number) = target.unwrap_or_else(|| panic!("nobody asked for {}", seen.target));
        // What is none of those was asked to see whether the store is back.
        if let Some(path) = ALGORITHMS.into_iter().find(|known| *known == path) {
            *all.entry((number.parse().expect("a number"), path)).or_default() += 1;
        }
    }
    all
}
