//! Answers: JSON, and problem details of the same shape as the gate's.

use axum::Extension;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_core::{PROBLEM_JSON, RequestId};
use portcullis_identity::{IdentityError, Violation};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::proxy::Denied;

/// A refusal: what the client is told. What the operator needs to know beside it goes to the log.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    error: &'static str,
    slug: &'static str,
    detail: Option<String>,
    details: Vec<Violation>,
    /// Whether a credential was wrong and the status code does not say so.
    denied: bool,
}

impl Refused {
    pub(crate) const fn new(status: StatusCode, error: &'static str, slug: &'static str) -> Self {
        Self { status, error, slug, detail: None, details: Vec::new(), denied: false }
    }

    pub(crate) fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// Of a credential that is wrong.
    fn denied(self) -> Self {
        Self { denied: true, ..self }
    }

    /// Whether a credential was wrong and the status code does not say so.
    pub(crate) const fn is_denied(&self) -> bool {
        self.denied
    }

    /// Its status code.
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer to one request.
    pub(crate) fn answer(self, id: RequestId) -> Response {
        let mut body = json!({
            "type": format!("urn:portcullis:problem:{}", self.slug),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "error": self.error,
            "request_id": id.to_string(),
        });
        if let Some(detail) = self.detail {
            body["detail"] = detail.into();
        }
        if !self.details.is_empty() {
            let rule = |violation: &Violation| json!({ "field": violation.field, "message": violation.message });
            body["details"] = self.details.iter().map(rule).collect();
        }
        let mut response = json_with(self.status, &body, PROBLEM_JSON);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.denied {
            response.extensions_mut().insert(Denied);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<IdentityError> for Refused {
    fn from(error: IdentityError) -> Self {
        use IdentityError as E;
        match error {
            E::Invalid(details) => {
                Self { details, ..Self::new(StatusCode::BAD_REQUEST, "Validation failed", "validation_failed") }
            }
            E::InvalidCredentials => Self::new(StatusCode::UNAUTHORIZED, "Invalid credentials", "invalid_credentials"),
            E::NotVerified => Self::new(StatusCode::FORBIDDEN, "Email not verified", "not_verified")
                .with_detail("open the link in the mail we sent, or resend it with POST /auth/resend-verification"),
            E::Disabled => Self::new(StatusCode::FORBIDDEN, "Account disabled", "account_disabled"),
            E::InvalidVerification => {
                let error = "Invalid or expired verification token";
                Self::new(StatusCode::BAD_REQUEST, error, "invalid_verification_token").denied().with_detail(
                    "ask for another link with POST /auth/resend-verification, or log in if you used it already",
                )
            }
            E::InvalidRefresh => Self::new(StatusCode::UNAUTHORIZED, "Invalid refresh token", "invalid_refresh_token"),
            E::RegistrationClosed => Self::new(StatusCode::FORBIDDEN, "Registration is closed", "registration_closed"),
            E::WrongPassword => Self::new(StatusCode::FORBIDDEN, "Invalid credentials", "wrong_password")
                .with_detail("the present password is wrong"),
            E::InvalidLink => Self::new(StatusCode::BAD_REQUEST, "Invalid or expired link", "invalid_link")
                .denied()
                .with_detail("ask for another one: a link works once and not for long"),
            E::NoMail => Self::new(StatusCode::FORBIDDEN, "Mail is turned off", "no_mail").with_detail(
                "this service sends no mail, so that nothing can be confirmed by one; ask whoever runs it",
            ),
            E::NoSession => Self::new(StatusCode::NOT_FOUND, "Not found", "not_found")
                .with_detail("you have no such session; GET /auth/sessions lists yours"),
            E::NoApiKey => Self::new(StatusCode::NOT_FOUND, "Not found", "not_found")
                .with_detail("you have no such API key; GET /auth/api-keys lists yours"),
            E::TooManyApiKeys(0) => Self::new(StatusCode::FORBIDDEN, "API keys are turned off", "api_keys_off"),
            E::TooManyApiKeys(most) => Self::new(StatusCode::CONFLICT, "Too many API keys", "too_many_api_keys")
                .with_detail(format!("you may have {most}; end one with DELETE /auth/api-keys/{{id}}")),
            E::NoAccount => Self::new(StatusCode::NOT_FOUND, "Not found", "not_found"),
            E::Exists => Self::new(StatusCode::CONFLICT, "Conflict", "conflict"),
            E::Overloaded => Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable", "overloaded"),
            E::Database(_) | E::Crypto => {
                tracing::error!(%error, "an identity endpoint failed");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable", "identity_unavailable")
            }
        }
    }
}

/// An answer that only says something.
#[derive(JsonSchema, Serialize)]
pub(crate) struct Message {
    /// For a person.
    pub(crate) message: &'static str,
}

/// A JSON answer that no cache may keep.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    json_with(status, body, HeaderValue::from_static("application/json"))
}

fn json_with(status: StatusCode, body: &impl Serialize, media: HeaderValue) -> Response {
    let Ok(text) = serde_json::to_string(body) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let headers = [(CONTENT_TYPE, media), (CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, headers, text).into_response()
}

pub(super) async fn not_found(Extension(id): Extension<RequestId>) -> Response {
    Refused::new(StatusCode::NOT_FOUND, "Not found", "not_found").answer(id)
}

pub(super) async fn method_not_allowed(Extension(id): Extension<RequestId>) -> Response {
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "method_not_allowed").answer(id)
}
