//! What goes through, and how.

use http::header::{COOKIE, HOST};

use super::*;

#[test]
fn h6_a_request_of_http2_is_forwarded_as_http1_and_its_answer_carries_what_every_answer_does() {
    let upstream = Upstream::saying(
        "HTTP/1.1 200 OK\r\nServer: old/1.0\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
    );
    let gateway = gateway(&upstream);
    let mut request = get("/a//b?x=1");
    request.headers_mut().append(COOKIE, "a=1".parse().unwrap());
    request.headers_mut().append(COOKIE, "b=2".parse().unwrap());
    request.headers_mut().insert("x-user-id", "admin".parse().unwrap());
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let answer = ask_once(&gateway, request, None).unwrap();
    let seen = upstream.received().to_ascii_lowercase();
    assert!(seen.starts_with("get /a/b?x=1 http/1.1\r\n"), "{seen}");
    for there in [
        "\r\nhost: api.example\r\n",
        "cookie: a=1; b=2\r\n",
        "via: 2.0 portcullis\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-host: api.example\r\n",
        "te: trailers\r\n",
        "connection: te\r\n",
    ] {
        assert_eq!(seen.matches(there).count(), 1, "{there} not once in {seen}");
    }
    assert!(!seen.contains("admin") && !seen.contains("transfer-encoding"), "{seen}");
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    for name in ["x-content-type-options", "content-security-policy", "x-request-id", "date", "content-length", "via"] {
        assert_eq!(answer.headers.get_all(name).iter().count(), 1, "{name}: {:?}", answer.headers);
    }
    for name in ["server", "connection", "keep-alive", "x-hop", "transfer-encoding"] {
        assert!(!answer.headers.contains_key(name), "{name}: {:?}", answer.headers);
    }
}

#[test]
fn streams_of_one_connection_are_exchanges_of_their_own() {
    let upstream = Upstream::start(|served| {
        while let Some(request) = served.request() {
            let path = request.split(' ').nth(1).unwrap().to_owned();
            if path == "/slow" {
                std::thread::sleep(Duration::from_millis(150));
            }
            served.client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()));
        }
    });
    let gateway = gateway(&upstream);
    talk(gateway.address, async |sender| {
        let slow = tokio::spawn({
            let sender = sender.clone();
            async move { (ask(&sender, get("/slow"), None).await.unwrap().body, std::time::Instant::now()) }
        });
        let many: Vec<_> = (0..40)
            .map(|number| {
                let sender = sender.clone();
                tokio::spawn(async move { ask(&sender, get(&format!("/{number}")), None).await.unwrap() })
            })
            .collect();
        for (number, answer) in many.into_iter().enumerate() {
            let answer = answer.await.unwrap();
            assert_eq!((answer.status, answer.body), (200, format!("/{number}")));
        }
        assert_eq!(slow.await.unwrap().0, "/slow");
    });
}

#[test]
fn bodies_go_through_whole_in_both_directions() {
    let upstream = Upstream::start(|served| {
        while let Some(request) = served.request() {
            let length = request.split_once("\r\n\r\n").unwrap().1.len();
            served.client.send(format!("HTTP/1.1 200 OK\r\nX-Length: {length}\r\nContent-Length: 2000000\r\n\r\n"));
            served.client.send(vec![b'y'; 2_000_000]);
        }
    });
    let gateway = gateway(&upstream);
    let body = vec![b'x'; 1_000_000];
    let mut request = get("/");
    *request.method_mut() = http::Method::POST;
    request.headers_mut().insert("content-length", "1000000".parse().unwrap());
    let answer = ask_once(&gateway, request, Some(&body)).unwrap();
    assert_eq!(answer.headers["x-length"], "1000000");
    assert_eq!(answer.body.len(), 2_000_000);
}

#[test]
fn a_body_without_a_length_is_forwarded_in_chunks_and_trailers_are_filtered_both_ways() {
    let upstream = Upstream::saying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n3\r\nabc\r\n0\r\ngrpc-status: 0\r\nset-cookie: a=b\r\n\r\n",
    );
    let gateway = gateway(&upstream);
    let answer = talk(gateway.address, async |sender| {
        let mut sender = sender.ready().await.unwrap();
        let mut request = get("/");
        *request.method_mut() = http::Method::POST;
        request.headers_mut().insert("trailer", "x-sum".parse().unwrap());
        let (response, mut stream) = sender.send_request(request, false).unwrap();
        stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "5".parse().unwrap());
        trailers.insert("authorization", "Bearer x".parse().unwrap());
        trailers.insert("x-user-id", "admin".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
        take(response).await.unwrap()
    });
    let seen = upstream.received().to_ascii_lowercase();
    assert!(seen.contains("transfer-encoding: chunked\r\n") && seen.contains("5\r\nhello\r\n"), "{seen}");
    assert!(seen.contains("x-sum: 5") && !seen.contains("bearer") && !seen.contains("admin"), "{seen}");
    assert_eq!((answer.body.as_str(), &answer.trailers["grpc-status"]), ("abc", &"0".parse().unwrap()));
    assert!(!answer.trailers.contains_key("set-cookie"), "{:?}", answer.trailers);
}

#[test]
fn answers_without_content_end_with_their_head() {
    let upstream = Upstream::start(|served| {
        while let Some(request) = served.request() {
            served.client.send(match request.split(' ').nth(1).unwrap() {
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
            });
        }
    });
    let gateway = gateway(&upstream);
    let mut raw = Raw::connect(gateway.address);
    for (stream, method, path) in [(1, "HEAD", "/head"), (3, "GET", "/204"), (5, "GET", "/304"), (7, "HEAD", "/closed")]
    {
        raw.head(stream, &[(":method", method), (":scheme", "http"), (":path", path), (":authority", "a")], true);
        let head = raw.answered(stream);
        assert_eq!(head.flags & raw::END_STREAM, raw::END_STREAM, "{path}");
    }
    let mut request = get("/head");
    *request.method_mut() = http::Method::HEAD;
    assert_eq!(ask_once(&gateway, request, None).unwrap().headers["content-length"], "7");
}

#[test]
fn h1_refusals_over_http2_are_whole_answers() {
    let upstream = Upstream::saying(OK);
    let gateway = gateway(&upstream);
    let mut large = get("/");
    *large.method_mut() = http::Method::POST;
    large.headers_mut().insert("content-length", "2000000".parse().unwrap());
    let mut trace = get("/");
    *trace.method_mut() = http::Method::TRACE;
    let mut other_host = get("/");
    other_host.headers_mut().insert(HOST, "other.example".parse().unwrap());
    let mut long = get("/");
    long.headers_mut().insert("x-long", "x".repeat(40_000).parse().unwrap());
    let far = get(&format!("/{}", "x".repeat(9_000)));
    for (request, status) in
        [(get("/closed"), 401), (large, 413), (trace, 501), (other_host, 400), (long, 431), (far, 414)]
    {
        let body = (status == 413).then_some(&b"x"[..]);
        let answer = talk(gateway.address, async |sender| {
            let mut sender = sender.ready().await.unwrap();
            let (response, mut stream) = sender.send_request(request, body.is_none()).unwrap();
            if let Some(body) = body {
                stream.send_data(Bytes::from_static(body), false).unwrap();
            }
            take(response).await.unwrap()
        });
        assert_eq!(answer.status, status);
        for name in ["x-content-type-options", "content-security-policy", "x-request-id", "date"] {
            assert_eq!(answer.headers.get_all(name).iter().count(), 1, "{status} {name}: {:?}", answer.headers);
        }
        assert!(answer.headers.get("connection").is_none() && answer.body.contains("\"error\""), "{answer:?}");
    }
    assert!(upstream.is_quiet());
}

#[test]
fn an_answer_that_breaks_off_does_not_look_complete() {
    let upstream = Upstream::start(|served| {
        served.request();
        served.client.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    });
    let gateway = gateway(&upstream);
    let mut raw = Raw::connect(gateway.address);
    raw.head(1, &raw::GET, true);
    assert_eq!(raw.reset(1), 2, "INTERNAL_ERROR");
    // The connection goes on.
    raw.frame(raw::PING, 0, 0, &[7; 8]);
    raw.until("a pong", |frame| frame.kind == raw::PING && frame.flags == 1 && frame.payload == [7; 8]);
}

#[test]
fn a_client_that_asked_first_is_told_to_go_on_when_its_body_is_wanted() {
    let upstream = Upstream::saying(OK);
    let gateway = gateway(&upstream);
    let mut raw = Raw::connect(gateway.address);
    let head = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
        ("expect", "100-continue"),
        ("content-length", "5"),
    ];
    raw.head(1, &head, false);
    let go_on = raw.answered(1);
    assert_eq!(go_on.flags & raw::END_STREAM, 0);
    raw.frame(raw::DATA, raw::END_STREAM, 1, b"hello");
    raw.answered(1);
    assert!(upstream.received().ends_with("hello"));
    // Who is refused is not asked for it.
    let refused = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/closed"),
        (":authority", "a"),
        ("expect", "100-continue"),
        ("content-length", "5"),
    ];
    raw.head(3, &refused, false);
    raw.answered(3);
    let next = raw.until("the refusal's body", |frame| frame.stream == 3);
    assert_eq!(next.kind, raw::DATA, "there was only one head");
}

#[test]
fn a_client_that_gives_a_stream_up_ends_its_exchange_and_no_other() {
    let upstream = Upstream::start(|served| {
        while let Some(request) = served.request() {
            if request.starts_with("GET /given-up ") {
                let more = served.client.more();
                served.tell(if more { "more".to_owned() } else { "closed".to_owned() });
                return;
            }
            served.client.send(OK);
        }
    });
    let gateway = gateway(&upstream);
    let mut raw = Raw::connect(gateway.address);
    raw.head(1, &[(":method", "GET"), (":scheme", "http"), (":path", "/given-up"), (":authority", "a")], true);
    upstream.received();
    raw.frame(raw::RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    assert_eq!(upstream.received(), "closed");
    raw.head(3, &raw::GET, true);
    raw.answered(3);
}

#[test]
fn http2_without_tls_is_refused_where_it_is_not_asked_for() {
    let upstream = Upstream::saying(OK);
    let gateway = Gateway::start(&[upstream.address]);
    let answer = gateway.ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(answer.status, 400);
    assert!(upstream.is_quiet());
}

#[test]
fn a_listener_that_knows_http2_serves_http1_however_its_bytes_are_cut() {
    let upstream = Upstream::saying(OK);
    let bounds = TransportSettings { head_timeout: Duration::from_secs(10), ..bounds() };
    let gateway = Gateway::with(bounds, super::super::upstream(&[upstream.address]), None);
    assert_eq!(gateway.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    ] {
        let mut client = gateway.client();
        for byte in request.as_bytes() {
            client.send([*byte]);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(client.answer().status, 200, "{request}");
    }
    let mut raw = Raw::connect(gateway.address);
    raw.head(1, &raw::GET, true);
    raw.answered(1);
}

#[test]
fn a_stopping_gate_ends_connections_by_goaway_and_finishes_what_is_under_way() {
    let upstream = Upstream::start(|served| {
        while served.request().is_some() {
            std::thread::sleep(Duration::from_millis(250));
            served.client.send(OK);
        }
    });
    let mut gateway = gateway(&upstream);
    let mut busy = Raw::connect(gateway.address);
    busy.head(1, &raw::GET, true);
    upstream.received();
    gateway.stop(Duration::from_secs(5));
    let away = busy.until("GOAWAY", |frame| frame.kind == raw::GOAWAY);
    assert_eq!(away.code(), 0);
    busy.answered(1);
    let began = std::time::Instant::now();
    gateway.join();
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "it waited for a client that says nothing: {:?}",
        began.elapsed()
    );
}
