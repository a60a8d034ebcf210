//! `uniqueItems`, in time that grows with the list and no faster.
//!
//! The validator's own compares whatever has the same hash, and its hash takes all whole numbers between two neighbouring
//! doubles for one, and all lists of lists that hold the same in the same order: a client could send thousands of those.

use std::collections::HashSet;

use jsonschema::{Keyword, ValidationError};
use serde_json::{Number, Value};

/// What a broken rule is told as.
pub(super) const TWICE: &str = "must not have the same item twice";

/// The keyword in place of the validator's own.
pub(super) struct Unique(pub(super) bool);

impl<'i> Keyword<'i> for Unique {
    fn validate(&self, list: &'i Value) -> Result<(), ValidationError<'i>> {
        if self.is_valid(list) { Ok(()) } else { Err(ValidationError::custom(TWICE)) }
    }

    fn is_valid(&self, list: &'i Value) -> bool {
        !self.0 || list.as_array().is_none_or(|items| is_unique(items))
    }
}

fn is_unique(items: &[Value]) -> bool {
    if items.len() < 2 {
        return true;
    }
    let mut seen: HashSet<Box<[u8]>> = HashSet::with_capacity(items.len());
    let mut written = Vec::new();
    items.iter().all(|item| {
        written.clear();
        write(item, &mut written);
        seen.insert(written.as_slice().into())
    })
}

/// Writes a value so that the same bytes come of equal values, and of no others: every part says how long it is.
fn write(value: &Value, out: &mut Vec<u8>) {
    let mut begin = |kind: u8, size: usize| {
        out.push(kind);
        out.extend_from_slice(&(size as u64).to_le_bytes());
    };
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(word) => out.push(if *word { b't' } else { b'f' }),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => {
            begin(b's', text.len());
            out.extend_from_slice(text.as_bytes());
        }
        Value::Array(list) => {
            begin(b'a', list.len());
            list.iter().for_each(|item| write(item, out));
        }
        Value::Object(members) => {
            begin(b'o', members.len());
            // The order of members means nothing.
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            for (name, member) in sorted {
                out.extend_from_slice(&(name.len() as u64).to_le_bytes());
                out.extend_from_slice(name.as_bytes());
                write(member, out);
            }
        }
    }
}

/// A number by what it is: `1`, `1.0` and `1e0` are equal (JSON Schema 2020-12, §4.2.2).
fn write_number(number: &Number, out: &mut Vec<u8>) {
    // Doubles of this size and above lie beyond all whole numbers that are kept as such.
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    let exact = number.as_i128().or_else(|| {
        let double = number.as_f64().filter(|double| double.fract() == 0.0 && double.abs() < BEYOND)?;
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2⁶⁴ either way")]
        Some(double as i128)
    });
    match exact {
        Some(whole) => {
            out.push(b'i');
            out.extend_from_slice(&whole.to_le_bytes());
        }
        None => {
            out.push(b'd');
            out.extend_from_slice(&number.as_f64().unwrap_or_default().to_bits().to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_items_are_found_and_no_others() {
        for (items, unique) in [
            (json!([]), true),
            (json!([1, 1]), false),
            (json!([1, 1.0]), false),
            (json!([0, -0.0]), false),
            (json!([1e300, 1e300]), false),
            (json!([9_007_199_254_740_993_u64, 9_007_199_254_740_992_u64]), true),
            (json!([u64::MAX, 18_446_744_073_709_551_615.0]), true),
            (json!([1.5, 1.25, "1.5", true, false, null, 0, 1]), true),
            (json!([{ "a": 1, "b": 2 }, { "b": 2.0, "a": 1 }]), false),
            (json!([{ "a": "b" }, { "ab": "" }]), true),
            (json!([[[1], [2]], [[1, 2]], [[1, 2], []]]), true),
            (json!([[], [[]], [[], []], [[[]]]]), true),
            (json!([["ab", "c"], ["a", "bc"]]), true),
        ] {
            assert_eq!(is_unique(items.as_array().unwrap()), unique, "{items}");
        }
    }
}
