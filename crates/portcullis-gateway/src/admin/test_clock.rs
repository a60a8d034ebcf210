//! Moving the process's clock, in builds made for tests only.

use axum::Json;
use axum::extract::State;
use portcullis_core::HumanDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Advance {
    advance: HumanDuration,
}

/// Longer than the poll that keeps the record of revocations fresh: without this wait a jump of the clock would look
/// like a database that was away for as long.
const CATCH_UP: std::time::Duration = std::time::Duration::from_millis(600);

/// `POST /test-clock {"advance":"15m"}` moves the clock forward and answers the new time as `{"now":"…"}`.
pub(super) async fn advance(State(admin): Shared, Json(request): Json<Advance>) -> Json<Value> {
    crate::clock::advance(request.advance.0);
    tokio::time::sleep(CATCH_UP).await;
    Json(json!({ "now": admin.clock.now().to_rfc3339() }))
}
