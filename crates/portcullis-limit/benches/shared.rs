//! What a decision costs a process when limits are counted in Redis: CPU time for each, with many under way at once on one
//! thread, as the gateway makes them.
//!
//! `shared <contender> <keys> <at once> <milliseconds> [<port of Redis>]` prints one line of JSON, as
//! `bench/peers/node/decisions.js` does; `cargo xtask bench limits` runs both. `memory` and `redis` count one fixed window, which is
//! what the others count; `redis-stack` decides about three limits at once. What is counted along in memory, to stand in while
//! Redis is away, is part of each decision.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_core::{Clock as _, SystemClock};
use portcullis_limit::{
    Algorithm, Ask, Key, Limiter, MemoryStore, Patience, Quota, Rate, RedisOptions, RedisStore, SharedStore as _,
};
use tokio::runtime::{Builder, Handle};
use tokio::task::LocalSet;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counted, never reached.
const COUNT: u64 = 100_000_000;
const WINDOW: Duration = Duration::from_secs(60);
/// Before the clock runs: connections are opened, scripts loaded, caches filled.
const WARM: Duration = Duration::from_secs(1);
/// A machine that is busy with others shall not make a decision fall back to memory.
const PATIENT: Duration = Duration::from_secs(10);

/// What all tasks of a run share.
struct Run {
    limiter: Limiter,
    keys: Vec<Vec<Key>>,
    rate: Rate,
    decisions: Cell<usize>,
    over: Cell<bool>,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<u64>().expect("a number");
    // `cargo test` runs every bench with no more than `--bench` or nothing: it is shown to work, in a blink.
    let (contender, keys, at_once, length, warm, port) = match *words.as_slice() {
        [contender, keys, at_once, millis] => (contender, number(keys), number(at_once), number(millis), WARM, None),
        [contender, keys, at_once, millis, port] => {
            (contender, number(keys), number(at_once), number(millis), WARM, Some(port))
        }
        _ => ("memory", 100, 4, 10, Duration::from_millis(10), None),
    };
    let limits = if contender == "redis-stack" { 3 } else { 1 };
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(LocalSet::new().run_until(async {
        let limiter = match (contender, port) {
            ("memory", None) => Limiter::new(MemoryStore::default()),
            ("redis" | "redis-stack", Some(port)) => {
                let url = format!("redis://127.0.0.1:{port}");
                let options = RedisOptions::parse(&url).expect("a URL").timeout(PATIENT);
                let store = RedisStore::new(&options, &Handle::current()).expect("a store");
                store.ping().await.expect("Redis is there");
                Limiter::new(MemoryStore::default()).sharing(Arc::new(store), PATIENT, Arc::new(|_| {}))
            }
            (other, _) => panic!("{other:?} with port {port:?} is no contender"),
        };
        let run = Rc::new(Run {
            limiter,
            keys: (0..100_000).scan(88_172_645, |state, _| Some(stack(random(state) % keys, limits))).collect(),
            rate: Rate::new(Quota::new(COUNT, WINDOW).expect("a quota"), Algorithm::FixedWindow, None).expect("a rate"),
            decisions: Cell::new(0),
            over: Cell::new(false),
        });
        decide(&run, at_once, warm).await;
        let (warmed, before) = (run.decisions.get(), cpu_nanos());
        decide(&run, at_once, Duration::from_millis(length)).await;
        let micros = (cpu_nanos() - before) / 1_000;
        assert_eq!(run.limiter.decided_alone(), 0, "Redis was away");
        let total = run.decisions.get();
        println!(r#"{{"decisions":{},"cpu_micros":{micros},"total":{total}}}"#, total - warmed);
    }));
}

/// So many tasks decide one after the other, for so long.
async fn decide(run: &Rc<Run>, at_once: u64, length: Duration) {
    run.over.set(false);
    let end = Instant::now() + length;
    let tasks: Vec<_> = (0..at_once)
        .map(|_| {
            let run = Rc::clone(run);
            tokio::task::spawn_local(async move {
                while !run.over.get() {
                    let number = run.decisions.replace(run.decisions.get() + 1);
                    one(&run, number).await;
                    if number.is_multiple_of(64) {
                        run.over.set(Instant::now() > end);
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a task that decides");
    }
}

async fn one(run: &Run, number: usize) {
    let names = ["address", "user", "route"];
    let keys = &run.keys[number % run.keys.len()];
    let asks: Vec<Ask<'_>> = keys.iter().zip(names).map(|(key, name)| Ask::new(name, key.clone(), &run.rate)).collect();
    let answer = run.limiter.charge(&asks, SystemClock.now(), &mut Patience::default()).await;
    assert!(answer.is_ok(), "refused");
}

/// The keys of a user's request, as the gate makes them.
fn stack(user: u64, limits: u32) -> Vec<Key> {
    let key = |limit| {
        let mut key = Key::new(limit);
        key.push_text('u', &format!("{user:08x}-0b0e-7a7a-8d8d-{user:012x}"));
        key
    };
    (0..limits).map(key).collect()
}

/// xorshift, seeded: every run asks in the same order.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// How long the threads of this process have run on a core.
fn cpu_nanos() -> u64 {
    // What this one ran since the last tick is only counted when it leaves its core.
    std::thread::yield_now();
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux tells").flatten();
    threads
        .map(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("schedstat")).expect("Linux tells");
            stat.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).expect("a number")
        })
        .sum()
}
