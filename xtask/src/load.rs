//! One `wrk` run and what it says.

use std::path::Path;
use std::process::Command;

/// A kind of traffic.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    /// What the table calls it.
    pub(crate) name: &'static str,
    /// Which answers it must get for the run to mean anything.
    pub(crate) expected: Expected,
    /// The path it asks for.
    pub(crate) path: &'static str,
    /// The program that `wrk` runs to make each request.
    pub(crate) script: String,
}

/// Whether a mix is meant to be let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Every answer is a success.
    Admitted,
    /// Nearly every answer is a refusal.
    Refused,
}

/// What one run measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measured {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    /// Answers other than 2xx and 3xx.
    pub(crate) refused: u64,
    /// Requests that got no answer at all: connect, read, write and time-out errors.
    pub(crate) broken: u64,
    /// Half of the requests took no longer than this, as `wrk` prints it.
    pub(crate) median: String,
    /// All but one in a hundred took no longer than this.
    pub(crate) worst: String,
}

/// Loads the address for some seconds.
pub(crate) fn run(mix: &Mix, address: &str, seconds: u64, directory: &Path) -> Result<Measured, String> {
    let script = directory.join("mix.lua");
    std::fs::write(&script, &mix.script).map_err(|error| format!("{}: {error}", script.display()))?;
    let output = Command::new("wrk")
        .args(["--threads", "1", "--connections", "32", "--latency"])
        .arg(format!("--duration={seconds}s"))
        .arg("--script")
        .arg(&script)
        .arg(format!("http://{address}{}", mix.path))
        .output()
        .map_err(|error| format!("wrk could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("wrk failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).ok_or_else(|| format!("wrk printed something unexpected:\n{text}"))
}

/// Reads what `wrk --latency` prints.
fn parse(text: &str) -> Option<Measured> {
    let after = |label: &str| text.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())?;
    let broken = after("Socket errors:").map_or(0, |counts| {
        counts.split(',').filter_map(|count| count.split_whitespace().last()?.parse::<u64>().ok()).sum()
    });
    Some(Measured {
        requests,
        per_second: after("Requests/sec:")?.parse().ok()?,
        refused: after("Non-2xx or 3xx responses:").map_or(Some(0), |count| count.parse().ok())?,
        broken,
        median: after("50%")?.to_owned(),
        worst: after("99%")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
Running 1s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.55ms  411.98us   8.32ms   86.15%
    Req/Sec    20.61k     1.60k   23.18k    70.00%
  Latency Distribution
     50%    1.48ms
     75%    1.66ms
     90%    1.97ms
     99%    2.99ms
  20534 requests in 1.01s, 12.04MB read
  Socket errors: connect 0, read 3, write 0, timeout 1
  Non-2xx or 3xx responses: 20434
Requests/sec:  20371.22
Transfer/sec:     11.94MB
";

    #[test]
    fn the_report_of_wrk_is_read() {
        let expected = Measured {
            requests: 20_534,
            per_second: 20_371.22,
            refused: 20_434,
            broken: 4,
            median: "1.48ms".to_owned(),
            worst: "2.99ms".to_owned(),
        };
        assert_eq!(parse(PRINTED), Some(expected));
    }

    #[test]
    fn a_report_without_errors_has_none() {
        let calm: String = PRINTED
            .lines()
            .filter(|line| !line.contains("Socket errors") && !line.contains("Non-2xx"))
            .map(|line| format!("{line}\n"))
            .collect();
        let measured = parse(&calm).unwrap();
        assert_eq!((measured.refused, measured.broken), (0, 0));
        assert_eq!(parse("unable to connect"), None);
    }
}
