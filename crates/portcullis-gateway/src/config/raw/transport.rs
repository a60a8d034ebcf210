//! `[client]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, DurationText, HeaderText, NetworkText, OneOrMany, SizeText};

/// The client's side of the transport.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClientTable {
    /// The networks of proxies whose word about the client's address is believed. Default: none.
    pub(crate) trusted_hops: Option<OneOrMany<NetworkText>>,
    /// The header in which they name it: `X-Forwarded-For`, `Forwarded`, or one that holds a single address such as
    /// `CF-Connecting-IP`. Default: `X-Forwarded-For`.
    pub(crate) header: Option<At<HeaderText>>,
    /// How many bits of an IPv6 address limits count by. Default: 64.
    pub(crate) ipv6_prefix: Option<At<u64>>,
    /// From the first byte of a request's head to its last. Default: `10s`.
    pub(crate) head_timeout: Option<At<DurationText>>,
    /// Between two pieces of a request body. Default: `30s`.
    pub(crate) body_timeout: Option<At<DurationText>>,
    /// How fast a request body has to come while it streams, in bytes per second: its client may let itself be waited for
    /// `body_timeout` in all, and a second for every so many bytes that came. `0` for as slowly as it likes. Default: `500B`.
    pub(crate) min_body_rate: Option<At<SizeText>>,
    /// How long an idle connection is kept. Default: `75s`.
    pub(crate) idle_timeout: Option<At<DurationText>>,
    /// For one whole exchange, streams and tunnels excepted; `0` for none. Default: `0`.
    pub(crate) total_timeout: Option<At<DurationText>>,
    /// The size of a request's head. Default: `32KiB`.
    pub(crate) max_head: Option<At<SizeText>>,
    /// Header fields in a request's head. Default: 100.
    pub(crate) max_headers: Option<At<u64>>,
    /// The size of a request's target. Default: `8KiB`.
    pub(crate) max_target: Option<At<SizeText>>,
    /// Connections altogether. Default: 10000.
    pub(crate) max_connections: Option<At<u64>>,
    /// Connections of one client address. Default: 256.
    pub(crate) max_connections_per_address: Option<At<u64>>,
    /// Memory for bodies, of requests and of answers, that have to be whole before they are used, altogether; one client
    /// address may take a quarter. Default: `64MiB`.
    pub(crate) max_held: Option<At<SizeText>>,
    /// Whether HTTP/2 is offered to clients that connect by TLS. Default: true.
    pub(crate) http2: Option<At<bool>>,
    /// Whether clients may speak HTTP/2 from their first byte on listeners without TLS. Default: false.
    pub(crate) h2c: Option<At<bool>>,
    /// Requests under way on one connection of HTTP/2. Default: 100.
    pub(crate) max_concurrent_streams: Option<At<u64>>,
}
