//! The identity endpoints under `/auth` and the JWKS document: HTTP shapes over `portcullis_identity`.
