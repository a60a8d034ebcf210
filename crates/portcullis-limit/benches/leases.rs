//! What a decision out of a leased portion costs, beside one in memory. One thread; the median of several runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_core::Timestamp;
use portcullis_limit::{
    Algorithm, Answer, Ask, BoxFuture, Identity, Key, Lender, Limiter, Outage, PATIENCE, Patience, Pulse, Rate,
    Receipt, SharedStore, Standing, StoreError, Taken,
};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DECISIONS: u32 = 1_000_000;
const RUNS: usize = 7;
const NOW: Timestamp = Timestamp::from_secs(1_795_219_200);

/// A store that admits whatever is asked for, at once: what is measured is this side of it.
#[derive(Debug)]
struct Generous {
    limiter: Limiter,
    begun: Instant,
}

impl SharedStore for Generous {
    fn charge<'a>(&'a self, asks: &'a [Ask<'a>]) -> BoxFuture<'a, Answer> {
        Box::pin(async {
            Ok(Ok(self.limiter.charge(asks, NOW, &mut Patience::default()).await.expect("there is room")))
        })
    }

    fn peek<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<Standing, StoreError>> {
        Box::pin(async { Ok(self.limiter.peek(ask, NOW)) })
    }

    fn give_back(&self, receipt: Receipt) {
        self.limiter.give_back(&receipt, NOW);
    }

    fn reset<'a>(&'a self, limit: &'a str, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.limiter.reset(limit, key))
    }

    fn ping(&self) -> BoxFuture<'_, Result<Identity, StoreError>> {
        Box::pin(async { Ok(Identity::new("one")) })
    }

    fn lender(&self) -> Option<&dyn Lender> {
        Some(self)
    }
}

impl Lender for Generous {
    fn pulse(&self) -> BoxFuture<'_, Result<Pulse, StoreError>> {
        let (at, since) = (NOW.after(self.begun.elapsed()), Timestamp::EPOCH);
        let pulse = Pulse { mark: Identity::new("one"), at, since, lost: None, resets: Box::default() };
        Box::pin(async { Ok(pulse) })
    }

    fn take<'a>(&'a self, ask: &'a Ask<'a>, _: &'a Identity) -> BoxFuture<'a, Result<Taken, StoreError>> {
        Box::pin(async { Ok(Some(self.charge(std::slice::from_ref(ask)).await?)) })
    }
}

/// What this thread has used of a core, where the system tells.
fn used() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default())
}

fn measure(name: &str, runtime: &Runtime, limiter: &Limiter, keys: usize, ask: impl Fn(Key) -> Ask<'static>) {
    let key = |number: usize| {
        let mut key = Key::new(7);
        key.push_text('u', &format!("user-{number:06}"));
        key
    };
    let keys: Vec<Key> = (0..keys).map(key).collect();
    let run = |_| {
        runtime.block_on(async {
            let begun = used();
            for number in 0..DECISIONS {
                let asks = [ask(keys[number as usize % keys.len()].clone())];
                let charge = limiter.charge(&asks, NOW, &mut Patience::default()).await;
                assert!(std::hint::black_box(charge).is_ok());
            }
            (used() - begun) / DECISIONS
        })
    };
    let mut times: Vec<Duration> = (0..RUNS).map(run).collect();
    times.sort_unstable();
    println!(
        "{name}, {} keys: {:?} of a core a decision ({:?} to {:?})",
        keys.len(),
        times[RUNS / 2],
        times[0],
        times[RUNS - 1]
    );
}

fn main() {
    let rate = Rate::new("1000000000 per day".parse().expect("a quota"), Algorithm::FixedWindow, None).expect("a rate");
    let rate: &'static Rate = Box::leak(Box::new(rate));
    let runtime = Runtime::new().expect("a runtime");
    let store = Generous { limiter: Limiter::default(), begun: Instant::now() };
    let leasing = Arc::new(Limiter::default().sharing(Arc::new(store), PATIENCE * 250, Arc::new(|_| {})));
    let kept = Arc::clone(&leasing);
    runtime.spawn(async move { kept.keep().await });
    let memory = Limiter::default();
    for keys in [1, 1000] {
        measure("memory", &runtime, &memory, keys, |key| Ask::new("memory", key, rate));
        measure("leased", &runtime, &leasing, keys, |key| Ask {
            lease: true,
            outage: Outage::Closed,
            ..Ask::new("leased", key, rate)
        });
        measure("leased and counted along", &runtime, &leasing, keys, |key| Ask {
            lease: true,
            ..Ask::new("leased", key, rate)
        });
    }
    println!("{:?}", leasing.leases());
}
