//! The binary for shipping and measuring: whole-program optimisation, and a profile of real traffic where the compiler's
//! own tool for profiles can be had.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{bench, run};

/// Builds it and tells where it is. A profile of these very sources is used; where there is none, one is made if `trains`.
pub(crate) fn build(trains: bool) -> Result<PathBuf, String> {
    let target = run::target_dir()?;
    let host = said("rustc", &["--print", "host-tuple"]).ok_or("rustc does not tell its host")?;
    let binary = target.join(&host).join("dist/portcullis");
    let without = |why: &str| {
        cargo(&host, "", None)?;
        println!("built without a profile: {why}");
        Ok(binary.clone())
    };
    let Some(tool) = profdata(&host) else { return without("rustup has no llvm-tools for this compiler") };
    let profile = target.join("profile/portcullis.profdata");
    let seen = target.join("profile/sources");
    // Training takes minutes, so it is done once for each state of the sources.
    let sources = sources()?;
    if !profile.exists() || fs::read_to_string(&seen).ok().as_ref() != Some(&sources) {
        if !trains {
            return without("there is none of these sources, and a quick run makes none");
        }
        train(&host, &tool, &target, &profile)?;
        fs::write(&seen, sources).map_err(|error| format!("{}: {error}", seen.display()))?;
    }
    cargo(&host, &format!("-Cprofile-use={}", profile.display()), None)?;
    println!("built with a profile of the bench's mixed traffic");
    Ok(binary)
}

/// Builds a binary that counts, lets it serve the bench's traffic, and merges what it counted.
fn train(host: &str, tool: &Path, target: &Path, profile: &Path) -> Result<(), String> {
    let raw = target.join("profile/raw");
    if raw.exists() {
        fs::remove_dir_all(&raw).map_err(|error| format!("{}: {error}", raw.display()))?;
    }
    fs::create_dir_all(&raw).map_err(|error| format!("{}: {error}", raw.display()))?;
    let counting = target.join("counting");
    cargo(host, &format!("-Cprofile-generate={}", raw.display()), Some(&counting))?;
    println!("training");
    bench::train(counting.join(host).join("dist/portcullis"))?;
    let status = Command::new(tool)
        .args(["merge", "--output"])
        .arg(profile)
        .arg(&raw)
        .status()
        .map_err(|error| format!("{}: {error}", tool.display()))?;
    if status.success() { Ok(()) } else { Err(format!("{} merge failed ({status})", tool.display())) }
}

/// The target is named so that the flags do not reach build scripts and macros, which run while compiling.
fn cargo(host: &str, flags: &str, directory: Option<&Path>) -> Result<(), String> {
    let mut arguments = vec!["build", "--profile", "dist", "--package", "portcullis-gateway", "--target", host];
    let shown = directory.map(|directory| directory.display().to_string());
    if let Some(directory) = &shown {
        arguments.extend(["--target-dir", directory]);
    }
    run::cargo_with(&arguments, &[("RUSTFLAGS", flags)])
}

/// The tool that merges profiles, of the version that the compiler needs; installed with rustup where it is absent.
fn profdata(host: &str) -> Option<PathBuf> {
    let sysroot = said("rustc", &["--print", "sysroot"])?;
    let tool = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin/llvm-profdata");
    if !tool.exists() {
        let _ = said("rustup", &["component", "add", "llvm-tools"]);
    }
    tool.exists().then_some(tool)
}

/// What a program prints when it succeeds.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(run::root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A name for the state of the sources: what version control knows, and what was changed since.
fn sources() -> Result<String, String> {
    let git = |arguments: &[&str]| said("git", arguments).ok_or_else(|| format!("git {} failed", arguments.join(" ")));
    let mut state = String::new();
    for path in ["crates", "Cargo.lock", "Cargo.toml"] {
        state += &git(&["rev-parse", &format!("HEAD:{path}")])?;
        state += &git(&["diff", "HEAD", "--", path])?;
    }
    Ok(state)
}
