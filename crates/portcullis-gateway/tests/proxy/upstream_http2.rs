//! HTTP/2 towards an upstream (H6), with one that says exactly what it wants.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, OK, PING, RST_STREAM, SETTINGS, upstream,
};
use crate::support::http2::block;
use crate::support::process::{Gateway, Setup};
use crate::support::tls::{Authority, TlsOrigin};

/// One core, so that requests meet on one connection.
fn before(address: SocketAddr, more: &str) -> Gateway {
    Setup::open_to("http://127.0.0.1:9")
        .top("cores = 1\n")
        .with(&format!(
            "[[upstreams]]\nname = \"api\"\naddresses = [\"{address}\"]\nhttp2 = true\n{more}\n\
             [[route]]\nmatch = \"/api/**\"\naccess = \"public\"\nupstream = \"api\"\n"
        ))
        .start()
}

/// What an upstream does to a request.
type Deed<T> = fn(&mut Frames, u32) -> io::Result<T>;

/// Answers every request with its body.
fn echo(frames: &mut Frames) -> io::Result<()> {
    loop {
        let (id, body) = frames.request()?;
        frames.answer(id, &body)?;
    }
}

#[test]
fn h6_an_upstream_is_spoken_to_by_http2_on_one_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let gateway = before(
        upstream(move |_, frames| {
            count.fetch_add(1, Ordering::SeqCst);
            echo(frames)
        }),
        "",
    );
    for number in 0..20 {
        let body = "x".repeat(number * 10_000);
        let reply = gateway.client().post("/api/x").body(body.as_bytes()).send().expect(200);
        assert_eq!(reply.body.len(), body.len());
        assert_eq!(gateway.client().get("/api/x").send().expect(200).text(), "");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[test]
fn h6_what_the_upstream_has_not_looked_at_is_sent_again_and_nothing_else() {
    // Every first request on a connection meets its fate; whatever comes next is answered.
    let cases: [(&str, Deed<bool>, u16, usize); 5] = [
        ("REFUSED_STREAM", |frames, id| frames.reset(id, 7).map(|()| true), 200, 2),
        ("a stream beyond the last of a GOAWAY", |frames, _| frames.go_away(0, 0).map(|()| false), 200, 2),
        ("INTERNAL_ERROR", |frames, id| frames.reset(id, 2).map(|()| true), 502, 1),
        ("a GOAWAY that includes it, and the end", |frames, id| frames.go_away(id, 0).map(|()| false), 502, 1),
        ("the end", |_, _| Ok(false), 502, 1),
    ];
    for (what, fate, status, times) in cases {
        let bodies = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let seen = Arc::clone(&bodies);
        let gateway = before(
            upstream(move |number, frames| {
                let (id, body) = frames.request()?;
                seen.lock().unwrap().push(body);
                if number == 0 && !fate(frames, id)? {
                    return Ok(());
                }
                if number > 0 {
                    frames.answer(id, b"done")?;
                }
                loop {
                    let (id, body) = frames.request()?;
                    seen.lock().unwrap().push(body);
                    frames.answer(id, b"done")?;
                }
            }),
            "",
        );
        let reply = gateway.client().post("/api/x").body(b"pay 5").send();
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        let bodies = bodies.lock().unwrap().clone();
        assert_eq!(bodies, vec![b"pay 5".to_vec(); times], "{what}");
    }
}

#[test]
fn h6_a_connection_that_the_upstream_closed_meanwhile_costs_no_request() {
    let gateway = before(
        upstream(|_, frames| {
            let (id, _) = frames.request()?;
            frames.answer(id, b"once")
        }),
        "",
    );
    for _ in 0..20 {
        assert_eq!(gateway.client().get("/api/x").send().expect(200).text(), "once");
    }
}

#[test]
fn h6_a_stream_that_was_cancelled_does_not_look_complete() {
    let gateway = before(
        upstream(|_, frames| {
            loop {
                let (id, body) = frames.request()?;
                frames.send(HEADERS, END_HEADERS, id, OK)?;
                match body.as_slice() {
                    b"cancel" => {
                        frames.send(DATA, 0, id, b"half of it")?;
                        frames.reset(id, 8)?;
                    }
                    // Without an error, but also without its end: a length that nobody told cannot be kept.
                    b"silent" => {
                        frames.send(DATA, 0, id, b"half of it")?;
                        frames.reset(id, 0)?;
                    }
                    // Everything was said; the rest of the request is not wanted (RFC 9113 section 8.1).
                    _ => {
                        frames.send(DATA, END_STREAM, id, b"all of it")?;
                        frames.reset(id, 0)?;
                    }
                }
            }
        }),
        "",
    );
    let client = gateway.client();
    assert_eq!(client.post("/api/x").body(b"whole").send().expect(200).text(), "all of it");
    for how in ["cancel", "silent"] {
        let mut connection = client.connect();
        connection
            .send(format!("POST /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 6\r\n\r\n{how}"))
            .unwrap();
        let said = connection.until_close(Duration::from_secs(5));
        assert!(
            !said.is_ok_and(|bytes| bytes.ends_with(b"0\r\n\r\n")),
            "{how}: a stream that was cut off looks complete"
        );
    }
    assert_eq!(client.post("/api/x").body(b"whole").send().expect(200).text(), "all of it");
}

#[test]
fn h6_an_upstream_that_floods_is_bounded() {
    // What it sends before its first answer, and what becomes of that.
    let cases: [(&str, Deed<()>); 5] = [
        ("PING", |frames, _| (0..300_000).try_for_each(|_| frames.send(PING, 0, 0, &[7; 8]))),
        ("SETTINGS", |frames, _| (0..300_000).try_for_each(|_| frames.send(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]))),
        ("CONTINUATION", |frames, id| {
            frames.send(HEADERS, 0, id, OK)?;
            // A field without a name in any table: "x" with 16,000 bytes.
            let mut field = vec![0, 1, b'x', 0x7f, 0x81, 0x7c];
            field.resize(6 + 16_000, b'y');
            (0..10_000).try_for_each(|_| frames.send(CONTINUATION, 0, id, &field))
        }),
        ("interim answers", |frames, id| {
            let head = block(&[(":status", "103"), ("link", &"x".repeat(4_000))]);
            (0..20_000).try_for_each(|_| frames.send(HEADERS, END_HEADERS, id, &head))
        }),
        ("a body beyond its window", |frames, id| {
            frames.send(HEADERS, END_HEADERS, id, OK)?;
            (0..20_000).try_for_each(|_| frames.send(DATA, 0, id, &[b'z'; 16_384]))
        }),
    ];
    for (what, flood) in cases {
        let gateway = before(
            upstream(move |number, frames| {
                if number == 0 {
                    let (id, _) = frames.request()?;
                    flood(frames, id)?;
                }
                echo(frames)
            }),
            "response_timeout = \"2s\"\nread_timeout = \"2s\"\n",
        );
        let memory = resident(&gateway);
        let client = gateway.client();
        let start = Instant::now();
        // It is answered, refused or cut off, and in time.
        let _ = client.post("/api/x").body(b"first").try_send();
        assert!(start.elapsed() < Duration::from_secs(8), "{what}: {:?}", start.elapsed());
        let grown = resident(&gateway).saturating_sub(memory);
        assert!(grown < 24 << 20, "{what}: {} KiB more", grown >> 10);
        let reply = gateway.client().post("/api/x").body(b"next").send();
        assert_eq!((reply.status, reply.text().as_str()), (200, "next"), "{what}");
    }
}

/// The process's memory, in bytes.
fn resident(gateway: &Gateway) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() << 10
}

#[test]
fn h6_a_slow_upstream_is_given_up_in_time_and_its_stream_is_cancelled() {
    let cancelled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&cancelled);
    let gateway = before(
        upstream(move |_, frames| {
            loop {
                let frame = frames.next()?;
                if frame.kind == RST_STREAM {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            }
        }),
        "response_timeout = \"300ms\"\n",
    );
    gateway.client().get("/api/x").send().refused(504, "Gateway timeout");
    crate::support::eventually("the stream is cancelled", Duration::from_secs(5), || {
        (cancelled.load(Ordering::SeqCst) == 1).then_some(())
    });
}

#[test]
fn h6_a_slow_client_is_to_blame_itself_and_not_the_connection_that_others_share() {
    for keys in ["body_timeout = \"400ms\"", "total_timeout = \"400ms\""] {
        let told = Arc::<Mutex<Vec<u8>>>::default();
        let seen = Arc::clone(&told);
        let address = upstream(move |_, frames| {
            loop {
                let frame = frames.frame()?;
                seen.lock().unwrap().push(frame.kind);
            }
        });
        let gateway = before(address, &format!("[client]\n{keys}\n"));
        let mut connection = gateway.client().connect();
        let head = format!("POST /api/x HTTP/1.1\r\nHost: {}\r\nContent-Length: 100\r\n\r\nx", gateway.listen);
        connection.send(head).unwrap();
        assert_eq!(connection.reply().unwrap().status, 408, "{keys}");
        eventually("the stream is cancelled", Duration::from_secs(5), || {
            told.lock().unwrap().contains(&RST_STREAM).then_some(())
        });
        // Time enough for the question whether the upstream is still there.
        std::thread::sleep(Duration::from_millis(200));
        assert!(!told.lock().unwrap().contains(&PING), "{keys}: nothing is wrong with the upstream");
        let metrics = gateway.operator().metrics();
        let blamed = metrics.lines().find_map(|line| line.strip_prefix("portcullis_upstream_errors_total "));
        assert_eq!(blamed, Some("0"), "{keys}");
    }
}

#[test]
fn h6_a_thousand_requests_at_once_share_few_connections() {
    // Nobody is answered before all are there; the upstream takes 200 on a connection.
    let (connections, streams) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, open) = (Arc::clone(&connections), Arc::clone(&streams));
    let address = upstream(move |_, frames| {
        counted.fetch_add(1, Ordering::SeqCst);
        frames.send(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 200])?;
        let mut mine = Vec::new();
        // All that is asked on this connection, until nothing more comes.
        while let Some(id) = frames.request_within(Duration::from_millis(100))? {
            mine.push(id);
            assert!(mine.len() <= 200, "more streams than were allowed");
            open.fetch_add(1, Ordering::SeqCst);
        }
        while open.load(Ordering::SeqCst) < 1_000 {
            if let Some(id) = frames.request_within(Duration::from_millis(20))? {
                mine.push(id);
                assert!(mine.len() <= 200, "more streams than were allowed");
                open.fetch_add(1, Ordering::SeqCst);
            }
        }
        for id in mine {
            frames.answer(id, b"all")?;
        }
        echo(frames)
    });
    let gateway = before(address, "response_timeout = \"20s\"\n");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut answers = Vec::new();
        for number in 0..1_000_u32 {
            // Clients of several addresses: one may have only so many connections.
            let address = std::net::Ipv4Addr::new(127, 0, 7, u8::try_from(1 + number % 10).unwrap());
            let gate = gateway.listen;
            answers.push(tokio::spawn(async move {
                use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.bind((address, 0).into()).unwrap();
                let mut stream = socket.connect(gate).await.unwrap();
                stream.write_all(b"GET /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                answer
            }));
        }
        for answer in answers {
            let answer = answer.await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("all"), "{answer}");
        }
    });
    assert_eq!(streams.load(Ordering::SeqCst), 1_000);
    let count = connections.load(Ordering::SeqCst);
    assert!((5..=16).contains(&count), "{count} connections");
}

#[test]
fn h6_http2_is_chosen_in_the_handshake_or_not_spoken() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tokio_rustls::TlsAcceptor::from(authority.issue("localhost").server(None, &["h2", "http/1.1"]));
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let said = format!("{} {}", request.uri(), request.headers().contains_key("host"));
                    let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                    body.send_data(said.into(), true).unwrap();
                }
            });
        }
    });
    let tls = |port: u16| {
        Setup::open_to("http://127.0.0.1:9")
            .with(&format!(
                "[[upstreams]]\nname = \"api\"\naddresses = [\"localhost:{port}\"]\nhttp2 = true\ntls = {{ ca = {ca:?} }}\n\n\
                 [[route]]\nmatch = \"/api/**\"\naccess = \"public\"\nupstream = \"api\"\n"
            ))
            .start()
    };
    let gateway = tls(port);
    for _ in 0..3 {
        let reply = gateway.client().get("/api/x?y=1").send().expect(200);
        assert_eq!(reply.text(), format!("https://{}/api/x?y=1 false", gateway.listen));
    }
    // One that knows HTTP/1.1 only, and one that chooses nothing.
    for alpn in [&["http/1.1"][..], &[]] {
        let origin = TlsOrigin::saying(authority.issue("localhost").server(None, alpn), "stale");
        let gateway = tls(origin.address.port());
        gateway.client().get("/api/x").send().refused(502, "Bad gateway");
        eventually("the log says why", Duration::from_secs(5), || {
            gateway.output().contains("it does not speak the protocol that \"http2\" says").then_some(())
        });
    }
}
