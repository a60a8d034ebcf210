//! What kind of value a schema means, which decides how a text of a parameter is read.

use std::collections::BTreeMap;

use serde_json::Value;

use super::walk;
use crate::openapi::document::{Document, Part};
use crate::openapi::fault::Fault;

/// A kind of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::openapi) enum Kind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

const KINDS: [(&str, Kind); 7] = [
    ("null", Kind::Null),
    ("boolean", Kind::Boolean),
    ("integer", Kind::Integer),
    ("number", Kind::Number),
    ("string", Kind::String),
    ("array", Kind::Array),
    ("object", Kind::Object),
];

/// The kinds that a schema speaks of, and those of its items and members. It says how a text is to be read; whether it may
/// stand there, the schema itself says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::openapi) struct Shape {
    /// In order, without repetition; empty where the schema does not say.
    kinds: Vec<Kind>,
    pub(in crate::openapi) items: Option<Box<Shape>>,
    pub(in crate::openapi) members: BTreeMap<Box<str>, Shape>,
    /// What members without a name in the schema are, where it takes them.
    pub(in crate::openapi) more: Option<Box<Shape>>,
}

/// Texts of parameters do not nest deeper.
const MOST_LEVELS: usize = 3;

impl Shape {
    pub(in crate::openapi) fn of(document: &Document, schema: &Part<'_>) -> Result<Self, Fault> {
        Self::within(document, schema, MOST_LEVELS)
    }

    fn within(document: &Document, schema: &Part<'_>, levels: usize) -> Result<Self, Fault> {
        let mut shape = Self::default();
        let mut below: Vec<(Place, Part<'_>)> = Vec::new();
        walk::in_place(document, schema, &mut |part| {
            match part.value.get("type") {
                Some(Value::String(name)) => shape.note(name),
                Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).for_each(|name| shape.note(name)),
                _ => {}
            }
            if part.is("nullable") {
                shape.note("null");
            }
            let properties = part.member("properties");
            for (name, property) in properties.iter().flat_map(Part::members) {
                below.push((Place::Member(name.into()), property));
            }
            below.extend(part.member("items").map(|items| (Place::Items, items)));
            below.extend(part.member("additionalProperties").map(|more| (Place::More, more)));
        })?;
        if shape.kinds.is_empty() {
            let implied = below.iter().map(|(place, _)| match place {
                Place::Items => Kind::Array,
                Place::Member(_) | Place::More => Kind::Object,
            });
            shape.kinds = implied.collect();
        }
        shape.kinds.sort_unstable();
        shape.kinds.dedup();
        if levels == 0 {
            return Ok(shape);
        }
        for (place, part) in below {
            if part.value == &Value::Bool(false) {
                continue;
            }
            let inner = Self::within(document, &part, levels - 1)?;
            match place {
                Place::Items => drop(shape.items.get_or_insert(Box::new(inner))),
                Place::More => drop(shape.more.get_or_insert(Box::new(inner))),
                Place::Member(name) => drop(shape.members.entry(name).or_insert(inner)),
            }
        }
        Ok(shape)
    }

    fn note(&mut self, name: &str) {
        self.kinds.extend(KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind));
    }

    /// Whether values of this kind are meant.
    pub(in crate::openapi) fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Whether it says nothing of kinds.
    pub(in crate::openapi) fn says_nothing(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Whether a text may be meant as it is.
    pub(in crate::openapi) fn takes_text(&self) -> bool {
        self.says_nothing() || self.has(Kind::String)
    }

    /// Whether a text could be meant as it is or as something else, anywhere in it.
    pub(in crate::openapi) fn is_ambiguous(&self) -> bool {
        let others = [Kind::Null, Kind::Boolean, Kind::Integer, Kind::Number];
        (self.takes_text() && (self.says_nothing() || others.iter().any(|kind| self.has(*kind))))
            || self.items.iter().chain(&self.more).any(|inner| inner.is_ambiguous())
            || self.members.values().any(Self::is_ambiguous)
    }
}

enum Place {
    Items,
    Member(Box<str>),
    More,
}
