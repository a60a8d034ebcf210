//! Proxying behind TLS 1.3 with connections that stay, beside nginx and HAProxy.

use super::pair::{Pair, SERVERS};
use super::stage::{Line, Stage, request};
use super::{Measured, Options};
use crate::bench::figure::{Bar, Figure};

const NOTE: &str = "\
GET of some 200 bytes over 32 connections, bare proxying. All have one certificate (ECDSA P-256) and speak TLS 1.3 only, \
`TLS_AES_256_GCM_SHA384`; the load is wrk with OpenSSL, whose time is not counted.";

pub(super) fn run(options: &Options, stage: &Stage) -> Result<Measured, String> {
    let pair = Pair::make(stage)?;
    let get = request("GET", "/api/item", "", "");
    let running: Vec<_> = SERVERS
        .into_iter()
        .map(|server| Ok((server, pair.start(stage, "tls", server)?)))
        .collect::<Result<_, String>>()?;
    let lines: Vec<Line> =
        running.iter().map(|(server, running)| Line::secured(server, running, std::slice::from_ref(&get))).collect();
    let rounds = stage.measure(options, &lines)?;
    let figure = |what, unit, bar, values| Figure { what, unit, bar, values };
    Ok(Measured {
        figures: vec![
            figure("CPU for a request over TLS 1.3", "µs", Bar::None, rounds.of("Portcullis")),
            figure("nginx", "µs", Bar::None, rounds.of("nginx")),
            figure("HAProxy", "µs", Bar::None, rounds.of("haproxy")),
            figure("ours over nginx", "×", Bar::AtMost(1.0), rounds.times("Portcullis", "nginx")),
            figure("ours over HAProxy", "×", Bar::AtMost(1.0), rounds.times("Portcullis", "haproxy")),
        ],
        notes: vec![NOTE.to_owned()],
    })
}
