//! Who calls an endpoint of the admin API, and the frame that its handlers stand in.

use axum::Extension;
use axum::http::StatusCode;
use axum::response::Response;
use portcullis_core::{ClientAddress, RequestId};
use portcullis_identity::Origin;

use super::guard::PeerAddress;
use super::{Accounts, Admin};
use crate::identity_api::answer::Refused;

/// The operator, as far as the guard knows them.
pub(super) type Caller = (Extension<PeerAddress>, Extension<RequestId>);

/// For the audit trail: an operator, from this address.
pub(super) fn origin((Extension(peer), Extension(id)): Caller) -> Origin {
    Origin { client: Some(ClientAddress::new(peer.0.ip())), request: Some(id), operator: true }
}

/// Runs a handler's body and turns its refusal into an answer.
pub(super) async fn answered(caller: Caller, handler: impl Future<Output = Result<Response, Refused>>) -> Response {
    let (_, Extension(id)) = caller;
    handler.await.unwrap_or_else(|refused| refused.answer(id))
}

/// The refusal of what an operator wrote, with what to write instead.
pub(super) fn invalid(detail: impl Into<String>) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "Validation failed", "validation_failed").with_detail(detail)
}

impl Admin {
    /// The accounts that are managed here.
    pub(super) fn accounts(&self) -> Result<&Accounts, Refused> {
        self.accounts.as_ref().ok_or_else(|| {
            Refused::new(StatusCode::NOT_FOUND, "Not found", "not_found")
                .with_detail("there are no accounts: [identity] is turned off")
        })
    }
}
