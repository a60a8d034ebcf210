//! Another password (A7): forgotten, reset by a mailed link, or changed by who knows it.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use portcullis_core::{Principal, Secret};
use portcullis_identity::{IdentityError, Renewed, Violation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{self, Message};
use super::caller::{Caller, agent, answered, local, origin};
use super::login::Wish;
use super::{Api, body, login, pages};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ForgotPassword")]
pub(super) struct Forgot {
    #[schemars(extend("examples" = ["ann@example.com"]))]
    email: String,
}

pub(super) async fn forgot(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap, bytes: Bytes) -> Response {
    if api.pages.enabled && body::is_form(&headers) {
        return pages::forgot_form(&api, &headers, &bytes, origin(caller)).await;
    }
    answered(caller, async {
        let Forgot { email } = body::json(&headers, &bytes)?;
        api.identity.forgot_password(&email, origin(caller)).await?;
        let message = "If this address has an account, a mail with a link to set another password is on its way.";
        Ok(answer::json(StatusCode::ACCEPTED, &Message { message }))
    })
    .await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ResetPassword")]
pub(super) struct Reset {
    token: String,
    password: String,
    /// How this device is told by what it is known from now on: `session` and `cookie` are the same here.
    #[serde(default)]
    delivery: Wish,
}

pub(super) async fn reset(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap, bytes: Bytes) -> Response {
    if body::is_form(&headers) {
        return pages::reset_form(&api, &headers, &bytes, origin(caller)).await;
    }
    answered(caller, async {
        let Reset { token, password, delivery } = body::json(&headers, &bytes)?;
        delivery.is_possible(&api, &headers)?;
        let held = api.device(&headers);
        let device = api.identity.reset_password(&token, &Secret::new(password), held, origin(caller)).await?;
        Ok(known(&api, &headers, "The password is set. Log in with it.", delivery, device.as_ref()))
    })
    .await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmDevice {
    token: String,
    /// How this device is told by what it is known from now on: `session` and `cookie` are the same here.
    #[serde(default)]
    delivery: Wish,
}

pub(super) async fn confirm_device(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    if body::is_form(&headers) {
        return pages::confirm_device_form(&api, &headers, &bytes, origin(caller)).await;
    }
    answered(caller, async {
        let ConfirmDevice { token, delivery } = body::json(&headers, &bytes)?;
        delivery.is_possible(&api, &headers)?;
        let device = api.identity.confirm_device(&token, api.device(&headers), origin(caller)).await?;
        Ok(known(&api, &headers, "This device is known now. Log in on it.", delivery, device.as_ref()))
    })
    .await
}

/// What somebody is told whose device is known from now on.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Known<'a> {
    /// For a person.
    message: &'static str,
    /// What this device is known by at its next login; absent where it went into a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<&'a str>,
}

fn known(
    api: &Api,
    headers: &HeaderMap,
    message: &'static str,
    delivery: Wish,
    device: Option<&Secret<String>>,
) -> Response {
    let device_token = device.filter(|_| delivery == Wish::Body).map(|device| device.expose().as_str());
    let mut response = answer::json(StatusCode::OK, &Known { message, device_token });
    if delivery != Wish::Body {
        api.set_device(&mut response, headers, device);
    }
    response
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "ChangePassword")]
pub(super) struct Change {
    current_password: String,
    new_password: String,
}

pub(super) async fn change(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        if api.pages.enabled && body::is_form(&headers) {
            return Ok(pages::change_password(&api, &headers, &bytes, &principal, origin(caller)).await);
        }
        let Change { current_password, new_password } = body::json(&headers, &bytes)?;
        let (present, new) = (Secret::new(current_password), Secret::new(new_password));
        let agent = agent(&headers);
        let (agent, device) = (agent.as_deref(), api.device(&headers));
        let renewed = api.identity.change_password(&principal, &present, &new, agent, device, origin(caller)).await;
        Ok(match renewed.map_err(by_member)? {
            Renewed::Tokens(tokens) => login::hand_over(&api, &headers, &tokens),
            Renewed::Session(session) => login::open(&api, &headers, &session),
        })
    })
    .await
}

/// The rules of a password are told of the member that it came in.
fn by_member(error: IdentityError) -> IdentityError {
    let named = |broken: Violation| match broken.field {
        "password" => Violation { field: "newPassword", ..broken },
        _ => broken,
    };
    match error {
        IdentityError::Invalid(broken) => IdentityError::Invalid(broken.into_iter().map(named).collect()),
        other => other,
    }
}
