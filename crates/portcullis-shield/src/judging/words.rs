//! What is wrong with a value in words that never repeat it: it may be a secret that was put in the wrong place.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::LocationSegment;
use portcullis_core::Violation;
use serde_json::Value;

/// The longest name of a member that is repeated, in bytes.
const LONGEST_NAME: usize = 40;
/// Digits that a name may have; a secret has more.
const MOST_DIGITS: usize = 4;
/// The longest place that is told, in bytes.
const LONGEST_PATH: usize = 256;
/// Allowed values that are listed.
const MOST_LISTED: usize = 8;
/// Members of one place that are told to be unknown.
const MOST_NAMES: usize = 32;
/// What a member is refused with that only the server sets.
pub(crate) const READ_ONLY: &str = "is set by the server and cannot be sent";
/// What a member of an answer is refused with that only clients send.
pub(crate) const WRITE_ONLY: &str = "is never to be shown";
/// The longest sentence, in bytes.
const LONGEST_SENTENCE: usize = 200;

/// A place in a value: a JSON Pointer (RFC 6901) in which a name that the client made up and that looks like no name is `*`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pointer(String);

impl Pointer {
    pub(crate) fn member(&self, name: &str) -> Self {
        self.step(if is_ordinary(name) { name } else { "*" })
    }

    pub(crate) fn element(&self, index: usize) -> Self {
        self.step(&index.to_string())
    }

    /// A step whose name is the configuration's own.
    pub(crate) fn step(&self, name: &str) -> Self {
        if self.0.len() + name.len() >= LONGEST_PATH {
            return self.clone();
        }
        let mut longer = self.0.clone();
        longer.push('/');
        for character in name.chars() {
            match character {
                '~' => longer.push_str("~0"),
                '/' => longer.push_str("~1"),
                character => longer.push(character),
            }
        }
        Self(longer)
    }

    pub(crate) fn violation(&self, rule: &str, message: impl Into<Box<str>>) -> Violation {
        Violation { path: self.0.as_str().into(), rule: rule.into(), message: message.into() }
    }
}

/// Whether a client's name for a member looks like one that a programmer chose.
pub(crate) fn is_ordinary(name: &str) -> bool {
    // A programmer writes `@type`; with the sign anywhere else it is somebody's address.
    let usual = |(place, byte): (usize, u8)| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$') || (byte == b'@' && place == 0)
    };
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().enumerate().all(usual)
        && name.bytes().filter(u8::is_ascii_digit).count() <= MOST_DIGITS
}

/// Tells what a validator found. The first `entry` segments of a path are not the value's and are left out; `known` says
/// whether a name is the schema's own.
pub(crate) fn tell_error(
    error: &ValidationError<'_>,
    entry: usize,
    known: impl Fn(&str) -> bool,
    told: &mut Vec<Violation>,
) {
    let step = |at: &Pointer, name: &str| if known(name) { at.step(name) } else { at.member(name) };
    let at = error.instance_path().segments().skip(entry).fold(Pointer::default(), |at, segment| match segment {
        LocationSegment::Property(name) => step(&at, &name),
        LocationSegment::Index(index) => at.element(index),
    });
    let rule = error.kind().keyword();
    told.push(match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            // Which of the two keywords closed it is the schema's affair.
            let unknown =
                |name: &String| step(&at, name).violation("additionalProperties", "is not a member that is known here");
            return told.extend(unexpected.iter().take(MOST_NAMES).map(unknown));
        }
        ValidationErrorKind::Required { property } => {
            property.as_str().map_or_else(|| at.clone(), |name| at.step(name)).violation(rule, "is required")
        }
        ValidationErrorKind::Custom { keyword, message } => at.violation(own_rule(keyword, message), message.as_str()),
        kind => at.violation(rule, sentence(kind)),
    });
}

/// What a broken rule of ours is called.
fn own_rule<'r>(keyword: &'r str, message: &str) -> &'r str {
    match message {
        READ_ONLY => "readOnly",
        WRITE_ONLY => "writeOnly",
        _ => keyword,
    }
}

/// The sentence for a broken rule. The limits in it are the schema's.
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
        ValidationErrorKind::AdditionalItems { limit } => format!("must have no more than {limit} items"),
        ValidationErrorKind::UnevaluatedItems { .. } => "has items that are not known here".to_owned(),
        ValidationErrorKind::Contains => "lacks an item that it must have".to_owned(),
        ValidationErrorKind::Format { format } => format!("must be in the format {format}"),
        // A pattern may be the secret itself, such as the form of a voucher.
        ValidationErrorKind::Pattern { .. } => "does not have the required form".to_owned(),
        ValidationErrorKind::Enum { options } => one_of(options),
        ValidationErrorKind::PropertyNames { .. } => "has a member whose name is not allowed".to_owned(),
        ValidationErrorKind::AnyOf { .. } | ValidationErrorKind::OneOfNotValid { .. } => {
            "fits none of the allowed shapes".to_owned()
        }
        ValidationErrorKind::OneOfMultipleValid { .. } => "fits more than one of the allowed shapes".to_owned(),
        _ => "is not allowed".to_owned(),
    }
}

/// What may be chosen from, where that is short.
fn one_of(options: &Value) -> String {
    let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
    let listed: Option<Vec<String>> = options
        .iter()
        .map(|option| match option {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(word) => Some(word.to_string()),
            Value::Null => Some("null".to_owned()),
            Value::Array(_) | Value::Object(_) => None,
        })
        .collect();
    listed
        .filter(|listed| listed.len() <= MOST_LISTED)
        .map(|listed| format!("must be one of {}", listed.join(", ")))
        .filter(|sentence| sentence.len() <= LONGEST_SENTENCE)
        .unwrap_or_else(|| "is not one of the allowed values".to_owned())
}
