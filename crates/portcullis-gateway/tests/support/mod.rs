//! What black-box tests share: the running binary, clients that each have an address of their own, an origin that
//! remembers every byte, and the operator's side.

pub(crate) mod client;
pub(crate) mod database;
pub(crate) mod frames;
pub(crate) mod honest;
pub(crate) mod http2;
pub(crate) mod operator;
pub(crate) mod origin;
#[expect(clippy::unwrap_used, reason = "a helper that has nothing to work on fails its test")]
pub(crate) mod origin_http2;
#[path = "../../../portcullis-identity/tests/support/postgres.rs"]
pub(crate) mod postgres;
pub(crate) mod process;
#[path = "../../../portcullis-identity/tests/support/smtp.rs"]
pub(crate) mod smtp;
pub(crate) mod tiers;
#[expect(clippy::unwrap_used, reason = "a helper that has nothing to work on fails its test")]
pub(crate) mod tls;
pub(crate) mod writers;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A password that every preset of the password policy accepts.
pub(crate) const PASSWORD: &str = "Correct-horse-7-staple";

/// The routes of the example API (Z2), for a configuration.
pub(crate) const PROJECT_ROUTES: &str = r#"
[[route]]
match  = "GET /public/**"
access = "public"

[[route]]
match  = "GET /projects/**"
access = "authenticated"

[[route]]
match = "POST /projects"
roles = ["editor", "admin"]

[[route]]
match = "DELETE /projects/{id}"
roles = ["admin"]

[[route]]
match = "GET /analytics"
roles = ["admin"]

[[route]]
match  = "/echo/**"
access = "authenticated"
"#;

/// The URL of an empty database for a gateway; `None` where accounts are to be in its own file. A suite whose name begins
/// with "postgres" keeps them on a server, one for the whole suite.
pub(crate) fn database() -> Option<String> {
    static SERVER: OnceLock<postgres::Cluster> = OnceLock::new();
    let wanted = module_path!().starts_with("postgres") && postgres::is_installed();
    wanted.then(|| SERVER.get_or_init(postgres::Cluster::start).database())
}

/// Where the test vectors lie; `None` where they are absent and need not be there.
pub(crate) fn vectors() -> Option<PathBuf> {
    let directory = std::env::var_os("PORTCULLIS_VECTORS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    if directory.is_dir() {
        return Some(directory);
    }
    assert!(std::env::var_os("CI").is_none(), "the test vectors are absent: {}", directory.display());
    // The test harness would keep what `eprintln!` prints to itself.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: the test vectors are absent ({}); set PORTCULLIS_VECTORS",
        directory.display()
    );
    None
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none in time.
pub(crate) fn eventually<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The claims of a JWT, unverified.
pub(crate) fn claims(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let part = token.split('.').nth(1).expect("a compact JWS has three parts");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).expect("claims are base64url");
    serde_json::from_slice(&bytes).expect("claims are JSON")
}

/// The header of a JWT, unverified.
pub(crate) fn jose_header(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let part = token.split('.').next().expect("split yields one part at least");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).expect("the header is base64url");
    serde_json::from_slice(&bytes).expect("the header is JSON")
}
