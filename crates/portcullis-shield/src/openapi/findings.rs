//! What is found wrong with one request or answer: what breaks a rule, and what only is to be reported.

use portcullis_core::Violation;
use serde_json::Value;

use super::document::{Document, Part};
use super::schema::{Book, Draft, Entry, Way};

/// What becomes of what a document does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// It is refused.
    #[default]
    Refuse,
    /// It passes, and is reported.
    Report,
    /// It passes.
    Allow,
}

/// No more violations than this are told of one request.
const MOST_TOLD: usize = 20;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) broken: Vec<Violation>,
    pub(super) reported: Vec<Violation>,
}

impl Findings {
    /// Something breaks a rule.
    pub(super) fn broken(&mut self, violation: Violation) {
        if self.broken.len() < MOST_TOLD {
            self.broken.push(violation);
        }
    }

    /// Something is not named by the document.
    pub(super) fn unknown(&mut self, choice: Unknown, violation: impl FnOnce() -> Violation) {
        match choice {
            Unknown::Refuse => self.broken(violation()),
            Unknown::Report if self.reported.len() < MOST_TOLD => self.reported.push(violation()),
            Unknown::Report | Unknown::Allow => {}
        }
    }

    /// Adds what else was found.
    pub(super) fn take(&mut self, other: Self) {
        other.broken.into_iter().for_each(|violation| self.broken(violation));
        let room = MOST_TOLD.saturating_sub(self.reported.len());
        self.reported.extend(other.reported.into_iter().take(room));
    }

    pub(super) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }
}

/// A schema that a value has to follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    entry: Entry,
    /// The same, open to members that it does not name: where those only are reported.
    open: Option<Entry>,
}

impl Rule {
    /// Judges a value; places in it stand behind `at`.
    pub(super) fn judge(self, book: &Book, value: &mut Value, at: &str) -> Findings {
        let told = book.judge(self.entry, value);
        if told.is_empty() {
            return Findings::default();
        }
        let behind = |told: Vec<Violation>| -> Vec<Violation> {
            if at.is_empty() {
                return told;
            }
            let moved =
                |violation: Violation| Violation { path: format!("{at}{}", violation.path).into(), ..violation };
            told.into_iter().map(moved).collect()
        };
        match self.open {
            None => Findings { broken: behind(told), reported: Vec::new() },
            Some(open) => {
                let broken = book.judge(open, value);
                if broken.is_empty() {
                    Findings { broken, reported: behind(told) }
                } else {
                    Findings { broken: behind(broken), reported: Vec::new() }
                }
            }
        }
    }
}

/// Makes rules from schemas.
pub(super) struct Rules<'r, 'd> {
    pub(super) draft: &'r mut Draft<'d>,
    pub(super) members: Unknown,
}

impl<'d> Rules<'_, 'd> {
    pub(super) fn document(&self) -> &'d Document {
        self.draft.document()
    }

    /// For what a client sends.
    pub(super) fn request(&mut self, schema: &Part<'_>) -> Rule {
        let entry = self.draft.enter(schema, Way::Request, self.members != Unknown::Allow);
        let open = (self.members == Unknown::Report).then(|| self.draft.enter(schema, Way::Request, false));
        Rule { entry, open }
    }

    /// For what the upstream answers: members that it adds are for the lists of members to judge.
    pub(super) fn response(&mut self, schema: &Part<'_>) -> Rule {
        Rule { entry: self.draft.enter(schema, Way::Response, false), open: None }
    }
}
