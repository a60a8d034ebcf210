//! Limits in an axum app, counted in this process's memory.
//!
//! ```console
//! $ cargo run -p portcullis-limit --features tower --example axum_memory
//! ```
//!
//! An address to listen on may follow (`127.0.0.1:3000`).

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use portcullis_limit::tower::{By, Limit, LimitEvent, LimitLayer, Limits};
use portcullis_limit::{Algorithm, ForwardHeader, Rate, TrustedHops};
use tokio::net::TcpListener;

/// Who was authenticated. How it is displayed is what a limit counts by.
#[derive(Clone)]
struct User(&'static str);

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Verifies an API key. Only what was verified is counted by: whoever makes up keys is counted by address.
async fn authenticate(mut request: Request, next: Next) -> Response {
    let key = request.headers().get("x-api-key").and_then(|key| key.to_str().ok());
    let user = match key {
        Some("key-of-alice") => Some(User("alice")),
        Some("key-of-bob") => Some(User("bob")),
        _ => None,
    };
    if let Some(user) = user {
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

async fn login(password: String) -> StatusCode {
    if password == "correct horse" { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
}

fn app() -> Result<Router, Box<dyn Error>> {
    let limits = Limits::default();
    // What all layers have in common: where the client's address is (here behind a proxy on the same machine, if there is
    // one), and who is told of refusals.
    let layer = LimitLayer::new(&limits)
        .peer(|request| request.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip()))
        .trusted_hops(TrustedHops::new(vec!["127.0.0.0/8".parse()?], ForwardHeader::default()))
        .observe(|event, request| {
            if let LimitEvent::Refused(refusal) = event {
                eprintln!("{} {}: {refusal}", request.method, request.uri.path());
            }
        });

    // For everybody, on everything.
    let all = Limit::new("all", Rate::new("300 per 1m".parse()?, Algorithm::SlidingWindowCounter, None)?);
    // Wrong passwords. Who knows the right one may log in as often as they like.
    let login_limit = Limit::new("login", Rate::new("5 per 15m".parse()?, Algorithm::SlidingWindowLog, None)?)
        .count_failures()
        .message("Too many login attempts. Try again in {minutes} minutes.");
    // What costs much, by user; by address for those who are nobody.
    let export = Limit::new("export", Rate::new("3 per 1h".parse()?, Algorithm::SlidingWindowLog, None)?)
        .by(By::extension::<User>());

    Ok(Router::new()
        .route("/", get(async || "hello\n"))
        .route("/login", post(login).layer(layer.clone().limit(login_limit)))
        .route("/export", get(async || "all of it\n").layer(layer.clone().limit(export)))
        .layer(from_fn(authenticate))
        // What is added last comes first.
        .layer(layer.limit(all)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&listen).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!("listening on {url}; wrong passwords are counted, five are too many:");
    println!(
        "  for n in 1 2 3 4 5 6; do curl -sS -i -d wrong {url}/login | grep -iE '^HTTP|^x-rate|^retry|error'; done"
    );
    println!("and so are exports, three of each user:");
    println!("  for n in 1 2 3 4; do curl -sS -H 'x-api-key: key-of-alice' {url}/export; done");
    // With the peer's address, or limits by address refuse all there is.
    axum::serve(listener, app()?.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
