//! What a caller may know of their own account (A7).

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use portcullis_core::Principal;
use schemars::JsonSchema;
use serde::Serialize;

use super::Api;
use super::answer;
use super::caller::{Caller, answered, local};

/// What a caller may know of their own account.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Me {
    id: String,
    email: String,
    name: Option<String>,
    role: String,
    plan: String,
    /// RFC 3339.
    created_at: String,
}

pub(super) async fn me(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
) -> Response {
    answered(caller, async {
        let account = api.identity.account(local(principal)?.subject()).await?;
        let me = Me {
            id: account.id,
            email: account.email,
            name: account.name,
            role: account.role,
            plan: account.plan,
            created_at: account.created_at.to_rfc3339(),
        };
        Ok(answer::json(StatusCode::OK, &me))
    })
    .await
}
