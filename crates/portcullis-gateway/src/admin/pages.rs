//! The few pages for a person. They have no script and load nothing but their style sheet.

use axum::extract::{Form, State};
use axum::http::header::{CONTENT_TYPE, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use schemars::JsonSchema;
use serde::Deserialize;

use super::token::{SESSION_COOKIE, SESSION_TTL};
use super::{Access, ENDPOINTS, Shared};

const STYLE: &str = "\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}\
body{max-width:46rem;margin:2rem auto;padding:0 1rem}\
pre{overflow-x:auto;padding:.75rem;border:1px solid #8886;border-radius:.4rem;white-space:pre-wrap;word-break:break-word}\
article{margin:1.5rem 0;border-top:1px solid #8886}\
input,button{font:inherit;padding:.4rem .6rem}\
input{width:100%;box-sizing:border-box;margin:.3rem 0 .8rem}\
.wrong{color:#c22}\n";

/// A whole page around a body that is markup already.
pub(super) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{} · Portcullis</title><link rel=\"stylesheet\" href=\"/style.css\">\
         </head><body>{body}</body></html>\n",
        escape(title)
    )
}

/// Text as markup that shows it.
pub(super) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, character| {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
        out
    })
}

pub(super) async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

pub(super) async fn index(State(admin): Shared) -> Html<String> {
    let mut list = String::from("<h1>Portcullis</h1><ul>");
    for endpoint in ENDPOINTS.iter().filter(|endpoint| !endpoint.about.is_empty()) {
        if endpoint.path().starts_with("/mail") && admin.mails.is_none() {
            continue;
        }
        let note = if endpoint.access == Access::Open { " (open)" } else { "" };
        list.push_str(&format!("<li><a href=\"{0}\">{0}</a>{note}: {1}</li>", endpoint.path(), escape(endpoint.about)));
    }
    list.push_str("</ul><form method=\"post\" action=\"/logout\"><button>Log out everywhere</button></form>");
    Html(page("Admin", &list))
}

pub(super) async fn login() -> Html<String> {
    Html(login_page(""))
}

fn login_page(note: &str) -> String {
    page(
        "Log in",
        &format!(
            "<h1>Portcullis</h1>{note}<form method=\"post\" action=\"/login\"><label>Operator token \
             <input type=\"password\" name=\"token\" autocomplete=\"current-password\" required autofocus></label>\
             <button>Log in</button></form><p>It is in the file <code>admin-token</code> of the state directory, or in \
             the configuration.</p>"
        ),
    )
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OperatorLogin")]
pub(super) struct Login {
    /// The operator's token.
    token: String,
}

/// `POST /login`: the token for a session cookie. The cookie holds no token, so what a browser leaks is not one.
pub(super) async fn log_in(State(admin): Shared, headers: HeaderMap, Form(form): Form<Login>) -> Response {
    if !admin.token.is(form.token.trim()) {
        admin.metrics.admin_login_failures.add(1);
        let note = "<p class=\"wrong\">That is not the token.</p>";
        return (StatusCode::UNAUTHORIZED, Html(login_page(note))).into_response();
    }
    // On plain HTTP a browser would not send a `Secure` cookie back. Behind a proxy with TLS the browser itself tells.
    let secure = headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let cookie = format!(
        "{SESSION_COOKIE}={}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}{}",
        admin.sessions.open(admin.clock.now()),
        SESSION_TTL.as_secs(),
        if secure { "; Secure" } else { "" }
    );
    ([(SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}

/// `POST /logout`: ends every session, here and in other browsers.
pub(super) async fn log_out(State(admin): Shared) -> Response {
    admin.sessions.end_all();
    let cookie = format!("{SESSION_COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    ([(SET_COOKIE, cookie)], Redirect::to("/login")).into_response()
}
