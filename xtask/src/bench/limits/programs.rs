//! The programs of `crates/portcullis-limit/benches`, built with whole-program optimisation like what is shipped.

use std::path::PathBuf;

use serde_json::Value;

use crate::run;

/// Where they are.
#[derive(Debug)]
pub(super) struct Programs {
    /// One check in memory, here and in governor.
    pub(super) checks: PathBuf,
    /// Many decisions under way at once, in memory and in Redis.
    pub(super) shared: PathBuf,
}

impl Programs {
    pub(super) fn build() -> Result<Self, String> {
        println!("building the benches of portcullis-limit");
        let said = run::cargo_output(&[
            "bench",
            "--package",
            "portcullis-limit",
            "--features",
            "redis",
            "--bench",
            "checks",
            "--bench",
            "shared",
            "--no-run",
            "--message-format",
            "json",
        ])?;
        let find = |name| executable(&said, name).ok_or_else(|| format!("cargo built no bench \"{name}\""));
        Ok(Self { checks: find("checks")?, shared: find("shared")? })
    }
}

/// Where cargo says that it put the program of a target.
fn executable(said: &str, name: &str) -> Option<PathBuf> {
    let messages = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| Some(message["executable"].as_str()?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_what_cargo_says() {
        let said = "noise\n{\"target\":{\"name\":\"checks\"},\"executable\":null}\n\
                    {\"target\":{\"name\":\"checks\"},\"executable\":\"/x/checks-1\"}\n";
        assert_eq!(executable(said, "checks"), Some("/x/checks-1".into()));
        assert_eq!(executable(said, "shared"), None);
    }
}
