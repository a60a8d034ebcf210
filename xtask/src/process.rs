//! Servers that a chore starts: their addresses, their logs, what they take of the machine, and their end.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A child process that does not outlive us.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command with its output in the file.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", log.display());
        let out = File::create(log).map_err(failed)?;
        let err = out.try_clone().map_err(failed)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        Ok(Self { child, log: log.to_path_buf() })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until something listens on the address.
    ///
    /// # Errors
    /// When nothing does after 15 s, or the process has ended; with what it wrote.
    pub(crate) fn await_port(&mut self, address: SocketAddr) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(15);
        while TcpStream::connect(address).is_err() {
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let why = ended.map_or("after 15 s".to_owned(), |status| format!("and the process ended ({status})"));
                return Err(format!("nothing listens on {address} {why}; the log says:\n{log}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Asks it to stop by SIGTERM and waits for so long; what was wrong with its end.
    pub(crate) fn stop(&mut self, patience: Duration) -> Result<(), String> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(format!("it ended by itself ({status})"));
        }
        self.terminate().map_err(|error| format!("kill could not be started: {error}"))?;
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("it stopped with {status}")),
                _ if Instant::now() > deadline => {
                    return Err(format!("it did not stop within {} s of SIGTERM", patience.as_secs()));
                }
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// What it has written.
    pub(crate) fn log(&self) -> Result<String, String> {
        fs::read_to_string(&self.log).map_err(|error| format!("{}: {error}", self.log.display()))
    }

    fn terminate(&self) -> std::io::Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().map(drop)
    }
}

impl Drop for Process {
    /// By SIGTERM first, so that a process can stop its own children.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = self.terminate();
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no free port: {error}"))?;
    listener.local_addr().map_err(|error| format!("no free port: {error}"))
}

/// The process and all its descendants, but for those of a name.
pub(crate) fn family(process: u32, except: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(u32, u32)> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|id| {
            let stat = Stat::read(id)?;
            (stat.name != except).then_some((id, stat.parent))
        })
        .collect();
    let mut family = vec![process];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        next += 1;
    }
    family
}

/// The CPU time that a process has used so far, in user and kernel mode, its ended threads included.
pub(crate) fn cpu(process: u32) -> Duration {
    // The kernel shows clock ticks, whose number is 100 in a second wherever Linux runs on Debian.
    Stat::read(process).map_or(Duration::ZERO, |stat| Duration::from_millis(stat.ticks * 10))
}

/// The memory of a process: `VmRSS` (now) or `VmHWM` (peak) of `/proc/PID/status`, in KiB.
pub(crate) fn memory(process: u32, field: &str) -> Option<u64> {
    field_of(&fs::read_to_string(format!("/proc/{process}/status")).ok()?, field)
}

/// Makes the peak start anew from what the process holds now.
pub(crate) fn forget_peak(process: u32) {
    let _ = fs::write(format!("/proc/{process}/clear_refs"), "5");
}

fn field_of(status: &str, field: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    value.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// What `/proc/PID/stat` says that is of use here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn read(process: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    /// The name stands in brackets and may itself hold brackets and spaces, so the fields are counted from its end.
    fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(')')?;
        let name = before.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = after.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Self { name, parent: fields.get(1)?.parse().ok()?, ticks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read() {
        assert_eq!(field_of("Name:\tx\nVmRSS:\t   10532 kB\nThreads:\t3\n", "VmRSS"), Some(10_532));
        assert_eq!(field_of("Name:\tx\n", "VmRSS"), None);
    }

    #[test]
    fn times_and_parents_are_read_whatever_a_process_is_called() {
        let stat = "4711 (a) b (c) S 17 1 1 0 -1 4194560 5 0 0 0 120 30 0 0 20 0 1 0 100 200 300";
        let expected = Stat { name: "a) b (c".to_owned(), parent: 17, ticks: 150 };
        assert_eq!(Stat::parse(stat), Some(expected));
        assert_eq!(Stat::parse("4711 (a) S"), None);
    }

    #[test]
    fn a_process_is_found_among_its_parents_family_and_is_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("60");
        let process = Process::start(command, &directory.path().join("log")).unwrap();
        assert!(family(std::process::id(), "").contains(&process.id()));
        assert!(!family(std::process::id(), "sleep").contains(&process.id()));
        assert!(memory(process.id(), "VmRSS").is_some());
        let id = process.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }
}
