//! The proxy from outside: raw bytes in, raw bytes at the upstream.

mod checks;
mod forward;
mod http2;
mod refuse;
mod stop;
mod time;
mod tunnel;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::{Gate, Otherwise, Policy, PolicyParts, RouteRule, Target};
use portcullis_auth::access::{Requirement, Roles};
use portcullis_auth::{Algorithm, ClaimNames, CookieNames, Issuer, KeySet, KeySource, SigningKey, TokenVerifier};
use portcullis_core::ports::{Nobody, Revocations, Standing};
use portcullis_core::{Clock, Event, EventSink, Principal, Timestamp, TrustedHops};
use portcullis_limit::{Limiter, MemoryStore};
use portcullis_shield::csrf::{Csrf, CsrfRules};
use portcullis_shield::{Preset, ResponseHeaders};
use portcullis_watch::Metrics;

use super::{Cores, Door, Listeners, ProxySettings, Shared};
use crate::clock::ProcessClock;
use crate::config::{TransportSettings, UpstreamSettings};
use crate::proxy::IdentityHandle;

/// Bounds for tests: short times.
pub(crate) fn transport() -> TransportSettings {
    TransportSettings {
        trusted_hops: TrustedHops::default(),
        head_timeout: Duration::from_millis(400),
        body_timeout: Duration::from_millis(400),
        min_body_rate: 0,
        idle_timeout: Duration::from_millis(800),
        total_timeout: Duration::ZERO,
        max_head_bytes: 32 * 1024,
        max_headers: 100,
        max_target_bytes: 8 * 1024,
        max_connections: 1_000,
        max_connections_per_address: 256,
        max_held_bytes: 1 << 20,
        http2: true,
        h2c: false,
        max_concurrent_streams: 100,
        drain_timeout: Duration::from_secs(2),
        cores: 1,
    }
}

/// An upstream with short times.
pub(crate) fn upstream(addresses: &[SocketAddr]) -> UpstreamSettings {
    UpstreamSettings {
        name: "default".into(),
        addresses: addresses.iter().map(|address| address.to_string().into()).collect(),
        host: None,
        base_path: "".into(),
        connect_timeout: Duration::from_millis(400),
        response_timeout: Duration::from_millis(400),
        read_timeout: Duration::from_millis(400),
        idle_timeout: Duration::from_secs(5),
        max_idle: 8,
        retry_failed_after: Duration::from_secs(5),
        tls: None,
        http2: false,
    }
}

/// The record of revocations: either nothing is revoked or everything is.
#[derive(Default)]
pub(crate) struct Withdrawn(AtomicBool);

impl Withdrawn {
    /// From now on everything is revoked.
    pub(crate) fn withdraw(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Revocations for Withdrawn {
    fn standing(&self, _: &Principal, _: Timestamp) -> Standing {
        if self.0.load(Ordering::Acquire) { Standing::Revoked } else { Standing::Good }
    }
}

struct Quiet;

impl EventSink for Quiet {
    fn record(&self, _: Event) {}
}

/// The key that signs this run's tokens.
fn key() -> &'static SigningKey {
    static KEY: std::sync::OnceLock<SigningKey> = std::sync::OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate(Algorithm::Es256).unwrap())
}

/// A token that is good for this long.
pub(crate) fn token(good_for: Duration) -> String {
    let expires = ProcessClock.now().after(good_for).as_secs_ceil();
    let claims = format!(
        "{{\"iss\":\"https://a\",\"aud\":\"api\",\"sub\":\"u1\",\"exp\":{expires},\"jti\":\"j\",\"sid\":\"s\",\"role\":\"viewer\",\
         \"ver\":1}}"
    );
    key().sign("at+jwt", claims.as_bytes()).unwrap()
}

fn issuer() -> Issuer {
    Issuer {
        name: None,
        iss: "https://a".into(),
        audiences: vec!["api".into()],
        algorithms: vec![Algorithm::Es256],
        leeway: Duration::ZERO,
        typ: Some("at+jwt".into()),
        keys: KeySource::new(KeySet::new(vec![key().verification_key().clone()]).unwrap()),
        claims: ClaimNames::default(),
    }
}

/// A gate that lets everybody through to the first upstream, with bodies of at most `max_body` bytes.
pub(crate) fn policy(max_body: u64) -> Policy {
    let identity = RouteRule {
        max_body: 64 * 1024,
        ignores_credentials: true,
        ..RouteRule::new("/auth/**".parse().unwrap(), Requirement::Public, Target::Identity)
    };
    let closed = RouteRule {
        max_body,
        ..RouteRule::new("/closed".parse().unwrap(), Requirement::Authenticated, Target::Upstream(0))
    };
    Policy::new(PolicyParts {
        trusted_hops: TrustedHops::default(),
        ipv6_prefix: 64,
        routes: [vec![identity, closed], checks::routes()].concat(),
        otherwise: Otherwise::Public,
        max_body,
        max_json: RouteRule::DEFAULT_JSON,
        limits: Vec::new(),
        limit_headers: portcullis::LimitHeaders::default(),
        reputation: portcullis::ReputationRules::default(),
        roles: Roles::new(&std::collections::BTreeMap::new()).unwrap(),
        verifier: Arc::new(TokenVerifier::new(vec![issuer()], 16)),
        cookies: CookieNames::new(false),
        public_origin: "http://127.0.0.1".into(),
        csrf: Csrf::new(CsrfRules::default(), &portcullis_core::Secret::new(vec![7; 32])),
        forward_credentials: false,
        identity_headers: portcullis::IdentityHeaders::default(),
        response_headers: ResponseHeaders::new(Preset::Web, false),
        cors: None,
    })
    .unwrap()
}

/// A gateway on a free port.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    pub(crate) revocations: Arc<Withdrawn>,
    cores: Option<Cores>,
}

impl Gateway {
    pub(crate) fn start(upstreams: &[SocketAddr]) -> Self {
        Self::with(transport(), upstream(upstreams), None)
    }

    pub(crate) fn with(
        transport: TransportSettings,
        upstream: UpstreamSettings,
        identity: Option<IdentityHandle>,
    ) -> Self {
        let revocations = Arc::new(Withdrawn::default());
        let gate = Gate::new(
            policy(1024 * 1024),
            Arc::new(Limiter::new(MemoryStore::default())),
            Arc::clone(&revocations) as _,
            Arc::new(Nobody),
            Arc::new(Quiet),
        );
        let listeners = Listeners::bind(&[(Door::Open, "127.0.0.1:0".parse().unwrap())], transport.cores).unwrap();
        let (_, address) = listeners.local_addrs()[0];
        let settings = ProxySettings { transport: Arc::new(transport), upstreams: Arc::new([upstream]) };
        let shared = Arc::new(Shared::new(
            Arc::new(gate),
            Arc::new(ProcessClock),
            settings,
            Arc::new(Metrics::new()),
            identity,
            None,
        ));
        let cores = super::run(listeners, &shared).unwrap();
        Self { address, shared, revocations, cores: Some(cores) }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own, which the answer may close or not.
    pub(crate) fn ask(&self, request: &str) -> Answer {
        let mut client = self.client();
        client.send(request);
        client.answer()
    }

    pub(crate) fn stop(&mut self, drain: Duration) {
        self.cores.as_ref().unwrap().stop(drain);
    }

    pub(crate) fn join(&mut self) {
        self.cores.take().unwrap().join().unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(cores) = self.cores.take() {
            cores.stop(Duration::ZERO);
            let _ = cores.join();
        }
    }
}

/// A client that speaks bytes.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

/// One answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn has(&self, line: &str) -> bool {
        self.head.lines().any(|known| known.eq_ignore_ascii_case(line))
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// More bytes; false at the end.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.read.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("no bytes: {error}; so far {:?}", String::from_utf8_lossy(&self.read)),
        }
    }

    pub(crate) fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(found) = find(&self.read, end.as_bytes()) {
                let rest = self.read.split_off(found + end.len());
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
            }
            assert!(self.more(), "the end came before {end:?}: {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// One whole answer.
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    pub(crate) fn answer_to(&mut self, method: &str) -> Answer {
        let head = self.until("\r\n\r\n");
        let status = head.get(9..12).and_then(|digits| digits.parse().ok()).expect(&head);
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let body = if method == "HEAD" || status == 204 || status == 304 || status < 200 {
            String::new()
        } else if lower.contains("transfer-encoding: chunked") {
            self.until("0\r\n\r\n")
        } else if let Some(length) = length {
            while self.read.len() < length {
                assert!(self.more(), "the body broke off");
            }
            let rest = self.read.split_off(length);
            String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap()
        } else {
            self.rest()
        };
        Answer { status, head, body }
    }

    /// Everything until the end.
    pub(crate) fn rest(&mut self) -> String {
        while self.more() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// An upstream that serves each connection by a script and tells what it received.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Receiver<String>,
}

/// One connection at the upstream.
pub(crate) struct Served {
    pub(crate) client: Client,
    /// The number of the connection, from zero.
    pub(crate) number: usize,
    told: Arc<Mutex<std::sync::mpsc::Sender<String>>>,
}

impl Served {
    /// Reads one request, body included, and tells the test of it; `None` at the end.
    pub(crate) fn request(&mut self) -> Option<String> {
        while find(&self.client.read, b"\r\n\r\n").is_none() {
            if !self.client.more() {
                return None;
            }
        }
        let head = self.client.until("\r\n\r\n");
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let mut request = head;
        if lower.contains("transfer-encoding: chunked") {
            while !(self.client.read.starts_with(b"0\r\n") || find(&self.client.read, b"\r\n0\r\n").is_some())
                || !self.client.read.ends_with(b"\r\n\r\n")
            {
                if !self.client.more() {
                    break;
                }
            }
            request.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.client.read)));
        } else if let Some(length) = length {
            while self.client.read.len() < length && self.client.more() {}
            let rest = self.client.read.split_off(length.min(self.client.read.len()));
            request.push_str(&String::from_utf8_lossy(&std::mem::replace(&mut self.client.read, rest)));
        }
        self.tell(request.clone());
        Some(request)
    }

    pub(crate) fn tell(&self, what: String) {
        let _ = self.told.lock().unwrap().send(what);
    }
}

impl Upstream {
    /// Starts an upstream; the script runs once for each connection, on a thread of its own.
    pub(crate) fn start(script: impl Fn(&mut Served) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, seen) = channel();
        let (told, script) = (Arc::new(Mutex::new(tell)), Arc::new(script));
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let (script, told) = (Arc::clone(&script), Arc::clone(&told));
                std::thread::spawn(move || {
                    script(&mut Served { client: Client { stream, read: Vec::new() }, number, told });
                });
            }
        });
        Self { address, seen }
    }

    /// Answers every request with the same bytes.
    pub(crate) fn saying(answer: &'static str) -> Self {
        Self::start(move |served| {
            while served.request().is_some() {
                served.client.send(answer);
            }
        })
    }

    /// The next thing that it received.
    pub(crate) fn received(&self) -> String {
        self.seen.recv_timeout(Duration::from_secs(5)).expect("the upstream received nothing")
    }

    /// Whether it has received nothing more.
    pub(crate) fn is_quiet(&self) -> bool {
        self.seen.try_recv().is_err()
    }
}

/// An answer of two bytes.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
