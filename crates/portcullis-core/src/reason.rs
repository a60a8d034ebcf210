//! Why a request was refused. One match turns a reason into a status code, one into the client's words.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::json::Unreadable;
use crate::{PathError, Timestamp};

/// Whose fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The client sent what it may not send, or too much of it.
    Client,
    /// The upstream failed.
    Upstream,
    /// Something we depend on (database, store) failed.
    Dependency,
    /// We did.
    Us,
}

/// A limit that refused a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    /// The limit's name.
    pub limit: Arc<str>,
    /// The quota.
    pub quota: u64,
    /// When a request will be admitted again if nothing else spends the key.
    pub reset_at: Timestamp,
    /// How long to wait until then.
    pub retry_after: Duration,
    /// The limit's own message with its placeholders filled in, where it has one.
    pub message: Option<Box<str>>,
}

/// One rule that a request's content breaks. It names the place and the rule, and never repeats what stood there: that may
/// be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where: a JSON Pointer (RFC 6901) into the body, or the name of a parameter.
    pub path: Box<str>,
    /// The rule in one word, such as `required` or `maximum`: the keyword of JSON Schema where there is one.
    pub rule: Box<str>,
    /// The rule as a sentence for whoever sent it.
    pub message: Box<str>,
}

/// How much of the places that break a rule is recorded, in bytes.
const MOST_OF_PLACES: usize = 200;

/// Why a request was refused or could not be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The head breaks a rule of RFC 9110 or RFC 9112; the text says which.
    Malformed(&'static str),
    /// The path can be read in two ways.
    AmbiguousPath(PathError),
    /// The request target is too long.
    TargetTooLong,
    /// The head is too large or has too many fields.
    HeadTooLarge,
    /// The body is larger than the route allows (bytes).
    BodyTooLarge(u64),
    /// The head or the body did not arrive in time.
    RequestTimeout,
    /// An `Expect` other than `100-continue`.
    ExpectationFailed,
    /// A method that a gate must not serve (`CONNECT`, `TRACE`).
    MethodRefused,
    /// TLS was set up for one host, and the request names another (RFC 9110 §15.5.20).
    Misdirected,
    /// The body's media type is not one that the route takes; the text says what it takes.
    UnsupportedMediaType(&'static str),
    /// The body is in a content coding that the route does not take, or in several.
    UnsupportedCoding {
        /// Whether it takes gzip.
        takes_gzip: bool,
    },
    /// The body is not what it says it is, or can be read in two ways; the text says why.
    InvalidBody(&'static str),
    /// The same of a JSON text, with the place.
    UnreadableJson(Unreadable),
    /// The content breaks the rules of the route.
    ValidationFailed(Arc<[Violation]>),
    /// The address is blocked.
    Blocked,
    /// No route allows it.
    NotFound,
    /// A limit refused it.
    LimitReached(Limited),
    /// No credential was presented.
    AuthenticationRequired,
    /// The token was good once.
    TokenExpired,
    /// The token is not good, or not a token; the text is for the operator only.
    InvalidToken(&'static str),
    /// The token was revoked.
    TokenRevoked,
    /// Proven, but not allowed.
    InsufficientPermissions,
    /// It belongs to somebody else. `hidden`: the client is not told whether there is anything.
    NotOwner {
        /// Whether the answer is the one to what does not exist.
        hidden: bool,
    },
    /// Another site made a browser send its cookie with an unsafe method.
    CrossSite,
    /// A page of this origin may not ask.
    OriginRefused,
    /// A cookie's unsafe request came without a token against forgery.
    MissingCsrfToken,
    /// It came with one that is not of this session, or too old.
    InvalidCsrfToken,
    /// The record of revocations is too old to decide by.
    RevocationsStale,
    /// A limit that admits nobody without its shared store; the store is away.
    LimitsUnavailable,
    /// A queue inside is full, or too many connections are open.
    Overloaded,
    /// The upstream could not be reached or broke off.
    UpstreamUnreachable,
    /// The upstream answered something that is not HTTP or must not be forwarded.
    UpstreamInvalid,
    /// The upstream's answer cannot be brought into the shape that the route promises; the text is for the operator only.
    ResponseRefused(&'static str),
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// A part of this process failed.
    Internal,
}

impl Reason {
    /// The status code.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_)
            | Self::AmbiguousPath(_)
            | Self::InvalidBody(_)
            | Self::UnreadableJson(_)
            | Self::ValidationFailed(_) => StatusCode::BAD_REQUEST,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::MethodRefused => StatusCode::NOT_IMPLEMENTED,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::UnsupportedMediaType(_) | Self::UnsupportedCoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Blocked
            | Self::InsufficientPermissions
            | Self::NotOwner { hidden: false }
            | Self::CrossSite
            | Self::OriginRefused
            | Self::MissingCsrfToken
            | Self::InvalidCsrfToken => StatusCode::FORBIDDEN,
            Self::NotFound | Self::NotOwner { hidden: true } => StatusCode::NOT_FOUND,
            Self::LimitReached(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::AuthenticationRequired | Self::TokenExpired | Self::InvalidToken(_) | Self::TokenRevoked => {
                StatusCode::UNAUTHORIZED
            }
            Self::RevocationsStale | Self::LimitsUnavailable | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamUnreachable | Self::UpstreamInvalid | Self::ResponseRefused(_) => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The exact value of the JSON member `error`.
    #[must_use]
    pub fn error(&self) -> &str {
        match self {
            Self::Malformed(_) | Self::AmbiguousPath(_) => "Bad request",
            Self::TargetTooLong => "URI too long",
            Self::HeadTooLarge => "Request header fields too large",
            Self::BodyTooLarge(_) => "Request body too large",
            Self::RequestTimeout => "Request timeout",
            Self::ExpectationFailed => "Expectation failed",
            Self::MethodRefused => "Method not implemented",
            Self::Misdirected => "Misdirected request",
            Self::UnsupportedMediaType(_) | Self::UnsupportedCoding { .. } => "Unsupported media type",
            Self::InvalidBody(_) | Self::UnreadableJson(_) => "Invalid request body",
            Self::ValidationFailed(_) => "Validation failed",
            Self::Blocked => "Address blocked",
            Self::NotFound | Self::NotOwner { hidden: true } => "Not found",
            Self::LimitReached(limited) => match &limited.message {
                Some(message) => message,
                None => "Rate limit exceeded",
            },
            Self::AuthenticationRequired => "Authentication required",
            Self::TokenExpired => "Token expired",
            Self::InvalidToken(_) => "Invalid or expired token",
            Self::TokenRevoked => "Token has been revoked",
            Self::InsufficientPermissions | Self::NotOwner { hidden: false } => "Insufficient permissions",
            Self::CrossSite => "Cross-site request refused",
            Self::OriginRefused => "Origin not allowed",
            Self::MissingCsrfToken => "Missing CSRF token",
            Self::InvalidCsrfToken => "Invalid CSRF token",
            Self::RevocationsStale | Self::LimitsUnavailable | Self::Overloaded => "Service unavailable",
            Self::UpstreamUnreachable | Self::UpstreamInvalid | Self::ResponseRefused(_) => "Bad gateway",
            Self::UpstreamTimeout => "Gateway timeout",
            Self::Internal => "Internal error",
        }
    }

    /// One stable word for records, metrics and the problem type.
    #[must_use]
    pub const fn slug(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::AmbiguousPath(_) => "ambiguous_path",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::BodyTooLarge(_) => "body_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::ExpectationFailed => "expectation_failed",
            Self::MethodRefused => "method_refused",
            Self::Misdirected => "misdirected",
            Self::UnsupportedMediaType(_) | Self::UnsupportedCoding { .. } => "unsupported_media_type",
            Self::InvalidBody(_) | Self::UnreadableJson(_) => "invalid_body",
            Self::ValidationFailed(_) => "validation_failed",
            Self::Blocked => "blocked",
            Self::NotFound => "not_found",
            Self::LimitReached(_) => "rate_limited",
            Self::AuthenticationRequired => "authentication_required",
            Self::TokenExpired => "token_expired",
            Self::InvalidToken(_) => "invalid_token",
            Self::TokenRevoked => "token_revoked",
            Self::InsufficientPermissions => "insufficient_permissions",
            Self::NotOwner { .. } => "not_owner",
            Self::CrossSite => "cross_site",
            Self::OriginRefused => "origin_refused",
            Self::MissingCsrfToken => "missing_csrf_token",
            Self::InvalidCsrfToken => "invalid_csrf_token",
            Self::RevocationsStale => "revocations_stale",
            Self::LimitsUnavailable => "limits_unavailable",
            Self::Overloaded => "overloaded",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamInvalid => "upstream_invalid",
            Self::ResponseRefused(_) => "response_refused",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::Internal => "internal",
        }
    }

    /// The word that a client is told: what is hidden from it has the one of what does not exist.
    #[must_use]
    pub const fn told_slug(&self) -> &'static str {
        match self {
            Self::NotOwner { hidden: true } => Self::NotFound.slug(),
            Self::NotOwner { hidden: false } => Self::InsufficientPermissions.slug(),
            _ => self.slug(),
        }
    }

    /// Every slug there is, for metric labels.
    pub const SLUGS: [&'static str; 33] = [
        "malformed",
        "ambiguous_path",
        "target_too_long",
        "head_too_large",
        "body_too_large",
        "request_timeout",
        "expectation_failed",
        "method_refused",
        "misdirected",
        "unsupported_media_type",
        "invalid_body",
        "validation_failed",
        "blocked",
        "not_found",
        "rate_limited",
        "authentication_required",
        "token_expired",
        "invalid_token",
        "token_revoked",
        "insufficient_permissions",
        "not_owner",
        "cross_site",
        "origin_refused",
        "missing_csrf_token",
        "invalid_csrf_token",
        "revocations_stale",
        "limits_unavailable",
        "overloaded",
        "upstream_unreachable",
        "upstream_invalid",
        "response_refused",
        "upstream_timeout",
        "internal",
    ];

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::RevocationsStale | Self::LimitsUnavailable => Fault::Dependency,
            Self::Overloaded | Self::Internal => Fault::Us,
            Self::UpstreamUnreachable | Self::UpstreamInvalid | Self::ResponseRefused(_) | Self::UpstreamTimeout => {
                Fault::Upstream
            }
            _ => Fault::Client,
        }
    }

    /// What the client may additionally be told; never more than it knows already.
    #[must_use]
    pub fn detail(&self) -> Option<std::borrow::Cow<'static, str>> {
        match self {
            Self::Malformed(rule) | Self::UnsupportedMediaType(rule) | Self::InvalidBody(rule) => Some((*rule).into()),
            Self::UnsupportedCoding { takes_gzip: false } => Some("send the body without a Content-Encoding".into()),
            Self::UnsupportedCoding { takes_gzip: true } => {
                Some("send the body without a Content-Encoding, or as gzip and nothing else".into())
            }
            Self::AmbiguousPath(error) => Some(error.to_string().into()),
            Self::UnreadableJson(error) => Some(error.to_string().into()),
            Self::BodyTooLarge(limit) => Some(format!("the body may have at most {limit} bytes").into()),
            Self::UpstreamUnreachable => Some("the API behind this gate could not be reached".into()),
            Self::UpstreamInvalid => Some("the API behind this gate sent an answer that is not valid HTTP".into()),
            Self::UpstreamTimeout => Some("the API behind this gate did not answer in time".into()),
            Self::ResponseRefused(_) => Some("the API behind this gate sent an answer that may not be shown".into()),
            Self::Misdirected => Some("this connection was opened for another host: open a new one".into()),
            Self::OriginRefused => Some("pages of this origin may not use this API".into()),
            Self::MissingCsrfToken | Self::InvalidCsrfToken => {
                Some("send a token of your session in its header; the cookie beside it has one, and GET /auth/csrf gives one".into())
            }
            Self::InsufficientPermissions | Self::NotOwner { hidden: false } => {
                Some("your role or permissions do not cover this request".into())
            }
            _ => None,
        }
    }

    /// What `Accept-Encoding` says beside a refusal for its content coding, and beside no other (RFC 9110 §15.5.16, RFC 7694
    /// §3).
    #[must_use]
    pub const fn accepted_codings(&self) -> Option<&'static str> {
        match self {
            Self::UnsupportedCoding { takes_gzip: true } => Some("gzip, identity"),
            Self::UnsupportedCoding { takes_gzip: false } => Some("identity"),
            _ => None,
        }
    }

    /// Which rules a request's content breaks and where, for a record: as much as fits in one field of it.
    #[must_use]
    pub fn places(&self) -> Option<Box<str>> {
        let Self::ValidationFailed(violations) = self else { return None };
        let mut places = String::new();
        for Violation { path, rule, .. } in violations.iter() {
            if places.len() + path.len() + rule.len() > MOST_OF_PLACES {
                break;
            }
            if !places.is_empty() {
                places.push_str(", ");
            }
            places.push_str(if path.is_empty() { "(all)" } else { path });
            places.push(' ');
            places.push_str(rule);
        }
        Some(places.into())
    }

    /// The `WWW-Authenticate` challenge of RFC 6750 §3 that goes with a 401 or a 403.
    #[must_use]
    pub const fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::AuthenticationRequired => Some("Bearer"),
            Self::TokenExpired => Some(r#"Bearer error="invalid_token", error_description="Token expired""#),
            Self::InvalidToken(_) => {
                Some(r#"Bearer error="invalid_token", error_description="Invalid or expired token""#)
            }
            Self::TokenRevoked => Some(r#"Bearer error="invalid_token", error_description="Token has been revoked""#),
            Self::InsufficientPermissions | Self::NotOwner { hidden: false } => {
                Some(r#"Bearer error="insufficient_scope""#)
            }
            _ => None,
        }
    }

    /// How long the client is asked to wait, rounded up to whole seconds (`Retry-After`).
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u64> {
        match self {
            Self::LimitReached(limited) => {
                let wait = limited.retry_after;
                Some((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
            }
            Self::RevocationsStale | Self::LimitsUnavailable | Self::Overloaded => Some(1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_never_too_early() {
        let limited = |retry_after| {
            Reason::LimitReached(Limited {
                limit: "login".into(),
                quota: 5,
                reset_at: Timestamp::EPOCH,
                retry_after,
                message: None,
            })
        };
        assert_eq!(limited(Duration::from_millis(1)).retry_after_secs(), Some(1));
        assert_eq!(limited(Duration::from_millis(2001)).retry_after_secs(), Some(3));
        assert_eq!(limited(Duration::ZERO).retry_after_secs(), Some(1));
    }

    #[test]
    fn every_slug_is_listed_once() {
        let mut slugs = Reason::SLUGS.to_vec();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), Reason::SLUGS.len());
        assert!(Reason::SLUGS.contains(&Reason::Internal.slug()));
    }
}
