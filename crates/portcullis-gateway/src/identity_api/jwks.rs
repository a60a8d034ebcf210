//! The public keys of our tokens (T3).

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::Api;

pub(super) async fn document(State(api): State<Arc<Api>>) -> Response {
    let headers = [(CONTENT_TYPE, "application/jwk-set+json"), (CACHE_CONTROL, "public, max-age=300")];
    (headers, api.identity.keys().load().1.public_jwks_json()).into_response()
}
