//! Full handshakes for a second of CPU, beside nginx and HAProxy.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use super::pair::{Client, OURS, Pair, SERVERS};
use super::stage::{Rounds, Running, Stage};
use super::{Measured, Options};
use crate::bench::figure::{Bar, Figure};
use crate::bench::measure;
use crate::process;

/// Clients at once, so that the server does not wait for one of them.
const CLIENTS: usize = 4;

const NOTE: &str = "\
TLS 1.3, ECDSA P-256, X25519, `TLS_AES_256_GCM_SHA384`; no client ever resumes, and each leaves when its handshake is whole. All \
servers hand out the tickets that they do by default. Counted is the CPU time of the server.";

pub(super) fn run(options: &Options, stage: &Stage) -> Result<Measured, String> {
    let pair = Pair::make(stage)?;
    let running: Vec<_> = SERVERS
        .into_iter()
        .map(|server| Ok((server, pair.start(stage, "handshakes", server)?)))
        .collect::<Result<_, String>>()?;
    // The clients are threads of this process, and must leave the core of the servers alone.
    measure::stay_on_the_other_core()?;
    let mut rounds = Rounds::default();
    for number in 1..=options.rounds {
        let mut round = HashMap::new();
        let (later, sooner) = running.split_at(number % running.len());
        for (server, running) in sooner.iter().chain(later) {
            shake(pair.client(), running, Duration::from_secs(1))?;
            let (count, used) = shake(pair.client(), running, options.length())?;
            let of_second = count / used.as_secs_f64();
            println!("round {number}  {server:<12}{of_second:>8.0} handshakes for a second of CPU");
            round.insert(*server, of_second);
        }
        rounds.0.push(round);
    }
    let figure = |what, unit, bar, values| Figure { what, unit, bar, values };
    Ok(Measured {
        figures: vec![
            figure("full handshakes for a second of CPU", "", Bar::None, rounds.of(OURS)),
            figure("nginx", "", Bar::None, rounds.of("nginx")),
            figure("HAProxy", "", Bar::None, rounds.of("haproxy")),
            figure("ours over nginx", "×", Bar::AtLeast(0.85), rounds.times(OURS, "nginx")),
            figure("ours over HAProxy", "×", Bar::None, rounds.times(OURS, "haproxy")),
        ],
        notes: vec![NOTE.to_owned()],
    })
}

/// Lets a binary of ours serve a little of it.
pub(super) fn train(options: &Options, stage: &Stage) -> Result<(), String> {
    let pair = Pair::make(stage)?;
    let ours = pair.start(stage, "handshakes", OURS)?;
    shake(pair.client(), &ours, options.length()).map(drop)
}

/// How many there were, and what the server used.
fn shake(client: &Client, running: &Running, length: Duration) -> Result<(f64, Duration), String> {
    let family = process::family(running.process.id(), "redis-server");
    let used = || family.iter().map(|&member| process::cpu(member)).sum::<Duration>();
    let (before, until) = (used(), Instant::now() + length);
    let counts = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0_u32;
                    while Instant::now() < until {
                        client.shake(running.address)?;
                        count += 1;
                    }
                    Ok::<_, String>(count)
                })
            })
            .collect();
        let joined = clients.into_iter().map(|client| client.join().map_err(|_| "a client panicked".to_owned())?);
        joined.collect::<Result<Vec<u32>, String>>()
    })?;
    let used = used().saturating_sub(before);
    if used.is_zero() {
        return Err("the server used no CPU time".to_owned());
    }
    Ok((f64::from(counts.iter().sum::<u32>()), used))
}
