//! Limits as a [tower](https://docs.rs/tower) layer, for axum and whatever else is made of services.
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use axum::extract::ConnectInfo;
//! use axum::{Router, routing::get};
//! use portcullis_limit::tower::{Limit, LimitLayer, Limits};
//! use portcullis_limit::{Algorithm, Rate};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // One for the whole app: this process's memory, for about a million clients.
//! let limits = Limits::default();
//! // Where axum keeps the peer's address; behind a proxy, say so with `trusted_hops`.
//! let layer = LimitLayer::new(&limits)
//!     .peer(|request| request.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip()));
//!
//! let all = Rate::new("100 per 1m".parse()?, Algorithm::SlidingWindowCounter, None)?;
//! let export = Rate::new("5 per 1h".parse()?, Algorithm::SlidingWindowLog, None)?;
//! let app: Router = Router::new()
//!     .route("/export", get(|| async { "all of it" }))
//!     .route_layer(layer.clone().limit(Limit::new("export", export)))
//!     .route("/", get(|| async { "hello" }))
//!     .layer(layer.limit(Limit::new("all", all)));
//! // axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
//! # drop(app);
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - All limits of a layer are charged or none, exactly, however many requests come at once; a refused request costs nothing.
//! - A request that lacks what a limit counts by (no API key, nobody logged in) is counted by its address, and one without an
//!   address is refused; nothing is let through uncounted.
//! - A client that waits for `Retry-After` is admitted, if nobody else spends the same.
//! - Memory is bounded and cleaned without any doing of yours: see [`Limits`].
//! - Limits in memory are decided on the spot: nothing waits, and no future is boxed.
//!
//! # Where it stands among other layers
//!
//! Outside of what costs much; inside of what tells who the caller is, where it counts by that ([`By::extension`]); inside of
//! the layer for CORS, or browsers do not let scripts read a refusal. In axum what is added later is outside.
//!
//! A request is charged when the layer is called, before the handler runs. Whatever happens to it then, it stays charged: its
//! client hangs up, the handler panics. What is counted by outcome ([`Limit::count_failures`], [`Limit::cost_of_answer`]) is
//! given back once the head of the answer is there.
//!
//! # Several instances
//!
//! With a limiter that shares a store ([`crate::Limiter::sharing`]) all instances count together:
//!
//! ```no_run
//! # #[cfg(feature = "redis")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use portcullis_limit::tower::Limits;
//! use portcullis_limit::{Limiter, PATIENCE, RedisOptions, RedisStore};
//!
//! let store = RedisStore::new(&RedisOptions::parse("redis://127.0.0.1")?, &tokio::runtime::Handle::current())?;
//! let told = Arc::new(|event: &_| eprintln!("limits: {event:?}"));
//! let limits = Limits::new(Limiter::default().sharing(Arc::new(store), PATIENCE, told));
//! # drop(limits);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "redis"))]
//! # fn main() {}
//! ```
//!
//! Each layer on a request's way asks the store once, and waits for it at most for as long as its patience lasts; while the
//! store is away, each limit does what its [`crate::Outage`] says.

mod by;
mod event;
mod layer;
mod limit;
mod limits;
mod plan;
mod refusal;
mod service;

pub use by::By;
pub use event::{LimitEvent, LimitObserver};
pub use layer::LimitLayer;
pub use limit::{AnswerHead, Limit};
pub use limits::Limits;
pub use portcullis_core::Problem;
pub use refusal::{ProblemJson, Refusal, Respond, Why};
pub use service::{LimitFuture, LimitService};
