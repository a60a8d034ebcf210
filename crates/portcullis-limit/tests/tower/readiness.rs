//! Who is ready, and who is called: a service is called only after it has said that it is ready, and a clone has not.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use portcullis_limit::tower::{Limit, LimitLayer, Limits};
use portcullis_limit::{Algorithm, Limiter, Rate};
use tower::{Layer as _, Service, ServiceExt as _};

use crate::outage::Absent;
use crate::support::{from, limits, rate};

/// A service that, as one with a bounded number of places does, is ready only where it was asked, is not after it was
/// called, and whose clones are not.
#[derive(Default)]
struct Particular {
    is_ready: bool,
    busy: Arc<AtomicBool>,
}

impl Clone for Particular {
    fn clone(&self) -> Self {
        Self { is_ready: false, busy: Arc::clone(&self.busy) }
    }
}

impl Service<Request<()>> for Particular {
    type Response = Response<Vec<u8>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.busy.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without having been asked whether it is ready");
        ready(Ok(Response::new(Vec::new())))
    }
}

async fn serves_one_after_the_other(layer: LimitLayer) {
    let mut service = layer.layer(Particular::default());
    for _ in 0..3 {
        let call = service.ready().await.unwrap().call(from("192.0.2.1", &[]));
        // The next is asked for while this one is under way.
        let next = service.ready().await.unwrap().call(from("192.0.2.1", &[]));
        assert_eq!(
            (call.await.unwrap().status(), next.await.unwrap().status()),
            (200.try_into().unwrap(), 200.try_into().unwrap())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_that_is_called_is_the_one_that_said_it_was_ready() {
    // At once,
    let (limits, _) = limits();
    serves_one_after_the_other(LimitLayer::new(&limits).limit(Limit::new("api", rate("100 per 1h")))).await;
    // after a wait,
    let slow = Rate::new("10 per 1s".parse().unwrap(), Algorithm::LeakyBucket, None).unwrap();
    let slow = slow.with_max_delay(Duration::from_secs(60)).unwrap();
    serves_one_after_the_other(LimitLayer::new(&limits).limit(Limit::new("slow", slow))).await;
    // and after a store was asked.
    let shared = Limits::new(Limiter::default().sharing(Arc::new(Absent), Duration::from_secs(1), Arc::new(|_| {})));
    serves_one_after_the_other(LimitLayer::new(&shared).limit(Limit::new("api", rate("100 per 1h")))).await;
}

#[tokio::test]
async fn a_service_that_is_busy_keeps_those_waiting_who_ask_and_nothing_is_counted() {
    let (limits, _) = limits();
    let inner = Particular::default();
    let busy = Arc::clone(&inner.busy);
    let mut service = LimitLayer::new(&limits).limit(Limit::new("api", rate("1 per 1h"))).layer(inner);
    busy.store(true, Ordering::SeqCst);
    for _ in 0..10 {
        let mut call = Box::pin(service.clone().oneshot(from("192.0.2.1", &[])));
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    busy.store(false, Ordering::SeqCst);
    assert_eq!(service.ready().await.unwrap().call(from("192.0.2.1", &[])).await.unwrap().status(), 200);
    // Refused, it has not used up its readiness, and is as good as before.
    assert_eq!(service.ready().await.unwrap().call(from("192.0.2.1", &[])).await.unwrap().status(), 429);
    assert_eq!(service.ready().await.unwrap().call(from("192.0.2.2", &[])).await.unwrap().status(), 200);
}
