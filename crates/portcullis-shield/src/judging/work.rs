//! How much work a value can make.
//!
//! The validator remembers whether a value was right by a schema that recurs, but in many compositions not, and never where
//! it collects what is wrong. Where a schema refers to itself below several alternatives (`oneOf: [And, Or, Leaf]`, each with filters inside), every
//! level of a value is judged once for each of them, and what closes such a composition (`unevaluatedProperties`) asks all
//! of them once more: work grows by a power with depth, and depth is a client's choice. Judging runs on the thread that
//! serves everybody, so the work is counted while it is done, and ends where it becomes too much.
//!
//! Without a reference nothing recurs, and the work is the schema's own times the size of the value. So every time that a
//! reference is followed, the size of the value that it is followed with is counted, all that lies below included, and
//! where nothing is left no reference is followed any more.

use std::cell::Cell;

use jsonschema::{Keyword, ValidationError};
use serde_json::{Map, Value, json};

/// The keyword of ours that counts.
pub(super) const COUNT: &str = "x-portcullis-work";
/// Keywords whose members are schemas under names.
const NAMED: [&str; 5] = ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];
/// Bytes of a text that are one unit of work.
const TEXT: usize = 16;

thread_local! {
    /// What may still be done by the judgement that runs on this thread.
    static LEFT: Cell<u64> = const { Cell::new(0) };
}

/// Judges something with at most so much work; `None` where that was not enough, and there is no judgement.
pub(super) fn within<T>(most: u64, judge: impl FnOnce() -> T) -> Option<T> {
    LEFT.set(most);
    let judged = judge();
    (LEFT.replace(0) > 0).then_some(judged)
}

/// Takes the size of a value from what is left, and says whether anything is left.
fn spend(value: &Value) -> bool {
    let left = LEFT.get();
    let left = left - size(value, left);
    LEFT.set(left);
    left > 0
}

/// How large a value is, and no more than `most`: a unit for each value in it, and for each [`TEXT`] bytes of its texts.
pub(super) fn size(value: &Value, most: u64) -> u64 {
    let add = |sum: u64, value: &Value| if sum < most { sum + size(value, most - sum) } else { sum };
    let text = |text: &str| 1 + (text.len() / TEXT) as u64;
    let all = match value {
        Value::Object(members) => members.iter().fold(1, |sum, (name, member)| add(sum + text(name), member)),
        Value::Array(list) => list.iter().fold(1, add),
        Value::String(string) => text(string),
        _ => 1,
    };
    all.min(most)
}

/// Whether a schema refers to anything.
pub(crate) fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => is_reference(members) || members.values().any(refers),
        Value::Array(list) => list.iter().any(refers),
        _ => false,
    }
}

fn is_reference(members: &Map<String, Value>) -> bool {
    ["$ref", "$dynamicRef"].iter().any(|keyword| members.get(*keyword).is_some_and(Value::is_string))
}

/// Makes a schema count. It says the same of every value, at the same places of it.
pub(crate) fn count(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (keyword, value) in members.iter_mut() {
                match value {
                    // These hold values, in which a reference is a name like any other.
                    _ if keyword == "const" => {}
                    Value::Array(_) if keyword == "enum" => {}
                    Value::Object(named) if NAMED.contains(&keyword.as_str()) => named.values_mut().for_each(count),
                    value => count(value),
                }
            }
            for keyword in ["$ref", "$dynamicRef"] {
                if members.get(keyword).is_some_and(Value::is_string)
                    && let Some(target) = members.remove(keyword)
                {
                    let gate = json!({ "if": { COUNT: true }, "then": { keyword: target }, "else": false });
                    if let Value::Array(all) = members.entry("allOf").or_insert_with(|| json!([])) {
                        all.push(gate);
                    }
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(count),
        _ => {}
    }
}

/// The keyword that counts. It stands alone in the condition of a reference: it is asked before anything else.
pub(super) struct Counter;

impl<'i> Keyword<'i> for Counter {
    fn validate(&self, value: &'i Value) -> Result<(), ValidationError<'i>> {
        if spend(value) { Ok(()) } else { Err(ValidationError::custom("takes too much work")) }
    }

    fn is_valid(&self, value: &'i Value) -> bool {
        spend(value)
    }
}
