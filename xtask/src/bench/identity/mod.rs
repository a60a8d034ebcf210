//! What accounts cost: logins and refreshes a second on both engines, what a flood of logins does to everybody else, and the
//! memory of a process with very many accounts.

mod load;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../../../crates/portcullis-identity/tests/support/postgres.rs"]
mod postgres;
mod stage;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use load::{Latency, Told};
use stage::{ACCOUNTS, Stage};

use super::client::Client;
use super::figure::{Bar, Figure, table};
use super::upstream;
use crate::process::{self, free_port};
use crate::{run, tools};

/// Sessions that refresh at once.
const SESSIONS: usize = 64;
/// Accounts that are logged in before memory is measured under use.
const USED: usize = 1_000;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    rounds: usize,
    seconds: u64,
    binary: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self { rounds: 5, seconds: 5, binary: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("\"{word}\" needs a value"))?;
            let number = || value.parse().ok().filter(|number| (1..=99).contains(number));
            let wrong = || format!("\"{value}\" is not a number between 1 and 99");
            match *word {
                "--rounds" => options.rounds = usize::try_from(number().ok_or_else(wrong)?).unwrap_or(1),
                "--seconds" => options.seconds = number().ok_or_else(wrong)?,
                "--binary" => options.binary = Some(value.into()),
                other => return Err(format!("bench identity knows no \"{other}\"; see cargo xtask help")),
            }
        }
        Ok(options)
    }
}

/// Measures, prints, and writes the table below the target directory.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    tools::ensure(tools::FOR_BENCH)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => {
            run::cargo(&["build", "--release", "--package", "portcullis-gateway"])?;
            run::target_dir()?.join("release/portcullis")
        }
    };
    let directory = run::target_dir()?.join("bench/identity");
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let upstream_at = free_port()?;
    let _upstream = upstream::start(upstream_at, &directory)?;
    let length = Duration::from_secs(options.seconds);

    println!("importing {ACCOUNTS} accounts into a file");
    let file = Stage::set(&binary, &directory.join("sqlite"), upstream_at, None)?;
    let resident = |stage: &Stage| process::memory(stage.gateway.id(), "VmRSS").unwrap_or(0) as f64 / 1024.0;
    let idle = resident(&file);
    let server = postgres::is_installed().then(postgres::Cluster::start);
    let shared = match &server {
        Some(server) => {
            println!("importing {ACCOUNTS} accounts into PostgreSQL");
            Some(Stage::set(&binary, &directory.join("postgres"), upstream_at, Some(&server.database()))?)
        }
        None => None,
    };

    let mut figures = figures();
    let access = file.sessions(0..1)?.remove(0).0;
    let open = |stage: &Stage| -> Result<Vec<(Client, String)>, String> {
        let sessions = stage.sessions(0..SESSIONS)?;
        Ok(sessions.into_iter().map(|(_, token)| (Client::new(stage.listen), token)).collect())
    };
    let mut on_file = open(&file)?;
    let mut on_server = shared.as_ref().map(open).transpose()?;
    for round in 1..=options.rounds {
        let logins = load::logins(file.listen, length)?;
        let refreshes = load::refreshes(&mut on_file, length)?;
        let shared = on_server.as_mut().map(|sessions| load::refreshes(sessions, length)).transpose()?;
        let (calm, _) = load::latency(file.listen, &access, length, false)?;
        let (flooded, told) = load::latency(file.listen, &access, length, true)?;
        let values =
            [Some(logins), Some(refreshes), shared].into_iter().chain(latencies(calm, flooded, told).map(Some));
        for (figure, value) in figures.iter_mut().zip(values) {
            if let Some(value) = value {
                println!("round {round}  {:<58}{value:>10.2} {}", figure.what, figure.unit);
                figure.values.push(value);
            }
        }
    }
    let used = file.sessions(0..USED)?;
    for (access, _) in &used {
        let (listen, mut client) = (file.listen, Client::new(file.listen));
        client.ask(&format!("GET /api/x HTTP/1.1\r\nHost: {listen}\r\nAuthorization: Bearer {access}\r\n\r\n"))?;
    }
    let memory = |what, value| Figure { what, unit: "MiB", bar: Bar::AtMost(100.0), values: vec![value] };
    figures.push(memory("resident with 100,000 accounts, after the start", idle));
    figures.push(memory("resident with 100,000 accounts, after all of the above", resident(&file)));

    let text = table(&figures);
    println!("\n{text}");
    let results = directory.join("results.md");
    fs::write(&results, text).map_err(|error| format!("{}: {error}", results.display()))?;
    println!("written: {}", results.display());
    Ok(())
}

/// In the order in which a round measures them.
fn figures() -> Vec<Figure> {
    let figure = |what, unit, bar| Figure { what, unit, bar, values: Vec::new() };
    vec![
        figure("logins, Argon2id 19 MiB t=2 p=1", "/s", Bar::AtLeast(30.0)),
        figure("refreshes, SQLite, synced before the answer", "/s", Bar::AtLeast(1_500.0)),
        figure("refreshes, PostgreSQL, synced before the answer", "/s", Bar::AtLeast(1_000.0)),
        figure("an ordinary request, median", "ms", Bar::None),
        figure("an ordinary request, 99 %", "ms", Bar::None),
        figure("the same under a flood of logins, median", "ms", Bar::None),
        figure("the same under a flood of logins, 99 %", "ms", Bar::None),
        figure("99 % under the flood over 99 % without", "×", Bar::AtMost(2.0)),
        figure("wrong passwords hashed during the flood", "/s", Bar::None),
        figure("logins told to try again later during the flood", "/s", Bar::None),
    ]
}

fn latencies(calm: Latency, flooded: Latency, told: Told) -> [f64; 7] {
    let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
    [
        millis(calm.median),
        millis(calm.p99),
        millis(flooded.median),
        millis(flooded.p99),
        flooded.p99.as_secs_f64() / calm.p99.as_secs_f64(),
        told.hashed,
        told.overloaded,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_understood_or_told() {
        assert_eq!(Options::parse(&["--rounds", "3"]).unwrap().rounds, 3);
        assert!(Options::parse(&["--rounds", "0"]).is_err());
        assert!(Options::parse(&["--quick"]).is_err());
    }
}
