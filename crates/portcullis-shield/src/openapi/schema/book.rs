//! All schemas of a document in one compiled whole, so that what many operations refer to is compiled once.
//!
//! The whole is a schema of an object whose members are the entries; a value is judged as the one member of such an
//! object. Nothing is resolved outside of it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jsonschema::paths::Location;
use jsonschema::{Keyword, ValidationError, Validator};
use portcullis_core::Violation;
use serde_json::{Map, Value, json};

use super::discriminator::Heirs;
use super::translate::{Form, REFUSED, Way, translate};
use super::walk;
use crate::judging::{self, words, work};
use crate::openapi::document::{Document, Part};
use crate::openapi::fault::Fault;

/// No more violations than this are told of one value.
const MOST_TOLD: usize = 20;
/// Faults beyond this are not looked for.
const MOST_FAULTS: usize = 50;

/// A schema of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::openapi) struct Entry(usize);

/// A form of a schema that stands somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    pointer: String,
    form: Form,
}

/// A book that is being written.
#[derive(Debug)]
pub(in crate::openapi) struct Draft<'d> {
    document: &'d Document,
    heirs: Arc<Heirs>,
    numbers: HashMap<Key, usize>,
    keys: Vec<Key>,
    entries: BTreeSet<Entry>,
    patterns: HashSet<String>,
    names: HashSet<String>,
    faults: Vec<Fault>,
}

impl<'d> Draft<'d> {
    pub(in crate::openapi) fn new(document: &'d Document) -> Self {
        Self {
            document,
            heirs: Arc::new(Heirs::of_document(document)),
            numbers: HashMap::new(),
            keys: Vec::new(),
            entries: BTreeSet::new(),
            patterns: HashSet::new(),
            names: HashSet::new(),
            faults: Vec::new(),
        }
    }

    pub(in crate::openapi) const fn document(&self) -> &'d Document {
        self.document
    }

    pub(super) fn heirs(&self) -> Arc<Heirs> {
        Arc::clone(&self.heirs)
    }

    /// An entry for a schema; `closed` to members that it does not name.
    pub(in crate::openapi) fn enter(&mut self, schema: &Part<'_>, way: Way, closed: bool) -> Entry {
        let entry = Entry(self.number(&schema.pointer, Form { way, closed, whole: true }));
        self.entries.insert(entry);
        entry
    }

    /// The reference to a form of what stands at a pointer; it is translated later, once.
    pub(super) fn place(&mut self, pointer: &str, form: Form) -> Value {
        format!("#/$defs/{}", self.number(pointer, form)).into()
    }

    fn number(&mut self, pointer: &str, form: Form) -> usize {
        let key = Key { pointer: pointer.to_owned(), form };
        let next = self.keys.len();
        let number = *self.numbers.entry(key.clone()).or_insert(next);
        if number == next {
            self.keys.push(key);
        }
        number
    }

    /// Notes what is wrong; a place that is needed in several forms is told once.
    pub(in crate::openapi) fn fault(&mut self, fault: Fault) {
        if self.faults.len() < MOST_FAULTS && !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Notes the name of a member, which is no secret.
    pub(super) fn name(&mut self, name: &str) {
        if !self.names.contains(name) {
            self.names.insert(name.to_owned());
        }
    }

    /// Tries a pattern, so that one that cannot be used is told with its place.
    pub(super) fn pattern(&mut self, pattern: &str, pointer: &str) {
        if !self.patterns.insert(pattern.to_owned()) {
            return;
        }
        if let Err(error) = options().build(&json!({ "pattern": pattern })) {
            let fault = Fault::new(pointer, format!("the pattern cannot be used: {error}"));
            self.fault(fault.hint("patterns run in linear time here: no look-around, no back-references"));
        }
    }

    /// Translates and compiles everything that was entered.
    pub(in crate::openapi) fn finish(mut self) -> Result<Book, Vec<Fault>> {
        let mut definitions = Map::new();
        while let Some(Key { pointer, form }) = self.keys.get(definitions.len()).cloned() {
            let number = definitions.len();
            let schema = self.document.at(&pointer);
            let translated = schema.map_or(Value::Bool(false), |schema| match walk::ends(self.document, &schema) {
                Ok(()) => translate(&mut self, form, &schema),
                Err(fault) => {
                    self.fault(fault);
                    Value::Bool(false)
                }
            });
            definitions.insert(number.to_string(), translated);
            if self.faults.len() >= MOST_FAULTS {
                break;
            }
        }
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        let name = |entry: &Entry| entry.0.to_string();
        let entries: Map<String, Value> =
            self.entries.iter().map(|entry| (name(entry), json!({ "$ref": format!("#/$defs/{}", entry.0) }))).collect();
        count_recurring(&mut definitions);
        let whole = json!({ "$defs": definitions, "properties": entries });
        match options().build(&whole) {
            Ok(validator) => Ok(Book { validator, names: self.names }),
            Err(error) => Err(vec![self.blamed(&error)]),
        }
    }

    /// The fault of the document behind an error of what was made from it.
    fn blamed(&self, error: &ValidationError<'_>) -> Fault {
        let place = |path: &Location| {
            let rest = path.as_str().strip_prefix("/$defs/")?;
            let (number, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let key = self.keys.get(number.parse::<usize>().ok()?)?;
            Some(format!("{}{rest}", key.pointer))
        };
        let pointer = place(error.instance_path()).or_else(|| place(error.schema_path())).unwrap_or_default();
        Fault::new(&pointer, format!("not a schema: {error}"))
    }
}

/// Makes those definitions count that can lead back to themselves: all others cost what they cost, once.
fn count_recurring(definitions: &mut Map<String, Value>) {
    let mut leads: HashMap<String, HashSet<String>> = definitions
        .iter()
        .map(|(number, schema)| {
            let mut targets = HashSet::new();
            targets_of(schema, &mut targets);
            (number.clone(), targets)
        })
        .collect();
    let mut open: HashMap<String, Vec<String>> = HashMap::new();
    for (from, targets) in &leads {
        targets.iter().for_each(|to| open.entry(to.clone()).or_default().push(from.clone()));
    }
    // What leads nowhere any more is taken away, until only ways without an end are left.
    let mut ends: Vec<String> = leads.iter().filter(|(_, to)| to.is_empty()).map(|(from, _)| from.clone()).collect();
    while let Some(end) = ends.pop() {
        leads.remove(&end);
        for from in open.get(&end).into_iter().flatten() {
            if let Some(targets) = leads.get_mut(from)
                && targets.remove(&end)
                && targets.is_empty()
            {
                ends.push(from.clone());
            }
        }
    }
    if !leads.is_empty() {
        // What they lead to is done as often as they are.
        definitions.values_mut().for_each(work::count);
    }
}

fn targets_of(schema: &Value, targets: &mut HashSet<String>) {
    match schema {
        Value::Object(members) => {
            let target = members.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/$defs/"));
            targets.extend(target.map(str::to_owned));
            members.values().for_each(|value| targets_of(value, targets));
        }
        Value::Array(list) => list.iter().for_each(|value| targets_of(value, targets)),
        _ => {}
    }
}

/// How schemas are compiled: nothing is fetched.
fn options() -> jsonschema::ValidationOptions<'static> {
    judging::options()
        .with_format("byte", is_base64)
        .with_keyword(REFUSED, |_, mark, _| {
            Ok(Box::new(Refused(if mark == "writeOnly" { words::WRITE_ONLY } else { words::READ_ONLY })))
        })
        .offline()
}

/// Base64 as `format: byte` of OpenAPI 3.0 means it (RFC 4648 §4).
fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    text.len().is_multiple_of(4)
        && padding <= 2
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

/// The keyword that refuses a member that does not go this way.
struct Refused(&'static str);

impl<'i> Keyword<'i> for Refused {
    fn validate(&self, _: &'i Value) -> Result<(), ValidationError<'i>> {
        Err(ValidationError::custom(self.0))
    }

    fn is_valid(&self, _: &'i Value) -> bool {
        false
    }
}

/// Every schema of a document, compiled.
#[derive(Debug)]
pub(in crate::openapi) struct Book {
    validator: Validator,
    /// The names of members that the document has.
    names: HashSet<String>,
}

impl Book {
    /// What is wrong with a value by an entry, with JSON Pointers into it; nothing where it is as the entry says.
    pub(in crate::openapi) fn judge(&self, entry: Entry, value: &mut Value) -> Vec<Violation> {
        let mut whole = Map::new();
        whole.insert(entry.0.to_string(), value.take());
        let whole = Value::Object(whole);
        let mut found = Vec::new();
        judging::judge(&self.validator, &whole, &mut found, |error, found| {
            words::tell_error(error, 1, |name| self.names.contains(name), found);
            found.truncate(MOST_TOLD);
            found.len() < MOST_TOLD
        });
        if let Value::Object(whole) = whole
            && let Some((_, given)) = whole.into_iter().next()
        {
            *value = given;
        }
        found
    }
}
