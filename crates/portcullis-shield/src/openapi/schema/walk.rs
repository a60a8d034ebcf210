//! What applies to the same place of a value: a schema, with all that it refers to and is composed of.

use std::collections::HashSet;

use serde_json::Value;

use crate::openapi::document::{Document, Part, Version};
use crate::openapi::fault::Fault;

/// A schema that is composed more deeply than this is a mistake, or an attack on the stack.
const MOST_LEVELS: usize = 256;

/// Keywords whose schemas apply in place and may bring in members of their own.
pub(super) const IN_PLACE_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
pub(super) const IN_PLACE: [&str; 2] = ["then", "else"];
/// Keywords whose schemas apply in place and only ask.
pub(super) const ASKING: [&str; 2] = ["not", "if"];

/// Visits a schema and everything that applies in place with it, without what only asks (`not`, `if`).
///
/// # Errors
/// A schema that contains itself in place, which no value could ever be judged by; one that goes too deep.
pub(super) fn in_place<'d>(
    document: &'d Document,
    schema: &Part<'d>,
    visit: &mut impl FnMut(&Part<'d>),
) -> Result<(), Fault> {
    Walk { document, above: Vec::new(), done: HashSet::new(), asking: false }.walk(schema, visit)
}

/// Looks for a schema that contains itself in place, in what only asks too.
pub(super) fn ends(document: &Document, schema: &Part<'_>) -> Result<(), Fault> {
    Walk { document, above: Vec::new(), done: HashSet::new(), asking: true }.walk(schema, &mut |_| {})
}

struct Walk<'d> {
    document: &'d Document,
    /// The schemas around the one at hand.
    above: Vec<String>,
    /// What was seen: a part that stands in many places is visited once.
    done: HashSet<String>,
    asking: bool,
}

impl<'d> Walk<'d> {
    fn walk(&mut self, schema: &Part<'d>, visit: &mut impl FnMut(&Part<'d>)) -> Result<(), Fault> {
        if self.above.contains(&schema.pointer) {
            let fault = schema.fault("the schema contains itself at the same place, so no value can be judged by it");
            return Err(fault.hint("a schema may refer to itself below a property or the items of a list"));
        }
        if self.above.len() >= MOST_LEVELS {
            return Err(schema.fault(format!("the schema is composed of more than {MOST_LEVELS} levels")));
        }
        if !self.done.insert(schema.pointer.clone()) {
            return Ok(());
        }
        self.above.push(schema.pointer.clone());
        let mut referred = None;
        if let Some(reference) = schema.value.get("$ref") {
            let pointer = self.document.target(reference, &schema.pointer)?;
            referred = self.document.at(&pointer);
        }
        // In 3.0 nothing beside a $ref counts.
        let alone = referred.is_some() && self.document.version == Version::V30;
        if !alone {
            visit(schema);
        }
        if let Some(target) = referred {
            self.walk(&target, visit)?;
        }
        if !alone {
            let lists = IN_PLACE_LISTS.iter().filter_map(|keyword| schema.member(keyword));
            let asking: &[&str] = if self.asking { &ASKING } else { &[] };
            let single = IN_PLACE.iter().chain(asking).filter_map(|keyword| schema.member(keyword));
            let dependent = schema.member("dependentSchemas");
            let dependent = dependent.iter().flat_map(|part| part.members().map(|(_, part)| part));
            for part in lists.flat_map(|list| list.elements()).chain(single).chain(dependent) {
                self.walk(&part, visit)?;
            }
        }
        self.above.pop();
        Ok(())
    }
}

/// Whether a member is one that only one side may set, by its schema or the one that it refers to.
pub(super) fn is_marked(document: &Document, schema: &Part<'_>, mark: &str) -> bool {
    let mut part = schema.clone();
    for _ in 0..MOST_LEVELS {
        let reference = part.value.get("$ref");
        if part.value.get(mark) == Some(&Value::Bool(true)) && (reference.is_none() || document.version == Version::V31)
        {
            return true;
        }
        let target = reference.and_then(|reference| document.target(reference, &part.pointer).ok());
        let Some(next) = target.and_then(|pointer| document.at(&pointer)) else { return false };
        part = next;
    }
    false
}
