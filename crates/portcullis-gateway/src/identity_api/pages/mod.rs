//! The hosted pages: sign in, sign up, a forgotten password, the links of mails, one's own account. They work without
//! scripts and load nothing; what they show of strangers is escaped by the template.
//!
//! A page is at the path of the endpoint that its form is sent to, so that whatever limits the one limits the other.

mod account;
mod enter;
mod form;
mod link;
mod redirect;
mod refused;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE,
    WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use portcullis_identity::{Identity, IdentityError, Violation};

use super::Api;
use super::answer::Refused;
use crate::config::PageSettings;
pub(super) use account::{change_password, end_session, show as account, sign_out, sign_out_everywhere};
pub(super) use enter::{forgot, forgot_form, register, register_form, resend_form, sign_in, sign_in_form};
use form::Seal;
pub(super) use link::{confirm_email, confirm_email_form, reset, reset_form, verify, verify_form};
use redirect::Targets;
pub(crate) use refused::{instead_of, is_for_a_person};

const STYLE: &str = include_str!("style.css");

/// What the pages are made of.
#[derive(Debug)]
pub(super) struct Pages {
    /// Whether people may sign in and up here. The pages behind mailed links are there in any case.
    pub(super) enabled: bool,
    name: String,
    targets: Targets,
    seal: Seal,
    /// `form-action` of the policy: a browser applies it to where a form's answer leads, too.
    form_action: String,
}

impl Pages {
    pub(super) fn new(settings: &PageSettings, origin: &str, identity: &Identity) -> Self {
        let targets = Targets::new(&settings.after_login, &settings.redirects);
        let form_action = format!("'self'{}", targets.origins().map(|origin| format!(" {origin}")).collect::<String>());
        let host = origin.split_once("://").map_or(origin, |(_, host)| host);
        let name = settings.name.as_deref().unwrap_or(host).to_owned();
        Self { enabled: settings.enabled, name, targets, seal: Seal::new(identity.form_key()), form_action }
    }

    /// A whole page.
    fn page(&self, status: StatusCode, title: &str, body: &Markup) -> Response {
        let (page, fixed) = document(Some(&self.name), status, title, body, &self.form_action);
        let mut response = (status, page).into_response();
        let headers = response.headers_mut();
        for (name, value) in fixed {
            headers.insert(name, value);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// A page with a form, which gets its hidden token and, where the browser has none, the cookie it is bound to.
    fn with_form(
        &self,
        api: &Api,
        headers: &HeaderMap,
        status: StatusCode,
        title: &str,
        body: impl FnOnce(&str) -> Markup,
    ) -> Response {
        let (binding, is_new) = form::binding(headers, &api.cookies);
        let token = self.seal.token(&binding, api.identity.clock_now());
        let mut response = self.page(status, title, &body(&token));
        if is_new && let Some(cookie) = api.cookies.set(api.cookies.form(), &binding, form::BINDING_LIFE) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }
}

/// A whole document, and the headers that belong to it.
fn document(
    name: Option<&str>,
    status: StatusCode,
    title: &str,
    body: &Markup,
    form_action: &str,
) -> (String, [(HeaderName, HeaderValue); 3]) {
    let nonce = STANDARD.encode(rand::random::<[u8; 16]>());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="robots" content="noindex";
                meta name="color-scheme" content="light dark";
                // An icon of its own, or the browser asks the API behind the gate for one.
                link rel="icon" href="data:,";
                title { @if status.is_client_error() { "Error: " } (title) @if let Some(name) = name { " · " (name) } }
                style nonce=(nonce) { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    @if let Some(name) = name { p.brand { (name) } }
                    h1 { (title) }
                    (body)
                }
            }
        }
    };
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; form-action {form_action}; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    let closed = HeaderValue::from_static("default-src 'none'");
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy).unwrap_or(closed)),
        // The address of a page behind a link holds the link's token, which not even the API of the same origin may see. Not
        // "no-referrer": with that a browser sends forms with "Origin: null" (Fetch §3.2).
        (REFERRER_POLICY, HeaderValue::from_static("strict-origin")),
    ];
    (page.into_string(), headers)
}

/// Sends the browser elsewhere with a GET, so that a form is not sent again by a reload.
fn see_other(target: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    // Targets are checked; one that is no header value leads home.
    let target = HeaderValue::try_from(target).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, target);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What went wrong with a form, in a person's words.
struct Trouble {
    status: StatusCode,
    words: Vec<String>,
    /// The inputs that it is about.
    fields: Vec<&'static str>,
    /// Whether a link was wrong, which the status code does not say.
    denied: bool,
}

impl Trouble {
    fn new(status: StatusCode, words: &str) -> Self {
        Self { status, words: vec![words.to_owned()], fields: Vec::new(), denied: false }
    }

    /// Whether an input is one of those that it is about.
    fn marks(trouble: Option<&Self>, field: &str) -> bool {
        trouble.is_some_and(|trouble| trouble.fields.contains(&field))
    }

    /// Another site's page, or no page at all, sent it.
    fn foreign(origin: &str) -> Self {
        let words = format!("This form did not come from {origin}. Please open that address and fill it in there.");
        Self::new(StatusCode::FORBIDDEN, &words)
    }

    fn too_old() -> Self {
        Self::new(StatusCode::FORBIDDEN, "This page was open for too long. Please send the form once more.")
    }

    /// The box above a form, announced to whoever cannot see it.
    fn shown(&self) -> Markup {
        html! {
            // The first thing that a screen reader says, and where the keyboard goes on from.
            div.trouble #trouble role="alert" tabindex="-1" autofocus {
                @if let [one] = self.words.as_slice() {
                    p { (one) }
                } @else {
                    ul { @for words in &self.words { li { (words) } } }
                }
            }
        }
    }
}

impl From<IdentityError> for Trouble {
    fn from(error: IdentityError) -> Self {
        use IdentityError as E;
        let words = match &error {
            E::Invalid(broken) => broken.iter().map(in_words).collect(),
            E::InvalidCredentials => vec!["The e-mail address or the password is wrong.".to_owned()],
            E::NotVerified => vec!["This address is not confirmed yet: open the link in the mail we sent.".to_owned()],
            E::Disabled => vec!["This account is disabled.".to_owned()],
            E::InvalidLink | E::InvalidVerification => {
                vec!["This link is too old or was used already. Please ask for another one.".to_owned()]
            }
            E::WrongPassword => vec!["The present password is wrong.".to_owned()],
            E::RegistrationClosed => vec!["New accounts are made by whoever runs this service.".to_owned()],
            E::NoMail => vec!["This service sends no mail. Please ask whoever runs it.".to_owned()],
            _ => vec!["Something is busy or away. Please try again in a moment.".to_owned()],
        };
        let fields = match &error {
            E::Invalid(broken) => broken.iter().map(|broken| broken.field).collect(),
            E::WrongPassword => vec!["currentPassword"],
            _ => Vec::new(),
        };
        // The status, and the log where that is due, are those of the JSON endpoints.
        let refused = Refused::from(error);
        Self { status: refused.status(), words, fields, denied: refused.is_denied() }
    }
}

/// One broken rule as a sentence.
fn in_words(broken: &Violation) -> String {
    let field = match broken.field {
        "email" => "The e-mail address",
        "name" => "The name",
        "password" => "The password",
        other => other,
    };
    let mut rule = broken.message.chars();
    let first = rule.next().into_iter().flat_map(char::to_lowercase);
    format!("{field} {}.", first.chain(rule).collect::<String>())
}

/// A labelled input.
struct Input<'a> {
    name: &'a str,
    label: &'a str,
    kind: &'a str,
    autocomplete: &'a str,
    value: &'a str,
    required: bool,
    /// Whether what was sent in it was wrong.
    wrong: bool,
}

impl Input<'_> {
    fn shown(&self) -> Markup {
        html! {
            label for=(self.name) { (self.label) }
            input id=(self.name) name=(self.name) type=(self.kind) autocomplete=(self.autocomplete) value=(self.value)
                required[self.required] autocapitalize="none" spellcheck="false"
                aria-invalid=[self.wrong.then_some("true")] aria-describedby=[self.wrong.then_some("trouble")];
        }
    }
}

fn email(value: &str, trouble: Option<&Trouble>) -> Markup {
    let wrong = Trouble::marks(trouble, "email");
    let (label, kind, autocomplete) = ("E-mail address", "email", "username");
    Input { name: "email", label, kind, autocomplete, value, required: true, wrong }.shown()
}

fn password(name: &str, label: &str, autocomplete: &str, trouble: Option<&Trouble>) -> Markup {
    // The rules speak of the new password, whatever its input is called.
    let wrong = Trouble::marks(trouble, name) || (name == "newPassword" && Trouble::marks(trouble, "password"));
    Input { name, label, kind: "password", autocomplete, value: "", required: true, wrong }.shown()
}

fn hidden(name: &str, value: &str) -> Markup {
    html! { input type="hidden" name=(name) value=(value); }
}
