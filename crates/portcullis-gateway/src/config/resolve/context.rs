//! What every part of resolving needs: where findings go, and how single values are read.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use portcullis_core::HumanDuration;

use crate::config::diagnostic::Diagnostic;
use crate::config::outside::Outside;
use crate::config::raw::{At, DurationText, PathText, SizeText, Text};

/// Collects findings while a file is resolved. A wrong value is reported and replaced by its default, so that the rest
/// is still checked.
pub(super) struct Context<'a> {
    pub(super) outside: &'a dyn Outside,
    /// Where relative paths start.
    pub(super) folder: &'a Path,
    damaged: BTreeSet<String>,
    found: Vec<Diagnostic>,
}

impl<'a> Context<'a> {
    pub(super) const fn new(
        outside: &'a dyn Outside,
        folder: &'a Path,
        damaged: BTreeSet<String>,
        found: Vec<Diagnostic>,
    ) -> Self {
        Self { outside, folder, damaged, found }
    }

    pub(super) fn into_findings(self) -> Vec<Diagnostic> {
        self.found
    }

    pub(super) fn push(&mut self, found: Diagnostic) {
        self.found.push(found);
    }

    /// Reports a required key that is absent, unless it was written and already reported.
    pub(super) fn missing(&mut self, table: &str, key: &str, span: Range<usize>, example: &str) {
        if !self.damaged.contains(&format!("{table}.{key}")) {
            self.push(
                Diagnostic::error(span, format!("\"{key}\" is missing")).hint(format!("add for example: {example}")),
            );
        }
    }

    /// Whether a key was written and found wrong.
    pub(super) fn is_damaged(&self, path: &str) -> bool {
        self.damaged.contains(path)
    }

    /// Whether a section, or anything in it, was written and found wrong.
    pub(super) fn is_damaged_below(&self, section: &str) -> bool {
        self.damaged.iter().any(|path| path.split('.').next() == Some(section))
    }

    /// Reads a text as a type that says itself what is wrong with it.
    pub(super) fn parse<T: FromStr<Err: Display>>(&mut self, text: &str, span: Range<usize>) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.push(Diagnostic::error(span, error.to_string()));
                None
            }
        }
    }

    /// A duration within bounds.
    pub(super) fn duration(
        &mut self,
        written: Option<&At<DurationText>>,
        default: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(at) = written else { return default };
        let Some(HumanDuration(duration)) = self.parse(at.get().as_str(), at.span()) else { return default };
        if bounds.contains(&duration) {
            return duration;
        }
        let [least, most] = [*bounds.start(), *bounds.end()].map(HumanDuration);
        let found = Diagnostic::error(at.span(), format!("\"{}\" is out of bounds", at.get().as_str()));
        self.push(found.expected(format!("a duration from {least} to {most}")));
        default
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, written: Option<&At<u64>>, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        let Some(at) = written else { return default };
        if bounds.contains(at.get()) {
            return *at.get();
        }
        let found = Diagnostic::error(at.span(), format!("{} is out of bounds", at.get()));
        self.push(found.expected(format!("a number from {} to {}", bounds.start(), bounds.end())));
        default
    }

    /// The same for what counts things in memory.
    pub(super) fn count(&mut self, written: Option<&At<u64>>, default: usize, bounds: RangeInclusive<u64>) -> usize {
        let number = self.number(written, default as u64, bounds);
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    /// A size in bytes within bounds.
    pub(super) fn size(&mut self, written: Option<&At<SizeText>>, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        let Some(at) = written else { return default };
        let bytes = match at.get() {
            SizeText::Bytes(bytes) => *bytes,
            SizeText::Text(text) => {
                let Some(bytes) = parse_size(text) else {
                    let found = Diagnostic::error(at.span(), format!("\"{text}\" is not a size"));
                    self.push(found.expected("a number with B, KiB, MiB, GiB, kB, MB or GB, such as \"10KiB\""));
                    return default;
                };
                bytes
            }
        };
        if bounds.contains(&bytes) {
            return bytes;
        }
        let found = Diagnostic::error(at.span(), format!("{bytes} bytes are out of bounds"));
        self.push(found.expected(format!("a size from {} to {}", in_words(*bounds.start()), in_words(*bounds.end()))));
        default
    }

    /// A path; a relative one starts at the folder of the file.
    pub(super) fn path(&self, at: &At<PathText>) -> PathBuf {
        self.folder.join(at.get().as_str())
    }

    /// A name: what ends up in records, metrics and headers.
    pub(super) fn name(&mut self, at: &At<Text>) -> Option<Box<str>> {
        let text = at.get().as_str();
        if is_name(text) {
            return Some(text.into());
        }
        let found = Diagnostic::error(at.span(), format!("{text:?} is not a name"));
        self.push(found.expected("up to 64 letters, digits, \"-\", \"_\", \".\" or \":\""));
        None
    }

    /// A text without control characters that is not empty.
    pub(super) fn text(&mut self, at: &At<Text>) -> Option<Box<str>> {
        let text = at.get().as_str();
        let problem = if text.trim().is_empty() {
            "an empty text"
        } else if text.chars().any(char::is_control) {
            "a text with control characters"
        } else {
            return Some(text.into());
        };
        self.push(Diagnostic::error(at.span(), format!("{problem} cannot stand here")));
        None
    }
}

/// Whether a text is a name.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    !text.is_empty() && text.len() <= 64 && text.bytes().all(allowed)
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn in_words(bytes: u64) -> String {
    for (unit, size) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("10KiB"), Some(10_240));
        assert_eq!(parse_size("1 MB"), Some(1_000_000));
        assert_eq!(parse_size("7"), Some(7));
        for wrong in ["", "KiB", "1.5MiB", "-1", "1 mib", "99999999999999999999GiB", "18446744073709551615KiB"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
        assert_eq!(in_words(1 << 20), "1MiB");
        assert_eq!(in_words(1_000), "1000B");
    }

    #[test]
    fn names_go_into_headers_and_labels() {
        assert!(is_name("posts:read") && is_name("auth-endpoints"));
        assert!(!is_name("") && !is_name("a b") && !is_name("a,b") && !is_name("a\nb") && !is_name(&"x".repeat(65)));
    }
}
