//! The admin listener: health, metrics, the mail catcher of the demo, and what an operator may do.
//!
//! It is a server of its own on loopback. Everything but the health checks needs the operator's token, as
//! `Authorization: Bearer` or through the page at `/login`. `ENDPOINTS` is the one list of what there is;
//! the router, the guard in front of it, the index page and the tests are made from it. What is not on the list is not
//! open.

mod accounts;
mod caller;
mod export;
mod guard;
mod health;
mod keys;
mod limit_acts;
mod limits;
mod mail;
mod openapi;
mod pages;
mod private_file;
mod reputation;
mod server;
#[cfg(feature = "test-clock")]
mod test_clock;
mod token;

use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use portcullis::Gate;
use portcullis_core::{Clock, Problem, Reason, RequestId};
use portcullis_identity::Identity;
use portcullis_watch::Metrics;

use crate::identity_api::answer::Refused;
pub use health::ReadyCheck;
pub use mail::{CaughtMail, MailSource};
pub use private_file::{PrivateFileError, read_or_create};
pub use server::serve;

pub use limits::WhomBody;
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
    /// The accounts, where there are any.
    pub accounts: Option<Accounts>,
    /// The gate whose limits are shown and started anew.
    pub gate: Option<Arc<Gate>>,
}

/// Accounts that an operator may manage.
#[derive(Clone)]
pub struct Accounts {
    /// The accounts themselves.
    pub identity: Arc<Identity>,
    /// Yields the roles that an account can have at the moment, in the order of their names.
    pub roles: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Accounts")
    }
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
    accounts: Option<Accounts>,
    gate: Option<Arc<Gate>>,
    document: Bytes,
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

/// One method on one path of the admin listener.
struct Endpoint {
    /// `METHOD /path`; a segment `{name}` stands for any one.
    pattern: &'static str,
    access: Access,
    /// A sentence for the index page; empty for what is not listed there.
    about: &'static str,
    route: fn() -> MethodRouter<Arc<Admin>>,
}

impl Endpoint {
    fn path(&self) -> &'static str {
        self.pattern.split_once(' ').map_or(self.pattern, |(_, path)| path)
    }
}

const fn endpoint(pattern: &'static str, access: Access, route: fn() -> MethodRouter<Arc<Admin>>) -> Endpoint {
    Endpoint { pattern, access, about: "", route }
}

impl Endpoint {
    const fn listed(self, about: &'static str) -> Self {
        Self { about, ..self }
    }
}

/// Everything there is. Only what the operator alone may use has parameters in its path: the guard compares paths letter by
/// letter with this list, and what it does not find there needs the operator.
static ENDPOINTS: &[Endpoint] = &[
    endpoint("GET /", Access::Operator, || get(pages::index)),
    endpoint("GET /livez", Access::Open, || get(async || "ok\n")).listed("Whether the process lives."),
    endpoint("GET /readyz", Access::Open, || get(readyz))
        .listed("Whether it may be sent traffic: 503 while a dependency is away or it is stopping."),
    endpoint("GET /metrics", Access::Loopback, || get(metrics)).listed("Metrics in the text format of Prometheus."),
    endpoint("GET /login", Access::Open, || get(pages::login)),
    endpoint("POST /login", Access::Open, || post(pages::log_in)),
    endpoint("POST /logout", Access::Operator, || post(pages::log_out)),
    endpoint("GET /style.css", Access::Open, || get(pages::style)),
    endpoint("GET /mail", Access::Operator, || get(mail::page))
        .listed("Mail that the demo caught instead of sending it."),
    endpoint("GET /mail.json", Access::Operator, || get(mail::json))
        .listed("The same as JSON, newest first; ?to=ADDRESS shows one recipient's."),
    endpoint("GET /openapi.json", Access::Operator, || get(openapi::serve))
        .listed("All of this for programs (OpenAPI 3.1)."),
    endpoint("GET /api/accounts", Access::Operator, || get(accounts::list)).listed("The accounts, in pages."),
    endpoint("POST /api/accounts", Access::Operator, || post(accounts::create)),
    endpoint("GET /api/accounts/{id}", Access::Operator, || get(accounts::show)),
    endpoint("PATCH /api/accounts/{id}", Access::Operator, || patch(accounts::change)),
    endpoint("DELETE /api/accounts/{id}", Access::Operator, || delete(accounts::remove)),
    endpoint("POST /api/accounts/{id}/password", Access::Operator, || post(accounts::set_password)),
    endpoint("POST /api/accounts/{id}/revoke", Access::Operator, || post(accounts::revoke)),
    endpoint("POST /api/accounts/{id}/unlock", Access::Operator, || post(accounts::unlock)),
    endpoint("GET /api/accounts/{id}/sessions", Access::Operator, || get(accounts::sessions)),
    endpoint("POST /api/sessions/revoke", Access::Operator, || post(accounts::revoke_everybody)),
    endpoint("GET /api/limits", Access::Operator, || get(limits::list)).listed("The limits, as JSON."),
    endpoint("GET /api/comparisons", Access::Operator, || get(limits::compare))
        .listed("What limits and those that may replace them said of the same requests."),
    endpoint("GET /api/limits/{name}", Access::Operator, || get(limits::show)),
    endpoint("POST /api/limits/{name}/reset", Access::Operator, || post(limit_acts::reset)),
    endpoint("POST /api/limits/{name}/penalty", Access::Operator, || post(limit_acts::penalty)),
    endpoint("POST /api/limits/{name}/reward", Access::Operator, || post(limit_acts::reward)),
    endpoint("POST /api/limits/{name}/block", Access::Operator, || post(limit_acts::block)),
    endpoint("POST /api/limits/{name}/unblock", Access::Operator, || post(limit_acts::unblock)),
    // No limit's name leads here, whatever it is.
    endpoint("POST /api/limit-store/reopen", Access::Operator, || post(limit_acts::reopen)),
    endpoint("GET /api/reputation", Access::Operator, || get(reputation::list))
        .listed("The addresses of which the worst is known, as JSON."),
    endpoint("GET /api/reputation/{address}", Access::Operator, || get(reputation::show)),
    endpoint("POST /api/reputation/{address}/forget", Access::Operator, || post(reputation::forget)),
    endpoint("POST /api/export", Access::Operator, || post(export::export)),
    endpoint("GET /api/keys", Access::Operator, || get(keys::list)).listed("The keys that sign tokens."),
    endpoint("POST /api/keys/rotate", Access::Operator, || post(keys::rotate)),
    #[cfg(feature = "test-clock")]
    endpoint("POST /test-clock", Access::Operator, || post(test_clock::set)),
];

/// Bytes of a request body; the largest is one with a password.
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
        accounts: parts.accounts,
        gate: parts.gate,
        document: openapi::document().to_string().into(),
    });
    let mut router = Router::new();
    for endpoint in ENDPOINTS {
        router = router.route(endpoint.path(), (endpoint.route)());
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
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
fn refuse(reason: &Reason, id: RequestId) -> Response {
    let problem = Problem::new(reason, id);
    (problem.status, problem.headers, problem.body).into_response()
}

async fn not_found(Extension(id): Extension<RequestId>) -> Response {
    refuse(&Reason::NotFound, id)
}

async fn method_not_allowed(Extension(id): Extension<RequestId>) -> Response {
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "method_not_allowed").answer(id)
}

#[cfg(test)]
mod tests;
