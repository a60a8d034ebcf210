//! A request that a limit does not let through, and the answer it gets.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use portcullis_core::{Limited, Problem, Reason};

use crate::limiter::Standing;

/// Why a request was not let through.
#[derive(Clone, Debug)]
pub struct Refusal {
    limit: Arc<str>,
    why: Why,
}

/// The cause of a [`Refusal`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Why {
    /// The limit is spent, or an operator has blocked the key ([`crate::Limiter::block`], [`Standing::blocked`]): 429.
    Spent {
        /// How it stands.
        standing: Box<Standing>,
        /// How long to wait; whoever does is admitted, if nobody else spends the same.
        retry_after: Duration,
        /// The limit's own message, with the wait filled in.
        message: Option<Box<str>>,
    },
    /// The limit admits nobody without the shared store ([`crate::Outage::Closed`]), and the store is away: 503.
    StoreAway,
    /// The limit counts by address, and the layer does not find it in the request
    /// ([`LimitLayer::peer`](super::LimitLayer::peer)): 500, because every request would be refused so, and letting them pass
    /// would be no limit.
    NoAddress,
}

/// The end of the body that tells why no request is let through.
const NO_ADDRESS: &[u8] =
    br#","detail":"the address of the client is not known here; LimitLayer::peer says where it is"}"#;

impl Refusal {
    pub(super) const fn new(limit: Arc<str>, why: Why) -> Self {
        Self { limit, why }
    }

    /// The name of the limit that refuses; of several, the one with the longest wait.
    #[must_use]
    pub fn limit(&self) -> &str {
        &self.limit
    }

    /// The cause.
    #[must_use]
    pub const fn why(&self) -> &Why {
        &self.why
    }

    /// The status that tells it: 429, 503 or 500.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.reason().status()
    }

    /// The seconds of `Retry-After`, rounded up, at least one; `None` where waiting does not help.
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.reason().retry_after_secs()
    }

    /// Problem details of RFC 9457 with the members `type`, `title`, `status`, `error`, and of a limit that is spent `limit`,
    /// `remaining` and `resetAt` (ISO 8601).
    #[must_use]
    pub fn problem(&self) -> Problem {
        let mut problem = Problem::without_id(&self.reason());
        // Whoever meets it is setting up a server; nobody else gets to see it.
        if matches!(self.why, Why::NoAddress) && problem.body.pop().is_some() {
            problem.body.extend_from_slice(NO_ADDRESS);
        }
        problem
    }

    fn reason(&self) -> Reason {
        match &self.why {
            Why::Spent { standing, retry_after, message } => Reason::LimitReached(Limited {
                limit: Arc::clone(&self.limit),
                quota: standing.quota,
                reset_at: standing.reset_at,
                retry_after: *retry_after,
                message: message.clone(),
            }),
            Why::StoreAway => Reason::LimitsUnavailable,
            Why::NoAddress => Reason::Internal,
        }
    }
}

impl fmt::Display for Refusal {
    /// For the operator's log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the limit \"{}\" ", self.limit)?;
        match &self.why {
            Why::Spent { retry_after, .. } => write!(f, "is spent for another {} ms", retry_after.as_millis()),
            Why::StoreAway => f.write_str("admits nobody while its store is away"),
            Why::NoAddress => f.write_str(
                "counts by address, and the request has none; tell LimitLayer::peer where it is (in axum: serve with \
                 into_make_service_with_connect_info, and read ConnectInfo)",
            ),
        }
    }
}

/// Makes the answer to a refused request. Functions do, that take the refusal and the head of the request.
///
/// What they leave out the layer adds: `Retry-After`, and the headers that tell how the limit stands.
pub trait Respond<B> {
    /// The answer.
    fn respond(&self, refusal: &Refusal, request: &Parts) -> Response<B>;
}

/// The answer unless another is asked for: [`Refusal::problem`], which any body will do for that is made of bytes (axum's,
/// `http_body_util::Full`).
#[derive(Clone, Copy, Debug, Default)]
pub struct ProblemJson;

impl<B: From<Vec<u8>>> Respond<B> for ProblemJson {
    fn respond(&self, refusal: &Refusal, _: &Parts) -> Response<B> {
        let Problem { status, headers, body } = refusal.problem();
        let length = HeaderValue::from(body.len());
        let mut response = Response::new(B::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response.headers_mut().insert(CONTENT_LENGTH, length);
        response
    }
}

impl<F, B> Respond<B> for F
where
    F: Fn(&Refusal, &Parts) -> Response<B>,
{
    fn respond(&self, refusal: &Refusal, request: &Parts) -> Response<B> {
        self(refusal, request)
    }
}

/// The answer with what no answer to a refused request may lack.
pub(super) fn complete<B>(refusal: &Refusal, mut response: Response<B>) -> Response<B> {
    if let Some(seconds) = refusal.retry_after_secs() {
        response.headers_mut().entry(RETRY_AFTER).or_insert_with(|| HeaderValue::from(seconds));
    }
    response.extensions_mut().insert(RefusedInside);
    response
}

/// In an answer: a layer of ours refused the request, so those around it give back what they charged for it.
#[derive(Clone, Copy)]
pub(super) struct RefusedInside;
