//! A caller's own sessions (A8).

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_core::Principal;
use portcullis_identity::{IdentityError, SessionInfo};
use schemars::JsonSchema;
use serde::Serialize;

use super::answer;
use super::caller::{Caller, answered, local, origin, part};
use super::{Api, pages};

/// A living session.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Session")]
pub(crate) struct SessionShown {
    id: String,
    /// How it is held: `body` or `cookie` for tokens, `session` for one that is kept here.
    kind: String,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    /// To within some minutes.
    #[schemars(extend("format" = "date-time"))]
    last_used_at: String,
    /// The address it was opened from.
    client: Option<String>,
    /// What the program called itself.
    user_agent: Option<String>,
}

impl From<SessionInfo> for SessionShown {
    fn from(session: SessionInfo) -> Self {
        Self {
            id: session.id,
            kind: session.kind,
            created_at: session.created_at.to_rfc3339(),
            last_used_at: session.last_used_at.to_rfc3339(),
            client: session.client,
            user_agent: session.agent,
        }
    }
}

/// One of the caller's sessions.
#[derive(JsonSchema, Serialize)]
struct OwnSession {
    /// Whether it is the one that asks.
    current: bool,
    #[serde(flatten)]
    session: SessionShown,
}

/// The caller's sessions.
#[derive(JsonSchema, Serialize)]
pub(super) struct OwnSessions {
    /// The newest first, at most 200.
    sessions: Vec<OwnSession>,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        let present = principal.parts().session.as_deref();
        let sessions = api.identity.sessions(principal.subject()).await?;
        let own = |session: SessionInfo| OwnSession { current: present == Some(&session.id), session: session.into() };
        Ok(answer::json(StatusCode::OK, &OwnSessions { sessions: sessions.into_iter().map(own).collect() }))
    })
    .await
}

pub(super) async fn end(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        let session = part(path, IdentityError::NoSession)?;
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
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        let session = part(path, IdentityError::NoSession)?;
        Ok(pages::end_session(&api, &headers, &bytes, &principal, &session, origin(caller)).await)
    })
    .await
}
