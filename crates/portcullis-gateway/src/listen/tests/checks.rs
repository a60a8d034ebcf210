//! Routes that ask something of the content: the body is held until it is whole, and forwarded as it was seen.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use portcullis_core::{Reason, Violation};
use portcullis_shield::{Check, Seen};

use super::*;
use crate::proxy::identity_channel;

/// Refuses what holds the word `bad`, and by the head alone what is HTML.
#[derive(Debug)]
struct NoBadWord;

impl Check for NoBadWord {
    fn before(&self, seen: &Seen<'_>) -> Result<(), Reason> {
        if seen.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "text/html") {
            return Err(Reason::UnsupportedMediaType("no HTML"));
        }
        Ok(())
    }

    fn check(&self, seen: &Seen<'_>, body: &[u8]) -> Result<(), Reason> {
        assert!(seen.path.starts_with("/checked/") || seen.path == "/auth/checked", "{}", seen.path);
        if body.windows(3).any(|word| word == b"bad") {
            let violation = Violation { path: "".into(), rule: "word".into(), message: "a bad word".into() };
            return Err(Reason::ValidationFailed([violation].into()));
        }
        Ok(())
    }
}

/// The routes whose content is checked: `/checked/**` at the upstream and `/auth/checked` among the identity endpoints.
pub(super) fn routes() -> Vec<RouteRule> {
    [("/checked/**", Target::Upstream(0), 100_000), ("/auth/checked", Target::Identity, 1_000)]
        .map(|(pattern, target, max_body)| RouteRule {
            max_body,
            checks: vec![Arc::new(NoBadWord)],
            ..RouteRule::new(pattern.parse().unwrap(), Requirement::Public, target)
        })
        .into()
}

/// An upstream that answers with the body that it received.
fn echo() -> Upstream {
    Upstream::start(|served| {
        while let Some(request) = served.request() {
            let body = request.split_once("\r\n\r\n").unwrap().1;
            served.client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    })
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn chunked(pieces: &[&str], end: &str) -> String {
    let pieces: String = pieces.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect();
    format!("POST /checked/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n{pieces}{end}")
}

#[test]
fn what_was_checked_is_forwarded_byte_for_byte_with_its_length() {
    let upstream = echo();
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    let large = "0123456789abcdef".repeat(6_000);
    for body in ["", "{\"a\": 1 }\r\n\r\n", "\u{feff}x\0y", &large] {
        client.send(post("/checked/a", body));
        assert_eq!(client.answer().body, body);
        let seen = upstream.received().to_ascii_lowercase();
        assert!(seen.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{seen}");
    }
    // In pieces that arrive one by one, chunked, and with trailers, which no check has seen.
    for (pieces, end) in [
        (&["on", "e piece", " and another"][..], "0\r\n\r\n"),
        (&["trailed"], "0\r\nx-sum: bad\r\nx-user-id: 1\r\n\r\n"),
        (&[], "0\r\n\r\n"),
    ] {
        for byte in chunked(pieces, end).as_bytes().chunks(7) {
            client.send(byte);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(client.answer().body, pieces.concat());
        let seen = upstream.received().to_ascii_lowercase();
        assert!(seen.contains(&format!("\r\ncontent-length: {}\r\n", pieces.concat().len())), "{seen}");
        for gone in ["transfer-encoding", "trailer", "x-sum", "x-user-id"] {
            assert!(!seen.contains(gone), "{gone} in {seen}");
        }
    }
    assert_eq!(gateway.shared.held.bytes(), 0, "what was held is let go of");
}

#[test]
fn a_method_without_a_body_stays_without_one() {
    let upstream = echo();
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    for method in ["GET", "DELETE"] {
        client.send(format!("{method} /checked/a HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.answer().status, 200);
        assert!(!upstream.received().to_ascii_lowercase().contains("content-length"));
    }
    client.send("HEAD /checked/a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer_to("HEAD").status, 200);
}

#[test]
fn a_refused_body_was_read_and_the_next_request_on_the_connection_is_served() {
    let upstream = echo();
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    // Pipelined: a refusal, one that passes, a refusal of a chunked body, one that passes.
    client.send(post("/checked/1", "a bad word") + &post("/checked/2", "a good word"));
    client.send(chunked(&["ba", "d"], "0\r\n\r\n") + &post("/free", "bad, but free"));
    let refused = client.answer();
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(refused.body.contains("\"error\":\"Validation failed\"") && refused.body.contains("\"rule\":\"word\""));
    assert!(!refused.has("connection: close"));
    assert_eq!(client.answer().body, "a good word");
    assert_eq!(client.answer().status, 400);
    assert_eq!(client.answer().body, "bad, but free");
    let (first, second) = (upstream.received(), upstream.received());
    assert!(first.starts_with("POST /checked/2 ") && second.starts_with("POST /free "), "{first} {second}");
    assert!(upstream.is_quiet(), "what was refused reached the upstream");
}

#[test]
fn a_client_that_waits_for_the_word_is_told_to_send_only_where_its_head_is_good() {
    let upstream = echo();
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    let head = "POST /checked/a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n";
    client.send(format!("{head}\r\n"));
    assert_eq!(client.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("good");
    assert_eq!(client.answer().body, "good");
    client.send(format!("{head}Content-Type: text/html\r\n\r\n"));
    let refused = client.answer();
    assert_eq!(refused.status, 415, "{}", refused.head);
    assert!(refused.has("connection: close") && refused.body.contains("no HTML"));
    assert_eq!(client.rest(), "");
}

#[test]
fn a_body_in_a_coding_is_not_taken_where_its_content_is_checked() {
    let upstream = echo();
    let gateway = Gateway::start(&[upstream.address]);
    for (path, coding, status) in [
        ("/checked/a", "gzip", 415),
        ("/checked/a", "identity, gzip", 415),
        ("/checked/a", "x", 415),
        ("/checked/a", "", 415),
        ("/checked/a", "Identity", 200),
        ("/free", "gzip", 200),
    ] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Encoding: {coding}\r\n");
        let answer = gateway.ask(&format!("{request}Content-Length: 1\r\n\r\nx"));
        assert_eq!(answer.status, status, "{path} {coding:?}");
    }
}

#[test]
fn a_body_over_its_size_is_refused_by_its_word_and_by_its_weight() {
    let upstream = echo();
    let gateway = Gateway::start(&[upstream.address]);
    let declared = gateway.ask("POST /checked/a HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n");
    assert_eq!(declared.status, 413);
    let mut client = gateway.client();
    let piece = "x".repeat(50_000);
    client.send(chunked(&[&piece, &piece, "x"], ""));
    let hidden = client.answer();
    assert_eq!(hidden.status, 413, "{}", hidden.body);
    assert!(hidden.has("connection: close"));
    let fits = chunked(&[&piece, &piece], "0\r\n\r\n");
    assert_eq!(gateway.ask(&fits).body.len(), 100_000);
}

#[test]
fn a_body_that_stays_away_is_told_so_and_one_that_comes_too_slowly_is_given_up() {
    let upstream = echo();
    let gateway = Gateway::start(&[upstream.address]);
    let mut silent = gateway.client();
    silent.send("POST /checked/a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx");
    assert_eq!(silent.answer().status, 408);
    // Each byte is in time (400 ms), and all of them together are not.
    let mut slow = gateway.client();
    slow.send("POST /checked/a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(150));
        slow.send("x");
    }
    assert_eq!(slow.answer().status, 408);
    assert!(upstream.is_quiet());
    assert_eq!(gateway.shared.held.bytes(), 0);
}

#[test]
fn a_client_that_breaks_off_leaves_nothing_behind() {
    let upstream = echo();
    let gateway = Gateway::start(&[upstream.address]);
    for request in ["Content-Length: 10\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n5\r\nab"] {
        let mut client = gateway.client();
        client.send(format!("POST /checked/a HTTP/1.1\r\nHost: a\r\n{request}"));
        while gateway.shared.held.bytes() == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(client);
        while gateway.shared.held.bytes() > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert!(upstream.is_quiet());
}

#[test]
fn one_client_cannot_take_the_memory_that_all_have_for_bodies() {
    let upstream = echo();
    // 1 MiB altogether, 256 KiB for one address.
    let gateway = Gateway::start(&[upstream.address]);
    let piece = "x".repeat(90_000);
    let mut holding = Vec::new();
    for _ in 0..3 {
        let mut client = gateway.client();
        client.send(chunked(&[&piece], ""));
        holding.push(client);
    }
    let refused = holding.iter_mut().map(Client::answer).filter(|answer| answer.status == 503).count();
    assert!(refused > 0, "nobody was refused for want of memory");
    // The rest was late, and now there is room again.
    assert_eq!(gateway.ask(&chunked(&[&piece], "0\r\n\r\n")).status, 200);
    assert_eq!(gateway.shared.held.bytes(), 0);
}

#[test]
fn an_identity_endpoints_content_can_be_checked_too() {
    let (handle, mut requests) = identity_channel(4);
    let service = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut bodies = Vec::new();
        while let Some(request) = runtime.block_on(requests.next()) {
            bodies.push(request.request.body().clone());
            let _ = request.reply.send(http::Response::new("here".into()));
        }
        bodies
    });
    let mut gateway = Gateway::with(transport(), upstream(&[]), Some(handle));
    let mut client = gateway.client();
    client.send(post("/auth/checked", "bad") + &post("/auth/checked", "good"));
    assert_eq!(client.answer().status, 400);
    assert_eq!(client.answer().body, "here");
    drop(client);
    gateway.stop(Duration::ZERO);
    gateway.join();
    drop(gateway);
    assert_eq!(service.join().unwrap(), ["good"]);
}
