//! Express with the packages that most of its users take, counting in its own memory or in Redis.

use std::net::SocketAddr;
use std::process::Command;

use super::{node, template};
use crate::bench::peer::{Peer, Room, Setup};
use crate::tools::{self, Tool};

const REDIS: Tool = Tool::new("redis-server", "redis-server");

/// Express with express-rate-limit's own store, which is in the process.
pub(crate) struct Express;

/// Express with rate-limit-redis. The script starts a Redis of its own, a child whose time counts as the stack's.
pub(crate) struct ExpressRedis;

impl Peer for Express {
    fn name(&self) -> &'static str {
        "express"
    }

    fn prepare(&self, room: &Room) -> Result<String, String> {
        node::prepare(room, "express")
    }

    fn cannot(&self, _setup: Setup) -> Option<&'static str> {
        None
    }

    fn command(&self, setup: Setup, listen: SocketAddr, room: &Room) -> Result<Command, String> {
        node::command(room, "express.js", setup, listen)
    }
}

impl Peer for ExpressRedis {
    fn name(&self) -> &'static str {
        "express-redis"
    }

    fn prepare(&self, room: &Room) -> Result<String, String> {
        tools::ensure(&[REDIS])?;
        node::prepare(room, "express")
    }

    fn cannot(&self, setup: Setup) -> Option<&'static str> {
        match setup {
            Setup::Bare => Some("without a limit it is the same as express"),
            Setup::Defended | Setup::Flood => None,
        }
    }

    fn command(&self, setup: Setup, listen: SocketAddr, room: &Room) -> Result<Command, String> {
        let directory = template::directory(room, self.name(), setup, listen)?;
        let mut command = node::command(room, "express.js", setup, listen)?;
        if setup != Setup::Bare {
            // A socket's path may have only some hundred characters: it is named from where the script runs.
            command.current_dir(directory).env("BENCH_REDIS_SOCKET", "redis.sock");
        }
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peers::template::testing;

    #[test]
    fn only_the_one_with_redis_is_told_of_a_socket() {
        let (_guard, room) = testing::room();
        let listen = SocketAddr::from(([127, 0, 0, 1], 4002));
        let told = |peer: &dyn Peer| {
            let command = peer.command(Setup::Defended, listen, &room).unwrap();
            command.get_envs().any(|(name, value)| name == "BENCH_REDIS_SOCKET" && value.is_some())
        };
        assert!(told(&ExpressRedis) && !told(&Express));
    }
}
