//! A request that does not pass, and the answer it gets.

use portcullis_core::{Problem, Reason, RequestId};

use crate::case::Case;

/// A refused request: why, and what is known of it.
#[derive(Debug)]
pub struct Refusal {
    pub(crate) case: Case,
    pub(crate) reason: Reason,
    pub(crate) id: RequestId,
}

impl Refusal {
    /// Why.
    #[must_use]
    pub const fn reason(&self) -> &Reason {
        &self.reason
    }

    /// What is known of the request.
    #[must_use]
    pub const fn case(&self) -> &Case {
        &self.case
    }

    /// The answer: problem details with every header that an answer of this gate carries.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let mut problem = Problem::new(&self.reason, self.id);
        self.case.shape(&mut problem.headers);
        problem
    }
}
