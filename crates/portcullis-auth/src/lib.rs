//! Credentials: who a request is (JWT, keys, JWKS, claims, verified-token cache) and what it may do (roles, permissions).

mod algorithm;

pub use algorithm::Algorithm;
