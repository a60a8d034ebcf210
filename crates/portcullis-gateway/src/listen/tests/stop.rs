//! Stopping without dropping a request.

use std::time::Instant;

use super::*;

#[test]
fn o2_requests_under_way_are_finished_and_idle_connections_closed() {
    let (go, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let upstream = Upstream::start(move |served| {
        while let Some(request) = served.request() {
            if request.starts_with("GET /slow") {
                told.lock().unwrap().recv_timeout(Duration::from_secs(5)).unwrap();
            }
            served.client.send(OK);
        }
    });
    let patient =
        UpstreamSettings { response_timeout: Duration::from_secs(10), ..super::upstream(&[upstream.address]) };
    let mut gateway = Gateway::with(transport(), patient, None);
    let (mut idle, mut busy) = (gateway.client(), gateway.client());
    idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(idle.answer().status, 200);
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    upstream.received();
    upstream.received();
    let began = Instant::now();
    gateway.stop(Duration::from_secs(5));
    assert_eq!(idle.rest(), "");
    // The idle one did not wait for the busy one.
    go.send(()).unwrap();
    let answer = busy.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.has("connection: close"), "{}", answer.head);
    assert_eq!(busy.rest(), "");
    gateway.join();
    assert!(began.elapsed() < Duration::from_millis(4_500));
    assert!(TcpStream::connect(gateway.address).is_err());
}

#[test]
fn o2_a_connection_that_waits_in_the_queue_is_still_served() {
    let upstream = Upstream::saying(OK);
    let mut gateway = Gateway::start(&[upstream.address]);
    let mut waiting: Vec<Client> = (0..20).map(|_| gateway.client()).collect();
    gateway.stop(Duration::from_secs(5));
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.status, 200);
        assert!(answer.has("connection: close"), "{}", answer.head);
    }
    gateway.join();
}

#[test]
fn o2_what_takes_longer_than_the_drain_time_is_cut_off() {
    let upstream = Upstream::start(|served| {
        served.request();
        served.client.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        while served.client.stream.write_all(b"data: x\n\n").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let mut gateway = Gateway::start(&[upstream.address]);
    let mut client = gateway.client();
    client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    client.until("data: x\n\n");
    let began = Instant::now();
    gateway.stop(Duration::from_millis(300));
    gateway.join();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(5_000), "{took:?}");
    client.rest();
}
