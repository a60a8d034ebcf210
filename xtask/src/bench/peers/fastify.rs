//! Fastify with its own plugins.

use std::net::SocketAddr;
use std::process::Command;

use super::node;
use crate::bench::peer::{Peer, Room, Setup};

/// Fastify: @fastify/http-proxy on undici's pool, @fastify/jwt with its cache, @fastify/rate-limit, @fastify/helmet.
pub(crate) struct Fastify;

impl Peer for Fastify {
    fn name(&self) -> &'static str {
        "fastify"
    }

    fn prepare(&self, room: &Room) -> Result<String, String> {
        node::prepare(room, "fastify")
    }

    fn cannot(&self, _setup: Setup) -> Option<&'static str> {
        None
    }

    fn command(&self, setup: Setup, listen: SocketAddr, room: &Room) -> Result<Command, String> {
        node::command(room, "fastify.js", setup, listen)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::bench::peers::template::testing;

    #[test]
    fn every_setting_that_the_scripts_read_is_given() {
        let (_guard, room) = testing::room();
        let listen = SocketAddr::from(([127, 0, 0, 1], 4002));
        let command = Fastify.command(Setup::Defended, listen, &room).unwrap();
        let given: HashSet<String> = command.get_envs().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
        let script = std::fs::read_to_string(room.sources.join("node/settings.js")).unwrap();
        let read: Vec<&str> = script.split("text('").skip(1).filter_map(|rest| rest.split('\'').next()).collect();
        assert!(read.len() > 8);
        for name in read {
            assert!(given.contains(name), "{name} is not given");
        }
    }
}
