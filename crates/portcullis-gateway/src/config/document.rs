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
        Some(expected) if expected != "nothing" && !message.ends_with("string") => {
            found.expected(expected.replace('`', "\""))
        }
        _ => found,
    };
    match message {
        "duplicate key" => found.hint("it is written above already; remove one of the two"),
        "invalid basic string" | "invalid literal string" => found.hint("is the closing quotation mark missing?"),
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

    #[test]
    fn what_is_wrong_is_cut_out_and_the_rest_is_read() {
        let text = "listen = 5\nupstream = \"http://a\"\n[[limit]]\nname = \"a\"\n[[limit]]\nquotta = 1\nkey = [\"user\", 5]\n";
        let (document, found) = read(text);
        let document = document.unwrap();
        assert_eq!(found.len(), 3);
        assert!(document.raw.listen.is_none() && document.raw.upstream.is_some());
        assert_eq!(document.raw.limit.map(|limits| limits.len()), Some(2), "places of other limits do not move");
        for path in ["listen", "limit.1.quotta", "limit.1.quota", "limit.1.key"] {
            assert!(document.damaged.contains(path), "{path} in {:?}", document.damaged);
        }
    }

    #[test]
    fn a_list_is_no_table() {
        for text in
            ["client = [\"10.0.0.0/8\"]", "[[tokens]]\naudience = \"a\"", "roles = [1]", "route = [[\"GET /\"]]"]
        {
            let (_, found) = read(text);
            assert_eq!(found.len(), 1, "{text}");
        }
    }

    #[test]
    fn any_text_is_read_or_told_but_never_a_panic_or_a_loop() {
        let pieces = [
            "[[limit]]",
            "[client]",
            "listen",
            "=",
            "\"a\"",
            "5",
            "{",
            "}",
            "[",
            "]",
            "\n",
            ".",
            "quota",
            ",",
            "true",
            "é",
        ];
        // A small generator of its own keeps the test the same at every run.
        let mut state = 7_u64;
        for _ in 0..3_000 {
            let mut text = String::new();
            for _ in 0..12 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
                text.push(' ');
            }
            let (document, found) = read(&text);
            assert!(document.is_some() || !found.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_file_full_of_mistakes_ends() {
        let text: String = (0..1_000).map(|index| format!("k{index} = 1\n")).collect();
        let (document, found) = read(&text);
        assert!(document.is_none());
        assert_eq!(found.len(), MOST_MISTAKES);
    }
}
