//! How parameters are written (`style` and `explode` of OpenAPI), read back into values.
//!
//! What could be read in two ways is refused: a scalar that stands twice, a separator that is escaped once and once is not, a
//! name inside of brackets inside of brackets.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use super::escape::{self, BadEscape};
use super::schema::{Kind, Shape};

/// How a parameter is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `1,2,3`
    Simple,
    /// `.1.2.3`
    Label,
    /// `;ids=1,2,3`
    Matrix,
    /// `ids=1,2,3`, `ids=1&ids=2`
    Form,
    /// `ids=1%202%203`
    Space,
    /// `ids=1|2|3`
    Pipe,
    /// `filter[name]=x`
    Deep,
}

/// Why a text is not a value of its parameter: a rule and a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) rule: &'static str,
    pub(super) message: &'static str,
}

const fn wrong<T>(rule: &'static str, message: &'static str) -> Result<T, Wrong> {
    Err(Wrong { rule, message })
}

impl From<BadEscape> for Wrong {
    fn from(_: BadEscape) -> Self {
        Self { rule: "encoding", message: "is not UTF-8, or has a \"%\" without two hex digits" }
    }
}

/// How texts are taken that could be meant as they are or as something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// `5` as a number where that is possible.
    Typed,
    /// `5` as a text where that is possible.
    AsText,
}

/// Members that are part of every object in JavaScript: whoever builds objects of parameters is changed by them as a whole
/// ("prototype pollution").
const POISON: [&str; 3] = ["__proto__", "constructor", "prototype"];
/// A number is not longer.
const LONGEST_NUMBER: usize = 64;

/// One text, as far as it is known which kinds of value may be meant.
pub(super) fn scalar(text: &str, shape: &Shape, taken: Taken) -> Value {
    if taken == Taken::AsText && shape.takes_text() {
        return Value::String(text.to_owned());
    }
    let any = shape.says_nothing();
    if (any || shape.has(Kind::Boolean)) && (text == "true" || text == "false") {
        return Value::Bool(text == "true");
    }
    if (any || shape.has(Kind::Integer) || shape.has(Kind::Number))
        && let Some(number) = number(text, any || shape.has(Kind::Number))
    {
        return Value::Number(number);
    }
    if shape.has(Kind::Null) && (text.is_empty() || text == "null") {
        return Value::Null;
    }
    Value::String(text.to_owned())
}

/// A number as JSON writes it, so that no other reader of numbers takes it for another one. Whole ones fit in 64 bits.
fn number(text: &str, fraction: bool) -> Option<Number> {
    if text.len() > LONGEST_NUMBER {
        return None;
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole_length = digits.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = digits.split_at(whole_length);
    if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    if rest.is_empty() {
        return text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok();
    }
    if !fraction {
        return None;
    }
    let (fraction, exponent) = match rest.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (rest, None),
    };
    let only_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fraction_is_good = fraction.is_empty() || fraction.strip_prefix('.').is_some_and(only_digits);
    if !fraction_is_good || !exponent.is_none_or(only_digits) {
        return None;
    }
    text.parse::<f64>().ok().and_then(Number::from_f64)
}

/// What of a value is meant, where one text or several are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    Scalar,
    List,
    Object,
}

/// What a schema means with so many texts.
pub(super) fn meant(shape: &Shape, texts: usize) -> Meant {
    let scalars = [Kind::String, Kind::Integer, Kind::Number, Kind::Boolean];
    let or_scalar = shape.says_nothing() || scalars.iter().any(|kind| shape.has(*kind));
    if shape.has(Kind::Object) && !shape.has(Kind::Array) && !or_scalar {
        Meant::Object
    } else if shape.has(Kind::Array) && (texts > 1 || !or_scalar) {
        Meant::List
    } else {
        Meant::Scalar
    }
}

/// A value that is written as one text: in a path, a header, a cookie, or a query without `explode`. `encoded` texts are
/// decoded once; `plus` takes `+` for a space.
pub(super) fn one_text(
    style: Style,
    explode: bool,
    name: &str,
    raw: &str,
    shape: &Shape,
    taken: Taken,
    decoding: Decoding,
) -> Result<Value, Wrong> {
    let separator = match style {
        Style::Space => ' ',
        Style::Pipe => '|',
        Style::Label if explode => '.',
        Style::Matrix if explode => ';',
        _ => ',',
    };
    // A prefix is part of how it is written, and is never escaped.
    let raw = match style {
        Style::Label => match raw.strip_prefix('.') {
            Some(rest) => rest,
            None => return wrong("style", "must begin with \".\""),
        },
        Style::Matrix => match raw.strip_prefix(';') {
            Some(rest) => rest,
            None => return wrong("style", "must begin with \";\""),
        },
        _ => raw,
    };
    let decoded = decoding.decode(raw)?;
    let text = &*decoded;
    let several = text.contains(separator);
    let meant = meant(shape, if several { 2 } else { 1 });
    let ambiguous = decoding != Decoding::None
        && separator != ' '
        && raw.contains(separator)
        && text.matches(separator).count() > raw.matches(separator).count();
    if ambiguous && meant != Meant::Scalar {
        return wrong("style", "has its separator both as it is and escaped");
    }
    let after_name = |part: &'_ str| -> Option<String> { Some(part.strip_prefix(name)?.strip_prefix('=')?.to_owned()) };
    match (meant, style) {
        (Meant::Scalar, Style::Matrix) => match after_name(text) {
            Some(text) => Ok(scalar(&text, shape, taken)),
            None if text == name => Ok(scalar("", shape, taken)),
            None => wrong("style", "must be written as \";name=value\""),
        },
        (Meant::Scalar, _) => Ok(scalar(text, shape, taken)),
        (Meant::List, Style::Matrix) if explode => {
            let parts: Option<Vec<String>> = text.split(';').map(after_name).collect();
            match parts {
                Some(parts) => Ok(list(parts.iter().map(String::as_str), shape, taken)),
                None => wrong("style", "must be written as \";name=value\" for each value"),
            }
        }
        (Meant::List | Meant::Object, Style::Matrix) if !explode => {
            let Some(rest) = after_name(text) else { return wrong("style", "must be written as \";name=values\"") };
            separated(&rest, ',', meant, false, shape, taken)
        }
        _ => separated(text, separator, meant, explode, shape, taken),
    }
}

/// How a text is decoded before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoding {
    /// It is what it is: a header.
    None,
    /// Percent-decoding: a path, a cookie.
    Percent,
    /// As forms do it, where `+` is a space: a query.
    Form,
}

impl Decoding {
    pub(super) fn decode(self, raw: &str) -> Result<Cow<'_, str>, BadEscape> {
        match self {
            Self::None => Ok(Cow::Borrowed(raw)),
            Self::Percent => escape::decode(raw, false),
            Self::Form => escape::decode(raw, true),
        }
    }
}

fn separated(
    text: &str,
    separator: char,
    meant: Meant,
    explode: bool,
    shape: &Shape,
    taken: Taken,
) -> Result<Value, Wrong> {
    let parts = text.split(separator);
    if meant == Meant::List {
        return Ok(list(parts, shape, taken));
    }
    let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    if explode {
        for part in parts {
            let Some((name, value)) = part.split_once('=') else {
                return wrong("style", "must be written as name=value for each member");
            };
            pairs.push((name.into(), value.into()));
        }
    } else {
        let mut parts = parts;
        while let Some(name) = parts.next() {
            let Some(value) = parts.next() else {
                return wrong("style", "must be written as a name and a value for each member");
            };
            pairs.push((name.into(), value.into()));
        }
    }
    object(pairs, shape, taken)
}

/// A list of texts.
pub(super) fn list<'t>(texts: impl Iterator<Item = &'t str>, shape: &Shape, taken: Taken) -> Value {
    let unknown = Shape::default();
    let item = shape.items.as_deref().unwrap_or(&unknown);
    texts.map(|text| scalar(text, item, taken)).collect()
}

/// An object of members and texts. A member stands there once, unless it is a list.
pub(super) fn object(pairs: Vec<(Cow<'_, str>, Cow<'_, str>)>, shape: &Shape, taken: Taken) -> Result<Value, Wrong> {
    let unknown = Shape::default();
    let mut members = Map::new();
    for (name, text) in pairs {
        if POISON.contains(&&*name) {
            return wrong("style", "names a member that no object may have");
        }
        let member = shape.members.get(&*name).or(shape.more.as_deref()).unwrap_or(&unknown);
        if self::meant(member, 1) == Meant::List {
            let item = member.items.as_deref().unwrap_or(&unknown);
            let value = scalar(&text, item, taken);
            match members.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(list) => list.push(value),
                _ => return wrong("duplicate", "has a member more than once"),
            }
        } else if members.insert(name.into_owned(), scalar(&text, member, taken)).is_some() {
            return wrong("duplicate", "has a member more than once");
        }
    }
    Ok(Value::Object(members))
}

/// The key of `filter[key]`, behind the name of the parameter.
pub(super) fn deep_key(rest: &str) -> Result<&str, Wrong> {
    let inside = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inside {
        Some(key) if !key.is_empty() && !key.contains(['[', ']']) => Ok(key),
        _ => wrong("style", "must be written as name[member]=value"),
    }
}
