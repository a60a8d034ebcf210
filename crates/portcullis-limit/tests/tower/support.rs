//! An app of one service, and whoever asks it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Request, Response, StatusCode};
use portcullis_limit::tower::{LimitLayer, Limits};
use portcullis_limit::{Algorithm, Limiter, ManualClock, Rate, Timestamp};
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt as _, service_fn};

/// The service under test. Bodies are bytes.
pub(crate) type App = BoxCloneSyncService<Request<()>, Response<Vec<u8>>, Infallible>;

pub(crate) fn rate(quota: &str) -> Rate {
    Rate::new(quota.parse().unwrap(), Algorithm::SlidingWindowLog, None).unwrap()
}

/// Limits in memory whose time stands where a test sets it.
pub(crate) fn limits() -> (Limits, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
    (Limits::with_clock(Limiter::default(), clock.clone()), clock)
}

/// The layer around a service that answers with the status that the header `want` asks for, and counts its calls.
pub(crate) fn app(layer: LimitLayer) -> (App, Arc<AtomicU64>) {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let inner = service_fn(move |request: Request<()>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let status = request.headers().get("want").map_or(StatusCode::OK, |want| want.as_bytes().try_into().unwrap());
        let mut response = Response::new(b"served".to_vec());
        *response.status_mut() = status;
        std::future::ready(Ok::<_, Infallible>(response))
    });
    (BoxCloneSyncService::new(layer.layer(inner)), calls)
}

/// A request from this address, with these headers.
pub(crate) fn from(address: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().uri("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(()).unwrap();
    request.extensions_mut().insert(address.parse::<IpAddr>().unwrap());
    request
}

/// What the app answers.
pub(crate) async fn answer(app: &App, request: Request<()>) -> Response<Vec<u8>> {
    app.clone().oneshot(request).await.unwrap()
}

/// The status of the answer.
pub(crate) async fn status(app: &App, request: Request<()>) -> u16 {
    answer(app, request).await.status().as_u16()
}

/// A header of the answer, as a number.
pub(crate) fn number(response: &Response<Vec<u8>>, name: &str) -> u64 {
    let value = response.headers().get(name).unwrap_or_else(|| panic!("{name} is told: {response:?}"));
    value.to_str().unwrap().parse().unwrap()
}
