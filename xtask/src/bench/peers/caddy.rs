//! Caddy of Debian.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::template;
use crate::bench::peer::{Peer, Room, Setup};
use crate::tools::{self, Tool};

const TOOL: Tool = Tool::new("caddy", "caddy");

/// Caddy: Go code on one thread at a time; idle connections to the upstream for every client.
pub(crate) struct Caddy;

impl Peer for Caddy {
    fn name(&self) -> &'static str {
        "caddy"
    }

    fn prepare(&self, _room: &Room) -> Result<String, String> {
        tools::ensure(&[TOOL])?;
        template::version(Path::new("caddy"), "version")
    }

    fn cannot(&self, setup: Setup) -> Option<&'static str> {
        match setup {
            Setup::Bare => None,
            Setup::Defended => {
                Some("Caddy as Debian builds it verifies no JWT and limits no rate: both are modules of others")
            }
            Setup::Flood => Some("Caddy as Debian builds it limits no rate: that is a module of others"),
        }
    }

    fn command(&self, setup: Setup, listen: SocketAddr, room: &Room) -> Result<Command, String> {
        if let Some(reason) = self.cannot(setup) {
            return Err(reason.to_owned());
        }
        let directory = template::directory(room, self.name(), setup, listen)?;
        let text = template::render(
            &template::source(&room.sources, "caddy/Caddyfile")?,
            &[
                ("ip", &listen.ip().to_string()),
                ("port", &listen.port().to_string()),
                ("upstream", &room.upstream.to_string()),
            ],
        )?;
        let file = directory.join("Caddyfile");
        template::write(&file, &text)?;
        let mut command = Command::new("caddy");
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&file)
            .env("GOMAXPROCS", "1")
            // What it would keep in the home of the user stays with the bench.
            .env("XDG_DATA_HOME", &directory)
            .env("XDG_CONFIG_HOME", &directory);
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peers::template::testing;

    #[test]
    fn the_bare_configuration_names_both_addresses() {
        let text = testing::configuration(&Caddy, Setup::Bare, "Caddyfile");
        assert!(text.contains("http://:4002") && text.contains("bind 127.0.0.1"));
        assert!(text.contains("reverse_proxy 127.0.0.1:4001"));
    }

    #[test]
    fn what_it_cannot_do_it_does_not_start() {
        let (_guard, room) = testing::room();
        let listen = SocketAddr::from(([127, 0, 0, 1], 4002));
        assert!(Caddy.command(Setup::Flood, listen, &room).is_err());
        assert!(Caddy.command(Setup::Defended, listen, &room).is_err());
    }
}
