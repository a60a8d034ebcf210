//! What limits cost: a check in memory ([`memory`]), the gateway with limits in Redis ([`gateway`]), and decisions beside those
//! of the packages that others take ([`decisions`]); and whether a request costs more where routes are many ([`growth`]).

mod decisions;
mod gateway;
mod growth;
mod memory;
mod paced;
mod programs;
mod redis;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use self::programs::Programs;
use super::figure::{Figure, table};
use crate::run;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    rounds: usize,
    /// How long a run of [`memory`] and [`decisions`] measures, and one of the gateway by whole seconds.
    millis: u64,
    parts: Vec<Part>,
    /// Another binary of the gateway than the release build.
    binary: Option<PathBuf>,
}

/// One table of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Memory,
    Decisions,
    Growth,
    /// The last, because it keeps this process on one core.
    Gateway,
}

impl Part {
    const ALL: [Self; 4] = [Self::Memory, Self::Decisions, Self::Growth, Self::Gateway];

    const fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Gateway => "gateway",
            Self::Decisions => "decisions",
            Self::Growth => "growth",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Memory => "A check in memory",
            Self::Gateway => "The gateway with limits in Redis",
            Self::Decisions => "Decisions beside the packages of others",
            Self::Growth => "A thousand routes",
        }
    }

    fn parse(word: &str) -> Result<Self, String> {
        let known = Self::ALL.map(Self::word);
        let found = Self::ALL.into_iter().find(|part| part.word() == word);
        found.ok_or_else(|| format!("there is no part \"{word}\"; there are {}", known.join(", ")))
    }
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self { rounds: 5, millis: 1_000, parts: Part::ALL.to_vec(), binary: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("\"{word}\" needs a value"))?;
            let number = |most: u64| {
                let number = value.parse().ok().filter(|number| (1..=most).contains(number));
                number.ok_or_else(|| format!("\"{value}\" is not a number between 1 and {most}"))
            };
            match *word {
                "--rounds" => options.rounds = usize::try_from(number(99)?).unwrap_or(1),
                "--millis" => options.millis = number(60_000)?,
                "--only" => options.parts = value.split(',').map(Part::parse).collect::<Result<_, _>>()?,
                "--binary" => options.binary = Some(value.into()),
                other => return Err(format!("bench limits knows no \"{other}\"; see cargo xtask help")),
            }
        }
        Ok(options)
    }

    /// The gateway that is measured, built where none was named.
    fn binary(&self) -> Result<PathBuf, String> {
        if let Some(binary) = &self.binary {
            return Ok(binary.clone());
        }
        run::cargo(&["build", "--release", "--package", "portcullis-gateway"])?;
        Ok(run::target_dir()?.join("release/portcullis"))
    }
}

/// What a part measured, and what has to be said beside it.
struct Measured {
    figures: Vec<Figure>,
    /// Who was measured and who was left out, one sentence each.
    notes: Vec<String>,
}

/// Measures, prints, and writes the tables below the target directory.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let directory = run::target_dir()?.join("bench/limits");
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut text = format!(
        "Measured by `cargo xtask bench limits --rounds {} --millis {}` on {}; load average at the start {}.\n",
        options.rounds,
        options.millis,
        super::machine(),
        load_average(),
    );
    let results = directory.join("results.md");
    for part in Part::ALL.into_iter().filter(|part| options.parts.contains(part)) {
        println!("{}", part.title());
        let measured = measure(part, options, &directory)?;
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

fn measure(part: Part, options: &Options, directory: &Path) -> Result<Measured, String> {
    match part {
        Part::Memory => memory::run(options, &Programs::build()?),
        Part::Growth => growth::run(options),
        Part::Gateway => gateway::run(options, directory),
        Part::Decisions => decisions::run(options, &Programs::build()?, directory),
    }
}

/// Of the last minute.
fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_understood_or_told() {
        assert_eq!(Options::parse(&["--rounds", "3"]).unwrap().rounds, 3);
        assert_eq!(Options::parse(&["--only", "memory,gateway"]).unwrap().parts, [Part::Memory, Part::Gateway]);
        assert!(Options::parse(&["--only", "disk"]).is_err());
        assert!(Options::parse(&["--millis", "0"]).is_err());
        assert!(Options::parse(&["--quick"]).is_err());
    }
}
