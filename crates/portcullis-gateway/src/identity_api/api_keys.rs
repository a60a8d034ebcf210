//! API keys of a caller's own account (T9).

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_core::Principal;
use portcullis_identity::{ApiKeyInfo, MadeApiKey, NewApiKey};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer;
use super::caller::{Caller, answered, local, origin};
use super::{Api, body};

/// How long a key that was rotated goes on where nothing else is said.
const OVERLAP: Duration = Duration::from_secs(86_400);

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
) -> Response {
    answered(caller, async {
        let keys = api.identity.api_keys(local(principal)?.subject()).await?;
        let keys: Vec<Value> = keys.iter().map(described).collect();
        Ok(answer::json(StatusCode::OK, &json!({ "apiKeys": keys })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Create {
    name: String,
    scopes: Option<Vec<String>>,
    /// In seconds.
    expires_in: Option<u64>,
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        let Create { name, scopes, expires_in } = body::json(&headers, &bytes)?;
        let new = NewApiKey { name, scopes, plan: None, expires_in: expires_in.map(Duration::from_secs) };
        let made = api.identity.create_api_key(principal.subject(), new, origin(caller)).await?;
        Ok(shown_once(&made))
    })
    .await
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    /// In seconds.
    overlap: Option<u64>,
}

pub(super) async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
    Path(key): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        let Rotate { overlap } = if bytes.is_empty() { Rotate::default() } else { body::json(&headers, &bytes)? };
        let overlap = overlap.map_or(OVERLAP, Duration::from_secs);
        let made = api.identity.rotate_api_key(principal.subject(), &key, overlap, origin(caller)).await?;
        Ok(shown_once(&made))
    })
    .await
}

pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
    Path(key): Path<String>,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        api.identity.revoke_api_key(principal.subject(), &key, origin(caller)).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// The only answer that ever holds a key.
fn shown_once(made: &MadeApiKey) -> Response {
    let mut answer = described(&made.info);
    answer["key"] = made.key.expose().as_str().into();
    answer::json(StatusCode::CREATED, &answer)
}

fn described(key: &ApiKeyInfo) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "start": key.start,
        "scopes": key.scopes,
        "plan": key.plan,
        "createdAt": key.created_at.to_rfc3339(),
        "expiresAt": key.expires_at.map(|at| at.to_rfc3339()),
        "lastUsedAt": key.last_used_at.map(|at| at.to_rfc3339()),
    })
}
