//! What limits cost: a check in memory ([`memory`]), the gateway with limits in Redis ([`gateway`]), and decisions beside those
//! of the packages that others take ([`decisions`]); and whether a request costs more where routes are many ([`growth`]).

mod decisions;
mod gateway;
mod growth;
mod memory;
mod paced;
mod programs;
mod redis;

use std::fs;
use std::path::{Path, PathBuf};

use self::programs::Programs;
use super::parts::{self, Measured};
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

impl parts::Part for Part {
    const ALL: &'static [Self] = &[Self::Memory, Self::Decisions, Self::Growth, Self::Gateway];

    fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Gateway => "gateway",
            Self::Decisions => "decisions",
            Self::Growth => "growth",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Memory => "A check in memory",
            Self::Gateway => "The gateway with limits in Redis",
            Self::Decisions => "Decisions beside the packages of others",
            Self::Growth => "A thousand routes",
        }
    }
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self { rounds: 5, millis: 1_000, parts: <Part as parts::Part>::ALL.to_vec(), binary: None };
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
                "--only" => options.parts = parts::parse(value)?,
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

/// Measures, prints, and writes the tables below the target directory.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let directory = run::target_dir()?.join("bench/limits");
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let command = format!("cargo xtask bench limits --rounds {} --millis {}", options.rounds, options.millis);
    parts::run(&command, &options.parts, &directory, |part| measure(part, options, &directory))
}

fn measure(part: Part, options: &Options, directory: &Path) -> Result<Measured, String> {
    match part {
        Part::Memory => memory::run(options, &Programs::build()?),
        Part::Growth => growth::run(options),
        Part::Gateway => gateway::run(options, directory),
        Part::Decisions => decisions::run(options, &Programs::build()?, directory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_understood_or_told() {
        assert_eq!(Options::parse(&["--rounds", "3"]).unwrap().rounds, 3);
        assert_eq!(Options::parse(&["--only", "memory,gateway"]).unwrap().parts, [Part::Memory, Part::Gateway]);
        assert_eq!(Options::parse(&[]).unwrap().parts.len(), 4);
        assert!(Options::parse(&["--only", "disk"]).is_err());
        assert!(Options::parse(&["--millis", "0"]).is_err());
        assert!(Options::parse(&["--quick"]).is_err());
    }
}
