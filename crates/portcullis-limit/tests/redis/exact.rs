//! Exactly as many as the quota says, through several processes at once, while one of them is killed, and while the server is.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portcullis_limit::{Algorithm, Quota, Rate, SharedStore as _};

use crate::contract::ask;
use crate::house::key;
use crate::servers::{Server, wait_until};
use crate::{options, store};

/// Names the server to a process that was started as a client.
const CLIENT: &str = "PORTCULLIS_TEST_REDIS_CLIENT";

/// A rate whose windows do not end while a test runs.
fn long(algorithm: Algorithm) -> Rate {
    let quota = match algorithm {
        Algorithm::Calendar => Quota::per(100, portcullis_limit::Period::Year),
        _ => Quota::new(100, Duration::from_secs(86_400 * 366)),
    };
    let burst = (algorithm == Algorithm::LeakyBucket).then_some(100);
    Rate::new(quota.expect("a quota"), algorithm, burst).expect("a rate")
}

/// Asks 250 times at once, under every algorithm, and prints each admission as it comes. It is a test only because a test
/// binary can start nothing else of itself; without a server it has nothing to do.
#[test]
fn client() {
    let Ok(url) = std::env::var(CLIENT) else { return };
    let (store, runtime) = store(&options(&url));
    let rates = Algorithm::ALL.map(long);
    let keys = Algorithm::ALL.map(|algorithm| key(algorithm.as_str()));
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).expect("the word to begin");
    let asks: Vec<_> = (0..250).flat_map(|_| rates.iter().zip(&keys).map(|(rate, key)| [ask(rate, key, 1)])).collect();
    runtime.block_on(async {
        let mut calls: Vec<_> = asks.iter().map(|ask| (ask[0].rate.algorithm(), store.charge(ask))).collect();
        std::future::poll_fn(|cx| {
            calls.retain_mut(|(algorithm, call)| match call.as_mut().poll(cx) {
                std::task::Poll::Ready(answer) => {
                    if let Ok(Ok(_)) = answer {
                        println!("admitted {algorithm}");
                        let _ = std::io::stdout().flush();
                    }
                    false
                }
                std::task::Poll::Pending => true,
            });
            if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    });
    println!("done");
}

/// Processes that ask one server, begun at once.
fn clients(url: &str, count: usize) -> Vec<(Child, std::thread::JoinHandle<Vec<String>>)> {
    let mut children: Vec<(Child, BufReader<_>)> = (0..count)
        .map(|_| {
            let mut child = Command::new(std::env::current_exe().expect("this binary"))
                .args(["--exact", "exact::client", "--nocapture", "--test-threads=1"])
                .env(CLIENT, url)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("this binary runs");
            let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
            let mut line = String::new();
            while line.trim() != "ready" && !line.ends_with("ready\n") {
                line.clear();
                assert!(output.read_line(&mut line).expect("text") > 0, "the client ended");
            }
            (child, output)
        })
        .collect();
    for (child, _) in &mut children {
        child.stdin.take().expect("it is piped").write_all(b"go\n").expect("it reads");
    }
    let read = |(child, output): (Child, BufReader<std::process::ChildStdout>)| {
        let reader = std::thread::spawn(move || output.lines().map_while(Result::ok).collect());
        (child, reader)
    };
    children.into_iter().map(read).collect()
}

fn admitted(lines: &[String], algorithm: Algorithm) -> usize {
    let line = format!("admitted {algorithm}");
    lines.iter().filter(|text| **text == line).count()
}

#[test]
fn l14_a_thousand_at_once_through_four_processes_are_exactly_a_hundred() {
    let server = Server::start(&[]);
    let clients = clients(&server.url(), 4);
    let mut lines = Vec::new();
    for (mut child, reader) in clients {
        lines.extend(reader.join().expect("it reads"));
        assert!(child.wait().expect("it is ours").success());
    }
    for algorithm in Algorithm::ALL {
        assert_eq!(admitted(&lines, algorithm), 100, "{algorithm}");
    }
    every_key_runs_out(&server);
}

#[test]
fn l14_a_thousand_at_once_from_the_runtimes_of_four_cores_are_exactly_a_hundred() {
    let server = Server::start(&[]);
    let (store, _runtime) = store(&options(&server.url()).connections(2));
    let rates = Algorithm::ALL.map(long);
    let admitted: Vec<[u64; 6]> = std::thread::scope(|scope| {
        let core = || {
            // Each core has a runtime of its own, as in the gateway; the connections are on another.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            rates.each_ref().map(|rate| {
                let (key, mut admitted) = (key(rate.algorithm().as_str()), 0);
                for _ in 0..25 {
                    let asks: Vec<_> = (0..10).map(|_| [ask(rate, &key, 1)]).collect();
                    let mut calls: Vec<_> = asks.iter().map(|ask| store.charge(ask)).collect();
                    for call in &mut calls {
                        admitted += u64::from(runtime.block_on(call).expect("the server answers").is_ok());
                    }
                }
                admitted
            })
        };
        let cores: Vec<_> = (0..4).map(|_| scope.spawn(core)).collect();
        cores.into_iter().map(|core| core.join().expect("it ends")).collect()
    });
    for (at, algorithm) in Algorithm::ALL.into_iter().enumerate() {
        assert_eq!(admitted.iter().map(|core| core[at]).sum::<u64>(), 100, "{algorithm}: {admitted:?}");
    }
}

#[test]
fn l14_a_process_that_is_killed_in_the_middle_admits_no_more_and_leaves_nothing_eternal() {
    let server = Server::start(&[]);
    let mut clients = clients(&server.url(), 4);
    wait_until("some are admitted", || server.cli(&["dbsize"]).trim() != "0");
    clients[0].0.kill().expect("it is ours");
    every_key_runs_out(&server);
    let mut lines = Vec::new();
    for (mut child, reader) in clients {
        lines.extend(reader.join().expect("it reads"));
        child.wait().expect("it is ours");
    }
    for algorithm in Algorithm::ALL {
        // What the dead one was charged and could not tell is missing, and nothing more.
        let admitted = admitted(&lines, algorithm);
        assert!(admitted <= 100, "{algorithm}: {admitted}");
        let (store, runtime) = store(&options(&server.url()));
        let rate = long(algorithm);
        let left =
            runtime.block_on(store.peek(&ask(&rate, &key(algorithm.as_str()), 0))).expect("it answers").remaining;
        assert_eq!(left, 0, "{algorithm}: the living asked 750 times");
    }
    every_key_runs_out(&server);
}

#[test]
fn l14_a_server_that_is_killed_and_comes_back_with_what_it_acknowledged_admits_no_more() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let first = clients(&server.url(), 2);
    wait_until("some are admitted", || !matches!(server.cli(&["dbsize"]).trim(), "0" | ""));
    server.kill();
    let mut lines = Vec::new();
    for (mut child, reader) in first {
        lines.extend(reader.join().expect("it reads"));
        child.wait().expect("it is ours");
    }
    server.run();
    wait_until("it has loaded", || server.cli(&["ping"]) == "PONG");
    every_key_runs_out(&server);
    for (mut child, reader) in clients(&server.url(), 2) {
        lines.extend(reader.join().expect("it reads"));
        child.wait().expect("it is ours");
    }
    for algorithm in Algorithm::ALL {
        let admitted = admitted(&lines, algorithm);
        assert!((1..=100).contains(&admitted), "{algorithm}: {admitted}");
    }
}

/// Whatever befalls the server and those who ask it, in whatever order: no more than the quota, and nothing eternal.
#[test]
fn l14_random_faults_never_admit_more_than_the_quota() {
    for seed in 1..4_u64 {
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = |bound: u64| {
            // Marsaglia's xorshift.
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % bound
        };
        let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
        let options = options(&server.url()).timeout(Duration::from_millis(60));
        let mut clients: Vec<_> = (0..3).map(|_| store(&options)).collect();
        let rates = Algorithm::ALL.map(long);
        let keys = Algorithm::ALL.map(|algorithm| key(algorithm.as_str()));
        let mut admitted = [0_u64; 6];
        let mut faults = 0;
        for _ in 0..220 {
            match below(40) {
                0 => {
                    server.kill();
                    server.run();
                }
                1 => {
                    server.signal("-STOP");
                    let (store, runtime) = &clients[below(3) as usize];
                    let stack: Vec<_> = rates.iter().zip(&keys).map(|(rate, key)| ask(rate, key, 1)).collect();
                    if let Ok(answer) = runtime.block_on(store.charge(&stack)) {
                        assert!(answer.is_err(), "it hangs, and can only be known to refuse");
                    }
                    server.signal("-CONT");
                }
                2 => drop(server.cli(&["client", "kill", "type", "normal"])),
                3 => drop(server.cli(&["script", "flush"])),
                4 => clients[below(3) as usize] = store(&options),
                _ => {
                    let (store, runtime) = &clients[below(3) as usize];
                    let (from, many) = (below(6) as usize, 1 + below(3) as usize);
                    let stack: Vec<_> =
                        (from..6).map(|at| ask(&rates[at], &keys[at], 1 + below(3))).take(many).collect();
                    match runtime.block_on(store.charge(&stack)) {
                        Ok(Ok(charge)) if below(6) == 0 => {
                            charge.into_receipts().into_iter().for_each(|receipt| store.give_back(receipt));
                        }
                        Ok(Ok(_)) => stack.iter().enumerate().for_each(|(at, ask)| admitted[from + at] += ask.cost),
                        Ok(Err(_)) => {}
                        Err(_) => faults += 1,
                    }
                }
            }
        }
        assert!(faults > 0, "seed {seed}: nothing befell anyone");
        wait_until("it has loaded", || server.cli(&["ping"]) == "PONG");
        every_key_runs_out(&server);
        let (store, runtime) = store(&options);
        for (at, algorithm) in Algorithm::ALL.into_iter().enumerate() {
            let asked = ask(&rates[at], &keys[at], 0);
            wait_until("it answers", || runtime.block_on(store.peek(&asked)).is_ok());
            let left = runtime.block_on(store.peek(&asked)).map(|standing| standing.remaining).unwrap_or_default();
            // What was charged and never told may be missing; what was told is not there again.
            assert!(admitted[at] + left <= 100, "seed {seed}, {algorithm}: {} and {left} left", admitted[at]);
        }
    }
}

/// No key without a time to live, and none that outlives what its cell can mean.
fn every_key_runs_out(server: &Server) {
    let script = "local without = {} for _, key in ipairs(redis.call('keys', '*')) do \
                  if redis.call('pttl', key) < 1 then without[#without + 1] = key end end return without";
    assert_eq!(server.cli(&["eval", script, "0"]), "");
}

#[test]
fn l3_no_key_outlives_its_window() {
    let server = Server::start(&[]);
    let (store, runtime) = store(&options(&server.url()));
    let window = Duration::from_secs(60);
    let mut longest = Vec::new();
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::Calendar) {
        let (rate, key) = (crate::contract::rate(algorithm, 5, window), key(algorithm.as_str()));
        for _ in 0..8 {
            let _ = runtime.block_on(store.charge(&[ask(&rate, &key, 1)])).expect("it answers");
        }
        // The counter weighs a window as long as the next one lasts.
        longest
            .push((key.name("tested"), if algorithm == Algorithm::SlidingWindowCounter { window * 2 } else { window }));
    }
    for (name, longest) in longest {
        let left: u128 = server.cli(&["pttl", &name]).parse().expect("a number");
        assert!(left <= longest.as_millis(), "{name}: {left} ms");
    }
    assert_eq!(server.cli(&["keys", "*"]).lines().filter(|key| !key.starts_with("rl:")).count(), 0);
    every_key_runs_out(&server);
}
