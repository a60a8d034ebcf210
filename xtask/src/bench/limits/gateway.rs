//! What limits in Redis add to a request of the whole gateway, against the same gateway with the same limits in its memory; and
//! one limit in Redis against express with the packages that most of its users take.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::paced::{self, Paced};
use super::redis::Redis;
use super::{Measured, Options};
use crate::bench::figure::{Bar, Figure};
use crate::bench::measure::{self, PROXY_CORE, Sample, pinned};
use crate::bench::own::{Counted, Portcullis};
use crate::bench::peer::{Peer, Room, Setup};
use crate::bench::tokens::{self, Tokens};
use crate::bench::work::{Script, Traffic};
use crate::bench::{peers, upstream};
use crate::process::{Process, free_port};
use crate::{run, tools};

/// Connections that ask as fast as they are answered, for saturation.
const CONNECTIONS: u32 = 32;
/// The users whose tokens a paced run presents.
const BEARERS: u64 = 1_000;

/// What the table does not say.
const NOTE: &str = "\
Full defence (W2) with three limits: by user, by address, and by user under a route, sliding windows that nobody reaches, by 1,000
users whose tokens are known. What is added is reckoned within each round. The last lines compare whole stacks, not stores: full
defence with one limit by user in Redis, of the gateway and of express; node is charged for itself, not for its Redis.";

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    /// Three limits, in the gateway's memory.
    Memory,
    /// The same gateway once more in the same round: what two measurements differ by without a reason.
    Again,
    /// The three in Redis.
    Redis,
    /// The three in Redis, leased by portions.
    Leased,
    /// One limit in Redis.
    One,
    /// Express with express-rate-limit and rate-limit-redis: one limit, in a Redis of its own.
    Express,
}

/// What one round measured of somebody.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// At saturation.
    busy: Sample,
    /// At half of it; express takes no part.
    paced: Option<Paced>,
    /// CPU time of redis-server for a request, in microseconds, and scripts that it ran for one.
    redis: f64,
    scripts: f64,
}

type Rounds = HashMap<Who, Round>;

/// A gateway or a stack of express that is running.
struct Running {
    who: Who,
    address: SocketAddr,
    process: Process,
}

struct Stage {
    room: Room,
    tokens: Tokens,
    redis: Redis,
    bearers: Vec<String>,
    binary: PathBuf,
    _upstream: Process,
}

pub(super) fn run(options: &Options, directory: &Path) -> Result<Measured, String> {
    tools::ensure(tools::FOR_BENCH)?;
    let binary = options.binary()?;
    let stage = Stage::set(binary, directory)?;
    let mut notes = vec![NOTE.to_owned(), stage.versions()?];
    let mut running = Vec::new();
    for who in [Who::Memory, Who::Redis, Who::Leased, Who::One, Who::Express] {
        match stage.start(who) {
            Ok(started) => running.push(started),
            Err(why) if matches!(who, Who::Leased | Who::Express) => {
                println!("{who:?} is left out: {why}");
                let name = if who == Who::Leased { "Leased limits" } else { "Express" };
                notes.push(format!("{name} left out: {}.", why.lines().next().unwrap_or_default()));
            }
            Err(why) => return Err(why),
        }
    }
    // The paced clients are threads of this process, and must leave the core of the gateways alone.
    measure::stay_on_the_other_core()?;
    let length = Duration::from_millis(options.millis).max(Duration::from_secs(1));
    let (pace, most) = stage.pace(&running)?;
    notes.push(format!(
        "With its limits in Redis the gateway answered {most:.0} requests a second at saturation; half of that is \
         {pace:.0}, by connections that send at random moments."
    ));
    let mut rounds: Vec<Rounds> = Vec::new();
    for number in 1..=options.rounds {
        let mut round = Rounds::new();
        // Each round begins with another, so that none always runs after the same one.
        let (later, sooner) = running.split_at(number % running.len());
        for one in sooner.iter().chain(later) {
            round.insert(one.who, stage.measure(one, one.who, number, pace, length)?);
        }
        if let Some(memory) = running.iter().find(|one| one.who == Who::Memory) {
            round.insert(Who::Again, stage.measure(memory, Who::Again, number, pace, length)?);
        }
        rounds.push(round);
    }
    Ok(Measured { figures: figures(&rounds), notes })
}

impl Stage {
    fn set(binary: PathBuf, directory: &Path) -> Result<Self, String> {
        let above = run::target_dir()?.join("bench");
        let tokens = Tokens::open(&above.join("tokens"))?;
        let listen = free_port()?;
        let upstream = upstream::start(listen, directory)?;
        let bearers = tokens.file(0..BEARERS)?;
        let bearers = std::fs::read_to_string(&bearers).map_err(|error| format!("{}: {error}", bearers.display()))?;
        let room = Room {
            sources: run::root().join("bench/peers"),
            upstream: listen,
            public_key: tokens.public_key(),
            jwks: tokens.jwks(),
            directory: above,
        };
        let redis = Redis::start(directory)?;
        let bearers = bearers.lines().map(str::to_owned).collect();
        Ok(Self { room, tokens, redis, bearers, binary, _upstream: upstream })
    }

    fn peer(&self, who: Who) -> Result<Box<dyn Peer>, String> {
        let redis = Some(self.redis.address);
        let counted = match who {
            Who::Memory | Who::Again => Counted { three: true, ..Counted::default() },
            Who::Redis => Counted { three: true, redis, leased: false },
            Who::Leased => Counted { three: true, redis, leased: true },
            Who::One => Counted { redis, ..Counted::default() },
            Who::Express => {
                let found = peers::all().into_iter().find(|peer| peer.name() == "express-redis");
                return found.ok_or_else(|| "the bench has no such peer".to_owned());
            }
        };
        Ok(Box::new(Portcullis { counted, ..Portcullis::new(self.binary.clone()) }))
    }

    fn start(&self, who: Who) -> Result<Running, String> {
        let (peer, address) = (self.peer(who)?, free_port()?);
        let version = peer.prepare(&self.room)?;
        println!("{who:<8?}{version}");
        let command = peer.command(Setup::Defended, address, &self.room)?;
        if who == Who::Leased {
            self.knows_leases(&command)?;
        }
        let log = self.room.directory.join(format!("limits/{who:?}.log"));
        let mut process = Process::start(pinned(&command, PROXY_CORE), &log)?;
        process.await_port(address)?;
        crate::bench::check::setup(Setup::Defended, address, &self.tokens)?;
        Ok(Running { who, address, process })
    }

    /// Whether the binary takes the configuration that it is about to be started with.
    fn knows_leases(&self, serve: &Command) -> Result<(), String> {
        let output = Command::new(&self.binary).arg("check").args(serve.get_args().skip(2)).output();
        let output = output.map_err(|error| format!("{}: {error}", self.binary.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(format!("this binary does not take \"lease = true\"\n{}", String::from_utf8_lossy(&said)))
    }

    fn versions(&self) -> Result<String, String> {
        let said = |program: &Path, argument: &str| {
            let output = Command::new(program).arg(argument).output();
            let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
            Ok::<_, String>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let redis = said(Path::new("redis-server"), "--version")?;
        let redis: String =
            redis.split(' ').find(|word| word.starts_with("v=")).unwrap_or_default().chars().skip(2).collect();
        Ok(format!(
            "{}; Redis {redis}, nothing on disk, on the core that the gateway leaves free, as are load and upstream.",
            said(&self.binary, "--version")?
        ))
    }

    /// Half of what the gateway answers in a second when its limits are in Redis, and all of it.
    fn pace(&self, running: &[Running]) -> Result<(f64, f64), String> {
        let redis = running.iter().find(|one| one.who == Who::Redis).ok_or("the gateway with Redis does not run")?;
        self.load(redis, Duration::from_secs(1))?;
        let most = self.load(redis, Duration::from_secs(2))?.per_second;
        Ok((most / 2.0, most))
    }

    fn load(&self, running: &Running, length: Duration) -> Result<Sample, String> {
        let tokens = self.tokens.file(0..tokens::USERS)?;
        let script = Script { traffic: &Traffic::Get, tokens: Some(&tokens), host: running.address.to_string() };
        let sample = measure::run(&script, CONNECTIONS, length, running.process.id(), &self.room.directory)?;
        match sample.broken + sample.refused {
            0 => Ok(sample),
            wrong => Err(format!("{wrong} of {} requests were not answered with 200", sample.requests)),
        }
    }

    fn measure(
        &self,
        running: &Running,
        who: Who,
        number: usize,
        pace: f64,
        length: Duration,
    ) -> Result<Round, String> {
        self.load(running, Duration::from_secs(1))?;
        let (used, scripts) = (self.redis.cpu(), self.redis.scripts()?);
        let busy = self.load(running, length)?;
        let of_each = |sum: f64| sum / busy.requests as f64;
        let redis = of_each((self.redis.cpu() - used).as_secs_f64() * 1e6);
        let scripts = of_each((self.redis.scripts()? - scripts) as f64);
        let paced = match who {
            Who::Express | Who::One => None,
            _ => Some(paced::run(running.address, &self.bearers, pace, length)?),
        };
        let shown =
            paced.map(|paced| format!("{:>6.0} µs at {:.0}/s", paced.p50, paced.per_second)).unwrap_or_default();
        println!(
            "round {number}  {who:<8?}{:>7.2} µs of CPU {:>7.0}/s  Redis {redis:>6.2} µs {scripts:>5.2} scripts  {shown}",
            busy.cpu, busy.per_second
        );
        Ok(Round { busy, paced, redis, scripts })
    }
}

fn figures(rounds: &[Rounds]) -> Vec<Figure> {
    /// A value of each round in which all of them were measured.
    fn values<const N: usize>(rounds: &[Rounds], who: [Who; N], value: impl Fn([&Round; N]) -> f64) -> Vec<f64> {
        let all = |round: &'_ Rounds| who.iter().all(|who| round.contains_key(who));
        rounds.iter().filter(|round| all(round)).map(|round| value(who.map(|who| &round[&who]))).collect()
    }
    let p50 = |round: &Round| round.paced.map_or(f64::NAN, |paced| paced.p50);
    let cpu = |who| values(rounds, [who], |[one]| one.busy.cpu);
    let cpu_over = |who| values(rounds, [who, Who::Memory], |[one, memory]| one.busy.cpu - memory.busy.cpu);
    let median = |who| values(rounds, [who], |[one]| p50(one));
    let kept = |who| values(rounds, [who], |[one]| one.paced.map_or(f64::NAN, |paced| paced.per_second));
    let over = |who| values(rounds, [who, Who::Memory], |[one, memory]| (p50(one) - p50(memory)) / 1_000.0);
    let again = over(Who::Again);
    let noise = Bar::AtMost(again.iter().fold(0.0, |most: f64, one| most.max(one.abs())));
    let figure = |what, unit, bar, values| Figure { what, unit, bar, values };
    vec![
        figure("CPU of the gateway for a request, three limits in memory", "µs", Bar::None, cpu(Who::Memory)),
        figure("the same gateway measured again, over that", "µs", Bar::None, cpu_over(Who::Again)),
        figure("three limits in Redis", "µs", Bar::None, cpu(Who::Redis)),
        figure("over memory", "µs", Bar::AtMost(12.0), cpu_over(Who::Redis)),
        figure("CPU of redis-server for it", "µs", Bar::None, values(rounds, [Who::Redis], |[one]| one.redis)),
        figure("scripts that Redis ran for it", "", Bar::None, values(rounds, [Who::Redis], |[one]| one.scripts)),
        figure("three limits leased from Redis", "µs", Bar::None, cpu(Who::Leased)),
        figure("over memory", "µs", Bar::AtMost(1.0), cpu_over(Who::Leased)),
        figure("scripts that Redis ran for it", "", Bar::None, values(rounds, [Who::Leased], |[one]| one.scripts)),
        figure("half of the answers at half of saturation, in memory", "µs", Bar::None, median(Who::Memory)),
        figure("the same gateway measured again, over that", "ms", Bar::None, again),
        figure("in Redis", "µs", Bar::None, median(Who::Redis)),
        figure("over memory", "ms", Bar::AtMost(0.25), over(Who::Redis)),
        figure("requests a second meanwhile, in memory", "/s", Bar::None, kept(Who::Memory)),
        figure("in Redis", "/s", Bar::None, kept(Who::Redis)),
        figure("half of the answers, leased", "µs", Bar::None, median(Who::Leased)),
        figure(
            "over memory; the bar is what two measurements of one gateway differ by",
            "ms",
            noise,
            over(Who::Leased),
        ),
        figure("CPU of the gateway for a request, one limit in Redis", "µs", Bar::None, cpu(Who::One)),
        figure("CPU of redis-server for it", "µs", Bar::None, values(rounds, [Who::One], |[one]| one.redis)),
        figure("CPU of node: express, express-rate-limit, rate-limit-redis", "µs", Bar::None, cpu(Who::Express)),
        figure(
            "that over ours",
            "×",
            Bar::None,
            values(rounds, [Who::Express, Who::One], |[express, one]| express.busy.cpu / one.busy.cpu),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(cpu: f64, p50: f64) -> Round {
        let sample =
            |requests| Sample { cpu, per_second: 1.0, p50, p99: p50, memory: 1.0, requests, refused: 0, broken: 0 };
        Round { busy: sample(1), paced: Some(Paced { p50, per_second: 1.0 }), redis: 9.0, scripts: 1.0 }
    }

    #[test]
    fn what_is_added_is_told_within_a_round_and_what_was_not_measured_has_no_figure() {
        let rounds: Vec<Rounds> = [20.0, 40.0]
            .map(|cpu| HashMap::from([(Who::Memory, round(cpu, 300.0)), (Who::Redis, round(cpu + 10.0, 400.0))]))
            .into();
        let figures = figures(&rounds);
        let values =
            |what: &str, unit| &figures.iter().find(|one| one.what == what && one.unit == unit).unwrap().values;
        assert_eq!(values("over memory", "µs"), &[10.0, 10.0]);
        assert_eq!(values("over memory", "ms"), &[0.1, 0.1]);
        assert!(values("half of the answers, leased", "µs").is_empty());
    }
}
