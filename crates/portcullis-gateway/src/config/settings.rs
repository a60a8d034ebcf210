//! The resolved configuration: what every other module reads. Nothing in it can be wrong any more.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis::{IdentityHeaders, LimitHeaders, LimitRule, Otherwise, QuotaChoice, ReputationRules, RouteRule};
use portcullis_auth::Issuer;
use portcullis_auth::access::Roles;
use portcullis_core::{Secret, TrustedHops};
use portcullis_limit::{MemcachedOptions, Rate, RedisOptions};
use portcullis_shield::csrf::CsrfRules;

use crate::acme::AcmePlan;
use crate::tls::Material;
use crate::upstream_tls::UpstreamTls;

/// Everything that one configuration file (or none) means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients connect and speak plain HTTP.
    pub listen: Vec<SocketAddr>,
    /// TLS with clients, where there is any.
    pub tls: Option<TlsSettings>,
    /// The URL under which clients know this gate, without a trailing slash: issuer, links in mails, cookies. Never
    /// taken from a `Host` header.
    pub public_url: Arc<str>,
    /// Where state is kept (database, keys, logs); locked while a process serves from it.
    pub state_dir: PathBuf,
    /// The client's side of the transport.
    pub transport: TransportSettings,
    /// Where admitted requests go; routes name one by its index here. Never empty.
    pub upstreams: Vec<UpstreamSettings>,
    /// The identity endpoints; `None` where they are turned off.
    pub identity: Option<IdentitySettings>,
    /// The operator's listener.
    pub admin: AdminSettings,
    /// What is logged where.
    pub log: LogSettings,
    /// The rules of the gate.
    pub gate: GateSettings,
}

impl Settings {
    /// The keys that take effect at the start only; a reload leaves them as they were.
    pub const FIXED_AT_START: [&'static str; 13] = [
        "listen",
        "tls.listen",
        "tls.redirect",
        "public_url",
        "state_dir",
        "cores",
        "[identity]",
        "[mail]",
        "[tokens]",
        "limits.max_keys",
        "limits.store",
        "[admin]",
        "[log]",
    ];
}

/// TLS with clients.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Where it is spoken. Never empty.
    pub listen: Vec<SocketAddr>,
    /// Where plain HTTP is told the way to it.
    pub redirect: Vec<SocketAddr>,
    /// From whom certificates come by ACME; `None` where all are files of the operator's.
    pub acme: Option<Arc<AcmePlan>>,
    /// What handshakes need, as it was when the file was loaded.
    pub material: Arc<Material>,
}

/// A store in which several instances count together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitStore {
    /// What it is, and where.
    pub options: StoreOptions,
    /// How long a decision waits for it in all (40 ms).
    pub patience: Duration,
}

/// What a store is, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOptions {
    /// Redis, which carries every algorithm.
    Redis(RedisOptions),
    /// memcached, which carries what one count can say ([`portcullis_limit::NotCarried`]).
    Memcached(MemcachedOptions),
}

/// Every rate that a limit counts by: for everyone, by plan or by reputation, and the ceiling of those it exempts.
pub(crate) fn rates(rule: &LimitRule) -> impl Iterator<Item = &Rate> {
    let chosen: Vec<&Rate> = match &rule.quota {
        QuotaChoice::Fixed(rate) => vec![rate],
        QuotaChoice::ByPlan { plans, otherwise } => plans.values().chain([otherwise]).collect(),
        QuotaChoice::ByReputation(rates) => rates.named().map(|(_, rate)| rate).to_vec(),
    };
    chosen.into_iter().chain(&rule.ceiling)
}

/// The rules of the gate: together with the keys that tokens are verified by they make a [`portcullis::Policy`].
#[derive(Clone, Debug)]
pub struct GateSettings {
    /// How much of an IPv6 address a limit counts by (64).
    pub ipv6_prefix: u8,
    /// The file's routes, in its order. Those of the identity endpoints are not among them.
    pub routes: Vec<RouteRule>,
    /// What becomes of the rest.
    pub otherwise: Otherwise,
    /// The largest body of the rest, in bytes (1 MiB).
    pub max_body: u64,
    /// The same of what says that it is JSON (10 KiB).
    pub max_json: u64,
    /// The limits, presets included.
    pub limits: Vec<LimitRule>,
    /// How a client is told of its limits.
    pub limit_headers: LimitHeaders,
    /// How addresses are judged, where a limit goes by that.
    pub reputation: ReputationRules,
    /// How many keys the limits count at once (1,000,000).
    pub max_limit_keys: usize,
    /// The store that instances share; `None`: this process's memory.
    pub limit_store: Option<LimitStore>,
    /// How many verified tokens are remembered (100,000).
    pub remembered_tokens: usize,
    /// What roles permit, the built-in ones included.
    pub roles: Roles,
    /// Other people's tokens that are believed. Our own issuer is not among them: its keys are in the database.
    pub issuers: Vec<Issuer>,
    /// The headers that every response carries.
    pub headers: portcullis_shield::ResponseHeaders,
    /// Which pages of other origins may ask, where a route says nothing else.
    pub cors: Option<Arc<portcullis_shield::Cors>>,
    /// What is asked of unsafe requests that a cookie authenticates.
    pub csrf: CsrfRules,
    /// How the upstream is told who a request is.
    pub identity_headers: IdentityHeaders,
    /// Whether the upstream receives the credential that the gate consumed.
    pub forward_credentials: bool,
}

/// Time-outs and bounds of client connections.
#[derive(Clone, Debug)]
pub struct TransportSettings {
    /// Whose word about the client's address is believed.
    pub trusted_hops: TrustedHops,
    /// From the first byte of a head to its last (10 s).
    pub head_timeout: Duration,
    /// Between two pieces of a request body (30 s).
    pub body_timeout: Duration,
    /// How fast a request body has to come while it streams, in bytes per second (500; 0: as slowly as it likes).
    pub min_body_rate: u64,
    /// How long an idle connection is kept (75 s).
    pub idle_timeout: Duration,
    /// For one whole exchange, streams and tunnels excepted (0: none; default 0).
    pub total_timeout: Duration,
    /// Bytes of a request head (32 KiB).
    pub max_head_bytes: usize,
    /// Header fields in a request head (100).
    pub max_headers: usize,
    /// Bytes of a request target (8 KiB).
    pub max_target_bytes: usize,
    /// Connections in the process (10,000).
    pub max_connections: usize,
    /// Connections of one client address (256).
    pub max_connections_per_address: usize,
    /// Bytes of request bodies that are held together, of those that have to be whole before they are used (64 MiB).
    pub max_held_bytes: usize,
    /// Whether HTTP/2 is offered to clients that choose it within TLS (true).
    pub http2: bool,
    /// Whether clients may begin with HTTP/2 on plain listeners (false).
    pub h2c: bool,
    /// Requests that may be under way on one connection of HTTP/2 (100).
    pub max_concurrent_streams: u32,
    /// How long a stop waits for requests under way (30 s).
    pub drain_timeout: Duration,
    /// Cores that accept; by default as many as the machine has.
    pub cores: usize,
}

/// One named upstream.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Its name in the file; `default` for the one of `upstream = …`.
    pub name: Arc<str>,
    /// Its addresses as `host:port`, used in turn. Names are resolved when a connection is opened.
    pub addresses: Vec<Arc<str>>,
    /// The `Host` sent to it; `None` forwards the client's.
    pub host: Option<Arc<str>>,
    /// A path that every forwarded path is put behind (no trailing slash; empty for none).
    pub base_path: Arc<str>,
    /// For opening a connection (2 s).
    pub connect_timeout: Duration,
    /// From the end of the request to the response head (30 s).
    pub response_timeout: Duration,
    /// Between two pieces of a response body (60 s; SSE included, so servers must send keep-alives).
    pub read_timeout: Duration,
    /// How long an unused pooled connection is kept (60 s).
    pub idle_timeout: Duration,
    /// Idle connections kept per core and address (64).
    pub max_idle: usize,
    /// How long an address that failed to connect is skipped (5 s).
    pub retry_failed_after: Duration,
    /// TLS to it; `None` for none.
    pub tls: Option<UpstreamTls>,
    /// Whether it is spoken to by HTTP/2 (no).
    pub http2: bool,
}

/// The identity endpoints and the tokens they issue.
#[derive(Clone, Debug)]
pub struct IdentitySettings {
    /// Where accounts are kept; a file's path is taken from the state directory.
    pub database: portcullis_identity::Database,
    /// The key that encrypts private keys at rest, 32 bytes; `None`: made in the state directory for the embedded
    /// default. PostgreSQL always has one.
    pub master_key: Option<Secret<Vec<u8>>>,
    /// Whether strangers may register. Needs mail.
    pub registration: bool,
    /// The role of a new account (`viewer`).
    pub default_role: Arc<str>,
    /// The plan of a new account (`free`).
    pub default_plan: Arc<str>,
    /// Which password rules apply.
    pub password_policy: portcullis_identity::PasswordPolicy,
    /// How passwords are stored.
    pub password_hash: portcullis_identity::PasswordHash,
    /// Where mail goes.
    pub mail: MailDelivery,
    /// What mails say.
    pub letters: portcullis_identity::Letters,
    /// Life times and audiences of tokens.
    pub tokens: TokenSettings,
    /// How long server sessions live.
    pub sessions: SessionSettings,
    /// How many API keys an account may have (20).
    pub api_keys_per_account: u32,
    /// How accounts are kept from being guessed at (5 in 15 min and 50 a day, a device is known for 90 d); `None` where that is turned off.
    pub lockout: Option<portcullis_identity::Lockout>,
    /// The hosted pages.
    pub pages: PageSettings,
}

/// The hosted pages: sign in, sign up, one's own account.
#[derive(Clone, Debug)]
pub struct PageSettings {
    /// Whether they are there (true). The pages behind mailed links are in any case.
    pub enabled: bool,
    /// What they call the service; `None`: by the host of the public URL.
    pub name: Option<Arc<str>>,
    /// Where a sign-in leads that came from nowhere (`/auth/account`).
    pub after_login: Arc<str>,
    /// URLs elsewhere to which a sign-in may lead, with all below them.
    pub redirects: Vec<Arc<str>>,
}

impl Default for PageSettings {
    fn default() -> Self {
        Self { enabled: true, name: None, after_login: "/auth/account".into(), redirects: Vec::new() }
    }
}

/// How long server sessions live.
#[derive(Clone, Copy, Debug)]
pub struct SessionSettings {
    /// At most (7 d).
    pub life: Duration,
    /// Without a request (12 h).
    pub idle: Duration,
}

/// What becomes of mail.
#[derive(Clone, Debug)]
pub enum MailDelivery {
    /// No mail: registration and reset are closed.
    None,
    /// Kept in memory and shown on the admin listener (the demo).
    Catcher,
    /// Handed to a server by SMTP.
    Server(Box<portcullis_identity::SmtpConfig>),
}

/// How our own tokens are made.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// `aud` of access tokens; by default the public URL.
    pub audience: Arc<str>,
    /// What access tokens say besides what all of them do (nothing).
    pub claims: Vec<portcullis_identity::ExtraClaim>,
    /// Signature algorithm (ES256 by default).
    pub algorithm: portcullis_auth::Algorithm,
    /// Life of an access token (15 min).
    pub access_ttl: Duration,
    /// Life of a refresh token (7 d).
    pub refresh_ttl: Duration,
    /// How long a spent refresh token still yields its successor (10 s; 0 turns it off).
    pub grace: Duration,
    /// Allowed clock difference at verification (30 s).
    pub leeway: Duration,
    /// How old the record of revocations may be before verification refuses with 503 (60 s).
    pub max_staleness: Duration,
    /// How often the signing key is rotated by itself (90 d).
    pub rotate_every: Duration,
}

/// The operator's listener.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// Where it listens; `None` turns it off. Loopback by default (127.0.0.1:9090).
    pub listen: Option<SocketAddr>,
    /// The operator's token; `None`: made in the state directory (`admin-token`, mode 0600) at first start.
    pub token: Option<Secret<String>>,
    /// Further `Host` values that are accepted besides the loopback names (against DNS rebinding).
    pub hosts: Vec<String>,
}

/// What is logged where.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Whether each served request is logged on standard error (false).
    pub access: bool,
    /// Directory of the JSON-lines streams (`events.jsonl`, `limits.jsonl`); `None` turns them off.
    pub events_dir: Option<PathBuf>,
}
