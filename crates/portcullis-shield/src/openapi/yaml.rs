//! YAML 1.2 by its core schema, into the values of JSON, within bounds.
//!
//! What two programs could read differently is refused: a key that stands twice, a tag, a merge key, several documents in
//! one file. An alias is a copy, and copies count: a file of a few lines cannot become a billion values.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};
use serde_json::{Map, Number, Value};

use super::document::MOST_VALUES;
use super::fault::Place;
use super::pointer;

/// How deep a document may nest. The largest ones in use stay under 40.
const MOST_LEVELS: usize = 200;

/// Why a text is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) place: Option<Place>,
    pub(super) message: String,
}

/// Reads one document.
pub(super) fn read(text: &str) -> Result<Value, Unreadable> {
    let mut reader = Reader::new(None);
    reader.run(text)?;
    reader.root.take().ok_or_else(|| Unreadable { place: None, message: "the document is empty".to_owned() })
}

/// Where in the text the value at a JSON Pointer stands, or the deepest one around it that exists.
pub(super) fn locate(text: &str, wanted: &str) -> Option<Place> {
    let mut reader = Reader::new(Some(wanted));
    // What could be read up to a mistake is good enough for a place.
    drop(reader.run(text));
    reader.found.map(|(_, place)| place)
}

/// A collection that is not complete.
enum Open {
    Map { entries: Map<String, Value>, key: Option<String> },
    List(Vec<Value>),
}

/// A collection with what is to be done when it ends.
struct Frame {
    open: Open,
    anchor: usize,
    /// How many values there were before it.
    before: usize,
}

struct Reader<'w> {
    stack: Vec<Frame>,
    root: Option<Value>,
    documents: usize,
    /// What anchors stand for, with the number of values in it.
    anchors: HashMap<usize, (Value, usize)>,
    values: usize,
    /// The pointer that is looked for, where one is.
    wanted: Option<&'w str>,
    /// The deepest place on the way to it, with the length of its pointer.
    found: Option<(usize, Place)>,
}

impl<'w> Reader<'w> {
    fn new(wanted: Option<&'w str>) -> Self {
        Self { stack: Vec::new(), root: None, documents: 0, anchors: HashMap::new(), values: 0, wanted, found: None }
    }

    fn run(&mut self, text: &str) -> Result<(), Unreadable> {
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error: ScanError| Unreadable {
                place: Some(place(*error.marker())),
                message: format!("not valid YAML: {}", error.info()),
            })?;
            self.take(event, span.start).map_err(|message| Unreadable { place: Some(place(span.start)), message })?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, at: Marker) -> Result<(), String> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 { Err("there is more than one document in the file".to_owned()) } else { Ok(()) }
            }
            Event::Alias(anchor) => {
                let Some((value, size)) = self.anchors.get(&anchor) else {
                    return Err("the alias stands inside of what it stands for".to_owned());
                };
                let (value, size) = (value.clone(), *size);
                self.count(size)?;
                if self.is_key() {
                    return Err("an alias cannot be a key".to_owned());
                }
                self.enter(at);
                self.finish(value);
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let weight = weight_of(&text);
                self.count(weight)?;
                if self.is_key() {
                    return self.key(text.into_owned(), style, at);
                }
                let value = match tag {
                    None if style == ScalarStyle::Plain => plain(&text)?,
                    None => Value::String(text.into_owned()),
                    Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Value::String(text.into_owned()),
                    Some(_) => return Err("tags are not read here; write the value without one".to_owned()),
                };
                self.enter(at);
                if anchor != 0 {
                    self.anchors.insert(anchor, (value.clone(), weight));
                }
                self.finish(value);
                Ok(())
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(Open::List(Vec::new()), anchor, tag.is_some_and(|tag| tag.suffix != "seq"), at)
            }
            Event::MappingStart(anchor, tag) => {
                let open = Open::Map { entries: Map::new(), key: None };
                self.open(open, anchor, tag.is_some_and(|tag| tag.suffix != "map"), at)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.stack.pop() else { return Ok(()) };
                let value = match frame.open {
                    Open::Map { entries, .. } => Value::Object(entries),
                    Open::List(list) => Value::Array(list),
                };
                if frame.anchor != 0 {
                    self.anchors.insert(frame.anchor, (value.clone(), self.values - frame.before));
                }
                self.finish(value);
                Ok(())
            }
        }
    }

    /// Whether the next value is the key of an entry.
    fn is_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { open: Open::Map { key: None, .. }, .. }))
    }

    /// Keys are texts, however they look: `200` among the responses is the status, and `on` is no truth.
    fn key(&mut self, text: String, style: ScalarStyle, at: Marker) -> Result<(), String> {
        if text == "<<" && style == ScalarStyle::Plain {
            return Err("merge keys (\"<<\") are not read here; write the members out".to_owned());
        }
        let Some(Frame { open: Open::Map { entries, key }, .. }) = self.stack.last_mut() else { return Ok(()) };
        if entries.contains_key(&text) {
            return Err(format!("the key {text:?} stands here twice"));
        }
        *key = Some(text);
        self.note(at);
        Ok(())
    }

    fn open(&mut self, open: Open, anchor: usize, tagged: bool, at: Marker) -> Result<(), String> {
        if tagged {
            return Err("tags are not read here; write the value without one".to_owned());
        }
        if self.is_key() {
            return Err("only a text can be a key".to_owned());
        }
        if self.stack.len() >= MOST_LEVELS {
            return Err(format!("the document nests deeper than {MOST_LEVELS} levels"));
        }
        let before = self.values;
        self.count(1)?;
        self.enter(at);
        self.stack.push(Frame { open, anchor, before });
        Ok(())
    }

    fn count(&mut self, values: usize) -> Result<(), String> {
        self.values = self.values.saturating_add(values);
        if self.values > MOST_VALUES {
            return Err(format!("the document has more than {MOST_VALUES} values, copies by alias included"));
        }
        Ok(())
    }

    /// A value begins that is no key; an element of a list is found by its own place.
    fn enter(&mut self, at: Marker) {
        if !matches!(self.stack.last(), Some(Frame { open: Open::Map { .. }, .. })) {
            self.note(at);
        }
    }

    /// Keeps the place where it is on the way to the one that is looked for.
    fn note(&mut self, at: Marker) {
        let Some(wanted) = self.wanted else { return };
        let mut pointer = String::new();
        for frame in &self.stack {
            match &frame.open {
                Open::Map { key, .. } => pointer::push(&mut pointer, key.as_deref().unwrap_or_default()),
                Open::List(list) => pointer::push(&mut pointer, &list.len().to_string()),
            }
        }
        let on_the_way = wanted.strip_prefix(&*pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if on_the_way && self.found.is_none_or(|(length, _)| length <= pointer.len()) {
            self.found = Some((pointer.len(), place(at)));
        }
    }

    /// A value is complete.
    fn finish(&mut self, value: Value) {
        match self.stack.last_mut().map(|frame| &mut frame.open) {
            None => self.root = Some(value),
            Some(Open::List(list)) => list.push(value),
            Some(Open::Map { entries, key }) => {
                if let Some(key) = key.take() {
                    entries.insert(key, value);
                }
            }
        }
    }
}

/// A long text counts as several values: a copy of it takes as much memory.
const fn weight_of(text: &str) -> usize {
    1 + text.len() / 64
}

fn place(marker: Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

/// What a scalar without quotes means by the core schema (YAML 1.2.2 §10.3.2).
fn plain(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        ".inf" | ".Inf" | ".INF" | "-.inf" | "+.inf" | ".nan" | ".NaN" | ".NAN" => {
            return Err(format!("JSON has no number {text}"));
        }
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return Ok(Value::String(text.to_owned()));
    }
    let radix = |rest: &str, radix| u64::from_str_radix(rest, radix).ok().filter(|_| !rest.starts_with('+'));
    let whole = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(rest), _) => radix(rest, 16).map(Number::from),
        (_, Some(rest)) => radix(rest, 8).map(Number::from),
        _ => text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok(),
    };
    if let Some(number) = whole {
        return Ok(Value::Number(number));
    }
    let looks_like_one = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && text.bytes().any(|byte| byte.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(number) if looks_like_one => match Number::from_f64(number) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(format!("the number {text} is too large")),
        },
        _ => Ok(Value::String(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_is_read_by_its_core_schema() {
        let text = "a: 1\nb: [0x10, 0o17, -3, 1.5, 1e3, ~, null, true, yes, 'no', \"x\\n\", 1.2.3, 2024-01-01]\n\
                    c:\n  200: ok\n  on: {}\nd: |\n  two\n  lines\ne:\n- - 1\n";
        assert_eq!(
            read(text).unwrap(),
            json!({
                "a": 1,
                "b": [16, 15, -3, 1.5, 1000.0, null, null, true, "yes", "no", "x\n", "1.2.3", "2024-01-01"],
                "c": {"200": "ok", "on": {}}, "d": "two\nlines\n", "e": [[1]],
            })
        );
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused_with_its_place() {
        for (text, line, message) in [
            ("a: 1\nb: 2\na: 3\n", 3, "the key \"a\" stands here twice"),
            ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "merge keys"),
            ("a: !!binary aGk=\n", 1, "tags are not read"),
            ("a: 1\n---\nb: 2\n", 2, "more than one document"),
            ("a: .inf\n", 1, "JSON has no number"),
            ("a: 1e999\n", 1, "too large"),
            ("? [a]\n: 1\n", 1, "only a text can be a key"),
            ("a: &x [*x]\n", 1, "inside of what it stands for"),
            ("a: [1\nb: 2", 2, "not valid YAML"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message.contains(message), "{text}: {}", error.message);
            assert_eq!(error.place.map(|place| place.line), Some(line), "{text}");
        }
        assert!(read("").unwrap_err().message.contains("empty"));
    }

    #[test]
    fn aliases_are_copies_and_copies_count() {
        assert_eq!(
            read("a: &x {b: [1]}\nc: *x\nd: &y 5\ne: *y\n").unwrap(),
            json!({"a": {"b": [1]}, "c": {"b": [1]}, "d": 5, "e": 5})
        );
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let before = level - 1;
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(","));
        }
        assert!(read(&bomb).unwrap_err().message.contains("copies by alias included"));
        let long = "x".repeat(100_000);
        let bomb = format!("a: &a {long}\nb: [{}]", vec!["*a"; 5_000].join(","));
        assert!(read(&bomb).unwrap_err().message.contains("copies by alias included"));
        assert!(read(&"- ".repeat(5_000)).unwrap_err().message.contains("deeper"));
        assert!(read(&"[".repeat(500_000)).is_err(), "no stack is used up");
    }

    #[test]
    fn a_pointer_has_a_place_in_the_text() {
        let text =
            "openapi: 3.1.0\npaths:\n  /a~b/{c}:\n    get:\n      parameters:\n        - name: x\n        - name: y\n";
        for (pointer, line, column) in [
            ("/openapi", 1, 1),
            ("/paths/~1a~0b~1{c}/get", 4, 5),
            ("/paths/~1a~0b~1{c}/get/parameters/1/name", 7, 11),
            ("/paths/~1a~0b~1{c}/get/parameters/1/in", 7, 11),
            ("/paths/~1a~0b~1{c}/get/responses", 4, 5),
        ] {
            assert_eq!(locate(text, pointer), Some(Place { line, column }), "{pointer}");
        }
        let json = "{\n\t\"paths\": {\n\t\t\"/a\": {\"get\": 5}\n\t}\n}";
        assert_eq!(locate(json, "/paths/~1a/get").map(|place| place.line), Some(3), "JSON has places too");
    }
}
