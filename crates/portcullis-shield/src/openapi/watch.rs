//! The contract on the way back where it only reports: what breaks it is told to the operator, and the client gets all of it.

use std::sync::Arc;

use portcullis_core::Violation;

use super::Contract;
use super::findings::Rule;
use super::response::{NOT_JUDGED, UNREADABLE, judge_content};
use crate::coding::{Coding, gunzip};
use crate::shape::{Asking, SeenResponse};

/// Compares answers with a contract, and changes nothing: neither what the upstream is asked nor what it says.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Contract>);

impl Watch {
    /// By this contract.
    #[must_use]
    pub const fn new(contract: Arc<Contract>) -> Self {
        Self(contract)
    }

    /// What it makes of answers, in a few words for the operator.
    #[must_use]
    pub const fn describe(&self) -> &'static str {
        "what the OpenAPI document does not declare is reported"
    }

    /// Begins to look at an answer by its head. Nothing, where nothing can be said against it any more: no operation covers
    /// the request, or its content is not looked at. `max` bounds content that is, in bytes.
    ///
    /// # Errors
    /// What its head breaks, or why its content cannot be judged.
    pub fn begin(&self, seen: &SeenResponse<'_>, max: u64) -> Result<Option<Watched>, Violation> {
        let Asking { method, path, .. } = seen.asking;
        let Some((operation, _)) = self.0.find(method, path) else { return Ok(None) };
        let content = operation.responses.watch(method, seen.status, seen.headers, seen.is_empty)?;
        Ok(content.map(|(rule, coding)| Watched { contract: Arc::clone(&self.0), rule, coding, max }))
    }
}

/// An answer whose content is looked at once it is whole.
#[derive(Debug)]
pub struct Watched {
    contract: Arc<Contract>,
    rule: Rule,
    coding: Coding,
    max: u64,
}

impl Watched {
    /// How much content there may be for it to be judged, in bytes: of what comes, and of what that is unpacked to.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// What the content breaks, all of it as it came.
    #[must_use]
    pub fn judge(&self, body: &[u8]) -> Vec<Violation> {
        match self.coding {
            _ if body.is_empty() => Vec::new(),
            Coding::Identity => self.judge_plain(body),
            Coding::Gzip => {
                gunzip(body, self.max).map_or_else(|_| vec![UNREADABLE.into()], |unpacked| self.judge_plain(&unpacked))
            }
        }
    }

    fn judge_plain(&self, body: &[u8]) -> Vec<Violation> {
        match judge_content(&self.contract.book, self.rule, body) {
            Ok(findings) => findings.broken,
            Err(wrong) => vec![wrong.into()],
        }
    }
}

/// Why nothing can be said of content that was to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unjudged {
    /// There is more of it than is looked at.
    TooLarge,
    /// There is no memory to hold it.
    NoRoom,
}

impl From<Unjudged> for Violation {
    fn from(why: Unjudged) -> Self {
        let message = match why {
            Unjudged::TooLarge => "it is larger than what is looked at",
            Unjudged::NoRoom => "there is no memory to hold it",
        };
        Self { path: "".into(), rule: NOT_JUDGED.into(), message: message.into() }
    }
}
