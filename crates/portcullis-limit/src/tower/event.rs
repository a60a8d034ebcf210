//! What a layer tells whoever watches it.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;

use super::refusal::Refusal;
use crate::limiter::Standing;

/// What a layer did to a request, or would have done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LimitEvent<'a> {
    /// It refused it. The refusal displays itself as a line for a log.
    Refused(&'a Refusal),
    /// A limit that only reports would have refused it.
    WouldRefuse {
        /// The limit's name.
        limit: &'a str,
        /// How it stands.
        standing: &'a Standing,
    },
    /// A limit that only reports counts by address, and the request has none.
    NoAddress {
        /// The limit's name.
        limit: &'a str,
    },
    /// It holds the request back until its turn.
    Delayed {
        /// The name of the limit with the longest queue.
        limit: &'a str,
        /// For how long.
        wait: Duration,
    },
}

/// Is told what a layer does, on the way of the request: it counts or queues, and never blocks.
pub type LimitObserver = Arc<dyn Fn(&LimitEvent<'_>, &Parts) + Send + Sync>;
