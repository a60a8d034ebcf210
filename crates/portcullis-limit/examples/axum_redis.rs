//! Limits in an axum app of several instances, which count together in Redis.
//!
//! ```console
//! $ cargo run -p portcullis-limit --features tower,redis --example axum_redis -- 127.0.0.1:3001 redis://127.0.0.1:6379
//! ```
//!
//! The URL may also stand in `REDIS_URL`, and in `PATIENCE_MS` for how long a request waits for Redis (40). Start a second one on another port, and see them share; stop Redis, and see what
//! each limit does then.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use axum::routing::{get, post};
use portcullis_limit::tower::{Limit, LimitLayer, Limits};
use portcullis_limit::{
    Algorithm, ForwardHeader, Limiter, Outage, PATIENCE, Rate, RedisOptions, RedisStore, StoreEvent, TrustedHops,
};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

async fn login(password: String) -> StatusCode {
    if password == "correct horse" { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
}

fn app(redis: &str) -> Result<Router, Box<dyn Error>> {
    // No request waits longer than that, whatever becomes of Redis.
    let patience = match std::env::var("PATIENCE_MS") {
        Ok(text) => Duration::from_millis(text.parse()?),
        Err(_) => PATIENCE,
    };
    // It connects by itself, now or when there is something to connect to.
    let store = RedisStore::new(&RedisOptions::parse(redis)?.timeout(patience), &Handle::current())?;
    let told = Arc::new(|event: &StoreEvent| match event {
        StoreEvent::Lost(why) => eprintln!("each for itself from now on: {why}"),
        StoreEvent::Back => eprintln!("together again"),
        StoreEvent::Failed(_) | StoreEvent::Still(_) | StoreEvent::Forgot => {}
    });
    let limits = Limits::new(Limiter::default().sharing(Arc::new(store), patience, told));
    let layer = LimitLayer::new(&limits)
        .peer(|request| request.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip()))
        .trusted_hops(TrustedHops::new(vec!["127.0.0.0/8".parse()?], ForwardHeader::default()));

    // While Redis is away, each instance allows as much as all of them together did, by what it has counted itself.
    let api = Limit::new("api", Rate::new("100 per 1h".parse()?, Algorithm::SlidingWindowLog, None)?);
    let login_limit = Limit::new("login", Rate::new("5 per 15m".parse()?, Algorithm::SlidingWindowLog, None)?)
        .count_failures()
        .outage(Outage::Local);
    // Better not at all than once too often.
    let pay = Limit::new("pay", Rate::new("10 per 1m".parse()?, Algorithm::FixedWindow, None)?).outage(Outage::Closed);
    // Much asked for: each instance takes portions, and asks Redis for these alone.
    let feed = Limit::new("feed", Rate::new("1,000 per 1d".parse()?, Algorithm::FixedWindow, None)?).lease()?;

    Ok(Router::new()
        .route("/feed", get(async || "news\n").layer(layer.clone().limit(feed)))
        .route("/", get(async || "hello\n").layer(layer.clone().limit(api)))
        .route("/login", post(login).layer(layer.clone().limit(login_limit)))
        .route("/pay", post(async || "paid\n").layer(layer.limit(pay))))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let listen = words.next().unwrap_or_else(|| "127.0.0.1:3001".to_owned());
    let redis = words.next().or_else(|| std::env::var("REDIS_URL").ok());
    let app = app(redis.as_deref().unwrap_or("redis://127.0.0.1:6379"))?;
    let listener = TcpListener::bind(&listen).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!("listening on {url}; how many are left, at all instances together:");
    println!("  for n in 1 2 3; do curl -sS -i {url} | grep -i '^x-ratelimit-remaining'; done");
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
