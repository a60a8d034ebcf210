//! Who keeps whom waiting: each stream for itself, and the connection.

use std::time::Instant;

use super::raw::GET;
use super::*;

/// The machine may be busy: everything may take seconds longer, but nothing may come early.
fn took(began: Instant, at_least: u64) {
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(at_least / 2) && took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn a_connection_without_a_request_is_closed_and_one_that_rests_later() {
    let upstream = Upstream::saying(OK);
    let gateway = gateway(&upstream);
    let began = Instant::now();
    assert_eq!(Raw::connect(gateway.address).end(), Some(0));
    took(began, 400);
    let mut raw = Raw::connect(gateway.address);
    raw.head(1, &GET, true);
    raw.answered(1);
    let began = Instant::now();
    assert_eq!(raw.end(), Some(0));
    took(began, 800);
    // Not even the preface comes to its end.
    let began = Instant::now();
    let mut silent = gateway.client();
    silent.send("PRI * HTTP/2.0\r\n");
    silent.rest();
    took(began, 400);
}

#[test]
fn pings_do_not_keep_an_idle_connection() {
    let upstream = Upstream::saying(OK);
    let gateway = gateway(&upstream);
    let mut raw = Raw::connect(gateway.address);
    raw.head(1, &GET, true);
    raw.answered(1);
    let began = Instant::now();
    let away = loop {
        raw.frame(raw::PING, 0, 0, &[1; 8]);
        std::thread::sleep(Duration::from_millis(50));
        match raw.next() {
            Some(frame) if frame.kind == raw::GOAWAY => break frame,
            Some(_) => {}
            None => panic!("the end came before GOAWAY"),
        }
        assert!(began.elapsed() < Duration::from_secs(6), "pings keep it");
    };
    assert_eq!(away.code(), 0);
}

#[test]
fn a_head_that_never_ends_closes_the_connection() {
    let upstream = Upstream::saying(OK);
    let gateway = gateway(&upstream);
    let began = Instant::now();
    let mut raw = Raw::connect(gateway.address);
    raw.frame(raw::HEADERS, raw::END_STREAM, 1, &raw::block(&GET));
    assert_eq!(raw.end(), Some(0));
    took(began, 400);
    // A frame that never ends is no better, even byte by byte.
    let mut raw = Raw::connect(gateway.address);
    let head = raw::frame(raw::HEADERS, raw::END_HEADERS | raw::END_STREAM, 1, &raw::block(&GET));
    let mut dribble = raw.stream.try_clone().unwrap();
    let dribbling = std::thread::spawn(move || {
        for byte in head {
            std::thread::sleep(Duration::from_millis(30));
            if dribble.write_all(&[byte]).is_err() {
                return;
            }
        }
    });
    assert_eq!(raw.end(), Some(0));
    dribbling.join().unwrap();
    assert!(upstream.is_quiet());
}

#[test]
fn a_body_that_stops_and_an_upstream_that_is_silent_are_told_on_their_streams() {
    let upstream = Upstream::start(|served| while served.request().is_some() {});
    let gateway = gateway(&upstream);
    talk(gateway.address, async |sender| {
        let silent = tokio::spawn({
            let sender = sender.clone();
            async move { ask(&sender, get("/"), None).await.unwrap() }
        });
        let mut sender = sender.ready().await.unwrap();
        let mut request = get("/");
        *request.method_mut() = http::Method::POST;
        let (response, mut stream) = sender.send_request(request, false).unwrap();
        stream.send_data(Bytes::from_static(b"a"), false).unwrap();
        assert_eq!(take(response).await.unwrap().status, 408);
        assert_eq!(silent.await.unwrap().status, 504);
    });
}

#[test]
fn a_client_without_room_loses_the_stream_and_not_the_connection() {
    let upstream = Upstream::start(|served| {
        while let Some(request) = served.request() {
            let length = if request.starts_with("GET /small ") { 100 } else { 1_000_000 };
            served.client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
            if served.client.stream.write_all(&vec![b'x'; length]).is_err() {
                return;
            }
        }
    });
    let gateway = gateway(&upstream);
    let mut raw = Raw::with(gateway.address, &[(raw::INITIAL_WINDOW, 0)]);
    let began = Instant::now();
    for (stream, path) in [(1, "/large"), (3, "/small")] {
        raw.head(stream, &[GET[0], GET[1], (":path", path), GET[3]], true);
    }
    let (mut left, mut answered) = (vec![1, 3], 0);
    while !left.is_empty() {
        let frame = raw.until("two resets", |frame| matches!(frame.kind, raw::RST_STREAM | raw::HEADERS));
        if frame.kind == raw::HEADERS {
            answered += 1;
        } else {
            assert_eq!(frame.code(), 8, "CANCEL");
            left.retain(|stream| *stream != frame.stream);
        }
    }
    assert_eq!(answered, 2);
    took(began, 400);
    raw.head(5, &[GET[0], GET[1], (":path", "/small"), GET[3]], true);
    raw.answered(5);
    raw.frame(raw::WINDOW_UPDATE, 0, 5, &1_000_u32.to_be_bytes());
    raw.until("its body", |frame| frame.kind == raw::DATA && frame.stream == 5 && frame.flags == raw::END_STREAM);
}

#[test]
fn a_client_that_reads_nothing_is_cut_off() {
    let upstream = Upstream::start(|served| {
        served.request();
        let closed = served.client.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n").is_err()
            || served.client.stream.write_all(&vec![b'x'; 50_000_000]).is_err();
        served.tell(if closed { "closed".to_owned() } else { "sent".to_owned() });
    });
    let gateway = gateway(&upstream);
    let mut raw = Raw::with(gateway.address, &[(raw::INITIAL_WINDOW, 0x7fff_ffff)]);
    raw.frame(raw::WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes());
    raw.head(1, &GET, true);
    upstream.received();
    assert_eq!(upstream.received(), "closed");
}

/// An upstream whose streams of events go on for as long as somebody listens.
fn events() -> Upstream {
    Upstream::start(|served| {
        while let Some(request) = served.request() {
            if request.starts_with("GET /closed ") {
                served.client.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
                while served.client.stream.write_all(b"data: x\n\n").is_ok() {
                    std::thread::sleep(Duration::from_millis(50));
                }
                return;
            }
            served.client.send(OK);
        }
    })
}

#[test]
fn t13_a_stream_of_events_is_reset_when_its_credential_ends_and_its_neighbours_go_on() {
    for revoked in [true, false] {
        let upstream = events();
        let bounds = TransportSettings { idle_timeout: Duration::from_secs(30), ..bounds() };
        let gateway = Gateway::with(bounds, super::super::upstream(&[upstream.address]), None);
        let life = if revoked { Duration::from_secs(600) } else { Duration::from_secs(2) };
        let bearer = format!("Bearer {}", token(life));
        let mut raw = Raw::connect(gateway.address);
        raw.head(1, &[GET[0], GET[1], (":path", "/closed"), GET[3], ("authorization", &bearer)], true);
        raw.answered(1);
        raw.until("an event", |frame| frame.kind == raw::DATA && frame.stream == 1);
        if revoked {
            gateway.revocations.withdraw();
        }
        assert_ne!(raw.reset(1), 0);
        raw.head(3, &GET, true);
        raw.answered(3);
        raw.until("its body", |frame| frame.kind == raw::DATA && frame.stream == 3 && frame.flags == raw::END_STREAM);
    }
}

#[test]
fn t13_a_stream_of_events_that_nobody_reads_ends_with_its_credential_too() {
    let upstream = events();
    let bounds = TransportSettings { body_timeout: Duration::from_secs(60), ..bounds() };
    let gateway = Gateway::with(bounds, super::super::upstream(&[upstream.address]), None);
    let bearer = format!("Bearer {}", token(Duration::from_secs(600)));
    let mut raw = Raw::with(gateway.address, &[(raw::INITIAL_WINDOW, 0)]);
    raw.head(1, &[GET[0], GET[1], (":path", "/closed"), GET[3], ("authorization", &bearer)], true);
    raw.answered(1);
    gateway.revocations.withdraw();
    assert_eq!(raw.reset(1), 8, "CANCEL");
}
