//! The scenario, through the real binary: registration, login, tokens, roles, limits; what every answer carries; what
//! the API behind the gate sees; the operator's side.

#![expect(clippy::unwrap_used, reason = "a helper that has nothing to work on fails its test")]

#[expect(dead_code, reason = "each test binary uses its own part of what they share")]
#[path = "../support/mod.rs"]
pub(crate) mod support;

mod account;
mod admin_api;
mod algorithms;
mod answers_reported;
pub(crate) mod api_key_life;
mod api_keys;
mod at_rest;
mod claims;
mod clock;
mod closed;
mod codings;
mod commands;
mod contents;
mod contract;
mod cookies;
mod cors;
mod credentials;
mod crossings;
mod csrf;
mod dictated;
pub(crate) mod endings;
mod enumeration;
mod forged;
mod graphql;
mod handed_out;
mod hardening;
mod hostile;
mod identity_headers;
mod import;
mod known_browsers;
mod limit_acts;
mod limit_costs;
mod limit_headers;
mod limit_presets;
mod limits;
mod lockout;
mod login;
mod logout;
mod mail;
mod operator;
mod owned;
mod pages_off;
mod passwords;
mod paths;
mod people;
pub(crate) mod person;
pub(crate) mod refresh;
mod refusals;
mod registration;
mod reputation;
mod response_headers;
mod roles;
mod rows;
mod schema;
mod server_sessions;
mod shaped;
mod siege;
mod standing;
pub(crate) mod streams;
mod streams_http2;
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
