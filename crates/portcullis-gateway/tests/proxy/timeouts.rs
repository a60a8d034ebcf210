//! Nobody waits forever: slow clients, slow upstreams, dead upstreams; and how many may come at once.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::SHORT;
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::process::{Setup, free_address};

#[test]
fn an_upstream_that_nobody_listens_on_is_a_502() {
    let gateway = Setup::open_to(&format!("http://{}", free_address())).start();
    let reply = gateway.client().get("/").send().refused(502, "Bad gateway");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
}

#[test]
fn an_upstream_that_closes_without_an_answer_is_a_502() {
    let origin = Origin::start(|_| Err(std::io::ErrorKind::BrokenPipe.into()));
    let gateway = Setup::open(&origin).start();
    gateway.client().get("/").send().refused(502, "Bad gateway");
    // What may have been done once is not done twice.
    let before = origin.connections().len();
    gateway.client().post("/").body(b"order").send().refused(502, "Bad gateway");
    assert_eq!(origin.connections().len(), before + 1, "a POST was repeated");
}

#[test]
fn an_answer_that_is_not_http_is_a_502() {
    for nonsense in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
    ] {
        let origin = Origin::start(move |exchange| {
            exchange.read_body()?;
            exchange.send(nonsense)
        });
        let gateway = Setup::open(&origin).start();
        let reply = gateway.client().get("/").send();
        assert_eq!((reply.status, reply.error().as_str()), (502, "Bad gateway"), "{nonsense:?}");
    }
}

#[test]
fn an_upstream_that_does_not_answer_is_a_504() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        sleep(Duration::from_secs(20));
        Err(std::io::ErrorKind::BrokenPipe.into())
    });
    let gateway = Setup::open(&origin)
        .with(&format!(
            "[[upstreams]]\nname = \"slow\"\naddresses = [\"{}\"]\nresponse_timeout = \"1s\"\n\n\
             [[route]]\nmatch = \"/slow\"\naccess = \"public\"\nupstream = \"slow\"\n",
            origin.address
        ))
        .start();
    let start = Instant::now();
    gateway.client().get("/slow").send().refused(504, "Gateway timeout");
    let took = start.elapsed();
    assert!((Duration::from_millis(950)..Duration::from_secs(4)).contains(&took), "{took:?}");
}

#[test]
fn a_body_that_stops_coming_is_a_408() {
    let origin = Origin::echo();
    let gateway = Setup::open(&origin).with(SHORT).start();
    for framing in ["Content-Length: 100\r\n\r\nbegin", "Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n"] {
        let mut connection = gateway.client().connect();
        connection.send(format!("POST / HTTP/1.1\r\nHost: {}\r\n{framing}", gateway.listen)).unwrap();
        let start = Instant::now();
        let reply = connection.reply().unwrap();
        assert_eq!((reply.status, reply.error().as_str()), (408, "Request timeout"));
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        assert!(connection.until_close(Duration::from_secs(2)).is_ok(), "what is left of the body is nobody's request");
    }
    assert!(origin.requests().is_empty(), "an unfinished request was answered by the API");
}

#[test]
fn a_head_that_drips_is_cut_off_however_steadily_it_drips() {
    let origin = Origin::echo();
    let gateway = Setup::open(&origin).with(SHORT).start();
    let mut connection = gateway.client().connect();
    let start = Instant::now();
    let head = format!("GET / HTTP/1.1\r\nHost: {}\r\nX-Slow: {}", gateway.listen, "a".repeat(200));
    let mut cut = false;
    for byte in head.as_bytes() {
        if connection.send([*byte]).is_err() || start.elapsed() > Duration::from_secs(6) {
            cut = true;
            break;
        }
        sleep(Duration::from_millis(40));
    }
    assert!(cut || start.elapsed() > Duration::from_secs(3));
    assert!(connection.until_close(Duration::from_secs(2)).is_ok(), "a slow head holds its connection");
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    assert!(origin.requests().is_empty());
}

#[test]
fn connections_that_rest_or_say_nothing_are_closed() {
    let origin = Origin::echo();
    let gateway = Setup::open(&origin).with(SHORT).start();
    let mut silent = gateway.client().connect();
    let mut resting = gateway.client().connect();
    resting.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.listen)).unwrap();
    assert_eq!(resting.reply().unwrap().status, 200);
    // Rest is allowed for a while.
    sleep(Duration::from_millis(700));
    resting.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.listen)).unwrap();
    assert_eq!(resting.reply().unwrap().status, 200);
    assert!(resting.until_close(Duration::from_secs(5)).is_ok());
    assert!(silent.until_close(Duration::from_secs(5)).is_ok());
}

#[test]
fn one_address_may_not_hold_every_connection() {
    let origin = Origin::echo();
    let gateway = Setup::open(&origin).with("[client]\nmax_connections_per_address = 4\n").start();
    let greedy = gateway.client();
    let host = gateway.listen;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut connection = greedy.connect();
        connection.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap();
        assert_eq!(connection.reply().unwrap().status, 200);
        held.push(connection);
    }
    let refused = greedy.try_connect().and_then(|mut connection| {
        connection.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))?;
        connection.reply()
    });
    assert!(!matches!(&refused, Ok(reply) if reply.status == 200), "a fifth connection was served: {refused:?}");
    gateway.client().get("/").send().expect(200);
    // Who lets go may come again.
    held.clear();
    crate::support::eventually("a free place", Duration::from_secs(3), || {
        Client::at(host, greedy.address).get("/").try_send().ok().filter(|reply| reply.status == 200)
    });
}

#[test]
fn a_client_that_goes_away_takes_its_request_along() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        // Waits until the other side closes; a byte more would be a request nobody sent.
        while exchange.some().is_ok() {}
        Err(std::io::ErrorKind::BrokenPipe.into())
    });
    let gateway = Setup::open(&origin).start();
    let mut connection = gateway.client().connect();
    connection.send(format!("GET /long HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.listen)).unwrap();
    crate::support::eventually("the request arrives", Duration::from_secs(5), || {
        origin.connections().iter().any(|seen| !seen.bytes.is_empty()).then_some(())
    });
    drop(connection);
    crate::support::eventually("the upstream is let go", Duration::from_secs(5), || {
        origin.connections().iter().all(|seen| seen.closed).then_some(())
    });
}
