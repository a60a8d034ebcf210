//! A document as it was read: its version, and its own parts by `$ref`. Nothing outside of it is ever fetched.

use portcullis_core::json::{self, Numbers, Reading};
use serde_json::{Map, Value};

use super::fault::{Fault, Place};
use super::{pointer, yaml};

/// A text larger than this is no contract.
const MOST_BYTES: usize = 32 << 20;
/// How many values a document may have, copies by alias included.
pub(super) const MOST_VALUES: usize = 2_000_000;
/// A chain of references longer than this goes in a circle, or might as well.
const MOST_HOPS: usize = 32;

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 8259.
    Json,
    /// YAML 1.2 by its core schema, which JSON is nearly a part of.
    Yaml,
}

/// Which rules the document's schemas follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// 3.0.x: a dialect of its own.
    V30,
    /// 3.1.x: JSON Schema 2020-12.
    V31,
}

/// A document as it was read.
#[derive(Debug)]
pub(super) struct Document {
    root: Value,
    pub(super) version: Version,
}

/// A part of the document with its place.
#[derive(Clone, Debug)]
pub(super) struct Part<'d> {
    pub(super) value: &'d Value,
    pub(super) pointer: String,
}

impl Document {
    pub(super) fn read(text: &str, format: Format) -> Result<Self, Fault> {
        if text.len() > MOST_BYTES {
            return Err(Fault::new("", format!("the document is larger than {} MiB", MOST_BYTES >> 20)));
        }
        let root = match format {
            Format::Yaml => yaml::read(text).map_err(|error| at_place(error.message, error.place))?,
            Format::Json => json(text)?,
        };
        let version = match root.get("openapi") {
            Some(Value::String(text)) if is_version(text, "3.0.") => Version::V30,
            Some(Value::String(text)) if is_version(text, "3.1.") => Version::V31,
            Some(other) => {
                let fault = Fault::new("/openapi", format!("OpenAPI {other} is not a version that is read here"));
                return Err(fault.hint("3.0.x and 3.1.x are, all three numbers written: \"3.1.0\""));
            }
            None if root.get("swagger").is_some() => {
                let fault = Fault::new("/swagger", "this is a document of Swagger 2.0");
                return Err(fault.hint("convert it to OpenAPI 3; most tools that write Swagger 2.0 can"));
            }
            None => {
                let fault = Fault::new("", "this is no OpenAPI document: the member \"openapi\" is missing");
                return Err(fault.hint("it begins with: openapi: 3.1.0"));
            }
        };
        Ok(Self { root, version })
    }

    pub(super) fn root(&self) -> Part<'_> {
        Part { value: &self.root, pointer: String::new() }
    }

    /// What stands at a JSON Pointer.
    pub(super) fn at(&self, pointer: &str) -> Option<Part<'_>> {
        Some(Part { value: self.root.pointer(pointer)?, pointer: pointer.to_owned() })
    }

    /// The pointer that a `$ref` at a place means.
    pub(super) fn target(&self, reference: &Value, from: &str) -> Result<String, Fault> {
        let here = pointer::join(from, &["$ref"]);
        let Some(text) = reference.as_str() else { return Err(Fault::new(&here, "a $ref is a text")) };
        let Some(fragment) = text.strip_prefix('#') else {
            let fault = Fault::new(&here, format!("{text:?} leads out of the document, and nothing is ever fetched"));
            return Err(fault.hint("bundle the document into one file first"));
        };
        let decoded = super::escape::decode(fragment, false)
            .map_err(|_| Fault::new(&here, format!("{text:?} is not a reference: its escapes are wrong")))?;
        if !(decoded.is_empty() || decoded.starts_with('/')) {
            let fault = Fault::new(&here, format!("{text:?} names an anchor, which is not read here"));
            return Err(fault.hint("write the way to it: \"#/components/schemas/NAME\""));
        }
        if self.root.pointer(&decoded).is_none() {
            return Err(Fault::new(&here, format!("there is nothing at {text:?}")));
        }
        // One spelling, because pointers are keys here.
        let mut spelled = String::new();
        for segment in decoded.split('/').skip(1) {
            pointer::push(&mut spelled, &segment.replace("~1", "/").replace("~0", "~"));
        }
        Ok(spelled)
    }

    /// Follows the `$ref`s of what is no schema: parameters, bodies, responses, path items.
    pub(super) fn follow<'d>(&'d self, part: Part<'d>) -> Result<Part<'d>, Fault> {
        let mut part = part;
        for _ in 0..MOST_HOPS {
            let Some(reference) = part.value.get("$ref") else { return Ok(part) };
            let pointer = self.target(reference, &part.pointer)?;
            let Some(next) = self.at(&pointer) else { return Ok(part) };
            part = next;
        }
        Err(Fault::new(&part.pointer, "the $ref goes in a circle"))
    }
}

impl<'d> Part<'d> {
    /// A member of the object.
    pub(super) fn member(&self, name: &str) -> Option<Part<'d>> {
        let value = self.value.get(name)?;
        Some(Part { value, pointer: pointer::join(&self.pointer, &[name]) })
    }

    /// The members of the object, none where it is none.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'d str, Part<'d>)> + use<'d> {
        let pointer = self.pointer.clone();
        self.value
            .as_object()
            .into_iter()
            .flatten()
            .map(move |(name, value)| (name.as_str(), Part { value, pointer: pointer::join(&pointer, &[name]) }))
    }

    /// The elements of the list, none where it is none.
    pub(super) fn elements(&self) -> impl Iterator<Item = Part<'d>> + use<'d> {
        let pointer = self.pointer.clone();
        self.value
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
            .map(move |(index, value)| Part { value, pointer: pointer::join(&pointer, &[&index.to_string()]) })
    }

    /// A member that is a text.
    pub(super) fn text(&self, name: &str) -> Option<&'d str> {
        self.value.get(name)?.as_str()
    }

    /// Whether a member is `true`.
    pub(super) fn is(&self, name: &str) -> bool {
        self.value.get(name) == Some(&Value::Bool(true))
    }

    /// The object, or what to say where it is none.
    pub(super) fn object(&self, what: &str) -> Result<&'d Map<String, Value>, Fault> {
        self.value.as_object().ok_or_else(|| Fault::new(&self.pointer, format!("{what} is an object")))
    }

    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(&self.pointer, message)
    }
}

fn is_version(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

fn json(text: &str) -> Result<Value, Fault> {
    let rules = Reading { depth: Reading::DEEPEST, values: MOST_VALUES, numbers: Numbers::Near };
    json::read(text.as_bytes(), rules).map_err(|error| {
        let before = text.as_bytes().get(..error.at).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        at_place(format!("not valid JSON: {}", error.why), Some(Place { line, column }))
    })
}

fn at_place(message: String, place: Option<Place>) -> Fault {
    Fault { place, ..Fault::new("", message) }
}
