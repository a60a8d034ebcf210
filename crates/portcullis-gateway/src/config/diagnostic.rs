//! What is wrong or risky in a file, shown with its place, its line and a caret.

use std::fmt;
use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The file cannot be used.
    Error,
    /// The file can be used, and somebody should think about it again.
    Warning,
}

/// One finding in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub level: Level,
    /// The bytes of the file it is about; `None` where nothing in the file is (an absent key, no file at all).
    pub span: Option<Range<usize>>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What was expected instead.
    pub expected: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether the value must not be shown, because it may hold a secret.
    concealed: bool,
}

impl Diagnostic {
    /// An error about a part of the file.
    #[must_use]
    pub fn error(span: impl Into<Option<Range<usize>>>, message: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            span: span.into(),
            message: message.into(),
            expected: None,
            hint: None,
            concealed: false,
        }
    }

    /// A warning about a part of the file.
    #[must_use]
    pub fn warning(span: impl Into<Option<Range<usize>>>, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(span, message) }
    }

    /// Adds what was expected.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the value out of what is shown: reports end up in journals.
    #[must_use]
    pub const fn concealed(mut self) -> Self {
        self.concealed = true;
        self
    }
}

/// Everything found in one file, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file's name, as it was given.
    file: String,
    text: String,
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// A report about a file. The findings are put into the order of the file; those about no place come last.
    #[must_use]
    pub fn new(file: impl Into<String>, text: impl Into<String>, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|found| found.span.as_ref().map_or(usize::MAX, |span| span.start));
        Self { file: file.into(), text: text.into(), diagnostics }
    }

    /// The findings.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many errors there are.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.count(Level::Error)
    }

    /// How many warnings there are.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.count(Level::Warning)
    }

    fn count(&self, level: Level) -> usize {
        self.diagnostics.iter().filter(|found| found.level == level).count()
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, found: &Diagnostic) -> fmt::Result {
        let level = match found.level {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        let notes = [("expected", &found.expected), ("hint", &found.hint)];
        let notes = notes.iter().filter_map(|(word, text)| Some((word, text.as_ref()?)));
        let Some(span) = &found.span else {
            writeln!(f, "{}: {level}: {}", self.file, found.message)?;
            for (word, text) in notes {
                writeln!(f, "  = {word}: {text}")?;
            }
            return Ok(());
        };
        let place = Place::of(&self.text, span);
        writeln!(f, "{}:{}:{}: {level}: {}", self.file, place.line, place.column, found.message)?;
        let number = place.line.to_string();
        let gutter = " ".repeat(number.len());
        let (line, width) = if found.concealed { (place.head(), 1) } else { (printable(place.text), place.width) };
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {line}")?;
        writeln!(f, "{gutter} | {}{}", " ".repeat(place.column - 1), "^".repeat(width))?;
        for (word, text) in notes {
            writeln!(f, "{gutter} = {word}: {text}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, found) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            self.show(f, found)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// Where a span lies: lines and columns count from one, columns in characters.
struct Place<'t> {
    line: usize,
    column: usize,
    /// Characters under which carets are put, at least one.
    width: usize,
    text: &'t str,
    /// Bytes of the line before the span, and up to its end.
    start: usize,
    end: usize,
}

impl<'t> Place<'t> {
    fn of(text: &'t str, span: &Range<usize>) -> Self {
        let floor = |mut index: usize| {
            index = index.min(text.len());
            while !text.is_char_boundary(index) {
                index -= 1;
            }
            index
        };
        let start = floor(span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
        let end = floor(span.end).clamp(start, line_end);
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            width: text[start..end].trim_end().chars().count().max(1),
            text: text[line_start..line_end].trim_end_matches('\r'),
            start: start - line_start,
            end: end - line_start,
        }
    }

    /// The line without the value at or after the span.
    fn head(&self) -> String {
        let before = self.text[..self.start].trim_end();
        // The span of a value stands behind an equals sign or inside of a list; the span of a key does not.
        let is_value = before.ends_with(['=', '[', ',', ':']);
        if is_value {
            printable(&self.text[..self.start]) + "…"
        } else {
            printable(&self.text[..self.end.min(self.text.len())]) + " …"
        }
    }
}

/// The line with one blank for each tab and control character: carets stay under what they mean, and a file cannot
/// steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, found: Diagnostic) -> String {
        Report::new("f.toml", text, vec![found]).to_string()
    }

    #[test]
    fn a_finding_shows_its_place_its_line_and_a_caret() {
        let found = Diagnostic::error(9..14, "\"abc\" is not good").expected("something good").hint("try harder");
        let text = "x = 1\ny =\t\"abc\"\n";
        let found = Diagnostic { span: Some(10..15), ..found };
        assert_eq!(
            shown(text, found),
            "f.toml:2:5: error: \"abc\" is not good\n  |\n2 | y = \"abc\"\n  |     ^^^^^\n  = expected: something good\n  \
             = hint: try harder\n"
        );
    }

    #[test]
    fn columns_count_characters_and_survive_any_span() {
        let text = "ü = \"ä\"";
        assert!(shown(text, Diagnostic::error(5..9, "m")).starts_with("f.toml:1:5: "));
        for start in 0..=text.len() + 2 {
            for end in start..=text.len() + 2 {
                shown(text, Diagnostic::error(start..end, "m"));
                shown(text, Diagnostic::error(start..end, "m").concealed());
            }
        }
    }

    #[test]
    fn a_concealed_value_is_not_shown() {
        let text = "database = \"postgres://u:hunter2@h/d\"";
        let value = shown(text, Diagnostic::error(11..text.len(), "m").concealed());
        assert_eq!(value, "f.toml:1:12: error: m\n  |\n1 | database = …\n  |            ^\n");
        let key = shown(text, Diagnostic::error(0..8, "m").concealed());
        assert_eq!(key, "f.toml:1:1: error: m\n  |\n1 | database …\n  | ^\n");
    }

    #[test]
    fn a_finding_without_a_place_names_the_file_only() {
        assert_eq!(shown("", Diagnostic::warning(None, "m").hint("h")), "f.toml: warning: m\n  = hint: h\n");
    }

    #[test]
    fn findings_stand_in_the_order_of_the_file() {
        let report = Report::new(
            "f",
            "abc",
            vec![
                Diagnostic::error(None, "last"),
                Diagnostic::error(2..3, "second"),
                Diagnostic::warning(0..1, "first"),
            ],
        );
        let order: Vec<_> = report.diagnostics().iter().map(|found| found.message.as_str()).collect();
        assert_eq!(order, ["first", "second", "last"]);
        assert_eq!((report.errors(), report.warnings()), (2, 1));
    }
}
