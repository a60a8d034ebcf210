//! What is agreed upon, and what becomes of those with whom nothing can be.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::{HandshakeKind, ProtocolVersion};

use crate::caller::Caller;
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::{HOST, Scene};

/// The counter of handshakes that ended like this.
fn handshakes(scene: &Scene, outcome: &str) -> u64 {
    let page = scene.gateway.operator().metrics();
    let line = format!("portcullis_tls_handshakes_total{{outcome=\"{outcome}\"}} ");
    page.lines()
        .find_map(|found| found.strip_prefix(&line))
        .unwrap_or_else(|| panic!("no {line}in {page}"))
        .parse()
        .unwrap()
}

/// Waits until so many handshakes have ended like this: a client may know before the counter does.
#[track_caller]
fn counted(scene: &Scene, outcome: &str, times: u64) {
    eventually(outcome, Duration::from_secs(5), || (handshakes(scene, outcome) == times).then_some(()));
}

#[test]
fn h6_requests_over_tls_reach_the_api_as_https() {
    let scene = Scene::new("");
    for (version, expected) in
        [(&rustls::version::TLS12, ProtocolVersion::TLSv1_2), (&rustls::version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let caller = Caller::speaking(&scene.authority, scene.gateway.listen, &[version]).offering(&[b"http/1.1"]);
        let mut call = caller.connect(HOST).unwrap();
        assert_eq!(call.stream.conn.protocol_version(), Some(expected));
        assert_eq!(call.stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        for target in ["/one", "/two"] {
            let answer = call.get(HOST, target, "X-Forwarded-Proto: http\r\n").unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(answer.header("strict-transport-security").is_some_and(|value| value.contains("max-age=")));
            let seen = scene.origin.requests().pop().unwrap();
            assert_eq!((seen.target.as_str(), seen.header("x-forwarded-proto")), (target, Some("https")));
        }
    }
    assert_eq!((handshakes(&scene, "full"), handshakes(&scene, "resumed")), (2, 0));
}

#[test]
fn h6_a_body_of_any_size_goes_both_ways() {
    let scene = Scene::new("");
    let mut call = scene.caller().connect(HOST).unwrap();
    let body = "0123456789abcdef".repeat(50_000);
    call.send(&format!("POST /big HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n{body}", body.len())).unwrap();
    assert_eq!(call.answer().unwrap().status, 200);
    assert_eq!(scene.origin.requests().pop().unwrap().body, body.as_bytes());
}

#[test]
fn h6_a_session_goes_on_on_every_core_without_a_state_here_and_early_data_is_never_offered() {
    let scene = Scene::new("");
    let caller = scene.caller();
    let mut resumed = 0;
    for _ in 0..8 {
        let mut call = caller.connect(HOST).unwrap();
        assert_eq!(call.get(HOST, "/", "").unwrap().status, 200);
        assert!(!call.stream.conn.is_early_data_accepted(), "early data can be replayed");
        resumed += u64::from(call.kind() == Some(HandshakeKind::Resumed));
    }
    assert_eq!(resumed, 7, "whichever core a connection came to");
    assert_eq!(handshakes(&scene, "resumed"), resumed);
}

/// The first messages of a client of TLS 1.1: what modern libraries do not even write any more.
fn hello(version: [u8; 2], ciphers: &[u8]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(u16::try_from(ciphers.len()).unwrap().to_be_bytes());
    body.extend(ciphers);
    body.extend([1, 0]);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
    record.extend([1, 0]);
    record.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    record.extend(body);
    record
}

/// What the gate says to these bytes until it closes.
fn told(scene: &Scene, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(scene.gateway.listen).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // It may close before all is written.
    let _ = socket.write_all(bytes);
    let mut said = Vec::new();
    match socket.read_to_end(&mut said) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error} after {said:?}"),
        _ => said,
    }
}

#[test]
fn h6_old_versions_and_weak_suites_are_refused_with_an_alert() {
    let scene = Scene::new("");
    // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 in TLS 1.1 and 1.0 and SSL 3; then suites without AEAD, forward secrecy,
    // encryption or a certificate.
    let good = [0xc0, 0x2b];
    for (what, bytes) in [
        ("TLS 1.1", hello([3, 2], &good)),
        ("TLS 1.0", hello([3, 1], &good)),
        ("SSL 3", hello([3, 0], &good)),
        ("CBC, RSA key transport, NULL, anonymous", hello([3, 3], &[0xc0, 0x09, 0x00, 0x9c, 0x00, 0x02, 0xc0, 0x18])),
    ] {
        let said = told(&scene, &bytes);
        assert_eq!(said.first(), Some(&21), "{what}: an alert, not {said:?}");
        assert_eq!(said.get(5), Some(&2), "{what}: a fatal one: {said:?}");
    }
    counted(&scene, "failed", 4);
    assert!(scene.origin.requests().is_empty());
}

#[test]
fn h6_a_protocol_that_is_not_spoken_here_is_refused_by_the_handshake() {
    let scene = Scene::new("");
    let error = scene.caller().offering(&[b"imap"]).connect(HOST).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}

#[test]
fn h6_http_in_the_clear_is_told_that_https_is_spoken_here() {
    let scene = Scene::new("");
    let said =
        String::from_utf8(told(&scene, b"GET /secret HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n\r\n")).unwrap();
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    assert!(said.contains("https://"), "{said}");
    assert!(!said.to_ascii_lowercase().contains("strict-transport-security"), "RFC 6797 section 7.2: {said}");
    assert!(
        !said.to_ascii_lowercase().contains("\r\nlocation:"),
        "who sent a secret in the clear is not sent on: {said}"
    );
    assert_eq!(told(&scene, b"\x00\x01\x02\x03"), b"", "what is neither gets nothing");
    counted(&scene, "plain", 2);
    assert!(scene.origin.requests().is_empty());
}

#[test]
fn h6_a_huge_hello_and_nonsense_are_refused_and_hold_nobody_up() {
    let scene = Scene::new("");
    // A handshake message that says it has 16 MiB, in full records.
    let mut huge = Vec::new();
    for number in 0..64 {
        huge.extend([22, 3, 1, 0x40, 0]);
        let mut record = vec![0; 0x4000];
        if number == 0 {
            record[..4].copy_from_slice(&[1, 0xff, 0xff, 0xff]);
        }
        huge.extend(record);
    }
    for bytes in [huge, [&[22, 3, 1, 0xff, 0xff][..], &[0; 100]].concat(), [&[22, 3, 3, 0, 4][..], &[9; 4]].concat()] {
        let said = told(&scene, &bytes);
        assert!(said.is_empty() || said[0] == 21, "{said:?}");
    }
    assert_eq!(scene.caller().get(HOST, "/").unwrap().status, 200);
}

#[test]
fn h6_a_slow_handshake_ends_at_its_deadline_however_it_dribbles() {
    let scene = Scene::new("");
    let mut silent = TcpStream::connect(scene.gateway.listen).unwrap();
    let mut slow = TcpStream::connect(scene.gateway.listen).unwrap();
    let start = Instant::now();
    let bytes = hello([3, 3], &[0xc0, 0x2b]);
    let ended = |socket: &mut TcpStream| {
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        !matches!(socket.read(&mut [0; 64]), Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    };
    let mut next = bytes.iter();
    eventually("the slow handshake is cut", Duration::from_secs(5), || {
        if let Some(byte) = next.next() {
            let _ = slow.write_all(&[*byte]);
        }
        (ended(&mut slow) && ended(&mut silent)).then_some(())
    });
    let took = start.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(3), "{took:?}");
    counted(&scene, "late", 2);
}

#[test]
fn h6_idle_handshakes_of_one_address_are_bounded_and_others_are_served() {
    let origin = Origin::echo();
    let authority = crate::Authority::new();
    let files = tempfile::tempdir().unwrap();
    authority.server(&[HOST]).write(files.path(), "server");
    let directory = files.path().display();
    let gateway = crate::Setup::open(&origin)
        .public_url(&format!("https://{HOST}"))
        .with(&format!(
            "[client]\nhead_timeout = \"30s\"\nmax_connections_per_address = 8\n\n[tls]\n\
             certificates = [{{ cert = \"{directory}/server.pem\", key = \"{directory}/server.key\" }}]"
        ))
        .start();
    let crowd = gateway.client();
    let held: Vec<_> = (0..40).filter_map(|_| crowd.try_connect().ok()).collect();
    eventually("those beyond the bound are turned away", Duration::from_secs(5), || {
        let open = held.iter().filter(|connection| {
            connection.stream.set_nonblocking(true).unwrap();
            matches!(connection.stream.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        });
        (open.count() == 8).then_some(())
    });
    let answer = Caller::new(&authority, gateway.listen).get(HOST, "/").unwrap();
    assert_eq!(answer.status, 200);
}

#[test]
fn h6_an_answer_that_breaks_off_never_looks_complete() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 100\r\n\r\nonly this")?;
        Err(io::ErrorKind::ConnectionReset.into())
    });
    let scene = Scene::before(origin, "");
    // HTTP/1.0: what has no length ends with the connection, and only TLS can tell its end from a break.
    let mut call = scene.caller().connect(HOST).unwrap();
    call.send(&format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).unwrap();
    assert!(call.until_close().is_err(), "there must be no close_notify");

    let whole = Scene::new("");
    let mut call = whole.caller().connect(HOST).unwrap();
    call.send(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")).unwrap();
    assert_eq!(call.answer().unwrap().status, 200);
    assert_eq!(call.until_close().expect("a proper end is told (RFC 8446 section 6.1)"), b"");
}

#[test]
fn h6_a_stop_finishes_what_is_under_way_and_waits_for_no_handshake() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        std::thread::sleep(Duration::from_millis(700));
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
    });
    let mut scene = Scene::before(origin, "");
    let mut call = scene.caller().connect(HOST).unwrap();
    call.send(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
    let _never = TcpStream::connect(scene.gateway.listen).unwrap();
    eventually("the request is with the API", Duration::from_secs(5), || {
        scene.origin.connections().iter().any(|one| one.bytes.starts_with(b"GET")).then_some(())
    });
    scene.gateway.process().signal(rustix::process::Signal::TERM);
    let answer = call.answer().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(call.until_close().expect("a proper end"), b"");
    let status = scene.gateway.process().ended(Duration::from_secs(5));
    assert!(status.success(), "{status}");
}
