//! Upgrades: a tunnel only after a 101 that was asked for.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use crate::support::client::Connection;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

/// An origin that grants an upgrade where the target says so, and then repeats what it hears.
fn origin() -> Origin {
    Origin::start(|exchange| {
        exchange.read_body()?;
        let asked = exchange.seen.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
        match exchange.seen.target.as_str() {
            "/grant" if asked => {
                exchange
                    .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
                loop {
                    let heard = exchange.some()?;
                    exchange.send(heard.to_ascii_uppercase())?;
                }
            }
            "/other" => {
                exchange.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
            }
            "/unasked" => {
                exchange.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            }
            "/refuse" => exchange.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno"),
            _ => exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        }
    })
}

fn ask(gateway: &Gateway, path: &str, more: &str) -> Connection {
    let mut connection = gateway.client().connect();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n{more}",
        gateway.listen
    );
    connection.send(head).unwrap();
    connection
}

#[test]
fn a_granted_upgrade_is_a_tunnel_in_both_directions() {
    let origin = origin();
    let gateway = Setup::open(&origin).start();
    let mut connection = ask(&gateway, "/grant", "");
    let reply = connection.reply().unwrap();
    assert_eq!(reply.status, 101);
    assert_eq!(reply.header("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
    for word in ["hello", "GET / HTTP/1.1\r\n\r\n", "\u{7f}\0\r\n"] {
        connection.send(word).unwrap();
        assert_eq!(connection.take(word.len()).unwrap(), word.to_ascii_uppercase().as_bytes());
    }
    // The end of one side is the end of the other.
    connection.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    connection.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    connection.stream.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn without_a_101_there_is_no_tunnel() {
    let origin = origin();
    let gateway = Setup::open(&origin).start();
    for (path, status) in [("/refuse", 426), ("/plain", 200)] {
        let smuggled = format!("GET /smuggled HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.listen);
        let mut connection = ask(&gateway, path, &smuggled);
        assert_eq!(connection.reply().unwrap().status, status);
        // What follows is a request like any other, or nothing at all: with an entry of its own in the gate's books.
        if let Ok(reply) = connection.reply() {
            assert!(reply.header("x-request-id").is_some(), "{reply:?}");
        }
    }
    for connection in origin.connections() {
        let text = String::from_utf8_lossy(&connection.bytes).into_owned();
        for part in text.split("GET /smuggled").skip(1) {
            let head = part.split("\r\n\r\n").next().unwrap().to_lowercase();
            assert!(head.contains("x-forwarded-for"), "a request that the gate never saw:\n{text}");
        }
    }
}

#[test]
fn a_101_that_does_not_fit_is_a_bad_gateway() {
    let origin = origin();
    let gateway = Setup::open(&origin).start();
    let mut connection = ask(&gateway, "/other", "");
    assert_eq!(connection.reply().unwrap().status, 502);
    // Nobody asked for an upgrade here.
    let reply = gateway.client().get("/unasked").try_send();
    assert!(reply.is_ok_and(|reply| reply.status == 502));
    let reply = gateway.client().get("/unasked").header("Upgrade", "websocket").try_send();
    assert!(reply.is_ok_and(|reply| matches!(reply.status, 400 | 502)), "Upgrade without Connection: upgrade");
}

#[test]
fn an_upgrade_needs_the_same_pass_as_everything_else() {
    let origin = origin();
    let gateway = Setup::before(&origin).with("[[route]]\nmatch = \"GET /grant\"\nroles = [\"admin\"]\n").start();
    let mut connection = ask(&gateway, "/grant", "");
    assert_eq!(connection.reply().unwrap().status, 401);
    assert!(origin.requests().is_empty() && origin.connections().is_empty());

    let viewer = gateway.token("viewer");
    let mut connection = gateway.client().connect();
    let head = format!(
        "GET /grant HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {viewer}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\n\r\n",
        gateway.listen
    );
    connection.send(head).unwrap();
    assert_eq!(connection.reply().unwrap().status, 403);
    assert!(origin.connections().is_empty());
}

#[test]
fn a_tunnel_does_not_outlive_the_drain() {
    let origin = origin();
    let mut gateway = Setup::open(&origin).top("drain_timeout = \"1s\"").start();
    let mut connection = ask(&gateway, "/grant", "");
    assert_eq!(connection.reply().unwrap().status, 101);
    connection.send("still here").unwrap();
    assert_eq!(connection.take(10).unwrap(), b"STILL HERE");
    gateway.process().signal(rustix::process::Signal::TERM);
    let status = gateway.process().ended(Duration::from_secs(8));
    assert!(status.success(), "{status}");
    assert!(connection.until_close(Duration::from_secs(2)).is_ok());
    let _ = connection.stream.write_all(b"gone");
}
