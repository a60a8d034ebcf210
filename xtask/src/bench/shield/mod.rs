//! What the defences cost: headers, CORS and CSRF over bare proxying ([`headers`]), a schema over a
//! plain POST ([`bodies`]), TLS 1.3 beside nginx and HAProxy ([`tls`]), and full handshakes beside them ([`handshakes`]).

mod bodies;
mod handshakes;
mod headers;
mod pair;
mod stage;
mod tls;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use self::stage::Stage;
use super::parts::{self, Measured};
use crate::{run, tools};

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    rounds: usize,
    /// How long every line of a round is measured.
    seconds: u64,
    parts: Vec<Part>,
    /// Another binary of the gateway than the one that `cargo xtask dist` builds.
    binary: Option<PathBuf>,
}

/// One table of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Headers,
    Bodies,
    Tls,
    /// The last, because it keeps this process on one core.
    Handshakes,
}

impl parts::Part for Part {
    const ALL: &'static [Self] = &[Self::Headers, Self::Bodies, Self::Tls, Self::Handshakes];

    fn word(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Bodies => "bodies",
            Self::Tls => "tls",
            Self::Handshakes => "handshakes",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Headers => "All headers, CORS and CSRF",
            Self::Bodies => "A body of 1 KiB against a schema",
            Self::Tls => "TLS 1.3, connections that stay",
            Self::Handshakes => "Full handshakes of TLS 1.3",
        }
    }
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self { rounds: 5, seconds: 2, parts: <Part as parts::Part>::ALL.to_vec(), binary: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("\"{word}\" needs a value"))?;
            let number = || value.parse().ok().filter(|number| (1..=99).contains(number));
            let wrong = || format!("\"{value}\" is not a number between 1 and 99");
            match *word {
                "--rounds" => options.rounds = usize::try_from(number().ok_or_else(wrong)?).unwrap_or(1),
                "--seconds" => options.seconds = number().ok_or_else(wrong)?,
                "--only" => options.parts = parts::parse(value)?,
                "--binary" => options.binary = Some(value.into()),
                other => return Err(format!("bench shield knows no \"{other}\"; see cargo xtask help")),
            }
        }
        Ok(options)
    }

    fn length(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// Measures, prints, and writes the tables below the target directory.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => crate::dist::build(true)?,
    };
    let stage = set(binary)?;
    let command = format!("cargo xtask bench shield --rounds {} --seconds {}", options.rounds, options.seconds);
    let directory = stage.room.directory.clone();
    parts::run(&command, &options.parts, &directory, |part| match part {
        Part::Headers => headers::run(options, &stage),
        Part::Bodies => bodies::run(options, &stage),
        Part::Tls => tls::run(options, &stage),
        Part::Handshakes => handshakes::run(options, &stage),
    })
}

/// Lets a binary of ours serve a little of every part's traffic.
pub(crate) fn train(binary: PathBuf) -> Result<(), String> {
    let stage = set(binary)?;
    let options = Options { rounds: 1, seconds: 1, ..Options::parse(&[])? };
    headers::train(&options, &stage)?;
    bodies::train(&options, &stage)?;
    tls::train(&options, &stage)?;
    handshakes::train(&options, &stage)
}

fn set(binary: PathBuf) -> Result<Stage, String> {
    tools::ensure(tools::FOR_BENCH)?;
    let directory = run::target_dir()?.join("bench/shield");
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    Stage::set(binary, directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_understood_or_told() {
        let options = Options::parse(&["--rounds", "3", "--seconds", "1", "--only", "tls,headers"]).unwrap();
        assert_eq!((options.rounds, options.seconds), (3, 1));
        assert_eq!(options.parts, [Part::Tls, Part::Headers]);
        assert_eq!(Options::parse(&[]).unwrap().parts.len(), 4);
        assert!(Options::parse(&["--only", "disk"]).unwrap_err().contains("headers, bodies, tls, handshakes"));
        assert!(Options::parse(&["--rounds", "0"]).is_err() && Options::parse(&["--quick", "1"]).is_err());
    }
}
