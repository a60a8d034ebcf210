//! The proxy from outside: raw bytes in, raw bytes at the upstream.

use std::time::Duration;

use portcullis_core::TrustedHops;

use crate::config::TransportSettings;

/// Bounds for tests: short times.
pub(crate) fn transport() -> TransportSettings {
    TransportSettings {
        trusted_hops: TrustedHops::default(),
        head_timeout: Duration::from_millis(400),
        body_timeout: Duration::from_millis(400),
        idle_timeout: Duration::from_millis(800),
        total_timeout: Duration::ZERO,
        max_head_bytes: 32 * 1024,
        max_headers: 100,
        max_target_bytes: 8 * 1024,
        max_connections: 1_000,
        max_connections_per_address: 256,
        drain_timeout: Duration::from_secs(2),
        cores: 1,
    }
}
