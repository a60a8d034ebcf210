//! Several upstreams, several addresses of one, and connections that have gone stale.

use std::time::{Duration, Instant};

use crate::support::origin::Origin;
use crate::support::process::{Setup, free_address};

fn named(name: &'static str) -> Origin {
    Origin::start(move |exchange| {
        exchange.read_body()?;
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()))
    })
}

#[test]
fn routes_lead_to_named_upstreams() {
    let (one, two) = (named("one"), named("two"));
    let gateway = Setup::open(&one)
        .with(&format!(
            "[[upstreams]]\nname = \"two\"\naddresses = [\"{}\"]\n\n\
             [[route]]\nmatch = \"/two/**\"\naccess = \"public\"\nupstream = \"two\"\n",
            two.address
        ))
        .start();
    assert_eq!(gateway.client().get("/").send().expect(200).text(), "one");
    assert_eq!(gateway.client().get("/two/x").send().expect(200).text(), "two");
}

#[test]
fn addresses_take_turns_and_a_dead_one_is_left_out() {
    let (one, two) = (named("one"), named("two"));
    let dead = free_address();
    let gateway = Setup::open(&one)
        .with(&format!(
            "[[upstreams]]\nname = \"many\"\naddresses = [\"{}\", \"{dead}\", \"{}\"]\n\n\
             [[route]]\nmatch = \"/many\"\naccess = \"public\"\nupstream = \"many\"\n",
            one.address, two.address
        ))
        .start();
    let start = Instant::now();
    // Several clients, because a turn belongs to a core and a connection to a core as well.
    for _ in 0..40 {
        gateway.client().get("/many").send().expect(200);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "each request waits for the dead address");
    let (first, second) = (one.requests().len(), two.requests().len());
    assert_eq!(first + second, 40);
    assert!(first >= 8 && second >= 8, "{first} and {second}");
}

#[test]
fn an_upstream_that_comes_back_is_used_again() {
    let address = free_address();
    let gateway = Setup::open_to(&format!("http://{address}")).start();
    gateway.client().get("/").send().refused(502, "Bad gateway");
    let listener = std::net::TcpListener::bind(address).unwrap();
    let serving = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback").unwrap();
    });
    crate::support::eventually("the upstream is used again", Duration::from_secs(15), || {
        gateway.client().get("/").try_send().ok().filter(|reply| reply.status == 200 && reply.body == b"back")
    });
    serving.join().unwrap();
}

#[test]
fn a_connection_that_the_upstream_closed_meanwhile_costs_no_request() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        // Says nothing of it in the answer, and closes.
        Err(std::io::ErrorKind::BrokenPipe.into())
    });
    let gateway = Setup::open(&origin).start();
    let client = gateway.client();
    for number in 0..50 {
        let reply = client.get("/").send();
        assert_eq!(reply.status, 200, "request {number}: {}", reply.text());
        if number % 2 == 0 {
            std::thread::sleep(Duration::from_millis(15));
        }
    }
}

#[test]
fn a_base_path_is_put_before_every_path() {
    let origin = Origin::echo();
    let gateway = Setup::open_to(&format!("http://{}/v1/api", origin.address)).start();
    gateway.client().get("/things?x=1").send().expect(200);
    assert_eq!(origin.last().target, "/v1/api/things?x=1");
}
