//! Floods: each kind is told to calm down, loses its connection and is counted; nobody else waits for it.

use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use super::raw::{CALM, Frame, GET, INITIAL_WINDOW, block, frame, literal};
use super::*;

/// An upstream that never answers, so that streams stay open, unless the path says otherwise.
fn hanging() -> Upstream {
    Upstream::start(|served| {
        while let Some(request) = served.request() {
            if request.starts_with("GET /answer ") {
                served.client.send(OK);
            } else if request.starts_with("GET /large ") {
                served.client.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
                let _ = served.client.stream.write_all(&vec![b'x'; 100_000]);
            }
        }
    })
}

/// A gateway whose deadlines are far away: what ends a connection here is the flood.
fn patient(upstream: &Upstream) -> Gateway {
    let long = Duration::from_secs(60);
    let bounds = TransportSettings { head_timeout: long, body_timeout: long, idle_timeout: long, ..bounds() };
    let plain = super::super::upstream(&[upstream.address]);
    // The upstream of a test has a short queue, which a flood can fill.
    let upstream = UpstreamSettings { connect_timeout: long, response_timeout: long, read_timeout: long, ..plain };
    Gateway::with(bounds, upstream, None)
}

/// Sends what makes a flood: once a little less than is too much, on which nothing happens, then the rest.
fn flood(kind: &str, most: usize, settings: &[(u16, u32)], begin: impl Fn(&mut Raw), piece: impl Fn(usize) -> Vec<u8>) {
    let upstream = hanging();
    let gateway = patient(&upstream);
    let honest = |count: usize| {
        let mut raw = Raw::with(gateway.address, settings);
        begin(&mut raw);
        let bytes: Vec<u8> = (0..count).flat_map(&piece).collect();
        raw.send(&bytes);
        raw
    };
    let mut raw = honest(most);
    raw.send(&frame(raw::PING, 0, 0, b"still on"));
    raw.until("a pong: this is no flood yet", |frame| frame.kind == raw::PING && frame.payload == b"still on");
    drop(raw);
    let mut raw = honest(most + most / 4 + 12);
    assert_eq!(raw.end(), Some(CALM), "{kind}");
    counted(&gateway, kind);
}

/// One request that stays open.
fn open(raw: &mut Raw) {
    raw.head(1, &GET, true);
}

/// One request whose body stays open.
fn upload(raw: &mut Raw) {
    raw.head(1, &[(":method", "POST"), GET[1], GET[2], GET[3]], false);
}

#[test]
fn h6_pings_are_bounded_cve_2019_9512() {
    flood("ping", 90, &[], open, |number| frame(raw::PING, 0, 0, &(number as u64).to_be_bytes()));
}

#[test]
fn h6_settings_are_bounded_cve_2019_9515() {
    flood("settings", 17, &[], open, |number| frame(raw::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, (number % 200) as u8]));
}

#[test]
fn h6_priorities_are_bounded_cve_2019_9513() {
    flood("priority", 290, &[], open, |number| frame(raw::PRIORITY, 0, 1 + 2 * number as u32, &[0, 0, 0, 0, 7]));
    flood("priority", 290, &[], open, |_| frame(0x10, 0, 0, b"\0\0\0\x01u=1"));
}

#[test]
fn h6_empty_data_is_bounded_with_and_without_padding_cve_2019_9518() {
    flood("empty_data", 75, &[], upload, |_| frame(raw::DATA, 0, 1, &[]));
    flood("empty_data", 75, &[], upload, |_| frame(raw::DATA, 8, 1, &[3, 0, 0, 0]));
}

#[test]
fn h6_windows_opened_byte_by_byte_are_bounded_cve_2019_9511() {
    let begin = |raw: &mut Raw| {
        raw.head(1, &[GET[0], GET[1], (":path", "/large"), GET[3]], true);
    };
    flood("window_update", 950, &[(INITIAL_WINDOW, 0)], begin, |_| frame(raw::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
    flood("window_update", 950, &[], open, |_| frame(raw::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
}

#[test]
fn h6_frames_that_nobody_knows_are_bounded() {
    flood("unknown_frame", 90, &[], open, |_| frame(0x42, 0xff, 1, b"what is this"));
}

#[test]
fn h6_requests_given_up_at_once_are_bounded_cve_2023_44487() {
    let given_up = |number: usize| {
        let stream = 3 + 2 * number as u32;
        let mut bytes = frame(raw::HEADERS, raw::END_HEADERS | raw::END_STREAM, stream, &block(&GET));
        bytes.extend(frame(raw::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        bytes
    };
    flood("rapid_reset", 190, &[], open, given_up);
}

#[test]
fn h6_requests_given_up_after_a_while_are_bounded_too_and_end_their_exchanges() {
    static OPEN: AtomicUsize = AtomicUsize::new(0);
    let upstream = Upstream::start(|served| {
        served.request();
        OPEN.fetch_add(1, Ordering::SeqCst);
        assert!(!served.client.more());
        OPEN.fetch_sub(1, Ordering::SeqCst);
    });
    let gateway = patient(&upstream);
    let mut raw = Raw::connect(gateway.address);
    for number in 0..400_u32 {
        let stream = 1 + 2 * number;
        if !raw.head(stream, &GET, true) {
            break;
        }
        // Time enough for it to be forwarded, and too little to earn another.
        std::thread::sleep(Duration::from_millis(1));
        raw.frame(raw::RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    }
    assert_eq!(raw.end(), Some(CALM));
    counted(&gateway, "rapid_reset");
    let began = Instant::now();
    while OPEN.load(Ordering::SeqCst) > 0 {
        assert!(began.elapsed() < Duration::from_secs(5), "{} exchanges go on", OPEN.load(Ordering::SeqCst));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn h6_resets_that_a_client_makes_us_send_are_bounded_cve_2025_8671() {
    type Fault = fn(u32) -> Vec<Vec<u8>>;
    let faults: [(&str, Fault); 2] = [
        ("a window beyond its bound", |stream| {
            vec![frame(raw::WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())]
        }),
        ("more than the declared length", |stream| vec![frame(raw::DATA, 0, stream, b"more than one")]),
    ];
    for (what, fault) in faults {
        let upstream = hanging();
        let gateway = patient(&upstream);
        let mut raw = Raw::connect(gateway.address);
        let head = [(":method", "POST"), GET[1], GET[2], GET[3], ("content-length", "1")];
        for number in 0..400_u32 {
            let stream = 1 + 2 * number;
            let mut bytes = frame(raw::HEADERS, raw::END_HEADERS, stream, &block(&head));
            bytes.extend(fault(stream).concat());
            if !raw.send(&bytes) {
                break;
            }
            // What we send is counted where it goes out: let it.
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(raw.end(), Some(CALM), "{what}");
        counted(&gateway, "provoked_reset");
    }
}

#[test]
fn h6_streams_beyond_the_bound_are_refused_and_too_many_of_them_close_the_connection() {
    let upstream = hanging();
    let gateway = patient(&upstream);
    let mut raw = Raw::connect(gateway.address);
    for number in 0..110_u32 {
        raw.head(1 + 2 * number, &GET, true);
    }
    for number in 100..110_u32 {
        assert_eq!(raw.reset(1 + 2 * number), 7, "REFUSED_STREAM");
    }
    let bytes: Vec<u8> = (110..1_300_u32)
        .flat_map(|number| frame(raw::HEADERS, raw::END_HEADERS | raw::END_STREAM, 1 + 2 * number, &block(&GET)))
        .collect();
    raw.send(&bytes);
    assert_eq!(raw.end(), Some(CALM));
}

#[test]
fn h6_header_blocks_that_do_not_end_are_bounded_cve_2024_27316() {
    for piece in [0_usize, 1, 1_000, 16_000] {
        let upstream = hanging();
        let gateway = patient(&upstream);
        let mut raw = Raw::connect(gateway.address);
        raw.frame(raw::HEADERS, raw::END_STREAM, 1, &block(&GET));
        // A literal field of an endless value, in pieces.
        let mut rest = vec![0, 1, b'x', 0x7f, 0xff, 0xff, 0x7f];
        rest.resize(rest.len().max(piece), b'y');
        let mut taken = 0;
        while taken < 12 {
            let part = if taken == 0 { &rest[..] } else { &vec![b'y'; piece][..] };
            if !raw.frame(raw::CONTINUATION, 0, 1, part) {
                break;
            }
            taken += 1;
        }
        assert_eq!(raw.end(), Some(CALM), "{piece}");
        counted(&gateway, "continuation");
        assert!(upstream.is_quiet());
    }
}

#[test]
fn h6_a_head_that_is_large_only_after_decompression_is_refused_cve_2016_6581() {
    let upstream = hanging();
    let gateway = patient(&upstream);
    let mut raw = Raw::connect(gateway.address);
    // One field of 3,000 bytes is remembered, and then named by one byte each.
    let bomb = |references: usize| {
        let mut bytes = block(&GET);
        literal(&mut bytes, 0x40, b"x-bomb", &[b'b'; 3_000]);
        bytes.extend(std::iter::repeat_n(0xbe, references));
        bytes
    };
    raw.frame(raw::HEADERS, raw::END_HEADERS | raw::END_STREAM, 1, &bomb(10));
    let refused = raw.until("an answer", |frame| frame.stream == 1);
    assert_eq!(refused.kind, raw::HEADERS, "32 KiB are refused with an answer");
    raw.frame(raw::HEADERS, raw::END_HEADERS | raw::END_STREAM, 3, &bomb(12_000));
    assert_eq!(raw.end(), Some(CALM), "36 MB out of 15 KB");
    counted(&gateway, "library");
    assert!(upstream.is_quiet());
}

#[test]
fn heads_under_way_on_one_connection_are_bounded_together() {
    let upstream = hanging();
    let gateway = patient(&upstream);
    let mut raw = Raw::connect(gateway.address);
    let long = "x".repeat(15_000);
    for number in 0..40_u32 {
        raw.head(1 + 2 * number, &[GET[0], GET[1], GET[2], GET[3], ("x-long", &long)], true);
    }
    let refused = raw.until("a refusal", |frame| frame.kind == raw::RST_STREAM);
    assert_eq!(refused.code(), 7, "REFUSED_STREAM");
    assert!((17..=2 * 18 + 1).contains(&refused.stream), "{}", refused.stream);
}

#[test]
fn goaway_again_and_again_is_a_flood() {
    let upstream = hanging();
    let gateway = patient(&upstream);
    let mut raw = Raw::connect(gateway.address);
    open(&mut raw);
    upstream.received();
    let bytes: Vec<u8> = (0..50).flat_map(|_| frame(raw::GOAWAY, 0, 0, &[0; 8])).collect();
    raw.send(&bytes);
    assert!(raw.end().is_some_and(|code| code == CALM || code == 0));
}

#[test]
fn an_honest_client_of_long_standing_is_never_told_to_calm_down() {
    let upstream = Upstream::saying(OK);
    let gateway = gateway(&upstream);
    let mut raw = Raw::connect(gateway.address);
    for number in 0..3_000_u32 {
        let stream = 1 + 2 * number;
        let mut bytes = Vec::new();
        // What grpc-go and browsers send along: a priority, windows, a ping in each round trip.
        bytes.extend(frame(raw::HEADERS, raw::END_HEADERS | raw::END_STREAM, stream, &block(&GET)));
        bytes.extend(frame(raw::PRIORITY, 0, stream, &[0, 0, 0, 0, 7]));
        bytes.extend(frame(raw::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 9]));
        bytes.extend(frame(raw::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 9]));
        bytes.extend(frame(raw::PING, 0, 0, &[2; 8]));
        if number % 2 == 0 {
            let given_up = stream;
            assert!(raw.send(&bytes));
            raw.until("its end", |frame: &Frame| frame.stream == given_up && frame.kind == raw::DATA);
            // Every second one is given up when it is over: late, and harmless.
            raw.frame(raw::RST_STREAM, 0, given_up, &8_u32.to_be_bytes());
        } else {
            assert!(raw.send(&bytes));
            raw.until("its end", |frame: &Frame| frame.stream == stream && frame.kind == raw::DATA);
        }
    }
}

#[test]
fn h6_while_others_flood_one_client_is_served_in_time() {
    let upstream = hanging();
    let gateway = patient(&upstream);
    let stop = Arc::new(AtomicBool::new(false));
    let address = gateway.address;
    let kinds: [fn(u32) -> Vec<u8>; 4] = [
        |_| frame(raw::PING, 0, 0, &[3; 8]),
        |_| frame(raw::SETTINGS, 0, 0, &[]),
        |stream| {
            let mut bytes = frame(raw::HEADERS, raw::END_HEADERS | raw::END_STREAM, stream, &block(&GET));
            bytes.extend(frame(raw::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            bytes
        },
        |_| frame(0x42, 0, 0, &[0; 1_000]),
    ];
    let floods: Vec<_> = kinds
        .into_iter()
        .map(|kind| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut raw = Raw::connect(address);
                    for piece in 0..20 {
                        let bytes: Vec<u8> = (0..50).flat_map(|number| kind(1 + 2 * (50 * piece + number))).collect();
                        if !raw.send(&bytes) {
                            break;
                        }
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            })
        })
        .collect();
    let mut client = gateway.client();
    let mut waits: Vec<Duration> = (0..40)
        .map(|_| {
            let began = Instant::now();
            client.send("GET /answer HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.answer().status, 200);
            std::thread::sleep(Duration::from_millis(5));
            began.elapsed()
        })
        .collect();
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.join().unwrap();
    }
    waits.sort_unstable();
    // One of them may have stood in the queue before the upstream.
    assert!(waits[20] < Duration::from_secs(1) && waits[38] < Duration::from_secs(4), "{waits:?}");
}

#[test]
fn h7_frames_of_chance_harm_nobody_and_bring_nothing_malformed_to_the_upstream() {
    let upstream = Upstream::start(|served| {
        while let Some(request) = served.request() {
            let (head, _) = request.split_once("\r\n\r\n").unwrap();
            assert!(head.lines().skip(1).all(|line| line.split_once(": ").is_some()), "{request}");
            served.client.send(OK);
        }
    });
    let gateway = gateway(&upstream);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chance = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..150 {
        let mut raw = Raw::connect(gateway.address);
        let mut bytes = Vec::new();
        for _ in 0..chance(30) {
            let kind = u8::try_from(chance(12)).unwrap();
            let flags = u8::try_from(chance(256)).unwrap();
            let stream = u32::try_from(chance(8)).unwrap();
            let mut payload = match chance(3) {
                0 => block(&GET),
                1 => (0..chance(40)).map(|_| u8::try_from(chance(256)).unwrap()).collect(),
                _ => vec![0; usize::try_from(chance(12)).unwrap()],
            };
            if !payload.is_empty() && chance(4) == 0 {
                let at = usize::try_from(chance(payload.len() as u64)).unwrap();
                payload[at] ^= 1 << chance(8);
            }
            bytes.extend(frame(kind, flags, stream, &payload));
        }
        if raw.send(&bytes) {
            // Whatever it makes of them, it ends.
            let _ = raw.stream.shutdown(std::net::Shutdown::Write);
            raw.end();
        }
    }
    assert_eq!(gateway.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
}

#[test]
fn what_a_client_still_sends_on_streams_that_were_refused_is_no_flood() {
    let upstream = Upstream::saying(OK);
    let gateway = patient(&upstream);
    let mut raw = Raw::connect(gateway.address);
    for number in 0..20_u32 {
        let stream = 1 + 2 * number;
        raw.head(stream, &[(":method", "POST"), GET[1], (":path", "/closed"), GET[3]], false);
        raw.answered(stream);
        let bytes: Vec<u8> = (0..20).flat_map(|_| frame(raw::DATA, 0, stream, &[b'x'; 1_000])).collect();
        raw.send(&bytes);
    }
    raw.send(&frame(raw::PING, 0, 0, b"still on"));
    raw.until("a pong", |frame| frame.kind == raw::PING && frame.payload == b"still on");
}
