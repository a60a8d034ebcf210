//! The instructions of one defended request, counted by callgrind: a number that noise cannot move.

use std::fs;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::own::Portcullis;
use super::peer::{Peer as _, Room, Setup};
use super::tokens::Tokens;
use crate::process::{Process, free_port};
use crate::run;

/// How much more than the recorded number a change may cost before it has to be recorded on purpose.
const MORE: f64 = 1.10;

/// The two lengths of run whose difference is counted, so that start and stop do not matter.
const SHORT: u64 = 500;
const LONG: u64 = 2_500;

/// The users whose tokens are presented in turn.
const USERS: u64 = 10;

/// Counts and compares with the number that the tree records.
pub(crate) fn check() -> Result<(), String> {
    let counted = count(&release()?)?;
    let path = recorded();
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let known: f64 =
        text.trim().parse().map_err(|_| format!("{}: \"{}\" is not a number", path.display(), text.trim()))?;
    judge(counted, known)?;
    println!("instructions for a defended request: {counted:.0} (recorded: {known:.0})");
    Ok(())
}

/// Counts and records.
pub(crate) fn record() -> Result<(), String> {
    let counted = count(&release()?)?;
    let path = recorded();
    fs::write(&path, format!("{counted:.0}\n")).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("recorded: {counted:.0} instructions for a defended request");
    Ok(())
}

fn recorded() -> PathBuf {
    run::root().join("bench/instructions")
}

fn judge(counted: f64, known: f64) -> Result<(), String> {
    if counted <= known * MORE {
        return Ok(());
    }
    Err(format!(
        "a defended request takes {counted:.0} instructions, {:.0} % more than the {known:.0} that bench/instructions \
         records; if that is meant, run cargo xtask bench --record-instructions and say why in bench/NOTES.md",
        (counted / known - 1.0) * 100.0
    ))
}

/// The release build with one route.
fn release() -> Result<Portcullis, String> {
    run::cargo(&["build", "--release", "--package", "portcullis-gateway"])?;
    Ok(Portcullis::new(run::target_dir()?.join("release/portcullis")))
}

/// Instructions of one request of the full defence with a known token, on a connection that stays open.
pub(super) fn count(own: &Portcullis) -> Result<f64, String> {
    let directory = run::target_dir()?.join("instructions");
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let tokens = Tokens::open(&directory.join("tokens"))?;
    let room = Room {
        sources: PathBuf::new(),
        upstream: upstream()?,
        public_key: tokens.public_key(),
        jwks: tokens.jwks(),
        directory,
    };
    let bearers = (0..USERS).map(|user| tokens.sign(user, &[])).collect::<Result<Vec<_>, _>>()?;
    let (short, long) = (total(own, &room, &bearers, SHORT)?, total(own, &room, &bearers, LONG)?);
    #[expect(clippy::cast_precision_loss, reason = "counts of a short run are far below 2^52")]
    let instructions = long.saturating_sub(short) as f64 / (LONG - SHORT) as f64;
    Ok(instructions)
}

/// All instructions of a process that serves so many requests.
fn total(own: &Portcullis, room: &Room, bearers: &[String], requests: u64) -> Result<u64, String> {
    let listen = free_port()?;
    let served = own.command(Setup::Defended, listen, room)?;
    let out = room.directory.join("callgrind.out");
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(served.get_program())
        .args(served.get_args());
    let mut process = Process::start(command, &room.directory.join("callgrind.log"))?;
    process.await_port(listen)?;
    send(listen, bearers, requests)?;
    process.stop(Duration::from_secs(60))?;
    read_total(&out)
}

fn send(proxy: SocketAddr, bearers: &[String], requests: u64) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the counted requests: {error}");
    let stream = TcpStream::connect(proxy).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let mut answers = BufReader::new(stream.try_clone().map_err(failed)?);
    let mut stream = stream;
    for (bearer, _) in bearers.iter().cycle().zip(0..requests) {
        let request = format!("GET /api/item HTTP/1.1\r\nHost: {proxy}\r\nAuthorization: Bearer {bearer}\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(failed)?;
        let (status, length) = read_head(&mut answers).map_err(failed)?;
        if status != 200 {
            return Err(format!("a counted request was answered with {status}"));
        }
        answers.read_exact(&mut vec![0; length]).map_err(failed)?;
    }
    Ok(())
}

/// The status of an answer and the length of its body; of a request, the length only.
fn read_head(stream: &mut impl std::io::BufRead) -> std::io::Result<(u16, usize)> {
    let (mut status, mut length) = (0, 0);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.trim_end();
        if text.is_empty() {
            return Ok((status, length));
        }
        if let Some(rest) = text.strip_prefix("HTTP/1.1 ") {
            status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
        } else if let Some((name, value)) = text.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
}

/// An upstream of our own, which needs nothing installed: the same answer for every head.
fn upstream() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no free port: {error}"))?;
    let address = listener.local_addr().map_err(|error| format!("no free port: {error}"))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                let Ok(reading) = stream.try_clone() else { return };
                let (mut reading, mut writing) = (BufReader::new(reading), stream);
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nServer: upstream\r\nDate: Sat, 21 Nov 2026 08:00:00 GMT\r\n\
                     Content-Type: text/plain\r\nContent-Length: 64\r\nConnection: keep-alive\r\n\r\n{}",
                    "x".repeat(64)
                );
                while read_head(&mut reading).is_ok() && writing.write_all(answer.as_bytes()).is_ok() {}
            });
        }
    });
    Ok(address)
}

/// The line `summary:` or `totals:` of what callgrind writes.
fn read_total(path: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse_total(&text).ok_or_else(|| format!("{} names no total", path.display()))
}

fn parse_total(text: &str) -> Option<u64> {
    let after = |label| text.lines().rev().find_map(|line: &str| line.strip_prefix(label));
    after("totals:").or_else(|| after("summary:"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_callgrind_is_read() {
        assert_eq!(parse_total("events: Ir\nfn=main\n1 20\nsummary: 4711\n\ntotals: 4712\n"), Some(4712));
        assert_eq!(parse_total("summary: 4711\n"), Some(4711));
        assert_eq!(parse_total("events: Ir\n"), None);
    }

    #[test]
    fn a_request_that_costs_a_tenth_more_is_refused_until_it_is_recorded() {
        assert!(judge(100.0, 100.0).is_ok() && judge(109.0, 100.0).is_ok() && judge(50.0, 100.0).is_ok());
        let told = judge(111.0, 100.0).unwrap_err();
        assert!(told.contains("11 % more") && told.contains("--record-instructions"), "{told}");
    }
}
