//! Judging values by JSON Schema 2020-12: formats hold, patterns run in linear time, work is bounded, and what is found
//! is told in the same words everywhere.

#[cfg(test)]
mod tests;
mod unique;
pub(crate) mod words;
pub(crate) mod work;

use jsonschema::{Draft, PatternOptions, ValidationError, ValidationOptions, Validator};
use portcullis_core::Violation;
use serde_json::Value;

use self::unique::Unique;
use self::work::{COUNT, Counter};

/// What a pattern may take in memory once it is compiled, in bytes. Letters of all languages, repeated, are large: a pattern
/// for names takes some of it.
const LARGEST_PATTERN: usize = 8 << 20;
/// What it may keep in memory of what it has seen, in bytes.
const PATTERN_CACHE: usize = 1 << 20;
/// What judging a value may take where schemas refer to others, in values that are looked at: some hundredths of a second.
const MOST_WORK: u64 = 1 << 20;
/// A value that is larger, or takes more, is told to be wrong, and not where: the validator finds everything that is wrong
/// or nothing, and takes a multiple for each.
const MOST_WORK_TO_TELL: u64 = 1 << 14;

/// How schemas are compiled.
pub(crate) fn options() -> ValidationOptions<'static> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .with_pattern_options(PatternOptions::regex().size_limit(LARGEST_PATTERN).dfa_size_limit(PATTERN_CACHE))
        .with_keyword("uniqueItems", |_, asked, _| Ok(Box::new(Unique(asked == true))))
        .with_keyword(COUNT, |_, _, _| Ok(Box::new(Counter)))
}

/// Judges a value, and has told what is wrong with it: by `tell` for each of what the validator found, which says whether
/// it takes more.
pub(crate) fn judge(
    validator: &Validator,
    value: &Value,
    told: &mut Vec<Violation>,
    mut tell: impl FnMut(&ValidationError<'_>, &mut Vec<Violation>) -> bool,
) {
    match work::within(MOST_WORK, || validator.is_valid(value)) {
        Some(true) => return,
        Some(false) => {}
        None => {
            return told
                .push(whole("depth", "has more choices inside of choices than can be judged: send less at once"));
        }
    }
    let is_small = work::size(value, MOST_WORK_TO_TELL) < MOST_WORK_TO_TELL;
    match is_small.then(|| work::within(MOST_WORK_TO_TELL, || validator.iter_errors(value))).flatten() {
        Some(mut errors) => drop(errors.find(|error| !tell(error, told))),
        None => told.push(whole("schema", "is not what is described here")),
    }
}

fn whole(rule: &str, message: &str) -> Violation {
    Violation { path: "".into(), rule: rule.into(), message: message.into() }
}
