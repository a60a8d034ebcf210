//! Several gates that count together in a real memcached, and what each limit does while it is away (L2, L10).

#[path = "../../portcullis-limit/tests/redis/servers.rs"]
#[expect(dead_code, reason = "one harness for the tests of the store and for these")]
mod servers;
#[path = "support/mod.rs"]
#[expect(dead_code, reason = "one harness for all tests of the binary")]
mod support;

use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::json;
use servers::Server;
use support::PROJECT_ROUTES;
use support::client::Client;
use support::origin::Origin;
use support::process::{Gateway, Setup, portcullis};

fn memcached() -> Server {
    let port = servers::free_port();
    let listen = ["-l", "127.0.0.1", "-U", "0", "-u", "nobody", "-M", "-p", &port.to_string()].map(str::to_owned);
    Server::on(port, "memcached", listen.into())
}

fn url(server: &Server) -> String {
    format!("memcached://127.0.0.1:{}", server.port)
}

/// A gate whose limits are in this memcached, and which waits for it on a machine that is busy with other tests.
fn gate(origin: &Origin, memcached: &Server, limits: &str) -> Gateway {
    let gateway = gate_of(origin, memcached, &format!("patience = \"1s\"\n\n{limits}"));
    metric(&gateway, "portcullis_limit_store_up 1");
    gateway
}

fn gate_of(origin: &Origin, memcached: &Server, rest: &str) -> Gateway {
    let store = format!("[limits]\nstore = \"{}\"\n{rest}", url(memcached));
    Setup::before(origin).with(PROJECT_ROUTES).with(&store).start()
}

fn limit(name: &str, rest: &str) -> String {
    format!("[[limit]]\nname = \"{name}\"\nmatch = \"GET /public/{name}\"\nalgorithm = \"fixed-window\"\n{rest}\n\n")
}

/// Waits until a gate's metric has this value.
fn metric(gateway: &Gateway, line: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !gateway.operator().metrics().lines().any(|told| told == line) {
        assert!(Instant::now() < deadline, "never {line}:\n{}", gateway.operator().metrics());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits where a window of so many seconds is about to end: what a test counts has to be in one.
fn early_in(window: u64) {
    let left = || window - UNIX_EPOCH.elapsed().expect("it is later").as_secs() % window;
    while left() < 45 || window - left() < 3 {
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn l14_two_gates_on_one_memcached_admit_exactly_a_hundred_of_four_hundred_at_once() {
    let (origin, memcached) = (Origin::echo(), memcached());
    let limits = limit("hour", "quota = \"100 per hour\"")
        + &limit("day", "quota = \"100 per day\"").replace("fixed-window", "calendar");
    let gates = [gate(&origin, &memcached, &limits), gate(&origin, &memcached, &limits)];
    let address = gates[0].client().address;
    early_in(3600);
    for name in ["hour", "day"] {
        let admitted: usize = std::thread::scope(|scope| {
            let crowd: Vec<_> = (0..20)
                .map(|number| {
                    let listen = gates[number % 2].listen;
                    scope.spawn(move || {
                        let client = Client::at(listen, address);
                        let path = format!("/public/{name}");
                        (0..20).filter(|_| client.get(&path).send().status == 200).count()
                    })
                })
                .collect();
            crowd.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(admitted, 100, "{name}");
    }
    let refused = gates.iter().map(|gate| Client::at(gate.listen, address).get("/public/hour").send().expect(429));
    let resets: Vec<_> = refused.map(|reply| reply.header("x-ratelimit-reset").map(str::to_owned)).collect();
    assert!(resets[0].is_some() && resets[0] == resets[1], "{resets:?}");
}

#[test]
fn l2_a_gate_that_never_counted_a_key_resets_it_for_all_gates() {
    let (origin, memcached) = (Origin::echo(), memcached());
    let limits = limit("a", "quota = \"2 per day\"");
    let gates = [gate(&origin, &memcached, &limits), gate(&origin, &memcached, &limits)];
    let client = gates[0].client();
    early_in(86_400);
    let ask = || client.get("/public/a").send().status;
    assert_eq!([ask(), ask(), ask()], [200, 200, 429]);
    let address = client.address.to_string();
    let shown = gates[1].command(&["limits", "show", "a", "--address", &address]);
    assert!(String::from_utf8_lossy(&shown.stdout).starts_with("a: 0 of 2 left"), "{shown:?}");
    let other = gate(&origin, &memcached, &limits);
    assert!(other.command(&["limits", "reset", "a", "--address", &address]).status.success());
    let deadline = Instant::now() + Duration::from_secs(2);
    while ask() != 200 {
        assert!(Instant::now() < deadline, "the gate still refuses from memory");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Nothing is leased from it, so that nothing is ever closed.
    let reopened = other.command(&["limits", "reopen"]);
    let told = String::from_utf8_lossy(&reopened.stderr);
    assert!(reopened.status.code() == Some(1) && told.contains("nothing is leased from the store"), "{told}");
}

#[test]
fn l10_while_memcached_is_away_each_limit_does_what_it_was_told_and_is_back_within_two_seconds() {
    let (origin, mut memcached) = (Origin::echo(), memcached());
    let limits = limit("local", "quota = \"3 per day\"")
        + &limit("open", "quota = \"3 per day\"\noutage = \"open\"")
        + &limit("closed", "quota = \"30 per day\"\noutage = \"closed\"")
        + "[[limit]]\npreset = \"login\"\nalgorithm = \"fixed-window\"\nquota = \"5 per day\"\noutage = \"open\"\n";
    let limits = limits + &limit("warm", "quota = \"10000 per day\"");
    let gateway = gate_of(&origin, &memcached, &limits);
    let client = gateway.client();
    // On a busy machine its first question may have come too late; then a request has to ask again.
    let deadline = Instant::now() + Duration::from_secs(5);
    while !gateway.operator().metrics().contains("portcullis_limit_store_up 1\n") {
        assert!(Instant::now() < deadline, "it is not asked");
        client.get("/public/warm").send().expect(200);
        std::thread::sleep(Duration::from_millis(20));
    }
    early_in(86_400);
    let passed = |path: &str, times: usize| (0..times).filter(|_| client.get(path).send().status == 200).count();
    let wrong = |number: usize| {
        let body = json!({ "email": format!("nobody{number}@example.com"), "password": "Wrong-password-1" });
        client.post("/auth/login").json(&body).send().status
    };
    assert_eq!((passed("/public/local", 2), passed("/public/closed", 2), wrong(0)), (2, 2, 401));

    memcached.signal("-STOP");
    let took: Vec<Duration> = (0..100)
        .map(|_| {
            let begun = Instant::now();
            client.get("/public/open").send().expect(200);
            begun.elapsed()
        })
        .collect();
    // One waits for as long as patience lasts; a busy machine may add to a few of the others.
    let late = took.iter().filter(|took| **took > Duration::from_millis(50)).count();
    assert!(late <= 8, "{late} of 100 waited: {:?}", took.iter().max());
    memcached.kill();
    metric(&gateway, "portcullis_limit_store_up 0");
    let begun = Instant::now();
    assert_eq!(passed("/public/local", 5), 1, "what was counted before counts on");
    assert_eq!(passed("/public/open", 10), 10);
    client.get("/public/closed").send().refused(503, "Service unavailable");
    assert!(begun.elapsed() < Duration::from_secs(2), "nobody waits for a store that is gone: {:?}", begun.elapsed());
    assert_eq!(
        (1..9).filter(|number| wrong(*number) == 401).count(),
        4,
        "a login is never open, whatever the file says"
    );

    memcached.run();
    let returned = Instant::now();
    while client.get("/public/closed").send().status != 200 {
        assert!(returned.elapsed() < Duration::from_secs(2), "it is not asked again");
        std::thread::sleep(Duration::from_millis(20));
    }
    let records = gateway.output();
    for word in [
        "is away; each limit does what its `outage` says",
        "the store of the limits is back",
        "wrong passwords for an account are counted by each instance for itself",
    ] {
        assert!(records.contains(word), "{word}: {records}");
    }
}

#[test]
fn l2_the_file_in_the_documentation_is_right_and_serves() {
    let (origin, memcached) = (Origin::echo(), memcached());
    let (_, text) = include_str!("../../../docs/memcached.md").split_once("```toml\n").expect("a file");
    let (text, _) = text.split_once("```").expect("its end");
    let text = text.replace("memcached://127.0.0.1:11211", &url(&memcached));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("portcullis.toml");
    std::fs::write(&file, &text).expect("a file");
    let checked = portcullis().arg("check").arg(&file).output().expect("it runs");
    let told = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && !told.contains("warning"), "{told}");
    // Without its limits, the presets cannot be counted.
    let bare = text.split("[[limit]]").next().expect("what is before them");
    std::fs::write(&file, bare).expect("a file");
    let checked = portcullis().arg("check").arg(&file).output().expect("it runs");
    assert!(!checked.status.success(), "{checked:?}");

    let (_, tables) = text.split_once("[limits]").expect("its tables");
    let tables = format!("[limits]\npatience = \"1s\"{tables}");
    let gates = [0; 2].map(|_| Setup::before(&origin).with(PROJECT_ROUTES).with(&tables).start());
    gates.iter().for_each(|gate| metric(gate, "portcullis_limit_store_up 1"));
    early_in(900);
    let address = gates[0].client().address;
    let wrong = |number: usize| {
        let body = json!({ "email": format!("nobody{number}@example.com"), "password": "Wrong-password-1" });
        Client::at(gates[number % 2].listen, address).post("/auth/login").json(&body).send().status
    };
    let told: Vec<u16> = (0..8).map(wrong).collect();
    assert_eq!(told, [401, 401, 401, 401, 401, 429, 429, 429], "five tries, through whichever gate");
}

#[test]
fn l2_a_reload_cannot_bring_a_limit_that_memcached_does_not_carry() {
    let (origin, memcached) = (Origin::echo(), memcached());
    let gateway = gate(&origin, &memcached, &limit("a", "quota = \"2 per day\""));
    // The store stays that of the start, so that a file for another one may say what this one does not carry.
    let text = gateway.config_text().replace(&url(&memcached), "redis://127.0.0.1:1");
    let file = gateway.directory().join("portcullis.toml");
    std::fs::write(&file, text.replace("fixed-window", "token-bucket")).expect("a file");
    assert!(
        std::process::Command::new("kill").args(["-HUP", &gateway.id().to_string()]).status().expect("kill").success()
    );
    let deadline = Instant::now() + Duration::from_secs(5);
    while !gateway.output().contains("the limit \"a\" cannot be counted in the store that this process began with") {
        assert!(Instant::now() < deadline, "{}", gateway.output());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(gateway.output().contains("the new configuration is refused"));
}
