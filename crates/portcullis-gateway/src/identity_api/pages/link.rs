//! The pages behind mailed links. Opening one changes nothing, because mail scanners open links; its button does (A5).
//!
//! Their forms need no token against other sites' pages: the link's own is a secret that no other site has, and it works in
//! whichever browser the mail is read.

use axum::http::StatusCode;
use axum::response::Response;
use maud::html;
use portcullis_core::Secret;
use portcullis_identity::{IdentityError, Origin};

use super::form::Form;
use super::{Trouble, hidden, password, see_other};
use crate::identity_api::Api;
use crate::proxy::Denied;

/// The token of a link's query; only what can be one is ever put into a page.
fn token(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("token=")).filter(|token| is_token(token))
}

fn is_token(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn incomplete(api: &Api) -> Response {
    let words = html! { p { "Please copy the whole link from the mail, or ask for another one." } };
    api.pages.page(StatusCode::BAD_REQUEST, "This link is not complete", &words)
}

fn failed(api: &Api, trouble: &Trouble, way_on: &str) -> Response {
    let body = html! {
        (trouble.shown())
        @if api.pages.enabled { p.more { a href=(way_on) { "Go on from here" } } }
    };
    let mut response = api.pages.page(trouble.status, "This link did not work", &body);
    if trouble.denied {
        response.extensions_mut().insert(Denied);
    }
    response
}

/// A page that does nothing but for its button.
struct Button<'a> {
    title: &'a str,
    words: &'a str,
    action: &'a str,
}

impl Button<'_> {
    fn page(&self, api: &Api, query: &str) -> Response {
        let Some(token) = token(query) else { return incomplete(api) };
        let body = html! {
            p { (self.words) }
            form method="post" action=(self.action) {
                (hidden("token", token))
                button { "Confirm" }
            }
            p.more { "If you did not ask for this, close this page: nothing happens without the button." }
        };
        api.pages.page(StatusCode::OK, self.title, &body)
    }
}

/// Where people sign in: here, or wherever the operator has them do so.
fn to_sign_in(api: &Api, done: &str, title: &str, words: &str) -> Response {
    if api.pages.enabled && api.cookies_allowed {
        return see_other(&format!("/auth/login?done={done}"));
    }
    api.pages.page(StatusCode::OK, title, &html! { p { (words) } })
}

/// `GET /auth/verify`
pub(in crate::identity_api) fn verify(api: &Api, query: &str) -> Response {
    let title = "Confirm your e-mail address";
    Button { title, words: "One click, and your account is ready.", action: "/auth/verify" }.page(api, query)
}

/// `POST /auth/verify` by a form.
pub(in crate::identity_api) async fn verify_form(api: &Api, body: &[u8], origin: Origin) -> Response {
    match api.identity.verify(Form::parse(body).get("token"), origin).await {
        Ok(()) => to_sign_in(api, "confirmed", "Your e-mail address is confirmed", "You can log in now."),
        Err(error) => failed(api, &Trouble::from(error), "/auth/login"),
    }
}

/// `GET /auth/confirm-email`
pub(in crate::identity_api) fn confirm_email(api: &Api, query: &str) -> Response {
    let words = "One click, and this is the address of your account.";
    Button { title: "Confirm your new e-mail address", words, action: "/auth/confirm-email" }.page(api, query)
}

/// `POST /auth/confirm-email` by a form.
pub(in crate::identity_api) async fn confirm_email_form(api: &Api, body: &[u8], origin: Origin) -> Response {
    match api.identity.confirm_email_change(Form::parse(body).get("token"), origin).await {
        Ok(()) => {
            let words = html! { p { "From now on you log in with it." } };
            api.pages.page(StatusCode::OK, "Your new e-mail address is confirmed", &words)
        }
        Err(error) => failed(api, &Trouble::from(error), "/auth/account"),
    }
}

/// `GET /auth/reset-password`
pub(in crate::identity_api) fn reset(api: &Api, query: &str) -> Response {
    match token(query) {
        Some(token) => reset_page(api, token, None),
        None => incomplete(api),
    }
}

fn reset_page(api: &Api, token: &str, trouble: Option<&Trouble>) -> Response {
    let body = html! {
        @if let Some(trouble) = trouble { (trouble.shown()) }
        form method="post" action="/auth/reset-password" {
            (hidden("token", token))
            (password("password", "New password", "new-password", trouble))
            p.hint { "A long sentence is a good password. Whoever is signed in to your account has to sign in again." }
            button { "Set the password" }
        }
    };
    api.pages.page(trouble.map_or(StatusCode::OK, |trouble| trouble.status), "Set another password", &body)
}

/// `POST /auth/reset-password` by a form.
pub(in crate::identity_api) async fn reset_form(api: &Api, body: &[u8], origin: Origin) -> Response {
    let form = Form::parse(body);
    let (token, password) = (form.get("token"), Secret::new(form.get("password").to_owned()));
    match api.identity.reset_password(token, &password, origin).await {
        Ok(()) => to_sign_in(api, "password", "The password is set", "Log in with it."),
        // The link is not spent by a password that breaks a rule.
        Err(error @ IdentityError::Invalid(_)) if is_token(token) => {
            reset_page(api, token, Some(&Trouble::from(error)))
        }
        Err(error) => failed(api, &Trouble::from(error), "/auth/forgot-password"),
    }
}
