//! The proxies that the bench measures beside ours, and how each of them is set up.

mod caddy;
mod envoy;
mod express;
mod fastify;
mod haproxy;
mod nginx;
mod node;
mod template;

use std::path::PathBuf;

use super::peer::Peer;
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
