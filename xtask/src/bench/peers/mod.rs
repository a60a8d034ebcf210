//! The proxies that the bench measures beside ours, and how each of them is set up.

mod caddy;
mod envoy;
mod express;
mod fastify;
mod haproxy;
mod nginx;
mod node;
mod template;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::peer::{Peer, Room, Setup};
use crate::run;

/// Every peer, in the order of the tables.
pub(crate) fn all() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(nginx::Nginx),
        Box::new(haproxy::Haproxy),
        Box::new(envoy::Envoy),
        Box::new(express::Express),
        Box::new(express::ExpressRedis),
        Box::new(fastify::Fastify),
        Box::new(caddy::Caddy),
    ]
}

/// Installs the packages of node, and tells where the scripts lie beside them and the versions of these.
///
/// # Errors
/// Why they cannot be had on this machine.
pub(crate) fn node_packages(packages: &[&str]) -> Result<(PathBuf, String), String> {
    node::install(&run::root().join("bench/peers"), &run::target_dir()?.join("bench"), packages)
}

/// The command that runs one of the scripts of node beside its packages, with the settings of a bare setup.
///
/// # Errors
/// What could not be copied.
pub(crate) fn node_script(room: &Room, script: &str, listen: SocketAddr) -> Result<Command, String> {
    node::command(room, script, Setup::Bare, listen)
}

/// A certificate for the proxies that speak TLS 1.3.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Certified<'a> {
    /// The chain, PEM.
    pub(crate) chain: &'a Path,
    /// Its key, PEM.
    pub(crate) key: &'a Path,
    /// Chain and key in one file, PEM.
    pub(crate) both: &'a Path,
    /// The one suite that is spoken, by the name of OpenSSL.
    pub(crate) suite: &'a str,
}

/// The command of an nginx that speaks TLS 1.3 only and is else as bare as [`Setup::Bare`].
pub(crate) fn nginx_tls(listen: SocketAddr, room: &Room, certified: Certified<'_>) -> Result<Command, String> {
    nginx::secured(listen, room, certified)
}

/// The same of HAProxy.
pub(crate) fn haproxy_tls(listen: SocketAddr, room: &Room, certified: Certified<'_>) -> Result<Command, String> {
    haproxy::secured(listen, room, certified)
}
