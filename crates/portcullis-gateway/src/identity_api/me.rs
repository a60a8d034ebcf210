//! A caller's own account (A7): what it is, another name, another address, its end.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_core::{Principal, Secret};
use portcullis_identity::Account;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{self, Message};
use super::caller::{Caller, answered, holder, local, origin};
use super::{Api, body, pages};

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
) -> Response {
    answered(caller, async { Ok(described(api.identity.account(holder(principal)?.subject()).await?)) }).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RenameAccount")]
pub(super) struct Rename {
    // `null` takes the name away; a request that says nothing of it is a mistake.
    #[serde(deserialize_with = "Option::deserialize")]
    name: Option<String>,
}

pub(super) async fn rename(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        let Rename { name } = body::json(&headers, &bytes)?;
        api.identity.rename(principal.subject(), name.as_deref(), origin(caller)).await?;
        Ok(described(api.identity.account(principal.subject()).await?))
    })
    .await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DeleteAccount")]
pub(super) struct Delete {
    password: String,
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        let Delete { password } = body::json(&headers, &bytes)?;
        api.identity.delete_own(principal.subject(), &Secret::new(password), origin(caller)).await?;
        let mut response = StatusCode::NO_CONTENT.into_response();
        api.clear_cookies(&mut response);
        Ok(response)
    })
    .await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeEmail {
    #[schemars(extend("examples" = ["ann.other@example.com"]))]
    email: String,
    #[schemars(extend("format" = "password", "examples" = ["Correct-horse-7-staple"]))]
    password: String,
}

pub(super) async fn change_email(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        let ChangeEmail { email, password } = body::json(&headers, &bytes)?;
        let password = Secret::new(password);
        api.identity.request_email_change(principal.subject(), &password, &email, origin(caller)).await?;
        let message = "If this address can be yours, a mail with a link to confirm it is on its way there.";
        Ok(answer::json(StatusCode::ACCEPTED, &Message { message }))
    })
    .await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmEmail {
    token: String,
}

pub(super) async fn confirm_email(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    if body::is_form(&headers) {
        return pages::confirm_email_form(&api, &bytes, origin(caller)).await;
    }
    answered(caller, async {
        let ConfirmEmail { token } = body::json(&headers, &bytes)?;
        api.identity.confirm_email_change(&token, origin(caller)).await?;
        Ok(answer::json(StatusCode::OK, &Message { message: "The address is confirmed. Log in with it from now on." }))
    })
    .await
}

/// What a caller may know of their own account.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Me {
    id: String,
    email: String,
    name: Option<String>,
    role: String,
    plan: String,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
}

fn described(account: Account) -> Response {
    let me = Me {
        id: account.id,
        email: account.email,
        name: account.name,
        role: account.role,
        plan: account.plan,
        created_at: account.created_at.to_rfc3339(),
    };
    answer::json(StatusCode::OK, &me)
}
