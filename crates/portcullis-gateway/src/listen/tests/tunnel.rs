//! WebSocket: granted, not granted, and ended.

use super::*;

const ASKS: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Key: x\r\n\r\n";
const GRANTS: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: y\r\n\r\n";

#[test]
fn a_granted_upgrade_becomes_a_tunnel_in_both_directions() {
    let upstream = Upstream::start(|served| {
        served.request();
        // The first words come right behind the head.
        served.client.send(format!("{GRANTS}welcome"));
        assert_eq!(served.client.until("!"), "hello!");
        served.client.send("bye");
    });
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    client.send(ASKS);
    let head = client.until("\r\n\r\n").to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for line in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-accept: y\r\n"] {
        assert!(head.contains(line), "{head}");
    }
    client.until("welcome");
    client.send("hello!");
    assert_eq!(client.rest(), "bye");
    let seen = upstream.received().to_ascii_lowercase();
    assert!(seen.contains("connection: upgrade\r\n") && seen.contains("upgrade: websocket\r\n"), "{seen}");
}

#[test]
fn a_large_message_goes_through_a_tunnel_whole() {
    let upstream = Upstream::start(|served| {
        served.request();
        served.client.send(GRANTS);
        let mut all = Vec::new();
        served.client.stream.read_to_end(&mut all).unwrap();
        served.tell(all.len().to_string());
    });
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    client.send(ASKS);
    client.until("\r\n\r\n");
    client.send(vec![b'x'; 3_000_000]);
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    upstream.received();
    assert_eq!(upstream.received(), "3000000");
}

#[test]
fn an_upgrade_that_is_not_granted_is_an_ordinary_answer_and_nothing_after_it_is_a_request() {
    let upstream = Upstream::saying(OK);
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    client.send(format!("{ASKS}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
    let answer = client.answer();
    assert_eq!((answer.status, &*answer.body), (200, "ok"));
    assert!(answer.has("connection: close"), "{}", answer.head);
    assert_eq!(client.rest(), "");
    upstream.received();
    assert!(upstream.is_quiet());
}

#[test]
fn an_upgrade_to_cleartext_http_2_is_never_asked_for() {
    let upstream = Upstream::saying(OK);
    let gateway = Gateway::start(&[upstream.address]);
    let answer = gateway.ask(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n",
    );
    assert_eq!(answer.status, 200);
    let seen = upstream.received().to_ascii_lowercase();
    assert!(!seen.contains("upgrade") && !seen.contains("http2"), "{seen}");
}

#[test]
fn a_101_to_another_protocol_is_502() {
    let upstream = Upstream::saying("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n");
    let gateway = Gateway::start(&[upstream.address]);
    assert_eq!(gateway.ask(ASKS).status, 502);
}

#[test]
fn a_tunnel_in_which_nobody_speaks_is_closed() {
    let upstream = Upstream::start(|served| {
        served.request();
        served.client.send(GRANTS);
        served.client.rest();
    });
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    client.send(ASKS);
    client.until("\r\n\r\n");
    let began = std::time::Instant::now();
    assert_eq!(client.rest(), "");
    assert!(began.elapsed() > Duration::from_millis(100) && began.elapsed() < Duration::from_millis(5_000));
}

/// Seconds are all that a token's end is told in, so it is good for one to two of them.
fn ended_with_the_token(began: std::time::Instant) {
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(500) && took < Duration::from_millis(6_000), "{took:?}");
}

fn patient(upstream: &Upstream) -> Gateway {
    let settings = UpstreamSettings { read_timeout: Duration::from_secs(60), ..super::upstream(&[upstream.address]) };
    Gateway::with(transport(), settings, None)
}

#[test]
fn t13_a_tunnel_ends_with_the_credential_that_opened_it() {
    let upstream = Upstream::start(|served| {
        served.request();
        served.client.send(GRANTS);
        served.client.rest();
        served.tell("ended".to_owned());
    });
    let gateway = patient(&upstream);
    let mut client = gateway.client();
    let began = std::time::Instant::now();
    let token = token(Duration::from_secs(1));
    client.send(ASKS.replace("Sec-", &format!("Authorization: Bearer {token}\r\nSec-")));
    assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 101"));
    assert_eq!(client.rest(), "");
    ended_with_the_token(began);
    let seen = upstream.received();
    assert!(seen.contains("x-user-id: u1\r\n") && !seen.contains(&token), "{seen}");
    assert_eq!(upstream.received(), "ended");
}

#[test]
fn t13_a_stream_of_events_ends_with_the_credential_that_opened_it() {
    let upstream = Upstream::start(|served| {
        served.request();
        served.client.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n");
        while served.client.stream.write_all(b"data: x\n\n").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let gateway = patient(&upstream);
    let mut client = gateway.client();
    let began = std::time::Instant::now();
    let token = token(Duration::from_secs(1));
    client.send(format!("GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
    let all = client.rest();
    assert!(all.starts_with("HTTP/1.1 200") && all.contains("data: x") && !all.ends_with("0\r\n\r\n"), "{all}");
    ended_with_the_token(began);
}

#[test]
fn t13_a_tunnel_ends_when_its_credential_is_revoked() {
    let upstream = Upstream::start(|served| {
        served.request();
        served.client.send(format!("{GRANTS}welcome"));
        served.client.rest();
        served.tell("ended".to_owned());
    });
    let gateway = patient(&upstream);
    let token = token(Duration::from_secs(600));
    let mut theirs = gateway.client();
    theirs.send(ASKS.replace("Sec-", &format!("Authorization: Bearer {token}\r\nSec-")));
    theirs.until("welcome");
    // Asked about again while it is good, a tunnel goes on.
    std::thread::sleep(Duration::from_millis(1_200));
    theirs.send("still here");
    gateway.revocations.withdraw();
    let began = std::time::Instant::now();
    assert_eq!(theirs.rest(), "");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    upstream.received();
    assert_eq!(upstream.received(), "ended");
}

#[test]
fn t13_a_stream_of_events_ends_when_its_credential_is_revoked() {
    let upstream = Upstream::start(|served| {
        served.request();
        served.client.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        while served.client.stream.write_all(b"data: x\n\n").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let gateway = patient(&upstream);
    let token = token(Duration::from_secs(600));
    let mut client = gateway.client();
    client.send(format!("GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
    client.until("data: x");
    std::thread::sleep(Duration::from_millis(1_200));
    client.until("data: x");
    gateway.revocations.withdraw();
    let began = std::time::Instant::now();
    assert!(!client.rest().ends_with("0\r\n\r\n"));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[test]
fn t13_what_nobody_proved_an_identity_for_outlives_every_revocation() {
    let upstream = Upstream::start(|served| {
        served.request();
        served.client.send(format!("{GRANTS}welcome"));
        assert_eq!(served.client.until("!"), "hello!");
        served.client.send("bye");
    });
    let gateway = patient(&upstream);
    let mut client = gateway.client();
    client.send(ASKS);
    client.until("welcome");
    gateway.revocations.withdraw();
    std::thread::sleep(Duration::from_millis(1_200));
    client.send("hello!");
    assert_eq!(client.rest(), "bye");
}

#[test]
fn t13_a_stream_of_another_kind_outlives_its_token_and_ends_when_it_is_revoked() {
    let upstream = Upstream::start(|served| {
        served.request();
        served
            .client
            .send("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n");
        while served.client.stream.write_all(b"2\r\n{}\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let gateway = patient(&upstream);
    let token = token(Duration::from_secs(1));
    let mut client = gateway.client();
    client.send(format!("GET /lines HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
    client.until("{}");
    std::thread::sleep(Duration::from_millis(2_500));
    client.until("{}");
    gateway.revocations.withdraw();
    let began = std::time::Instant::now();
    assert!(!client.rest().ends_with("0\r\n\r\n"), "it does not look complete");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}
