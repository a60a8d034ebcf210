//! JSON that is read in one way only (RFC 8259, and what RFC 7493 adds to it).
//!
//! Whoever decides about a text and whoever acts on it are two programs. Where a text lets them disagree (two members of
//! one name, a number that one of them rounds, half of a surrogate pair), the one that decides has decided about
//! nothing. Such a text is refused here, whatever it says.

mod number;
mod reader;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

pub use self::number::Numbers;

/// How much a text may ask of its reader, and which numbers it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// How many objects and arrays may stand inside one another.
    pub depth: usize,
    /// How many values there may be, objects and arrays among them: each takes memory, however few bytes it is written in.
    pub values: usize,
    /// Which numbers are read.
    pub numbers: Numbers,
}

impl Reading {
    /// Deeper nesting than this would cost the stack, whatever a configuration says.
    pub const DEEPEST: usize = 128;
}

impl Default for Reading {
    /// Depth 32, ten thousand values, exact numbers.
    fn default() -> Self {
        Self { depth: 32, values: 10_000, numbers: Numbers::Exact }
    }
}

/// Why a text is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Wrong {
    /// There is nothing.
    #[error("there is no JSON text")]
    Empty,
    /// It begins with a byte order mark (RFC 8259 §8.1).
    #[error("a byte order mark stands before the text")]
    ByteOrderMark,
    /// It is not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// It ends too soon.
    #[error("the text ends too soon")]
    Ends,
    /// Something else than JSON stands there.
    #[error("this is not JSON")]
    Syntax,
    /// Something follows the text.
    #[error("something follows after the end")]
    Trailing,
    /// A control character stands in a string unescaped.
    #[error("a control character has to be escaped")]
    Control,
    /// An escape that JSON does not have.
    #[error("this escape is not one of JSON's")]
    Escape,
    /// Half of a surrogate pair, which is no character (RFC 7493 §2.1).
    #[error("half of a surrogate pair is no character")]
    Surrogate,
    /// An object has a member twice, escapes undone (RFC 7493 §2.3).
    #[error("a member stands twice in one object")]
    Duplicate,
    /// Nested more deeply than is read.
    #[error("the text is nested too deeply")]
    Depth,
    /// More values than are read.
    #[error("there are too many values")]
    Values,
    /// A number that programs read differently (RFC 7493 §2.2).
    #[error("the number is larger or more precise than programs agree on")]
    Number,
}

/// A text that is not read: why, and the byte at which it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{why} (at byte {at})")]
pub struct Unreadable {
    /// Why.
    pub why: Wrong,
    /// Where, in bytes from the start.
    pub at: usize,
}

/// Reads one JSON text.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read(bytes: &[u8], rules: Reading) -> Result<Value, Unreadable> {
    reader::read(bytes, rules)
}

/// Reads one JSON text that has to be an object.
///
/// # Errors
/// As [`read`]; what is no object is [`Wrong::Syntax`] at its first byte.
pub fn object(bytes: &[u8], rules: Reading) -> Result<Map<String, Value>, Unreadable> {
    match read(bytes, rules)? {
        Value::Object(members) => Ok(members),
        _ => Err(Unreadable { why: Wrong::Syntax, at: 0 }),
    }
}
