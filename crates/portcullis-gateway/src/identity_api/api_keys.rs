//! API keys of a caller's own account (T9).

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_core::Principal;
use portcullis_identity::{ApiKeyInfo, IdentityError, MadeApiKey, NewApiKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer;
use super::caller::{Caller, answered, local, origin, part};
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
        Ok(answer::json(StatusCode::OK, &ApiKeys { api_keys: keys.into_iter().map(Shown::from).collect() }))
    })
    .await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "NewApiKey")]
pub(super) struct Create {
    #[schemars(extend("examples" = ["nightly build"]))]
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
        Ok(shown_once(made))
    })
    .await
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RotateApiKey")]
pub(super) struct Rotate {
    /// In seconds.
    overlap: Option<u64>,
}

pub(super) async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        let key = part(path, IdentityError::NoApiKey)?;
        let Rotate { overlap } = if bytes.is_empty() { Rotate::default() } else { body::json(&headers, &bytes)? };
        let overlap = overlap.map_or(OVERLAP, Duration::from_secs);
        let made = api.identity.rotate_api_key(principal.subject(), &key, overlap, origin(caller)).await?;
        Ok(shown_once(made))
    })
    .await
}

pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        let key = part(path, IdentityError::NoApiKey)?;
        api.identity.revoke_api_key(principal.subject(), &key, origin(caller)).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// The caller's keys.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiKeys {
    api_keys: Vec<Shown>,
}

/// A key as its owner sees it again.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ApiKey")]
struct Shown {
    id: String,
    name: String,
    /// How the key begins, to tell keys apart.
    start: String,
    /// The permissions it may use; `null` for all of its owner's.
    scopes: Option<Vec<String>>,
    plan: Option<String>,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
    /// To within some minutes.
    #[schemars(extend("format" = "date-time"))]
    last_used_at: Option<String>,
}

/// A new key. No other answer ever holds one.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "MadeApiKey")]
pub(super) struct Made {
    #[serde(flatten)]
    shown: Shown,
    /// The key itself.
    key: String,
}

fn shown_once(made: MadeApiKey) -> Response {
    let key = made.key.expose().as_str().to_owned();
    answer::json(StatusCode::CREATED, &Made { shown: made.info.into(), key })
}

impl From<ApiKeyInfo> for Shown {
    fn from(key: ApiKeyInfo) -> Self {
        Self {
            id: key.id,
            name: key.name,
            start: key.start,
            scopes: key.scopes,
            plan: key.plan,
            created_at: key.created_at.to_rfc3339(),
            expires_at: key.expires_at.map(|at| at.to_rfc3339()),
            last_used_at: key.last_used_at.map(|at| at.to_rfc3339()),
        }
    }
}
