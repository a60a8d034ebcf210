//! Who calls an endpoint, and the frame that every handler stands in.

use std::sync::Arc;

use axum::Extension;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::USER_AGENT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use portcullis_core::{ClientAddress, Principal, RequestId, Scheme};
use portcullis_identity::{IdentityError, Origin};

use super::answer::Refused;

/// What the gate knows of the caller.
pub(super) type Caller = (Extension<ClientAddress>, Extension<RequestId>);

pub(super) fn origin((Extension(client), Extension(id)): Caller) -> Origin {
    Origin { client: Some(client), request: Some(id), operator: false }
}

pub(super) fn id((_, Extension(id)): Caller) -> RequestId {
    id
}

/// What the caller's program calls itself.
pub(super) fn agent(headers: &HeaderMap) -> Option<String> {
    headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Runs a handler's body and turns its refusal into an answer.
pub(super) async fn answered(caller: Caller, handler: impl Future<Output = Result<Response, Refused>>) -> Response {
    handler.await.unwrap_or_else(|refused| refused.answer(id(caller)))
}

/// The id in a path. What cannot be one is told like one that nobody has, before a database sees it.
pub(super) fn part(path: Result<Path<String>, PathRejection>, nobodys: IdentityError) -> Result<String, Refused> {
    match path {
        Ok(Path(id)) if id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(id),
        _ => Err(nobodys.into()),
    }
}

/// One of our own users, logged in as a person: a program's API key manages no account, so that whoever finds one cannot
/// make others, end sessions or change what the owner logs in with.
pub(super) fn local(principal: Option<Extension<Arc<Principal>>>) -> Result<Arc<Principal>, Refused> {
    let principal = holder(principal)?;
    if principal.parts().scheme == Scheme::ApiKey {
        return Err(Refused::new(StatusCode::FORBIDDEN, "Insufficient permissions", "insufficient_permissions")
            .with_detail("an API key cannot manage its account; log in"));
    }
    Ok(principal)
}

/// One of our own users, however proven. The gate asked already; this asks again so that no mistake in a route table opens
/// a door.
pub(super) fn holder(principal: Option<Extension<Arc<Principal>>>) -> Result<Arc<Principal>, Refused> {
    match principal {
        Some(Extension(principal)) if principal.is_local() => Ok(principal),
        Some(_) => Err(Refused::new(StatusCode::NOT_FOUND, "Not found", "not_found")
            .with_detail("this identity comes from another issuer and has no account here")),
        None => Err(Refused::new(StatusCode::UNAUTHORIZED, "Authentication required", "authentication_required")),
    }
}
