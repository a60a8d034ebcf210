//! The identity endpoints under `/auth` and the JWKS document: HTTP shapes over `portcullis_identity`.
//!
//! Requests arrive behind a `Pass`, with a bounded body and with what the gate knows as extensions: the
//! [`ClientAddress`](portcullis_core::ClientAddress), the [`RequestId`](portcullis_core::RequestId) and, where one was
//! proven, the `Arc<Principal>`.

pub(crate) mod answer;
mod api_keys;
pub(crate) mod body;
mod caller;
mod cookies;
mod csrf;
mod hosted;
mod jwks;
mod login;
mod me;
mod openapi;
pub(crate) mod pages;
mod password;
mod registration;
pub(crate) mod sessions;

pub(crate) use cookies::origin_of;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Bytes;
use axum::routing::{MethodRouter, delete, get, patch, post};
use portcullis_auth::CookieNames;
use portcullis_identity::Identity;
use portcullis_shield::csrf::Csrf;

use crate::config::PageSettings;

/// What an endpoint asks of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing; a presented credential is not even looked at, because these endpoints issue credentials and must work
    /// beside a stale one (T8).
    Nothing,
    /// Nothing; who proves an identity is told more.
    Optional,
    /// A proven identity.
    Login,
}

/// One endpoint.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// Method and path as the route table writes them.
    pub pattern: &'static str,
    /// What it asks of a caller.
    pub need: Need,
    /// Whether it lets go on, or ends, what was proven before ([`portcullis::RouteRule::renews`]).
    pub renews: bool,
    route: fn() -> MethodRouter<Arc<Api>>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:?})", self.pattern, self.need)
    }
}

/// Every endpoint: the router and the gate's routes are both made from this one list.
pub const ENDPOINTS: &[Endpoint] = &[
    endpoint("GET /auth/register", Need::Nothing, || get(hosted::register)),
    endpoint("POST /auth/register", Need::Nothing, || post(registration::register)),
    endpoint("GET /auth/verify", Need::Nothing, || get(hosted::verify)),
    endpoint("POST /auth/verify", Need::Nothing, || post(registration::verify)),
    endpoint("POST /auth/resend-verification", Need::Nothing, || post(registration::resend)),
    endpoint("GET /auth/login", Need::Nothing, || get(hosted::sign_in)),
    endpoint("POST /auth/login", Need::Nothing, || post(login::login)),
    endpoint("POST /auth/refresh", Need::Nothing, || post(login::refresh)).renewing(),
    endpoint("POST /auth/logout", Need::Nothing, || post(login::logout)).renewing(),
    endpoint("POST /auth/logout-all", Need::Login, || post(login::logout_all)),
    endpoint("GET /auth/forgot-password", Need::Nothing, || get(hosted::forgot)),
    endpoint("POST /auth/forgot-password", Need::Nothing, || post(password::forgot)),
    endpoint("GET /auth/reset-password", Need::Nothing, || get(hosted::reset)),
    endpoint("POST /auth/reset-password", Need::Nothing, || post(password::reset)),
    endpoint("GET /auth/confirm-device", Need::Nothing, || get(hosted::confirm_device)),
    endpoint("POST /auth/confirm-device", Need::Nothing, || post(password::confirm_device)),
    endpoint("POST /auth/change-password", Need::Login, || post(password::change)),
    endpoint("GET /auth/me", Need::Login, || get(me::show)),
    endpoint("PATCH /auth/me", Need::Login, || patch(me::rename)),
    endpoint("DELETE /auth/me", Need::Login, || delete(me::delete)),
    endpoint("POST /auth/change-email", Need::Login, || post(me::change_email)),
    endpoint("GET /auth/confirm-email", Need::Nothing, || get(hosted::confirm_email)),
    endpoint("POST /auth/confirm-email", Need::Nothing, || post(me::confirm_email)),
    endpoint("GET /auth/csrf", Need::Optional, || get(csrf::token)),
    endpoint("GET /auth/account", Need::Optional, || get(hosted::account)),
    endpoint("GET /auth/sessions", Need::Login, || get(sessions::list)),
    endpoint("DELETE /auth/sessions/{id}", Need::Login, || delete(sessions::end)),
    endpoint("POST /auth/sessions/{id}/end", Need::Login, || post(sessions::end_by_form)),
    endpoint("GET /auth/api-keys", Need::Login, || get(api_keys::list)),
    endpoint("POST /auth/api-keys", Need::Login, || post(api_keys::create)),
    endpoint("POST /auth/api-keys/{id}/rotate", Need::Login, || post(api_keys::rotate)),
    endpoint("DELETE /auth/api-keys/{id}", Need::Login, || delete(api_keys::revoke)),
    endpoint("GET /auth/openapi.json", Need::Nothing, || get(openapi::serve)),
    endpoint("GET /.well-known/jwks.json", Need::Nothing, || get(jwks::document)),
];

/// What stands under `/auth`, or where an endpoint stands, and is none is refused here and never reaches an upstream.
pub const REST: &[&str] = &["/auth/**", "/.well-known/jwks.json"];

const fn endpoint(pattern: &'static str, need: Need, route: fn() -> MethodRouter<Arc<Api>>) -> Endpoint {
    Endpoint { pattern, need, renews: false, route }
}

impl Endpoint {
    const fn renewing(self) -> Self {
        Self { renews: true, ..self }
    }
}

/// What the handlers share.
#[derive(Debug)]
pub struct Api {
    pub(crate) identity: Arc<Identity>,
    pub(crate) cookies: CookieNames,
    /// `scheme://host[:port]` of the public URL.
    pub(crate) origin: String,
    /// Whether tokens may be handed over in cookies: under https, or on loopback for development (T6).
    pub(crate) cookies_allowed: bool,
    /// What tells clients all of this.
    pub(crate) document: Bytes,
    pages: pages::Pages,
    /// What is asked of unsafe requests that a cookie authenticates; a reload replaces it.
    csrf: Arc<ArcSwap<Csrf>>,
}

impl Api {
    /// The shapes of these accounts, and pages for people. `csrf` is replaced where it stands when the configuration is
    /// loaded anew.
    #[must_use]
    pub fn new(identity: Arc<Identity>, pages: &PageSettings, csrf: Arc<ArcSwap<Csrf>>) -> Self {
        let url = &identity.config().public_url;
        let https = url.starts_with("https://");
        let origin = cookies::origin_of(url);
        let cookies_allowed = https || cookies::is_loopback(&origin);
        let cookies = CookieNames::new(https);
        let document = openapi::document(&cookies).to_string().into();
        let pages = pages::Pages::new(pages, &origin, &identity);
        Self { cookies, origin, cookies_allowed, identity, document, pages, csrf }
    }
}

/// The router of all endpoints.
pub fn router(api: Arc<Api>) -> Router {
    let mut router = Router::new();
    for endpoint in ENDPOINTS {
        let path = endpoint.pattern.split_once(' ').map_or(endpoint.pattern, |(_, path)| path);
        router = router.route(path, (endpoint.route)());
    }
    router.fallback(answer::not_found).method_not_allowed_fallback(answer::method_not_allowed).with_state(api)
}

#[cfg(test)]
mod tests;
