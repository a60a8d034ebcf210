//! What a validator finds, in the words that all checks of contents have.

use std::collections::HashSet;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::LocationSegment;
use portcullis_core::Violation;

use crate::content::words::{Pointer, sentence};

/// What a member is refused with that only the server sets.
pub(super) const READ_ONLY: &str = "is set by the server and cannot be sent";
/// What a member of an answer is refused with that only clients send.
pub(super) const WRITE_ONLY: &str = "is never to be shown";

/// Tells an error. The first segment of its path is the entry of the book and is left out; `known` are the names that the
/// document itself has.
pub(super) fn tell(error: &ValidationError<'_>, known: &HashSet<String>, told: &mut Vec<Violation>) {
    let step = |at: &Pointer, name: &str| if known.contains(name) { at.step(name) } else { at.member(name) };
    let at = error.instance_path().segments().skip(1).fold(Pointer::default(), |at, segment| match segment {
        LocationSegment::Property(name) => step(&at, &name),
        LocationSegment::Index(index) => at.element(index),
    });
    let rule = error.kind().keyword();
    told.push(match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let unknown =
                |name: &String| step(&at, name).violation("additionalProperties", "is not a member that is known here");
            return told.extend(unexpected.iter().map(unknown));
        }
        ValidationErrorKind::Required { property } => {
            at.step(property.as_str().unwrap_or_default()).violation(rule, "is required")
        }
        ValidationErrorKind::Custom { message, .. } => {
            at.violation(if message == WRITE_ONLY { "writeOnly" } else { "readOnly" }, message.as_str())
        }
        kind => at.violation(rule, sentence(kind)),
    });
}
