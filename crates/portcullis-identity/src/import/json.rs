//! JSON lines: one object a line.

use std::fmt;
use std::io::{self, BufRead, Read as _};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::row::{Column, RowRefused};
use super::{Fields, MAX_ROW, Read, Rows, Value};

/// Reads objects from lines.
pub(super) struct JsonRows<'a> {
    input: &'a mut dyn BufRead,
    ignore: &'a [String],
    line: u64,
    bytes: u64,
    held: Vec<u8>,
}

impl<'a> JsonRows<'a> {
    pub(super) fn new(input: &'a mut dyn BufRead, ignore: &'a [String]) -> Self {
        Self { input, ignore, line: 0, bytes: 0, held: Vec::new() }
    }

    fn object(&self, bytes: &[u8]) -> Result<Fields, RowRefused> {
        let text = std::str::from_utf8(bytes).map_err(|_| RowRefused::NotUtf8)?;
        let Object(pairs) = serde_json::from_str(text).map_err(|_| RowRefused::Syntax("one JSON object"))?;
        let mut fields = Fields::with_capacity(pairs.len());
        for (name, value) in pairs {
            let Some(column) = Column::named(&name, self.ignore)? else { continue };
            if fields.iter().any(|(held, _)| *held == column) {
                return Err(RowRefused::Repeated(column));
            }
            let value =
                value.ok_or(RowRefused::Wrong { column, must: "Must be a text, a whole number, true or false" })?;
            fields.push((column, value));
        }
        Ok(fields)
    }
}

impl Rows for JsonRows<'_> {
    fn next(&mut self) -> io::Result<Option<Read>> {
        loop {
            self.held.clear();
            self.line += 1;
            let limit = u64::try_from(MAX_ROW + 1).unwrap_or(u64::MAX);
            let read = (&mut *self.input).take(limit).read_until(b'\n', &mut self.held)?;
            if read == 0 {
                return Ok(None);
            }
            self.bytes += u64::try_from(read).unwrap_or(u64::MAX);
            if read > MAX_ROW && self.held.last() != Some(&b'\n') {
                self.bytes += skip_line(self.input)?;
                return Ok(Some(Read { line: self.line, fields: Err(RowRefused::TooLong) }));
            }
            let mut bytes = self.held.trim_ascii();
            if self.line == 1 {
                bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            }
            if bytes.is_empty() {
                continue;
            }
            return Ok(Some(Read { line: self.line, fields: self.object(bytes) }));
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Passes over the rest of a line without holding it; gives its bytes.
pub(super) fn skip_line(input: &mut dyn BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let held = input.fill_buf()?;
        let (used, ended) = match held.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (held.len(), held.is_empty()),
        };
        input.consume(used);
        skipped += u64::try_from(used).unwrap_or(u64::MAX);
        if ended {
            return Ok(skipped);
        }
    }
}

/// The members of an object in their order, so that one that is there twice is seen. A value that no column has is `None`.
struct Object(Vec<(String, Option<Value>)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key()? {
                    let Scalar(value) = map.next_value()?;
                    members.push((name, value));
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

struct Scalar(Option<Value>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any {
            Text(String),
            Bool(bool),
            Number(i64),
            Nothing(()),
            Other(IgnoredAny),
        }
        Ok(Self(match Any::deserialize(deserializer)? {
            Any::Text(text) => Some(Value::Text(text)),
            Any::Bool(truth) => Some(Value::Bool(truth)),
            Any::Number(number) => Some(Value::Number(number)),
            Any::Nothing(()) => Some(Value::Nothing),
            Any::Other(IgnoredAny) => None,
        }))
    }
}
