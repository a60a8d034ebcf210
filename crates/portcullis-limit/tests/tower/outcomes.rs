//! What stays counted once the outcome is known.

use std::convert::Infallible;
use std::future::Future as _;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll, Waker};

use http::{Request, Response, StatusCode};
use portcullis_limit::tower::{AnswerHead, Limit, LimitLayer};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};

use crate::support::{app, from, limits, number, rate, status};

fn three(name: &str) -> Limit {
    Limit::new(name, rate("3 per 1h"))
}

#[tokio::test]
async fn l6_only_the_outcomes_that_are_asked_for_stay_counted() {
    let (limits, _) = limits();
    for (limit, free, counted) in [
        (three("failures").count_failures(), ["200", "302"], ["401", "500"]),
        (three("successes").count_successes(), ["400", "503"], ["201", "302"]),
        (three("denied").count_statuses(|status| status == StatusCode::UNAUTHORIZED), ["403", "200"], ["401", "401"]),
    ] {
        let name = limit.name().to_owned();
        let (app, _) = app(LimitLayer::new(&limits).limit(limit));
        for n in 0..20 {
            let want = free[n % 2];
            let said = status(&app, from("192.0.2.1", &[("want", want)])).await;
            assert_eq!(said.to_string(), want, "{name}");
        }
        for n in 0..3 {
            let want = counted[n % 2];
            assert_eq!(status(&app, from("192.0.2.1", &[("want", want)])).await.to_string(), want, "{name}");
        }
        // Whatever the outcome would be: it is charged first.
        assert_eq!(status(&app, from("192.0.2.1", &[("want", free[0])])).await, 429, "{name}");
    }
}

#[derive(Clone)]
struct Rows(u64);

#[tokio::test]
async fn l6_an_answer_says_what_it_cost_up_to_what_was_charged_and_the_client_is_told_what_is_left_then() {
    let (limits, _) = limits();
    let bill = |answer: &AnswerHead<'_>| {
        let header = answer.headers.get("x-rows").and_then(|rows| rows.to_str().ok()?.parse().ok());
        header.or_else(|| answer.extensions.get::<Rows>().map(|rows| rows.0))
    };
    let rows = Limit::new("rows", rate("100 per 1h")).cost(40).cost_of_answer(bill).count_successes();
    let service = LimitLayer::new(&limits).limit(rows).layer(service_fn(|request: Request<()>| {
        let mut response = Response::new(Vec::new());
        match request.headers().get("want").map(|want| want.to_str().unwrap()) {
            Some("header") => drop(response.headers_mut().insert("x-rows", http::HeaderValue::from(3))),
            Some("extension") => drop(response.extensions_mut().insert(Rows(7))),
            Some("more") => drop(response.headers_mut().insert("x-rows", http::HeaderValue::from(1_000))),
            Some("failure") => *response.status_mut() = StatusCode::BAD_REQUEST,
            _ => {}
        }
        std::future::ready(Ok::<_, Infallible>(response))
    }));
    for (want, left) in [
        ("failure", 100),
        ("header", 97),
        ("failure", 97),
        ("extension", 90),
        ("more", 50),
        ("extension", 43),
        ("nothing", 3),
    ] {
        let response = service.clone().oneshot(from("192.0.2.1", &[("want", want)])).await.unwrap();
        assert_eq!(number(&response, "x-ratelimit-remaining"), left, "{want}");
    }
    // There must be room for the most that it may cost.
    let refused = service.oneshot(from("192.0.2.1", &[("want", "header")])).await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn l6_requests_in_parallel_do_not_slip_through_before_their_outcome_is_known() {
    let (limits, _) = limits();
    let layer = LimitLayer::new(&limits).limit(three("login").count_failures());
    let (gate, opened) = tokio::sync::watch::channel(false);
    let service = layer.layer(service_fn(move |_: Request<()>| {
        let mut opened = opened.clone();
        async move {
            opened.wait_for(|open| *open).await.unwrap();
            let mut denied = Response::new(Vec::new());
            *denied.status_mut() = StatusCode::UNAUTHORIZED;
            Ok::<_, Infallible>(denied)
        }
    }));
    let tries: Vec<_> = (0..50).map(|_| tokio::spawn(service.clone().oneshot(from("192.0.2.1", &[])))).collect();
    tokio::task::yield_now().await;
    gate.send(true).unwrap();
    let mut wrong = 0;
    for answer in tries {
        wrong += u32::from(answer.await.unwrap().unwrap().status() == StatusCode::UNAUTHORIZED);
    }
    assert_eq!(wrong, 3);
}

#[tokio::test]
async fn l6_a_service_that_fails_without_an_answer_has_failed() {
    let (limits, _) = limits();
    for (limit, expected) in [(three("failures").count_failures(), 3), (three("successes").count_successes(), 10)] {
        let layer = LimitLayer::new(&limits).limit(limit);
        let service =
            layer.layer(service_fn(|_: Request<()>| std::future::ready(Err::<Response<Vec<u8>>, _>("broken"))));
        let mut failed = 0;
        for _ in 0..10 {
            failed += u32::from(service.clone().oneshot(from("192.0.2.1", &[])).await.is_err());
        }
        assert_eq!(failed, expected);
    }
}

#[tokio::test]
async fn l6_a_request_that_is_given_up_stays_counted() {
    let (limits, _) = limits();
    let layer = LimitLayer::new(&limits).limit(three("login").count_failures());
    let mut service =
        layer.layer(service_fn(|_: Request<()>| std::future::pending::<Result<Response<Vec<u8>>, Infallible>>()));
    for _ in 0..3 {
        let mut call = Box::pin(service.call(from("192.0.2.1", &[])));
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let mut call = Box::pin(service.call(from("192.0.2.1", &[])));
    let Poll::Ready(Ok(refused)) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("hanging up buys another attempt")
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn l6_a_handler_that_panics_leaves_its_request_counted() {
    let (limits, _) = limits();
    let layer = LimitLayer::new(&limits).limit(three("login").count_failures());
    // Before it makes a future, and within.
    let at_once = layer.layer(service_fn(|request: Request<()>| {
        assert!(request.headers().contains_key("later"), "a bug");
        async move {
            assert!(request.headers().is_empty(), "another bug");
            Ok::<_, Infallible>(Response::new(Vec::new()))
        }
    }));
    let mut panicked = 0;
    for n in 0..6 {
        let headers: &[(&str, &str)] = if n % 2 == 0 { &[] } else { &[("later", "1")] };
        let mut service = at_once.clone();
        let request = from("192.0.2.1", headers);
        let went = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut call = Box::pin(service.call(request));
            assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        }));
        panicked += u32::from(went.is_err());
    }
    assert_eq!(panicked, 3, "the others were refused");
}
