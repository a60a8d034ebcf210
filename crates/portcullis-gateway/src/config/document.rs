//! From text to [`Raw`], with every mistake of shape found in one go.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::mistake::Mistake;
use super::raw::Raw;
use super::words::closest;

/// A file is not searched for mistakes beyond this many.
const MOST_MISTAKES: usize = 100;

/// A file as far as it could be read.
#[derive(Debug)]
pub(super) struct Document {
    /// What remains of it without the parts that are wrong.
    pub(super) raw: Raw,
    /// Paths of the keys that were left out because of an error (`limit.2.quota`), so that nobody complains of their
    /// absence as well.
    pub(super) damaged: BTreeSet<String>,
}

/// Reads a file. `None` where it is not TOML at all.
///
/// A deserializer stops at its first error. So each mistake is recorded, cut out of the parsed document by its span, and
/// the rest is read again until nothing is wrong with it any more.
pub(super) fn read(text: &str) -> (Option<Document>, Vec<Diagnostic>) {
    let (mut root, errors) = DeTable::parse_recoverable(text);
    let mut found: Vec<_> = errors.iter().map(syntax_error).collect();
    // Behind an error of syntax the parser guesses, so mistakes of shape would be guesses too; a key that is written twice
    // leaves no doubt about the rest.
    if errors.iter().any(|error| error.message() != "duplicate key") {
        return (None, found);
    }
    let mut damaged = BTreeSet::new();
    while found.len() < MOST_MISTAKES {
        let error = match Raw::deserialize(toml::Deserializer::from(root.clone())) {
            Ok(raw) => return (Some(Document { raw, damaged }), found),
            Err(error) => error,
        };
        let Some((span, path)) = error.span().and_then(|span| Some((span.clone(), cut(root.get_mut(), &span)?))) else {
            found.push(Diagnostic::error(error.span(), error.message()));
            return (None, found);
        };
        let mistake = Mistake::from(error.message());
        if let Mistake::UnknownKey { key, known } = &mistake
            && let Some(meant) = closest(key, known.iter().map(String::as_str))
        {
            damaged.insert(joined(&path[..path.len() - 1], meant));
        }
        damaged.insert(path.join("."));
        found.push(mistake.diagnostic(span, &path));
    }
    (None, found)
}

fn joined(parents: &[String], key: &str) -> String {
    parents.iter().map(String::as_str).chain([key]).collect::<Vec<_>>().join(".")
}

/// What the TOML parser says, with a hint for what people usually mean.
fn syntax_error(error: &toml::de::Error) -> Diagnostic {
    let (message, expected) = match error.message().split_once(", expected ") {
        Some((message, expected)) => (message, Some(expected)),
        None => (error.message(), None),
    };
    let found = Diagnostic::error(error.span(), format!("not valid TOML: {message}"));
    let found = match expected {
        Some(expected) if expected != "nothing" => found.expected(expected.replace('`', "\"")),
        _ => found,
    };
    match message {
        "duplicate key" => found.hint("it is written above already; remove one of the two"),
        "string values must be quoted" | "invalid float" | "invalid integer" | "extra digits" | "invalid datetime" => {
            found.hint("a text is written in quotes: key = \"value\"")
        }
        _ => found,
    }
}

/// Removes what lies at the span, and the whole key where it is an element of a list; returns the key's path.
fn cut(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<Vec<String>> {
    let mut path = Vec::new();
    cut_in_table(table, span, &mut path).then_some(path)
}

fn cut_in_table(table: &mut DeTable<'_>, span: &Range<usize>, path: &mut Vec<String>) -> bool {
    for (key, value) in table.iter_mut() {
        path.push(key.get_ref().to_string());
        if cut_in_value(value.get_mut(), span, path) {
            return true;
        }
        path.pop();
    }
    let here = table.iter().find(|(key, value)| key.span() == *span || lies_at(value, span));
    let Some(name) = here.map(|(key, _)| key.get_ref().to_string()) else { return false };
    table.remove(name.as_str());
    path.push(name);
    true
}

/// Whether the span is the value's own, or that of an element of the list that the value is.
fn lies_at(value: &toml::Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    value.span() == *span
        || matches!(value.get_ref(), DeValue::Array(list) if list.iter().any(|element| lies_at(element, span)))
}

/// Whether something was cut out below the value; a list whose element is at fault goes as a whole, and is cut by the
/// table that holds it.
fn cut_in_value(value: &mut DeValue<'_>, span: &Range<usize>, path: &mut Vec<String>) -> bool {
    match value {
        DeValue::Table(table) => cut_in_table(table, span, path),
        DeValue::Array(list) => {
            for (index, element) in list.iter_mut().enumerate() {
                path.push(index.to_string());
                if cut_in_value(element.get_mut(), span, path) {
                    return true;
                }
                path.pop();
            }
            false
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Report;

    fn told(text: &str) -> String {
        let (_, found) = read(text);
        Report::new("portcullis.toml", text, found).to_string()
    }

    #[test]
    fn print() {
        for text in [
            "lisen = \"127.0.0.1:80\"\nupstream = 5\n[[limit]]\nname = \"a\"\nquotta = \"5 per 15m\"\ncount = \"failure\"\n[cors]\norigins = [\"x\"]\n",
            "[[routes]]\nmatch = \"/\"\n[limit]\nname = 1\n[[route]]\nmatch = [\"/a\", 5]\npermissions = { al = [\"x\"] }\nbody = { max = true }\n",
            "listen = 127.0.0.1\n[client\nx = 1\n",
            "listen = \"a\"\nlisten = \"b\"\n[client]\nhead_timeout = 5\n",
            "[client]\na=1\n[client]\nb=1\n",
            "route = [3]\n[roles]\na = 5\n[identity]\ndatabase = 5\n[[issuer]]\nsecret = \"hunter2\"\n",
            "[[limit]]\nquota = { by = \"plan\", free = 5 }\nmatch={}\n",
            "x = \"unterminated\ny = 1\n",
            "a.b.c = 1\nclient.head_timeout = 7\n",
        ] {
            eprintln!("{}------", told(text));
        }
    }
}
