//! The gateway: everything around the [`portcullis::Gate`] that makes it one binary.
//!
//! `config` turns a file into [`config::Settings`], `listen` accepts connections on one runtime per core, `proxy`
//! carries admitted requests to an upstream, `identity_api` serves `/auth/*`, `admin` serves the operator, `cli` is what
//! a person types, `demo` is the tour, `tls` is what handshakes need, and `serve` wires them together.

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod identity_api;
pub mod listen;
mod openapi;
mod pem;
pub mod proxy;
pub mod serve;
pub mod tls;
mod upstream_tls;

#[cfg(all(feature = "test-clock", not(debug_assertions)))]
compile_error!("the feature `test-clock` lets anyone move time; a release build must not have it");
