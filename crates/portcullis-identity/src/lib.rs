//! Accounts: registration, verification, login, refresh and logout flows, passwords, signing keys, and the SQL store
//! behind them.

mod database;
mod device;
mod error;
mod flow;
mod import;
mod keyring;
mod last_use;
mod lockout;
mod mail;
mod mark;
mod password;
mod policy;
mod revocation;
mod seal;
mod service;
mod store;
mod token;

pub use database::{Database, PostgresUrl, PostgresUrlError};
pub use error::{IdentityError, OpenError};
pub use flow::account::{Account, NewAccount};
pub use flow::api_key::{ApiKeyInfo, MadeApiKey, NewApiKey};
pub use flow::claims::{ExtraClaim, longest_access_token};
pub use flow::login::{Credentials, Delivery, Tokens};
pub use flow::manage::{AccountChange, AccountDetails, AccountName};
pub use flow::operate::{AccountFilter, AccountPage, AccountPatch, LimitAct, MAX_PAGE};
pub use flow::password::Renewed;
pub use flow::register::Registration;
pub use flow::server_session::ServerSession;
pub use flow::sessions::SessionInfo;
pub use import::{
    Column, ExportError, ExportPage, ImportError, ImportFormat, ImportOptions, ImportSummary, ImportWatcher,
    NotImported, RoleNames, RowRefused,
};
pub use keyring::{KeyImportError, KeyInfo};
pub use lockout::{Allowance, Answer, Attempts, Charged, Exhausted, Lockout, MOST_ALLOWANCES, Pool};
pub use mail::{
    Authorities, LetterError, LetterKind, Letters, Mail, MailCatcher, Mailer, Sender, SenderError, SmtpConfig,
    SmtpError, SmtpLogin, SmtpMailer, SmtpProtection,
};
pub use mark::MAX_LEAD;
pub use password::{HashRefused, PasswordHash};
pub use policy::{Email, PasswordContext, PasswordPolicy, Violation};
pub use revocation::{Forgets, RevocationView};
pub use service::{Identity, IdentityConfig, Ports};
pub use store::StoreError;
pub use store::audit::Origin;
