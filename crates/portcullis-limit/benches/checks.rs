//! What one check of a token bucket in memory costs, here and in the `governor` crate's keyed limiter.
//!
//! One process measures one contender with one number of live keys, so that nobody's memory is in anybody's way, and
//! prints `nanoseconds per check` and `bytes per key`. `cargo xtask bench limits` runs them all.
//!
//! Both contenders are given the same keys, made beforehand as the gate makes them (a limit and a user's UUID), in the same
//! random order, and nothing is refused. The time is given too, but to those `with-clock`, which read their own for every
//! check: governor its default one, ours the system's.
//!
//! Nanoseconds are those that the checking threads ran on a core: a machine's other work takes no part, but for the caches
//! that it empties.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use governor::clock::{DefaultClock, FakeRelativeClock};
use governor::{Quota as TheirQuota, RateLimiter};
use portcullis_core::{Clock as _, SystemClock, Timestamp};
use portcullis_limit::{Algorithm, Ask, Key, Limiter, MemoryStore, Patience, Quota, Rate};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// So many an hour that no key is ever spent.
const COUNT: u32 = 1_000_000;
/// How many different keys a run asks about: more than fit in any cache, few enough to hold them ready.
const SAMPLE: u64 = 1_000_000;
const START: Timestamp = Timestamp::from_secs(1_795_219_200);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // `cargo test` runs every bench with no more than `--bench` or nothing: it is shown to work, in a blink.
    let (contender, keys, threads, millis) = match words.as_slice() {
        [contender, keys, threads, millis] => (
            (*contender).to_owned(),
            keys.parse().expect("a number of keys"),
            threads.parse().expect("a number of threads"),
            millis.parse().expect("a number of milliseconds"),
        ),
        _ => ("charge".to_owned(), 1_000, 1, 10),
    };
    let length = Duration::from_millis(millis);
    let (nanos, bytes) = match contender.as_str() {
        "charge" => ours(keys, threads, length, false, charge),
        "check" => ours(keys, threads, length, false, check),
        "check-with-clock" => ours(keys, threads, length, true, check),
        "governor" => theirs(keys, threads, length, FakeRelativeClock::default()),
        "governor-with-clock" => theirs(keys, threads, length, DefaultClock::default()),
        other => panic!("{other:?} is no contender"),
    };
    println!("{nanos:.1} {bytes:.1}");
}

/// What the gate does: several limits could be charged at once, and all of it given back.
fn charge(limiter: &Limiter, ask: &Ask<'_>, now: Timestamp) {
    match pin!(limiter.charge(std::slice::from_ref(ask), now, &mut Patience::default()))
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(answer) => assert!(black_box(&answer).is_ok(), "refused"),
        Poll::Pending => unreachable!("a store in memory answers at once"),
    }
}

/// What governor does: one limit, for good.
fn check(limiter: &Limiter, ask: &Ask<'_>, now: Timestamp) {
    assert!(black_box(&limiter.local().check(ask, now)).is_ok(), "refused");
}

fn ours(
    keys: u64,
    threads: u64,
    length: Duration,
    reads_clock: bool,
    asks: impl Fn(&Limiter, &Ask<'_>, Timestamp) + Sync,
) -> (f64, f64) {
    let quota = Quota::new(COUNT.into(), Duration::from_secs(3_600)).expect("a quota within bounds");
    let rate = Rate::new(quota, Algorithm::TokenBucket, None).expect("a rate within bounds");
    let capacity = usize::try_from(keys.max(500_000) * 2).expect("fits in memory");
    let limiter = Limiter::new(MemoryStore::with_capacity(capacity));
    let begin = if reads_clock { SystemClock.now() } else { START };
    let ask = |number| Ask::new("api", key(number), &rate);
    let bytes = bytes_per_key(keys, ask, |ask| asks(&limiter, ask, begin));
    let nanos = nanos_per_check(keys, threads, length, ask, |ask, turn| {
        asks(&limiter, ask, if reads_clock { SystemClock.now() } else { START.after(Duration::from_nanos(turn)) });
    });
    assert_eq!(limiter.local().len() as u64, keys, "keys were lost");
    (nanos, bytes)
}

fn theirs<C: governor::clock::Clock + Sync>(keys: u64, threads: u64, length: Duration, clock: C) -> (f64, f64)
where
    C::Instant: Send + Sync,
{
    let quota = TheirQuota::per_hour(NonZeroU32::new(COUNT).expect("not zero"));
    let limiter = RateLimiter::dashmap_with_clock(quota, clock);
    let bytes = bytes_per_key(keys, key, |key| assert!(limiter.check_key(key).is_ok(), "refused"));
    let nanos = nanos_per_check(keys, threads, length, key, |key, _| {
        assert!(black_box(&limiter.check_key(key)).is_ok(), "refused");
    });
    assert_eq!(limiter.len() as u64, keys, "keys were lost");
    (nanos, bytes)
}

/// Checks every key once, and tells what the process grew by.
fn bytes_per_key<T>(keys: u64, make: impl Fn(u64) -> T, check: impl Fn(&T)) -> f64 {
    let before = resident();
    for number in 0..keys {
        check(&make(number));
    }
    settle();
    (resident() as f64 - before as f64) / keys as f64
}

/// Lets the allocator give back what growing tables left behind, as it does a hundredth of a second later wherever memory
/// is still asked for.
fn settle() {
    for _ in 0..100 {
        black_box(vec![1_u8; 1 << 20]);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Checks keys in a random order for a while; on several threads, each in an order of its own. `check` is told how many
/// checks its thread made before.
fn nanos_per_check<T: Sync>(
    keys: u64,
    threads: u64,
    length: Duration,
    make: impl Fn(u64) -> T,
    check: impl Fn(&T, u64) + Sync,
) -> f64 {
    let samples: Vec<Vec<T>> = (0..threads).map(|thread| sample(keys, thread, &make)).collect();
    let gate = Barrier::new(samples.len());
    let checks = AtomicU64::new(0);
    let nanos = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for sample in &samples {
            let (gate, checks, nanos, check) = (&gate, &checks, &nanos, &check);
            scope.spawn(move || {
                let mut done = 0_u64;
                let mut warm = sample.len().min(200_000);
                gate.wait();
                let (mut begin, mut ran) = (Instant::now(), cpu_nanos());
                'measured: loop {
                    for batch in sample.chunks(1_000) {
                        for key in batch {
                            check(key, done);
                            done += 1;
                        }
                        if warm > 0 {
                            // Caches are filled and branches learnt before the clock runs.
                            warm = warm.saturating_sub(batch.len());
                            if warm == 0 {
                                (begin, ran, done) = (Instant::now(), cpu_nanos(), 0);
                            }
                        } else if begin.elapsed() >= length {
                            break 'measured;
                        }
                    }
                }
                nanos.fetch_add(cpu_nanos() - ran, Ordering::Relaxed);
                checks.fetch_add(done, Ordering::Relaxed);
            });
        }
    });
    nanos.into_inner() as f64 / checks.into_inner() as f64
}

fn sample<T>(keys: u64, thread: u64, make: impl Fn(u64) -> T) -> Vec<T> {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ (thread + 1);
    let mut random = || {
        // xorshift64*, seeded: every run asks in the same order.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    (0..keys.min(SAMPLE)).map(|_| make(random() % keys)).collect()
}

/// A user's key, as the gate makes it.
fn key(number: u64) -> Key {
    let mut key = Key::new(7);
    key.push_text('i', "");
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    key.push_text('u', &format!("{number:08x}-0b0e-7a7a-8d8d-{:012x}", spread >> 16));
    key
}

/// How long this thread has run on a core.
fn cpu_nanos() -> u64 {
    // What it ran since the last tick is only counted when it leaves its core.
    std::thread::yield_now();
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number")
}

/// Resident memory in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
