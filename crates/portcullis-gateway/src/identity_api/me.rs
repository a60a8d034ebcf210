//! What a caller may know of their own account (A7).

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use portcullis_core::Principal;
use serde_json::json;

use super::Api;
use super::answer;
use super::caller::{Caller, answered, holder};

pub(super) async fn me(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
) -> Response {
    answered(caller, async {
        let account = api.identity.account(holder(principal)?.subject()).await?;
        Ok(answer::json(
            StatusCode::OK,
            &json!({
                "id": account.id,
                "email": account.email,
                "name": account.name,
                "role": account.role,
                "plan": account.plan,
                "createdAt": account.created_at.to_rfc3339(),
            }),
        ))
    })
    .await
}
