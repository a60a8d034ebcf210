//! Tokens against forgery (H2): how pages get one, and the endpoints whose cookie only the accounts can read.
//!
//! The gate judges what an access token or a server session authenticates. A refresh and a logout are told whose they are by
//! a cookie that only the database knows, so they are judged here, by the same rules.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use portcullis_auth::credential;
use portcullis_core::{Principal, Reason};
use portcullis_identity::IdentityError;
use portcullis_shield::csrf::{BoundTo, Csrf, InHead, is_ambient};
use schemars::JsonSchema;
use serde::Serialize;

use super::Api;
use super::answer::{self, Refused};
use super::caller::{Caller, answered};

/// A token against forgery.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CsrfToken<'a> {
    /// Sent in the header, or in the field of a form, of every request that changes something.
    csrf_token: &'a str,
    /// The name of that header.
    header: &'a str,
    /// The name of that field.
    field: &'a str,
    /// Seconds until it is good no more.
    expires_in: u64,
}

/// `GET /auth/csrf`: for pages that cannot read the cookie, and for those that come back when everything but the refresh
/// token has expired.
pub(super) async fn token(
    State(api): State<Arc<Api>>,
    caller: Caller,
    principal: Option<Extension<Arc<Principal>>>,
    headers: HeaderMap,
) -> Response {
    answered(caller, async {
        let csrf = api.csrf();
        let nothing = |why| Refused::new(StatusCode::NOT_FOUND, "Not found", "not_found").with_detail(why);
        if !csrf.rules().token {
            return Err(nothing("this service asks for no tokens of this kind"));
        }
        match &principal {
            Some(Extension(principal)) if is_ambient(Some(principal)) => {
                return answer(&api, &csrf, BoundTo::of(principal));
            }
            Some(_) => return Err(nothing("only sessions in cookies need one; what you presented does not")),
            None => {}
        }
        let held = credential::cookie(&headers, api.cookies.refresh()).ok().flatten();
        let session = match held {
            Some(refresh) => api.identity.session_of_refresh(refresh).await?,
            None => None,
        };
        let nobody = Refused::new(StatusCode::UNAUTHORIZED, "Authentication required", "authentication_required");
        answer(&api, &csrf, BoundTo::own(&session.ok_or(nobody)?))
    })
    .await
}

fn answer(api: &Api, csrf: &Csrf, to: BoundTo<'_>) -> Result<Response, Refused> {
    let token = csrf.issue(to, api.identity.clock_now()).ok_or(IdentityError::Crypto)?;
    let rules = csrf.rules();
    let (header, field, expires_in) = (rules.header.as_str(), &*rules.field, rules.life.as_secs());
    let mut response = answer::json(StatusCode::OK, &CsrfToken { csrf_token: &token, header, field, expires_in });
    put(api, &mut response, &token, expires_in);
    Ok(response)
}

fn put(api: &Api, response: &mut Response, token: &str, life: u64) {
    if let Some(cookie) = api.cookies.set(api.cookies.csrf(), token, life) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

impl Api {
    /// The rules of the moment, with their key.
    pub(super) fn csrf(&self) -> Arc<Csrf> {
        self.csrf.load_full()
    }

    /// Hands a session its first token, or its next.
    pub(super) fn set_csrf(&self, response: &mut Response, session: &str) {
        let csrf = self.csrf();
        if !csrf.rules().token {
            return;
        }
        if let Some(token) = csrf.issue(BoundTo::own(session), self.identity.clock_now()) {
            put(self, response, &token, csrf.rules().life.as_secs());
        }
    }

    /// The field and the token that a form of our own pages needs beside its own; `None` where nobody asks for it.
    pub(super) fn form_token(&self, principal: &Principal) -> Option<(Box<str>, String)> {
        let csrf = self.csrf();
        if !csrf.rules().token || !is_ambient(Some(principal)) {
            return None;
        }
        let token = csrf.issue(BoundTo::of(principal), self.identity.clock_now())?;
        Some((csrf.rules().field.clone(), token))
    }

    /// Whether a request may do something to one of these sessions, which only its cookies name: it must bring a token of one
    /// of them. Where they name no living session there is nothing to protect.
    pub(super) fn means_it(&self, headers: &HeaderMap, sessions: &[String]) -> Result<(), Refused> {
        let csrf = self.csrf();
        if !csrf.rules().token {
            return Ok(());
        }
        let now = self.identity.clock_now();
        let mut judged =
            sessions.iter().map(|session| match csrf.check_head(headers, None, BoundTo::own(session), now) {
                Ok(InHead::Good) => Ok(()),
                // These endpoints read no token from a form.
                Ok(InHead::MaybeInForm) => Err(Reason::MissingCsrfToken),
                Err(reason) => Err(reason),
            });
        let Some(first) = judged.next() else { return Ok(()) };
        let judged = judged.fold(first, Result::or);
        judged.map_err(|reason| {
            let (error, slug) = match reason {
                Reason::InvalidCsrfToken => ("Invalid CSRF token", "invalid_csrf_token"),
                _ => ("Missing CSRF token", "missing_csrf_token"),
            };
            Refused::new(StatusCode::FORBIDDEN, error, slug)
                .with_detail("send a token of your session in its header; the cookie beside it has one, and GET /auth/csrf gives one")
        })
    }
}
