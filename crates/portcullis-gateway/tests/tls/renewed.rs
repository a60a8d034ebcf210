//! Certificates that change while the gate runs.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::eventually;
use crate::support::origin::Origin;
use crate::{HOST, Scene};

const SOON: Duration = Duration::from_secs(10);

fn shown(scene: &Scene) -> Vec<u8> {
    scene.caller().connect(HOST).unwrap().shown()
}

fn await_record(scene: &Scene, kind: &str) {
    eventually(kind, SOON, || scene.gateway.records().iter().any(|line| line["kind"] == kind).then_some(()));
}

/// An origin that sends half of an answer, and the rest when it is told to.
pub(crate) fn in_two_halves() -> (Origin, Arc<AtomicBool>) {
    let go_on = Arc::new(AtomicBool::new(false));
    let waits = Arc::clone(&go_on);
    let origin = Origin::start(move |exchange| {
        exchange.read_body()?;
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
        while !waits.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        exchange.send("6\r\nsecond\r\n0\r\n\r\n")
    });
    (origin, go_on)
}

#[test]
fn h6_a_renewed_certificate_is_taken_without_a_word_and_drops_no_connection() {
    let (origin, go_on) = in_two_halves();
    let scene = Scene::before(origin, "");
    let before = shown(&scene);
    let mut call = scene.caller().connect(HOST).unwrap();
    call.send(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
    assert_eq!(call.head().unwrap().status, 200);
    assert_eq!(call.take(10).unwrap(), b"5\r\nfirst\r\n");

    let renewed = scene.authority.server(&[HOST]);
    renewed.write(scene.files.path(), "server");
    eventually("the new certificate is shown", SOON, || (shown(&scene) == renewed.der).then_some(()));
    assert_ne!(before, renewed.der);
    go_on.store(true, Ordering::Relaxed);
    assert_eq!(call.take(11).unwrap(), b"6\r\nsecond\r\n", "the old connection goes on");
    await_record(&scene, "certificates_reloaded");
}

#[test]
fn h6_half_a_renewal_changes_nothing_until_the_other_half_is_there() {
    let scene = Scene::new("");
    let before = shown(&scene);
    let renewed = scene.authority.server(&[HOST]);
    scene.put("server.pem", &renewed.pem);
    await_record(&scene, "certificates_refused");
    assert_eq!(shown(&scene), before, "a certificate without its key is no pair");
    let output = scene.gateway.output();
    assert!(output.contains("is not the key of"), "{output}");
    assert!(!output.contains("PRIVATE KEY"), "{output}");

    scene.put("server.key", &renewed.key[..60]);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(shown(&scene), before, "half a file is none");
    let mut file = std::fs::OpenOptions::new().append(true).open(scene.files.path().join("server.key")).unwrap();
    file.write_all(&renewed.key.as_bytes()[60..]).unwrap();
    eventually("the pair is whole", SOON, || (shown(&scene) == renewed.der).then_some(()));
    assert_eq!(scene.caller().get(HOST, "/").unwrap().status, 200);
}

#[test]
fn h6_a_reload_of_the_configuration_takes_other_certificates_and_keeps_the_old_where_they_are_wrong() {
    let mut scene = Scene::new("");
    let before = shown(&scene);
    let next = scene.authority.server(&[HOST]);
    next.write(scene.files.path(), "next");
    let given = scene.gateway.config_text();
    std::fs::write(&scene.gateway.config, given.replace("/server.key", "/next.key")).unwrap();
    scene.gateway.process().signal(Signal::HUP);
    await_record(&scene, "reload_refused");
    assert_eq!(shown(&scene), before);
    std::fs::write(&scene.gateway.config, given.replace("/server.", "/next.")).unwrap();
    scene.gateway.process().signal(Signal::HUP);
    await_record(&scene, "reloaded");
    assert_eq!(shown(&scene), next.der);
}
