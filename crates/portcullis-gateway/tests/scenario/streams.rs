//! Streams and tunnels end with the credential that opened them (T13), and no others end with them.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::person::{Held, Person};
use crate::support::client::Connection;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, eventually};

/// Everything needs a login but what is public, and nothing is counted.
pub(crate) const ROUTES: &str = r#"
[[route]]
match  = "GET /public/**"
access = "public"

[[route]]
match  = "GET /{kind}/**"
access = "authenticated"

[limits]
preset = "none"

[tokens]
grace = "0s"
"#;

/// A revocation is seen everywhere within a second. The rest is for a machine that runs other tests meanwhile.
pub(crate) const PROMISED: Duration = Duration::from_millis(1_500);

/// A clock that a test moves is no database that was away: a jump beyond `max_staleness` looks like one until the next reading,
/// and would close everything.
pub(crate) const SHORT_LIVES: &str =
    "access = \"10m\"\nmax_staleness = \"15m\"\n\n[identity.sessions]\nlife = \"10m\"\n";

/// How long something has to go on before it is held to go on: it was asked about more than once meanwhile.
pub(crate) const LONG_ENOUGH: Duration = Duration::from_millis(1_300);

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Server-sent events.
    Events,
    /// A download of which nobody knows the length.
    Lines,
    /// A WebSocket, of which the gate sees the upgrade and bytes.
    Socket,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Events, Kind::Lines, Kind::Socket];

/// An API of which no answer ends by itself: every piece says when it was made. `/once` alone is answered and done.
pub(crate) fn endless() -> Origin {
    Origin::start(|exchange| {
        exchange.read_body()?;
        let kind = exchange.seen.target.split('/').find(|part| matches!(*part, "socket" | "events" | "lines"));
        let kind = match kind {
            Some("socket") => {
                let grants = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
                exchange.send(grants)?;
                loop {
                    let heard = exchange.some()?;
                    exchange.send(heard)?;
                }
            }
            Some("events") => "text/event-stream; charset=utf-8",
            Some("lines") => "application/x-ndjson",
            _ => return exchange.answer("200 OK", &json!({})),
        };
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"))?;
        loop {
            let piece = format!("data: {}\n\n", micros());
            exchange.send(format!("{:x}\r\n{piece}\r\n", piece.len()))?;
            std::thread::sleep(Duration::from_millis(100));
        }
    })
}

/// Microseconds, by the one clock of this process that the API and its clients have.
pub(crate) fn micros() -> u128 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros()
}

/// The client's end of something that goes on.
pub(crate) struct Stream {
    kind: Kind,
    target: String,
    connection: Connection,
}

impl Stream {
    /// Opens it with a credential in a header, or on the public route with none, and waits for the first piece.
    pub(crate) fn open(gateway: &Gateway, kind: Kind, credential: Option<(&str, &str)>) -> Self {
        Self::open_at(gateway, if credential.is_some() { "" } else { "/public" }, kind, credential)
    }

    fn open_at(gateway: &Gateway, base: &str, kind: Kind, credential: Option<(&str, &str)>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let target = format!("{base}/{}/{number}", format!("{kind:?}").to_lowercase());
        let client = gateway.client();
        let mut request = client.get(&target);
        if let Some((name, value)) = credential {
            request = request.header(name, value);
        }
        if kind == Kind::Socket {
            request = request.header("Connection", "Upgrade").header("Upgrade", "websocket");
        }
        let mut connection = client.connect();
        connection.send(request.bytes()).unwrap();
        let expected = if kind == Kind::Socket { 101 } else { 200 };
        assert_eq!(connection.head().unwrap().status, expected, "{kind:?}");
        let mut stream = Self { kind, target, connection };
        stream.goes_on("it has just begun");
        stream
    }

    /// Fails unless something comes that was made after this was asked.
    #[track_caller]
    pub(crate) fn goes_on(&mut self, what: &str) {
        if let Err(error) = self.newer() {
            panic!("{what}: {:?} does not go on: {error}", self.kind);
        }
    }

    fn newer(&mut self) -> io::Result<()> {
        let asked = micros();
        if self.kind == Kind::Socket {
            let word = format!("{asked}!");
            self.connection.send(&word)?;
            let heard = self.connection.take(word.len())?;
            return (heard == word.as_bytes()).then_some(()).ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
        loop {
            let piece = self.connection.chunk()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let piece = String::from_utf8_lossy(&piece).into_owned();
            let made = piece.lines().filter_map(|line| line.strip_prefix("data: ")?.parse::<u128>().ok()).max();
            if made.is_some_and(|made| made > asked) {
                return Ok(());
            }
        }
    }

    /// Fails unless both of its ends are closed within what is promised, and it does not look complete.
    #[track_caller]
    pub(crate) fn closes(mut self, what: &str, origin: &Origin, decided: Instant) {
        let Ok(rest) = self.connection.until_close(2 * PROMISED) else {
            panic!("{what}: {:?} is not closed after {:?}", self.kind, decided.elapsed());
        };
        let took = decided.elapsed();
        assert!(took < PROMISED, "{what}: {:?} is closed after {took:?}", self.kind);
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{what}: {:?} looks complete", self.kind);
        let target = format!("{} ", self.target);
        eventually(&format!("{what}: the API's end of {:?} is closed", self.kind), PROMISED, || {
            let connections = origin.connections();
            let mine = |bytes: &[u8]| bytes.windows(target.len()).any(|window| window == target.as_bytes());
            connections.iter().find(|connection| mine(&connection.bytes))?.closed.then_some(())
        });
    }
}

/// Opens one stream of every kind with something that is held.
fn of_each_kind(gateway: &Gateway, (name, value): (&str, String)) -> [Stream; 3] {
    KINDS.map(|kind| Stream::open(gateway, kind, Some((name, &value))))
}

#[test]
fn t13_what_expires_ends_streams_of_events_and_tunnels_and_lets_a_download_finish_unless_it_is_revoked() {
    let origin = endless();
    let gateway = Setup::before(&origin).with(&format!("{ROUTES}{SHORT_LIVES}")).start();
    let ann = Person::new(&gateway, "ann");
    let body = json!({ "name": "ten minutes", "password": PASSWORD, "expiresIn": 600 });
    let made = gateway.client().post("/auth/api-keys").bearer(&ann.access).json(&body).send().expect(201).json();
    let key = made["key"].as_str().unwrap().to_owned();
    let mut whole = of_each_kind(&gateway, ann.header(Held::Key));
    let mut downloads = Vec::new();
    let mut streams = Vec::new();
    for (what, header) in [
        ("a token", ann.header(Held::Bearer)),
        ("a token in a cookie", ann.header(Held::Cookie)),
        ("a server session", ann.header(Held::Session)),
        ("an API key", ("X-API-Key", key)),
    ] {
        let [events, lines, socket] = of_each_kind(&gateway, header);
        streams.extend([(what, events), (what, socket)]);
        downloads.push((what, lines));
    }
    gateway.operator().advance("9m");
    std::thread::sleep(LONG_ENOUGH);
    for (what, stream) in streams.iter_mut().chain(&mut downloads) {
        stream.goes_on(&format!("{what} that is good for another minute"));
    }
    gateway.operator().advance("70s");
    let expired = Instant::now();
    for (what, stream) in streams {
        stream.closes(&format!("{what} that expired"), &origin, expired);
    }
    std::thread::sleep(LONG_ENOUGH);
    for (what, download) in &mut downloads {
        download.goes_on(&format!("a download by {what} that expired"));
    }
    for stream in &mut whole {
        stream.goes_on("a key without an end");
    }
    // Its owner's word counts although the credential has ended by itself.
    let (first, rest) = downloads.split_first_mut().unwrap();
    gateway.client().post("/auth/logout").json(&json!({ "refreshToken": ann.refresh })).send().expect(204);
    std::thread::sleep(LONG_ENOUGH);
    assert!(first.1.newer().is_err(), "it goes on after a logout");
    for (what, download) in rest {
        download.goes_on(&format!("a download by {what}, when another session has logged out"));
    }
    let (access, _) = gateway.login(&ann.email);
    gateway.client().post("/auth/logout-all").bearer(&access).send().expect(204);
    let revoked = Instant::now();
    for (what, download) in downloads.into_iter().skip(1) {
        download.closes(&format!("a download by {what}, after a logout everywhere"), &origin, revoked);
    }
}

#[test]
fn t9_t13_what_a_rotated_key_opened_ends_with_its_overlap() {
    let origin = endless();
    let gateway = Setup::before(&origin).with(&format!("{ROUTES}{SHORT_LIVES}")).start();
    let ann = Person::new(&gateway, "ann");
    let old = of_each_kind(&gateway, ann.header(Held::Key));
    let rotate = format!("/auth/api-keys/{}/rotate", ann.key_id);
    let body = json!({ "password": PASSWORD, "overlap": 60 });
    let made = gateway.client().post(&rotate).bearer(&ann.access).json(&body).send().expect(201).json();
    let mut new = of_each_kind(&gateway, ("X-API-Key", made["key"].as_str().unwrap().to_owned()));
    let mut old = old.into_iter().chain(of_each_kind(&gateway, ann.header(Held::Key))).collect::<Vec<_>>();
    std::thread::sleep(LONG_ENOUGH);
    for stream in &mut old {
        stream.goes_on("both are good");
    }
    gateway.operator().advance("61s");
    let ended = Instant::now();
    for stream in old {
        stream.closes("the old key's end", &origin, ended);
    }
    std::thread::sleep(LONG_ENOUGH);
    for stream in &mut new {
        stream.goes_on("the new key is good");
    }
}

#[test]
fn t13_a_credential_on_a_public_route_ends_what_it_opened_and_nobodys_goes_on() {
    let origin = endless();
    let gateway = Setup::before(&origin).with(ROUTES).start();
    let ann = Person::new(&gateway, "ann");
    let (name, value) = ann.header(Held::Bearer);
    let hers = KINDS.map(|kind| Stream::open_at(&gateway, "/public", kind, Some((name, &value))));
    let mut nobodys = KINDS.map(|kind| Stream::open(&gateway, kind, None));
    ann.post(&gateway, "/auth/logout-all", &json!({}), 204);
    let decided = Instant::now();
    for stream in hers {
        stream.closes("it was told whose it is", &origin, decided);
    }
    std::thread::sleep(LONG_ENOUGH);
    for stream in &mut nobodys {
        stream.goes_on("nobody proved anything");
    }
}

#[test]
fn t13_a_reload_closes_nothing_and_what_was_opened_before_it_still_ends_with_its_credential() {
    let origin = endless();
    let mut gateway = Setup::before(&origin).with(ROUTES).start();
    let ann = Person::new(&gateway, "ann");
    let mut streams: Vec<Stream> = of_each_kind(&gateway, ann.header(Held::Bearer)).into();
    streams.extend(of_each_kind(&gateway, ann.header(Held::Key)));
    gateway.write_config("[[route]]\nmatch = \"GET /new\"\naccess = \"public\"\n");
    gateway.process().signal(rustix::process::Signal::HUP);
    eventually("the new route is there", Duration::from_secs(5), || {
        (gateway.client().get("/new").send().status == 200).then_some(())
    });
    std::thread::sleep(LONG_ENOUGH);
    for stream in &mut streams {
        stream.goes_on("a reload is nobody's revocation");
    }
    ann.post(&gateway, "/auth/logout-all", &json!({}), 204);
    let decided = Instant::now();
    for stream in streams {
        stream.closes("after a reload", &origin, decided);
    }
}
