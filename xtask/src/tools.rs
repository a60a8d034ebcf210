//! The programs that tests and the soak run use, and how they come onto a Debian machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A program and the Debian package it comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    program: &'static str,
    package: &'static str,
}

impl Tool {
    /// A program by the name on the path, and its package.
    pub(crate) const fn new(program: &'static str, package: &'static str) -> Self {
        Self { program, package }
    }
}

/// What `cargo xtask test` needs: `curl` walks the tour of the demo, `strace` shows the sync before the answer, `valgrind`
/// counts instructions, and the tests start servers themselves: PostgreSQL for the accounts, Redis and memcached for the limits, and
/// one for mail with certificates that `openssl` makes. The hosted pages are tried in Chromium, TLS by testssl.sh, and
/// patience by slowhttptest.
pub(crate) const FOR_TESTS: &[Tool] = &[
    Tool { program: "curl", package: "curl" },
    Tool { program: "strace", package: "strace" },
    Tool { program: "valgrind", package: "valgrind" },
    Tool { program: "initdb", package: "postgresql" },
    Tool { program: "redis-server", package: "redis-server" },
    Tool { program: "redis-cli", package: "redis-tools" },
    Tool { program: "memcached", package: "memcached" },
    Tool { program: "aiosmtpd", package: "python3-aiosmtpd" },
    Tool { program: "openssl", package: "openssl" },
    Tool { program: "testssl", package: "testssl.sh" },
    Tool { program: "slowhttptest", package: "slowhttptest" },
    Tool { program: "chromium", package: "chromium" },
    Tool { program: "chromedriver", package: "chromium-driver" },
];

/// What `cargo xtask bench` needs whoever is measured: the load, the upstream, and the means to pin both.
pub(crate) const FOR_BENCH: &[Tool] = &[
    Tool { program: "wrk", package: "wrk" },
    Tool { program: "nginx", package: "nginx" },
    Tool { program: "taskset", package: "util-linux" },
];

/// What `cargo xtask soak` needs.
pub(crate) const FOR_SOAK: &[Tool] = &[Tool { program: "wrk", package: "wrk" }];

/// Installs what is absent; without the rights to, says exactly what is missing.
pub(crate) fn ensure(tools: &[Tool]) -> Result<(), String> {
    let absent: Vec<Tool> = tools.iter().copied().filter(|tool| !is_installed(tool.program)).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = absent.iter().map(|tool| tool.package).collect();
    install(&packages)?;
    match absent.iter().find(|tool| !is_installed(tool.program)) {
        Some(tool) => Err(format!("apt-get installed {} but \"{}\" is still absent", tool.package, tool.program)),
        None => Ok(()),
    }
}

/// What tries our OpenAPI documents, each in its one version.
const API_TOOLS: &str = include_str!("../../crates/portcullis-gateway/tests/openapi/requirements.txt");

/// Makes the Python programs that try our OpenAPI documents, once, in a directory of their own under `target`. Where they
/// come from is pip's own configuration.
pub(crate) fn ensure_api_tools(target: &Path) -> Result<(), String> {
    let (directory, installed) = (target.join("api-tools"), target.join("api-tools/installed.txt"));
    if fs::read_to_string(&installed).is_ok_and(|text| text == API_TOOLS) {
        return Ok(());
    }
    println!("installing schemathesis and openapi-spec-validator in {}", directory.display());
    let failed = |error: std::io::Error| format!("{} could not be made: {error}", directory.display());
    let environment = || {
        let python = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory).output();
        python.is_ok_and(|output| output.status.success())
    };
    if !environment() {
        install(&["python3-venv"])?;
        if !environment() {
            return Err(format!("python3 -m venv {} failed", directory.display()));
        }
    }
    let list = directory.join("requirements.txt");
    fs::write(&list, API_TOOLS).map_err(failed)?;
    let pip = Command::new(directory.join("bin/pip"))
        .args(["install", "--quiet", "--requirement"])
        .arg(&list)
        .stdin(Stdio::null())
        .status()
        .map_err(failed)?;
    if !pip.success() {
        return Err(format!("pip install --requirement {} failed ({pip})", list.display()));
    }
    // Last, so that what was interrupted is done again.
    fs::write(installed, API_TOOLS).map_err(failed)
}

/// Installs Debian packages, which may be libraries without a program of their own.
pub(crate) fn install(packages: &[&str]) -> Result<(), String> {
    let by_hand = format!("apt-get install --yes --no-install-recommends {}", packages.join(" "));
    if !is_installed("apt-get") {
        return Err(format!("missing: {}; install it by the system's own means", packages.join(", ")));
    }
    if !is_root() {
        return Err(format!("missing: {}; as root run\n    {by_hand}", packages.join(", ")));
    }
    println!("installing {}", packages.join(", "));
    let _quiet = NoServices::begin()?;
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(packages);
    // The package lists of a fresh image are empty; those of an old one may name files that are gone.
    if apt_get(&install).is_err() {
        apt_get(&["update"])?;
        apt_get(&install)?;
    }
    Ok(())
}

/// Where Debian puts the programs of PostgreSQL's server: one directory for each version, none of them on the path.
const POSTGRESQL: &str = "/usr/lib/postgresql";

/// Whether a program of this name is on the path, or among those of PostgreSQL's server.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir(POSTGRESQL).into_iter().flatten().filter_map(Result::ok);
    std::env::split_paths(&path)
        .chain(versions.map(|version| version.path().join("bin")))
        .any(|directory| fs::metadata(directory.join(program)).is_ok_and(|file| file.permissions().mode() & 0o111 != 0))
}

/// The effective user of this process, which the kernel shows as the owner of its entry.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("apt-get could not be started: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("apt-get {} failed ({status})", arguments.join(" "))) }
}

/// While it lives, installing a package starts no service: `policy-rc.d` answers 101 (not allowed), as `invoke-rc.d`
/// asks it to. A file that was there before is left alone.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin() -> Result<Self, String> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        let failed = |error: std::io::Error| format!("{POLICY} could not be written: {error}");
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").map_err(failed)?;
        let guard = Self { ours: true };
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("xtask: {POLICY} could not be removed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_on_the_path() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program-anywhere"));
    }
}
