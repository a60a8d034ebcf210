//! A request that is answered at the gate: it asks about the gate itself.

use http::{HeaderMap, StatusCode};
use portcullis_shield::Preflight;

use crate::case::Case;

/// What a preflight is told (Fetch §4.8): whether a page of its origin may send the request that it is about.
///
/// Whoever may not is told so by the headers that are missing; the status is the same, because the question was answered.
#[derive(Debug)]
pub struct Answer {
    pub(crate) case: Case,
    pub(crate) preflight: Preflight,
}

impl Answer {
    /// The status of the answer, which has no content.
    pub const STATUS: StatusCode = StatusCode::NO_CONTENT;

    /// What is known of the request.
    #[must_use]
    pub const fn case(&self) -> &Case {
        &self.case
    }

    /// Every header of the answer.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(24);
        self.case.shape_preflight(&mut headers, &self.preflight);
        headers
    }
}
