//! Login, refresh and logout (A6, A8, T4, T6).

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_auth::credential;
use portcullis_core::{Principal, Secret};
use portcullis_identity::{Credentials, Delivery, IdentityError, Origin, ServerSession, Tokens};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{self, Refused};
use super::caller::{Caller, agent, answered, local, origin};
use super::{Api, body, pages};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    #[schemars(extend("format" = "email", "examples" = ["ann@example.com"]))]
    email: String,
    #[schemars(extend("format" = "password", "examples" = ["Correct-horse-7-staple"]))]
    password: String,
    /// How the tokens are handed over.
    #[serde(default)]
    delivery: Wish,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Delivery")]
enum Wish {
    /// In the answer.
    #[default]
    Body,
    /// In cookies that no script can read.
    Cookie,
    /// As a session that is kept here, in a cookie.
    Session,
}

pub(super) async fn login(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap, bytes: Bytes) -> Response {
    if api.pages.enabled && body::is_form(&headers) {
        return pages::sign_in_form(&api, &headers, &bytes, origin(caller)).await;
    }
    answered(caller, async {
        let Login { email, password, delivery } = body::json(&headers, &bytes)?;
        if delivery != Wish::Body {
            if !api.cookies_allowed {
                let refused = Refused::new(StatusCode::BAD_REQUEST, "Validation failed", "validation_failed");
                return Err(refused.with_detail("cookies need a public URL with https; use \"delivery\": \"body\""));
            }
            // A page of another site must not log its visitor into an account of its own.
            api.same_site(&headers)?;
        }
        let kind = if delivery == Wish::Cookie { Delivery::Cookie } else { Delivery::Body };
        let credentials =
            Credentials { email, password: Secret::new(password), delivery: kind, agent: agent(&headers) };
        let mut response = if delivery == Wish::Session {
            open(&api, &api.identity.open_session(&credentials, origin(caller)).await?)
        } else {
            hand_over(&api, &api.identity.login(credentials, origin(caller)).await?)
        };
        if delivery != Wish::Body {
            end_former(&api, &headers, origin(caller)).await?;
        }
        if delivery == Wish::Cookie && headers.contains_key(COOKIE) {
            api.clear_session(&mut response);
        }
        Ok(response)
    })
    .await
}

/// Ends the session whose cookies came along with a login: the browser forgets it now, so nobody could end it later (ASVS
/// 7.2.4).
pub(super) async fn end_former(api: &Api, headers: &HeaderMap, origin: Origin) -> Result<(), IdentityError> {
    if let Ok(Some(secret)) = credential::cookie(headers, api.cookies.session()) {
        api.identity.close_session(secret, origin).await?;
    }
    if let Ok(Some(token)) = credential::cookie(headers, api.cookies.refresh()) {
        api.identity.logout(token, origin).await?;
    }
    Ok(())
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Refresh {
    /// The refresh token; without it that of the cookie.
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

/// The server session of the cookie, if the request comes from our own pages.
fn session<'a>(api: &Api, headers: &'a HeaderMap) -> Result<Option<&'a str>, Refused> {
    let Ok(Some(secret)) = credential::cookie(headers, api.cookies.session()) else { return Ok(None) };
    api.same_site(headers)?;
    Ok(Some(secret))
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
    if api.pages.enabled && body::is_form(&headers) {
        return pages::sign_out(&api, &headers, &bytes, origin(caller)).await;
    }
    answered(caller, async {
        let token = presented(&api, &headers, &bytes)?;
        let secret = session(&api, &headers)?;
        if token.is_none() && secret.is_none() {
            let refused = Refused::new(StatusCode::UNAUTHORIZED, "Invalid refresh token", "invalid_refresh_token");
            return Err(refused.with_detail("send the refresh token of the session to end"));
        }
        if let Some(token) = token {
            api.identity.logout(&token, origin(caller)).await?;
        }
        if let Some(secret) = secret {
            api.identity.close_session(secret, origin(caller)).await?;
        }
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
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let principal = local(principal)?;
        if api.pages.enabled && body::is_form(&headers) {
            return Ok(pages::sign_out_everywhere(&api, &headers, &bytes, &principal, origin(caller)).await);
        }
        api.identity.logout_all(principal.subject(), origin(caller)).await?;
        let mut response = StatusCode::NO_CONTENT.into_response();
        api.clear_cookies(&mut response);
        Ok(response)
    })
    .await
}

/// Tokens as they are handed over, or the word that a session has begun.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Tokens")]
pub(super) struct Handed<'a> {
    /// Sent as `Authorization: Bearer`, a JWT (RFC 9068); what it says besides the usual is up to `[tokens] claims`. Absent
    /// where it went into a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
    /// Good for one use; absent where it went into a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    /// Seconds until the access token ends, or the session if it is not used.
    expires_in: u64,
    /// `Bearer`, or `Session` for one that is kept here.
    token_type: &'static str,
}

/// Hands a server session over: nothing of it is in the body.
pub(super) fn open(api: &Api, session: &ServerSession) -> Response {
    let expires_in = session.idle.min(session.life).as_secs();
    let told = Handed { access_token: None, refresh_token: None, expires_in, token_type: "Session" };
    let mut response = answer::json(StatusCode::OK, &told);
    api.set_session(&mut response, session);
    response
}

/// Hands tokens over in the way their session began with.
pub(super) fn hand_over(api: &Api, tokens: &Tokens) -> Response {
    let bare = Handed {
        access_token: None,
        refresh_token: None,
        expires_in: tokens.expires_in.as_secs(),
        token_type: "Bearer",
    };
    match tokens.delivery {
        Delivery::Body => {
            let (access, refresh) = (tokens.access.expose(), tokens.refresh.expose());
            answer::json(StatusCode::OK, &Handed { access_token: Some(access), refresh_token: Some(refresh), ..bare })
        }
        Delivery::Cookie => {
            let mut response = answer::json(StatusCode::OK, &bare);
            api.set_cookies(&mut response, tokens);
            response
        }
    }
}
