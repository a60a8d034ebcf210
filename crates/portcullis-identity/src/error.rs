//! What can go wrong, told apart by cause. Two fields of view: what a client is told is decided by the door, from the
//! variant; what an operator reads is the variant's text.

use std::path::PathBuf;

use crate::lockout::Exhausted;
use crate::policy::Violation;
use crate::store::StoreError;

/// Why a flow did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The address, the name or the password break a rule; each broken rule is told.
    #[error("the input breaks a rule")]
    Invalid(Vec<Violation>),
    /// Wrong password or unknown address: one value, so that nobody can tell them apart.
    #[error("invalid credentials")]
    InvalidCredentials,
    /// The password was right, but the address was never confirmed.
    #[error("the e-mail address is not verified")]
    NotVerified,
    /// The password was right, but the account is disabled.
    #[error("the account is disabled")]
    Disabled,
    /// Too many wrong passwords were tried for the address, or on this device.
    #[error("too many wrong passwords were tried")]
    TooManyAttempts(Exhausted),
    /// A verification token that is unknown, used up or too old.
    #[error("the verification token is not valid")]
    InvalidVerification,
    /// A refresh token that is unknown, spent, too old or revoked.
    #[error("the refresh token is not valid")]
    InvalidRefresh,
    /// Registration is closed.
    #[error("registration is closed")]
    RegistrationClosed,
    /// The account does not exist (any more).
    #[error("no such account")]
    NoAccount,
    /// The present password that was asked for once more is wrong.
    #[error("the present password is wrong")]
    WrongPassword,
    /// A link that was mailed is unknown, used up or too old.
    #[error("the link is not valid")]
    InvalidLink,
    /// The account has no such session (any more).
    #[error("no such session")]
    NoSession,
    /// There is no way to send mail, and without mail it cannot be done.
    #[error("there is no way to send mail")]
    NoMail,
    /// The account has no such API key (any more).
    #[error("no such API key")]
    NoApiKey,
    /// The account has as many API keys as it may have.
    #[error("an account may have {0} API keys")]
    TooManyApiKeys(u32),
    /// An account with this address exists already; only told to an operator.
    #[error("an account with this address exists already")]
    Exists,
    /// Too many passwords are being hashed, or too many writes are waiting.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(StoreError),
    /// A key could not be used.
    #[error("the cryptographic library failed")]
    Crypto,
}

impl From<StoreError> for IdentityError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::Overloaded,
            failed => Self::Database(failed),
        }
    }
}

impl From<sqlx::Error> for IdentityError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Why the accounts cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened.
    #[error("cannot open the database {}: {error}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the engine said.
        error: sqlx::Error,
    },
    /// The server cannot be reached, or refuses.
    #[error("cannot open the database {database}: {error}")]
    Connect {
        /// Its address, without a password.
        database: String,
        /// What the driver said.
        error: sqlx::Error,
    },
    /// Another process holds the file.
    #[error("the database {} is locked by another process", .0.display())]
    Locked(PathBuf),
    /// A later version wrote it.
    #[error("the database is of schema version {found}, this program knows up to {known}; use the newer program")]
    Newer {
        /// The database's version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The private keys inside cannot be read.
    #[error("the master key {0}")]
    MasterKey(&'static str),
    /// The master key's file cannot be read or made.
    #[error("the master key file {}: {error}", path.display())]
    MasterKeyFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The database failed on the way.
    #[error("the database failed: {0}")]
    Database(#[from] StoreError),
    /// A key could not be made or read.
    #[error("cannot make or read a signing key: {0}")]
    Key(#[from] portcullis_auth::SigningError),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Crypto,
    /// The hashing threads could not be started.
    #[error("cannot start the hashing threads: {0}")]
    Threads(std::io::Error),
}
