//! `cargo xtask bench`: what a request costs here and elsewhere, in one run.

mod check;
mod client;
mod figure;
pub(crate) mod identity;
mod instructions;
pub(crate) mod limits;
mod measure;
mod own;
mod parts;
mod peer;
mod peers;
mod report;
pub(crate) mod shield;
mod tokens;
mod upstream;
mod work;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use measure::{PROXY_CORE, Sample, pinned};
use own::Portcullis;
use peer::{Peer, Room, Setup};
use report::{OURS, Samples};
use tokens::Tokens;
use work::{Script, Special, Traffic, Work};

use crate::process::{self, Process, free_port};
use crate::{run, tools};

pub(crate) use instructions::{check as check_instructions, record as record_instructions};

/// What was asked for on the command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Ends within five minutes.
    pub(crate) quick: bool,
    /// How many rounds; the default of the mode where none is given.
    pub(crate) rounds: Option<u32>,
    /// Only these workloads, by their short names.
    pub(crate) only: Vec<String>,
    /// Only these proxies besides ours.
    pub(crate) peers: Option<Vec<String>>,
    /// Another binary of ours than the one that `cargo xtask dist` builds.
    pub(crate) binary: Option<PathBuf>,
}

impl Options {
    /// Reads the words behind `bench`.
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().copied().ok_or_else(|| format!("\"{word}\" needs a value"));
            match *word {
                "--quick" => options.quick = true,
                "--rounds" => {
                    let rounds = value()?;
                    let wrong = || format!("\"{rounds}\" is not a number of rounds between 1 and 99");
                    options.rounds =
                        Some(rounds.parse().ok().filter(|rounds| (1..=99).contains(rounds)).ok_or_else(wrong)?);
                }
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--peers" => options.peers = Some(value()?.split(',').map(str::to_lowercase).collect()),
                "--binary" => options.binary = Some(value()?.into()),
                other => return Err(format!("bench knows no \"{other}\"; see cargo xtask help")),
            }
        }
        Ok(options)
    }

    fn works(&self) -> Result<Vec<Work>, String> {
        let all = Work::all();
        if let Some(unknown) = self.only.iter().find(|id| !all.iter().any(|work| work.id == **id)) {
            let known: Vec<&str> = all.iter().map(|work| work.id).collect();
            return Err(format!("there is no workload \"{unknown}\"; there are {}", known.join(", ")));
        }
        Ok(all
            .into_iter()
            .filter(|work| {
                if self.only.is_empty() { !self.quick || work.quick } else { self.only.iter().any(|id| id == work.id) }
            })
            .collect())
    }
}

/// How long it takes at most to show very many users to a proxy.
const FILLING: Duration = Duration::from_secs(60);

/// A proxy that serves a setup, on the core of the proxies.
struct Running {
    address: SocketAddr,
    process: Process,
}

/// A setup of a proxy, and what is special about it.
type Place = (Setup, Option<Special>);

/// A proxy of the run, with the setups that it serves so far.
struct Contender {
    name: String,
    version: String,
    peer: Box<dyn Peer>,
    running: Vec<(Place, Running)>,
}

impl Contender {
    /// The resident memory of the first setup before it was loaded, in KiB.
    fn idle(&self) -> Option<(String, u64)> {
        let (_, running) = self.running.first()?;
        let family = process::family(running.process.id(), "redis-server");
        let memory = family.into_iter().filter_map(|member| process::memory(member, "VmRSS")).sum();
        Some((self.name.clone(), memory))
    }
}

/// Somebody is left out of a workload.
struct Absent {
    name: String,
    work: &'static str,
    why: String,
}

/// What stands for the whole run.
struct Bench {
    room: Room,
    tokens: Tokens,
    binary: PathBuf,
    seconds: Duration,
    _upstream: Process,
}

/// Measures, prints, and writes tables and chart below the target directory.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let works = options.works()?;
    tools::ensure(tools::FOR_BENCH)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => crate::dist::build(!options.quick)?,
    };
    let bench = Bench::set(binary, options)?;
    let rounds = options.rounds.unwrap_or(if options.quick { 2 } else { 5 });
    let (mut contenders, mut absent) = bench.contenders(options, &works)?;
    let idle: Vec<(String, u64)> = contenders.iter().filter_map(Contender::idle).collect();
    let mut samples = Samples::default();
    for round in 1..=rounds {
        for work in &works {
            // Each round begins with another proxy, so that none always runs after the same one.
            let first = round as usize % contenders.len();
            let (later, sooner) = contenders.split_at_mut(first);
            for contender in sooner.iter_mut().chain(later) {
                if absent.iter().any(|absent| absent.name == contender.name && absent.work == work.id) {
                    continue;
                }
                match bench.ready(contender, work).and_then(|()| bench.measure(contender, work)) {
                    Ok(sample) => {
                        println!("round {round}  {:<12}{:<24}{}", work.id, contender.name, work.line(&sample));
                        samples.add(work.id, &contender.name, sample);
                    }
                    Err(why) => {
                        absent.push(Absent::told(contender, work, &why));
                        // What broke under one workload shall not spoil the next.
                        contender.running.retain(|(place, _)| *place != (work.setup, work.special));
                    }
                }
            }
        }
    }
    let names: Vec<String> = contenders.iter().map(|contender| contender.name.clone()).collect();
    let bars = report::bars(&samples);
    let tables = report::tables(&works, &names, &samples, &absent);
    println!("\n{bars}\n{tables}");
    let versions: Vec<(String, String)> =
        contenders.iter().map(|contender| (contender.name.clone(), contender.version.clone())).collect();
    drop(contenders);
    let resident: Vec<String> =
        idle.iter().map(|(name, memory)| format!("{name} {:.0} MiB", *memory as f64 / 1024.0)).collect();
    let resident = format!("Resident before any load: {}.", resident.join(", "));
    println!("{resident}");
    let results = bench.room.directory.join("results.md");
    let text =
        format!("{}\n{resident}\n\n## Bars\n\n{bars}\n## Tables\n\n{tables}", head(&versions, rounds, bench.seconds));
    fs::write(&results, text).map_err(|error| format!("{}: {error}", results.display()))?;
    if let Some(defended) = works.iter().find(|work| work.id == "W2") {
        let chart = bench.room.directory.join("chart.svg");
        fs::write(&chart, report::chart(defended, &names, &samples))
            .map_err(|error| format!("{}: {error}", chart.display()))?;
    }
    println!("written: {}", results.display());
    Ok(())
}

/// Lets a binary of ours serve a little of every kind of traffic.
pub(crate) fn train(binary: PathBuf) -> Result<(), String> {
    tools::ensure(tools::FOR_BENCH)?;
    let options = Options { quick: true, peers: Some(Vec::new()), ..Options::default() };
    let bench = Bench::set(binary.clone(), &options)?;
    let works: Vec<Work> = Work::all().into_iter().filter(|work| work.special.is_none()).collect();
    let (contenders, _) = bench.contenders(&options, &works)?;
    for work in &works {
        for contender in &contenders {
            bench.measure(contender, work)?;
        }
    }
    shield::train(binary)
}

impl Absent {
    fn told(contender: &Contender, work: &Work, why: &str) -> Self {
        println!("{}, {}: {why}", contender.name, work.id);
        let why = why.lines().next().unwrap_or_default().to_owned();
        Self { name: contender.name.clone(), work: work.id, why }
    }
}

impl Bench {
    fn set(binary: PathBuf, options: &Options) -> Result<Self, String> {
        let directory = run::target_dir()?.join("bench");
        fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let tokens = Tokens::open(&directory.join("tokens"))?;
        let listen = free_port()?;
        let upstream = upstream::start(listen, &directory)?;
        let room = Room {
            sources: run::root().join("bench/peers"),
            upstream: listen,
            public_key: tokens.public_key(),
            jwks: tokens.jwks(),
            directory,
        };
        let seconds = Duration::from_secs(if options.quick { 1 } else { 2 });
        Ok(Self { room, tokens, binary, seconds, _upstream: upstream })
    }

    /// Everybody who can be measured, started and checked; and who is left out of what, and why.
    fn contenders(&self, options: &Options, works: &[Work]) -> Result<(Vec<Contender>, Vec<Absent>), String> {
        let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(Portcullis::new(self.binary.clone()))];
        peers.extend(peers::all().into_iter().filter(|peer| {
            let name = peer.name().to_lowercase();
            options.peers.as_ref().is_none_or(|list| list.contains(&name))
        }));
        let (mut contenders, mut absent) = (Vec::new(), Vec::new());
        for peer in peers {
            let name = peer.name().to_owned();
            let version = match peer.prepare(&self.room) {
                Ok(version) => version,
                Err(why) if name == OURS => return Err(why),
                Err(why) => {
                    println!("{name} is left out: {why}");
                    continue;
                }
            };
            println!("{name:<24}{version}");
            let mut contender = Contender { name, version, peer, running: Vec::new() };
            for work in works {
                match self.ready(&mut contender, work) {
                    Ok(()) => {}
                    // What is wrong with our own proxy is no gap in a table.
                    Err(why) if contender.name == OURS => return Err(why),
                    Err(why) => absent.push(Absent::told(&contender, work, &why)),
                }
            }
            contenders.push(contender);
        }
        Ok((contenders, absent))
    }

    /// Starts and checks what a workload needs of a proxy unless that was done.
    fn ready(&self, contender: &mut Contender, work: &Work) -> Result<(), String> {
        let place = (work.setup, work.special);
        if contender.running.iter().any(|(of, _)| *of == place) {
            return Ok(());
        }
        if let Some(why) = contender.peer.cannot(work.setup) {
            return Err(why.to_owned());
        }
        let running = match work.special {
            None => self.start(&*contender.peer, &contender.name, work.setup)?,
            Some(_) if contender.name != OURS => return Err("not measured".to_owned()),
            Some(special) => {
                let peer = Portcullis::special(self.binary.clone(), special);
                self.start(&peer, &format!("{OURS}-{special:?}"), work.setup)?
            }
        };
        match work.special {
            None | Some(Special::Routes) => check::setup(work.setup, running.address, &self.tokens)?,
            Some(Special::FewUsers) => {}
            Some(Special::ManyUsers) => self.fill(&running)?,
        }
        contender.running.push((place, running));
        Ok(())
    }

    fn start(&self, peer: &dyn Peer, name: &str, setup: Setup) -> Result<Running, String> {
        let address = free_port()?;
        let command = peer.command(setup, address, &self.room)?;
        let log = self.room.directory.join(format!("{}-{setup:?}.log", name.replace([' ', '/', '+'], "-")));
        let mut process = Process::start(pinned(&command, PROXY_CORE), &log)?;
        process.await_port(address)?;
        Ok(Running { address, process })
    }

    /// Lets a proxy see every one of very many users once.
    fn fill(&self, running: &Running) -> Result<(), String> {
        println!("showing {} users to the proxy", tokens::MANY);
        let tokens = self.tokens.hmac_file(0..tokens::MANY)?;
        let traffic = Traffic::Every;
        let script = Script { traffic: &traffic, tokens: Some(&tokens), host: running.address.to_string() };
        let sample = measure::run(&script, 32, FILLING, running.process.id(), &self.room.directory)?;
        if sample.requests < tokens::MANY {
            return Err(format!("only {} users could be shown in {} s", sample.requests, FILLING.as_secs()));
        }
        Ok(())
    }

    fn measure(&self, contender: &Contender, work: &Work) -> Result<Sample, String> {
        let fresh;
        let running = if work.fresh {
            fresh = self.start(&*contender.peer, &contender.name, work.setup)?;
            &fresh
        } else {
            let place = (work.setup, work.special);
            let found = contender.running.iter().find(|(of, _)| *of == place);
            &found.ok_or("it was not started")?.1
        };
        let (warm, tokens) = self.files(work)?;
        let load = |tokens: &Option<PathBuf>, time| {
            let host = running.address.to_string();
            let script = Script { traffic: &work.traffic, tokens: tokens.as_deref(), host };
            measure::run(&script, work.connections, time, running.process.id(), &self.room.directory)
        };
        // Connections are opened and code is made hot before the clock runs; a cold run warms with tokens that it does
        // not use later.
        load(&warm, Duration::from_secs(1))?;
        let sample = load(&tokens, self.seconds)?;
        if work.fresh && sample.requests > tokens::COLD {
            return Err(format!(
                "{} requests used up {} tokens, so the last were not new",
                sample.requests,
                tokens::COLD
            ));
        }
        Ok(sample)
    }

    /// The tokens that a workload warms with, and those that it measures.
    fn files(&self, work: &Work) -> Result<(Option<PathBuf>, Option<PathBuf>), String> {
        if work.setup != Setup::Defended {
            return Ok((None, None));
        }
        let few = 0..tokens::USERS;
        let (warm, measured) = match work.special {
            Some(Special::FewUsers | Special::ManyUsers) => {
                let few = self.tokens.hmac_file(few)?;
                let many = matches!(work.traffic, Traffic::Many).then(|| self.tokens.hmac_file(0..tokens::MANY));
                (few.clone(), many.transpose()?.unwrap_or(few))
            }
            _ => {
                let few = self.tokens.file(few)?;
                let others = work.fresh.then(|| self.tokens.file(tokens::USERS..tokens::USERS + tokens::COLD));
                (few.clone(), others.transpose()?.unwrap_or(few))
            }
        };
        Ok((Some(warm), Some(measured)))
    }
}

/// When and on what machine this runs.
fn machine() -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("", |(_, name)| name);
    format!(
        "{}: {processor}, {} cores, Linux {}",
        said("date", &["-u", "+%Y-%m-%d"]),
        std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        said("uname", &["-r"]),
    )
}

/// What a table of results begins with: when, where, with what.
fn head(versions: &[(String, String)], rounds: u32, seconds: Duration) -> String {
    let mut text = format!(
        "# Results\n\nMeasured by `cargo xtask bench` on {}, {rounds} rounds of {} s for each line. The proxy had one core, \
         the load (wrk) and the upstream (nginx) the other.\n\n| proxy | version |\n|---|---|\n",
        machine(),
        seconds.as_secs(),
    );
    for (name, version) in versions {
        let _ = writeln!(text, "| {name} | {version} |");
    }
    text
}
