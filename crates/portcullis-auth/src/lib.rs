//! Credentials: who a request is (JWT, keys, JWKS, claims, verified-token cache) and what it may do (roles, permissions).

pub mod access;
mod algorithm;
pub mod api_key;
pub mod certificate;
mod claims;
pub mod credential;
mod issuer;
mod json;
pub mod jws;
mod key;
mod opaque;
mod verifier;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use claims::ClaimNames;
pub use credential::CookieNames;
pub use issuer::Issuer;
pub use jws::{MAX_TOKEN_BYTES, longest_token};
pub use key::{ImportError, KeyError, KeySet, KeySource, SigningError, SigningKey, VerificationKey};
pub use opaque::{BELIEVED, OpaqueVerifier, Seen};
pub use verifier::{DEFAULT_CACHED_TOKENS, Lookup, TokenDigest, TokenVerifier};
