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
use super::caller::{Caller, agent, answered, id, local, origin};
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
    /// The `deviceToken` of a former login on this device, for whoever keeps no cookies.
    #[serde(rename = "deviceToken")]
    device_token: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Delivery")]
pub(super) enum Wish {
    /// In the answer.
    #[default]
    Body,
    /// In cookies that no script can read.
    Cookie,
    /// As a session that is kept here, in a cookie.
    Session,
}

impl Wish {
    /// Whether cookies can be handed over where they are wanted.
    pub(super) fn is_possible(self, api: &Api, headers: &HeaderMap) -> Result<(), Refused> {
        if self == Self::Body {
            return Ok(());
        }
        if !api.cookies_allowed {
            let refused = Refused::new(StatusCode::BAD_REQUEST, "Validation failed", "validation_failed");
            return Err(refused.with_detail("cookies need a public URL with https; use \"delivery\": \"body\""));
        }
        // A page of another site must not log its visitor into an account of its own.
        api.same_site(headers)
    }
}

pub(super) async fn login(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap, bytes: Bytes) -> Response {
    if api.pages.enabled && body::is_form(&headers) {
        return pages::sign_in_form(&api, &headers, &bytes, origin(caller)).await;
    }
    answered(caller, async {
        let Login { email, password, delivery, device_token } = body::json(&headers, &bytes)?;
        delivery.is_possible(&api, &headers)?;
        let kind = if delivery == Wish::Cookie { Delivery::Cookie } else { Delivery::Body };
        let device = device_token.or_else(|| api.device(&headers).map(str::to_owned));
        let (password, agent) = (Secret::new(password), agent(&headers));
        let credentials = Credentials { email, password, delivery: kind, agent, device };
        let mut response = if delivery == Wish::Session {
            open(&api, &headers, &api.identity.open_session(&credentials, origin(caller)).await?)
        } else {
            hand_over(&api, &headers, &api.identity.login(credentials, origin(caller)).await?)
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

/// A refresh token, and where it stood.
enum Held {
    /// In the body, where only who knows it can have put it.
    InBody(String),
    /// In the cookie, which a browser sends by itself.
    InCookie(String),
}

impl Held {
    fn into_token(self) -> String {
        let (Self::InBody(token) | Self::InCookie(token)) = self;
        token
    }
}

/// The refresh token of the body, or of the cookie if the request comes from our own pages.
fn presented(api: &Api, headers: &HeaderMap, bytes: &[u8]) -> Result<Option<Held>, Refused> {
    let in_body: Refresh = if bytes.is_empty() { Refresh::default() } else { body::json(headers, bytes)? };
    if let Some(token) = in_body.refresh_token {
        return Ok(Some(Held::InBody(token)));
    }
    let invalid = || Refused::new(StatusCode::UNAUTHORIZED, "Invalid refresh token", "invalid_refresh_token");
    match credential::cookie(headers, api.cookies.refresh()) {
        Ok(Some(token)) => {
            api.same_site(headers)?;
            Ok(Some(Held::InCookie(token.to_owned())))
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

/// The refusal of a request without a good token, with one for the next: nobody but our own pages can read it.
fn with_token(api: &Api, caller: Caller, refused: Refused, sessions: &[String]) -> Response {
    let mut response = refused.answer(id(caller));
    if let Some(session) = sessions.first() {
        api.set_csrf(&mut response, session);
    }
    response
}

pub(super) async fn refresh(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap, bytes: Bytes) -> Response {
    answered(caller, async {
        let presented = presented(&api, &headers, &bytes)?;
        if let Some(Held::InCookie(token)) = &presented {
            let session = api.identity.session_of_refresh(token).await?;
            if let Err(refused) = api.means_it(&headers, session.as_slice()) {
                return Ok(with_token(&api, caller, refused, session.as_slice()));
            }
        }
        let token = presented.map(Held::into_token).unwrap_or_default();
        let tokens = api.identity.refresh(&token, origin(caller)).await?;
        Ok(hand_over(&api, &headers, &tokens))
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
        let mut by_cookie = Vec::new();
        if let Some(Held::InCookie(token)) = &token {
            by_cookie.extend(api.identity.session_of_refresh(token).await?);
        }
        if let Some(secret) = secret {
            by_cookie.extend(api.identity.session_of_cookie(secret).await?);
        }
        if let Err(refused) = api.means_it(&headers, &by_cookie) {
            return Ok(with_token(&api, caller, refused, &by_cookie));
        }
        if let Some(token) = token {
            api.identity.logout(&token.into_token(), origin(caller)).await?;
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
    /// What this device is known by at its next login, so that strangers who guess at the account cannot keep it out; only of
    /// a login or a new password, and absent where it went into a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<&'a str>,
    /// Seconds until the access token ends, or the session if it is not used.
    expires_in: u64,
    /// `Bearer`, or `Session` for one that is kept here.
    token_type: &'static str,
}

/// Hands a server session over: nothing of it is in the body.
pub(super) fn open(api: &Api, headers: &HeaderMap, session: &ServerSession) -> Response {
    let expires_in = session.idle.min(session.life).as_secs();
    let told =
        Handed { access_token: None, refresh_token: None, device_token: None, expires_in, token_type: "Session" };
    let mut response = answer::json(StatusCode::OK, &told);
    api.set_session(&mut response, session);
    api.set_device(&mut response, headers, session.device.as_ref());
    response
}

/// Hands tokens over in the way their session began with.
pub(super) fn hand_over(api: &Api, headers: &HeaderMap, tokens: &Tokens) -> Response {
    let bare = Handed {
        access_token: None,
        refresh_token: None,
        device_token: None,
        expires_in: tokens.expires_in.as_secs(),
        token_type: "Bearer",
    };
    match tokens.delivery {
        Delivery::Body => {
            let (access, refresh) = (tokens.access.expose(), tokens.refresh.expose());
            let device_token = tokens.device.as_ref().map(|device| device.expose().as_str());
            let (access_token, refresh_token) = (Some(access.as_str()), Some(refresh.as_str()));
            answer::json(StatusCode::OK, &Handed { access_token, refresh_token, device_token, ..bare })
        }
        Delivery::Cookie => {
            let mut response = answer::json(StatusCode::OK, &bare);
            api.set_cookies(&mut response, tokens);
            api.set_device(&mut response, headers, tokens.device.as_ref());
            response
        }
    }
}
