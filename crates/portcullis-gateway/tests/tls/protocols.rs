//! What is spoken over TLS besides plain requests: HTTP/2, and tunnels.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::origin::Origin;
use crate::{HOST, Scene};

/// What curl got, as `VERSION STATUS`.
fn curl(scene: &Scene, host: &str, more: &[&str]) -> String {
    scene.put("ca.pem", &scene.authority.pem());
    let (port, address) = (scene.gateway.listen.port(), scene.gateway.listen.ip());
    let output = Command::new("curl")
        .args(["--silent", "--output", "/dev/null", "--write-out", "%{http_version} %{response_code}", "--cacert"])
        .arg(scene.files.path().join("ca.pem"))
        .args(["--resolve", &format!("{HOST}:{port}:{address}"), "--header", &format!("Host: {host}")])
        .args(more)
        .arg(format!("https://{HOST}:{port}/h2"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn h6_http2_is_chosen_in_the_handshake_and_its_streams_are_https() {
    let scene = Scene::new("");
    assert_eq!(curl(&scene, HOST, &["--http2"]), "2 200");
    let seen = scene.origin.requests().pop().unwrap();
    assert_eq!((seen.header("host"), seen.header("x-forwarded-proto")), (Some(HOST), Some("https")));
    assert_eq!(curl(&scene, HOST, &["--http1.1"]), "1.1 200");
}

#[test]
fn h6_streams_of_http2_are_of_the_client_whose_certificate_opened_their_connection() {
    let clients = crate::Authority::new();
    let origin = Origin::echo();
    let authority = crate::Authority::new();
    let files = tempfile::tempdir().unwrap();
    authority.server(&[HOST]).write(files.path(), "server");
    std::fs::write(files.path().join("clients.pem"), clients.pem()).unwrap();
    let id = "spiffe://prod.example/worker";
    clients.client(1, &[rcgen::SanType::URI(id.try_into().unwrap())]).write(files.path(), "worker");
    let keys = format!(
        "certificates = [{}]\n\n[tls.client]\nca = \"DIR/clients.pem\"\nprincipal = \"spiffe\"\ntrust_domains = [\"prod.example\"]",
        crate::pair("server")
    );
    let gateway = crate::open(&origin, files.path(), &keys);
    let scene = Scene { origin, authority, files, gateway };
    let directory = scene.files.path().display().to_string();
    let (own, key) = (format!("{directory}/worker.pem"), format!("{directory}/worker.key"));
    let with = ["--http2", "--cert", &own, "--key", &key];
    assert_eq!(curl(&scene, HOST, &with), "2 200");
    assert_eq!(scene.origin.requests().pop().unwrap().header("x-user-id"), Some(id));
    assert_eq!(curl(&scene, "other.example.test", &with), "2 421");
    assert_eq!(curl(&scene, HOST, &["--http2"]), "0 000");
    assert_eq!(scene.origin.requests().len(), 1);
}

#[test]
fn h6_a_tunnel_holds_nothing_back_from_a_client_that_reads_late() {
    const MUCH: usize = 24 * 1024 * 1024;
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
        exchange.send(vec![b'x'; MUCH])?;
        std::thread::sleep(Duration::from_secs(20));
        Ok(())
    });
    let scene = Scene::before(origin, "");
    let mut call = scene.caller().connect(HOST).unwrap();
    call.stream.sock.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    call.send(&format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ))
    .unwrap();
    assert_eq!(call.head().unwrap().status, 101);
    std::thread::sleep(Duration::from_millis(500));
    let mut left = MUCH - call.unread();
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let count = call.stream.read(&mut buffer).unwrap_or_else(|error| panic!("{left} bytes never came: {error}"));
        assert!(count > 0, "{left} bytes never came");
        left -= count;
    }
}
