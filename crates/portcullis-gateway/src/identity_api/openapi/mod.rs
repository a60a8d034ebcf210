//! The OpenAPI document of the identity endpoints, `GET /auth/openapi.json`. A noun's words stand in a file of its own;
//! an endpoint that no row describes fails the tests.

mod account;
mod api_keys;
mod forms;
mod pages;
mod password;
mod session;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use portcullis_auth::CookieNames;
use serde_json::{Value, json};

use super::{Api, ENDPOINTS, Need};
use crate::openapi::{self, Frame, Operation};

/// Every row.
const TABLES: &[&[Operation]] =
    &[account::OPERATIONS, password::OPERATIONS, session::OPERATIONS, api_keys::OPERATIONS, pages::OPERATIONS];

const UNREADABLE: (u16, &str) = (400, "The body is not what this endpoint reads.");
const BAD_MEDIA: (u16, &str) = (415, "The body is in no media type that this endpoint reads.");
const CROSS_SITE: (u16, &str) = (403, "A page of another site sent it.");
const NO_TOKEN: (u16, &str) = (403, "A cookie names the session, and no token of it came along.");
const BAD_LINK: (u16, &str) = (400, "The token is not good, or not good any more.");
const RULES: (u16, &str) = (400, "Something breaks a rule; `details` names every one.");
const WRONG_PASSWORD: (u16, &str) = (403, "The present password is wrong.");
const NO_MAIL: (u16, &str) = (403, "Mail is turned off, so that nothing can be confirmed by one.");

/// `GET /auth/openapi.json`.
pub(super) async fn serve(State(api): State<Arc<Api>>) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")];
    (headers, api.document.clone()).into_response()
}

/// The document, with the names that cookies have here.
pub(super) fn document(cookies: &CookieNames) -> Value {
    let frame = Frame {
        title: "Portcullis identity API",
        about: "Accounts, logins and tokens. Every refusal is a problem of RFC 9457 whose member `error` says in one \
                line what to show a person.",
        schemes: json!({
            "accessToken": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "The access token of a login.",
            },
            "accessCookie": {
                "type": "apiKey",
                "in": "cookie",
                "name": cookies.access(),
                "description": "The access token of a login that asked for cookies. A page of another site that makes a \
                                browser send it is refused, and what changes something needs the token of \
                                `GET /auth/csrf` beside it.",
            },
            "sessionCookie": {
                "type": "apiKey",
                "in": "cookie",
                "name": cookies.session(),
                "description": "The session of a login that asked for one. A page of another site that makes a browser \
                                send it is refused, and what changes something needs the token of `GET /auth/csrf` \
                                beside it.",
            },
            "apiKey": {
                "type": "apiKey",
                "in": "header",
                "name": "X-API-Key",
                "description": "A program's key. It manages no account: it may only read whose it is.",
            },
        }),
        security: &|row| match need(row) {
            // A credential that is presented nevertheless is not looked at.
            Need::Nothing => json!([]),
            Need::Optional => json!([{}, { "accessToken": [] }, { "accessCookie": [] }, { "sessionCookie": [] }]),
            Need::Login if row.pattern == "GET /auth/me" => {
                json!([{ "accessToken": [] }, { "accessCookie": [] }, { "sessionCookie": [] }, { "apiKey": [] }])
            }
            Need::Login => json!([{ "accessToken": [] }, { "accessCookie": [] }, { "sessionCookie": [] }]),
        },
        before: &gate,
        headers: HEADERS,
    };
    openapi::document(&frame, &openapi::rows(ENDPOINTS.iter().map(|endpoint| endpoint.pattern), TABLES))
}

/// What an operation asks of a caller; the most where nobody says.
fn need(row: &Operation) -> Need {
    ENDPOINTS.iter().find(|endpoint| endpoint.pattern == row.pattern).map_or(Need::Login, |endpoint| endpoint.need)
}

/// What the gate may answer before an endpoint sees the request, or where one does not answer in time.
fn gate(row: &Operation) -> Vec<(u16, &'static str)> {
    let mut answers = vec![
        (400, "The head or the target can be read in more than one way."),
        (403, "The address is blocked."),
        (408, "The request did not arrive in time."),
        (413, "The body is too large."),
        (414, "The target is too long."),
        (417, "An expectation that nobody here meets."),
        (429, "A limit is reached."),
        (431, "The head is too large."),
        (500, "A part of this process failed."),
        (503, "The process is overloaded, or the database is away."),
    ];
    if need(row) != Need::Nothing {
        answers.push((401, "No access token, or one that is not good, not good any more, or revoked."));
        answers.push((403, "A page of another site made a browser send its cookie."));
        if !row.pattern.starts_with("GET ") {
            answers.push((
                403,
                "A cookie authenticates it, and no token against forgery came along, or one that is not good.",
            ));
        }
        answers.push((403, "An API key proves a program, which manages no account."));
        answers.push((404, "The identity comes from another issuer, or its account is gone."));
    }
    if row.pattern.contains('{') {
        answers.push((404, "There is no such thing, or it is not the caller's."));
    }
    answers
}

const HEADERS: &[(&str, &str)] = &[
    ("X-Request-Id", "The name of this request in the operator's records."),
    ("X-RateLimit-Limit", "How many requests the tightest limit of this route admits in its window."),
    ("X-RateLimit-Remaining", "How many of them are left."),
    ("X-RateLimit-Reset", "When they are all there again, in seconds since 1970."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_described_and_nothing_else() {
        let patterns: Vec<_> = ENDPOINTS.iter().map(|endpoint| endpoint.pattern).collect();
        openapi::assert_complete(&patterns, TABLES);
    }

    #[test]
    fn an_operation_asks_what_its_endpoint_asks() {
        let document = document(&CookieNames::new(true));
        for endpoint in ENDPOINTS {
            let (method, path) = endpoint.pattern.split_once(' ').unwrap();
            let operation = &document["paths"][path][method.to_ascii_lowercase()];
            let asks = operation["security"].as_array().unwrap();
            assert_eq!(asks.is_empty(), endpoint.need == Need::Nothing, "{endpoint:?}");
            assert_eq!(asks.contains(&json!({})), endpoint.need == Need::Optional, "{endpoint:?}");
            assert!(operation["responses"].get("401").is_some() || asks.is_empty(), "{endpoint:?}");
        }
        assert_eq!(document["components"]["securitySchemes"]["accessCookie"]["name"], "__Host-portcullis_access");
    }
}
