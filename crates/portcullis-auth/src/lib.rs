//! Credentials: who a request is (JWT, keys, JWKS, claims, verified-token cache) and what it may do (roles, permissions).

mod algorithm;
mod json;
pub mod jws;
mod key;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use key::{KeyError, KeySet, KeySource, SigningError, SigningKey, VerificationKey};
