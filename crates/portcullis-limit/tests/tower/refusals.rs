//! What the client sees, and whoever watches.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http::{Request, Response, StatusCode};
use portcullis_limit::headers::LimitHeaders;
use portcullis_limit::tower::{By, Limit, LimitEvent, LimitLayer, Limits, Why};
use portcullis_limit::{Algorithm, Rate};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{answer, app, from, limits, number, rate, status};

#[tokio::test]
async fn l7_l8_every_answer_tells_the_limit_and_a_refusal_tells_the_wait() {
    let (limits, clock) = limits();
    let login =
        Limit::new("login", rate("2 per 15m")).message("Too many login attempts. Try again in {minutes} minutes.");
    let (app, calls) = app(LimitLayer::new(&limits).headers(LimitHeaders::Both).limit(login));
    let first = answer(&app, from("192.0.2.1", &[])).await;
    assert_eq!((number(&first, "x-ratelimit-limit"), number(&first, "x-ratelimit-remaining")), (2, 1));
    assert_eq!(first.headers()["ratelimit-policy"], r#""login";q=2;w=900"#);
    clock.advance(Duration::from_secs(60));
    answer(&app, from("192.0.2.1", &[])).await;
    clock.advance(Duration::from_millis(1));

    let refused = answer(&app, from("192.0.2.1", &[])).await;
    assert_eq!((refused.status(), calls.load(Ordering::SeqCst)), (StatusCode::TOO_MANY_REQUESTS, 2));
    assert_eq!((number(&refused, "retry-after"), number(&refused, "x-ratelimit-remaining")), (840, 0));
    assert_eq!(refused.headers()["ratelimit"], r#""login";r=0;t=840"#);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    assert_eq!(refused.headers()["cache-control"], "no-store");
    assert_eq!(number(&refused, "content-length"), refused.body().len() as u64);
    let body: serde_json::Value = serde_json::from_slice(refused.body()).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "type": "urn:portcullis:problem:rate_limited", "title": "Too Many Requests", "status": 429,
            "error": "Too many login attempts. Try again in 14 minutes.",
            "limit": 2, "remaining": 0, "resetAt": "2023-11-14T22:28:20.000Z",
        })
    );
}

#[tokio::test]
async fn l8_a_refusal_of_a_dear_request_says_nothing_remains_in_headers_and_body() {
    let (limits, _) = limits();
    let bucket = Rate::new("60 per 1m".parse().unwrap(), Algorithm::TokenBucket, Some(5)).unwrap();
    let dear = Limit::new("dear", bucket).cost_of(|_| 3);
    let (app, _) = app(LimitLayer::new(&limits).headers(LimitHeaders::Both).limit(dear));
    let first = answer(&app, from("192.0.2.1", &[])).await;
    assert_eq!((number(&first, "x-ratelimit-limit"), number(&first, "x-ratelimit-remaining")), (5, 2));
    assert_eq!(first.headers()["ratelimit"], r#""dear";r=2;t=3"#, "all of it is back in three seconds");

    // Two are left, and one more is there in a second.
    let refused = answer(&app, from("192.0.2.1", &[])).await;
    assert_eq!((number(&refused, "retry-after"), number(&refused, "x-ratelimit-remaining")), (1, 0));
    assert_eq!(refused.headers()["ratelimit"], r#""dear";r=0;t=1"#);
    let body: serde_json::Value = serde_json::from_slice(refused.body()).unwrap();
    assert_eq!((&body["limit"], &body["remaining"]), (&5.into(), &0.into()));
}

#[tokio::test]
async fn l7_the_policy_of_a_bucket_tells_its_quota_by_its_window_whatever_its_burst() {
    for burst in [5, 200] {
        let (limits, _) = limits();
        let bucket = Rate::new("60 per 1m".parse().unwrap(), Algorithm::TokenBucket, Some(burst)).unwrap();
        let layer = LimitLayer::new(&limits).headers(LimitHeaders::Both).limit(Limit::new("api", bucket));
        let (app, _) = app(layer);
        let first = answer(&app, from("192.0.2.1", &[])).await;
        assert_eq!(first.headers()["ratelimit-policy"], r#""api";q=60;w=60"#);
        assert_eq!((number(&first, "x-ratelimit-limit"), number(&first, "x-ratelimit-remaining")), (burst, burst - 1));
    }
}

#[tokio::test]
async fn l7_of_several_limits_the_one_closest_to_refusing_is_told() {
    let (limits, _) = limits();
    let (app, _) = app(LimitLayer::new(&limits)
        .limit(Limit::new("all", rate("4 per 1h")).by(By::everyone()))
        .limit(Limit::new("each", rate("3 per 1h"))));
    let told = |response: &Response<Vec<u8>>| {
        (number(response, "x-ratelimit-limit"), number(response, "x-ratelimit-remaining"))
    };
    assert_eq!(told(&answer(&app, from("192.0.2.1", &[])).await), (3, 2));
    assert_eq!(told(&answer(&app, from("192.0.2.2", &[])).await), (3, 2));
    assert_eq!(told(&answer(&app, from("192.0.2.3", &[])).await), (4, 1));
}

#[tokio::test]
async fn l8_another_answer_lacks_nothing_that_a_refusal_must_tell() {
    let (limits, _) = limits();
    let layer = LimitLayer::new(&limits).limit(Limit::new("api", rate("1 per 1h")));
    let layer = layer.respond_with(|refusal, request| {
        let Why::Spent { standing, .. } = refusal.why() else { panic!("{refusal}") };
        let text = format!("{} {} {}", request.uri.path(), refusal.limit(), standing.quota);
        let mut response = Response::new(text.into_bytes());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    });
    let service = layer.layer(service_fn(|_: Request<()>| {
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(Vec::new())))
    }));
    service.clone().oneshot(from("192.0.2.1", &[])).await.unwrap();
    let refused = service.oneshot(from("192.0.2.1", &[])).await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.body().as_slice()), (503, b"/ api 1".as_slice()));
    assert_eq!((number(&refused, "retry-after"), number(&refused, "x-ratelimit-limit")), (3600, 1));
}

#[tokio::test]
async fn l9_a_limit_that_only_reports_refuses_nobody_and_tells_the_observer() {
    let (limits, _) = limits();
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let layer = LimitLayer::new(&limits).observe(move |event, request| {
        let line = match event {
            LimitEvent::Refused(refusal) => refusal.to_string(),
            LimitEvent::WouldRefuse { limit, standing } => format!("{limit} would, of {}", standing.quota),
            other => panic!("{other:?}"),
        };
        heard.lock().unwrap().push(format!("{}: {line}", request.uri.path()));
    });
    let (app, _) = app(layer
        .limit(Limit::new("candidate", rate("1 per 1h")).report_only())
        .limit(Limit::new("live", rate("2 per 1h"))));
    let first = answer(&app, from("192.0.2.1", &[])).await;
    assert_eq!(number(&first, "x-ratelimit-limit"), 2, "a client is not told of what does not count");
    assert_eq!(status(&app, from("192.0.2.1", &[])).await, 200);
    assert_eq!(status(&app, from("192.0.2.1", &[])).await, 429);
    assert_eq!(
        *told.lock().unwrap(),
        ["/: candidate would, of 1", "/: the limit \"live\" is spent for another 3600000 ms"]
    );
}

#[test]
#[should_panic(expected = "there are two limits named \"api\"")]
fn two_limits_of_one_name_are_told_when_the_layer_is_made() {
    let (limits, _) = limits();
    let layer = LimitLayer::new(&limits).limit(Limit::new("api", rate("1 per 1h")));
    let _ = LimitLayer::new(&limits).limit(Limit::new("api", rate("9 per 1h")));
    drop(layer);
}

#[test]
fn l11_a_limit_that_cannot_keep_its_promise_by_portions_is_not_leased() {
    let leased =
        |algorithm| Limit::new("api", Rate::new("9 per 1h".parse().unwrap(), algorithm, None).unwrap()).lease();
    assert!(leased(Algorithm::SlidingWindowLog).is_err() && leased(Algorithm::TokenBucket).is_err());
    assert!(leased(Algorithm::FixedWindow).is_ok() && leased(Algorithm::SlidingWindowCounter).is_ok());
}

#[tokio::test]
async fn layers_that_are_made_anew_go_on_with_the_counts_of_those_before() {
    let (limits, clock) = limits();
    let (before, _) = app(LimitLayer::new(&limits).limit(Limit::new("api", rate("2 per 1h"))));
    assert_eq!(status(&before, from("192.0.2.1", &[])).await, 200);
    let limits = Limits::with_clock(Arc::clone(limits.limiter()), clock);
    let wider = LimitLayer::new(&limits).limit(Limit::new("new", rate("9 per 1h")).by(By::everyone()));
    let (after, _) = app(wider.limit(Limit::new("api", rate("3 per 1h"))));
    for expected in [200, 200, 429] {
        assert_eq!(status(&after, from("192.0.2.1", &[])).await, expected);
    }
}

/// A body that counts how often it is asked for more.
struct Watched(Arc<AtomicU64>);

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let more = self.0.fetch_add(1, Ordering::SeqCst) < 3;
        Poll::Ready(more.then(|| Ok(http_body::Frame::data(Bytes::from_static(b"piece")))))
    }
}

#[tokio::test]
async fn a_body_that_streams_is_passed_on_as_it_comes() {
    let (limits, _) = limits();
    let layer = LimitLayer::new(&limits).limit(Limit::new("api", rate("1 per 1h")));
    let service = layer.layer(service_fn(|request: Request<Body>| {
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(request.into_body())))
    }));
    let asked = Arc::new(AtomicU64::new(0));
    let request = || from("192.0.2.1", &[]).map(|()| Body::new(Watched(Arc::clone(&asked))));
    let response = service.clone().oneshot(request()).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 0, "the head is there, and nothing was read ahead");
    let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    assert_eq!(body, "piecepiecepiece");

    asked.store(0, Ordering::SeqCst);
    let refused = service.oneshot(request()).await.unwrap();
    assert_eq!((refused.status().as_u16(), asked.load(Ordering::SeqCst)), (429, 0), "nobody reads what is refused");
}
