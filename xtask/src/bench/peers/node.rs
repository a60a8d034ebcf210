//! What the stacks on node share: their packages, and the settings they read from the environment.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::template;
use crate::bench::peer::{AUDIENCE, FLOOD_BODY, ISSUER, ROLE, Room, SECURITY_HEADERS, Setup, USER_QUOTA};
use crate::tools::{self, Tool};

const TOOLS: [Tool; 2] = [Tool::new("node", "nodejs"), Tool::new("npm", "npm")];

/// The oldest node that the packages run on.
const OLDEST: u32 = 20;

/// The scripts and lists that are copied beside `node_modules`.
const FILES: [&str; 9] = [
    "package.json",
    "package-lock.json",
    "settings.js",
    "express.js",
    "express-bodies.js",
    "fastify.js",
    "fastify-bodies.js",
    "redis.js",
    "decisions.js",
];

/// Installs node and the packages of the lock file, and tells the version of one of them and of node.
///
/// # Errors
/// What is missing, or why it could not be installed.
pub(super) fn prepare(room: &Room, package: &str) -> Result<String, String> {
    let (_, versions) = install(&room.sources, &room.directory, &[package])?;
    // A table has the package's name beside it.
    Ok(versions.trim_start_matches(package).trim_start().to_owned())
}

/// The same for several packages, with the directory where the scripts lie beside them.
pub(super) fn install(sources: &Path, directory: &Path, packages: &[&str]) -> Result<(PathBuf, String), String> {
    tools::ensure(&TOOLS)?;
    let node = template::version(Path::new("node"), "--version")?;
    let node = node.trim_start_matches('v');
    let major = node.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major < OLDEST {
        return Err(format!("needs node {OLDEST} or later, and this is {node}"));
    }
    let home = home(directory);
    let lock = template::source(sources, "node/package-lock.json")?;
    // Written last, so that a broken installation is done again.
    let installed = home.join("installed-lock.json");
    copy(sources, &home)?;
    if fs::read_to_string(&installed).ok().as_ref() != Some(&lock) {
        println!("installing the packages of node");
        let mut install = Command::new("npm");
        install.args(["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&home);
        template::quiet(install)?;
        template::write(&installed, &lock)?;
    }
    let named = |package: &&str| Ok(format!("{package} {}", locked(&lock, package)?));
    let versions: Vec<String> = packages.iter().map(named).collect::<Result<_, String>>()?;
    Ok((home, format!("{} on node {node}", versions.join(", "))))
}

/// The command that runs a script with the settings of the setup.
///
/// # Errors
/// What could not be copied.
pub(super) fn command(room: &Room, script: &str, setup: Setup, listen: SocketAddr) -> Result<Command, String> {
    let home = home(&room.directory);
    // The scripts may have changed since the packages were installed.
    copy(&room.sources, &home)?;
    let headers = serde_json::to_string(&SECURITY_HEADERS).map_err(|error| error.to_string())?;
    let mut command = Command::new("node");
    command
        .arg(home.join(script))
        .env("NODE_ENV", "production")
        .env("BENCH_SETUP", template::word(setup))
        .env("BENCH_HOST", listen.ip().to_string())
        .env("BENCH_PORT", listen.port().to_string())
        .env("BENCH_UPSTREAM", room.upstream.to_string())
        .env("BENCH_PUBLIC_KEY", &room.public_key)
        .env("BENCH_ISSUER", ISSUER)
        .env("BENCH_AUDIENCE", AUDIENCE)
        .env("BENCH_ROLE", ROLE)
        .env("BENCH_QUOTA", USER_QUOTA.to_string())
        .env("BENCH_FLOOD_BODY", FLOOD_BODY)
        .env("BENCH_SECURITY_HEADERS", headers);
    Ok(command)
}

fn home(directory: &Path) -> PathBuf {
    directory.join("peers").join("node")
}

fn copy(sources: &Path, home: &Path) -> Result<(), String> {
    fs::create_dir_all(home).map_err(|error| format!("{} could not be made: {error}", home.display()))?;
    for file in FILES {
        template::write(&home.join(file), &template::source(sources, &format!("node/{file}"))?)?;
    }
    Ok(())
}

/// The version of a package that the lock file names.
fn locked(lock: &str, package: &str) -> Result<String, String> {
    let lock: serde_json::Value =
        serde_json::from_str(lock).map_err(|error| format!("package-lock.json is not JSON: {error}"))?;
    lock["packages"][format!("node_modules/{package}")]["version"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("package-lock.json names no {package}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peers::template::testing;

    #[test]
    fn the_lock_pins_every_package_by_its_hash_and_names_no_registry() {
        let (_guard, room) = testing::room();
        let lock: serde_json::Value =
            serde_json::from_str(&template::source(&room.sources, "node/package-lock.json").unwrap()).unwrap();
        for (path, package) in lock["packages"].as_object().unwrap().iter().filter(|(path, _)| !path.is_empty()) {
            assert!(package["integrity"].is_string(), "{path} has no hash");
            assert!(package.get("resolved").is_none(), "{path} names a registry");
        }
    }

    #[test]
    fn the_version_is_that_of_the_lock() {
        let lock = r#"{"packages":{"node_modules/express":{"version":"5.3.0"}}}"#;
        assert_eq!(locked(lock, "express").unwrap(), "5.3.0");
        assert!(locked(lock, "fastify").is_err());
    }
}
