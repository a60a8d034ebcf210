//! Accounts: registration, verification, login, refresh and logout flows, passwords, signing keys, and the SQL store
//! behind them.

mod policy;

pub use policy::PasswordPolicy;
