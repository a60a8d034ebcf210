//! Signing in and up, and asking for a mail.

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use portcullis_core::Secret;
use portcullis_identity::{Credentials, Delivery, IdentityError, Origin, Registration};

use super::form;
use super::{Input, Trouble, email, hidden, password, see_other};
use crate::identity_api::Api;
use crate::identity_api::caller::agent;
use crate::identity_api::login::end_former;

/// What a form shows that was sent and came back.
#[derive(Default)]
struct Again<'a> {
    trouble: Option<Trouble>,
    email: &'a str,
    name: &'a str,
    next: &'a str,
    done: Option<&'static str>,
    /// Whether another mail to confirm the address may help.
    unconfirmed: bool,
}

impl Again<'_> {
    fn status(&self) -> StatusCode {
        self.trouble.as_ref().map_or(StatusCode::OK, |trouble| trouble.status)
    }

    fn told(&self) -> Markup {
        html! {
            @if let Some(words) = self.done { p.done role="status" { (words) } }
            @if let Some(trouble) = &self.trouble { (trouble.shown()) }
        }
    }
}

/// `GET /auth/login`
pub(in crate::identity_api) fn sign_in(api: &Api, headers: &HeaderMap, query: &str) -> Response {
    let query = form::Form::parse(query.as_bytes());
    let done = match query.get("done") {
        "signed-out" => Some("You are signed out."),
        "password" => Some("The password is set. Sign in with it."),
        "device" => Some("This device can sign in now."),
        "confirmed" => Some("Your e-mail address is confirmed. You can sign in now."),
        _ => None,
    };
    sign_in_page(api, headers, &Again { next: query.get("next"), done, ..Again::default() })
}

fn sign_in_page(api: &Api, headers: &HeaderMap, again: &Again<'_>) -> Response {
    if !api.cookies_allowed {
        let words = "Signing in needs an address that begins with https. Whoever runs this service can set it.";
        return api.pages.page(StatusCode::NOT_FOUND, "Sign in", &html! { p { (words) } });
    }
    api.pages.with_form(api, headers, again.status(), "Sign in", |token| {
        html! {
            (again.told())
            @if again.unconfirmed {
                form method="post" action="/auth/resend-verification" {
                    (hidden("csrf", token))
                    (hidden("email", again.email))
                    button.quiet { "Send the mail once more" }
                }
            }
            form method="post" action="/auth/login" {
                (hidden("csrf", token))
                @if !again.next.is_empty() { (hidden("next", again.next)) }
                (email(again.email, again.trouble.as_ref()))
                (password("password", "Password", "current-password", again.trouble.as_ref()))
                button { "Sign in" }
            }
            @if api.identity.config().mail {
                p.more { a href="/auth/forgot-password" { "Forgot your password?" } }
            }
            @if api.identity.config().registration {
                p.more { "No account yet? " a href="/auth/register" { "Sign up" } }
            }
        }
    })
}

/// `POST /auth/login` by a form: a server session, so that there is nothing to refresh and a sign-out is at once.
pub(in crate::identity_api) async fn sign_in_form(
    api: &Api,
    headers: &HeaderMap,
    body: &[u8],
    origin: Origin,
) -> Response {
    let (form, own) = form::own(api, headers, body);
    let again = |trouble: Trouble, unconfirmed: bool| {
        let (email, next) = (form.get("email"), form.get("next"));
        sign_in_page(api, headers, &Again { trouble: Some(trouble), email, next, unconfirmed, ..Again::default() })
    };
    if let Err(trouble) = own {
        return again(trouble, false);
    }
    if !api.cookies_allowed {
        return sign_in_page(api, headers, &Again::default());
    }
    let credentials = Credentials {
        email: form.get("email").to_owned(),
        password: Secret::new(form.get("password").to_owned()),
        delivery: Delivery::Cookie,
        agent: agent(headers),
        device: api.device(headers).map(str::to_owned),
    };
    let session = match api.identity.open_session(&credentials, origin).await {
        Ok(session) => session,
        Err(error) => {
            let unconfirmed = matches!(error, IdentityError::NotVerified);
            let wait = if let IdentityError::TooManyAttempts(exhausted) = &error { Some(*exhausted) } else { None };
            let mut trouble = Trouble::from(error);
            let config = api.identity.config();
            if wait.is_some() && config.mail && config.lockout.is_some_and(|lockout| lockout.notice) {
                // Said to everybody alike, whether or not there is an account.
                trouble.words.push(
                    "If it is your account, look into your mail: a link there lets this device in at once.".to_owned(),
                );
            }
            let mut response = again(trouble, unconfirmed);
            if let Some(wait) = wait {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.seconds()));
            }
            return response;
        }
    };
    if let Err(error) = end_former(api, headers, origin).await {
        tracing::warn!(?error, "the session before a sign-in could not be ended");
    }
    let mut response = see_other(api.pages.targets.choose(form.get("next")));
    api.set_session(&mut response, &session);
    api.set_device(&mut response, headers, session.device.as_ref());
    response
}

/// `GET /auth/register`
pub(in crate::identity_api) fn register(api: &Api, headers: &HeaderMap) -> Response {
    register_page(api, headers, &Again::default())
}

fn register_page(api: &Api, headers: &HeaderMap, again: &Again<'_>) -> Response {
    if !api.identity.config().registration {
        let closed = Trouble::from(IdentityError::RegistrationClosed);
        return api.pages.page(closed.status, "Sign up", &closed.shown());
    }
    let name = Input {
        name: "name",
        label: "Name (optional)",
        kind: "text",
        autocomplete: "name",
        value: again.name,
        required: false,
        wrong: Trouble::marks(again.trouble.as_ref(), "name"),
    };
    api.pages.with_form(api, headers, again.status(), "Sign up", |token| {
        html! {
            (again.told())
            form method="post" action="/auth/register" {
                (hidden("csrf", token))
                (name.shown())
                (email(again.email, again.trouble.as_ref()))
                (password("password", "Password", "new-password", again.trouble.as_ref()))
                p.hint { "A long sentence is a good password." }
                button { "Sign up" }
            }
            p.more { "You have an account? " a href="/auth/login" { "Sign in" } }
        }
    })
}

/// `POST /auth/register` by a form.
pub(in crate::identity_api) async fn register_form(
    api: &Api,
    headers: &HeaderMap,
    body: &[u8],
    origin: Origin,
) -> Response {
    let (form, own) = form::own(api, headers, body);
    let registered = match own {
        Ok(()) => {
            let name = form.get("name").trim();
            let registration = Registration {
                email: form.get("email").to_owned(),
                password: Secret::new(form.get("password").to_owned()),
                name: (!name.is_empty()).then(|| name.to_owned()),
            };
            api.identity.register(registration, origin).await.map_err(Trouble::from)
        }
        Err(trouble) => Err(trouble),
    };
    match registered {
        Ok(()) => in_your_mail(api, "If this address is new here, a mail with a link to confirm it is on its way."),
        Err(trouble) => {
            let (email, name) = (form.get("email"), form.get("name"));
            register_page(api, headers, &Again { trouble: Some(trouble), email, name, ..Again::default() })
        }
    }
}

/// `GET /auth/forgot-password`
pub(in crate::identity_api) fn forgot(api: &Api, headers: &HeaderMap) -> Response {
    forgot_page(api, headers, &Again::default())
}

fn forgot_page(api: &Api, headers: &HeaderMap, again: &Again<'_>) -> Response {
    api.pages.with_form(api, headers, again.status(), "Forgot your password?", |token| {
        html! {
            (again.told())
            p { "We mail you a link to set another one." }
            form method="post" action="/auth/forgot-password" {
                (hidden("csrf", token))
                (email(again.email, again.trouble.as_ref()))
                button { "Send the link" }
            }
            p.more { a href="/auth/login" { "Back to sign in" } }
        }
    })
}

/// `POST /auth/forgot-password` by a form.
pub(in crate::identity_api) async fn forgot_form(
    api: &Api,
    headers: &HeaderMap,
    body: &[u8],
    origin: Origin,
) -> Response {
    let (form, own) = form::own(api, headers, body);
    let asked = match own {
        Ok(()) => api.identity.forgot_password(form.get("email"), origin).await.map_err(Trouble::from),
        Err(trouble) => Err(trouble),
    };
    match asked {
        Ok(()) => in_your_mail(api, "If this address has an account, a mail with a link is on its way."),
        Err(trouble) => {
            let again = Again { trouble: Some(trouble), email: form.get("email"), ..Again::default() };
            forgot_page(api, headers, &again)
        }
    }
}

/// `POST /auth/resend-verification` by a form.
pub(in crate::identity_api) async fn resend_form(
    api: &Api,
    headers: &HeaderMap,
    body: &[u8],
    origin: Origin,
) -> Response {
    let (form, own) = form::own(api, headers, body);
    let asked = match own {
        Ok(()) => api.identity.resend_verification(form.get("email"), origin).await.map_err(Trouble::from),
        Err(trouble) => Err(trouble),
    };
    match asked {
        Ok(()) => in_your_mail(api, "If a registration of this address waits to be confirmed, a mail is on its way."),
        Err(trouble) => {
            let again = Again { trouble: Some(trouble), email: form.get("email"), ..Again::default() };
            sign_in_page(api, headers, &again)
        }
    }
}

fn in_your_mail(api: &Api, words: &str) -> Response {
    let body = html! {
        p { (words) }
        p.more { a href="/auth/login" { "Back to sign in" } }
    };
    api.pages.page(StatusCode::ACCEPTED, "Look into your mail", &body)
}
