//! Exactly as many as the quota says, through several processes at once, and while anything befalls the servers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portcullis_limit::{Algorithm, Ask, MemcachedStore, Period, Quota, Rate, SharedStore as _};
use tokio::runtime::Runtime;

use crate::contract::ask;
use crate::house::key;
use crate::servers::{Server, wait_until};
use crate::{CARRIED, at_once, memcached, options, store, url};

/// Names the server to a process that was started as a client.
const CLIENT: &str = "PORTCULLIS_TEST_MEMCACHED_CLIENT";

/// A rate whose windows do not end while a test runs.
fn long(algorithm: Algorithm, count: u64) -> Rate {
    let quota = match algorithm {
        Algorithm::Calendar => Quota::per(count, Period::Year),
        _ => Quota::new(count, Duration::from_secs(86_400 * 366)),
    };
    Rate::new(quota.expect("a quota"), algorithm, None).expect("a rate")
}

/// Asks 250 times at once, by each algorithm, and tells how many were admitted. It is a test only because a test binary can
/// start nothing else of itself; without a server it has nothing to do.
#[test]
fn client() {
    let Ok(url) = std::env::var(CLIENT) else { return };
    let (store, runtime) = store(&options(&url));
    let rates = CARRIED.map(|algorithm| long(algorithm, 100));
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).expect("the word to begin");
    let asks: Vec<Vec<Ask<'_>>> =
        (0..250).flat_map(|_| rates.iter().map(|rate| vec![ask(rate, &key(rate.algorithm().as_str()), 1)])).collect();
    let answers = at_once(&store, &runtime, &asks);
    for (at, algorithm) in CARRIED.into_iter().enumerate() {
        let mine = answers.iter().skip(at).step_by(CARRIED.len());
        println!("admitted {algorithm} {}", mine.filter(|answer| matches!(answer, Ok(Ok(_)))).count());
    }
}

#[test]
fn l14_a_thousand_at_once_through_four_processes_on_memcached_are_exactly_a_hundred() {
    let server = memcached(&[]);
    let mut clients: Vec<(Child, BufReader<_>)> = (0..4)
        .map(|_| {
            let mut child = Command::new(std::env::current_exe().expect("this binary"))
                .args(["--exact", "exact::client", "--nocapture", "--test-threads=1"])
                .env(CLIENT, url(&server))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("this binary runs");
            let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
            let mut line = String::new();
            while !line.ends_with("ready\n") {
                line.clear();
                assert!(output.read_line(&mut line).expect("text") > 0, "the client ended");
            }
            (child, output)
        })
        .collect();
    for (child, _) in &mut clients {
        child.stdin.take().expect("it is piped").write_all(b"go\n").expect("it reads");
    }
    let mut said = String::new();
    for (mut child, mut output) in clients {
        output.read_to_string(&mut said).expect("text");
        assert!(child.wait().expect("it is ours").success());
    }
    for algorithm in CARRIED {
        let told = said.lines().filter_map(|line| line.split_once(&format!("admitted {algorithm} "))?.1.parse().ok());
        let told: Vec<u64> = told.collect();
        assert_eq!((told.len(), told.iter().sum::<u64>()), (4, 100), "{algorithm}: {told:?}");
    }
}

#[test]
fn l6_a_stack_over_several_memcached_is_charged_whole_or_not_at_all() {
    let servers = [memcached(&[]), memcached(&[]), memcached(&[])];
    let [a, b, c] = servers.each_ref().map(url).map(|url| url.trim_start_matches("memcached://").to_owned());
    let (store, runtime) = store(&options(&format!("memcached://{a},{b},{c}")));
    runtime.block_on(store.ping()).expect("the servers are there");
    let (wide, narrow) = (long(Algorithm::FixedWindow, 500), long(Algorithm::Calendar, 60));
    // A few keys each, so that they lie on all servers.
    let keys: Vec<_> = (0..6).map(|n| key(&n.to_string())).collect();
    let stack: Vec<Ask<'_>> =
        keys.iter().enumerate().map(|(n, key)| ask(if n == 3 { &narrow } else { &wide }, key, 1)).collect();
    let answers = at_once(&store, &runtime, &vec![stack.clone(); 200]);
    let admitted = answers.into_iter().filter(|answer| answer.as_ref().expect("the servers answer").is_ok()).count();
    assert_eq!(admitted, 60, "nobody else asked for the narrow one");
    for (n, ask) in stack.iter().enumerate() {
        let asked = Ask { cost: 0, ..ask.clone() };
        let left = || runtime.block_on(store.peek(&asked)).map(|standing| standing.remaining);
        let expected = if n == 3 { 0 } else { 440 };
        wait_until("what was reserved in vain is back", || left() == Ok(expected));
    }
}

#[test]
fn l14_costs_of_all_sizes_at_once_never_exceed_the_quota() {
    let server = memcached(&[]);
    let nodes: Vec<(MemcachedStore, Runtime)> = (0..3).map(|_| store(&options(&url(&server)))).collect();
    for algorithm in CARRIED {
        let (rate, key) = (long(algorithm, 1000), key(algorithm.as_str()));
        let admitted: u64 = std::thread::scope(|scope| {
            let node = |(number, (store, runtime)): (usize, &(MemcachedStore, Runtime))| {
                let asks: Vec<Vec<Ask<'_>>> =
                    (0..200_u64).map(|n| vec![ask(&rate, &key, 1 + (n * 7 + number as u64) % 13)]).collect();
                let answers = at_once(store, runtime, &asks);
                let admitted = asks.iter().zip(answers).filter(|(_, answer)| matches!(answer, Ok(Ok(_))));
                admitted.map(|(ask, _)| ask[0].cost).sum::<u64>()
            };
            let all: Vec<_> = nodes.iter().enumerate().map(|one| scope.spawn(move || node(one))).collect();
            all.into_iter().map(|one| one.join().expect("it ends")).sum()
        });
        assert!((900..=1000).contains(&admitted), "{algorithm}: {admitted}");
        // What is left can be spent to the last: nothing stays reserved.
        let (store, runtime) = &nodes[0];
        let left = || runtime.block_on(store.peek(&ask(&rate, &key, 0))).expect("it answers").remaining;
        wait_until("what was reserved in vain is back", || left() == 1000 - admitted);
        std::thread::sleep(Duration::from_millis(260));
        while left() > 0 {
            runtime.block_on(store.charge(&[ask(&rate, &key, 1)])).expect("it answers").expect("there is room");
        }
        let said = runtime.block_on(store.charge(&[ask(&rate, &key, 1)])).expect("it answers");
        assert!(said.is_err(), "{algorithm}");
    }
}

/// Whatever befalls the server and those who ask it, in whatever order: no more than the quota since it was last started, as it
/// remembers nothing from before.
#[test]
fn l14_random_faults_never_admit_more_than_the_quota_of_each_run_of_memcached() {
    for seed in 1..4_u64 {
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = |bound: u64| {
            // Marsaglia's xorshift.
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % bound
        };
        let mut server = memcached(&[]);
        let options = options(&url(&server)).timeout(Duration::from_millis(60));
        let mut clients: Vec<_> = (0..3).map(|_| store(&options)).collect();
        let rates = CARRIED.map(|algorithm| long(algorithm, 100));
        let keys = CARRIED.map(|algorithm| key(algorithm.as_str()));
        let (mut admitted, mut faults) = ([0_u64; 2], 0);
        for _ in 0..300 {
            match below(50) {
                0 => {
                    spent(&server, &rates, &keys, admitted, seed);
                    server.kill();
                    server.run();
                    admitted = [0; 2];
                }
                1 => {
                    server.signal("-STOP");
                    let (store, runtime) = &clients[below(3) as usize];
                    let stack: Vec<_> = rates.iter().zip(&keys).map(|(rate, key)| ask(rate, key, 1)).collect();
                    // A thread of it may still answer, before the signal has reached them all.
                    if let Ok(Ok(_)) = runtime.block_on(store.charge(&stack)) {
                        admitted = admitted.map(|units| units + 1);
                    }
                    server.signal("-CONT");
                }
                2 => clients[below(3) as usize] = store(&options),
                _ => {
                    let (store, runtime) = &clients[below(3) as usize];
                    let from = below(2) as usize;
                    let stack: Vec<_> = (from..2).map(|at| ask(&rates[at], &keys[at], 1 + below(3))).collect();
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
        spent(&server, &rates, &keys, admitted, seed);
    }
}

/// What was charged and never told may be missing; what was told is not there again.
fn spent(server: &Server, rates: &[Rate; 2], keys: &[portcullis_limit::Key; 2], admitted: [u64; 2], seed: u64) {
    let (store, runtime) = store(&options(&url(server)));
    for at in 0..2 {
        let standing = runtime.block_on(store.peek(&ask(&rates[at], &keys[at], 0))).expect("it answers");
        let left = standing.remaining;
        assert!(admitted[at] + left <= 100, "seed {seed}: {} and {left} left", admitted[at]);
    }
}
