//! How the process starts, reloads and stops (O2).

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Running, Setup, portcullis};

/// An origin that takes its time.
fn slow(delay: Duration) -> Origin {
    Origin::start(move |exchange| {
        exchange.read_body()?;
        sleep(delay);
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
    })
}

#[test]
fn o2_a_request_under_way_is_finished_before_the_process_stops() {
    let origin = slow(Duration::from_millis(1500));
    let mut gateway = Setup::open(&origin).start();
    let mut under_way = gateway.client().connect();
    let mut resting = gateway.client().connect();
    resting.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.listen)).unwrap();
    assert_eq!(resting.reply().unwrap().status, 200);
    under_way.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.listen)).unwrap();
    eventually("the request reaches the upstream", Duration::from_secs(5), || {
        (origin.connections().iter().map(|c| c.bytes.windows(5).filter(|w| w == b"GET /").count()).sum::<usize>() == 2)
            .then_some(())
    });
    gateway.process().signal(Signal::TERM);
    let start = Instant::now();
    let reply = under_way.reply().expect("what was under way is answered");
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"slow"[..]));
    assert!(resting.until_close(Duration::from_secs(3)).is_ok(), "a resting connection holds nobody up");
    let status = gateway.process().ended(Duration::from_secs(10));
    assert!(status.success(), "{status}: {}", gateway.output());
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert!(gateway.client().try_connect().is_err(), "nobody listens any more");
}

#[test]
fn o2_a_request_that_never_ends_does_not_hold_up_the_stop_forever() {
    let origin = slow(Duration::from_secs(60));
    let mut gateway = Setup::open(&origin).top("drain_timeout = \"1s\"").start();
    let mut under_way = gateway.client().connect();
    under_way.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.listen)).unwrap();
    sleep(Duration::from_millis(200));
    gateway.process().signal(Signal::TERM);
    let start = Instant::now();
    gateway.process().ended(Duration::from_secs(8));
    assert!(start.elapsed() > Duration::from_millis(800), "it was given its second: {:?}", start.elapsed());
}

/// Requests on connections of every kind until told to stop; how many were answered with what is expected, and what
/// else there was.
fn load(gateway: &Gateway, stop: &AtomicBool, served: &AtomicUsize) -> Vec<String> {
    let mut failures = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|number| {
                scope.spawn(move || {
                    let mut failures = Vec::new();
                    let mut client = gateway.client();
                    while !stop.load(Ordering::Relaxed) {
                        // Half of the workers open a connection for each request.
                        if number % 2 == 0 {
                            client = gateway.client();
                        }
                        match client.get("/load").try_send() {
                            Ok(reply) if reply.status == 200 => {
                                served.fetch_add(1, Ordering::Relaxed);
                            }
                            Ok(reply) => failures.push(format!("{} {}", reply.status, reply.text())),
                            Err(error) => failures.push(error.to_string()),
                        }
                    }
                    failures
                })
            })
            .collect();
        for worker in workers {
            failures.extend(worker.join().unwrap());
        }
    });
    failures
}

#[test]
fn o2_a_reload_under_load_fails_no_request_and_takes_effect() {
    let origin = Origin::echo();
    let gateway = Setup::open(&origin).start();
    gateway.client().get("/new").send().expect(200);
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut gateway = gateway;
    let id = gateway.process().id();
    let failures = std::thread::scope(|scope| {
        let loading = scope.spawn(|| load(&gateway, &stop, &served));
        for round in 0..6 {
            sleep(Duration::from_millis(150));
            let more = if round % 2 == 0 { "\n[[route]]\nmatch = \"/new\"\nroles = [\"admin\"]\n" } else { "" };
            gateway.write_config(more);
            signal(id, Signal::HUP);
            let expected = if round % 2 == 0 { 401 } else { 200 };
            eventually("the new file is in force", Duration::from_secs(5), || {
                (gateway.client().get("/new").send().status == expected).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
        loading.join().unwrap()
    });
    assert!(failures.is_empty(), "{} of {} failed: {:?}", failures.len(), served.load(Ordering::Relaxed), failures);
    assert!(served.load(Ordering::Relaxed) > 50);
}

fn signal(id: u32, signal: Signal) {
    let id = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    rustix::process::kill_process(id, signal).unwrap();
}

#[test]
fn o2_a_bad_new_file_keeps_the_old_one_and_says_so() {
    let origin = Origin::echo();
    let mut gateway = Setup::open(&origin).with("[[route]]\nmatch = \"/closed\"\nroles = [\"admin\"]\n").start();
    gateway.client().get("/closed").send().expect(401);
    let good = gateway.config_text();
    for bad in [
        format!("{good}\n[[route]]\nmatch = \"/closed\"\naccess = \"public\"\n"),
        format!("{good}\nthis is no TOML"),
        format!("{good}\n[[limit]]\nname = \"x\"\nmatch = \"/**\"\nkey = \"address\"\nquota = \"many\"\n"),
        String::new(),
    ] {
        let before = gateway.output().len();
        std::fs::write(&gateway.config, &bad).unwrap();
        gateway.process().signal(Signal::HUP);
        eventually("it says so", Duration::from_secs(5), || (gateway.output().len() > before).then_some(()));
        sleep(Duration::from_millis(100));
        gateway.client().get("/").send().expect(200);
        // An empty file is a valid one to some; what must not happen is that a closed route opens.
        let reply = gateway.client().get("/closed").send();
        assert_eq!(reply.status, 401, "{}", gateway.output());
        assert!(gateway.process().has_ended().is_none());
    }
    std::fs::remove_file(&gateway.config).unwrap();
    gateway.process().signal(Signal::HUP);
    sleep(Duration::from_millis(300));
    gateway.client().get("/closed").send().expect(401);
    gateway.client().get("/").send().expect(200);
}

/// Fails unless it ended with an error that is one clear line naming what is wrong, and no panic.
fn ended_clearly(mut running: Running, named: &[&str]) {
    let status = running.ended(Duration::from_secs(10));
    let output = running.output();
    assert!(!status.success(), "{output}");
    assert!(status.code().is_some(), "killed by a signal: {status}");
    assert!(!output.contains("panicked") && !output.contains("RUST_BACKTRACE"), "{output}");
    let clear = output.lines().any(|line| named.iter().all(|part| line.contains(part)));
    assert!(clear, "no line names {named:?}:\n{output}");
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let origin = Origin::echo();
    let gateway = Setup::open(&origin).start();
    for taken in ["listen", "admin"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let config = gateway.directory().join("taken.toml");
        let replaced = if taken == "listen" { gateway.listen } else { gateway.admin };
        let other = if taken == "listen" { gateway.admin } else { gateway.listen };
        let text = gateway
            .config_text()
            .replace(&format!("listen = \"{replaced}\""), &format!("listen = \"{address}\""))
            .replace(
                &format!("listen = \"{other}\""),
                &format!("listen = \"{}\"", crate::support::process::free_address()),
            )
            .replace(&gateway.state.display().to_string(), &gateway.directory().join(taken).display().to_string());
        std::fs::write(&config, text).unwrap();
        let second = Running::start(portcullis().arg("serve").arg("--config").arg(&config));
        ended_clearly(second, &[&address.to_string()]);
    }
    gateway.client().get("/").send().expect(200);
}

#[test]
fn a_second_process_on_the_same_address_or_the_same_state_is_refused() {
    let origin = Origin::echo();
    let gateway = Setup::open(&origin).start();
    // The same file: both are taken.
    let second = Running::start(portcullis().arg("serve").arg("--config").arg(&gateway.config));
    ended_clearly(second, &[]);
    // Other ports, the same state.
    let config = gateway.directory().join("other.toml");
    let other = || crate::support::process::free_address().to_string();
    let text = gateway
        .config_text()
        .replace(&gateway.listen.to_string(), &other())
        .replace(&gateway.admin.to_string(), &other());
    std::fs::write(&config, text).unwrap();
    let second = Running::start(portcullis().arg("serve").arg("--config").arg(&config));
    ended_clearly(second, &[&gateway.state.display().to_string()]);
    gateway.client().get("/").send().expect(200);
}

#[test]
fn a_file_that_cannot_be_read_is_one_clear_line() {
    let missing = Running::start(portcullis().args(["serve", "--config", "/nonexistent/portcullis.toml"]));
    ended_clearly(missing, &["/nonexistent/portcullis.toml"]);
}

#[test]
fn a_database_without_its_master_key_refuses_to_start() {
    let origin = Origin::echo();
    let mut gateway = Setup::before(&origin).start();
    gateway.kill();
    let key = std::fs::read_dir(&gateway.state)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().contains("master"))
        .expect("the embedded default keeps a master key in the state directory");
    let bytes = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let without = Running::start(portcullis().arg("serve").arg("--config").arg(&gateway.config));
    ended_clearly(without, &["master key"]);
    // A new key must not have been made in its place, and another one does not fit.
    let flipped: Vec<u8> =
        bytes.iter().map(|byte| if byte.is_ascii_digit() { b'0' + (b'9' - byte) } else { *byte }).collect();
    if flipped != bytes {
        std::fs::write(&key, &flipped).unwrap();
        let wrong = Running::start(portcullis().arg("serve").arg("--config").arg(&gateway.config));
        ended_clearly(wrong, &["master key"]);
    }
    std::fs::write(&key, &bytes).unwrap();
    gateway.launch();
    gateway.client().get("/auth/me").send().expect(401);
}

#[test]
fn a_file_that_is_no_database_refuses_to_start_and_is_left_alone() {
    let origin = Origin::echo();
    let mut gateway = Setup::before(&origin).start();
    gateway.kill();
    let database = std::fs::read_dir(&gateway.state)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "db" || end == "sqlite"))
        .expect("there is a database");
    for beside in ["-wal", "-shm"] {
        let mut name = database.clone().into_os_string();
        name.push(beside);
        let _ = std::fs::remove_file(name);
    }
    let garbage = b"this is not a database, but somebody may need it".repeat(100);
    std::fs::write(&database, &garbage).unwrap();
    let process = Running::start(portcullis().arg("serve").arg("--config").arg(&gateway.config));
    ended_clearly(process, &["database"]);
    assert!(std::fs::read(&database).unwrap() == garbage, "the file was changed");
}

#[test]
fn with_no_file_at_all_the_gate_is_safe() {
    let origin = Origin::echo();
    let directory = tempfile::tempdir().unwrap();
    let listen = crate::support::process::free_address();
    let process = Running::start(
        portcullis()
            .current_dir(directory.path())
            .args(["serve", "--upstream", &format!("http://{}", origin.address)])
            .args(["--listen", &listen.to_string()]),
    );
    let client = crate::support::client::Client::new(listen);
    // The admin listener of the default is 127.0.0.1:9090, which something else on this machine may have.
    let reply = eventually("an answer", Duration::from_secs(15), || {
        let taken = process.output().contains("9090");
        client.get("/anything").try_send().ok().map(Some).or(taken.then_some(None))
    });
    let Some(reply) = reply else {
        assert!(std::env::var_os("CI").is_none(), "127.0.0.1:9090 is taken on this machine");
        eprintln!("SKIPPED: 127.0.0.1:9090 is taken on this machine");
        return;
    };
    reply.refused(401, "Authentication required");
    assert!(origin.requests().is_empty());
    let body = serde_json::json!({ "email": "new@example.com", "password": crate::support::PASSWORD });
    let reply = client.post("/auth/register").json(&body).send();
    assert!((400..500).contains(&reply.status), "registration is closed without mail: {}", reply.status);
    client.get("/.well-known/jwks.json").send().expect(200);
}
