//! What every part needs: the upstream, gateways and others that are started, and rounds in which all are measured in turn.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Options;
use crate::bench::measure::{self, PROXY_CORE, pinned};
use crate::bench::peer::Room;
use crate::bench::tokens::Tokens;
use crate::bench::{upstream, work};
use crate::process::{Process, free_port};
use crate::run;

/// Connections that ask as fast as they are answered.
const CONNECTIONS: u32 = 32;

/// What stands for the whole run.
pub(super) struct Stage {
    pub(super) room: Room,
    pub(super) tokens: Tokens,
    pub(super) binary: PathBuf,
    _upstream: Process,
}

/// A server on the core of the proxies.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) process: Process,
}

/// What is measured in every round: some requests, in turn, to one server.
pub(super) struct Line {
    pub(super) name: &'static str,
    scheme: &'static str,
    address: SocketAddr,
    process: u32,
    script: String,
}

/// What the rounds measured: CPU µs for a request, by the name of a line.
#[derive(Default)]
pub(super) struct Rounds(pub(super) Vec<HashMap<&'static str, f64>>);

impl Stage {
    pub(super) fn set(binary: PathBuf, directory: PathBuf) -> Result<Self, String> {
        let tokens = Tokens::open(&run::target_dir()?.join("bench/tokens"))?;
        let listen = free_port()?;
        let upstream = upstream::start(listen, &directory)?;
        let room = Room {
            sources: run::root().join("bench/peers"),
            upstream: listen,
            public_key: tokens.public_key(),
            jwks: tokens.jwks(),
            directory,
        };
        Ok(Self { room, tokens, binary, _upstream: upstream })
    }

    /// A directory of a part's own, empty.
    pub(super) fn fresh(&self, name: &str) -> Result<PathBuf, String> {
        let directory = self.room.directory.join(name);
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        }
        fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        Ok(directory)
    }

    /// Writes a configuration of our own gateway into the directory: what is the same for all, and these lines.
    pub(super) fn config(&self, directory: &Path, listen: SocketAddr, tables: &str) -> Result<PathBuf, String> {
        let text = format!(
            "listen = \"{listen}\"\npublic_url = \"https://api.example.com\"\nstate_dir = \"{}\"\ncores = 1\n\n\
             [admin]\nenabled = false\n\n[client]\nmax_connections_per_address = 10000\n\n\
             [[upstreams]]\nname = \"default\"\naddresses = [\"{}\"]\nmax_idle = 4096\n\n{tables}",
            directory.join("state").display(),
            self.room.upstream
        );
        let file = directory.join("portcullis.toml");
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(file)
    }

    /// Starts our own gateway with these tables.
    pub(super) fn gateway(&self, name: &str, tables: &str) -> Result<Running, String> {
        let (directory, listen) = (self.fresh(name)?, free_port()?);
        let file = self.config(&directory, listen, tables)?;
        self.serve(name, listen, &file)
    }

    /// Starts our own gateway with a configuration that is written.
    pub(super) fn serve(&self, name: &str, listen: SocketAddr, file: &Path) -> Result<Running, String> {
        let mut command = Command::new(&self.binary);
        command.args(["serve", "--config"]).arg(file);
        self.start(name, listen, &command)
    }

    /// Starts a command on the core of the proxies.
    pub(super) fn start(&self, name: &str, address: SocketAddr, command: &Command) -> Result<Running, String> {
        let log = self.room.directory.join(format!("{name}.log"));
        let mut process = Process::start(pinned(command, PROXY_CORE), &log)?;
        process.await_port(address)?;
        Ok(Running { address, process })
    }

    /// Measures all lines in every round. Each round begins with another, so that none always runs after the same one.
    pub(super) fn measure(&self, options: &Options, lines: &[Line]) -> Result<Rounds, String> {
        let mut rounds = Rounds::default();
        for number in 1..=options.rounds {
            let mut round = HashMap::new();
            let (later, sooner) = lines.split_at(number % lines.len());
            for line in sooner.iter().chain(later) {
                line.load(Duration::from_secs(1), &self.room.directory)?;
                let (cpu, per_second) = line.load(options.length(), &self.room.directory)?;
                println!("round {number}  {:<36}{cpu:>8.2} µs of CPU{per_second:>9.0}/s", line.name);
                round.insert(line.name, cpu);
            }
            rounds.0.push(round);
        }
        Ok(rounds)
    }
}

impl Line {
    /// Requests over connections that stay.
    pub(super) fn plain(name: &'static str, running: &Running, requests: &[String]) -> Self {
        let (address, process) = (running.address, running.process.id());
        Self { name, scheme: "http", address, process, script: script(requests) }
    }

    /// The same over TLS.
    pub(super) fn secured(name: &'static str, running: &Running, requests: &[String]) -> Self {
        Self { scheme: "https", ..Self::plain(name, running, requests) }
    }

    /// The CPU µs for a request, and requests in a second.
    fn load(&self, length: Duration, directory: &Path) -> Result<(f64, f64), String> {
        let url = format!("{}://{}/", self.scheme, self.address);
        let sample = measure::load(&self.script, &url, CONNECTIONS, length, self.process, directory)?;
        match sample.broken + sample.refused {
            0 => Ok((sample.cpu, sample.per_second)),
            wrong => Err(format!("{}: {wrong} of {} requests went wrong", self.name, sample.requests)),
        }
    }
}

impl Rounds {
    /// Those of one line.
    pub(super) fn of(&self, name: &str) -> Vec<f64> {
        self.0.iter().filter_map(|round| round.get(name).copied()).collect()
    }

    /// One line with another, round by round.
    pub(super) fn both(&self, one: &str, other: &str, value: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        self.0.iter().filter_map(|round| Some(value(*round.get(one)?, *round.get(other)?))).collect()
    }

    /// How many times the other's.
    pub(super) fn times(&self, one: &str, other: &str) -> Vec<f64> {
        self.both(one, other, |one, other| one / other)
    }

    /// How much more than the other's.
    pub(super) fn over(&self, one: &str, other: &str) -> Vec<f64> {
        self.both(one, other, |one, other| one - other)
    }
}

/// A script for `wrk` that sends these requests in turn. They stand in it whole, so that sending costs as little as it can.
fn script(requests: &[String]) -> String {
    let made: Vec<String> = requests.iter().map(|request| quoted(request)).collect();
    format!(
        "local made, next = {{\n{}\n}}, 0\nfunction request()\n  next = next % #made + 1\n  return made[next]\nend\n{}",
        made.join(",\n"),
        work::DONE
    )
}

/// A string of Lua, which any bytes can be written in as decimal numbers of three digits.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | 0..=31 | 127.. => {
                let _ = write!(quoted, "\\{byte:03}");
            }
            plain => quoted.push(char::from(plain)),
        }
    }
    quoted.push('"');
    quoted
}

/// A whole request.
pub(super) fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {path} HTTP/1.1\r\nHost: api.example.com\r\n{headers}{length}\r\n{body}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_stands_in_the_script_byte_for_byte() {
        let text = request("POST", "/x", "A: \"b\"\r\n", "{}");
        assert_eq!(text, "POST /x HTTP/1.1\r\nHost: api.example.com\r\nA: \"b\"\r\nContent-Length: 2\r\n\r\n{}");
        assert_eq!(quoted("a\"\\\r\n1é"), "\"a\\034\\092\\013\\0101\\195\\169\"");
    }

    #[test]
    fn lines_are_compared_within_a_round_and_only_where_both_were_measured() {
        let rounds = Rounds(vec![HashMap::from([("a", 12.0), ("b", 10.0)]), HashMap::from([("a", 5.0)])]);
        assert_eq!(rounds.times("a", "b"), [1.2]);
        assert_eq!(rounds.over("a", "b"), [2.0]);
        assert_eq!(rounds.of("a"), [12.0, 5.0]);
    }
}
