//! Registration and the confirmation of an address (A1, A4, A5).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use portcullis_core::Secret;
use portcullis_identity::Registration;
use schemars::JsonSchema;
use serde::Deserialize;

use super::answer::{self, Message};
use super::caller::{Caller, answered, origin};
use super::{Api, body, pages};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Register {
    #[schemars(extend("format" = "email", "examples" = ["ann@example.com"]))]
    email: String,
    #[schemars(extend("format" = "password", "examples" = ["Correct-horse-7-staple"]))]
    password: String,
    name: Option<String>,
}

pub(super) async fn register(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    if api.pages.enabled && body::is_form(&headers) {
        return pages::register_form(&api, &headers, &bytes, origin(caller)).await;
    }
    answered(caller, async {
        let Register { email, password, name } = body::json(&headers, &bytes)?;
        let registration = Registration { email, password: Secret::new(password), name };
        api.identity.register(registration, origin(caller)).await?;
        let message = "If this address is new, a mail with a link to confirm it is on its way.";
        Ok(answer::json(StatusCode::ACCEPTED, &Message { message }))
    })
    .await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Verify {
    token: String,
}

pub(super) async fn verify(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap, bytes: Bytes) -> Response {
    if body::is_form(&headers) {
        return pages::verify_form(&api, &bytes, origin(caller)).await;
    }
    answered(caller, async {
        let Verify { token } = body::json(&headers, &bytes)?;
        api.identity.verify(&token, origin(caller)).await?;
        Ok(answer::json(StatusCode::OK, &Message { message: "E-mail verified. You can log in now." }))
    })
    .await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Resend {
    #[schemars(extend("examples" = ["ann@example.com"]))]
    email: String,
}

pub(super) async fn resend(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap, bytes: Bytes) -> Response {
    if api.pages.enabled && body::is_form(&headers) {
        return pages::resend_form(&api, &headers, &bytes, origin(caller)).await;
    }
    answered(caller, async {
        let Resend { email } = body::json(&headers, &bytes)?;
        api.identity.resend_verification(&email, origin(caller)).await?;
        let message = "If a registration of this address waits for confirmation, a mail is on its way.";
        Ok(answer::json(StatusCode::ACCEPTED, &Message { message }))
    })
    .await
}
