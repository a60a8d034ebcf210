//! Streams over HTTP/2 end with the credential that opened them (T13), and nothing else of their connection does.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::json;

use super::person::{ALL, Held, Person};
use super::streams::{LONG_ENOUGH, PROMISED, ROUTES, SHORT_LIVES, endless, micros};
use crate::support::eventually;
use crate::support::http2::{self as raw, DATA, END_STREAM, GET, HEADERS, RST_STREAM, Raw};
use crate::support::origin::Origin;
use crate::support::origin_http2::Http2Origin;
use crate::support::process::{Gateway, Setup};

/// A gate before an API without an end, which is asked by HTTP/2 below `/two`.
fn gate() -> (Origin, Http2Origin, Gateway) {
    let origin = endless();
    let http2 = Http2Origin::before(&origin);
    let two = format!(
        "[client]\nh2c = true\n\n[[upstreams]]\nname = \"two\"\naddresses = [\"{}\"]\nhttp2 = true\n\n\
         [[route]]\nmatch = \"GET /two/{{kind}}/**\"\naccess = \"authenticated\"\nupstream = \"two\"\n",
        http2.address
    );
    // The last table of the routes' text is the one that the short lives belong to.
    let gateway = Setup::before(&origin).with(&two).with(&format!("{ROUTES}{SHORT_LIVES}")).start();
    (origin, http2, gateway)
}

/// One connection that carries everybody's streams, as that of a proxy in front does.
struct Carrier {
    raw: Raw,
    next: u32,
    /// When the newest piece was made that came on a stream.
    newest: HashMap<u32, u128>,
    /// How a stream ended: the code of its reset, or nothing where it looks complete.
    over: HashMap<u32, (Option<u32>, Instant)>,
    /// Streams that were answered, and those among them that were answered with 200.
    answered: HashMap<u32, bool>,
}

impl Carrier {
    fn new(gateway: &Gateway) -> Self {
        let (newest, over, answered) = Default::default();
        Self { raw: Raw::connect(gateway.listen), next: 1, newest, over, answered }
    }

    /// Asks, and tells on which stream.
    fn ask(&mut self, path: &str, credential: Option<&(&str, String)>) -> u32 {
        let stream = self.next;
        self.next += 2;
        let mut head = vec![GET[0], GET[1], (":path", path), GET[3]];
        let named = credential.map(|(name, value)| (name.to_lowercase(), value));
        head.extend(named.as_ref().map(|(name, value)| (name.as_str(), value.as_str())));
        assert!(self.raw.head(stream, &head, true), "the connection goes on");
        self.until("an answer", |carrier| carrier.answered.contains_key(&stream));
        stream
    }

    /// Opens something that goes on.
    fn open(&mut self, path: &str, credential: Option<&(&str, String)>) -> u32 {
        let stream = self.ask(path, credential);
        assert!(self.answered[&stream], "{path}");
        self.go_on(path, &[stream]);
        stream
    }

    /// Reads frames until it is so.
    #[track_caller]
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}: not in time; over are {:?}", self.over);
            let frame = self.raw.next().unwrap_or_else(|| panic!("{what}: the connection has ended"));
            match frame.kind {
                HEADERS => {
                    self.answered.entry(frame.stream).or_insert(frame.payload.first() == Some(&0x88));
                }
                DATA => {
                    let text = String::from_utf8_lossy(&frame.payload).into_owned();
                    let made = text.lines().filter_map(|line| line.strip_prefix("data: ")?.parse::<u128>().ok()).max();
                    self.newest.extend(made.map(|made| (frame.stream, made)));
                }
                RST_STREAM => {
                    self.over.insert(frame.stream, (Some(frame.code()), Instant::now()));
                }
                raw::GOAWAY => panic!("{what}: the connection is told to go: {}", frame.code()),
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                self.over.insert(frame.stream, (None, Instant::now()));
            }
        }
    }

    /// Fails unless something comes on each that was made after this was asked.
    #[track_caller]
    fn go_on(&mut self, what: &str, streams: &[u32]) {
        let asked = micros();
        self.until(&format!("{what}: {streams:?} go on"), |carrier| {
            streams.iter().all(|stream| carrier.newest.get(stream).is_some_and(|made| *made > asked))
        });
    }

    /// Fails unless all of these are reset within what is promised, and no others are over.
    #[track_caller]
    fn are_reset(&mut self, what: &str, streams: &[u32], decided: Instant) {
        let before: HashSet<u32> = self.over.keys().copied().collect();
        self.until(what, |carrier| streams.iter().all(|stream| carrier.over.contains_key(stream)));
        for stream in streams {
            let (code, at) = self.over[stream];
            assert!(matches!(code, Some(2 | 8)), "{what}: stream {stream} looks complete: {code:?}");
            assert!(at - decided < PROMISED, "{what}: stream {stream} took {:?}", at - decided);
        }
        let now: HashSet<u32> = self.over.keys().copied().collect();
        let mut new: Vec<u32> = now.difference(&before).copied().collect();
        new.sort_unstable();
        assert_eq!(new, streams, "{what}: nobody else's");
    }
}

/// Fails unless the API's ends of these are closed.
fn are_closed(origin: &Origin, what: &str, targets: &[String]) {
    eventually(&format!("{what}: the API's ends are closed"), 2 * PROMISED, || {
        let connections = origin.connections();
        let ended = |target: &String| {
            let line = format!("GET {target} HTTP/1.1\r\n");
            let mine = |bytes: &[u8]| bytes.windows(line.len()).any(|window| window == line.as_bytes());
            connections.iter().any(|connection| mine(&connection.bytes) && connection.closed)
        };
        targets.iter().all(ended).then_some(())
    });
}

#[test]
fn t13_streams_of_one_connection_of_http2_end_each_with_the_credential_that_opened_it() {
    let (origin, http2, gateway) = gate();
    let [ann, eve] = ["ann", "eve"].map(|name| Person::new(&gateway, name));
    let mut carrier = Carrier::new(&gateway);
    let (mut hers, mut targets, mut events, mut downloads) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for base in ["", "/two"] {
        for kind in ["events", "lines"] {
            for held in ALL {
                let target = format!("{base}/{kind}/ann-{held:?}");
                hers.push(carrier.open(&target, Some(&ann.header(held))));
                targets.push(target);
            }
            let others = if kind == "events" { &mut events } else { &mut downloads };
            others.push(carrier.open(&format!("{base}/{kind}/eve"), Some(&eve.header(Held::Bearer))));
        }
    }
    let nobodys = carrier.open("/public/events/nobody", None);
    let rest = [&events[..], &downloads, &[nobodys]].concat();
    assert_eq!(http2.requests().len(), 10);

    ann.post(&gateway, "/auth/logout-all", &json!({}), 204);
    carrier.are_reset("a logout everywhere", &hers, Instant::now());
    are_closed(&origin, "a logout everywhere", &targets);
    // The connection is good for whoever is good.
    for (person, is_served) in [(&ann, false), (&eve, true)] {
        let stream = carrier.ask("/two/once/more", Some(&person.header(Held::Bearer)));
        carrier.until("its end", |carrier| carrier.over.contains_key(&stream));
        assert_eq!((carrier.answered[&stream], carrier.over[&stream].0), (is_served, None));
    }
    carrier.go_on("somebody else has logged out", &rest);

    gateway.operator().advance("9m");
    std::thread::sleep(LONG_ENOUGH);
    carrier.go_on("good for another minute", &rest);
    gateway.operator().advance("70s");
    carrier.are_reset("a token that expired", &events, Instant::now());
    are_closed(&origin, "a token that expired", &["/events/eve".to_owned(), "/two/events/eve".to_owned()]);
    std::thread::sleep(LONG_ENOUGH);
    // A download is finished, unless its owner's word is against it.
    carrier.go_on("downloads by a token that expired", &downloads);
    let (access, _) = gateway.login(&eve.email);
    gateway.client().post("/auth/logout-all").bearer(&access).send().expect(204);
    carrier.are_reset("a logout everywhere, after the end", &downloads, Instant::now());
    carrier.go_on("nobody proved anything", &[nobodys]);
}
