//! A caller's own sessions (A8).

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_core::Principal;
use serde_json::{Value, json};

use super::answer;
use super::caller::{Caller, answered, local, origin};
use super::{Api, pages};

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        let present = principal.parts().session.as_deref();
        let sessions = api.identity.sessions(principal.subject()).await?;
        let sessions: Vec<Value> = sessions
            .iter()
            .map(|session| {
                json!({
                    "id": session.id,
                    "kind": session.kind,
                    "current": present == Some(&session.id),
                    "createdAt": session.created_at.to_rfc3339(),
                    "lastUsedAt": session.last_used_at.to_rfc3339(),
                    "client": session.client,
                    "userAgent": session.agent,
                })
            })
            .collect();
        Ok(answer::json(StatusCode::OK, &json!({ "sessions": sessions })))
    })
    .await
}

pub(super) async fn end(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
    Path(session): Path<String>,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        api.identity.end_own_session(principal.subject(), &session, origin(caller)).await?;
        let mut response = StatusCode::NO_CONTENT.into_response();
        if principal.parts().session.as_deref() == Some(&session) {
            api.clear_cookies(&mut response);
        }
        Ok(response)
    })
    .await
}

/// The same by a form, which cannot send a DELETE.
pub(super) async fn end_by_form(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
    Path(session): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        Ok(pages::end_session(&api, &headers, &bytes, &principal, &session, origin(caller)).await)
    })
    .await
}
