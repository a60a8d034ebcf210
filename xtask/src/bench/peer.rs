//! What the bench asks of every proxy that it measures.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// What a proxy is set up to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Setup {
    /// Every request goes to the upstream, whose answer comes back; nothing is checked.
    Bare,
    /// `/api/**` needs a valid access token with the role `editor`: RS256 of the bench's one key, `iss`, `aud` and `exp` as
    /// [`Room`] names them; otherwise 401, or 403 for another role. Each user has a counted limit that no run reaches.
    /// The upstream is told `X-User-Id` (`sub`) and `X-User-Role` (`role`), which a client cannot set itself; responses
    /// carry the security headers of [`SECURITY_HEADERS`].
    Defended,
    /// `POST /auth/login` is limited to five in fifteen minutes for an address; more are answered by the proxy with 429
    /// and a problem+json body of about the size of [`FLOOD_BODY`].
    Flood,
}

/// What a defended response carries.
pub(crate) const SECURITY_HEADERS: [(&str, &str); 8] = [
    ("Content-Security-Policy", "default-src 'self'; img-src 'self' data: https:"),
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("Permissions-Policy", "camera=(), microphone=(), geolocation=()"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
];

/// The body of a refusal for a peer that cannot make one of its own.
pub(crate) const FLOOD_BODY: &str = r#"{"type":"about:blank","title":"Too Many Requests","status":429,"error":"Too many login attempts. Try again in 15 minutes.","limit":5,"remaining":0}"#;

/// The quota of a user in a minute: counted, never reached.
pub(crate) const USER_QUOTA: u64 = 100_000_000;

/// What every proxy is given.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    /// Where the bench keeps what it builds, downloads and writes.
    pub(crate) directory: PathBuf,
    /// The sources of configurations and scripts that stand in the tree: `bench/peers`.
    pub(crate) sources: PathBuf,
    /// The upstream's address; it answers every request with 200 on keep-alive connections.
    pub(crate) upstream: SocketAddr,
    /// The public key of the tokens, PEM (SubjectPublicKeyInfo).
    pub(crate) public_key: PathBuf,
    /// The same key as a JWK Set with its `kid` [`KEY_ID`], `use` and `alg`.
    pub(crate) jwks: PathBuf,
}

/// The `iss` of the tokens.
pub(crate) const ISSUER: &str = "https://issuer.example.com";
/// The `aud` of the tokens.
pub(crate) const AUDIENCE: &str = "bench-api";
/// The `kid` of the tokens.
pub(crate) const KEY_ID: &str = "bench-1";
/// The role that gets in.
pub(crate) const ROLE: &str = "editor";

/// One proxy.
pub(crate) trait Peer {
    /// What the tables call it.
    fn name(&self) -> &'static str;

    /// Installs it where it is absent and can be installed, and tells its version.
    ///
    /// # Errors
    /// Why it cannot be measured here; the table repeats it.
    fn prepare(&self, room: &Room) -> Result<String, String>;

    /// Why it cannot do what the setup asks, for the table. `None` where it can.
    fn cannot(&self, setup: Setup) -> Option<&'static str>;

    /// The command that serves the setup on the address, in the foreground, on one thread where it lets us choose. Writes
    /// its configuration below the room's directory.
    ///
    /// # Errors
    /// What could not be written.
    fn command(&self, setup: Setup, listen: SocketAddr, room: &Room) -> Result<Command, String>;
}
