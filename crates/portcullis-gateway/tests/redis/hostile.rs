//! A Redis that is not one, or that turns against the gate while it runs: what users notice is the limit's `outage`, and what
//! the operator is told says what to do.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::exact::patient_gate;
use crate::recovery::memory;
use crate::servers::{Server, wait_until};
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::process::Gateway;
use crate::{figure, gate, gate_at, limit, metric, up};

/// What answers in Redis's place.
struct Impostor {
    port: u16,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Impostor {
    /// Says these bytes to whatever it is asked, and then the second ones for as long as anybody reads them.
    fn start(first: Vec<u8>, then: Vec<u8>, pause: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (here, count) = (Arc::clone(&stop), Arc::clone(&sent));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if here.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let (first, then, stop, sent) = (first.clone(), then.clone(), Arc::clone(&here), Arc::clone(&count));
                std::thread::spawn(move || -> io::Result<()> {
                    let mut commands = stream.try_clone()?;
                    std::thread::spawn(move || while matches!(commands.read(&mut [0; 4096]), Ok(1..)) {});
                    stream.write_all(&first)?;
                    while !then.is_empty() && !stop.load(Ordering::Relaxed) {
                        stream.write_all(&then)?;
                        sent.fetch_add(then.len() as u64, Ordering::Relaxed);
                        std::thread::sleep(pause);
                    }
                    // It goes on to listen, and says no more.
                    while !stop.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    stream.shutdown(Shutdown::Both)
                });
            }
        });
        Self { port, stop, sent }
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn both() -> String {
    limit("local", "local", "quota = \"3 per 30d\"")
        + &limit("closed", "closed", "quota = \"3 per 30d\"\noutage = \"closed\"")
}

/// Each limit does what it was told to do without the store, and soon.
fn goes_on_without(gate: &Gateway, what: &str) {
    let client = gate.client();
    let begun = Instant::now();
    let local: Vec<u16> = (0..5).map(|_| client.get("/public/local").send().status).collect();
    assert_eq!(local, [200, 200, 200, 429, 429], "{what}");
    let refused = client.get("/public/closed").send().refused(503, "Service unavailable");
    assert_eq!(refused.header("retry-after"), Some("1"), "{what}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{what}: {:?}", begun.elapsed());
}

#[test]
fn l10_whatever_answers_in_the_place_of_redis_takes_neither_memory_nor_the_gate_nor_anybodys_time() {
    let origin = Origin::echo();
    let noise: Vec<u8> = (0..40_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let megabyte =
        |kind: &str| [format!("{kind}1000000\r\n").into_bytes(), vec![b'x'; 1_000_000], b"\r\n".to_vec()].concat();
    let none = Vec::new;
    let at_once = Duration::ZERO;
    for (what, first, then, pause) in [
        ("noise", noise.clone(), noise, at_once),
        ("a web server", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec(), none(), at_once),
        ("silence", none(), none(), at_once),
        ("a text that is longer than any", b"$2147483647\r\n".to_vec(), vec![b'x'; 65_536], at_once),
        ("a list without an end", b"*1000000\r\n".to_vec(), megabyte("$"), at_once),
        ("lists in lists", b"*1000000\r\n".to_vec(), b"*1\r\n:1\r\n".repeat(4096), at_once),
        ("a line without an end", b"+".to_vec(), vec![b'x'; 65_536], at_once),
        ("a number for everything", none(), b":1\r\n".repeat(1000), at_once),
        ("an answer that trickles", b"*6\r\n:1\r\n".to_vec(), b":".to_vec(), Duration::from_millis(30)),
        ("an error for everything", none(), b"-ERR no\r\n".repeat(100), Duration::from_millis(5)),
    ] {
        let impostor = Impostor::start(first, then, pause);
        let gate = gate_at(&origin, &format!("redis://127.0.0.1:{}", impostor.port), &both());
        metric(&gate, "portcullis_limit_store_up 0");
        let before = memory(&gate);
        goes_on_without(&gate, what);
        std::thread::sleep(Duration::from_millis(700));
        let grown = memory(&gate).saturating_sub(before);
        let sent = impostor.sent.load(Ordering::Relaxed);
        println!("{what}: {grown} KiB more, {} KiB sent", sent / 1024);
        assert!(grown < 48 * 1024, "{what}: {grown} KiB more, {} KiB sent", sent / 1024);
        assert!(!gate.output().contains("panicked"), "{what}");
    }
}

/// Waits until one request in a while has found out that the store is back.
fn comes_back(gate: &Gateway) {
    let returned = Instant::now();
    up(gate);
    assert!(returned.elapsed() < Duration::from_secs(2), "{:?}", returned.elapsed());
}

/// What the operator is told of the last loss.
fn told(gate: &Gateway, words: &[&str]) {
    wait_until("the loss is told", || gate.output().contains("is away; each limit does what its `outage` says"));
    // A connection that broke may be told first, and what is wrong once another one was tried.
    for word in words {
        wait_until(&format!("{word:?} is told"), || gate.output().contains(word));
    }
}

#[test]
fn l10_a_redis_that_turns_against_the_gate_is_left_alone_told_about_and_found_again() {
    let origin = Origin::echo();
    let other = Server::start(&[]);
    let port = other.port.to_string();
    type Commands<'a> = &'a [&'a [&'a str]];
    // What happens, how it ends, and what the operator is told.
    let noauth: [&[&str]; 2] =
        [&["config", "set", "requirepass", "later"], &["-a", "later", "client", "kill", "type", "normal"]];
    let cases: [(&str, Commands<'_>, Commands<'_>, &[&str]); 5] = [
        (
            "its user loses its rights",
            &[&["acl", "setuser", "default", "-@all", "+acl", "+config"]],
            &[&["acl", "setuser", "default", "+@all"]],
            &["does not let us in", "NOPERM", "~rl:*"],
        ),
        (
            "its memory is full",
            &[&["config", "set", "maxmemory", "1"]],
            &[&["config", "set", "maxmemory", "0"]],
            &["no memory left", "maxmemory"],
        ),
        (
            "it becomes a replica",
            &[&["replicaof", "127.0.0.1", &port]],
            &[&["replicaof", "no", "one"]],
            &["cannot serve at the moment"],
        ),
        (
            "it lacks its replicas",
            &[&["config", "set", "min-replicas-to-write", "1"]],
            &[&["config", "set", "min-replicas-to-write", "0"]],
            &["cannot serve at the moment", "NOREPLICAS"],
        ),
        // By NOAUTH, or by refusing a command of so many parts before it is read whole.
        ("it wants a password", &noauth, &[], &["does not let us in", "check the user, the password"]),
    ];
    for (what, happens, ends, words) in cases {
        let redis = Server::start(&[]);
        // What is told must be what befell it, and not that a busy machine made it late.
        let gate = patient_gate(&origin, &redis, &both());
        up(&gate);
        gate.client().get("/public/closed").send().expect(200);
        for words in happens {
            redis.cli(words);
        }
        // Some faults are found by whoever asks only.
        wait_until(&format!("{what}, and it is left alone"), || {
            gate.client().get("/public/closed").send();
            figure(&gate, "portcullis_limit_store_up") == 0
        });
        goes_on_without(&gate, what);
        told(&gate, words);
        if ends.is_empty() {
            redis.cli(&["-a", "later", "config", "set", "requirepass", ""]);
        }
        for words in ends {
            redis.cli(words);
        }
        let client = gate.client();
        wait_until("it counts again", || client.get("/public/closed").send().status == 200);
        comes_back(&gate);
    }
}

#[test]
fn l10_a_redis_that_is_busy_or_forgets_its_scripts_admits_no_more() {
    let (origin, redis) = (Origin::echo(), Server::start(&["--lua-time-limit", "20"]));
    let gate = patient_gate(&origin, &redis, &both());
    up(&gate);
    let client = gate.client();
    let ask = |client: &Client| client.get("/public/closed").send().status;
    for expected in [200, 200, 200, 429] {
        redis.cli(&["script", "flush"]);
        assert_eq!(ask(&client), expected);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| redis.cli(&["eval", "while true do end", "0"]));
        wait_until("it is left alone", || {
            ask(&gate.client());
            figure(&gate, "portcullis_limit_store_up") == 0
        });
        goes_on_without(&gate, "it runs a long script");
        redis.cli(&["script", "kill"]);
    });
    let client = gate.client();
    wait_until("it counts again", || ask(&client) == 200);
}

#[test]
fn l10_what_another_program_writes_under_one_key_harms_nobody_else_and_is_left_alone() {
    let (origin, redis) = (Origin::echo(), Server::start(&[]));
    let gate = patient_gate(&origin, &redis, &both());
    up(&gate);
    for (number, write) in
        [&["set", "KEY", "hello"][..], &["rpush", "KEY", "x"], &["sadd", "KEY", "x"], &["hset", "KEY", "t", "1"]]
            .into_iter()
            .enumerate()
    {
        let client = gate.client();
        for path in ["local", "closed"] {
            let key = format!("rl:{path}:{}", client.address);
            redis.cli(&write.iter().map(|word| if *word == "KEY" { &key } else { *word }).collect::<Vec<_>>());
        }
        let statuses =
            |path: &str| -> Vec<u16> { (0..4).map(|_| client.get(&format!("/public/{path}")).send().status).collect() };
        assert_eq!(statuses("local"), [200, 200, 200, 429], "{write:?}");
        assert_eq!(statuses("closed"), [503; 4], "{write:?}");
        assert_eq!(redis.cli(&["ttl", &format!("rl:closed:{}", client.address)]), "-1", "{write:?}: it is not ours");
        // Others count in the store all the while.
        assert_eq!(figure(&gate, "portcullis_limit_store_up"), 1);
        let other = gate.client();
        assert_eq!([(); 4].map(|()| other.get("/public/closed").send().status), [200, 200, 200, 429]);
        assert!(figure(&gate, "portcullis_limit_store_failures_total") >= 8 * (number as u64 + 1));
        // Who makes a key good says so, or deletes it by the gate's own command.
        let address = client.address.to_string();
        assert!(gate.command(&["limits", "reset", "closed", "--address", &address]).status.success());
        assert_eq!(client.get("/public/closed").send().status, 200, "{write:?}");
    }
}

#[test]
fn l10_a_redis_that_would_forget_counts_when_it_is_full_is_warned_of_once() {
    let origin = Origin::echo();
    let warnings = |settings: &[&str]| {
        let redis = Server::start(settings);
        let gateway = gate(&origin, &redis, &limit("a", "a", "quota = \"5 per day\""));
        up(&gateway);
        // Longer than it would wait before it asked again.
        std::thread::sleep(Duration::from_millis(1_200));
        gateway.output().matches("has the maxmemory-policy allkeys-lru").count()
    };
    assert_eq!(warnings(&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]), 1);
    assert_eq!(warnings(&["--maxmemory-policy", "allkeys-lru"]), 0, "it is never full");
}
