//! Answers that break an OpenAPI document and pass: each as it came and when it came, and told to the operator (H4).

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::Signal;
use serde_json::Value;

use super::dictated::SECRET;
use crate::support::client::{Connection, Reply};

use crate::support::http2::{self, Raw};
use crate::support::origin::{Exchange, Origin};
use crate::support::process::{Gateway, Setup};
use crate::support::{claims, eventually, frames};

/// The document of things that have an id, of which a feed tells.
const DOCUMENT: &str = r##"
openapi: 3.1.0
info: {title: Things, version: "1"}
paths:
  /things/{name}:
    get:
      responses:
        "200":
          description: a thing
          content:
            application/json: {schema: {$ref: "#/components/schemas/Thing"}}
            text/html: {}
    post: {responses: {"201": {description: made}}}
  /feed/{name}:
    get:
      responses:
        "200": {description: what happens, content: {text/event-stream: {}}}
  /socket/{name}:
    get:
      responses:
        "101": {description: a WebSocket}
        "200": {description: no WebSocket}
  /own:
    get:
      responses:
        "200": {description: mine, content: {application/json: {schema: {type: array, items: {$ref: "#/components/schemas/Thing"}}}}}
components:
  schemas:
    Thing:
      type: object
      required: [id]
      properties: {id: {type: integer}, name: {type: string}, owner: {type: string}}
"##;

const ROUTES: &str = r#"
[limits]
preset = "none"

[[route]]
match  = "/{kind}/**"
access = "public"
"#;

/// A gate with its document, which lies in a directory of its own.
struct House {
    gateway: Gateway,
    _directory: tempfile::TempDir,
}

impl House {
    fn before(origin: &Origin, keys: &str, routes: &str) -> Self {
        Self::start(Setup::before(origin), keys, routes)
    }

    fn start(setup: Setup, keys: &str, routes: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("things.yaml");
        std::fs::write(&file, DOCUMENT).unwrap();
        let table = format!("[openapi]\nfile = \"{}\"\n{keys}\n", file.display());
        Self { gateway: setup.with(&table).with(routes).start(), _directory: directory }
    }

    fn get(&self, target: &str) -> Reply {
        self.gateway.client().get(target).send()
    }

    /// The records of what was reported of answers.
    fn records(&self) -> Vec<Value> {
        let records = self.gateway.records();
        records.into_iter().filter(|record| record["kind"] == "content_reported").collect()
    }

    /// Waits until all of this was reported, and fails if more was counted.
    #[track_caller]
    fn told(&self, expected: &[&str]) {
        let mut expected: Vec<&str> = expected.to_vec();
        expected.sort_unstable();
        let mut seen = Vec::new();
        for _ in 0..250 {
            let records = self.records();
            assert!(records.iter().all(|record| record["reason"] == "response_refused"), "{records:?}");
            seen = records.iter().map(|record| record["rule"].as_str().unwrap_or_default().to_owned()).collect();
            seen.sort_unstable();
            if seen == expected && self.counted() == expected.len() as u64 {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{expected:?} was to be told, and {seen:?} is, {} counted", self.counted());
    }

    /// How often something was reported.
    fn counted(&self) -> u64 {
        const NAME: &str = "portcullis_events_total{kind=\"content_reported\"} ";
        let metrics = self.gateway.operator().metrics();
        metrics.lines().find_map(|line| line.strip_prefix(NAME)?.parse().ok()).unwrap_or(0)
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// What the API answers by the last segment of the path, head and body.
fn canned(name: &str) -> (String, Vec<u8>) {
    const JSON: &str = "200 OK\r\nContent-Type: application/json";
    let leaked = format!(r#"{{"id": "{SECRET}",  "name":"\u00e9" }}"#);
    let wrong = leaked.clone().into_bytes();
    let large = format!("{{\"id\":1,\"name\":\"{}\"}}", "n".repeat(1 << 20)).into_bytes();
    match name {
        "right" => (JSON.into(), br#"{"id":1,"more":true}"#.to_vec()),
        "packed" => (format!("{JSON}\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding"), gzip(br#"{"id":1}"#)),
        "packed-wrong" => (format!("{JSON}\r\nContent-Encoding: gzip"), gzip(&wrong)),
        "brotli" => (format!("{JSON}\r\nContent-Encoding: br"), wrong),
        "wrong" => (format!("{JSON}\r\nETag: \"e1\"\r\nCache-Control: public, max-age=5\r\nX-More: 1"), wrong),
        "twice" => (JSON.into(), br#"{"id":1,"id":2}"#.to_vec()),
        "text" => ("200 OK\r\nContent-Type: text/plain".into(), wrong),
        "page" => ("200 OK\r\nContent-Type: text/html".into(), b"<p>".to_vec()),
        "error" => ("500 Internal Server Error\r\nContent-Type: text/plain".into(), wrong),
        "part" => (
            "206 Partial Content\r\nContent-Type: application/json\r\nContent-Range: bytes 0-3/9".into(),
            b"{\"id".to_vec(),
        ),
        "known" => ("304 Not Modified\r\nETag: \"e1\"".into(), Vec::new()),
        "large" => (JSON.into(), large),
        "none" => ("200 OK".into(), Vec::new()),
        other => panic!("{other} is not known here"),
    }
}

fn answer(exchange: &mut Exchange<'_>) -> io::Result<()> {
    exchange.read_body()?;
    let name = exchange.seen.target.rsplit('/').next().unwrap_or_default().to_owned();
    let (head, body) = canned(&name);
    exchange.send(format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len()))?;
    if exchange.seen.method == "HEAD" { Ok(()) } else { exchange.send(body) }
}

/// What becomes of each answer of [`canned`].
const REPORTED: [(&str, Option<&str>); 13] = [
    ("right", None),
    ("packed", None),
    ("page", None),
    ("wrong", Some("/id type")),
    ("packed-wrong", Some("/id type")),
    ("brotli", Some("header.Content-Encoding notJudged")),
    ("twice", Some("(all) json")),
    ("text", Some("header.Content-Type content")),
    ("error", Some("status unknown")),
    ("part", Some("status notJudged")),
    ("known", Some("status notJudged")),
    ("large", Some("(all) notJudged")),
    ("none", None),
];

#[test]
fn h4_an_answer_that_breaks_the_document_is_reported_and_passes_byte_for_byte() {
    let origin = Origin::start(answer);
    let mut house = House::before(&origin, "", ROUTES);
    let ask = |house: &House, name: &str| {
        let client = house.gateway.client();
        let request = client.get(&format!("/things/{name}")).header("Accept-Encoding", "gzip, br");
        let reply = request.header("Range", "bytes=0-3").header("If-None-Match", "\"e1\"").send();
        let differs = |name: &str| ["date", "x-request-id"].contains(&name);
        let headers: Vec<_> = reply.headers.into_iter().filter(|(name, _)| !differs(name)).collect();
        let mut asked = origin.last().headers;
        asked.retain(|(name, _)| {
            !name.eq_ignore_ascii_case("x-request-id") && !name.to_lowercase().contains("forwarded")
        });
        (reply.status, headers, reply.body, asked)
    };
    let before: Vec<_> = REPORTED.iter().map(|(name, _)| ask(&house, name)).collect();
    assert_eq!(house.counted(), 0);

    // Reports begin with a reload, and change nothing of what is asked or answered.
    let with = house.gateway.config_text().replace("[openapi]\n", "[openapi]\nresponses = \"report\"\n");
    std::fs::write(&house.gateway.config, with).unwrap();
    house.gateway.process().signal(Signal::HUP);
    let mut probes = 0;
    eventually("reports have begun", Duration::from_secs(10), || {
        probes += 1;
        house.get("/things/error").expect(500);
        (house.counted() > 0).then_some(())
    });
    let begun = house.counted();
    for ((name, _), before) in REPORTED.iter().zip(before) {
        let now = ask(&house, name);
        assert_eq!(now, before, "{name}");
        assert_eq!(now.2, canned(name).1, "{name}");
    }
    let expected: Vec<&str> = REPORTED.iter().filter_map(|(_, rule)| *rule).collect();
    let records = eventually("each is recorded", Duration::from_secs(5), || {
        let records = house.records();
        expected.iter().all(|rule| records.iter().any(|record| record["rule"] == **rule)).then_some(records)
    });
    assert_eq!(house.counted(), begun + expected.len() as u64);
    for record in &records {
        assert_eq!(record["route"], "/{kind}/**", "{record}");
        assert_eq!(record["reason"], "response_refused", "{record}");
        assert!(record["request_id"].is_string() && record["client"].is_string(), "{record}");
    }
    let everything = format!("{records:?}{}", house.gateway.output());
    assert!(!everything.contains(SECRET), "{everything}");
    assert!(!house.gateway.output().contains("is refused"));
}

#[test]
fn h4_of_a_head_alone_the_status_is_reported_and_nothing_of_what_did_not_come() {
    let origin = Origin::start(answer);
    let house = House::before(&origin, "responses = \"report\"", ROUTES);
    for (name, status) in [("wrong", 200), ("text", 200), ("large", 200), ("error", 500)] {
        let reply = house.gateway.client().request("HEAD", &format!("/things/{name}")).send().expect(status);
        assert_eq!(reply.header("content-length"), Some(canned(name).1.len().to_string().as_str()));
    }
    house.told(&["status unknown"]);
}

/// Lets go of an API that waits.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Waits, and fails where nobody comes: an answer that is held by the gate would wait for its own first piece.
    fn pass(&self) -> io::Result<()> {
        for _ in 0..1_000 {
            if self.0.swap(false, Ordering::SeqCst) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// An API that sends an answer of this head in pieces, each but the first once somebody has let it.
fn in_pieces(head: &'static str, pieces: Vec<Vec<u8>>) -> (Origin, Gate) {
    let gate = Gate::default();
    let origin = Origin::start({
        let gate = gate.clone();
        move |exchange| {
            exchange.read_body()?;
            exchange.send(format!("HTTP/1.1 {head}\r\nTransfer-Encoding: chunked\r\n\r\n"))?;
            for (number, piece) in pieces.iter().enumerate() {
                if number > 0 {
                    gate.pass()?;
                }
                exchange.send(format!("{:x}\r\n", piece.len()))?;
                exchange.send([piece, "\r\n".as_bytes()].concat())?;
            }
            gate.pass()?;
            exchange.send("0\r\n\r\n")
        }
    });
    (origin, gate)
}

fn open(house: &House, target: &str) -> Connection {
    let client = house.gateway.client();
    let mut connection = client.connect();
    connection.send(client.get(target).bytes()).unwrap();
    assert_eq!(connection.head().unwrap().status, 200);
    connection
}

/// Takes so many bytes of a chunked answer, however it is cut.
fn take(connection: &mut Connection, length: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < length {
        all.extend(connection.chunk().unwrap().expect("there is more of it"));
    }
    all
}

#[test]
fn h4_an_answer_that_comes_in_pieces_is_told_piece_by_piece_and_judged_when_it_is_whole() {
    let pieces = [&b"{\"id\": "[..], b"\"s3cr3t\",", b"\"name\": \"x\"}"].map(<[u8]>::to_vec).to_vec();
    let (origin, gate) = in_pieces("200 OK\r\nContent-Type: application/json", pieces.clone());
    let house = House::before(&origin, "responses = \"report\"", ROUTES);
    let mut connection = open(&house, "/things/1");
    for (number, piece) in pieces.iter().enumerate() {
        // The API sends no more before this one has arrived.
        assert_eq!(take(&mut connection, piece.len()), *piece);
        assert_eq!(house.counted(), 0, "after piece {number}");
        gate.open();
    }
    assert_eq!(connection.chunk().unwrap(), None);
    house.told(&["/id type"]);
}

#[test]
fn h4_events_pass_at_once_and_are_reported_while_they_go_on_where_nobody_declared_them() {
    let events: Vec<_> = (0..4).map(|number| format!("data: {number} {SECRET}\n\n").into_bytes()).collect();
    let (origin, gate) = in_pieces("200 OK\r\nContent-Type: text/event-stream", events.clone());
    let house = House::before(&origin, "responses = \"report\"", ROUTES);
    for (target, told) in [("/feed/1", &[][..]), ("/things/1", &["header.Content-Type content"])] {
        let mut connection = open(&house, target);
        for event in &events {
            assert_eq!(take(&mut connection, event.len()), *event);
            house.told(told);
            gate.open();
        }
        assert_eq!(connection.chunk().unwrap(), None);
        house.told(told);
    }
}

#[test]
fn h4_an_answer_over_the_bound_passes_as_it_comes_and_is_reported_as_not_judged() {
    // Nobody says how long it will be: it is copied up to the bound, and no further.
    let piece = format!("\"{SECRET}\",").repeat(30_000).into_bytes();
    let mut pieces = vec![b"[".to_vec()];
    pieces.extend(std::iter::repeat_n(piece, 8));
    assert!(pieces.iter().map(Vec::len).sum::<usize>() > 2 << 20);
    let (origin, gate) = in_pieces("200 OK\r\nContent-Type: application/json", pieces.clone());
    let house = House::before(&origin, "responses = \"report\"", ROUTES);
    let mut connection = open(&house, "/things/1");
    let mut sent = 0;
    for piece in &pieces {
        assert!(take(&mut connection, piece.len()) == *piece);
        sent += piece.len();
        if sent > 1 << 20 {
            // It has not ended, and all has been said.
            house.told(&["(all) notJudged"]);
        } else {
            assert_eq!(house.counted(), 0);
        }
        gate.open();
    }
    assert_eq!(connection.chunk().unwrap(), None);
    house.told(&["(all) notJudged"]);
}

#[test]
fn h4_an_answer_of_which_there_is_no_room_for_a_copy_passes_and_is_reported_as_not_judged() {
    let piece = format!("\"{}\",", "n".repeat(10_000)).into_bytes();
    let (origin, gate) = in_pieces("200 OK\r\nContent-Type: application/json", vec![piece.clone(); 20]);
    // Of half of it one address gets a quarter, 128 KiB.
    let routes = format!("[client]\nmax_held = \"1MiB\"\n{ROUTES}");
    let house = House::before(&origin, "responses = \"report\"", &routes);
    for round in 1..=2 {
        let mut connection = open(&house, "/things/1");
        for number in 0..20 {
            assert!(take(&mut connection, piece.len()) == piece);
            match number {
                // What the answer before has taken is there again, and this one gets as far.
                0..6 => assert_eq!(house.counted(), round - 1, "piece {number} of answer {round}"),
                13.. => eventually("it is told", Duration::from_secs(5), || (house.counted() == round).then_some(())),
                _ => {}
            }
            gate.open();
        }
        assert_eq!(connection.chunk().unwrap(), None);
    }
    house.told(&["(all) notJudged", "(all) notJudged"]);
}

#[test]
fn h4_an_answer_that_breaks_off_breaks_off_for_the_client_and_nothing_is_made_up_about_it() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange
            .send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{\"id\":\"x\"}")?;
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    let house = House::before(&origin, "responses = \"report\"", ROUTES);
    assert!(house.gateway.client().get("/things/1").try_send().is_err());
    // The gate is well, and has nothing to tell.
    std::thread::sleep(Duration::from_millis(300));
    house.told(&[]);
}

/// Roles see lists of members, and owners their own elements, on routes whose answers are reported.
const SHAPED: &str = r#"
[limits]
preset = "none"

[[route]]
match  = "/things/**"
access = "public"
response = { allow = ["id", "name"] }

[[route]]
match  = "GET /own"
access = "authenticated"
owner  = { member = "owner" }
"#;

#[test]
fn h4_z8_z7_what_a_route_keeps_back_stays_back_where_answers_are_reported() {
    let mine = Arc::new(Mutex::new(String::new()));
    let origin = Origin::start({
        let mine = Arc::clone(&mine);
        move |exchange| {
            if exchange.seen.target != "/own" {
                return answer(exchange);
            }
            exchange.read_body()?;
            let body = mine.lock().unwrap().clone();
            let head = format!("200 OK\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
            exchange.send(format!("HTTP/1.1 {head}\r\n\r\n{body}"))
        }
    });
    let house = House::before(&origin, "responses = \"report\"", SHAPED);
    let mut told = Vec::new();
    for (name, status, rule) in [
        // Whatever is reported, the list of members holds: of these answers nothing else is told.
        ("right", 200, None),
        ("wrong", 200, Some("/id type")),
        ("twice", 502, Some("(all) json")),
        ("text", 502, Some("header.Content-Type content")),
        ("page", 502, None),
        ("brotli", 502, Some("header.Content-Encoding notJudged")),
        ("packed", 502, None),
        ("part", 502, Some("status notJudged")),
        ("large", 502, Some("(all) notJudged")),
        ("error", 500, Some("status unknown")),
    ] {
        let client = house.gateway.client();
        let reply = client.get(&format!("/things/{name}")).header("Accept-Encoding", "gzip").send().expect(status);
        match name {
            "right" => assert_eq!(reply.text(), r#"{"id":1}"#),
            "wrong" => assert_eq!(reply.body, canned(name).1, "both members are listed"),
            _ => assert!(!reply.text().contains(SECRET) && !reply.error().is_empty(), "{name}: {}", reply.text()),
        }
        assert_eq!(origin.last().header("accept-encoding"), Some("identity"));
        told.extend(rule);
        house.told(&told);
    }
    let token = house.gateway.token("viewer");
    let id = claims(&token)["sub"].as_str().unwrap().to_owned();
    *mine.lock().unwrap() = format!(r#"[{{"id":1,"owner":"{id}"}},{{"id":"{SECRET}","owner":"else"}}]"#);
    let own = house.gateway.client().get("/own").bearer(&token).send().expect(200);
    assert_eq!(own.text(), format!(r#"[{{"id":1,"owner":"{id}"}}]"#));
    // It is the upstream's answer that is judged.
    told.push("/1/id type");
    house.told(&told);
}

/// An API of HTTP/2 whose answers are JSON of these pieces.
fn of_frames(pieces: &'static [&'static [u8]], gate: &Gate) -> std::net::SocketAddr {
    let gate = gate.clone();
    frames::upstream(move |_, upstream| {
        loop {
            let (id, _) = upstream.request()?;
            let mut head = frames::OK.to_vec();
            http2::literal(&mut head, 0, b"content-type", b"application/json");
            upstream.send(frames::HEADERS, frames::END_HEADERS, id, &head)?;
            for (number, piece) in pieces.iter().enumerate() {
                if number > 0 {
                    gate.pass()?;
                }
                let last = if number + 1 == pieces.len() { frames::END_STREAM } else { 0 };
                upstream.send(frames::DATA, last, id, piece)?;
            }
        }
    })
}

#[test]
fn h4_answers_are_reported_over_http2_on_both_sides() {
    const PIECES: [&[u8]; 2] = [b"{\"id\":", b"\"s3cr3t\"}"];
    let gate = Gate::default();
    let address = of_frames(&PIECES, &gate);
    let upstream =
        format!("[[upstreams]]\nname = \"api\"\naddresses = [\"{address}\"]\nhttp2 = true\n[client]\nh2c = true\n");
    let setup = Setup::upstream("http://127.0.0.1:9").with(&upstream);
    let routes = ROUTES.replace("access = \"public\"", "access = \"public\"\nupstream = \"api\"");
    let house = House::start(setup, "upstream = \"api\"\nresponses = \"report\"", &routes);
    let mut client = Raw::connect(house.gateway.listen);
    let mut fields = http2::GET;
    fields[2].1 = "/things/1";
    client.head(1, &fields, true);
    client.answered(1);
    for (number, piece) in PIECES.iter().enumerate() {
        let data = client.until("a piece", |frame| frame.kind == http2::DATA && !frame.payload.is_empty());
        assert_eq!(data.payload, *piece);
        if number == 0 {
            assert_eq!(house.counted(), 0);
            gate.open();
        }
    }
    house.told(&["/id type"]);
    // The same for a client of HTTP/1.1.
    let mut connection = open(&house, "/things/1");
    assert_eq!(take(&mut connection, PIECES[0].len()), PIECES[0]);
    gate.open();
    assert_eq!(take(&mut connection, PIECES[1].len()), PIECES[1]);
    eventually("it is reported", Duration::from_secs(5), || (house.counted() == 2).then_some(()));
}

#[test]
fn h4_an_answer_of_http2_that_ends_with_its_head_needs_no_media_type() {
    let address = frames::upstream(|_, upstream| {
        loop {
            let (id, _) = upstream.request()?;
            upstream.send(frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, id, frames::OK)?;
        }
    });
    let setup = || {
        let upstream = format!("[[upstreams]]\nname = \"api\"\naddresses = [\"{address}\"]\nhttp2 = true\n");
        Setup::upstream("http://127.0.0.1:9").with(&upstream)
    };
    let routes = ROUTES.replace("access = \"public\"", "access = \"public\"\nupstream = \"api\"");
    for mode in ["enforce", "report"] {
        let house = House::start(setup(), &format!("upstream = \"api\"\nresponses = \"{mode}\""), &routes);
        assert_eq!(house.get("/things/1").expect(200).text(), "");
        // The status is declared or not, whatever comes with it.
        let made = house.gateway.client().post("/things/1").send();
        assert_eq!(made.status, if mode == "enforce" { 502 } else { 200 });
        house.told(if mode == "enforce" { &[] } else { &["status unknown"] });
    }
}

/// An API that makes a tunnel of whatever it is asked, and repeats what it hears there.
fn tunnels() -> Origin {
    Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
        loop {
            let heard = exchange.some()?;
            exchange.send(heard)?;
        }
    })
}

#[test]
fn h4_a_request_becomes_a_tunnel_only_where_the_document_declares_it() {
    let origin = tunnels();
    for (keys, target, opens, told) in [
        ("", "/things/1", false, &[][..]),
        ("", "/socket/1", true, &[]),
        ("responses = \"enforce\"", "/things/1", false, &[]),
        ("responses = \"enforce\"", "/socket/1", true, &[]),
        ("responses = \"enforce\"\nrequests = \"report\"", "/things/1", false, &[]),
        // What would be said in there is of requests, and those are enforced.
        ("responses = \"report\"", "/things/1", false, &[]),
        ("responses = \"report\"\nrequests = \"report\"", "/things/1", true, &["status unknown"]),
        ("responses = \"report\"\nrequests = \"report\"", "/socket/1", true, &[]),
        ("requests = \"report\"", "/things/1", true, &["status unknown"]),
        // Of what no operation covers nothing is declared.
        ("unknown_paths = \"allow\"", "/other/1", true, &[]),
        ("", "/socket/held", false, &[]),
    ] {
        let routes = format!("{ROUTES}[[route]]\nmatch='/socket/held'\naccess='public'\nbody={{json=true}}\n");
        let house = House::before(&origin, keys, &routes);
        let client = house.gateway.client();
        let request = client.get(target).header("Connection", "Upgrade").header("Upgrade", "websocket");
        let mut connection = client.connect();
        connection.send(request.bytes()).unwrap();
        let status = connection.head().unwrap().status;
        // A request of which a tunnel was made is never over.
        let asked = origin.connections().pop().expect("the API was asked").bytes;
        let asked = String::from_utf8_lossy(&asked).to_lowercase();
        assert_eq!(
            (status, asked.contains("upgrade: websocket")),
            if opens { (101, true) } else { (502, false) },
            "{keys} {target}"
        );
        if opens {
            connection.send("hello").unwrap();
            assert_eq!(connection.take(5).unwrap(), b"hello");
        }
        house.told(told);
    }
}

#[test]
fn h4_explain_tells_that_answers_are_reported() {
    let origin = Origin::echo();
    let house = House::before(&origin, "responses = \"report\"", ROUTES);
    let told = String::from_utf8(house.gateway.command(&["explain", "GET /things/1"]).stdout).unwrap();
    assert!(told.contains("of answers: what the OpenAPI document does not declare is reported"), "{told}");
}
