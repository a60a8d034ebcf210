//! Bodies stream both ways; trailers, events and interim answers pass.

use std::sync::mpsc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::origin::Origin;
use crate::support::process::Setup;

#[test]
fn a_large_body_arrives_whole_in_both_directions() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        let body = std::mem::take(&mut exchange.seen.body);
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()))?;
        exchange.send(body)
    });
    let gateway = Setup::open(&origin)
        .with("[[route]]\nmatch = \"POST /\"\naccess = \"public\"\nbody = { max = \"20MiB\" }\n")
        .start();
    // More than any buffer on the way, and no two places alike.
    let body: Vec<u8> = (0..3_000_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    let reply = gateway.client().post("/").body(&body).send().expect(200);
    assert!(reply.body == body, "{} bytes of {}", reply.body.len(), body.len());
}

#[test]
fn a_request_body_streams_before_it_ends() {
    let (pieces, arrived) = mpsc::channel();
    let pieces = std::sync::Mutex::new(pieces);
    let origin = Origin::start(move |exchange| {
        while let Some(piece) = exchange.read_piece()? {
            let _ = pieces.lock().unwrap().send(piece);
        }
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let gateway = Setup::open(&origin).start();
    let mut connection = gateway.client().connect();
    connection
        .send(format!("POST / HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n", gateway.listen))
        .unwrap();
    for word in ["one", "three", "fourteen"] {
        connection.send(format!("{:x}\r\n{word}\r\n", word.len())).unwrap();
        let piece = arrived.recv_timeout(Duration::from_secs(5)).expect("the piece arrives before the end");
        assert_eq!(piece, word.as_bytes());
    }
    connection.send("0\r\n\r\n").unwrap();
    assert_eq!(connection.reply().unwrap().status, 200);
}

#[test]
fn server_sent_events_arrive_one_by_one() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::start(move |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for number in 0..3 {
            let event = format!("data: {number}\n\n");
            exchange.send(format!("{:x}\r\n{event}\r\n", event.len()))?;
            wait.lock().unwrap().recv_timeout(Duration::from_secs(5)).map_err(std::io::Error::other)?;
        }
        exchange.send("0\r\n\r\n")
    });
    let gateway = Setup::open(&origin).start();
    let mut connection = gateway.client().connect();
    connection.send(format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.listen)).unwrap();
    let head = connection.head().unwrap();
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert!(head.header("content-length").is_none());
    for number in 0..3 {
        // The next event is sent only after this one has arrived, so a buffer anywhere would wait forever.
        assert_eq!(connection.chunk().unwrap().unwrap(), format!("data: {number}\n\n").as_bytes());
        go.send(()).unwrap();
    }
    assert!(connection.chunk().unwrap().is_none());
}

#[test]
fn trailers_pass_in_both_directions_without_what_does_not_belong_there() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\
             Set-Cookie: planted=1\r\nContent-Length: 99\r\n\r\n",
        )
    });
    let gateway = Setup::open(&origin).start();
    let mut connection = gateway.client().connect();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nTE: trailers\r\nTrailer: X-Checksum\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Checksum: abc\r\nHost: evil.example.com\r\nAuthorization: Bearer evil\r\n\
         Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        gateway.listen
    );
    connection.send(request).unwrap();
    let reply = connection.reply().unwrap();
    if reply.status == 400 {
        // Forbidden trailers may be refused instead of dropped; then nothing of them was forwarded as a whole request.
        assert!(origin.requests().iter().all(|seen| seen.trailers.is_empty()));
        let honest = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nTE: trailers\r\nTrailer: X-Checksum\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\nX-Checksum: abc\r\n\r\n",
            gateway.listen
        );
        connection = gateway.client().connect();
        connection.send(honest).unwrap();
        assert_eq!(connection.reply().unwrap().status, 200);
    } else {
        assert_eq!(reply.status, 200);
        assert_eq!(reply.body, b"ok");
        let names: Vec<&str> = reply.trailers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x-sum"], "{:?}", reply.trailers);
    }
    let seen = origin.last();
    assert_eq!(seen.body, b"hello");
    let names: Vec<String> = seen.trailers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(names, ["x-checksum"], "{:?}", seen.trailers);
}

#[test]
fn expect_100_continue_is_answered_before_the_body_and_only_when_admitted() {
    let origin = Origin::echo();
    let gateway = Setup::upstream(&format!("http://{}", origin.address))
        .with("[[route]]\nmatch = \"/open\"\naccess = \"public\"\n\n[[route]]\nmatch = \"/closed\"\naccess = \"authenticated\"\n")
        .start();
    let ask = |path: &str| {
        let mut connection = gateway.client().connect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
            gateway.listen
        );
        connection.send(head).unwrap();
        connection
    };
    let mut admitted = ask("/open");
    assert_eq!(admitted.head().unwrap().status, 100);
    admitted.send("hello").unwrap();
    let reply = admitted.reply().unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(origin.last().body, b"hello");

    let mut refused = ask("/closed");
    assert_eq!(refused.head().unwrap().status, 401, "no 100 for what is not admitted");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn head_and_empty_answers_keep_their_meaning() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        let answer = match exchange.seen.target.as_str() {
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"a\"\r\n\r\n",
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 99\r\n\r\n",
            "/103" => "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            _ => "HTTP/1.0 200 OK\r\n\r\nuntil the end",
        };
        exchange.send(answer)?;
        if exchange.seen.target == "/close" { Err(std::io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    });
    let gateway = Setup::open(&origin).start();
    let client = gateway.client();
    let head = client.request("HEAD", "/head").send().expect(200);
    assert_eq!((head.header("content-length"), head.header("etag")), (Some("1234"), Some("\"a\"")));
    assert_eq!(client.get("/204").send().expect(204).body, b"");
    assert_eq!(client.get("/304").send().expect(304).header("etag"), Some("\"a\""));
    assert_eq!(client.get("/103").send().expect(200).body, b"ok");
    assert_eq!(client.get("/close").send().expect(200).body, b"until the end");
}

#[test]
fn an_answer_that_breaks_off_is_never_shown_as_whole() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        match exchange.seen.target.as_str() {
            "/length" => exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")?,
            _ => exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n")?,
        }
        sleep(Duration::from_millis(100));
        Err(std::io::ErrorKind::BrokenPipe.into())
    });
    let gateway = Setup::open(&origin).start();
    for path in ["/length", "/chunks"] {
        let outcome = gateway.client().get(path).try_send();
        // Either the gate noticed before it answered, or the answer breaks off here as well.
        if let Ok(reply) = outcome {
            assert_eq!(reply.status, 502, "{path}: a broken answer looks whole: {reply:?}");
        }
    }
}

#[test]
fn a_connection_is_kept_and_requests_on_it_are_answered_in_order() {
    let origin = Origin::echo();
    let gateway = Setup::open(&origin).start();
    let mut connection = gateway.client().connect();
    let host = gateway.listen;
    let pipelined: String = (0..5).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: {host}\r\n\r\n")).collect();
    connection.send(pipelined).unwrap();
    for number in 0..5 {
        let reply = connection.reply().unwrap();
        assert_eq!(reply.json()["target"], format!("/{number}"));
    }
    for number in 0..20 {
        connection.send(format!("GET /again/{number} HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap();
        assert_eq!(connection.reply().unwrap().status, 200);
    }
    // The upstream side keeps its connections as well.
    assert!(origin.connections().len() <= 3, "{} connections for 25 requests", origin.connections().len());
}

#[test]
fn an_early_answer_arrives_although_the_body_is_not_read() {
    let origin = Origin::start(|exchange| {
        exchange.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")?;
        sleep(Duration::from_millis(300));
        Err(std::io::ErrorKind::BrokenPipe.into())
    });
    let gateway = Setup::open(&origin).start();
    let mut connection = gateway.client().connect();
    connection
        .send(format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 10000000\r\n\r\nbegin", gateway.listen))
        .unwrap();
    let start = Instant::now();
    let reply = connection.reply().unwrap();
    assert_eq!(reply.status, 413);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn h7_a_request_with_two_lengths_goes_on_with_one_and_is_the_last_of_its_connection() {
    let origin = Origin::echo();
    let gateway = Setup::open(&origin).start();
    let lengths = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 40\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nContent-Length: nonsense",
    ];
    for (turn, lengths) in lengths.into_iter().enumerate() {
        let mut connection = gateway.client().connect();
        let host = gateway.listen;
        // To whoever goes by the length, something else begins in the middle of the body or behind it.
        let smuggled = format!("GET /smuggled{turn} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let chunk = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
        connection
            .send(format!("POST /two{turn} HTTP/1.1\r\nHost: {host}\r\n{lengths}\r\n\r\n{chunk}{smuggled}"))
            .unwrap();
        let reply = connection.reply().unwrap();
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")), "{lengths}");
        let after = connection.until_close(Duration::from_secs(5)).unwrap();
        assert!(after.is_empty(), "{lengths}: {}", String::from_utf8_lossy(&after));
        let seen = origin.last();
        assert_eq!((&*seen.target, &*seen.body), (&*format!("/two{turn}"), smuggled.as_bytes()), "{lengths}");
        assert_eq!(seen.header("transfer-encoding"), Some("chunked"), "{lengths}");
        assert_eq!(seen.header("content-length"), None, "{lengths}");
    }
    // Neither are the connections to the API out of step.
    gateway.client().get("/next").send().expect(200);
    assert_eq!(origin.last().target, "/next");
    assert_eq!(origin.requests().len(), lengths.len() + 1);
}

#[test]
fn h7_content_of_unknown_length_reaches_the_upstream_whatever_the_method() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let gateway = Setup::open(&origin).start();
    let mut connection = gateway.client().connect();
    for method in ["POST", "GET", "HEAD"] {
        let host = gateway.listen;
        connection
            .send(format!(
                "{method} /x HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            ))
            .unwrap();
        assert_eq!(connection.reply_to(method == "HEAD").unwrap().status, 200, "{method}");
        let seen = origin.last();
        assert_eq!((&*seen.method, seen.header("transfer-encoding")), (method, Some("chunked")));
        assert_eq!(seen.body, b"abc", "{method}");
    }
    // Where there is none, nothing is said of it.
    gateway.client().get("/next").send().expect(200);
    assert_eq!(origin.last().header("transfer-encoding"), None);
}
