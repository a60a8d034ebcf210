//! JSON as a verifier must read it: no duplicate members at any depth, bounded nesting (RFC 8725 §2.4, RFC 7515 §4).
//!
//! Two programs that pick different ones of two members called `sub` disagree about who somebody is.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Deeper than any real token nests.
const MAX_DEPTH: usize = 16;

/// The text is not one JSON object, has a member twice, or nests too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON object with unique members")]
pub(crate) struct NotAnObject;

/// Parses one JSON object.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, NotAnObject> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut reader).map_err(|_| NotAnObject)?;
    reader.end().map_err(|_| NotAnObject)?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(NotAnObject),
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with unique members")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(deeper)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(deeper)?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_members_are_refused_at_any_depth() {
        assert!(object(br#"{"sub":"a","exp":1,"x":{"y":[1,null,true,1.5]}}"#).is_ok());
        for text in [
            r#"{"sub":"a","sub":"b"}"#,
            r#"{"x":{"y":1,"y":1}}"#,
            r#"{"x":[{"y":1,"\u0079":2}]}"#,
            r#"{"a":1} "#.trim_end().trim_end_matches('}'),
            r#"{"a":1}{"b":2}"#,
            r#"[1]"#,
            r#""text""#,
            "",
        ] {
            assert!(object(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(object(nested(10).as_bytes()).is_ok());
        assert!(object(nested(100).as_bytes()).is_err());
        assert!(object(nested(100_000).as_bytes()).is_err());
    }
}
