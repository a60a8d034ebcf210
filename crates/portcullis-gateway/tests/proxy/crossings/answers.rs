//! Answers: what an upstream may say by HTTP/2, and what of it becomes an answer by either version.

use std::io;
use std::time::Duration;

use super::{Crossings, HOST, ways};
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, upstream};
use crate::support::honest::{VERSIONS, Version};
use crate::support::http2::{block, literal};
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

/// A gate before an upstream that is made of frames, and answers every request by this script.
fn before(script: impl Fn(&mut Frames, u32, &[u8]) -> io::Result<()> + Send + Sync + 'static) -> Gateway {
    behind(move |_, frames| {
        loop {
            let (id, body) = frames.request()?;
            script(frames, id, &body)?;
        }
    })
}

/// A gate before an upstream that runs this script on every connection.
pub(super) fn behind(script: impl Fn(usize, &mut Frames) -> io::Result<()> + Send + Sync + 'static) -> Gateway {
    let address = upstream(script);
    Setup::upstream("http://127.0.0.1:9")
        .identity("enabled = false")
        .top("cores = 1")
        .with(&format!(
            "[client]\nh2c = true\n\n[limits]\npreset = \"none\"\n\n\
             [[upstreams]]\nname = \"two\"\naddresses = [\"{address}\"]\nhttp2 = true\n\n\
             [[route]]\nmatch = \"/**\"\naccess = \"public\"\nupstream = \"two\"\n"
        ))
        .start()
}

#[test]
fn h7_what_an_answer_says_about_one_hop_goes_no_further_by_any_crossing() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        if exchange.seen.target == "/one/old" {
            return exchange.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
        exchange.send(
            "HTTP/1.1 200 OK\r\nServer: old/1.0\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Authenticate: Basic\r\nX-Kept: yes\r\nVia: 1.1 inner\r\nSet-Cookie: portcullis_admin=evil\r\n\
             Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
        )
    });
    let crossings = Crossings::before(origin);
    for way in ways() {
        let reply = crossings.client(way).get(&way.path("/hop")).send().expect(200);
        for name in ["server", "keep-alive", "proxy-authenticate", "transfer-encoding", "upgrade", "proxy-connection"] {
            assert_eq!(reply.header(name), None, "{way:?}: {name}");
        }
        // The list that names it does not cross to HTTP/2, where there is none.
        assert_eq!(reply.header("x-hop"), (way.upstream == Version::Two).then_some("1"), "{way:?}");
        assert_eq!(reply.headers("set-cookie"), ["a=1", "b=2"], "{way:?}");
        assert_eq!((reply.header("x-kept"), reply.header("content-length")), (Some("yes"), Some("2")), "{way:?}");
        for name in ["date", "x-request-id", "x-content-type-options"] {
            assert!(reply.header(name).is_some(), "{way:?}: {name}");
        }
        // By what each hop heard it (RFC 9110 section 7.6.3).
        let ours = if way.upstream == Version::One { "1.1 portcullis" } else { "2.0 portcullis" };
        assert_eq!(reply.headers("via"), ["1.1 inner", ours], "{way:?}");
        assert_eq!(reply.text(), "ok", "{way:?}");
        let old = crossings.client(way).get("/one/old").send().expect(200);
        assert_eq!(old.header("via"), Some("1.0 portcullis"), "{way:?}");
    }
}

#[test]
fn h7_answers_without_content_end_with_their_head_by_every_crossing() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        let (status, more) = match exchange.seen.target.rsplit('/').next() {
            Some("204") => ("204 No Content", ""),
            Some("304") => ("304 Not Modified", "ETag: \"a\"\r\n"),
            Some("304-long") => ("304 Not Modified", "Content-Length: 7\r\n"),
            Some("205") => ("205 Reset Content", "Content-Length: 0\r\n"),
            Some("empty") => ("200 OK", "Content-Length: 0\r\n"),
            _ => ("200 OK", "Content-Length: 7\r\n"),
        };
        let body =
            if more.contains('7') && exchange.seen.method != "HEAD" && status == "200 OK" { "content" } else { "" };
        exchange.send(format!("HTTP/1.1 {status}\r\n{more}\r\n{body}"))
    });
    let crossings = Crossings::before(origin);
    for way in ways() {
        // On one connection where that is HTTP/1.1: an answer that is read wrongly puts the next one out of step.
        let client = crossings.client(way);
        for (method, rest, status, length) in [
            ("HEAD", "/whole", 200, Some("7")),
            ("GET", "/204", 204, None),
            ("GET", "/304", 304, None),
            ("GET", "/304-long", 304, Some("7")),
            ("HEAD", "/304-long", 304, Some("7")),
            ("GET", "/205", 205, Some("0")),
            ("GET", "/empty", 200, Some("0")),
            ("HEAD", "/empty", 200, Some("0")),
            ("HEAD", "/204", 204, None),
            ("DELETE", "/204", 204, None),
            ("GET", "/whole", 200, Some("7")),
        ] {
            let reply = client.request(method, &way.path(rest)).send().expect(status);
            // What is said of the length of something that has not changed may be left out (RFC 9110 section 8.6).
            let told = reply.header("content-length");
            assert!(told == length || (status == 304 && told.is_none()), "{way:?} {method} {rest}: {told:?}");
            let whole = if method == "GET" && rest == "/whole" { "content" } else { "" };
            assert_eq!(
                (reply.text().as_str(), reply.header("transfer-encoding")),
                (whole, None),
                "{way:?} {method} {rest}"
            );
        }
    }
}

/// Heads of answers that are none (RFC 9113 sections 8.1.1, 8.2 and 8.3.2).
fn malformed() -> Vec<(String, Vec<u8>)> {
    let mut heads = Vec::new();
    for field in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("upgrade", "websocket"),
        ("X-Upper", "y"),
        ("x a", "y"),
        ("x-a: b\r\nset-cookie", "c=d"),
        ("", "y"),
        ("x-a", "b\r\nSet-Cookie: c=d\r\n\r\nHTTP/1.1 200 OK"),
        ("x-a", "b\nc"),
        ("x-a", "b\rc"),
        ("x-a", "b\0c"),
        (":unknown", "y"),
        (":status", "404"),
        ("content-length", "3, 3"),
        ("content-length", "+3"),
        ("content-length", "nonsense"),
    ] {
        heads.push((format!("{field:?}"), block(&[(":status", "200"), field])));
    }
    for fields in [
        &[("x-a", "y")][..],
        &[("x-a", "y"), (":status", "200")],
        &[(":status", "20")],
        &[(":status", "2000")],
        &[(":status", "abc")],
        &[(":status", "")],
        &[(":status", "099")],
        &[(":status", "200"), ("content-length", "3"), ("content-length", "4")],
    ] {
        heads.push((format!("{fields:?}"), block(fields)));
    }
    let mut beyond = block(&[(":status", "200")]);
    literal(&mut beyond, 0, b"x-\xff", b"y");
    heads.push(("a name beyond ASCII".to_owned(), beyond));
    heads
}

#[test]
fn h7_an_answer_of_http2_that_is_malformed_is_nobodys() {
    let heads = malformed();
    let sent = heads.clone();
    let gateway = before(move |frames, id, body| {
        let Ok(place) = String::from_utf8_lossy(body).parse::<usize>() else { return frames.answer(id, b"good") };
        frames.send(HEADERS, END_HEADERS, id, &sent[place].1)?;
        frames.send(DATA, END_STREAM, id, b"bad")
    });
    for version in VERSIONS {
        for (place, (what, _)) in heads.iter().enumerate() {
            let client = gateway.client().by(version);
            // Not one that may be sent twice.
            let reply = client.post("/").body(place.to_string().as_bytes()).send();
            assert_eq!((reply.status, reply.error().as_str()), (502, "Bad gateway"), "{version:?}: {what}");
            assert_eq!(reply.header("set-cookie"), None, "{version:?}: {what}");
            // The connection is good for others, or another one is opened.
            assert_eq!(client.post("/").body(b"x").send().expect(200).text(), "good", "{version:?}: {what}");
        }
    }
    // Pseudo-header fields of requests are malformed in an answer too; the library drops them, so that they cross to nobody.
    let gateway = before(|frames, id, _| {
        let head = block(&[(":status", "200"), (":path", "/admin"), (":authority", "other"), ("x-kept", "1")]);
        frames.send(HEADERS, END_HEADERS, id, &head)?;
        frames.send(DATA, END_STREAM, id, b"all of it")
    });
    for version in VERSIONS {
        let reply = gateway.client().by(version).get("/").send().expect(200);
        assert_eq!((reply.header("x-kept"), reply.text().as_str()), (Some("1"), "all of it"), "{version:?}");
        assert!(!format!("{:?}", reply.headers).contains("admin"), "{version:?}: {:?}", reply.headers);
    }
}

#[test]
fn h7_content_where_an_answer_has_none_puts_nobody_out_of_step() {
    let gateway = before(|frames, id, _| {
        // The first is to be answered with the status that is asked for, and more than belongs to it.
        frames.send(HEADERS, END_HEADERS, id, &[0x89])?;
        frames.send(DATA, END_STREAM, id, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsplit")
    });
    for method in ["GET", "HEAD"] {
        let mut connection = gateway.client().connect();
        let two = format!("{method} / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").repeat(2);
        connection.send(format!("{two}GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")).unwrap();
        let said = String::from_utf8(connection.until_close(Duration::from_secs(5)).unwrap()).unwrap();
        assert!(!said.contains("split"), "{method}: {said}");
        for line in said.lines().filter(|line| line.starts_with("HTTP/")) {
            assert!(line.starts_with("HTTP/1.1 204") || line.starts_with("HTTP/1.1 502"), "{method}: {said}");
        }
        match gateway.client().by(Version::Two).request(method, "/").try_send() {
            Ok(reply) => assert!(reply.body.is_empty() && [204, 502].contains(&reply.status), "{method}: {reply:?}"),
            Err(error) => println!("{method} is reset: {error}"),
        }
    }
}

#[test]
fn h7_an_answer_of_http2_is_as_long_as_it_says_or_looks_broken() {
    let gateway = before(|frames, id, _| {
        frames.send(HEADERS, END_HEADERS, id, &block(&[(":status", "200"), ("content-length", "5")]))?;
        match id % 6 {
            1 => frames.send(DATA, END_STREAM, id, b"abc"),
            3 => frames.send(DATA, END_STREAM, id, b"abcdefgh"),
            _ => {
                frames.send(DATA, 0, id, b"abc")?;
                frames.send(HEADERS, END_HEADERS | END_STREAM, id, &block(&[("x-sum", "3")]))
            }
        }
    });
    for _ in 0..3 {
        let mut connection = gateway.client().connect();
        connection.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n")).unwrap();
        let said = String::from_utf8(connection.until_close(Duration::from_secs(5)).unwrap()).unwrap();
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
        assert!(head.starts_with("HTTP/1.1 502") || (body.len() < 5 && !body.contains("abcde")), "{said}");
    }
    for _ in 0..3 {
        if let Ok(reply) = gateway.client().by(Version::Two).post("/").try_send() {
            assert_eq!(reply.status, 502, "{reply:?}");
        }
    }
}

#[test]
fn h7_interim_answers_of_http2_are_not_the_answer() {
    let interim = |frames: &mut Frames, id: u32, status: &str| {
        frames.send(HEADERS, END_HEADERS, id, &block(&[(":status", status), ("x-interim", "1")]))
    };
    let gateway = before(move |frames, id, _| {
        for status in ["100", "102", "103", "103"] {
            interim(frames, id, status)?;
        }
        frames.answer(id, b"final")
    });
    for version in VERSIONS {
        let reply = gateway.client().by(version).post("/").body(b"x").send().expect(200);
        assert_eq!((reply.text().as_str(), reply.header("x-interim")), ("final", None), "{version:?}");
        assert!(!reply.interim.contains(&100), "nobody asked: {:?}", reply.interim);
    }
    type Deed = fn(&mut Frames, u32) -> io::Result<()>;
    let deeds: [(&str, Deed); 4] = [
        ("content of an interim answer", |frames, id| frames.send(DATA, END_STREAM, id, b"abc")),
        ("an interim answer that ends", |frames, id| {
            frames.send(HEADERS, END_HEADERS | END_STREAM, id, &block(&[(":status", "103")]))
        }),
        ("a switch of protocols", |frames, id| {
            frames.send(HEADERS, END_HEADERS, id, &block(&[(":status", "101"), ("x-a", "b")]))?;
            frames.send(DATA, END_STREAM, id, b"GET /smuggled HTTP/1.1\r\n\r\n")
        }),
        ("a promise that nobody wants", |frames, id| {
            let promise = [
                &[0, 0, 0, 2][..],
                &block(&[(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "a")]),
            ];
            frames.send(5, END_HEADERS, id, &promise.concat())?;
            frames.answer(id, b"late")
        }),
    ];
    for (what, deed) in deeds {
        let gateway = before(move |frames, id, _| {
            interim(frames, id, "103")?;
            deed(frames, id)
        });
        for version in VERSIONS {
            let reply = gateway.client().by(version).post("/").body(b"x").send();
            assert_eq!((reply.status, reply.error().as_str()), (502, "Bad gateway"), "{version:?}: {what}");
        }
    }
}

#[test]
fn h7_an_answer_that_breaks_off_looks_whole_to_no_client() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        let framing =
            if exchange.seen.target.ends_with("known") { "Content-Length: 10" } else { "Transfer-Encoding: chunked" };
        exchange.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n3\r\nabc\r\n"))?;
        std::thread::sleep(Duration::from_millis(20));
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    let crossings = Crossings::before(origin);
    for way in ways() {
        for rest in ["/known", "/un"] {
            let path = way.path(rest);
            match way.client {
                Version::One => {
                    let mut connection = crossings.gateway.client().connect();
                    connection.send(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
                    let said = connection.until_close(Duration::from_secs(5)).unwrap();
                    let said = String::from_utf8(said).unwrap();
                    let whole = said.ends_with("0\r\n\r\n") && said.starts_with("HTTP/1.1 200");
                    assert!(
                        !whole && said.split("\r\n\r\n").nth(1).is_none_or(|body| body.len() != 10),
                        "{way:?}: {said}"
                    );
                }
                Version::Two => {
                    if let Ok(reply) = crossings.client(way).get(&path).try_send() {
                        assert_eq!(reply.status, 502, "{way:?} {rest}: {reply:?}");
                    }
                }
            }
        }
    }
}
