//! What is inside of a body or a parameter, read in one way only.

use portcullis_core::json::{self, Numbers, Reading, Unreadable};
use serde_json::Value;

/// What a client may send. Documents say `int64`, so that whole numbers of 64 bits are read.
const FROM_CLIENTS: Reading = Reading { depth: 64, values: 100_000, numbers: Numbers::Long };

/// What an upstream may answer: it is trusted with its own numbers.
const FROM_UPSTREAMS: Reading = Reading { depth: Reading::DEEPEST, values: 1_000_000, numbers: Numbers::Near };

/// Reads JSON of a client's.
pub(super) fn json(bytes: &[u8]) -> Result<Value, Unreadable> {
    json::read(bytes, FROM_CLIENTS)
}

/// Reads JSON of an upstream's.
pub(super) fn json_of_upstream(bytes: &[u8]) -> Result<Value, Unreadable> {
    json::read(bytes, FROM_UPSTREAMS)
}
