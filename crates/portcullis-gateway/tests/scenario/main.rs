//! The scenario, through the real binary: registration, login, tokens, roles, limits; what every answer carries; what
//! the API behind the gate sees; the operator's side.

#![expect(clippy::unwrap_used, reason = "a helper that has nothing to work on fails its test")]

#[expect(dead_code, reason = "each test binary uses its own part of what they share")]
#[path = "../support/mod.rs"]
pub(crate) mod support;

mod account;
mod admin_api;
mod api_keys;
mod clock;
mod cookies;
mod hardening;
mod identity_headers;
mod limits;
mod lockout;
mod login;
mod mail;
mod operator;
mod paths;
mod people;
mod refresh;
mod refusals;
mod registration;
mod roles;
mod server_sessions;
mod siege;
mod tokens;

use support::PROJECT_ROUTES;
use support::origin::Origin;
use support::process::{Gateway, Setup};

/// The gate before the example API, with the limits that apply when a file names none.
pub(crate) fn projects() -> (Origin, Gateway) {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    (origin, gateway)
}
