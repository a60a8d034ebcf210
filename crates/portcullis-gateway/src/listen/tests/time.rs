//! Who keeps whom waiting, and for how long.

use std::time::Instant;

use super::*;

/// The machine may be busy: this thread may look at its clock late, and everything may take seconds longer.
fn took(began: Instant, at_least: u64, at_most: u64) {
    let took = began.elapsed();
    let (least, most) = (Duration::from_millis(at_least / 2), Duration::from_millis(at_most + 4_000));
    assert!(took >= least && took < most, "{took:?}");
}

#[test]
fn a_head_that_dribbles_in_is_cut_off_with_408() {
    let gateway = Gateway::start(&["127.0.0.1:1".parse().unwrap()]);
    let mut client = gateway.client();
    let began = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let mut dribble = client.stream.try_clone().unwrap();
    let dribbling = std::thread::spawn(move || {
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(20));
            if dribble.write_all(b"X: 1\r\n").is_err() {
                return;
            }
        }
    });
    let answer = client.answer();
    assert_eq!(answer.status, 408);
    assert!(answer.has("connection: close") && answer.body.contains("\"error\":\"Request timeout\""), "{answer:?}");
    took(began, 400, 700);
    drop(client);
    dribbling.join().unwrap();
}

#[test]
fn an_idle_connection_is_closed_and_a_silent_one_sooner() {
    let upstream = Upstream::saying(OK);
    let gateway = Gateway::start(&[upstream.address]);
    let began = Instant::now();
    assert_eq!(gateway.client().rest(), "");
    took(began, 400, 700);

    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    let began = Instant::now();
    assert_eq!(client.rest(), "");
    took(began, 750, 1_200);
}

#[test]
fn a_second_head_that_never_ends_is_cut_off_in_the_time_of_a_head() {
    let upstream = Upstream::saying(OK);
    let bounds = TransportSettings { idle_timeout: Duration::from_secs(60), ..transport() };
    let gateway = Gateway::with(bounds, super::upstream(&[upstream.address]), None);
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT");
    assert_eq!(client.answer().status, 200);
    let began = Instant::now();
    client.rest();
    took(began, 300, 700);
}

#[test]
fn a_body_that_stops_is_408_and_the_upstream_never_sees_its_end() {
    let upstream = Upstream::start(|served| {
        let request = served.request().unwrap();
        served.tell(request);
    });
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    let began = Instant::now();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    let answer = client.answer();
    assert_eq!(answer.status, 408, "{answer:?}");
    took(began, 400, 700);
    assert!(upstream.received().ends_with("\r\n\r\nabc"));
}

#[test]
fn an_answer_that_stops_is_cut_off() {
    let upstream = Upstream::start(|served| {
        served.request();
        served.client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        std::thread::sleep(Duration::from_secs(3));
    });
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.until("3\r\nabc\r\n");
    let began = Instant::now();
    assert_eq!(client.rest(), "");
    took(began, 350, 800);
}

#[test]
fn a_client_that_stops_reading_is_cut_off() {
    let upstream = Upstream::start(|served| {
        served.request();
        let piece = vec![b'x'; 1024 * 1024];
        served.client.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while served.client.stream.write_all(&piece).is_ok() {}
        served.tell("cut off".to_owned());
    });
    let gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.until("\r\n\r\n");
    upstream.received();
    assert_eq!(upstream.received(), "cut off");
}

#[test]
fn a_total_bound_ends_an_exchange_that_goes_on_forever() {
    let upstream = Upstream::start(|served| {
        served.request();
        served.client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while served.client.stream.write_all(b"1\r\nx\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let bounds = TransportSettings { total_timeout: Duration::from_millis(500), ..transport() };
    let gateway = Gateway::with(bounds, super::upstream(&[upstream.address]), None);
    let mut client = gateway.client();
    let began = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.rest();
    took(began, 500, 900);
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[test]
fn a_client_that_leaves_takes_its_upstream_request_along() {
    let upstream = Upstream::start(|served| {
        served.request();
        // The end of the connection shows that the exchange was given up.
        served.request();
        served.tell("left".to_owned());
    });
    let settings =
        UpstreamSettings { response_timeout: Duration::from_secs(60), ..super::upstream(&[upstream.address]) };
    let gateway = Gateway::with(transport(), settings, None);
    let mut client = gateway.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    upstream.received();
    let began = Instant::now();
    drop(client);
    assert_eq!(upstream.received(), "left");
    took(began, 0, 300);
}
