//! Bodies of requests, what stands behind them, and who asks before sending one.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Crossings, HOST, ways};
use crate::support::eventually;
use crate::support::frames::{END_HEADERS, END_STREAM, HEADERS, OK, RST_STREAM};
use crate::support::honest::Version;
use crate::support::http2::{self as raw, GET, Raw};
use crate::support::origin::Origin;

#[test]
fn h7_a_body_is_as_long_as_its_head_says_by_every_crossing() {
    let crossings = Crossings::echo();
    for way in ways() {
        let client = crossings.client(way);
        for length in [0, 1, 16_384, 200_000] {
            let body: Vec<u8> = (0..length).map(|at| b'a' + u8::try_from(at % 23).unwrap()).collect();
            for method in ["POST", "GET", "DELETE"] {
                client.request(method, &way.path("/known")).body(&body).send().expect(200);
                let seen = crossings.seen(way);
                assert_eq!(seen.method, method, "{way:?}");
                assert!(seen.body == body, "{way:?} {method}: {} of {length} bytes", seen.body.len());
                let told = seen.header("content-length").map(|length| length.parse::<usize>().unwrap());
                assert!(told == Some(length) || (length == 0 && told.is_none()), "{way:?} {method}: {told:?}");
                assert!(seen.twins("transfer-encoding").is_empty(), "{way:?} {method}: {:?}", seen.headers);
            }
        }
        for method in ["POST", "GET"] {
            let request = client.request(method, &way.path("/unknown")).body(b"of unknown length");
            request.trailer("X-Sum", "17").send().expect(200);
            let seen = crossings.seen(way);
            assert_eq!((seen.method.as_str(), seen.body.as_slice()), (method, &b"of unknown length"[..]), "{way:?}");
            assert!(seen.twins("content-length").is_empty(), "{way:?}: {:?}", seen.headers);
            let framed = (way.upstream == Version::One).then_some("chunked");
            assert_eq!(seen.header("transfer-encoding"), framed, "{way:?} {method}");
        }
        // Its bound is the same however it comes.
        for unknown in [false, true] {
            let request = client.post(&way.path("/small")).body(&[b'x'; 2_000]);
            let request = if unknown { request.trailer("X-Sum", "1") } else { request };
            let before = crossings.count();
            let reply = request.send();
            assert_eq!((reply.status, crossings.count()), (413, before), "{way:?} {unknown}: {}", reply.text());
        }
    }
}

#[test]
fn h7_trailers_cross_both_ways_without_what_does_not_belong_there() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.send(
            "HTTP/1.1 200 OK\r\nTrailer: X-Checksum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\
             X-Checksum: 7\r\nSet-Cookie: a=b\r\nContent-Length: 9\r\nLocation: /there\r\n\r\n",
        )
    });
    let crossings = Crossings::before(origin);
    for way in ways() {
        let client = crossings.client(way);
        let path = way.path("/trailers");
        let mut request = client.post(&path).header("TE", "trailers").header("Trailer", "X-Sum").body(b"hello");
        for (name, value) in [
            ("X-Sum", "5"),
            ("Authorization", "Bearer stolen"),
            ("X-User-Id", "root"),
            ("x_user_role", "admin"),
            ("Content_Length", "3"),
            ("X-Forwarded-For", "6.6.6.6"),
            ("Cookie", "a=b"),
            ("X-HTTP-Method-Override", "DELETE"),
        ] {
            request = request.trailer(name, value);
        }
        let reply = request.send().expect(200);
        let seen = crossings.seen(way);
        let names: Vec<String> = seen.trailers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        assert_eq!((names, seen.body.as_slice()), (vec!["x-sum".to_owned()], &b"hello"[..]), "{way:?}");
        assert_eq!(reply.text(), "abc", "{way:?}");
        assert_eq!(reply.trailers, [("x-checksum".to_owned(), "7".to_owned())], "{way:?}");
    }
}

#[test]
fn h7_pseudo_header_fields_in_trailers_cross_to_nobody() {
    let crossings = Crossings::echo();
    for path in ["/one/x", "/two/x"] {
        let mut raw = Raw::connect(crossings.gateway.listen);
        raw.head(1, &[(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", HOST)], false);
        raw.frame(raw::DATA, 0, 1, b"abc");
        raw.head(1, &[(":path", "/admin"), (":authority", "other"), ("x-sum", "3")], true);
        raw.until("an end", |frame| frame.stream == 1 && frame.kind != raw::WINDOW_UPDATE);
    }
    let seen = [crossings.origin.requests(), crossings.http2.requests()].concat();
    assert!(!seen.is_empty());
    for seen in seen {
        assert!(seen.trailers.iter().all(|(name, _)| name.eq_ignore_ascii_case("x-sum")), "{seen:?}");
        assert!(!format!("{seen:?}").contains("admin"), "{seen:?}");
    }
}

/// What is wrong with a body, the length that its head tells, and what is sent.
type Broken = (&'static str, Option<&'static str>, fn(&mut Raw));

#[test]
fn h7_a_body_that_breaks_off_looks_whole_to_no_upstream() {
    let crossings = Crossings::echo();
    let host = format!("Host: {HOST}\r\n");
    // By HTTP/1.1: shorter than was said, a chunk that is missing, one that is none, trailers without their end.
    for (what, framing, body) in [
        ("short", "Content-Length: 10", "abc"),
        ("no last chunk", "Transfer-Encoding: chunked", "3\r\nabc\r\n"),
        ("no chunk", "Transfer-Encoding: chunked", "3\r\nabc\r\nzz\r\n0\r\n\r\n"),
        ("half of the trailers", "Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\nX-Sum: 3\r\n"),
    ] {
        for path in ["/one/x", "/two/x"] {
            let mut connection = crossings.gateway.client().connect();
            connection.send(format!("POST {path} HTTP/1.1\r\n{host}{framing}\r\n\r\n{body}")).unwrap();
            let _ = connection.stream.shutdown(std::net::Shutdown::Write);
            let said = connection.until_close(Duration::from_secs(5)).unwrap();
            assert!(!said.starts_with(b"HTTP/1.1 2"), "{what} {path}: {}", String::from_utf8_lossy(&said));
        }
    }
    eventually("the upstream is told by HTTP/2", Duration::from_secs(5), || {
        (crossings.http2.broken() == 4).then_some(())
    });
    // By HTTP/2: longer or shorter than was said, and given up.
    let bodies: [Broken; 4] = [
        ("longer", Some("3"), |raw| assert!(raw.frame(raw::DATA, raw::END_STREAM, 1, b"abcdef"))),
        ("shorter", Some("10"), |raw| {
            raw.frame(raw::DATA, 0, 1, b"abc");
            std::thread::sleep(Duration::from_millis(50));
            raw.frame(raw::DATA, raw::END_STREAM, 1, b"");
        }),
        ("given up", None, |raw| {
            raw.frame(raw::DATA, 0, 1, b"abc");
            std::thread::sleep(Duration::from_millis(50));
            raw.frame(raw::RST_STREAM, 0, 1, &8_u32.to_be_bytes());
        }),
        ("given up without an error", None, |raw| {
            raw.frame(raw::DATA, 0, 1, b"abc");
            std::thread::sleep(Duration::from_millis(50));
            raw.frame(raw::RST_STREAM, 0, 1, &0_u32.to_be_bytes());
        }),
    ];
    for (what, length, send) in bodies {
        for path in ["/one/x", "/two/x"] {
            let mut raw = Raw::connect(crossings.gateway.listen);
            let mut head = vec![(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", HOST)];
            head.extend(length.map(|length| ("content-length", length)));
            raw.head(1, &head, false);
            send(&mut raw);
            if what.starts_with("given up") {
                raw.frame(raw::PING, 0, 0, b"still on");
                raw.until("a pong", |frame| frame.kind == raw::PING && frame.payload == b"still on");
            } else {
                assert_eq!(raw.reset(1), 1, "PROTOCOL_ERROR: {what} {path}");
            }
        }
    }
    // Where the head says that there is none, all of it was there before the rest came; but for this nothing is a request.
    for path in ["/one/none", "/two/none"] {
        let mut raw = Raw::connect(crossings.gateway.listen);
        let head = [(":method", "POST"), GET[1], (":path", path), GET[3], ("content-length", "0")];
        raw.head(1, &head, false);
        raw.frame(raw::DATA, raw::END_STREAM, 1, b"GET /smuggled HTTP/1.1\r\n\r\n");
        assert_eq!(raw.reset(1), 1, "PROTOCOL_ERROR: {path}");
    }
    let bytes: Vec<u8> = crossings.origin.connections().into_iter().flat_map(|one| one.bytes).collect();
    assert!(!String::from_utf8_lossy(&bytes).contains("smuggled"));
    assert!(!crossings.http2.requests().iter().any(|seen| seen.target == "/two/none"), "it ended without its end");
    crossings.gateway.client().get("/one/next").send().expect(200);
    crossings.gateway.client().get("/two/next").send().expect(200);
    let whole = crossings.origin.requests().into_iter().filter(|seen| seen.target != "/one/none");
    let targets: Vec<String> = whole.map(|seen| seen.target).collect();
    assert_eq!(targets, ["/one/next", "/two/next"]);
    assert!(crossings.http2.broken() >= 7, "{}", crossings.http2.broken());
}

#[test]
fn h7_a_body_that_breaks_off_after_its_answer_has_begun_does_not_end() {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&ends);
    let gateway = super::answers::behind(move |_, frames| {
        // Answers before the body is there, and looks how that ends.
        loop {
            let frame = frames.next()?;
            if frame.kind == HEADERS && frame.flags & END_STREAM == 0 {
                frames.send(HEADERS, END_HEADERS, frame.id, OK)?;
            }
            if frame.kind == RST_STREAM || frame.flags & END_STREAM != 0 {
                told.lock().unwrap().push(frame.kind);
            }
        }
    });
    let count = |number: usize| {
        eventually("the upstream is told", Duration::from_secs(5), || {
            let ends = ends.lock().unwrap();
            (ends.len() == number).then(|| ends.clone())
        })
    };
    for (number, framing) in ["Content-Length: 10", "Transfer-Encoding: chunked"].into_iter().enumerate() {
        let mut connection = gateway.client().connect();
        connection.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n3\r\nabc\r\n")).unwrap();
        assert_eq!(connection.head().unwrap().status, 200);
        connection.stream.shutdown(std::net::Shutdown::Both).unwrap();
        count(number + 1);
    }
    let breaks: [Broken; 3] = [
        ("reset", None, |raw| assert!(raw.frame(raw::RST_STREAM, 0, 1, &8_u32.to_be_bytes()))),
        ("gone", None, |raw| raw.stream.shutdown(std::net::Shutdown::Both).unwrap()),
        ("shorter", Some("10"), |raw| assert!(raw.frame(raw::DATA, raw::END_STREAM, 1, b"def"))),
    ];
    for (number, (what, length, breaks_off)) in breaks.into_iter().enumerate() {
        let mut raw = Raw::connect(gateway.listen);
        let mut head = vec![(":method", "POST"), GET[1], GET[2], GET[3]];
        head.extend(length.map(|length| ("content-length", length)));
        raw.head(1, &head, false);
        raw.frame(raw::DATA, 0, 1, b"abc");
        raw.answered(1);
        breaks_off(&mut raw);
        assert_eq!(count(number + 3).last(), Some(&RST_STREAM), "{what}");
    }
    assert_eq!(count(5), [RST_STREAM; 5]);
}

#[test]
fn h7_two_lengths_of_one_body_cross_as_none() {
    let crossings = Crossings::echo();
    for lengths in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nContent-Length: nonsense",
    ] {
        let mut connection = crossings.gateway.client().connect();
        let smuggled = format!("GET /two/smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        let chunk = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
        let head = format!("POST /two/lengths HTTP/1.1\r\nHost: {HOST}\r\n{lengths}\r\n\r\n");
        connection.send(format!("{head}{chunk}{smuggled}")).unwrap();
        let reply = connection.reply().unwrap();
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")), "{lengths}");
        assert!(connection.until_close(Duration::from_secs(5)).unwrap().is_empty(), "{lengths}");
        let seen = crossings.http2.last();
        assert_eq!((seen.target.as_str(), seen.body.as_slice()), ("/two/lengths", smuggled.as_bytes()), "{lengths}");
        assert_eq!((seen.header("content-length"), seen.header("transfer-encoding")), (None, None), "{lengths}");
    }
    assert!(!crossings.origin.saw("smuggled"));
}

#[test]
fn h7_who_asks_before_sending_a_body_is_answered_by_the_gate_on_every_crossing() {
    let crossings = Crossings::echo();
    for way in ways() {
        let path = way.path("/expect");
        let reply = match way.client {
            Version::Two => crossings.client(way).post(&path).header("Expect", "100-continue").body(b"hello").send(),
            Version::One => {
                let mut connection = crossings.gateway.client().connect();
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
                );
                connection.send(head).unwrap();
                let mut reply = connection.head().unwrap();
                assert_eq!((reply.status, reply.headers.len()), (100, 0), "{way:?}");
                connection.stream.write_all(b"hello").unwrap();
                reply = connection.reply().unwrap();
                reply.interim.push(100);
                reply
            }
        };
        assert_eq!((reply.status, reply.interim.as_slice()), (200, &[100][..]), "{way:?}");
        let seen = crossings.seen(way);
        assert_eq!((seen.body.as_slice(), seen.header("expect")), (&b"hello"[..], None), "{way:?}");
        // Who is refused is not asked for it, and what nobody understands is refused (RFC 9110 section 10.1.1).
        let before = crossings.count();
        let client = crossings.client(way);
        for (path, expect, status) in [
            (way.path("/small"), "100-continue", 413),
            ("/nowhere".to_owned(), "100-continue", 404),
            (path, "tea", 417),
        ] {
            let reply = client.post(&path).header("Expect", expect).body(&[b'x'; 2_000]).send();
            assert_eq!((reply.status, reply.interim.len()), (status, 0), "{way:?} {path}");
        }
        assert_eq!(crossings.count(), before, "{way:?}");
    }
}
