//! A server that is away, slow, full, read-only or not ours: an error in bounded time, nothing admitted twice, and back at
//! work without being told.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use portcullis_limit::{Algorithm, Key, RedisOptions, RedisStore, SharedStore as _};

use crate::contract::{ask, rate};
use crate::house::{House, SLACK, WAIT, key};
use crate::servers::{self, Server, wait_until};
use crate::store;

const DAY: Duration = Duration::from_secs(86_400 * 30);

fn house(server: Server) -> House<RedisStore> {
    let options = RedisOptions::parse(&server.url()).expect("a URL").timeout(WAIT);
    House::over(server, store(&options), rate(Algorithm::SlidingWindowLog, 10, DAY))
}

#[test]
fn l10_a_server_that_is_killed_is_an_error_at_once_and_found_again_within_two_seconds() {
    house(Server::start(&[])).is_killed_and_found_again();
}

#[test]
fn l10_a_server_that_hangs_costs_each_request_its_wait_and_nothing_else() {
    let house = house(Server::start(&[]));
    assert_eq!(house.charge(&key("u")), Ok(true));
    house.server.signal("-STOP");
    let error = house.error(&key("u"));
    assert_eq!(error.kind(), "timeout", "{error}");
    // Far more than may wait: all are answered, and most at once.
    let (store, rate, began) = (&house.store, &house.rate, Instant::now());
    let kinds = house.runtime.block_on(async {
        let waiting: Vec<_> = (0..20_000).map(|n: u32| (key(&n.to_string()), n)).collect();
        let asks: Vec<_> = waiting.iter().map(|(key, _)| [ask(rate, key, 1)]).collect();
        let mut calls: Vec<_> = asks.iter().map(|ask| store.charge(ask)).collect();
        let mut kinds = std::collections::BTreeMap::<_, u32>::new();
        // All begin before any is waited for.
        std::future::poll_fn(|cx| {
            calls.retain_mut(|call| match call.as_mut().poll(cx) {
                std::task::Poll::Ready(answer) => {
                    *kinds.entry(answer.expect_err("it hangs").kind()).or_default() += 1;
                    false
                }
                std::task::Poll::Pending => true,
            });
            if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        kinds
    });
    let took = began.elapsed();
    assert!(kinds["overloaded"] > 10_000 && took < Duration::from_secs(5), "{kinds:?} in {took:?}");
    // One that comes when all others have been given up does not wait for longer than they did.
    house.error(&key("u"));
    wait_until("the connection is given up", || house.error(&key("u")).kind() == "unavailable");
    // From then on nobody waits, although the port is open.
    std::thread::sleep(WAIT);
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(house.error(&key("u")).kind(), "unavailable");
    }
    assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
    let asked = house.asked.get();
    house.server.signal("-CONT");
    let took = house.back();
    assert!(took < Duration::from_secs(2), "{took:?}");
    // What was written before may have been run; nothing was run twice.
    let used = house.used(&key("u"));
    assert!((1..=asked).contains(&used), "{used} of {asked}");
}

#[test]
fn l10_an_answer_that_comes_too_late_leaves_the_charge_and_is_counted() {
    let house = house(Server::start(&[]));
    let paused = WAIT * 2;
    house.server.cli(&["client", "pause", &paused.as_millis().to_string(), "all"]);
    assert_eq!(house.error(&key("u")).kind(), "timeout");
    wait_until("it answers again", || house.charge(&key("v")).is_ok());
    assert_eq!(house.used(&key("u")), 1);
    wait_until("the late one is counted", || house.store.figures().late >= 1);
}

#[test]
fn l6_a_caller_that_goes_away_leaves_its_charge_at_most_once() {
    let house = house(Server::start(&[]));
    for n in 0..10 {
        let key = key(&n.to_string());
        let asks = [ask(&house.rate, &key, 1)];
        house.runtime.block_on(async {
            let mut call = house.store.charge(&asks);
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
            assert!(!polled, "it was answered before it was sent");
            drop(call);
        });
    }
    house.charge(&key("after")).expect("the store answers");
    for n in 0..10 {
        assert!(house.used(&key(&n.to_string())) <= 1);
    }
}

#[test]
fn l2_a_server_without_memory_refuses_the_whole_stack() {
    let house = house(Server::start(&[]));
    let rates = Algorithm::ALL.map(|algorithm| rate(algorithm, 10, DAY.min(Duration::from_secs(86_400))));
    let keys: Vec<Key> = Algorithm::ALL.iter().map(|algorithm| key(algorithm.as_str())).collect();
    let stack: Vec<_> = rates.iter().zip(&keys).map(|(rate, key)| ask(rate, key, 1)).collect();
    for round in 0..2 {
        house.server.cli(&["config", "set", "maxmemory", "1"]);
        let error = house.runtime.block_on(house.store.charge(&stack)).expect_err("it is full");
        assert_eq!(error.kind(), "full", "{error}");
        house.server.cli(&["config", "set", "maxmemory", "0"]);
        for ask in &stack {
            let left = house.runtime.block_on(house.store.peek(ask)).expect("the store answers").remaining;
            assert_eq!(left, 9 - round, "{}", ask.rate.algorithm());
        }
        house.runtime.block_on(house.store.charge(&stack)).expect("the store answers").expect("there is room");
    }
}

#[test]
fn l2_a_server_that_became_a_replica_is_not_charged_and_is_left() {
    let house = house(Server::start(&[]));
    let master = Server::start(&[]);
    house.server.cli(&["replicaof", "127.0.0.1", &master.port.to_string()]);
    wait_until("it is a replica", || house.error(&key("u")).kind() == "not-ready");
    house.server.cli(&["replicaof", "no", "one"]);
    assert!(house.back() < Duration::from_secs(2));
}

#[test]
fn l2_a_server_that_lacks_its_replicas_charges_nothing() {
    let house = house(Server::start(&[]));
    house.server.cli(&["config", "set", "min-replicas-to-write", "1"]);
    let error = house.error(&key("u"));
    assert!(error.kind() == "not-ready" && error.to_string().contains("NOREPLICAS"), "{error}");
    house.server.cli(&["config", "set", "min-replicas-to-write", "0"]);
    assert_eq!(house.used(&key("u")), 0);
}

#[test]
fn l2_a_server_that_forgot_the_scripts_is_told_them_again_and_charges_once() {
    let house = house(Server::start(&[]));
    for expected in 1..=5 {
        house.server.cli(&["script", "flush"]);
        assert_eq!(house.charge(&key("u")), Ok(true));
        assert_eq!(house.used(&key("u")), expected);
    }
    let asks = [ask(&house.rate, &key("back"), 3)];
    let charge = house.runtime.block_on(house.store.charge(&asks)).expect("it answers").expect("there is room");
    house.server.cli(&["script", "flush"]);
    house.store.give_back(charge.receipts()[0].clone());
    wait_until("it is given back", || house.used(&key("back")) == 0);
}

#[test]
fn l2_a_server_that_runs_a_long_script_is_not_ready() {
    let house = house(Server::start(&["--lua-time-limit", "20"]));
    std::thread::scope(|scope| {
        scope.spawn(|| house.server.cli(&["eval", "while true do end", "0"]));
        wait_until("it is busy", || matches!(house.charge(&key("u")), Err(error) if error.kind() == "not-ready"));
        house.server.cli(&["script", "kill"]);
    });
    assert!(house.back() < Duration::from_secs(2));
}

#[test]
fn l2_a_server_that_loads_its_data_is_not_ready() {
    let mut house =
        house(Server::start(&["--dbfilename", "dump.rdb", "--loading-process-events-interval-bytes", "1024"]));
    house.server.cli(&["eval", "for i = 1, 4000 do redis.call('set', 'k' .. i, string.rep('x', 30)) end", "0"]);
    house.server.cli(&["save"]);
    house.server.kill();
    house.server.options_for_next_run(&["--key-load-delay", "300"]);
    house.server.run();
    wait_until("it loads", || matches!(house.charge(&key("u")), Err(error) if error.to_string().contains("LOADING")));
    house.back();
}

#[test]
fn l2_a_user_without_the_rights_is_told_which() {
    let server = Server::start(&[]);
    let house = house(server);
    let limit =
        |rights: &[&str]| house.server.cli(&[&["acl", "setuser", "default", "resetkeys", "-@all"], rights].concat());
    limit(&["~rl:*", "+evalsha", "+eval", "+script|load", "+time", "+get", "+lindex"]);
    let error = house.error(&key("u"));
    assert!(error.kind() == "not-allowed" && error.to_string().contains("~rl:*"), "{error}");
    limit(&["allcommands", "~other:*"]);
    assert_eq!(house.error(&key("u")).kind(), "not-allowed");
    limit(&["allcommands", "allkeys"]);
    assert_eq!(house.used(&key("u")), 0);
}

#[test]
fn l2_what_is_not_ours_under_a_key_is_left_alone_and_nothing_else_is_charged() {
    let house = house(Server::start(&[]));
    for (n, write) in ["set NAME hello", "rpush NAME x", "sadd NAME x", "hset NAME t 1"].into_iter().enumerate() {
        for algorithm in Algorithm::ALL {
            let theirs = key(&format!("{n} {algorithm}"));
            let name = theirs.name("tested");
            let words: Vec<&str> = write.split(' ').map(|word| if word == "NAME" { &name } else { word }).collect();
            house.server.cli(&words);
            let (other, ours) =
                (rate(algorithm, 10, DAY.min(Duration::from_secs(86_400))), key(&format!("ours {n} {algorithm}")));
            let stack = [ask(&house.rate, &ours, 1), ask(&other, &theirs, 1)];
            let error = house.runtime.block_on(house.store.charge(&stack)).expect_err("it is not ours");
            assert_eq!(error.kind(), "foreign", "{write}, {algorithm}: {error}");
            assert_eq!(
                (house.used(&ours), house.server.cli(&["ttl", &name])),
                (0, "-1".into()),
                "{write}, {algorithm}"
            );
        }
    }
}

#[test]
fn l2_what_does_not_speak_as_redis_does_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let web = std::thread::spawn(move || {
        // The store comes back, as whoever was there by mistake may be gone; a second time it only connects.
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    });
    let options = RedisOptions::parse(&format!("redis://127.0.0.1:{port}")).expect("a URL").timeout(WAIT);
    let (store, runtime) = store(&options);
    let error = runtime.block_on(store.ping()).expect_err("it is no Redis");
    assert!(error.kind() == "protocol" && error.to_string().contains("HTTP/1.1"), "{error}");
    web.join().expect("it ends");
}

#[test]
fn l10_whatever_answers_in_the_place_of_redis_begins_no_line_of_its_own_in_a_log() {
    for (answer, kind, expected) in [
        ("-NOAUTH really\x1b[2J\rINFO all is well\r\n", "not-allowed", "NOAUTH really\\u{1b}[2J\\rINFO all is well"),
        ("-NOAUTH really\nINFO all is well\r\n", "protocol", "NOAUTH really\\nINFO all is well"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let hostile = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            // Until the store goes: a reset would overtake the answer.
            while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let options = RedisOptions::parse(&format!("redis://127.0.0.1:{port}")).expect("a URL").timeout(WAIT);
        let (store, runtime) = store(&options);
        let error = runtime.block_on(store.ping()).expect_err("it is no Redis");
        let told = error.to_string();
        assert!(told.contains(expected) && !told.contains(char::is_control), "{told:?}");
        assert_eq!(error.kind(), kind, "{told}");
        drop((store, runtime));
        hostile.join().expect("it ends");
    }
}

#[test]
fn l10_a_failover_by_sentinels_is_followed_within_two_seconds_of_its_end() {
    let mut watched = servers::watched(Some("s3ntinel"));
    let (store, runtime) = store(&watched.options().timeout(WAIT));
    let rate = rate(Algorithm::FixedWindow, 100, DAY);
    let charge = || runtime.block_on(store.charge(&[ask(&rate, &key("u"), 1)]));
    wait_until("the store is connected", || charge().is_ok());
    let before = runtime.block_on(store.ping()).expect("the master is there");
    watched.master.kill();
    wait_until("the loss is known", || charge().is_err());
    wait_until("the replica was made master", || watched.replica.cli(&["role"]).starts_with("master"));
    let began = Instant::now();
    wait_until("the store has followed", || charge().is_ok());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_ne!(
        runtime.block_on(store.ping()).expect("the master is there"),
        before,
        "it may have lost what it never had"
    );
}

#[test]
fn l2_a_slot_that_moves_to_another_node_is_followed() {
    let nodes = servers::cluster(0);
    let options = RedisOptions::parse(&format!("redis-cluster://127.0.0.1:{}", nodes[0].port)).expect("a URL");
    let (store, runtime) = store(&options.timeout(WAIT * 4));
    let (rate, key) = (rate(Algorithm::SlidingWindowCounter, 10, DAY), key("u"));
    let name = key.name("tested");
    let charge =
        |asks: &[portcullis_limit::Ask<'_>]| runtime.block_on(store.charge(asks)).expect("the cluster answers");
    assert!(charge(&[ask(&rate, &key, 1)]).is_ok());
    let slot = nodes[0].cli(&["cluster", "keyslot", &name]);
    let holds = |node: &&Server| node.cli(&["exists", &name]) == "1";
    let from = nodes.iter().position(|node| holds(&node)).expect("one holds it");
    let to = (from + 1) % 3;
    let id = |node: usize| nodes[node].cli(&["cluster", "myid"]);
    // In between, the old node sends those who ask for what has gone to the new one.
    assert_eq!(nodes[to].cli(&["cluster", "setslot", &slot, "importing", &id(from)]), "OK");
    assert_eq!(nodes[from].cli(&["cluster", "setslot", &slot, "migrating", &id(to)]), "OK");
    let port = nodes[to].port.to_string();
    assert_eq!(nodes[from].cli(&["migrate", "127.0.0.1", &port, &name, "0", "1000"]), "OK");
    assert!(charge(&[ask(&rate, &key, 1)]).is_ok());
    for node in [to, from, 3 - to - from] {
        assert_eq!(nodes[node].cli(&["cluster", "setslot", &slot, "node", &id(to)]), "OK");
    }
    let told = charge(&[ask(&rate, &key, 1)]).expect("there is room");
    assert_eq!(told.standings()[0].remaining, 7);
}

/// A key for each of the three nodes, and a rate for them.
fn one_key_for_each(nodes: &[Server]) -> Vec<Key> {
    let serves = |node: &Server, name: &str| {
        let answer = node.cli(&["exists", name]);
        !answer.starts_with("MOVED")
    };
    let candidates = || (0..1000_u32).map(|n| key(&n.to_string()));
    let found = nodes.iter().map(|node| candidates().find(|key| serves(node, &key.name("tested"))).expect("a slot"));
    found.collect()
}

#[test]
fn l4_a_stack_across_a_cluster_is_charged_whole_or_not_at_all_even_where_a_node_is_dead() {
    let mut nodes = servers::cluster(0);
    let options = RedisOptions::parse(&format!("redis-cluster://127.0.0.1:{}", nodes[0].port)).expect("a URL");
    let (store, runtime) = store(&options.timeout(WAIT * 4));
    let keys = one_key_for_each(&nodes);
    let (wide, narrow) = (rate(Algorithm::TokenBucket, 500, DAY), rate(Algorithm::SlidingWindowLog, 60, DAY));
    let stack = [ask(&wide, &keys[0], 1), ask(&narrow, &keys[1], 1), ask(&wide, &keys[2], 1)];
    // Many at once: those that find nothing left give back what they had reserved elsewhere.
    let admitted = runtime.block_on(async {
        let mut calls: Vec<_> = (0..200).map(|_| store.charge(&stack)).collect();
        let mut admitted = 0;
        std::future::poll_fn(|cx| {
            calls.retain_mut(|call| match call.as_mut().poll(cx) {
                std::task::Poll::Ready(answer) => {
                    admitted += u64::from(answer.expect("the cluster answers").is_ok());
                    false
                }
                std::task::Poll::Pending => true,
            });
            if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        admitted
    });
    assert_eq!(admitted, 60);
    let left = |at: usize| runtime.block_on(store.peek(&ask(&wide, &keys[at], 0))).map(|standing| standing.remaining);
    wait_until("what was reserved in vain is back", || left(0) == Ok(440) && left(2) == Ok(440));

    nodes[2].kill();
    let outer = [ask(&wide, &keys[0], 1), ask(&wide, &keys[2], 1)];
    wait_until("the loss is known", || runtime.block_on(store.charge(&outer)).is_err());
    for _ in 0..20 {
        runtime.block_on(store.charge(&outer)).expect_err("a node is dead");
    }
    // A cluster that is not whole serves nothing until it is; what was reserved before that is back.
    nodes[0].cli(&["config", "set", "cluster-require-full-coverage", "no"]);
    wait_until("the living node serves", || left(0).is_ok());
    wait_until("what was reserved in vain is back", || left(0) == Ok(440));
}

#[test]
fn l10_a_failover_in_a_cluster_is_followed_within_two_seconds_of_its_end() {
    let mut nodes = servers::cluster(1);
    let options = RedisOptions::parse(&format!("redis-cluster://127.0.0.1:{}", nodes[3].port)).expect("a URL");
    let (store, runtime) = store(&options.timeout(WAIT));
    let keys = one_key_for_each(&nodes[..3]);
    let rate = rate(Algorithm::SlidingWindowCounter, 100, DAY);
    let charge = |key: &Key| runtime.block_on(store.charge(&[ask(&rate, key, 1)]));
    wait_until("the store is connected", || keys.iter().all(|key| charge(key).is_ok()));
    let before = runtime.block_on(store.ping()).expect("the masters are there");
    wait_until("the replica has all", || nodes[3..].iter().all(|node| node.cli(&["role"]).contains("connected")));
    nodes[0].kill();
    wait_until("the loss is known", || charge(&keys[0]).is_err());
    let whole = |node: &Server| node.cli(&["cluster", "info"]).contains("cluster_state:ok");
    let masters = |node: &Server| node.cli(&["role"]).starts_with("master");
    wait_until("a replica was made master", || nodes[3..].iter().any(masters) && nodes[1..].iter().all(whole));
    let began = Instant::now();
    wait_until("the store has followed", || keys.iter().all(|key| charge(key).is_ok()));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_ne!(runtime.block_on(store.ping()).expect("the masters are there"), before, "one of them is another");
}
