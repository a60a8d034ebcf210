//! The members that a request may set: whatever is not listed is refused, so that nobody sets what he was not asked for
//! (mass assignment).

use portcullis_core::Violation;
use serde_json::Value;

use super::tell;
use crate::check::Reported;
use crate::judging::words::Pointer;
use crate::members::{List, MemberPath, Members, Place};

/// The rule's name in what is told.
const RULE: &str = "allow";

/// What becomes of a member that is not listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// The request is refused.
    #[default]
    Refuse,
    /// It passes as it is, and is reported.
    Report,
}

/// A list of members that may be set.
#[derive(Debug)]
pub struct AllowedMembers {
    members: Members,
    list: List,
    unknown: Unknown,
}

impl AllowedMembers {
    /// The members that these paths name, and no others.
    #[must_use]
    pub fn new(paths: &[MemberPath], unknown: Unknown) -> Self {
        let mut members = Members::default();
        let list = members.add(paths);
        Self { members, list, unknown }
    }

    pub(super) fn judge(&self, value: &Value, told: &mut Vec<Violation>, reported: &Reported) {
        let place = self.members.place([self.list]);
        walk(value, &place, &At::Outermost, &mut |violation| match self.unknown {
            Unknown::Refuse => tell(told, violation),
            Unknown::Report => reported.note(violation),
        });
    }
}

/// Where a value stands, as a chain up to the outermost: a place is put into words only where something is wrong with it.
#[derive(Clone, Copy)]
enum At<'a> {
    Outermost,
    Member(&'a At<'a>, &'a str),
    Element(&'a At<'a>, usize),
}

impl At<'_> {
    fn pointer(&self) -> Pointer {
        match self {
            Self::Outermost => Pointer::default(),
            Self::Member(above, name) => above.pointer().member(name),
            Self::Element(above, index) => above.pointer().element(*index),
        }
    }
}

fn walk(value: &Value, place: &Place<'_>, at: &At<'_>, found: &mut impl FnMut(Violation)) {
    if place.allows_all() {
        return;
    }
    let is_single = !matches!(value, Value::Object(_) | Value::Array(_));
    match (is_single, place.allows_single(), place.allows_inside()) {
        (true, true, _) => {}
        (true, false, true) => found(at.pointer().violation(RULE, "takes no single value")),
        (false, true, false) => found(at.pointer().violation(RULE, "takes a single value only")),
        (_, false, false) => found(at.pointer().violation(RULE, "is not a member that can be set")),
        (false, _, true) => match value {
            Value::Object(members) => {
                for (name, value) in members {
                    walk(value, &place.member(name), &At::Member(at, name), found);
                }
            }
            Value::Array(elements) => {
                for (index, value) in elements.iter().enumerate() {
                    walk(value, &place.element(), &At::Element(at, index), found);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        },
    }
}
