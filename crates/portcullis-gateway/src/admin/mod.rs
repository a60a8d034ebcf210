//! The admin listener: health, metrics, the mail catcher of the demo, and what an operator may do.
//!
//! It is a server of its own on loopback. Everything but the health checks needs the operator's token, as
//! `Authorization: Bearer` or through the page at `/login`. `ENDPOINTS` is the one list of what there is;
//! the router, the guard in front of it, the index page and the tests are made from it. What is not on the list is not
//! open.

mod guard;
mod health;
mod mail;
mod pages;
mod private_file;
mod server;
#[cfg(feature = "test-clock")]
mod test_clock;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use portcullis_core::{Clock, Problem, Reason, RequestId};
use portcullis_watch::Metrics;

pub use health::ReadyCheck;
pub use mail::{CaughtMail, MailSource};
pub use private_file::{PrivateFileError, read_or_create};
pub use server::serve;

pub(crate) use token::random;
pub use token::{OperatorToken, OperatorTokenError, SESSION_COOKIE};

/// What the admin listener needs of the rest of the process.
pub struct AdminParts {
    /// The operator's token.
    pub token: OperatorToken,
    /// Further accepted `Host` values ([`crate::config::AdminSettings::hosts`]): `name` or `name:port`.
    pub hosts: Vec<String>,
    /// Shown at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Asked by `/readyz`.
    pub ready: Vec<ReadyCheck>,
    /// The mail catcher, where mail is caught.
    pub mails: Option<MailSource>,
    /// Tells when a login ends.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for AdminParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminParts").field("hosts", &self.hosts).field("ready", &self.ready).finish_non_exhaustive()
    }
}

/// The state behind the endpoints.
struct Admin {
    token: OperatorToken,
    sessions: token::Sessions,
    hosts: Vec<String>,
    metrics: Arc<Metrics>,
    readiness: health::Readiness,
    mails: Option<MailSource>,
    clock: Arc<dyn Clock>,
}

type Shared = State<Arc<Admin>>;

/// Who may use an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Everybody who reaches the listener.
    Open,
    /// Everybody while the listener is on loopback, else the operator.
    Loopback,
    /// The operator.
    Operator,
}

/// One path of the admin listener.
struct Endpoint {
    path: &'static str,
    access: Access,
    /// A sentence for the index page; empty for what is not listed there.
    about: &'static str,
    route: fn() -> MethodRouter<Arc<Admin>>,
}

/// Everything there is. The path of an endpoint is matched literally; it has no parameters.
static ENDPOINTS: &[Endpoint] = &[
    Endpoint { path: "/", access: Access::Operator, about: "", route: || get(pages::index) },
    Endpoint {
        path: "/livez",
        access: Access::Open,
        about: "Whether the process lives.",
        route: || get(async || "ok\n"),
    },
    Endpoint {
        path: "/readyz",
        access: Access::Open,
        about: "Whether it may be sent traffic: 503 while a dependency is away or it is stopping.",
        route: || get(readyz),
    },
    Endpoint {
        path: "/metrics",
        access: Access::Loopback,
        about: "Metrics in the text format of Prometheus.",
        route: || get(metrics),
    },
    Endpoint { path: "/login", access: Access::Open, about: "", route: || get(pages::login).post(pages::log_in) },
    Endpoint { path: "/logout", access: Access::Operator, about: "", route: || post(pages::log_out) },
    Endpoint { path: "/style.css", access: Access::Open, about: "", route: || get(pages::style) },
    Endpoint {
        path: "/mail",
        access: Access::Operator,
        about: "Mail that the demo caught instead of sending it.",
        route: || get(mail::page),
    },
    Endpoint {
        path: "/mail.json",
        access: Access::Operator,
        about: "The same as JSON, newest first; ?to=ADDRESS shows one recipient's.",
        route: || get(mail::json),
    },
    #[cfg(feature = "test-clock")]
    Endpoint { path: "/test-clock", access: Access::Operator, about: "", route: || post(test_clock::set) },
];

/// Bytes of a request body; the largest is a login form.
const MAX_BODY: usize = 16 * 1_024;

/// The admin listener's app with its guard in front. [`serve`] runs it.
fn router(parts: AdminParts) -> Router {
    let admin = Arc::new(Admin {
        token: parts.token,
        sessions: token::Sessions::new(),
        hosts: parts.hosts,
        metrics: parts.metrics,
        readiness: health::Readiness::new(parts.ready),
        mails: parts.mails,
        clock: parts.clock,
    });
    let mut router = Router::new();
    for endpoint in ENDPOINTS {
        router = router.route(endpoint.path, (endpoint.route)());
    }
    router
        .fallback(async || refuse(&Reason::NotFound))
        .method_not_allowed_fallback(async || StatusCode::METHOD_NOT_ALLOWED)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&admin), guard::guard))
        .with_state(admin)
}

async fn readyz(State(admin): Shared) -> Response {
    let failing = admin.readiness.failing().await;
    if failing.is_empty() {
        return "ready\n".into_response();
    }
    let text: String = failing.iter().map(|name| format!("{name}: not ready\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(State(admin): Shared) -> Response {
    let text = admin.metrics.render();
    ([(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"))], text).into_response()
}

/// A refusal in the form that the whole gateway uses.
fn refuse(reason: &Reason) -> Response {
    let problem = Problem::new(reason, RequestId::from_bits(::rand::random()));
    (problem.status, problem.headers, problem.body).into_response()
}

#[cfg(test)]
mod tests;
