//! Many nodes and one store, in a time that is made: nodes die and come, ways are cut, answers are late or lost, clocks go at
//! other speeds, the store loses what it had. Whatever happens, no window admits more than its quota.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use portcullis_core::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::limiter::{Ask, Charge, Limiter, Receipt, Refused, Standing};
use crate::outage::{Outage, PATIENCE, Patience};
use crate::rate::{Algorithm, Rate};
use crate::store::{Answer, BoxFuture, Identity, Lender, MemoryStore, Pulse, SharedStore, StoreError, Taken};
use crate::{Key, LeaseFigures};

/// Numbers that look like chance and come again with the same seed.
#[derive(Debug)]
pub(super) struct Dice(AtomicU64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(super) fn below(&self, end: u64) -> u64 {
        // SplitMix64 of a counter.
        let mut x = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ x >> 31) % end.max(1)
    }

    fn millis(&self, end: u64) -> Duration {
        Duration::from_micros(self.below(end * 1000))
    }
}

/// The store, as the nodes share it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) cells: MemoryStore,
    begun: Instant,
    /// How much faster than ours its clock goes, in millionths, and what it was set ahead by.
    drift: i64,
    pub(super) ahead: AtomicU64,
    mark: Mutex<Mark>,
    pub(super) dice: Dice,
    /// How much slower than each node's pace requests come at the moment.
    tempo: AtomicU64,
    /// How long a message is under way at most, in milliseconds.
    pub(super) slowest: AtomicU64,
    pub(super) takes: AtomicU64,
}

#[derive(Debug, Default)]
struct Mark {
    held: Option<(u64, Timestamp, Option<Timestamp>)>,
    resets: u64,
    run: u64,
    of_run: u64,
    next: u64,
}

const BASE: Timestamp = Timestamp::from_secs(1_795_219_205);

impl World {
    pub(super) fn new(seed: u64, drift: i64) -> Arc<Self> {
        Arc::new(Self {
            cells: MemoryStore::default(),
            begun: Instant::now(),
            drift,
            ahead: AtomicU64::new(0),
            // It has stood for long.
            mark: Mutex::new(Mark { held: Some((1, Timestamp::EPOCH, None)), next: 2, ..Mark::default() }),
            dice: Dice::new(seed),
            tempo: AtomicU64::new(1),
            slowest: AtomicU64::new(3),
            takes: AtomicU64::new(0),
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.begun.elapsed().as_nanos()).unwrap();
        let there = passed + passed / 1_000_000 * self.drift;
        let ahead = self.ahead.load(Ordering::Relaxed);
        BASE.after(Duration::from_nanos(u64::try_from(there).unwrap() + ahead))
    }

    /// Everything is gone, and the mark with it.
    pub(super) fn flush(&self, keys: &[Key]) {
        keys.iter().for_each(|key| _ = self.cells.reset(key));
        self.mark.lock().held = None;
    }

    /// Another server stands in, which has the mark but not the latest charges.
    pub(super) fn fail_over(&self, keys: &[Key]) {
        keys.iter().for_each(|key| _ = self.cells.reset(key));
        self.mark.lock().run += 1;
    }

    fn pulse(&self, known: u64) -> (u64, Pulse) {
        let (mut mark, now) = (self.mark.lock(), self.now());
        let Mark { held, run, of_run, next, resets } = &mut *mark;
        let (name, since, mut lost) = match *held {
            Some(held) if run == of_run => held,
            gone => {
                *next += 1;
                (*next, now, (gone.is_some() || known != 0).then_some(now))
            }
        };
        if lost.is_none() && known != 0 && known != name {
            lost = Some(since);
        }
        (*held, *of_run) = (Some((name, since, lost)), *run);
        let mark = Identity::new(format!("{name} {lost:?} {run}"));
        (name, Pulse { mark, at: now, since, lost, resets: resets.to_string().into() })
    }

    fn bears(&self, mark: &Identity) -> bool {
        let Mark { held, run, of_run, .. } = &*self.mark.lock();
        held.is_some_and(|(name, _, lost)| run == of_run && *mark == Identity::new(format!("{name} {lost:?} {run}")))
    }
}

/// A node's way to the store.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) world: Arc<World>,
    pub(super) cut: AtomicBool,
    /// Whether the store says yes and lends nothing.
    pub(super) hollow: AtomicBool,
    known: AtomicU64,
}

impl Way {
    /// A message there and the answer back; where the way is cut either is lost.
    async fn carry<T>(&self, what: impl FnOnce() -> T) -> Result<T, StoreError> {
        let slowest = self.world.slowest.load(Ordering::Relaxed);
        sleep(self.world.dice.millis(slowest)).await;
        self.lost().await?;
        let answer = what();
        sleep(self.world.dice.millis(slowest)).await;
        self.lost().await?;
        Ok(answer)
    }

    async fn lost(&self) -> Result<(), StoreError> {
        if !self.cut.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.world.dice.below(2) == 0 {
            std::future::pending().await
        }
        Err(StoreError::Unavailable { store: "fake".into(), cause: "cut".into() })
    }
}

fn shared(mut charge: Charge) -> Charge {
    charge.receipts_mut().iter_mut().for_each(|receipt| receipt.shared = Some("fake".into()));
    charge
}

/// A way that a limiter and a test hold both.
#[derive(Clone, Debug)]
pub(super) struct Port(pub(super) Arc<Way>);

impl SharedStore for Port {
    fn charge<'a>(&'a self, asks: &'a [Ask<'a>]) -> BoxFuture<'a, Answer> {
        Box::pin(self.0.carry(|| self.0.world.cells.charge(asks, self.0.world.now()).map(shared)))
    }

    fn peek<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<Standing, StoreError>> {
        Box::pin(self.0.carry(|| self.0.world.cells.peek(ask, self.0.world.now())))
    }

    fn give_back(&self, receipt: Receipt) {
        let way = Arc::clone(&self.0);
        tokio::spawn(async move {
            let _ = way.carry(|| way.world.cells.give_back(&receipt, way.world.now())).await;
        });
    }

    fn reset<'a>(&'a self, _: &'a str, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.0.carry(|| {
            self.0.world.mark.lock().resets += 1;
            self.0.world.cells.reset(key)
        }))
    }

    fn ping(&self) -> BoxFuture<'_, Result<Identity, StoreError>> {
        Box::pin(async { Ok(self.pulse().await?.mark) })
    }

    fn lender(&self) -> Option<&dyn Lender> {
        Some(self)
    }
}

impl Lender for Port {
    fn pulse(&self) -> BoxFuture<'_, Result<Pulse, StoreError>> {
        Box::pin(async {
            let (name, pulse) = self.0.carry(|| self.0.world.pulse(self.0.known.load(Ordering::Relaxed))).await?;
            self.0.known.store(name, Ordering::Relaxed);
            Ok(pulse)
        })
    }

    fn take<'a>(&'a self, ask: &'a Ask<'a>, mark: &'a Identity) -> BoxFuture<'a, Result<Taken, StoreError>> {
        Box::pin(self.0.carry(|| {
            self.0.world.takes.fetch_add(1, Ordering::Relaxed);
            if !self.0.world.bears(mark) {
                return None;
            }
            if self.0.hollow.load(Ordering::Relaxed) {
                return Some(Ok(Charge::default()));
            }
            Some(self.0.world.cells.charge(std::slice::from_ref(ask), self.0.world.now()).map(shared))
        }))
    }
}

/// A node: its limiter, what looks after it, and its way to the store.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) limiter: Arc<Limiter>,
    pub(super) port: Port,
    keeps: JoinHandle<()>,
}

impl Node {
    pub(super) fn new(world: &Arc<World>) -> Self {
        let (cut, hollow, known) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
        let port = Port(Arc::new(Way { world: Arc::clone(world), cut, hollow, known }));
        let store = Arc::new(port.clone());
        let limiter = Arc::new(Limiter::default().sharing(store, PATIENCE, Arc::new(|_| {})));
        let keeps = Self::keep(&limiter);
        Self { limiter, port, keeps }
    }

    fn keep(limiter: &Arc<Limiter>) -> JoinHandle<()> {
        let kept = Arc::clone(limiter);
        tokio::spawn(async move { kept.keep().await })
    }

    /// Ends what looks after the limiter wherever it is, and begins it anew.
    pub(super) async fn keep_anew(&mut self) {
        self.keeps.abort();
        // Aborted, it is dropped before it counts as finished.
        let _ = (&mut self.keeps).await;
        self.keeps = Self::keep(&self.limiter);
    }

    pub(super) async fn charge(&self, ask: &Ask<'_>) -> Result<Charge, Refused> {
        self.limiter.charge(std::slice::from_ref(ask), Timestamp::EPOCH, &mut Patience::default()).await
    }

    pub(super) fn figures(&self) -> LeaseFigures {
        self.limiter.leases().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.keeps.abort();
    }
}

pub(super) fn key(number: u32) -> Key {
    let mut key = Key::new(7);
    key.push_text('u', &number.to_string());
    key
}

pub(super) fn leased<'a>(key: &Key, rate: &'a Rate, cost: u64) -> Ask<'a> {
    Ask { cost, lease: true, outage: Outage::Closed, ..Ask::new("leased", key.clone(), rate) }
}

/// What was admitted, by key, moment and cost.
type Admitted = Arc<Mutex<Vec<(u32, Timestamp, u64)>>>;

const WINDOW: u64 = 10;
const KEYS: u32 = 2;

fn rate(algorithm: Algorithm, quota: u64) -> Rate {
    Rate::new(format!("{quota} per {WINDOW}s").parse().unwrap(), algorithm, None).unwrap()
}

/// A node and what is asked of it, until it dies.
fn start(world: &Arc<World>, rate: Rate, admitted: &Admitted) -> (Arc<Node>, JoinHandle<()>) {
    let node = Arc::new(Node::new(world));
    let (world, admitted, asked) = (Arc::clone(world), Arc::clone(admitted), Arc::clone(&node));
    let pace = [5, 10, 40, 400][world.dice.below(4) as usize];
    let traffic = tokio::spawn(async move {
        loop {
            sleep(world.dice.millis(pace * world.tempo.load(Ordering::Relaxed))).await;
            // Some at once, and not all cost one.
            for _ in 0..1 + world.dice.below(4) {
                let (node, world, admitted) = (Arc::clone(&asked), Arc::clone(&world), Arc::clone(&admitted));
                tokio::spawn(async move {
                    let number = world.dice.below(u64::from(KEYS)) as u32;
                    let cost = [1, 1, 1, 2, 5][world.dice.below(5) as usize];
                    let (key, begun) = (key(number), Instant::now());
                    let Ok(charge) = node.charge(&leased(&key, &rate, cost)).await else { return };
                    // What was waited for was charged while it waited. What was not is spent now, whatever the node believes.
                    let at = if begun.elapsed().is_zero() { world.now() } else { charge.standings()[0].at };
                    if world.dice.below(4) > 0 {
                        return admitted.lock().push((number, at, cost));
                    }
                    // Some turn out not to count. Until then they do, and for good once their window is over.
                    sleep(world.dice.millis(2000)).await;
                    if window(world.now()) != window(at) {
                        admitted.lock().push((number, at, cost));
                    }
                    node.limiter.give_back(&charge.receipts()[0], Timestamp::EPOCH);
                });
            }
        }
    });
    (node, traffic)
}

/// Runs a world for some windows and returns what was admitted and how much was refused.
async fn run(seed: u64, algorithm: Algorithm, quota: u64) -> Vec<(u32, Timestamp, u64)> {
    let drift = [0, 400, -400][(seed % 3) as usize];
    let world = World::new(seed, drift);
    let (rate, admitted) = (rate(algorithm, quota), Admitted::default());
    let keys: Vec<Key> = (0..KEYS).map(key).collect();
    let mut nodes: Vec<_> = (0..2 + world.dice.below(4)).map(|_| start(&world, rate, &admitted)).collect();
    let mut calm_until = Instant::now();
    for _ in 0..130 {
        sleep(world.dice.millis(800)).await;
        world.tempo.store([1, 1, 1, 2, 5, 40][world.dice.below(6) as usize], Ordering::Relaxed);
        let one = world.dice.below(nodes.len() as u64) as usize;
        match world.dice.below(12) {
            // A node dies with what it holds, and perhaps another comes in its place.
            0 if nodes.len() > 1 && Instant::now() > calm_until => {
                let (_, traffic) = nodes.swap_remove(one);
                traffic.abort();
            }
            1 if nodes.len() < 7 => nodes.push(start(&world, rate, &admitted)),
            2..=3 if Instant::now() > calm_until => nodes[one].0.port.0.cut.store(true, Ordering::Relaxed),
            4..=6 => nodes.iter().for_each(|(node, _)| node.port.0.cut.store(false, Ordering::Relaxed)),
            7 => world.slowest.store([1, 3, 15, 30][world.dice.below(4) as usize], Ordering::Relaxed),
            kind @ 8..=9 if world.dice.below(4) == 0 => {
                // Those who are there know the store by now, and can say that it is another.
                nodes.iter().for_each(|(node, _)| node.port.0.cut.store(false, Ordering::Relaxed));
                world.slowest.store(3, Ordering::Relaxed);
                sleep(Duration::from_secs(2)).await;
                if kind == 8 {
                    world.flush(&keys)
                } else {
                    world.fail_over(&keys)
                }
                calm_until = Instant::now() + Duration::from_secs(3);
            }
            _ => {}
        }
    }
    nodes.iter().for_each(|(_, traffic)| traffic.abort());
    std::mem::take(&mut *admitted.lock())
}

fn window(at: Timestamp) -> u64 {
    at.as_secs() / WINDOW
}

/// The most that one key's aligned window admitted.
fn fullest(admitted: &[(u32, Timestamp, u64)]) -> u64 {
    let mut windows = std::collections::HashMap::<(u32, u64), u64>::new();
    for (key, at, cost) in admitted {
        *windows.entry((*key, window(*at))).or_default() += cost;
    }
    windows.into_values().max().unwrap_or(0)
}

fn simulate(seed: u64, algorithm: Algorithm, quota: u64) -> Vec<(u32, Timestamp, u64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run(seed, algorithm, quota))
}

#[test]
fn l11_no_window_admits_more_than_its_quota_whatever_happens_to_nodes_ways_clocks_and_store() {
    let begun = std::time::Instant::now();
    let seeds = std::env::var("PORTCULLIS_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let (mut admitted, mut full) = (0, 0);
    for seed in 0..seeds {
        let algorithm = [Algorithm::FixedWindow, Algorithm::SlidingWindowCounter][(seed % 2) as usize];
        let quota = [100, 400, 1000, 3000][(seed / 2 % 4) as usize];
        let all = simulate(seed, algorithm, quota);
        let fullest = fullest(&all);
        assert!(fullest <= quota, "seed {seed}: {fullest} of {quota}");
        admitted += all.len();
        full += u64::from(fullest * 10 >= quota * 9);
    }
    println!(
        "{seeds} worlds, {admitted} admitted, {full} with a window that was nearly full, in {:?}",
        begun.elapsed()
    );
    assert!(full >= seeds / 4, "only {full} of {seeds} worlds have filled a window: they prove little");
}
