//! What a route asks of a request's content: checks that see the whole body before any of it is forwarded.

use std::cell::RefCell;
use std::fmt::Debug;

use http::{HeaderMap, Method};
use portcullis_core::{Principal, Reason, Violation};

/// What a check may look at beside the body.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The request method.
    pub method: &'a Method,
    /// The path as it was matched: normalised, without the query.
    pub path: &'a str,
    /// The query, without its `?`, as it is forwarded.
    pub query: Option<&'a str>,
    /// The request's headers as the client sent them.
    pub headers: &'a HeaderMap,
    /// Who it is, where that was proven.
    pub principal: Option<&'a Principal>,
    /// Takes what a check lets pass although it breaks a rule, because the rule only reports.
    pub reported: &'a Reported,
}

/// Broken rules that only report. What a request can add is bounded.
#[derive(Debug, Default)]
pub struct Reported(RefCell<Vec<Violation>>);

impl Reported {
    /// Violations that are kept of one request.
    pub const MOST: usize = 32;

    /// Notes one violation; those over [`Reported::MOST`] are dropped.
    pub fn note(&self, violation: Violation) {
        let mut noted = self.0.borrow_mut();
        if noted.len() < Self::MOST {
            noted.push(violation);
        }
    }

    /// What was noted, in order.
    #[must_use]
    pub fn into_inner(self) -> Vec<Violation> {
        self.0.into_inner()
    }
}

/// Whether a request may become a tunnel. What is stricter is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tunnels {
    /// It may.
    #[default]
    Open,
    /// It may, and it is told that no rule speaks of it.
    Reported,
    /// It may not: the upstream is not asked to switch protocols.
    Closed,
}

impl Tunnels {
    /// What is told of a tunnel that no rule speaks of.
    #[must_use]
    pub fn undeclared() -> Violation {
        let message = "the operation does not declare that the protocol may be switched";
        Violation { path: "status".into(), rule: "unknown".into(), message: message.into() }
    }
}

/// One check of a request's content. What passes is forwarded byte for byte: a check reads, and never rewrites.
pub trait Check: Debug + Send + Sync {
    /// What it looks at in such a request, in a few words for the operator.
    fn describe(&self, method: &Method, path: &str) -> String {
        let _ = (method, path);
        "its content is checked".to_owned()
    }

    /// Judges a request by its head alone, before any of its body is asked for. What is refused here costs the client no
    /// upload and the gate no memory.
    ///
    /// # Errors
    /// As [`Check::check`].
    fn before(&self, seen: &Seen<'_>) -> Result<(), Reason> {
        let _ = seen;
        Ok(())
    }

    /// Whether such a request may become a tunnel, in which nothing that is said is shown to any check.
    fn tunnel(&self, method: &Method, path: &str) -> Tunnels {
        let _ = (method, path);
        Tunnels::Closed
    }

    /// Judges a complete request. `body` is what was received, empty where there was none, and without its content coding
    /// where the route takes one: no body in another gets here.
    ///
    /// # Errors
    /// [`Reason::InvalidBody`] where the body cannot be read in one way only, [`Reason::UnsupportedMediaType`],
    /// [`Reason::ValidationFailed`] and whatever else refuses it.
    fn check(&self, seen: &Seen<'_>, body: &[u8]) -> Result<(), Reason>;
}
