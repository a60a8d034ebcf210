//! What a route asks of a request's content: checks that see the whole body before any of it is forwarded.

use std::fmt::Debug;

use http::{HeaderMap, Method};
use portcullis_core::{Principal, Reason};

/// What a check may look at beside the body.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The request method.
    pub method: &'a Method,
    /// The path as it was matched: normalised, without the query.
    pub path: &'a str,
    /// The query, without its `?`, as it is forwarded.
    pub query: Option<&'a str>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// Who it is, where that was proven.
    pub principal: Option<&'a Principal>,
}

/// One check of a request's content. What passes is forwarded byte for byte: a check reads, and never rewrites.
pub trait Check: Debug + Send + Sync {
    /// Judges a complete request. `body` is what was received, empty where there was none.
    ///
    /// # Errors
    /// [`Reason::InvalidBody`] where the body cannot be read in one way only, [`Reason::UnsupportedMediaType`],
    /// [`Reason::ValidationFailed`] and whatever else refuses it.
    fn check(&self, seen: &Seen<'_>, body: &[u8]) -> Result<(), Reason>;
}
