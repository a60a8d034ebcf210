//! A bench of several parts: which of them are asked for, and the tables that they are written to.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::figure::{Figure, table};

/// One part of a bench, with a table of its own.
pub(super) trait Part: Copy + PartialEq + 'static {
    /// Every part, in the order in which they are measured.
    const ALL: &'static [Self];

    /// Its name on the command line.
    fn word(self) -> &'static str;

    /// What stands above its table.
    fn title(self) -> &'static str;
}

/// The parts that a list names.
pub(super) fn parse<P: Part>(list: &str) -> Result<Vec<P>, String> {
    let part = |word: &str| {
        let found = P::ALL.iter().copied().find(|part| part.word() == word);
        found.ok_or_else(|| {
            let known: Vec<&str> = P::ALL.iter().map(|part| part.word()).collect();
            format!("there is no part \"{word}\"; there are {}", known.join(", "))
        })
    };
    list.split(',').map(part).collect()
}

/// What a part measured, and what has to be said beside it.
pub(super) struct Measured {
    pub(super) figures: Vec<Figure>,
    /// Who was measured and who was left out, one sentence each.
    pub(super) notes: Vec<String>,
}

/// Measures the parts that are asked for, prints, and writes their tables into the directory.
pub(super) fn run<P: Part>(
    command: &str,
    asked: &[P],
    directory: &Path,
    mut measure: impl FnMut(P) -> Result<Measured, String>,
) -> Result<(), String> {
    let mut text =
        format!("Measured by `{command}` on {}; load average at the start {}.\n", super::machine(), load_average());
    let results = directory.join(file(asked));
    for part in P::ALL.iter().copied().filter(|part| asked.contains(part)) {
        println!("{}", part.title());
        let measured = measure(part)?;
        let _ = write!(text, "\n### {}\n\n{}", part.title(), table(&measured.figures));
        for note in measured.notes {
            let _ = write!(text, "\n{note}\n");
        }
        let _ = writeln!(text, "\nLoad average when this part was done: {}.", load_average());
        // After each part, so that one that fails takes nothing away from those before it.
        fs::write(&results, &text).map_err(|error| format!("{}: {error}", results.display()))?;
    }
    println!("\n{text}\nwritten: {}", results.display());
    Ok(())
}

/// Some of the parts have a file of their own, so that they can be measured one by one.
fn file<P: Part>(asked: &[P]) -> String {
    let words: Vec<&str> = P::ALL.iter().filter(|part| asked.contains(part)).map(|part| part.word()).collect();
    if words.len() == P::ALL.len() { "results.md".to_owned() } else { format!("results-{}.md", words.join("-")) }
}

/// Of the last minute.
fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Colour {
        Red,
        Blue,
    }

    impl Part for Colour {
        const ALL: &'static [Self] = &[Self::Red, Self::Blue];

        fn word(self) -> &'static str {
            if self == Self::Red { "red" } else { "blue" }
        }

        fn title(self) -> &'static str {
            "A colour"
        }
    }

    #[test]
    fn parts_are_named_in_any_order_and_kept_in_one() {
        assert_eq!(parse("blue,red"), Ok(vec![Colour::Blue, Colour::Red]));
        assert!(parse::<Colour>("green").unwrap_err().contains("red, blue"));
        assert_eq!(file(&[Colour::Blue, Colour::Red]), "results.md");
        assert_eq!(file(&[Colour::Blue]), "results-blue.md");
    }
}
