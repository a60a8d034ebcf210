//! The proxies that the bench measures beside ours, and how each of them is set up.

mod caddy;
mod envoy;
mod express;
mod fastify;
mod haproxy;
mod nginx;
mod node;
mod template;

use super::peer::Peer;

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
