//! The page behind the link of a verification mail (A5). Opening it changes nothing, because mail scanners open links;
//! its button does. It works without scripts and loads nothing.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::RawQuery;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::RequestId;
use schemars::JsonSchema;

use super::answer::Refused;

const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:12vh auto;padding:0 1.2rem;\
                     color:#1b1f24;background:#fff}h1{font-size:1.5rem}button{font:inherit;padding:.6rem 1.4rem;\
                     border:0;border-radius:.4rem;background:#14532d;color:#fff;cursor:pointer}\
                     small{color:#57606a}@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}}";

/// Nothing but our own style, named by its hash, and a form to ourselves.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The page with the button.
pub(super) async fn confirm(RawQuery(query): RawQuery) -> Response {
    let token = query.as_deref().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("token="));
    match token.filter(|token| is_token(token)) {
        Some(token) => page(
            StatusCode::OK,
            "Confirm your e-mail address",
            &format!(
                "<p>One click, and your account is ready.</p><form method=\"post\" action=\"/auth/verify\">\
                 <input type=\"hidden\" name=\"token\" value=\"{token}\"><button>Confirm</button></form>\
                 <p><small>If you did not ask for an account, close this page.</small></p>"
            ),
        ),
        None => page(
            StatusCode::BAD_REQUEST,
            "This link is not complete",
            "<p>Please copy the whole link from the mail, or ask for another one.</p>",
        ),
    }
}

/// The page after the button.
pub(super) fn confirmed(verified: Result<(), Refused>, id: RequestId) -> Response {
    match verified {
        Ok(()) => page(StatusCode::OK, "Your e-mail address is confirmed", "<p>You can log in now.</p>"),
        Err(refused) => {
            let status = refused.answer(id).status();
            let text = if status == StatusCode::BAD_REQUEST {
                "<p>It may be older than 24 hours, or used already. If you used it, just log in; otherwise ask for another \
                 one.</p>"
            } else {
                "<p>Please try again in a moment.</p>"
            };
            page(status, "This link did not work", text)
        }
    }
}

/// What the button of the page posts.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is only described; `form_token` reads the one member without decoding anything")]
pub(super) struct VerifyForm {
    token: String,
}

/// The token of a form as the button sends it.
pub(super) fn form_token(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let token = text.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    is_token(token).then(|| token.to_owned())
}

/// Only hexadecimal digits are ever put into a page.
fn is_token(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1>{body}</main></body></html>"
    );
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_SECURITY_POLICY, POLICY.clone()),
    ];
    (status, headers, html).into_response()
}
