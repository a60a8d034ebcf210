//! Layers in each other and beside each other, in an axum router.

use std::net::IpAddr;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, Response};
use portcullis_limit::tower::{By, Limit, LimitLayer};
use tower::ServiceExt as _;

use crate::support::{limits, rate};

async fn ask(app: &Router, path: &str, address: &str) -> Response<Body> {
    let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
    request.extensions_mut().insert(address.parse::<IpAddr>().unwrap());
    app.clone().oneshot(request).await.unwrap()
}

async fn status(app: &Router, path: &str, address: &str) -> u16 {
    ask(app, path, address).await.status().as_u16()
}

fn told(response: &Response<Body>) -> (u64, u64) {
    let number = |name: &str| response.headers()[name].to_str().unwrap().parse().unwrap();
    (number("x-ratelimit-limit"), number("x-ratelimit-remaining"))
}

#[tokio::test]
async fn l4_routes_count_apart_by_name_and_together_by_a_cloned_layer() {
    let (limits, _) = limits();
    let layer = LimitLayer::new(&limits);
    let shared = layer.clone().limit(Limit::new("shared", rate("2 per 1h")));
    let app = Router::new()
        .route("/a", get(async || "a").layer(layer.clone().limit(Limit::new("a", rate("1 per 1h")))))
        .route("/b", get(async || "b").layer(layer.limit(Limit::new("b", rate("1 per 1h")))))
        .route("/c", get(async || "c").layer(shared.clone()))
        .route("/d", get(async || "d").layer(shared))
        .route("/free", get(async || "free"));
    for (path, expected) in [("/a", 200), ("/b", 200), ("/a", 429), ("/b", 429)] {
        assert_eq!(status(&app, path, "192.0.2.1").await, expected, "{path}");
    }
    for (path, expected) in [("/c", 200), ("/d", 200), ("/c", 429), ("/d", 429)] {
        assert_eq!(status(&app, path, "192.0.2.1").await, expected, "{path}");
    }
    let free = ask(&app, "/free", "192.0.2.1").await;
    assert!(free.status() == 200 && !free.headers().contains_key("x-ratelimit-limit"));
}

#[tokio::test]
async fn l6_what_an_inner_layer_refuses_costs_nothing_outside() {
    let (limits, _) = limits();
    let layer = LimitLayer::new(&limits);
    let app = Router::new()
        .route("/export", get(async || "rows"))
        .route_layer(layer.clone().limit(Limit::new("export", rate("2 per 1h"))))
        .route("/", get(async || "hello"))
        .layer(layer.limit(Limit::new("all", rate("10 per 1h"))).clone());
    for expected in [200, 200, 429, 429, 429, 429, 429, 429, 429, 429, 429, 429] {
        assert_eq!(status(&app, "/export", "192.0.2.1").await, expected);
    }
    // Two of ten are spent.
    assert_eq!(told(&ask(&app, "/", "192.0.2.1").await), (10, 7));
    // A refusal tells of who refused, and not of who would have admitted.
    let refused = ask(&app, "/export", "192.0.2.1").await;
    assert_eq!((refused.status().as_u16(), told(&refused)), (429, (2, 0)));
    assert_eq!(refused.headers()["retry-after"], "3600");
}

#[tokio::test]
async fn l7_of_limits_in_different_layers_the_one_closest_to_refusing_is_told() {
    let (limits, _) = limits();
    let layer = LimitLayer::new(&limits);
    let everyone = |name: &str, quota: &str| layer.clone().limit(Limit::new(name, rate(quota)).by(By::everyone()));
    let app = Router::new()
        .route("/", get(async || "hello"))
        .layer(everyone("inner", "7 per 1h"))
        .layer(everyone("middle", "3 per 1h"))
        .layer(everyone("outer", "5 per 1h"));
    assert_eq!(told(&ask(&app, "/", "192.0.2.1").await), (3, 2));
    // In the other order, and with a layer between that has nothing to say.
    let app = Router::new()
        .route("/", get(async || "hello"))
        .layer(everyone("innermost", "3 per 1h"))
        .layer(layer.clone().limit(Limit::new("never", rate("1 per 1h")).when(|_| false)))
        .layer(everyone("outermost", "9 per 1h"));
    assert_eq!(told(&ask(&app, "/", "192.0.2.1").await), (3, 2));
}

#[tokio::test]
async fn l3_an_extension_of_the_layer_outside_tells_one_user_from_another() {
    let (limits, _) = limits();
    let users = Limit::new("users", rate("1 per 1h")).by(By::extension::<String>());
    let app = Router::new().route("/", get(async || "hello")).layer(LimitLayer::new(&limits).limit(users)).layer(
        axum::middleware::from_fn(async |mut request: axum::extract::Request, next: axum::middleware::Next| {
            if let Some(user) = request.uri().query().map(str::to_owned) {
                request.extensions_mut().insert(user);
            }
            next.run(request).await
        }),
    );
    for (path, address, expected) in [
        ("/?alice", "192.0.2.1", 200),
        ("/?alice", "192.0.2.2", 429),
        ("/?bob", "192.0.2.1", 200),
        ("/", "192.0.2.1", 200),
        ("/", "192.0.2.1", 429),
    ] {
        assert_eq!(status(&app, path, address).await, expected, "{path} {address}");
    }
}
