//! The OpenAPI document of the admin listener, `GET /openapi.json`.

mod api;
mod pages;
mod reputation;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Access, ENDPOINTS, Endpoint, SESSION_COOKIE, Shared};
use crate::openapi::{self, Frame, Operation};

/// Every row.
const TABLES: &[&[Operation]] = &[pages::OPERATIONS, api::OPERATIONS, reputation::OPERATIONS];

/// `GET /openapi.json`.
pub(super) async fn serve(State(admin): Shared) -> Response {
    ([(CONTENT_TYPE, "application/json")], admin.document.clone()).into_response()
}

/// The document.
pub(super) fn document() -> Value {
    let frame = Frame {
        title: "Portcullis admin API",
        about: "What an operator may do. It is served on the admin listener only. Every refusal is a problem of RFC 9457.",
        schemes: json!({
            "operatorToken": {
                "type": "http",
                "scheme": "bearer",
                "description": "The token in the file admin-token of the state directory, or in the configuration.",
            },
            "operatorSession": {
                "type": "apiKey",
                "in": "cookie",
                "name": SESSION_COOKIE,
                "description": "What POST /login gives a browser. A page of another site that makes it send a request \
                                that changes something is refused.",
            },
        }),
        security: &|row| match access(row) {
            Access::Open => json!([]),
            Access::Loopback => json!([{}, { "operatorToken": [] }, { "operatorSession": [] }]),
            Access::Operator => json!([{ "operatorToken": [] }, { "operatorSession": [] }]),
        },
        before: &guard,
        headers: &[("X-Request-Id", "The name of this request, also in the audit trail.")],
    };
    openapi::document(&frame, &openapi::rows(described().map(|endpoint| endpoint.pattern), TABLES))
}

/// What is described: all but the clock of builds that are made for tests only.
fn described() -> impl Iterator<Item = &'static Endpoint> {
    ENDPOINTS.iter().filter(|endpoint| endpoint.path() != "/test-clock")
}

fn access(row: &Operation) -> Access {
    let known = ENDPOINTS.iter().find(|endpoint| endpoint.pattern == row.pattern);
    known.map_or(Access::Operator, |endpoint| endpoint.access)
}

/// What the guard may answer before an endpoint sees the request, or where one does not answer in time.
fn guard(row: &Operation) -> Vec<(u16, &'static str)> {
    let mut answers = vec![
        (400, "The request has not exactly one `Host`, or a target in another form than that of an origin."),
        (408, "It took too long."),
        (421, "The `Host` is not one that is served here."),
        (431, "The head is too large."),
    ];
    if access(row) != Access::Open {
        answers.push((401, "Nothing proves an operator, or a token that is not the operator's."));
    }
    if !matches!(row.parts().0, "GET" | "HEAD") {
        answers.push((403, "A page of another site made a browser send it."));
        answers.push((413, "The body is too large."));
    }
    if row.parts().1.starts_with("/api/") {
        answers.push((404, "There are no accounts: they are turned off in the configuration."));
        answers.push((503, "The database is away, or too much is waiting."));
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_described_and_nothing_else() {
        let patterns: Vec<_> = described().map(|endpoint| endpoint.pattern).collect();
        openapi::assert_complete(&patterns, TABLES);
    }

    #[test]
    fn an_operation_asks_what_its_endpoint_asks() {
        let document = document();
        for endpoint in described() {
            let (method, path) = endpoint.pattern.split_once(' ').unwrap();
            let asks = document["paths"][path][method.to_ascii_lowercase()]["security"].as_array().unwrap();
            let anybody = asks.is_empty() || asks.contains(&json!({}));
            assert_eq!(anybody, endpoint.access != Access::Operator, "{}", endpoint.pattern);
        }
    }
}
