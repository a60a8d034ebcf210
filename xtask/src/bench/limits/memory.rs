//! What limits cost in memory: the time of a check and the bytes of a key, here and in the `governor` crate's keyed limiter,
//! from a thousand to ten million live keys.
//!
//! Each run is a process of `crates/portcullis-limit/benches/checks.rs`. Contenders alternate within a round.

use std::collections::HashMap;
use std::process::Command;

use super::Options;
use super::programs::Programs;
use crate::bench::figure::{Bar, Figure};

/// One process of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Run {
    contender: &'static str,
    keys: u64,
    threads: u64,
}

/// What a process measured.
#[derive(Clone, Copy, Debug)]
struct Measured {
    nanos: f64,
    bytes: f64,
}

const THOUSAND: u64 = 1_000;
const MILLION: u64 = 1_000_000;

/// In the order in which a round runs them: those that are compared stand beside each other.
const RUNS: &[Run] = &[
    Run { contender: "charge", keys: THOUSAND, threads: 1 },
    Run { contender: "check", keys: THOUSAND, threads: 1 },
    Run { contender: "governor", keys: THOUSAND, threads: 1 },
    Run { contender: "check-with-clock", keys: THOUSAND, threads: 1 },
    Run { contender: "governor-with-clock", keys: THOUSAND, threads: 1 },
    Run { contender: "check", keys: THOUSAND, threads: 2 },
    Run { contender: "governor", keys: THOUSAND, threads: 2 },
    Run { contender: "charge", keys: MILLION, threads: 1 },
    Run { contender: "check", keys: MILLION, threads: 1 },
    Run { contender: "governor", keys: MILLION, threads: 1 },
    Run { contender: "check", keys: MILLION, threads: 2 },
    Run { contender: "governor", keys: MILLION, threads: 2 },
    Run { contender: "charge", keys: 10 * MILLION, threads: 1 },
    Run { contender: "check", keys: 10 * MILLION, threads: 1 },
    Run { contender: "governor", keys: 10 * MILLION, threads: 1 },
];

/// What 120 bits and a byte beside them take of a slot: they stand for the key.
const IDENTITY_BYTES: f64 = 16.0;

pub(super) fn run(options: &Options, programs: &Programs) -> Result<super::Measured, String> {
    let mut figures = figures();
    for round in 1..=options.rounds {
        let mut measured = HashMap::new();
        for run in RUNS {
            let Measured { nanos, bytes } = measure(run, options.millis, programs)?;
            let Run { contender, keys, threads } = run;
            println!(
                "round {round}  {contender:<20}{keys:>9} keys {threads} threads {nanos:>8.1} ns {bytes:>7.1} bytes a key"
            );
            measured.insert(*run, Measured { nanos, bytes });
        }
        for (figure, value) in &mut figures {
            figure.values.push(value(&measured));
        }
    }
    Ok(super::Measured { figures: figures.into_iter().map(|(figure, _)| figure).collect(), notes: Vec::new() })
}

fn measure(run: &Run, millis: u64, programs: &Programs) -> Result<Measured, String> {
    let mut command = Command::new(&programs.checks);
    command.arg(run.contender).args([run.keys, run.threads, millis].map(|number| number.to_string()));
    let output = command.output().map_err(|error| format!("{}: {error}", programs.checks.display()))?;
    if !output.status.success() {
        return Err(format!("{run:?} failed ({})\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    parsed(&String::from_utf8_lossy(&output.stdout))
}

/// `<nanoseconds> <bytes>`, alone on the last line.
fn parsed(output: &str) -> Result<Measured, String> {
    let line = output.lines().last().unwrap_or_default();
    let mut numbers = line.split(' ').map(str::parse);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(nanos)), Some(Ok(bytes)), None) => Ok(Measured { nanos, bytes }),
        _ => Err(format!("the bench printed {line:?} in place of two numbers")),
    }
}

/// How a figure follows from what a round measured.
type Value = Box<dyn Fn(&HashMap<Run, Measured>) -> f64>;

fn figures() -> Vec<(Figure, Value)> {
    fn of(round: &HashMap<Run, Measured>, contender: &'static str, keys: u64, threads: u64) -> Measured {
        let missing = Measured { nanos: f64::NAN, bytes: f64::NAN };
        round.get(&Run { contender, keys, threads }).copied().unwrap_or(missing)
    }
    let nanos = |what, contender, keys, threads, bar| {
        let value: Value = Box::new(move |round| of(round, contender, keys, threads).nanos);
        (Figure { what, unit: "ns", bar, values: Vec::new() }, value)
    };
    let over = |what, ours, theirs, keys, threads, bar| {
        let value: Value =
            Box::new(move |round| of(round, ours, keys, threads).nanos / of(round, theirs, keys, threads).nanos);
        (Figure { what, unit: "×", bar, values: Vec::new() }, value)
    };
    let bytes = |what, contender, keys, less: f64, bar| {
        let value: Value = Box::new(move |round| of(round, contender, keys, 1).bytes - less);
        (Figure { what, unit: "bytes", bar, values: Vec::new() }, value)
    };
    let (ten, even) = (10 * MILLION, Bar::AtMost(1.0));
    vec![
        nanos("a charge that can be given back, 1 thousand keys", "charge", THOUSAND, 1, Bar::AtMost(100.0)),
        nanos("the same, 1 million", "charge", MILLION, 1, Bar::None),
        nanos("the same, 10 million", "charge", ten, 1, Bar::AtMost(300.0)),
        nanos("a check, 1 thousand keys", "check", THOUSAND, 1, Bar::AtMost(100.0)),
        nanos("the same, 1 million", "check", MILLION, 1, Bar::None),
        nanos("the same, 10 million", "check", ten, 1, Bar::AtMost(300.0)),
        nanos("governor, 1 thousand keys", "governor", THOUSAND, 1, Bar::None),
        nanos("governor, 1 million", "governor", MILLION, 1, Bar::None),
        nanos("governor, 10 million", "governor", ten, 1, Bar::None),
        over("a check over governor, 1 thousand keys", "check", "governor", THOUSAND, 1, even),
        over("the same, 1 million", "check", "governor", MILLION, 1, even),
        over("the same, 10 million", "check", "governor", ten, 1, even),
        over(
            "each reading its own clock, 1 thousand",
            "check-with-clock",
            "governor-with-clock",
            THOUSAND,
            1,
            Bar::None,
        ),
        nanos("a check, two threads, 1 thousand keys", "check", THOUSAND, 2, Bar::None),
        over("the same over governor", "check", "governor", THOUSAND, 2, even),
        nanos("a check, two threads, 1 million keys", "check", MILLION, 2, Bar::None),
        over("the same over governor", "check", "governor", MILLION, 2, even),
        bytes("resident for a key beyond its identity, 1 million", "check", MILLION, IDENTITY_BYTES, Bar::AtMost(64.0)),
        bytes("the same, 10 million", "check", ten, IDENTITY_BYTES, Bar::AtMost(64.0)),
        bytes("governor with the key it holds, 10 million", "governor", ten, 0.0, Bar::None),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bench_prints_is_read_or_told() {
        let measured = parsed("a warning\n41.5 -2.0\n").unwrap();
        assert_eq!((measured.nanos, measured.bytes), (41.5, -2.0));
        assert!(parsed("").is_err() && parsed("1.0").is_err() && parsed("1.0 2.0 3.0").is_err());
    }

    #[test]
    fn every_figure_follows_from_what_a_round_runs() {
        let round: HashMap<Run, Measured> =
            RUNS.iter().map(|run| (*run, Measured { nanos: 50.0, bytes: 60.0 })).collect();
        for (figure, value) in figures() {
            assert!(value(&round).is_finite(), "{}", figure.what);
        }
    }
}
