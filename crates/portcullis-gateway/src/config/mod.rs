//! From a file to settings that cannot be wrong.
//!
//! `document` reads the file into `raw`, the shape in which it is written; `resolve` gives it a meaning. Both report every
//! mistake at its place and go on, so that one look at the `Report` is enough.

mod diagnostic;
mod document;
mod load;
mod mistake;
mod outside;
mod policy;
mod raw;
mod resolve;
mod schema;
mod settings;
mod words;

pub use diagnostic::{Diagnostic, Level, Report};
pub use load::{LoadError, Loaded, Source};
pub use outside::{Outside, Process};
pub use schema::json_schema;
pub(crate) use settings::rates;
pub use settings::{
    AdminSettings, GateSettings, IdentitySettings, LimitStore, LogSettings, MailDelivery, PageSettings,
    SessionSettings, Settings, StoreOptions, TlsSettings, TokenSettings, TransportSettings, UpstreamSettings,
};

pub use crate::upstream_tls::UpstreamTls;

/// A commented configuration file to start from.
pub const TEMPLATE: &str = include_str!("template.toml");

#[cfg(test)]
mod tests;
