//! One function for each endpoint.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_auth::credential;
use portcullis_core::{ClientAddress, Principal, RequestId, Secret};
use portcullis_identity::{Credentials, Delivery, Origin, Registration, Tokens};
use serde::Deserialize;
use serde_json::json;

use super::answer::{self, Refused};
use super::{Api, body, page};

/// What the gate knows of the caller.
type Caller = (Extension<ClientAddress>, Extension<RequestId>);

fn origin((Extension(client), Extension(id)): Caller) -> Origin {
    Origin { client: Some(client), request: Some(id) }
}

fn id((_, Extension(id)): Caller) -> RequestId {
    id
}

/// Runs a handler's body and turns its refusal into an answer.
async fn answered(caller: Caller, handler: impl Future<Output = Result<Response, Refused>>) -> Response {
    handler.await.unwrap_or_else(|refused| refused.answer(id(caller)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    email: String,
    password: String,
    name: Option<String>,
}

pub(super) async fn register(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let Register { email, password, name } = body::json(&headers, &bytes)?;
        let registration = Registration { email, password: Secret::new(password), name };
        api.identity.register(registration, origin(caller)).await?;
        let message = "If this address is new, a mail with a link to confirm it is on its way.";
        Ok(answer::json(StatusCode::ACCEPTED, &json!({ "message": message })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    token: String,
}

pub(super) async fn verify(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap, bytes: Bytes) -> Response {
    if body::is_form(&headers) {
        let token = page::form_token(&bytes);
        let verified = api.identity.verify(&token.unwrap_or_default(), origin(caller)).await;
        return page::confirmed(verified.map_err(Refused::from), id(caller));
    }
    answered(caller, async {
        let Verify { token } = body::json(&headers, &bytes)?;
        api.identity.verify(&token, origin(caller)).await?;
        Ok(answer::json(StatusCode::OK, &json!({ "message": "E-mail verified. You can log in now." })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resend {
    email: String,
}

pub(super) async fn resend(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap, bytes: Bytes) -> Response {
    answered(caller, async {
        let Resend { email } = body::json(&headers, &bytes)?;
        api.identity.resend_verification(&email, origin(caller)).await?;
        let message = "If a registration of this address waits for confirmation, a mail is on its way.";
        Ok(answer::json(StatusCode::ACCEPTED, &json!({ "message": message })))
    })
    .await
}

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

pub(super) async fn me(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
) -> Response {
    answered(caller, async {
        let account = api.identity.account(local(principal)?.subject()).await?;
        Ok(answer::json(
            StatusCode::OK,
            &json!({
                "id": account.id,
                "email": account.email,
                "name": account.name,
                "role": account.role,
                "plan": account.plan,
                "createdAt": account.created_at.to_rfc3339(),
            }),
        ))
    })
    .await
}

pub(super) async fn jwks(State(api): State<Arc<Api>>) -> Response {
    let headers = [(CONTENT_TYPE, "application/jwk-set+json"), (CACHE_CONTROL, "public, max-age=300")];
    (headers, api.identity.keys().load().1.public_jwks_json()).into_response()
}

/// One of our own users. The gate asked already; this asks again so that no mistake in a route table opens a door.
fn local(principal: Option<Extension<Arc<Principal>>>) -> Result<Arc<Principal>, Refused> {
    match principal {
        Some(Extension(principal)) if principal.is_local() => Ok(principal),
        Some(_) => Err(Refused::new(StatusCode::NOT_FOUND, "Not found", "not_found")
            .with_detail("this identity comes from another issuer and has no account here")),
        None => Err(Refused::new(StatusCode::UNAUTHORIZED, "Authentication required", "authentication_required")),
    }
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
