//! Decisions by themselves, without a server around them: ours, and those of the packages that most of node takes. One process, one
//! core, so many decisions under way at once; Redis has the other core.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::programs::Programs;
use super::redis::Redis;
use super::{Measured, Options};
use crate::bench::figure::{Bar, Figure};
use crate::bench::measure::{PROXY_CORE, pinned};
use crate::bench::peers;

/// Users that are asked about.
const KEYS: &str = "10000";
/// Decisions that are under way at once.
const AT_ONCE: &str = "64";

/// In the order in which a round runs them: those that are compared stand beside each other.
const CONTENDERS: &[&str] =
    &["memory", "flexible-memory", "express-memory", "redis", "flexible-redis", "express-redis", "redis-stack"];

/// What a process measured.
#[derive(Clone, Copy, Debug)]
struct Decided {
    /// For each second of CPU time that the process used.
    per_cpu_second: f64,
    /// CPU time of redis-server for a decision, in microseconds.
    redis: f64,
}

type Round = HashMap<&'static str, Decided>;

pub(super) fn run(options: &Options, programs: &Programs, directory: &Path) -> Result<Measured, String> {
    let redis = Redis::start(directory)?;
    let mut notes = Vec::new();
    let node = peers::node_packages(&["rate-limiter-flexible", "express-rate-limit", "rate-limit-redis", "ioredis"]);
    let scripts = match node {
        Ok((scripts, versions)) => {
            notes.push(format!("{versions}; each on ioredis with its automatic pipelining where it counts in Redis."));
            Some(scripts)
        }
        Err(why) => {
            println!("the packages of node are left out: {why}");
            notes.push(format!("The packages of node left out: {}.", why.lines().next().unwrap_or_default()));
            None
        }
    };
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let mut round = Round::new();
        for contender in CONTENDERS {
            let mut command = if contender.contains("flexible") || contender.contains("express") {
                let Some(scripts) = &scripts else { continue };
                let mut command = Command::new("node");
                command.arg(scripts.join("decisions.js")).env("NODE_ENV", "production");
                command
            } else {
                Command::new(&programs.shared)
            };
            command.args([contender, KEYS, AT_ONCE, &options.millis.to_string()]);
            if contender.contains("redis") {
                command.arg(redis.address.port().to_string());
            }
            let decided = measure(&command, &redis).map_err(|why| format!("{contender}: {why}"))?;
            println!(
                "round {number}  {contender:<16}{:>10.0} decisions for a second of CPU  Redis {:>6.2} µs",
                decided.per_cpu_second, decided.redis
            );
            round.insert(contender, decided);
        }
        rounds.push(round);
    }
    Ok(Measured { figures: figures(&rounds), notes })
}

fn measure(command: &Command, redis: &Redis) -> Result<Decided, String> {
    let before = redis.cpu();
    let output = pinned(command, PROXY_CORE).output().map_err(|error| format!("it could not be started: {error}"))?;
    let used = redis.cpu() - before;
    if !output.status.success() {
        return Err(format!("it failed ({})\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let (decisions, micros, total) = parsed(&said)?;
    // Redis is charged for those too that were made before the clock ran.
    Ok(Decided { per_cpu_second: decisions * 1e6 / micros, redis: used.as_secs_f64() * 1e6 / total })
}

/// How many decisions were measured, the microseconds that they took, and how many were made in all.
fn parsed(said: &str) -> Result<(f64, f64, f64), String> {
    let line = said.lines().last().unwrap_or_default();
    let json: Value = serde_json::from_str(line).map_err(|_| format!("it printed {line:?} in place of JSON"))?;
    let number = |name: &str| json[name].as_f64().filter(|number| *number > 0.0);
    match (number("decisions"), number("cpu_micros"), number("total")) {
        (Some(decisions), Some(micros), Some(total)) => Ok((decisions, micros, total)),
        _ => Err(format!("it printed {line:?} without the three counts")),
    }
}

fn figures(rounds: &[Round]) -> Vec<Figure> {
    let of = |contender, value: fn(&Decided) -> f64| {
        rounds.iter().filter_map(|round| round.get(contender)).map(value).collect::<Vec<f64>>()
    };
    let speed = |what, contender| {
        let values = of(contender, |decided| decided.per_cpu_second / 1_000.0);
        Figure { what, unit: "thousand", bar: Bar::None, values }
    };
    let server = |what, contender| {
        let values = of(contender, |decided| decided.redis);
        Figure { what, unit: "µs", bar: Bar::None, values }
    };
    let over = |what, ours, theirs| {
        let both = |round: &Round| Some((round.get(ours)?.per_cpu_second, round.get(theirs)?.per_cpu_second));
        let values = rounds.iter().filter_map(both).map(|(ours, theirs)| ours / theirs).collect();
        Figure { what, unit: "×", bar: Bar::None, values }
    };
    vec![
        speed("decisions for a second of CPU, in memory: Portcullis", "memory"),
        speed("rate-limiter-flexible", "flexible-memory"),
        over("Portcullis over it", "memory", "flexible-memory"),
        speed("express-rate-limit", "express-memory"),
        over("Portcullis over it", "memory", "express-memory"),
        speed("decisions for a second of CPU of the client, in Redis: Portcullis", "redis"),
        speed("rate-limiter-flexible", "flexible-redis"),
        over("Portcullis over it", "redis", "flexible-redis"),
        speed("express-rate-limit with rate-limit-redis", "express-redis"),
        over("Portcullis over it", "redis", "express-redis"),
        speed("stacks of three limits in Redis: Portcullis", "redis-stack"),
        server("CPU of redis-server for a decision of Portcullis", "redis"),
        server("of rate-limiter-flexible", "flexible-redis"),
        server("of rate-limit-redis", "express-redis"),
        server("of a stack of three of Portcullis", "redis-stack"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_contender_prints_is_read_or_told() {
        let line = "a warning\n{\"decisions\":10,\"cpu_micros\":20,\"total\":15}\n";
        assert_eq!(parsed(line).unwrap(), (10.0, 20.0, 15.0));
        assert!(parsed("").is_err() && parsed("{\"decisions\":10}").is_err());
    }

    #[test]
    fn without_node_only_our_own_figures_are_there() {
        let decided = Decided { per_cpu_second: 5e6, redis: 0.0 };
        let figures = figures(&[HashMap::from([("memory", decided)])]);
        assert_eq!(figures.iter().filter(|figure| !figure.values.is_empty()).count(), 1);
        assert_eq!(figures[0].values, [5_000.0]);
    }
}
