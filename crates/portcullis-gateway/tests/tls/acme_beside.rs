//! Certificates by ACME beside everything else that `[tls]` has: clients' certificates, certificates from files, reloads.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::SanType;
use rustix::process::Signal;

use crate::acme::Scene;
use crate::acme_probe::shake_hands;
use crate::acme_server::{AcmeServer, Mood};
use crate::caller::Caller;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::process::free_address;
use crate::{Authority, HOST};

const SOON: Duration = Duration::from_secs(15);

const CLIENTS: &str =
    "\n[tls.client]\nca = \"DIR/clients.pem\"\nprincipal = \"spiffe\"\ntrust_domains = [\"prod.example\"]\n";

const FILES: &str = "\n[[tls.certificates]]\ncert = \"DIR/wide.pem\"\nkey = \"DIR/wide.key\"\n";

/// What somebody gets who has no certificate, by this protocol: bytes of an answer, or none.
fn asks_without_a_certificate(authority: &Authority, gate: SocketAddr, name: &str, protocol: &[u8]) -> Vec<u8> {
    let Ok(mut call) = Caller::new(authority, gate).offering(&[protocol]).connect(name) else { return Vec::new() };
    let request = format!("GET /stolen HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    let mut heard = Vec::new();
    // In TLS 1.3 the refusal is heard after the handshake: with the request, or in the place of the answer.
    let _ = call.send(&request).and_then(|()| call.stream.read_to_end(&mut heard));
    heard
}

/// What strangers without a certificate came by while a challenge was answered.
struct Strangers {
    /// Over TLS, by each protocol.
    answers: Vec<(String, Vec<u8>)>,
    /// In the clear, beside the file of the challenge.
    plain: u16,
}

#[test]
fn h6_acme_challenges_are_answered_beside_mutual_tls_and_nothing_else_gets_past_it() {
    for challenge in ["tls-alpn-01", "http-01"] {
        let clients = Authority::new();
        let scene = Scene::beside(Origin::echo(), challenge, CLIENTS, |_, files| {
            std::fs::write(files.join("clients.pem"), clients.pem()).unwrap();
        });
        let id = SanType::URI("spiffe://prod.example/worker".try_into().unwrap());
        let worker = Caller::with(&scene.server.signs, scene.secure, &clients.client(1, &[id]));
        let first = scene.await_certificate_with(0, &worker);
        let mut open = worker.connect(HOST).unwrap();
        assert_eq!(open.get(HOST, "/a", "").unwrap().status, 200);
        let before = scene.origin.requests().len();

        // While the next order is under way, there is a certificate to be shown, and a challenge to be asked for.
        let (tell, told) = std::sync::mpsc::channel();
        {
            let mut state = scene.server.state();
            state.life.1 = Duration::from_hours(800 * 24);
            let (plain, secure, authority) = (scene.plain, scene.secure, Arc::clone(&scene.server.signs));
            state.meanwhile = Some(Box::new(move |host| {
                let protocols: [&[u8]; 3] = [b"acme-tls/1", b"http/1.1", b"h2"];
                let mut answers: Vec<(String, Vec<u8>)> = protocols
                    .iter()
                    .map(|protocol| {
                        let heard = asks_without_a_certificate(&authority, secure, host, protocol);
                        (String::from_utf8_lossy(protocol).into_owned(), heard)
                    })
                    .collect();
                answers.push((
                    "a challenge for another name".to_owned(),
                    asks_without_a_certificate(&authority, secure, "other.example.test", b"acme-tls/1"),
                ));
                // Both protocols: what is meant is not a challenge, and has to bring a certificate.
                let both = Caller::new(&authority, secure).offering(&[b"acme-tls/1", b"http/1.1"]);
                answers
                    .push(("both".to_owned(), both.get(host, "/stolen").map(|reply| reply.body).unwrap_or_default()));
                let mut connection = Client::at(plain, std::net::Ipv4Addr::LOCALHOST).connect();
                connection.send(format!("GET /stolen HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap();
                tell.send(Strangers { answers, plain: connection.reply().unwrap().status }).unwrap();
            }));
        }
        scene.gateway.operator().advance("61d");
        let second = scene.await_certificate_with(1, &worker);
        assert_ne!(first, second, "{challenge}");
        assert_eq!(scene.server.state().verified, [Ok(()), Ok(())], "who verifies has no certificate of a client's");
        let strangers = told.recv().unwrap();
        for (protocol, heard) in strangers.answers {
            assert_eq!(String::from_utf8_lossy(&heard), "", "{challenge}: {protocol}");
        }
        assert_eq!(strangers.plain, 308, "{challenge}");

        // The renewal has changed nothing for those who are known.
        assert_eq!(open.get(HOST, "/a", "").unwrap().status, 200, "{challenge}: the open connection goes on");
        assert_eq!(worker.get(HOST, "/a").unwrap().status, 200);
        assert!(asks_without_a_certificate(&scene.server.signs, scene.secure, HOST, b"http/1.1").is_empty());
        let seen = scene.origin.requests();
        assert_eq!(seen.len(), before + 2, "{challenge}: nothing of the strangers' reached the API");
        assert!(seen.iter().all(|request| request.header("x-user-id") == Some("spiffe://prod.example/worker")));
        scene.no_complaints();
    }
}

/// A file's certificate for every name below the domain, and one for no name of any test; of the authority's whose other
/// certificates come by ACME, so that one client believes both.
fn wide(server: &AcmeServer, files: &Path, more: &[&str]) -> Vec<u8> {
    let issued = server.signs.server(&[&["*.example.test", "static.test"], more].concat());
    issued.write(files, "wide");
    issued.der
}

/// What everyone is shown who asks for this name, whether they like it or not.
fn shown(scene: &Scene, name: &str) -> Vec<u8> {
    shake_hands(scene.secure, name, &[b"http/1.1"]).unwrap().shown
}

#[test]
fn h6_acme_stands_beside_certificates_from_files_and_each_has_its_names() {
    let mut from_file = Vec::new();
    let mut scene = Scene::beside(Origin::echo(), "tls-alpn-01", FILES, |server, files| {
        server.state().mood = Mood::Down;
        from_file = wide(server, files, &[]);
    });
    scene.await_record("certificate_order_failed", 1);
    assert_eq!(shown(&scene, HOST), from_file, "until there is one, a star in a file serves the name");
    assert_eq!(scene.caller().get(HOST, "/").unwrap().status, 200);

    scene.server.state().mood = Mood::Kind;
    scene.gateway.operator().advance("2h");
    let given = scene.await_certificate(0);
    for (name, expected) in [
        (HOST, &given),
        ("API.Example.test", &given),
        ("www.example.test", &from_file),
        ("static.test", &from_file),
        // A file goes before, where nothing else decides.
        ("unknown.test", &from_file),
    ] {
        assert_eq!(shown(&scene, name), *expected, "{name}");
    }
    let error = scene.caller().nameless().connect(HOST).map(|call| call.shown());
    assert_eq!(error.unwrap(), from_file, "who asks for no name is shown the first");
    // Hosts of two certificates are two connections.
    let mut call = scene.caller().connect(HOST).unwrap();
    assert_eq!(call.get("www.example.test", "/", "").unwrap().status, 421);

    // A file that has the name literally from now on goes before what comes by ACME, and a reload says that both is too much.
    let both = wide(&scene.server, scene.files.path(), &[HOST]);
    eventually("the file's certificate is shown", SOON, || (shown(&scene, HOST) == both).then_some(()));
    scene.gateway.process().signal(Signal::HUP);
    scene.await_record("reload_refused", 1);
    let output = scene.gateway.output();
    assert!(output.contains(&format!("{HOST} has a certificate among \"certificates\" already")), "{output}");
    assert_eq!(shown(&scene, HOST), both);
    let alone = wide(&scene.server, scene.files.path(), &[]);
    eventually("each has its names again", SOON, || (shown(&scene, "www.example.test") == alone).then_some(()));
    assert_eq!(shown(&scene, HOST), given, "nothing was lost");
    scene.no_complaints();
}

#[test]
fn h6_acme_can_be_taken_away_and_brought_back_by_a_reload_and_loses_nothing() {
    let mut from_file = Vec::new();
    let mut scene = Scene::beside(Origin::echo(), "http-01", FILES, |server, files| {
        from_file = wide(server, files, &[]);
    });
    let given = scene.await_certificate(0);
    let folder = scene.folder();
    let with = std::fs::read_to_string(&scene.gateway.config).unwrap();
    let begin = with.find("[tls.acme]").unwrap();
    let without = format!("{}{}", &with[..begin], &with[with.find("[[tls.certificates]]").unwrap()..]);

    reload(&mut scene, &without, "reloaded", 1);
    assert_eq!(shown(&scene, HOST), from_file, "the name is served by what is left");
    assert_eq!(scene.metric("portcullis_acme_next_order_seconds"), 0, "nothing is ordered any more");
    assert!(folder.join("certificate.pem").exists() && folder.join("account.json").exists());
    let refused = shake_hands(scene.secure, HOST, &[b"acme-tls/1"]).unwrap_err();
    assert!(refused.contains("received fatal alert"), "{refused}");

    reload(&mut scene, &with, "reloaded", 2);
    assert_eq!(shown(&scene, HOST), given, "what was got is there again, without another order");

    // A process that began without it takes it up as well.
    std::fs::write(&scene.gateway.config, &without).unwrap();
    scene.gateway.kill();
    scene.gateway.launch();
    assert_eq!(shown(&scene, HOST), from_file);
    std::fs::remove_file(folder.join("certificate.pem")).unwrap();
    reload(&mut scene, &with, "reloaded", 3);
    let next = scene.await_certificate(1);
    assert_ne!(next, given);
    scene.no_complaints();
    let state = scene.server.state();
    assert_eq!((state.accounts.len(), state.orders.len()), (1, 2), "the account stays");
}

#[test]
fn h6_acme_the_only_certificate_cannot_be_taken_away_and_no_reload_puts_back_what_was_there_before_it() {
    let mut scene = Scene::new("tls-alpn-01", "", |_| {});
    let given = scene.await_certificate(0);
    let with = std::fs::read_to_string(&scene.gateway.config).unwrap();
    let without = with[..with.find("[tls.acme]").unwrap()].to_owned();
    reload(&mut scene, &without, "reload_refused", 1);
    assert!(scene.gateway.output().contains("\"certificates\" is missing"), "{}", scene.gateway.output());
    assert_eq!(shown(&scene, HOST), given);

    // Where TLS is spoken is fixed, and with it the rest of the section; the certificate came after the start.
    let elsewhere = with.replace(&scene.secure.to_string(), &free_address().to_string());
    reload(&mut scene, &elsewhere, "reloaded", 1);
    assert_eq!(shown(&scene, HOST), given, "at once: what was loaded at the start is older");
    let output = scene.gateway.output();
    assert!(output.contains("take effect at the next start, and until then all of [tls] stays as it was"), "{output}");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(scene.server.state().orders.len(), 1);
    scene.no_complaints();
}

/// Loads another text of the file, and waits for what is recorded of it.
fn reload(scene: &mut Scene, text: &str, kind: &str, count: usize) {
    std::fs::write(&scene.gateway.config, text).unwrap();
    scene.gateway.process().signal(Signal::HUP);
    scene.await_record(kind, count);
}
