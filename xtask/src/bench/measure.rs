//! One measurement: a proxy on one core, everything else on the other, and what the proxy used.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::work::Script;
use crate::process;

/// The core of the proxy, and the core of the load and the upstream.
pub(crate) const PROXY_CORE: &str = "0";
pub(crate) const OTHER_CORE: &str = "1";

/// What a run measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// CPU time of the proxy's processes for one answered request, in microseconds.
    pub(crate) cpu: f64,
    /// Answers in a second.
    pub(crate) per_second: f64,
    /// Half of the answers took no longer, in microseconds.
    pub(crate) p50: f64,
    /// All but one in a hundred took no longer, in microseconds.
    pub(crate) p99: f64,
    /// The largest resident memory of the proxy's processes, in MiB.
    pub(crate) memory: f64,
    /// Requests that were answered.
    pub(crate) requests: u64,
    /// Answers with a status of 400 or above.
    pub(crate) refused: u64,
    /// Requests without an answer.
    pub(crate) broken: u64,
}

/// Pins a command to a core.
pub(crate) fn pinned(command: &Command, core: &str) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["--cpu-list", core]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => pinned.env(name, value),
            None => pinned.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        pinned.current_dir(directory);
    }
    pinned
}

/// Binds all threads of this process to the core of the load, for loads that are threads of this process.
pub(crate) fn stay_on_the_other_core() -> Result<(), String> {
    let process = std::process::id().to_string();
    let output = Command::new("taskset").args(["--all-tasks", "--pid", "--cpu-list", OTHER_CORE, &process]).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("taskset cannot bind this process to a core".to_owned()),
    }
}

/// Loads a proxy and reads what its processes used meanwhile.
pub(crate) fn run(
    script: &Script<'_>,
    connections: u32,
    duration: Duration,
    proxy: u32,
    directory: &Path,
) -> Result<Sample, String> {
    let url = format!("http://{}{}", script.host, script.path());
    load(&script.text(), &url, connections, duration, proxy, directory)
}

/// The same by the text of a script for `wrk`, which prints its counts as [`DONE`](super::work::DONE) does.
pub(crate) fn load(
    script: &str,
    url: &str,
    connections: u32,
    duration: Duration,
    proxy: u32,
    directory: &Path,
) -> Result<Sample, String> {
    let file = directory.join("load.lua");
    std::fs::write(&file, script).map_err(|error| format!("{}: {error}", file.display()))?;
    let family = process::family(proxy, "redis-server");
    for &member in &family {
        process::forget_peak(member);
    }
    let used = || family.iter().map(|&member| process::cpu(member)).sum::<Duration>();
    let before = used();
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--timeout", "10s", "--connections", &connections.to_string()])
        .arg(format!("--duration={}s", duration.as_secs().max(1)))
        .arg("--script")
        .arg(&file)
        .arg(url);
    let output = pinned(&wrk, OTHER_CORE).output().map_err(|error| format!("wrk could not be started: {error}"))?;
    let used = used().saturating_sub(before);
    let memory: u64 = family.iter().filter_map(|&member| process::memory(member, "VmHWM")).sum();
    let text = String::from_utf8_lossy(&output.stdout);
    let counted = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok().filter(Value::is_object));
    let Some(counted) = counted else {
        return Err(format!("wrk printed no counts:\n{text}{}", String::from_utf8_lossy(&output.stderr)));
    };
    let number = |name: &str| counted[name].as_u64().unwrap_or(0);
    let requests = number("requests");
    if requests == 0 {
        return Err(format!("not one request was answered: {counted}"));
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a run of seconds are far below 2^52")]
    let float = |value: u64| value as f64;
    Ok(Sample {
        cpu: used.as_secs_f64() * 1e6 / float(requests),
        per_second: float(requests) * 1e6 / float(number("duration").max(1)),
        p50: float(number("p50")),
        p99: float(number("p99")),
        memory: float(memory) / 1024.0,
        requests,
        refused: number("refused"),
        broken: number("broken"),
    })
}
