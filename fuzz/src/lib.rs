//! What must hold for every input that a stranger can send. Each function takes bytes as they may come and panics where a
//! promise is broken. `cargo fuzz` searches for such bytes; what it found along the way is kept in `corpus/`, and a test
//! replays it on stable Rust.
//!
//! To search, build with `RUSTC_BOOTSTRAP=1 cargo fuzz build -s none --features search` (a nightly compiler does without the
//! variable), and run `head` or another target from where that puts it, with a directory for new inputs, `fuzz/corpus/head` and
//! `-max_total_time=300`. With `-set_cover_merge=1` it keeps of new inputs what reaches further.

mod address;
mod config;
mod cookies;
mod head;
mod jwks;
mod jwt;
mod networks;
mod path;

pub use address::address;
pub use config::config;
pub use cookies::cookies;
pub use head::head;
pub use jwks::jwks;
pub use jwt::jwt;
pub use networks::networks;
pub use path::path;

/// One target: it is given bytes, and panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its corpus.
pub const TARGETS: [(&str, Target); 8] = [
    ("address", address),
    ("config", config),
    ("cookies", cookies),
    ("head", head),
    ("jwks", jwks),
    ("jwt", jwt),
    ("networks", networks),
    ("path", path),
];

/// Header values from lines: what is between two line ends, where HTTP allows it as a value.
fn values(data: &[u8]) -> impl Iterator<Item = http::HeaderValue> {
    data.split(|byte| *byte == b'\n').filter_map(|line| http::HeaderValue::from_bytes(line).ok()).take(64)
}
