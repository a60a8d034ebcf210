//! The endpoints that answer with a page. What a page holds is in `pages`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use portcullis_core::Principal;

use super::answer::Refused;
use super::caller::{Caller, answered, local};
use super::{Api, pages};

/// Pages that an operator can turn off are not there then.
fn hosted(api: &Api) -> Result<(), Refused> {
    if api.pages.enabled { Ok(()) } else { Err(Refused::new(StatusCode::NOT_FOUND, "Not found", "not_found")) }
}

pub(super) async fn sign_in(
    State(api): State<Arc<Api>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    answered(caller, async {
        hosted(&api)?;
        Ok(pages::sign_in(&api, &headers, query.as_deref().unwrap_or_default()))
    })
    .await
}

pub(super) async fn register(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap) -> Response {
    answered(caller, async {
        hosted(&api)?;
        Ok(pages::register(&api, &headers))
    })
    .await
}

pub(super) async fn forgot(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap) -> Response {
    answered(caller, async {
        hosted(&api)?;
        Ok(pages::forgot(&api, &headers))
    })
    .await
}

pub(super) async fn account(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    answered(caller, async {
        hosted(&api)?;
        let principal = match principal {
            Some(principal) => Some(local(Some(principal))?),
            None => None,
        };
        Ok(pages::account(&api, &headers, query.as_deref().unwrap_or_default(), principal.as_deref()).await)
    })
    .await
}

pub(super) async fn verify(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Response {
    pages::verify(&api, query.as_deref().unwrap_or_default())
}

pub(super) async fn reset(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Response {
    pages::reset(&api, query.as_deref().unwrap_or_default())
}

pub(super) async fn confirm_device(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Response {
    pages::confirm_device(&api, query.as_deref().unwrap_or_default())
}

pub(super) async fn confirm_email(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Response {
    pages::confirm_email(&api, query.as_deref().unwrap_or_default())
}
