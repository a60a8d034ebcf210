//! The signing keys, for an operator (T3).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;

use super::Shared;
use super::caller::{Caller, answered, origin};
use crate::identity_api::answer::{self, Refused};

/// Every key that is not forgotten yet.
#[derive(JsonSchema, Serialize)]
pub(super) struct Keys {
    /// The newest first.
    keys: Vec<Key>,
}

/// A key that signs tokens, or did.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SigningKey")]
struct Key {
    kid: String,
    algorithm: String,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    /// Since when it only verifies, until its last token has ended; `null` for the one that signs.
    #[schemars(extend("format" = "date-time"))]
    retired_at: Option<String>,
}

/// The key that signs from now on.
#[derive(JsonSchema, Serialize)]
pub(super) struct Rotated {
    kid: String,
}

/// `GET /api/keys`.
pub(super) async fn list(State(admin): Shared, caller: Caller) -> Response {
    answered(caller, async {
        let keys = admin.accounts()?.identity.list_keys().await?;
        let keys = keys.into_iter().map(|key| Key {
            kid: key.kid,
            algorithm: key.algorithm,
            created_at: key.created_at.to_rfc3339(),
            retired_at: key.retired_at.map(|at| at.to_rfc3339()),
        });
        Ok(answer::json(StatusCode::OK, &Keys { keys: keys.collect() }))
    })
    .await
}

/// `POST /api/keys/rotate`.
pub(super) async fn rotate(State(admin): Shared, caller: Caller) -> Response {
    answered(caller, async {
        let rotated = admin.accounts()?.identity.rotate_keys(origin(caller)).await;
        let kid = rotated.map_err(|error| {
            tracing::error!(%error, "the signing key could not be rotated");
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable", "identity_unavailable")
        })?;
        Ok(answer::json(StatusCode::OK, &Rotated { kid }))
    })
    .await
}
