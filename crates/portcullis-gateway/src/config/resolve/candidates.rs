//! `replaces`: which limits can be compared with which.

use portcullis::{CandidateError, LimitRule};

use super::context::Context;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, Raw};
use crate::config::words::{alternatives, closest};

/// Tells what is wrong with the limits that are to replace others. `rules` are those of the file, in its order.
pub(super) fn check(cx: &mut Context<'_>, rules: &[LimitRule], raw: &Raw) {
    for (rule, table) in rules.iter().zip(raw.limit.iter().flatten()) {
        let Some((name, at)) = rule.replaces.as_deref().zip(table.get().replaces.as_ref()) else { continue };
        if name == &*rule.name {
            let found = Diagnostic::error(at.span(), "the limit names itself as the one that it is to replace");
            cx.push(found.hint("name the limit that is enforced now, or remove \"replaces\""));
            continue;
        }
        let Some(live) = rules.iter().find(|other| &*other.name == name) else {
            let wrong = Diagnostic::error(at.span(), format!("there is no limit named {name:?} to replace"));
            let names: Vec<&str> = rules.iter().map(|rule| &*rule.name).filter(|other| *other != &*rule.name).collect();
            cx.push(match closest(name, names.iter().copied()) {
                Some(meant) => wrong.hint(format!("did you mean \"{meant}\"?")),
                None if names.is_empty() => wrong,
                None => wrong.expected(alternatives(names)),
            });
            continue;
        };
        let span = match table.get().mode.as_ref() {
            Some(mode) if rule.can_replace(live) == Err(CandidateError::NotReporting) => At::span(mode),
            _ => at.span(),
        };
        if let Err(error) = rule.can_replace(live) {
            let hint = match error {
                CandidateError::NotReporting => {
                    "write mode = \"report\"; when it has proved itself, enforce it and remove the other"
                }
                CandidateError::NotEnforced => "name a limit that is enforced, or remove \"replaces\"",
                CandidateError::AnotherPhase => {
                    "by address, route or header it is charged before anybody is authenticated; by anything else, by plan, \
                     with exempt roles or of strangers only, after that; with scope = \"verification\" in between"
                }
            };
            cx.push(Diagnostic::error(span, error.to_string()).hint(hint));
        }
    }
}
