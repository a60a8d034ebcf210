//! Floods of HTTP/2 through the real binary: each kind closes its connection, is counted and recorded, and others are served
//! meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::honest::VERSIONS;
use crate::support::http2::{
    CALM, CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, HEADERS, INITIAL_WINDOW, PING, PRIORITY, RST_STREAM, Raw,
    SETTINGS, WINDOW_UPDATE, block, frame, literal,
};
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

/// An origin that answers at once, never, or with more than a window.
fn origin() -> Origin {
    Origin::start(|exchange| match exchange.seen.target.as_str() {
        "/hang" => {
            // Until the other side ends.
            while !exchange.some()?.is_empty() {}
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        "/large" => exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000))),
        _ => {
            exchange.read_body()?;
            exchange.answer("200 OK", &serde_json::json!({ "ok": true }))
        }
    })
}

/// One request that stays open.
const HANG: [(&str, &str); 4] = [GET[0], GET[1], (":path", "/hang"), GET[3]];

/// One whose answer is more than a window.
const LARGE: [(&str, &str); 4] = [GET[0], GET[1], (":path", "/large"), GET[3]];

/// What a flood is made of: the kind under which it is counted, how its connection begins, how many pieces are enough, and one
/// piece.
struct Flood {
    kind: &'static str,
    begin: fn(&mut Raw),
    count: u32,
    piece: fn(u32) -> Vec<u8>,
}

fn open(raw: &mut Raw) {
    raw.head(1, &HANG, true);
}

fn upload(raw: &mut Raw) {
    raw.head(1, &[(":method", "POST"), HANG[1], HANG[2], HANG[3]], false);
}

const fn flood(kind: &'static str, begin: fn(&mut Raw), count: u32, piece: fn(u32) -> Vec<u8>) -> Flood {
    Flood { kind, begin, count, piece }
}

const FLOODS: [Flood; 12] = [
    flood("rapid_reset", open, 260, |number| {
        let stream = 3 + 2 * number;
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&HANG));
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        bytes
    }),
    flood(
        "provoked_reset",
        |_| {},
        300,
        |number| {
            let stream = 1 + 2 * number;
            let head = [(":method", "POST"), HANG[1], HANG[2], HANG[3], ("content-length", "1")];
            let mut bytes = frame(HEADERS, END_HEADERS, stream, &block(&head));
            bytes.extend(frame(DATA, 0, stream, b"more than one"));
            bytes
        },
    ),
    flood(
        "refused_stream",
        |_| {},
        1_400,
        |number| frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * number, &block(&HANG)),
    ),
    flood(
        "continuation",
        |raw| {
            raw.frame(HEADERS, END_STREAM, 1, &block(&HANG));
        },
        12,
        // A literal field of an endless value, in pieces.
        |number| {
            let begin: &[u8] = if number == 0 { &[0, 1, b'x', 0x7f, 0xff, 0xff, 0x7f] } else { &[] };
            frame(CONTINUATION, 0, 1, &[begin, &[b'y'; 1_000]].concat())
        },
    ),
    flood("empty_data", upload, 130, |number| {
        if number % 2 == 0 { frame(DATA, 0, 1, &[]) } else { frame(DATA, 8, 1, &[3, 0, 0, 0]) }
    }),
    flood("settings", open, 40, |_| frame(SETTINGS, 0, 0, &[])),
    flood("ping", open, 150, |number| frame(PING, 0, 0, &u64::from(number).to_be_bytes())),
    flood("priority", open, 400, |number| frame(PRIORITY, 0, 3 + 2 * number, &[0, 0, 0, 0, 7])),
    flood("window_update", open, 1_400, |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
    flood("unknown_frame", open, 150, |_| frame(0x42, 0xff, 1, b"what is this")),
    flood("library", open, 1, |_| {
        // 36 MB out of 15 KB: one field that is remembered, and then named by one byte each (CVE-2016-6581).
        let mut bomb = block(&HANG);
        literal(&mut bomb, 0x40, b"x-bomb", &[b'b'; 3_000]);
        bomb.extend(std::iter::repeat_n(0xbe, 12_000));
        frame(HEADERS, END_HEADERS | END_STREAM, 3, &bomb)
    }),
    flood(
        "zero_window",
        |_| {},
        40,
        |number| {
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1 + 2 * number,
                &block(&[GET[0], GET[1], (":path", "/large"), GET[3]]),
            )
        },
    ),
];

/// How many connections were closed for a kind.
fn counted(gateway: &Gateway, kind: &str) -> u64 {
    let metrics = gateway.operator().metrics();
    let name = format!("portcullis_http2_floods_total{{kind=\"{kind}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {kind} in {metrics}")).parse().unwrap()
}

/// Asks for something again and again, by either version; how long the slowest of all answers took.
fn others(gateway: &Gateway, stop: &Arc<AtomicBool>) -> Vec<std::thread::JoinHandle<(usize, Duration)>> {
    let ask = |version| {
        let (client, stop) = (gateway.client().by(version), Arc::clone(stop));
        std::thread::spawn(move || {
            let (mut count, mut slowest) = (0, Duration::ZERO);
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                client.get("/").send().expect(200);
                slowest = slowest.max(began.elapsed());
                count += 1;
                sleep(Duration::from_millis(10));
            }
            (count, slowest)
        })
    };
    VERSIONS.map(ask).into()
}

#[test]
fn h6_every_kind_of_flood_closes_its_connection_is_counted_and_leaves_others_alone() {
    let origin = origin();
    let gateway = Setup::open(&origin)
        .top("cores = 1")
        .with("[client]\nh2c = true\nbody_timeout = \"1s\"\nidle_timeout = \"30s\"\nmax_concurrent_streams = 100\n")
        .start();
    let stop = Arc::new(AtomicBool::new(false));
    let others = others(&gateway, &stop);
    // A page that was paused with all that it loads: its streams end, and its connection does not.
    let mut paused = Raw::with(gateway.listen, &[(INITIAL_WINDOW, 0)]);
    for number in 0..25 {
        paused.head(1 + 2 * number, &LARGE, true);
    }
    for flood in &FLOODS {
        let before = counted(&gateway, flood.kind);
        let settings = if flood.kind == "zero_window" { &[(INITIAL_WINDOW, 0)][..] } else { &[] };
        let mut raw = Raw::with(gateway.listen, settings);
        (flood.begin)(&mut raw);
        for number in 0..flood.count {
            if !raw.send(&(flood.piece)(number)) {
                break;
            }
            if flood.kind == "provoked_reset" && number % 10 == 0 {
                // What the gate sends is counted where it goes out: let it.
                sleep(Duration::from_millis(1));
            }
        }
        assert_eq!(raw.end(), Some(CALM), "{}", flood.kind);
        eventually(flood.kind, Duration::from_secs(5), || (counted(&gateway, flood.kind) == before + 1).then_some(()));
    }
    for _ in 0..25 {
        paused.until("a reset", |frame| frame.kind == RST_STREAM && frame.code() == 8);
    }
    paused.head(99, &GET, true);
    paused.answered(99);
    stop.store(true, Ordering::Relaxed);
    for other in others {
        let (count, slowest) = other.join().unwrap();
        assert!(count > 20 && slowest < Duration::from_secs(4), "{count} answers, the slowest after {slowest:?}");
    }
    // Each is one event of one address, and none was taken for another kind.
    let total: u64 = FLOODS.iter().map(|flood| counted(&gateway, flood.kind)).sum();
    assert_eq!(total, FLOODS.len() as u64);
    let events = format!("portcullis_events_total{{kind=\"http2_flood\"}} {total}\n");
    assert!(gateway.operator().metrics().contains(&events), "{events}");
    let recorded = eventually("every kind is in the records", Duration::from_secs(10), || {
        let records = gateway.records();
        let floods: Vec<_> = records.into_iter().filter(|event| event["kind"] == "http2_flood").collect();
        let told = |kind: &str| floods.iter().any(|event| event["reason"] == kind);
        FLOODS.iter().all(|flood| told(flood.kind)).then_some(floods)
    });
    assert!(recorded.iter().all(|event| event["client"] == "127.0.0.1"), "{recorded:?}");
    // What they opened has been given back.
    eventually("nothing hangs any more", Duration::from_secs(5), || {
        origin.connections().iter().filter(|connection| !connection.closed).count().le(&5).then_some(())
    });
}
