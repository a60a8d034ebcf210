//! TLS towards an upstream (H6): who it must prove to be, who we are to it, and what is told of it.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::eventually;
use crate::support::process::{Gateway, Setup};
use crate::support::tls::{Authority, Issued, TlsOrigin, head, self_signed};

/// A gateway before an upstream with this `tls`.
fn before(origin: &TlsOrigin, tls: &str) -> Gateway {
    Setup::open_to("http://127.0.0.1:9")
        .with(&format!(
            "[[upstreams]]\nname = \"api\"\naddresses = [\"localhost:{}\"]\ntls = {{ {tls} }}\n\n\
             [[route]]\nmatch = \"/api/**\"\naccess = \"public\"\nupstream = \"api\"\n",
            origin.address.port()
        ))
        .start()
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// What a client is told of an upstream that cannot be trusted: nothing but that.
fn refused(gateway: &Gateway, log: &str) {
    let reply = gateway.client().get("/api/x").send();
    assert_eq!(reply.status, 502, "{}", reply.text());
    let text = reply.text().to_lowercase();
    for detail in ["cert", "tls", "issuer", "localhost", "expired", "127.0.0.1"] {
        assert!(!text.contains(detail), "{detail} in {text}");
    }
    eventually("the operator is told", Duration::from_secs(5), || gateway.output().contains(log).then_some(()));
}

#[test]
fn h6_an_upstream_proves_its_name_by_its_own_authority() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let origin = TlsOrigin::saying(authority.issue("localhost").server(None, &["http/1.1"]), "secret");
    let ca = file(folder.path(), "ca.pem", &authority.pem);
    let gateway = before(&origin, &format!("ca = {ca:?}"));
    for _ in 0..3 {
        assert_eq!(gateway.client().get("/api/x").send().expect(200).text(), "secret");
    }
    assert_eq!(origin.hellos()[0].name.as_deref(), Some("localhost"), "SNI");
}

#[test]
fn h6_an_upstream_that_does_not_prove_its_name_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let ca = file(folder.path(), "ca.pem", &authority.pem);
    let cases: [(Issued, &str); 4] = [
        (authority.issue("other.example"), "its certificate is for another name"),
        (authority.expired("localhost"), "its certificate has expired"),
        (other.issue("localhost"), "who issued its certificate is not trusted"),
        (self_signed("localhost"), "its certificate is"),
    ];
    for (issued, log) in cases {
        let log = if log == "its certificate is" { "TLS with an upstream fails" } else { log };
        let origin = TlsOrigin::saying(issued.server(None, &[]), "stolen");
        refused(&before(&origin, &format!("ca = {ca:?}")), log);
        assert!(origin.hellos().is_empty(), "a handshake was completed with whoever {log}");
    }
    // Without "ca", those that browsers trust: our authority is none of them.
    let origin = TlsOrigin::saying(authority.issue("localhost").server(None, &[]), "stolen");
    refused(&before(&origin, ""), "who issued its certificate is not trusted");
    // A server that speaks in the clear.
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = plain.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let url = format!("https://localhost:{port}");
    let gateway = Setup::open_to(&url).start();
    gateway.client().get("/").send().refused(502, "Bad gateway");
}

#[test]
fn h6_the_name_that_is_verified_can_be_another_than_that_of_the_address() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let origin = TlsOrigin::saying(authority.issue("api.internal").server(None, &[]), "secret");
    let ca = file(folder.path(), "ca.pem", &authority.pem);
    let gateway = before(&origin, &format!("ca = {ca:?}, name = \"api.internal\""));
    gateway.client().get("/api/x").send().expect(200);
    assert_eq!(origin.hellos()[0].name.as_deref(), Some("api.internal"));
    refused(&before(&origin, &format!("ca = {ca:?}")), "its certificate is for another name");
}

#[test]
fn h6_any_certificate_is_believed_only_by_a_setting_that_says_so_and_is_warned_of() {
    let origin = TlsOrigin::saying(self_signed("nobody").server(None, &[]), "whoever");
    let gateway = before(&origin, "danger_accept_invalid_certificates = true");
    assert_eq!(gateway.client().get("/api/x").send().expect(200).text(), "whoever");
    assert!(gateway.output().contains("any certificate of upstream api is believed"), "{}", gateway.output());
}

#[test]
fn h6_an_upstream_must_have_a_key_that_is_pinned() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let origin = TlsOrigin::saying(authority.issue("localhost").server(None, &[]), "secret");
    let ca = file(folder.path(), "ca.pem", &authority.pem);
    let wrong = format!("sha256/{}=", "A".repeat(43));
    let gateway = before(&origin, &format!("ca = {ca:?}, pins = [{wrong:?}]"));
    refused(&gateway, "which is none of");
    // The log says which key it was.
    let output = gateway.output();
    let start = output.find("key is sha256/").unwrap() + "key is ".len();
    let pin = &output[start..start + "sha256/".len() + 44];
    let gateway = before(&origin, &format!("ca = {ca:?}, pins = [{wrong:?}, {pin:?}]"));
    gateway.client().get("/api/x").send().expect(200);
    // A pin takes the place of no other check.
    let other = file(folder.path(), "other.pem", &Authority::new().pem);
    refused(&before(&origin, &format!("ca = {other:?}, pins = [{pin:?}]")), "is not trusted");
}

#[test]
fn h6_a_client_certificate_is_given_where_it_is_demanded() {
    let (authority, clients, folder) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let origin = TlsOrigin::saying(authority.issue("localhost").server(Some(&clients), &[]), "for members");
    let ca = file(folder.path(), "ca.pem", &authority.pem);
    refused(&before(&origin, &format!("ca = {ca:?}")), "it asks for a certificate that it accepts");
    let (certificate, key) = (folder.path().join("client.pem"), folder.path().join("client.key"));
    authority.issue("gate").write(&certificate, &key);
    let tls = format!("ca = {ca:?}, cert = {certificate:?}, key = {key:?}");
    refused(&before(&origin, &tls), "it asks for a certificate that it accepts");
    clients.issue("gate").write(&certificate, &key);
    let gateway = before(&origin, &tls);
    assert_eq!(gateway.client().get("/api/x").send().expect(200).text(), "for members");
    assert!(origin.hellos().last().unwrap().client_certificate.is_some());
}

#[test]
fn h6_files_that_change_are_used_for_new_connections_and_bad_ones_are_not() {
    let (old, new, folder) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    // Every connection is for one request.
    let origin = TlsOrigin::start(old.issue("localhost").server(None, &[]), |wire| {
        if head(wire).is_some() {
            let _ = wire.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            wire.conn.send_close_notify();
            let _ = wire.flush();
        }
    });
    let ca = file(folder.path(), "ca.pem", &old.pem);
    let mut gateway = before(&origin, &format!("ca = {ca:?}"));
    gateway.client().get("/api/x").send().expect(200);
    // Nonsense changes nothing.
    file(folder.path(), "ca.pem", "nonsense");
    eventually("nonsense is refused", Duration::from_secs(10), || {
        gateway.output().contains("new certificates are refused, the old ones stay").then_some(())
    });
    gateway.client().get("/api/x").send().expect(200);
    // Neither does a reload of the whole file.
    gateway.process().signal(Signal::HUP);
    eventually("the reload is refused", Duration::from_secs(10), || {
        gateway.output().contains("the new configuration is refused").then_some(())
    });
    gateway.client().get("/api/x").send().expect(200);
    origin.show(new.issue("localhost").server(None, &[]));
    refused(&gateway, "who issued its certificate is not trusted");
    file(folder.path(), "ca.pem", &new.pem);
    eventually("the new authority is trusted", Duration::from_secs(10), || {
        (gateway.client().get("/api/x").send().status == 200).then_some(())
    });
    // And by a reload.
    origin.show(old.issue("localhost").server(None, &[]));
    file(folder.path(), "ca.pem", &old.pem);
    gateway.process().signal(Signal::HUP);
    eventually("the old authority is trusted again", Duration::from_secs(10), || {
        (gateway.client().get("/api/x").send().status == 200).then_some(())
    });
}

#[test]
fn h6_sessions_are_resumed() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let origin = TlsOrigin::start(authority.issue("localhost").server(None, &[]), |wire| {
        if head(wire).is_some() {
            let _ = wire.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            wire.conn.send_close_notify();
            let _ = wire.flush();
        }
    });
    let ca = file(folder.path(), "ca.pem", &authority.pem);
    let gateway = before(&origin, &format!("ca = {ca:?}"));
    for _ in 0..4 {
        gateway.client().get("/api/x").send().expect(200);
    }
    let resumed = origin.hellos().iter().filter(|hello| hello.resumed).count();
    assert_eq!(resumed, 3, "{:?}", origin.hellos());
}

#[test]
fn h6_a_body_that_tls_did_not_end_does_not_look_complete() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    // A body without a length ends with the connection; the path says whether TLS announces the end.
    let origin = TlsOrigin::start(authority.issue("localhost").server(None, &[]), |wire| {
        let Some(head) = head(wire) else { return };
        let _ = wire.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of it");
        if head.starts_with("GET /api/whole") {
            wire.conn.send_close_notify();
        }
        let _ = wire.flush();
        let _ = wire.sock.shutdown(std::net::Shutdown::Both);
    });
    let ca = file(folder.path(), "ca.pem", &authority.pem);
    let gateway = before(&origin, &format!("ca = {ca:?}"));
    assert_eq!(gateway.client().get("/api/whole").send().expect(200).text(), "half of it");
    let mut connection = gateway.client().connect();
    connection.send("GET /api/cut HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let said = connection.until_close(Duration::from_secs(5));
    // Either the client's connection is cut off, or there is no last chunk.
    let complete = said.is_ok_and(|bytes| bytes.ends_with(b"0\r\n\r\n"));
    assert!(!complete, "a body that was cut off looks complete");
}

#[test]
fn h6_a_handshake_that_stalls_ends_with_connect_timeout() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let gateway = Setup::open_to("http://127.0.0.1:9")
        .with(&format!(
            "[[upstreams]]\nname = \"api\"\naddresses = [\"localhost:{port}\"]\ntls = {{}}\nconnect_timeout = \"300ms\"\n\n\
             [[route]]\nmatch = \"/api/**\"\naccess = \"public\"\nupstream = \"api\"\n"
        ))
        .start();
    let start = std::time::Instant::now();
    assert_eq!(gateway.client().get("/api/x").send().status, 504);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn h6_a_websocket_goes_through_tls() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let origin = TlsOrigin::start(authority.issue("localhost").server(None, &[]), |wire| {
        if head(wire).is_none() {
            return;
        }
        let granted = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst";
        let _ = wire.write_all(granted.as_bytes()).and_then(|()| wire.flush());
        let mut buffer = [0; 64 * 1024];
        while let Ok(count) = wire.read(&mut buffer)
            && count > 0
        {
            let _ = wire.write_all(&buffer[..count].to_ascii_uppercase()).and_then(|()| wire.flush());
        }
    });
    let ca = file(folder.path(), "ca.pem", &authority.pem);
    let gateway = before(&origin, &format!("ca = {ca:?}"));
    let mut connection = gateway.client().connect();
    connection
        .send(
            "GET /api/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
    assert_eq!(connection.reply().unwrap().status, 101);
    assert_eq!(connection.take(5).unwrap(), b"first");
    let long = "long".repeat(50_000);
    for word in ["hello", &long] {
        connection.send(word).unwrap();
        assert_eq!(connection.take(word.len()).unwrap(), word.to_ascii_uppercase().as_bytes());
    }
}
