//! From a file to settings that cannot be wrong.

mod settings;

pub use settings::{
    AdminSettings, IdentitySettings, LogSettings, MailDelivery, Settings, TokenSettings, TransportSettings,
    UpstreamSettings,
};
