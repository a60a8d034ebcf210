//! What a validator finds, in the words of our own answers: a place, a rule and a sentence, and never the value.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use portcullis_core::Violation;

use crate::openapi::pointer;

/// What a member is refused with that only the server sets.
pub(super) const READ_ONLY: &str = "is set by the server and cannot be sent";
/// What a member of an answer is refused with that only clients send.
pub(super) const WRITE_ONLY: &str = "is never to be shown";

/// A name that a client made up is not repeated beyond this.
const LONGEST_NAME: usize = 64;

/// Tells an error. The first segment of its path is the entry of the book and is left out.
pub(super) fn tell(error: &ValidationError<'_>, told: &mut Vec<Violation>) {
    let path = error.instance_path().as_str();
    let path = path.get(1..).and_then(|rest| rest.find('/').map(|at| &rest[at..])).unwrap_or_default();
    let rule = error.kind().keyword();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            for name in unexpected {
                let short: String = name.chars().take(LONGEST_NAME).collect();
                let path = pointer::join(path, &[&short]);
                told.push(violation(&path, "additionalProperties", "is not a member that is known here"));
            }
        }
        ValidationErrorKind::Required { property } => {
            let path = pointer::join(path, &[property.as_str().unwrap_or_default()]);
            told.push(violation(&path, rule, "is required"));
        }
        ValidationErrorKind::PropertyNames { .. } => {
            told.push(violation(path, rule, "has a member whose name is not allowed"));
        }
        ValidationErrorKind::Custom { message, .. } => {
            let rule = if message == WRITE_ONLY { "writeOnly" } else { "readOnly" };
            told.push(violation(path, rule, message));
        }
        kind => told.push(violation(path, rule, &sentence(kind))),
    }
}

fn violation(path: &str, rule: &str, message: &str) -> Violation {
    Violation { path: path.into(), rule: rule.into(), message: message.into() }
}

/// The sentence for what is not about names. Limits come from the document, which is no secret of the client's.
fn sentence(kind: &ValidationErrorKind) -> String {
    match kind {
        ValidationErrorKind::Type { kind: TypeKind::Single(one) } => format!("must be of type {one}"),
        ValidationErrorKind::Type { kind: TypeKind::Multiple(several) } => {
            let names: Vec<String> = several.iter().map(|kind| kind.to_string()).collect();
            format!("must be of type {}", names.join(" or "))
        }
        ValidationErrorKind::Minimum { limit } => format!("must be at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("must be at most {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        ValidationErrorKind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        ValidationErrorKind::MinLength { limit } => format!("must have at least {limit} characters"),
        ValidationErrorKind::MaxLength { limit } => format!("must have at most {limit} characters"),
        ValidationErrorKind::MinItems { limit } => format!("must have at least {limit} items"),
        ValidationErrorKind::MaxItems { limit } => format!("must have at most {limit} items"),
        ValidationErrorKind::MinProperties { limit } => format!("must have at least {limit} members"),
        ValidationErrorKind::MaxProperties { limit } => format!("must have at most {limit} members"),
        ValidationErrorKind::UniqueItems => "must not have the same item twice".to_owned(),
        ValidationErrorKind::Format { format } => format!("must be in the format {format}"),
        ValidationErrorKind::Pattern { .. } => "does not have the required form".to_owned(),
        ValidationErrorKind::Enum { .. } | ValidationErrorKind::Constant { .. } => {
            "is not one of the allowed values".to_owned()
        }
        ValidationErrorKind::AnyOf { .. } | ValidationErrorKind::OneOfNotValid { .. } => {
            "fits none of the allowed shapes".to_owned()
        }
        ValidationErrorKind::OneOfMultipleValid { .. } => "fits more than one of the allowed shapes".to_owned(),
        _ => "is not allowed".to_owned(),
    }
}
