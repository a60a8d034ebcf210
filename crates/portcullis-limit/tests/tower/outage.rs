//! A shared store that is away, hangs, or comes back, and who looks after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_limit::tower::{Limit, LimitLayer, Limits};
use portcullis_limit::{
    Answer, Ask, BoxFuture, Charge, Identity, Key, Limiter, MemoryStore, Outage, PATIENCE, Receipt, SharedStore,
    Standing, StoreError,
};

use crate::support::{answer, app, from, limits, number, rate, status};

/// A store that is not there.
#[derive(Debug)]
pub(crate) struct Absent;

fn away<T: Send + 'static>() -> BoxFuture<'static, Result<T, StoreError>> {
    Box::pin(async {
        // As an answer from a network comes: not at once.
        tokio::task::yield_now().await;
        Err(StoreError::Unavailable { store: "redis://127.0.0.1".into(), cause: "connection refused".into() })
    })
}

impl SharedStore for Absent {
    fn charge<'a>(&'a self, _: &'a [Ask<'a>]) -> BoxFuture<'a, Answer> {
        away()
    }

    fn peek<'a>(&'a self, _: &'a Ask<'a>) -> BoxFuture<'a, Result<Standing, StoreError>> {
        away()
    }

    fn give_back(&self, _: Receipt) {}

    fn reset<'a>(&'a self, _: &'a str, _: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        away()
    }

    fn ping(&self) -> BoxFuture<'_, Result<Identity, StoreError>> {
        away()
    }
}

/// A store that never answers until it is told to; then it admits everything.
#[derive(Debug, Default)]
struct Hanging(AtomicBool);

impl Hanging {
    fn answer<T: Send + 'static>(&self, answer: T) -> BoxFuture<'static, Result<T, StoreError>> {
        let answers = self.0.load(Ordering::SeqCst);
        Box::pin(async move { if answers { Ok(answer) } else { std::future::pending().await } })
    }
}

impl SharedStore for Hanging {
    fn charge<'a>(&'a self, asks: &'a [Ask<'a>]) -> BoxFuture<'a, Answer> {
        // A layer inside may refuse what this one has charged: no instance may remember its refusal for long.
        assert!(asks.iter().all(|ask| ask.refundable), "{asks:?}");
        self.answer(Ok(Charge::default()))
    }

    fn peek<'a>(&'a self, _: &'a Ask<'a>) -> BoxFuture<'a, Result<Standing, StoreError>> {
        away()
    }

    fn give_back(&self, _: Receipt) {}

    fn reset<'a>(&'a self, _: &'a str, _: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.answer(false)
    }

    fn ping(&self) -> BoxFuture<'_, Result<Identity, StoreError>> {
        self.answer(Identity::new("one"))
    }
}

#[tokio::test(start_paused = true)]
async fn l10_while_the_store_is_away_each_limit_does_what_it_is_told() {
    let limits = Limits::new(Limiter::default().sharing(Arc::new(Absent), PATIENCE, Arc::new(|_| {})));
    for (outage, second, third) in [(Outage::Local, 200, 429), (Outage::Open, 200, 200), (Outage::Closed, 503, 503)] {
        let limit = Limit::new(outage.as_str(), rate("2 per 1h")).outage(outage);
        let (app, calls) = app(LimitLayer::new(&limits).limit(limit));
        answer(&app, from("192.0.2.1", &[])).await;
        assert_eq!(status(&app, from("192.0.2.1", &[])).await, second, "{outage:?}");
        let last = answer(&app, from("192.0.2.1", &[])).await;
        assert_eq!(last.status(), third, "{outage:?}");
        if outage == Outage::Closed {
            assert_eq!((number(&last, "retry-after"), calls.load(Ordering::SeqCst)), (1, 0));
            let body: serde_json::Value = serde_json::from_slice(last.body()).unwrap();
            assert_eq!((&body["error"], &body["status"]), (&"Service unavailable".into(), &503.into()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn l10_a_store_that_hangs_delays_no_request_beyond_the_patience_and_is_found_again_by_itself() {
    let store = Arc::new(Hanging::default());
    let limiter = Limiter::default().sharing(store.clone(), PATIENCE, Arc::new(|_| {}));
    let limits = Limits::new(limiter);
    let (app, _) = app(LimitLayer::new(&limits).limit(Limit::new("api", rate("100 per 1h"))));
    for _ in 0..20 {
        let began = tokio::time::Instant::now();
        assert_eq!(status(&app, from("192.0.2.1", &[])).await, 200);
        assert!(began.elapsed() <= Duration::from_millis(50), "{:?}", began.elapsed());
    }
    assert_eq!(limits.limiter().shared_works(), Some(false));
    // The task that the first request started asks until there is an answer; then the next request tries.
    store.0.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(status(&app, from("192.0.2.1", &[])).await, 200);
    assert_eq!(limits.limiter().shared_works(), Some(true));
    // It ends with the last who could need it.
    let limiter = Arc::downgrade(limits.limiter());
    drop((app, limits));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(limiter.upgrade().is_none(), "a task lives on by itself");
}

#[test]
fn l2_the_memory_of_clients_that_are_gone_is_reclaimed_without_anybodys_doing() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (limits, clock) = limits();
    let (app, _) = app(LimitLayer::new(&limits).limit(Limit::new("api", rate("1 per 1m"))));
    let flood = async |network: &str| {
        for n in 0..1_000 {
            status(&app, from(&format!("{network}.{}.{}", n / 250, n % 250), &[])).await;
        }
    };
    let swept = || {
        clock.advance(Duration::from_secs(180));
        async { tokio::time::sleep(Duration::from_secs(31)).await }
    };
    runtime().block_on(async {
        flood("10.0").await;
        assert!(limits.limiter().local().len() > 900);
        swept().await;
        assert_eq!(limits.limiter().local().len(), 0);
    });
    // The task has ended with its runtime; who comes on another one has another.
    runtime().block_on(async {
        flood("10.1").await;
        swept().await;
        assert_eq!(limits.limiter().local().len(), 0);
    });
}

#[tokio::test]
async fn l2_the_number_of_clients_that_are_kept_is_bounded() {
    let limits = Limits::new(Limiter::new(MemoryStore::with_capacity(1_000)));
    let (app, _) = app(LimitLayer::new(&limits).limit(Limit::new("api", rate("1 per 1h"))));
    for n in 0..10_000 {
        status(&app, from(&format!("10.0.{}.{}", n / 250, n % 250), &[])).await;
    }
    assert!(limits.limiter().local().len() <= 1_100, "{}", limits.limiter().local().len());
}
