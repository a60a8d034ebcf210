//! Moving the process's clock, in builds made for tests only.

use axum::Json;
use axum::extract::State;
use portcullis_core::HumanDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Move {
    advance: Option<HumanDuration>,
    set_back: Option<HumanDuration>,
    /// Lets time stand still, before it is moved.
    #[serde(default)]
    stop: bool,
    /// Answers without the wait that lets chores see the new time.
    #[serde(default)]
    at_once: bool,
}

/// Longer than the poll that keeps the record of revocations fresh: without this wait a jump of the clock would look
/// like a database that was away for as long.
const CATCH_UP: std::time::Duration = std::time::Duration::from_millis(600);

/// `POST /test-clock {"advance":"15m"}` moves the machine's clock forward, as the process sees it, `{"setBack":"1h"}` back;
/// `{"stop":true}` lets time stand still but for such moves. Answers the time that the process goes by as `{"now":"…"}`.
pub(super) async fn set(State(admin): Shared, Json(request): Json<Move>) -> Json<Value> {
    if request.stop {
        crate::clock::stop();
    }
    if let Some(by) = request.advance {
        crate::clock::advance(by.0);
    }
    if let Some(by) = request.set_back {
        crate::clock::set_back(by.0);
    }
    if !request.at_once {
        tokio::time::sleep(CATCH_UP).await;
    }
    Json(json!({ "now": admin.clock.now().to_rfc3339() }))
}
