//! From a file to settings that cannot be wrong.

mod diagnostic;
mod document;
mod mistake;
mod raw;
mod schema;
mod settings;
mod words;

pub use diagnostic::{Diagnostic, Level, Report};
pub use schema::json_schema;
pub use settings::{
    AdminSettings, IdentitySettings, LogSettings, MailDelivery, Settings, TokenSettings, TransportSettings,
    UpstreamSettings,
};
