//! JSON Schema 2020-12, compiled once. Formats hold, patterns run in linear time, and nothing is ever fetched.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::{Retrieve, Uri, ValidationError, Validator};
use portcullis_core::Violation;
use serde_json::Value;

use super::MOST_TOLD;
use crate::judging::{self, words, work};

/// The only dialect that is spoken.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Where the folder of a schema lies for its references. It is two steps deep so that a reference out of the folder ends
/// somewhere else instead of being cut off at the root.
const FOLDER: &str = "file:///portcullis/schemas/";
/// Where a reference out of that folder ends.
const ABOVE: &str = "file:///portcullis/";
/// Files that one schema may consist of.
const MOST_FILES: usize = 64;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    /// The names that stand in it: these are no secrets of a client's.
    names: HashSet<Box<str>>,
}

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaFault {
    /// What is wrong, and where in the schema.
    pub message: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

impl SchemaFault {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }
}

impl Schema {
    /// Compiles a schema. `read` gives the files that it refers to, by their path below the folder in which it lies: nothing
    /// outside of that folder is asked for, and nothing over a network.
    ///
    /// # Errors
    /// The first thing that is wrong with the schema or with one that it refers to.
    pub fn compile(schema: &Value, mut read: impl FnMut(&str) -> Result<Value, String>) -> Result<Self, SchemaFault> {
        check_dialect(schema)?;
        let mut files: HashMap<String, Value> = HashMap::new();
        loop {
            let wanted = Wanted::default();
            let retriever = Folder { files: files.clone(), wanted: wanted.clone() };
            match options(retriever).build(schema) {
                Ok(validator) => {
                    let mut names = HashSet::new();
                    files.values().chain([schema]).for_each(|document| collect_names(document, &mut names));
                    let validator = if files.values().chain([schema]).any(work::refers) {
                        counting(schema, files)?
                    } else {
                        validator
                    };
                    return Ok(Self { validator, names });
                }
                Err(error) => match wanted.take() {
                    Some(Want::File(name)) if files.len() < MOST_FILES => {
                        let document = read(&name).map_err(SchemaFault::new)?;
                        check_dialect(&document)?;
                        files.insert(name, document);
                    }
                    Some(Want::File(_)) => {
                        return Err(SchemaFault::new(format!("the schema consists of more than {MOST_FILES} files")));
                    }
                    Some(Want::Foreign(uri)) => {
                        let uri = uri.strip_prefix(ABOVE).map_or(uri.clone(), |rest| format!("../{rest}"));
                        let fault = SchemaFault::new(format!("\"$ref\" to {uri} is not followed"));
                        return Err(fault.hint("references stay in the folder of the schema, and nothing is fetched"));
                    }
                    None => return Err(fault(&error)),
                },
            }
        }
    }

    /// Tells what is wrong with a value.
    pub(super) fn judge(&self, value: &Value, told: &mut Vec<Violation>) {
        judging::judge(&self.validator, value, told, |error, told| {
            words::tell_error(error, 0, |name| self.names.contains(name), told);
            told.truncate(MOST_TOLD);
            told.len() < MOST_TOLD
        });
    }
}

/// The same schema, made to count. It was compiled as it stands before, so that faults are told of what somebody wrote.
fn counting(schema: &Value, mut files: HashMap<String, Value>) -> Result<Validator, SchemaFault> {
    let mut schema = schema.clone();
    files.values_mut().chain([&mut schema]).for_each(work::count);
    options(Folder { files, wanted: Wanted::default() }).build(&schema).map_err(|error| fault(&error))
}

fn options(retriever: Folder) -> jsonschema::ValidationOptions<'static> {
    judging::options()
        .with_base_uri(format!("{FOLDER}schema"))
        .should_ignore_unknown_formats(false)
        .with_retriever(retriever)
}

fn check_dialect(schema: &Value) -> Result<(), SchemaFault> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err(SchemaFault::new("a schema is an object"));
    }
    match schema.get("$schema") {
        None => Ok(()),
        Some(Value::String(dialect)) if dialect.trim_end_matches('#') == DIALECT => Ok(()),
        Some(_) => Err(SchemaFault::new("\"$schema\" names another dialect than 2020-12")
            .hint("write \"$schema\": \"https://json-schema.org/draft/2020-12/schema\", or leave it out")),
    }
}

/// What the compiler says, with the place in the schema.
fn fault(error: &ValidationError<'_>) -> SchemaFault {
    let at = error.instance_path().as_str();
    let place = if at.is_empty() { String::new() } else { format!(" at {at}") };
    let fault = SchemaFault::new(format!("the schema cannot be used{place}: {error}"));
    let is_pattern =
        ["/pattern", "/patternProperties"].iter().any(|end| at.contains(end)) || error.to_string().contains("regex");
    if is_pattern {
        return fault.hint("patterns run in linear time here: no look-around, no back-references, and of bounded size");
    }
    fault
}

fn collect_names(schema: &Value, names: &mut HashSet<Box<str>>) {
    match schema {
        Value::Object(members) => {
            for (name, value) in members {
                names.insert(name.as_str().into());
                collect_names(value, names);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect_names(element, names)),
        _ => {}
    }
}

/// What the compiler asked for and did not get.
#[derive(Clone, Debug)]
enum Want {
    /// A file below the folder.
    File(String),
    /// Something else.
    Foreign(String),
}

#[derive(Clone, Debug, Default)]
struct Wanted(Arc<Mutex<Option<Want>>>);

impl Wanted {
    fn note(&self, want: Want) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(want);
    }

    fn take(&self) -> Option<Want> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The files that are known already.
struct Folder {
    files: HashMap<String, Value>,
    wanted: Wanted,
}

impl Retrieve for Folder {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        let Some(name) = below_folder(uri.as_str()) else {
            self.wanted.note(Want::Foreign(uri.as_str().to_owned()));
            return Err("not followed".into());
        };
        self.files.get(&name).cloned().ok_or_else(|| {
            self.wanted.note(Want::File(name));
            "not read yet".into()
        })
    }
}

/// The path below the folder; `None` for what lies elsewhere, or could be read as lying elsewhere.
fn below_folder(uri: &str) -> Option<String> {
    let name = uri.strip_prefix(FOLDER)?;
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['%', '\\', ':', '?', '#']);
    name.split('/').all(is_plain).then(|| name.to_owned())
}
