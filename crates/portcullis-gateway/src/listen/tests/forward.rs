//! What goes through, and how.

use std::time::Duration;

use super::*;
use crate::proxy::identity_channel;

#[test]
fn a_request_goes_through_with_the_headers_of_this_hop_and_comes_back_shaped() {
    let upstream = Upstream::saying(
        "HTTP/1.1 200 OK\r\nServer: old/1.0\r\nX-Powered-By: php\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
    );
    let gateway = Gateway::start(&[upstream.address]);
    let answer = gateway.ask(
        "GET /a//b?x=1 HTTP/1.1\r\nHost: api.example\r\nConnection: keep-alive, X-Secret, x-user-id\r\nX-Secret: 1\r\n\
         X-User-Id: admin\r\nX_User_Id: admin\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\n\
         X-Real-IP: 1.2.3.4\r\nX-HTTP-Method-Override: DELETE\r\nX-Original-URL: /admin\r\nProxy-Authorization: x\r\n\
         X-Request-Id: forged\r\nAccept: */*\r\n\r\n",
    );
    let seen = upstream.received().to_ascii_lowercase();
    assert!(seen.starts_with("get /a/b?x=1 http/1.1\r\n"), "{seen}");
    for gone in ["secret", "admin", "1.2.3.4", "override", "original", "proxy-", "forged", "connection:", "real-ip"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    for there in [
        "host: api.example\r\n",
        "accept: */*\r\n",
        "via: 1.1 portcullis\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        "x-forwarded-host: api.example\r\n",
        "x-request-id: ",
    ] {
        assert!(seen.contains(there), "{there} not in {seen}");
    }
    assert_eq!((answer.status, &*answer.body), (200, "ok"));
    let id = seen.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    assert!(answer.has(&format!("x-request-id: {id}")), "{}", answer.head);
    assert!(answer.has("x-content-type-options: nosniff") && answer.has("via: 1.1 portcullis"), "{}", answer.head);
    for gone in ["server:", "powered", "x-hop", "keep-alive"] {
        assert!(!answer.head.to_ascii_lowercase().contains(gone), "{gone} in {}", answer.head);
    }
}

#[test]
fn both_connections_are_kept_and_used_again() {
    let upstream = Upstream::start(|served| {
        while served.request().is_some() {
            served.tell(served.number.to_string());
            served.client.send(OK);
        }
    });
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    for _ in 0..20 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().status, 200);
        upstream.received();
        assert_eq!(upstream.received(), "0");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start(|served| {
        while let Some(request) = served.request() {
            let path = request.split(' ').nth(1).unwrap().to_owned();
            served.client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()));
        }
    });
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    let request = |path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send(request("/1") + &request("/2") + &request("/3"));
    for path in ["/1", "/2", "/3"] {
        assert_eq!(client.answer().body, path);
    }
}

#[test]
fn a_stale_connection_is_replaced_for_a_request_that_may_be_repeated() {
    // The first connection is closed when the second request has arrived on it: the race that a check beforehand misses.
    let upstream = Upstream::start(|served| {
        let mut count = 0;
        while served.request().is_some() {
            count += 1;
            if served.number == 0 && count == 2 {
                return;
            }
            served.client.send(OK);
        }
    });
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    for _ in 0..3 {
        client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn a_request_that_may_not_be_repeated_is_not() {
    let upstream = Upstream::start(|served| {
        let mut count = 0;
        while served.request().is_some() {
            count += 1;
            if served.number == 0 && count == 2 {
                return;
            }
            served.client.send(OK);
        }
    });
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    client.send(request);
    assert_eq!(client.answer().status, 200);
    client.send(request);
    assert_eq!(client.answer().status, 502);
    let (_, _) = (upstream.received(), upstream.received());
    assert!(upstream.is_quiet());
}

#[test]
fn a_connection_that_the_upstream_closed_while_it_was_unused_is_never_used() {
    let upstream = Upstream::start(|served| {
        served.request();
        served.client.send(OK);
    });
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    for _ in 0..3 {
        client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.answer().status, 200);
        std::thread::sleep(Duration::from_millis(30));
    }
}

#[test]
fn chunked_bodies_and_trailers_go_both_ways_without_what_trailers_may_not_say() {
    let upstream = Upstream::saying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status, set-cookie\r\n\r\n3\r\nabc\r\n0\r\n\
         grpc-status: 0\r\nset-cookie: a=b\r\n\r\n",
    );
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\
         Trailer: x-sum, x-user-id, authorization\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 9\r\nX-User-Id: admin\r\n\
         X_User_Id: admin\r\nAuthorization: Bearer x\r\n\r\n",
    );
    let head = client.until("\r\n\r\n").to_ascii_lowercase();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    let body = client.until("0\r\ngrpc-status: 0\r\n\r\n");
    assert!(body.starts_with("3\r\nabc\r\n"), "{body}");
    let seen = upstream.received();
    assert!(seen.contains("5\r\nhello\r\n0\r\n"), "{seen}");
    assert!(seen.contains("x-sum: 9\r\n"), "{seen}");
    assert!(seen.contains("te: trailers\r\n"), "{seen}");
    assert!(!seen.contains("admin") && !seen.contains("Bearer"), "{seen}");
}

#[test]
fn events_are_passed_on_at_once() {
    // The next event is sent only when the one before has arrived: whoever gathered them would wait for ever.
    let (go, heard) = std::sync::mpsc::channel::<()>();
    let heard = std::sync::Mutex::new(heard);
    let upstream = Upstream::start(move |served| {
        served.request();
        served.client.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        for number in 0..3 {
            served.client.send(format!("data: {number}\n\n"));
            heard.lock().unwrap().recv_timeout(Duration::from_secs(5)).unwrap();
        }
    });
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    for number in 0..3 {
        client.until(&format!("data: {number}\n\n"));
        go.send(()).unwrap();
    }
    client.until("0\r\n\r\n");
}

#[test]
fn a_client_is_told_to_continue_only_when_it_was_admitted() {
    let upstream = Upstream::saying(OK);
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    let request =
        |path| format!("POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    client.send(request("/"));
    assert_eq!(client.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc");
    assert_eq!(client.answer().status, 200);
    let seen = upstream.received();
    assert!(seen.ends_with("\r\n\r\nabc") && !seen.to_ascii_lowercase().contains("expect"), "{seen}");

    let mut client = gateway.client();
    client.send(request("/closed"));
    assert_eq!(client.answer().status, 401);
    assert!(upstream.is_quiet());
    let refused = gateway.ask("POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(refused.status, 417);
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let upstream = Upstream::start(|served| {
        served.client.until("\r\n\r\n");
        served.client.send("HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\nno");
        std::thread::sleep(Duration::from_millis(200));
    });
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nstart");
    assert_eq!(client.answer().status, 409);
}

#[test]
fn head_and_empty_answers_have_no_body() {
    let upstream = Upstream::start(|served| {
        while let Some(request) = served.request() {
            served.client.send(if request.starts_with("HEAD") {
                "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
            } else if request.starts_with("GET /304") {
                "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"
            } else {
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
            });
        }
    });
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    for (method, path, status) in
        [("HEAD", "/", 200), ("GET", "/304", 304), ("DELETE", "/204", 204), ("HEAD", "/", 200)]
    {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client.answer_to(method);
        assert_eq!(answer.status, status, "{}", answer.head);
        assert_eq!(answer.has("content-length: 500"), method == "HEAD");
    }
}

#[test]
fn http_1_0_is_served_by_its_rules() {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let answer = client.rest();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
    let seen = upstream.received();
    assert!(seen.starts_with("GET / HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("host: {}\r\n", upstream.address)), "{seen}");
    assert!(seen.contains("via: 1.0 portcullis"), "{seen}");
}

#[test]
fn addresses_take_turns_and_a_dead_one_is_skipped() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (first, second) = (Upstream::saying(OK), Upstream::saying(OK));
    let gateway = Gateway::start(&[dead, first.address, second.address]);
    for _ in 0..6 {
        assert_eq!(gateway.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").status, 200);
    }
    first.received();
    second.received();
}

#[test]
fn a_large_body_streams_in_both_directions() {
    let upstream = Upstream::start(|served| {
        let request = served.request().unwrap();
        let body = request.split_once("\r\n\r\n").unwrap().1.to_owned();
        served.client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    });
    let gateway = Gateway::start(&[upstream.address]);
    let body: String = (0..100_000).map(|number| format!("{number:09} ")).collect();
    let mut client = gateway.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let answer = client.answer();
    assert!(answer.body == body, "{} bytes came back", answer.body.len());
}

#[test]
fn a_reload_changes_where_requests_go_and_drops_none() {
    let (old, new) = (Upstream::saying(OK), Upstream::saying(OK));
    let gateway = Gateway::start(&[old.address]);
    let mut client = gateway.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    old.received();
    let settings = ProxySettings { transport: Arc::new(transport()), upstreams: Arc::new([upstream(&[new.address])]) };
    gateway.shared.reload(settings, policy(1024));
    client.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    assert!(new.received().starts_with("GET /2 "));
}

#[test]
fn identity_endpoints_are_asked_through_a_bounded_queue() {
    let (handle, mut requests) = identity_channel(1);
    let gateway = Gateway::with(transport(), upstream(&["127.0.0.1:1".parse().unwrap()]), Some(handle));
    let service = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let asked = runtime.block_on(requests.next()).unwrap();
        assert_eq!(asked.request.uri(), "/auth/login?x=1");
        assert_eq!(asked.request.body(), "{\"a\":1}");
        assert_eq!(asked.client.ip().to_string(), "127.0.0.1");
        let body = bytes::Bytes::from(asked.id.to_string());
        asked.reply.send(http::Response::builder().status(201).body(body).unwrap()).unwrap();
    });
    let mut client = gateway.client();
    client.send("POST /auth/login?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n{\"a\":1}");
    let answer = client.answer();
    assert_eq!(answer.status, 201);
    assert!(answer.has(&format!("x-request-id: {}", answer.body)), "{}", answer.head);
    assert!(answer.has("x-frame-options: DENY"));
    service.join().unwrap();
    // Nobody takes requests out any more.
    client.send("POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}");
    let answer = client.answer();
    assert_eq!(answer.status, 503);
    assert!(answer.has("retry-after: 1"));
    let large = format!("POST /auth/x HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n{}", "x".repeat(20_000));
    assert_eq!(gateway.ask(&large).status, 413);
}
