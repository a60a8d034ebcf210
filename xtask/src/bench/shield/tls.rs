//! Proxying behind TLS 1.3 with connections that stay, beside nginx and HAProxy.

use super::pair::{OURS, Pair, SERVERS};
use super::stage::{Line, Running, Stage, request};
use super::{Measured, Options};
use crate::bench::figure::{Bar, Figure};

const NOTE: &str = "\
GET of some 200 bytes over 32 connections, bare proxying. All have one certificate (ECDSA P-256) and speak TLS 1.3 only, \
`TLS_AES_256_GCM_SHA384`; the load is wrk with OpenSSL, whose time is not counted.";

pub(super) fn run(options: &Options, stage: &Stage) -> Result<Measured, String> {
    let pair = Pair::make(stage)?;
    let running: Vec<_> = SERVERS
        .into_iter()
        .map(|server| Ok((server, pair.start(stage, "tls", server)?)))
        .collect::<Result<_, String>>()?;
    let lines: Vec<Line> = running.iter().map(|(server, running)| line(server, running)).collect();
    let rounds = stage.measure(options, &lines)?;
    let figure = |what, unit, bar, values| Figure { what, unit, bar, values };
    Ok(Measured {
        figures: vec![
            figure("CPU for a request over TLS 1.3", "µs", Bar::None, rounds.of(OURS)),
            figure("nginx", "µs", Bar::None, rounds.of("nginx")),
            figure("HAProxy", "µs", Bar::None, rounds.of("haproxy")),
            figure("ours over nginx", "×", Bar::AtMost(1.0), rounds.times(OURS, "nginx")),
            figure("ours over HAProxy", "×", Bar::AtMost(1.0), rounds.times(OURS, "haproxy")),
        ],
        notes: vec![NOTE.to_owned()],
    })
}

/// Lets a binary of ours serve a little of it.
pub(super) fn train(options: &Options, stage: &Stage) -> Result<(), String> {
    let ours = Pair::make(stage)?.start(stage, "tls", OURS)?;
    stage.measure(options, &[line(OURS, &ours)]).map(drop)
}

fn line(server: &'static str, running: &Running) -> Line {
    Line::secured(server, running, &[request("GET", "/api/item", "", "")])
}
