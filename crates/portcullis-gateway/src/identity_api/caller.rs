//! Who calls an endpoint, and the frame that every handler stands in.

use std::sync::Arc;

use axum::Extension;
use axum::http::StatusCode;
use axum::response::Response;
use portcullis_core::{ClientAddress, Principal, RequestId};
use portcullis_identity::Origin;

use super::answer::Refused;

/// What the gate knows of the caller.
pub(super) type Caller = (Extension<ClientAddress>, Extension<RequestId>);

pub(super) fn origin((Extension(client), Extension(id)): Caller) -> Origin {
    Origin { client: Some(client), request: Some(id), operator: false }
}

pub(super) fn id((_, Extension(id)): Caller) -> RequestId {
    id
}

/// Runs a handler's body and turns its refusal into an answer.
pub(super) async fn answered(caller: Caller, handler: impl Future<Output = Result<Response, Refused>>) -> Response {
    handler.await.unwrap_or_else(|refused| refused.answer(id(caller)))
}

/// One of our own users. The gate asked already; this asks again so that no mistake in a route table opens a door.
pub(super) fn local(principal: Option<Extension<Arc<Principal>>>) -> Result<Arc<Principal>, Refused> {
    match principal {
        Some(Extension(principal)) if principal.is_local() => Ok(principal),
        Some(_) => Err(Refused::new(StatusCode::NOT_FOUND, "Not found", "not_found")
            .with_detail("this identity comes from another issuer and has no account here")),
        None => Err(Refused::new(StatusCode::UNAUTHORIZED, "Authentication required", "authentication_required")),
    }
}
