//! The proxy, through the real binary: bodies, tunnels, time-outs, several addresses, and how a process starts, reloads,
//! stops and dies.

#![expect(clippy::unwrap_used, reason = "a helper that has nothing to work on fails its test")]

#[expect(dead_code, reason = "each test binary uses its own part of what they share")]
#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod bounds;
mod crossings;
mod durability;
mod floods;
mod full_disk;
mod grpc;
mod grpc_tls;
mod http2;
mod kills;
mod pace;
mod process;
mod slow;
mod timeouts;
mod told;
mod tunnels;
mod upstream_http2;
mod upstream_tls;
mod upstreams;

/// The time-outs of a gate whose tests do not want to wait.
const SHORT: &str = "[client]\nhead_timeout = \"1s\"\nbody_timeout = \"1s\"\nidle_timeout = \"2s\"\n";
