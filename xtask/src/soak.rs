//! The long run: the release build under every kind of traffic, its memory and its log watched.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::load::{self, Expected, Measured, Mix};
use crate::process::{self, Process, free_port};
use crate::{run, tools};

const EMAIL: &str = "soak@example.com";
const PASSWORD: &str = "Walks-the-wall-4711";

/// How much memory may grow after the first round: what an allocator keeps back, never what a leak takes.
const GROWTH_KIB: u64 = 16 * 1024;

/// Every mix in turn, three rounds. The first round fills caches and is the measure for the others.
const ROUNDS: u64 = 3;

/// Builds the release binary and loads it for about so many minutes.
pub(crate) fn run(minutes: u64) -> Result<(), String> {
    tools::ensure(tools::FOR_SOAK)?;
    run::cargo(&["build", "--release", "--package", "portcullis-gateway"])?;
    let binary = run::target_dir()?.join("release/portcullis");
    let directory = run::target_dir()?.join("soak");
    if directory.exists() {
        fs::remove_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;

    let stage = Stage::set(&binary, &directory)?;
    let token = stage.login()?;
    let mixes = mixes(&token);
    let seconds = (minutes * 60 / (ROUNDS * mixes.len() as u64)).max(2);
    let memory = Memory::watch(stage.gateway.id());
    println!(
        "{:<7}{:<16}{:>10}{:>10}{:>10}{:>8}{:>10}{:>10}{:>11}",
        "round", "mix", "requests", "per s", "refused", "broken", "50 %", "99 %", "peak KiB"
    );
    let mut complaints = Vec::new();
    let mut first_peak = 0;
    for round in 1..=ROUNDS {
        let mut round_peak = 0;
        for mix in &mixes {
            let measured = load::run(mix, &stage.listen.to_string(), seconds, &directory)?;
            let peak = memory.take_peak();
            round_peak = round_peak.max(peak);
            print_row(round, mix, &measured, peak);
            complaints.extend(judge(round, mix, &measured));
        }
        if round == 1 {
            first_peak = round_peak;
        } else if round_peak > first_peak + first_peak / 10 + GROWTH_KIB {
            complaints.push(format!("memory grew from {first_peak} KiB in the first round to {round_peak} in {round}"));
        }
    }
    complaints.extend(stage.finish()?);
    if complaints.is_empty() {
        println!("soak result: ok. memory is flat, no panic, every mix was answered as it should be");
        return Ok(());
    }
    Err(format!("soak result: FAILED\n  {}", complaints.join("\n  ")))
}

/// Kills the release binary so many times under writes: the test that does so for a few, with another binary and number.
pub(crate) fn kills(kills: u32) -> Result<(), String> {
    run::cargo(&["build", "--release", "--package", "portcullis-gateway"])?;
    let binary = run::target_dir()?.join("release/portcullis");
    let name = "kills::a_kill_in_the_middle_of_everything_loses_nothing_that_was_acknowledged";
    let arguments =
        ["test", "--package", "portcullis-gateway", "--test", "proxy", "--", "--exact", name, "--nocapture"];
    let (binary, count) = (binary.display().to_string(), kills.to_string());
    run::cargo_with(&arguments, &[("PORTCULLIS_BINARY", &binary), ("PORTCULLIS_KILLS", &count)])?;
    println!("soak result: ok. {kills} kills lost nothing that was acknowledged");
    Ok(())
}

/// Imports so many users with the release binary: the test that does so for a few, with another binary and number.
pub(crate) fn users(users: u32) -> Result<(), String> {
    run::cargo(&["build", "--release", "--package", "portcullis-gateway"])?;
    let binary = run::target_dir()?.join("release/portcullis");
    let name = "import::a3_many_users_are_imported_in_little_memory";
    let arguments =
        ["test", "--package", "portcullis-gateway", "--test", "scenario", "--", "--exact", name, "--nocapture"];
    let (binary, count) = (binary.display().to_string(), users.to_string());
    run::cargo_with(&arguments, &[("PORTCULLIS_BINARY", &binary), ("PORTCULLIS_USERS", &count)])?;
    println!("soak result: ok. {users} users were imported in little memory");
    Ok(())
}

/// Plays so many random schedules of faults on gates and their Redis: the tests that do so for one each, with another number,
/// and seeds that differ from run to run unless the first is given.
pub(crate) fn limits(schedules: u32, seed: Option<u32>) -> Result<(), String> {
    let seed = seed.unwrap_or_else(std::process::id);
    println!("{schedules} schedules, the first with seed {seed}");
    let arguments = [&LIMITS_TESTS[..], &["--nocapture", "--test-threads", "1", "schedules::"]].concat();
    let (count, seed) = (schedules.to_string(), seed.to_string());
    run::cargo_with(&arguments, &[("PORTCULLIS_SCHEDULES", &count), ("PORTCULLIS_SEED", &seed)])?;
    println!("soak result: ok. in {schedules} schedules nobody was admitted more than docs/limits.md says");
    Ok(())
}

/// Asks a thousand times at once at limits of a hundred, through four processes, so many times.
pub(crate) fn exact(rounds: u32) -> Result<(), String> {
    let name = "exact::l14_a_thousand_at_once_through_four_gates_are_exactly_a_hundred_of_every_algorithm";
    let arguments = [&LIMITS_TESTS[..], &["--nocapture", "--exact", name]].concat();
    run::cargo_with(&arguments, &[("PORTCULLIS_ROUNDS", &rounds.to_string())])?;
    println!("soak result: ok. {rounds} rounds admitted exactly the quota of every algorithm");
    Ok(())
}

/// The tests of gates on a Redis. They set clocks, which no release build lets them.
const LIMITS_TESTS: [&str; 8] =
    ["test", "--package", "portcullis-gateway", "--features", "test-clock", "--test", "redis", "--"];

fn print_row(round: u64, mix: &Mix, measured: &Measured, peak: u64) {
    println!(
        "{round:<7}{:<16}{:>10}{:>10.0}{:>10}{:>8}{:>10}{:>10}{peak:>11}",
        mix.name,
        measured.requests,
        measured.per_second,
        measured.refused,
        measured.broken,
        measured.median,
        measured.worst,
    );
}

/// What a mix got that it should not have got.
fn judge(round: u64, mix: &Mix, measured: &Measured) -> Vec<String> {
    let mut complaints = Vec::new();
    let admitted = measured.requests.saturating_sub(measured.refused);
    // The quotas of the stage admit at most a few hundred requests of a mix that is meant to be refused.
    let wrong = match mix.expected {
        Expected::Admitted => measured.refused,
        Expected::Refused => admitted.saturating_sub(1000),
    };
    if wrong > 0 {
        complaints.push(format!("round {round}, {}: {wrong} answers were not as expected ({measured:?})", mix.name));
    }
    if measured.requests == 0 || measured.broken > 0 {
        complaints.push(format!("round {round}, {}: requests without an answer ({measured:?})", mix.name));
    }
    complaints
}

fn mixes(token: &str) -> Vec<Mix> {
    let authorized = format!("wrk.headers[\"Authorization\"] = \"Bearer {token}\"\n");
    // Each invalid token differs from the last, so that no memory of refused tokens could hide a leak.
    let invalid = "local n = 0\n\
        function request()\n\
          n = n + 1\n\
          local headers = { [\"Authorization\"] = \"Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.e30.\" .. n }\n\
          return wrk.format(\"GET\", nil, headers)\n\
        end\n";
    let flood = "local n = 0\n\
        function request()\n\
          n = n + 1\n\
          local body = '{\"email\":\"nobody' .. n .. '@example.com\",\"password\":\"Wrong-password-1\"}'\n\
          return wrk.format(\"POST\", nil, { [\"Content-Type\"] = \"application/json\" }, body)\n\
        end\n";
    let mix = |name, expected, path, script: &str| Mix { name, expected, path, script: script.to_owned() };
    vec![
        mix("valid token", Expected::Admitted, "/projects", &authorized),
        mix("invalid token", Expected::Refused, "/projects", invalid),
        mix("over the limit", Expected::Refused, "/public/status", ""),
        mix("login flood", Expected::Refused, "/auth/login", flood),
    ]
}

/// The gateway before the sample API, both on free ports.
struct Stage {
    listen: SocketAddr,
    gateway: Process,
    _api: Process,
}

impl Stage {
    fn set(binary: &Path, directory: &Path) -> Result<Self, String> {
        let [listen, upstream, admin] = [free_port()?, free_port()?, free_port()?];
        let state = directory.join("state");
        let config = directory.join("portcullis.toml");
        // The user's limit stands so high that the valid mix measures the path of admitted requests; the others are
        // the limits that an attacker meets.
        let text = format!(
            "listen = \"{listen}\"\nupstream = \"http://{upstream}\"\npublic_url = \"http://{listen}\"\n\
             state_dir = \"{}\"\n\n[admin]\nlisten = \"{admin}\"\n\n[identity]\nregistration = false\n\n\
             [[limit]]\nname = \"login\"\nmatch = \"POST /auth/login\"\nkey = \"address\"\nquota = \"5 per 15m\"\n\n\
             [[limit]]\nname = \"verify\"\nmatch = \"/projects/**\"\nkey = \"address\"\nquota = \"100000000 per minute\"\n\n\
             [[limit]]\nname = \"status\"\nmatch = \"/public/**\"\nkey = \"address\"\nquota = \"100 per minute\"\n\n\
             [[route]]\nmatch = \"GET /public/**\"\naccess = \"public\"\n\n\
             [[route]]\nmatch = \"/projects/**\"\naccess = \"authenticated\"\n",
            state.display(),
        );
        write(&config, &text)?;
        write(&directory.join("password"), PASSWORD)?;
        let created = Command::new(binary)
            .args(["users", "create", "--email", EMAIL, "--role", "viewer", "--password-file"])
            .arg(directory.join("password"))
            .arg("--config")
            .arg(&config)
            .output()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        if !created.status.success() {
            return Err(format!("users create failed: {}", String::from_utf8_lossy(&created.stderr)));
        }
        let api_log = directory.join("api.log");
        let mut command = Command::new(binary);
        command.args(["demo", "--upstream-only", "--listen", &upstream.to_string()]);
        let mut api = Process::start(command, &api_log)?;
        api.await_port(upstream)?;
        let mut command = Command::new(binary);
        command.args(["serve", "--config"]).arg(config);
        let mut gateway = Process::start(command, &directory.join("gateway.log"))?;
        gateway.await_port(listen)?;
        Ok(Self { listen, gateway, _api: api })
    }

    fn login(&self) -> Result<String, String> {
        let body = format!("{{\"email\":\"{EMAIL}\",\"password\":\"{PASSWORD}\",\"delivery\":\"body\"}}");
        let request = format!(
            "POST /auth/login HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.listen,
            body.len(),
        );
        let mut answer = String::new();
        let mut stream = TcpStream::connect(self.listen).map_err(|error| format!("{}: {error}", self.listen))?;
        stream.write_all(request.as_bytes()).map_err(|error| format!("login: {error}"))?;
        stream.read_to_string(&mut answer).map_err(|error| format!("login: {error}"))?;
        let object = answer.find("\r\n\r\n").map_or("", |end| &answer[end + 4..]);
        let start = object.find('{').unwrap_or(0);
        let end = object.rfind('}').map_or(0, |end| end + 1);
        let json: serde_json::Value = serde_json::from_str(object.get(start..end).unwrap_or_default())
            .map_err(|error| format!("login was answered with {answer:?}: {error}"))?;
        json["accessToken"].as_str().map(str::to_owned).ok_or_else(|| format!("login was answered with {answer:?}"))
    }

    /// Asks the gateway to stop and reads what it wrote.
    fn finish(mut self) -> Result<Vec<String>, String> {
        let mut complaints = Vec::new();
        if let Err(complaint) = self.gateway.stop(Duration::from_secs(40)) {
            complaints.push(format!("the gateway: {complaint}"));
        }
        let log = self.gateway.log()?;
        complaints.extend(
            log.lines().filter(|line| line.contains("panicked")).take(5).map(|line| format!("the log says: {line}")),
        );
        Ok(complaints)
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The resident memory of a process, sampled until the watch is dropped.
struct Memory {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Memory {
    fn watch(id: u32) -> Self {
        let memory = Self { peak: Arc::default(), stop: Arc::default() };
        let (peak, stop) = (Arc::clone(&memory.peak), Arc::clone(&memory.stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                peak.fetch_max(process::memory(id, "VmRSS").unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        memory
    }

    /// The largest sample since the last call, in KiB.
    fn take_peak(&self) -> u64 {
        self.peak.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_that_gets_the_wrong_answers_is_told() {
        let mixes = mixes("token");
        let measured = |requests, refused, broken| Measured {
            requests,
            per_second: 1.0,
            refused,
            broken,
            median: String::new(),
            worst: String::new(),
        };
        assert!(judge(1, &mixes[0], &measured(5000, 0, 0)).is_empty());
        assert_eq!(judge(1, &mixes[0], &measured(5000, 1, 0)).len(), 1);
        assert!(judge(1, &mixes[1], &measured(5000, 5000, 0)).is_empty());
        assert_eq!(judge(1, &mixes[1], &measured(5000, 100, 0)).len(), 1);
        assert_eq!(judge(1, &mixes[0], &measured(5000, 0, 2)).len(), 1);
    }
}
