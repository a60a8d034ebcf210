//! The scenario, through the real binary: registration, login, tokens, roles, limits; what every answer carries; what
//! the API behind the gate sees; the operator's side.

#[expect(dead_code, reason = "each test binary uses its own part of what they share")]
#[path = "../support/mod.rs"]
mod support;

mod cookies;
mod hardening;
mod identity_headers;
mod limits;
mod login;
mod operator;
mod paths;
mod refresh;
mod registration;
mod roles;
mod tokens;

use support::{Gateway, Origin, PROJECT_ROUTES, Setup};

/// The gate before the example API, with the limits that apply when a file names none.
fn projects() -> (Origin, Gateway) {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    (origin, gateway)
}
