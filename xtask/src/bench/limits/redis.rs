//! A Redis of the bench's own, on the core that the measured process leaves free.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::bench::measure::{OTHER_CORE, pinned};
use crate::process::{self, Process, free_port};
use crate::tools::{self, Tool};

const REDIS: Tool = Tool::new("redis-server", "redis-server");

/// A server that nothing is written to the disk of.
pub(super) struct Redis {
    pub(super) address: SocketAddr,
    process: Process,
}

impl Redis {
    pub(super) fn start(directory: &Path) -> Result<Self, String> {
        tools::ensure(&[REDIS])?;
        let address = free_port()?;
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &address.port().to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.current_dir(directory);
        let mut process = Process::start(pinned(&command, OTHER_CORE), &directory.join("redis.log"))?;
        process.await_port(address)?;
        let redis = Self { address, process };
        // Nothing was lost in it: leases need not wait for somebody who knows better.
        redis.answer("SET rl::epoch open")?;
        Ok(redis)
    }

    /// The CPU time that it has used so far.
    pub(super) fn cpu(&self) -> Duration {
        process::cpu(self.process.id())
    }

    /// How many scripts it has run so far.
    pub(super) fn scripts(&self) -> Result<u64, String> {
        Ok(scripts(&self.answer("INFO commandstats")?))
    }

    /// What it answers to a command.
    fn answer(&self, command: &str) -> Result<String, String> {
        let failed = |error: std::io::Error| format!("redis-server at {}: {error}", self.address);
        let mut stream = TcpStream::connect(self.address).map_err(failed)?;
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).map_err(failed)?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map_err(failed)?;
        Ok(text)
    }
}

fn scripts(text: &str) -> u64 {
    let calls = |line: &str| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next()?.parse().ok();
    text.lines().find_map(calls).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_scripts_that_ran_are_counted() {
        let text = "$90\r\n# Commandstats\r\ncmdstat_get:calls=7,usec=1\r\ncmdstat_evalsha:calls=42,usec=3\r\n+OK\r\n";
        assert_eq!(super::scripts(text), 42);
        assert_eq!(super::scripts("# Commandstats\r\n"), 0);
    }
}
