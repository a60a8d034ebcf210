//! Login, refresh and logout (A6, A8, T4, T6).

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_auth::credential;
use portcullis_core::{Principal, Secret};
use portcullis_identity::{Credentials, Delivery, Tokens};
use serde::Deserialize;
use serde_json::json;

use super::answer::{self, Refused};
use super::caller::{Caller, answered, local, origin};
use super::{Api, body};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    email: String,
    password: String,
    #[serde(default)]
    delivery: Wish,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wish {
    #[default]
    Body,
    Cookie,
}

pub(super) async fn login(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap, bytes: Bytes) -> Response {
    answered(caller, async {
        let Login { email, password, delivery } = body::json(&headers, &bytes)?;
        let delivery = match delivery {
            Wish::Body => Delivery::Body,
            Wish::Cookie if api.cookies_allowed => {
                // A page of another site must not log its visitor into an account of its own.
                api.same_site(&headers)?;
                Delivery::Cookie
            }
            Wish::Cookie => {
                let refused = Refused::new(StatusCode::BAD_REQUEST, "Validation failed", "validation_failed");
                return Err(refused.with_detail("cookies need a public URL with https; use \"delivery\": \"body\""));
            }
        };
        let credentials = Credentials { email, password: Secret::new(password), delivery };
        let tokens = api.identity.login(credentials, origin(caller)).await?;
        Ok(hand_over(&api, &tokens))
    })
    .await
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Refresh {
    refresh_token: Option<String>,
}

/// The refresh token of the body, or of the cookie if the request comes from our own pages.
fn presented(api: &Api, headers: &HeaderMap, bytes: &[u8]) -> Result<Option<String>, Refused> {
    let in_body: Refresh = if bytes.is_empty() { Refresh::default() } else { body::json(headers, bytes)? };
    if in_body.refresh_token.is_some() {
        return Ok(in_body.refresh_token);
    }
    let invalid = || Refused::new(StatusCode::UNAUTHORIZED, "Invalid refresh token", "invalid_refresh_token");
    match credential::cookie(headers, api.cookies.refresh()) {
        Ok(Some(token)) => {
            api.same_site(headers)?;
            Ok(Some(token.to_owned()))
        }
        Ok(None) => Ok(None),
        Err(_) => Err(invalid()),
    }
}

pub(super) async fn refresh(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap, bytes: Bytes) -> Response {
    answered(caller, async {
        let token = presented(&api, &headers, &bytes)?.unwrap_or_default();
        let tokens = api.identity.refresh(&token, origin(caller)).await?;
        Ok(hand_over(&api, &tokens))
    })
    .await
}

pub(super) async fn logout(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap, bytes: Bytes) -> Response {
    answered(caller, async {
        let Some(token) = presented(&api, &headers, &bytes)? else {
            let refused = Refused::new(StatusCode::UNAUTHORIZED, "Invalid refresh token", "invalid_refresh_token");
            return Err(refused.with_detail("send the refresh token of the session to end"));
        };
        api.identity.logout(&token, origin(caller)).await?;
        let mut response = StatusCode::NO_CONTENT.into_response();
        api.clear_cookies(&mut response);
        Ok(response)
    })
    .await
}

pub(super) async fn logout_all(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        api.identity.logout_all(principal.subject(), origin(caller)).await?;
        let mut response = StatusCode::NO_CONTENT.into_response();
        api.clear_cookies(&mut response);
        Ok(response)
    })
    .await
}

/// Hands tokens over in the way their session began with.
fn hand_over(api: &Api, tokens: &Tokens) -> Response {
    let mut answer = json!({ "expiresIn": tokens.expires_in.as_secs(), "tokenType": "Bearer" });
    match tokens.delivery {
        Delivery::Body => {
            answer["accessToken"] = tokens.access.expose().as_str().into();
            answer["refreshToken"] = tokens.refresh.expose().as_str().into();
            answer::json(StatusCode::OK, &answer)
        }
        Delivery::Cookie => {
            let mut response = answer::json(StatusCode::OK, &answer);
            api.set_cookies(&mut response, tokens);
            response
        }
    }
}
