//! What does not go through, and how that is told.

use super::*;

fn refused(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.has("content-type: application/problem+json"), "{}", answer.head);
    assert!(answer.has("x-content-type-options: nosniff"), "{}", answer.head);
    assert!(answer.body.contains(&format!("\"error\":\"{error}\"")), "{}", answer.body);
    let id = answer.head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect(&answer.head);
    assert!(answer.body.contains(id), "{}", answer.body);
}

#[test]
fn h1_what_hyper_refuses_is_answered_completely_too() {
    let upstream = Upstream::saying(OK);
    let gateway = Gateway::start(&[upstream.address]);
    for request in [
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = gateway.client();
        client.send(request);
        let answer = client.answer();
        refused(&answer, 400, "Bad request");
        assert!(answer.has("connection: close"), "{}", answer.head);
        assert_eq!(client.rest(), "");
    }
    let many: String = (0..150).map(|number| format!("X-{number}: 1\r\n")).collect();
    refused(&gateway.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), 431, "Request header fields too large");
    let large = "x".repeat(40_000);
    refused(
        &gateway.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {large}\r\n\r\n")),
        431,
        "Request header fields too large",
    );
    refused(&gateway.ask(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9_000))), 414, "URI too long");
    assert!(upstream.is_quiet());
}

#[test]
fn a_second_bad_request_on_a_kept_connection_is_answered_completely_too() {
    let upstream = Upstream::saying(OK);
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nBad Header: 1\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    refused(&client.answer(), 400, "Bad request");
    assert_eq!(client.rest(), "");
}

#[test]
fn a_body_that_looks_like_hypers_own_answer_goes_through() {
    let bare = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let upstream = Upstream::start(move |served| {
        while served.request().is_some() {
            served.client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{bare}", bare.len()));
        }
    });
    let gateway = Gateway::start(&[upstream.address]);
    assert_eq!(gateway.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").body, bare);
}

#[test]
fn h5_a_body_over_its_bound_is_refused_whether_it_says_so_or_not() {
    let upstream = Upstream::start(|served| {
        served.request();
    });
    let gateway = Gateway::start(&[upstream.address]);
    let declared = gateway.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n");
    refused(&declared, 413, "Request body too large");
    assert!(upstream.is_quiet());
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..17 {
        client.send(&chunk);
    }
    refused(&client.answer(), 413, "Request body too large");
}

#[test]
fn a_body_with_broken_framing_is_refused() {
    let upstream = Upstream::start(|served| {
        served.request();
    });
    let gateway = Gateway::start(&[upstream.address]);
    let answer =
        gateway.ask("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\nabc\r\n");
    refused(&answer, 400, "Bad request");
}

#[test]
fn a_refused_upstream_is_502_and_a_silent_one_504() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    refused(&Gateway::start(&[dead]).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 502, "Bad gateway");
    let silent = Upstream::start(|served| {
        served.request();
        std::thread::sleep(Duration::from_secs(3));
    });
    refused(&Gateway::start(&[silent.address]).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 504, "Gateway timeout");
    let resets = Upstream::start(|served| {
        served.request();
    });
    refused(&Gateway::start(&[resets.address]).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 502, "Bad gateway");
}

#[test]
fn an_answer_that_is_not_http_or_can_be_read_in_two_ways_is_502() {
    for answer in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let upstream = Upstream::saying(answer);
        let gateway = Gateway::start(&[upstream.address]);
        refused(&gateway.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 502, "Bad gateway");
    }
}

#[test]
fn an_answer_that_breaks_off_never_ends_cleanly() {
    for (head, version) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "1.1"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "1.1"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "1.0"),
    ] {
        let upstream = Upstream::start(move |served| {
            served.request();
            served.client.send(head);
            std::thread::sleep(Duration::from_millis(50));
        });
        let gateway = Gateway::start(&[upstream.address]);
        let mut client = gateway.client();
        client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
        let mut all = Vec::new();
        let ended = client.stream.read_to_end(&mut all);
        let text = String::from_utf8_lossy(&all);
        assert!(!text.ends_with("0\r\n\r\n"), "{text}");
        if version == "1.0" {
            // Its body ends with the connection, so the connection must not end in order.
            assert!(ended.is_err(), "{text}");
        }
    }
}

#[test]
fn connections_of_one_address_are_bounded() {
    let upstream = Upstream::saying(OK);
    let bounds = TransportSettings { max_connections_per_address: 2, ..transport() };
    let gateway = Gateway::with(bounds, super::upstream(&[upstream.address]), None);
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut kept: Vec<Client> = (0..2).map(|_| gateway.client()).collect();
    for client in &mut kept {
        client.send(request);
        assert_eq!(client.answer().status, 200);
    }
    let mut third = gateway.client();
    refused(&third.answer(), 503, "Service unavailable");
    assert_eq!(third.rest(), "");
    drop(kept);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(gateway.ask(request).status, 200);
}

#[test]
fn a_refused_request_whose_small_body_came_with_its_head_costs_no_connection() {
    let upstream = Upstream::saying(OK);
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    for body in ["Content-Length: 5\r\n\r\nhello", "Content-Length: 0\r\n\r\n"] {
        client.send(format!("POST /closed HTTP/1.1\r\nHost: a\r\n{body}"));
        let answer = client.answer();
        refused(&answer, 401, "Authentication required");
        assert!(!answer.has("connection: close"), "{}", answer.head);
    }
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().status, 200, "what followed the refused bodies was read as a request of its own");
}

#[test]
fn a_refused_request_whose_body_is_not_here_or_is_large_closes_its_connection() {
    let upstream = Upstream::saying(OK);
    let gateway = Gateway::start(&[upstream.address]);
    let large = format!("Content-Length: 70000\r\n\r\n{}", "x".repeat(70_000));
    for body in [
        "Content-Length: 5\r\n\r\nhel",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        &large,
    ] {
        let mut client = gateway.client();
        client.send(format!("POST /closed HTTP/1.1\r\nHost: a\r\n{body}"));
        let answer = client.answer();
        refused(&answer, 401, "Authentication required");
        assert!(answer.has("connection: close"), "{}", answer.head);
        assert_eq!(client.rest(), "", "{body:.60}");
    }
    assert!(upstream.is_quiet());
}
