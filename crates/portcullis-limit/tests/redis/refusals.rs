//! Refusals that are known are free, and what undoes them is not hidden by them.

use std::time::{Duration, Instant};

use portcullis_limit::{Algorithm, Ask, Charge, Denied, RedisStore, SharedStore as _};
use tokio::runtime::Runtime;

use crate::contract::{ask, rate};
use crate::house::key;
use crate::servers::{Server, wait_until};
use crate::{options, store};

const HOUR: Duration = Duration::from_secs(3600);

struct Node {
    store: RedisStore,
    runtime: Runtime,
}

impl Node {
    fn new(server: &Server) -> Self {
        let (store, runtime) = store(&options(&server.url()));
        runtime.block_on(store.ping()).expect("the server is there");
        Self { store, runtime }
    }

    fn charge(&self, asks: &[Ask<'_>]) -> Result<Charge, Denied> {
        self.runtime.block_on(self.store.charge(asks)).expect("the store answers")
    }

    fn local(&self) -> u64 {
        self.store.figures().refused_locally
    }
}

#[test]
fn l6_a_key_that_is_known_to_be_refused_is_refused_without_a_question() {
    let server = Server::start(&[]);
    let node = Node::new(&server);
    let (rate, other, key) =
        (rate(Algorithm::SlidingWindowLog, 1, HOUR), rate(Algorithm::FixedWindow, 9, HOUR), key("u"));
    let stack = [ask(&other, &self::key("other"), 1), ask(&rate, &key, 1)];
    node.charge(&stack).expect("there is room");
    let told = node.charge(&stack).expect_err("there is none");
    let scripts =
        || server.cli(&["info", "commandstats"]).lines().find(|line| line.contains("eval")).map(str::to_owned);
    let before = scripts().and_then(|line| line.split(['=', ',']).nth(1).and_then(|calls| calls.parse::<u64>().ok()));
    let mut last = told.clone();
    for _ in 0..500 {
        let again = node.charge(&stack).expect_err("there is none");
        assert!(again.retry_after <= last.retry_after && again.standing.reset_at == told.standing.reset_at);
        let wait = again.standing.reset_at.since(again.standing.at);
        assert!(again.retry_after >= wait - Duration::from_millis(100) && again.retry_after <= wait, "{again:?}");
        last = again;
    }
    assert_eq!(node.local(), 500);
    let after = scripts().and_then(|line| line.split(['=', ',']).nth(1).and_then(|calls| calls.parse::<u64>().ok()));
    // Only the pulse went on.
    assert!(after.zip(before).is_some_and(|(after, before)| after - before < 100), "{before:?} {after:?}");
    // Another key, another cost and a limit that only reports are another question.
    let cheap = rate_of_ten();
    node.charge(&[ask(&cheap, &self::key("ten"), 8)]).expect("there is room");
    node.charge(&[ask(&cheap, &self::key("ten"), 3)]).expect_err("there is none for three");
    node.charge(&[ask(&cheap, &self::key("ten"), 2)]).expect("there is for two");
    let reported = Ask { enforce: false, ..ask(&rate, &key, 1) };
    assert!(node.charge(&[reported]).expect("it only reports").standings()[0].would_refuse);
}

fn rate_of_ten() -> portcullis_limit::Rate {
    rate(Algorithm::FixedWindow, 10, HOUR)
}

#[test]
fn l6_whoever_waits_as_long_as_told_locally_is_admitted() {
    let server = Server::start(&[]);
    let node = Node::new(&server);
    for algorithm in [Algorithm::TokenBucket, Algorithm::SlidingWindowLog, Algorithm::FixedWindow] {
        let (rate, key) = (rate(algorithm, 2, Duration::from_millis(400)), key(algorithm.as_str()));
        let stack = [ask(&rate, &key, 2)];
        let mut waits = 0;
        for _ in 0..6 {
            if let Err(denied) = node.charge(&stack) {
                // Told at once, and a little later from memory; the later word counts.
                let told = Instant::now();
                std::thread::sleep(Duration::from_millis(5));
                let Err(denied) = node.charge(&stack) else {
                    assert!(denied.retry_after <= told.elapsed(), "{algorithm}: {denied:?} was too late");
                    continue;
                };
                std::thread::sleep(denied.retry_after);
                waits += 1;
                node.charge(&stack).unwrap_or_else(|again| panic!("{algorithm}: {denied:?}, then {again:?}"));
            }
        }
        assert!(waits > 0 && node.local() > 0, "{algorithm}");
    }
}

#[test]
fn l6_a_reset_on_any_instance_is_seen_by_all_within_a_second() {
    let server = Server::start(&[]);
    let (node, other) = (Node::new(&server), Node::new(&server));
    let (rate, key) = (rate(Algorithm::SlidingWindowLog, 1, HOUR), key("u"));
    for round in 0..3 {
        node.charge(&[ask(&rate, &key, 1)]).expect("there is room");
        node.charge(&[ask(&rate, &key, 1)]).expect_err("there is none");
        assert_eq!(other.runtime.block_on(other.store.reset("tested", &key)), Ok(true));
        let began = Instant::now();
        wait_until("the reset is seen", || {
            node.charge(&[ask(&rate, &key, 0)]).is_ok_and(|_| node.charge(&[ask(&rate, &key, 1)]).is_ok())
        });
        assert!(began.elapsed() < Duration::from_millis(1_100), "round {round}: {:?}", began.elapsed());
        assert_eq!(node.runtime.block_on(node.store.reset("tested", &key)), Ok(true));
        // One's own is seen at once.
        node.charge(&[ask(&rate, &key, 1)]).expect("there is room");
        assert_eq!(node.runtime.block_on(node.store.reset("tested", &key)), Ok(true));
    }
}

#[test]
fn l6_a_block_is_refused_without_a_question_and_seen_by_all_within_a_second() {
    let server = Server::start(&[]);
    let (node, other) = (Node::new(&server), Node::new(&server));
    let (rate, key) = (rate(Algorithm::SlidingWindowLog, 1, Duration::from_secs(20)), key("u"));
    let asks = [ask(&rate, &key, 1)];
    node.charge(&asks).expect("there is room");
    let refused = node.charge(&asks).expect_err("there is none");
    assert!(!refused.standing.blocked && refused.retry_after <= Duration::from_secs(20));
    // Another instance blocks it for longer than is known here.
    let until = other.runtime.block_on(other.store.block("tested", &key, HOUR)).expect("the store answers");
    let began = Instant::now();
    wait_until("the block is seen", || node.charge(&asks).is_err_and(|denied| denied.standing.blocked));
    assert!(began.elapsed() < Duration::from_millis(1_100), "{:?}", began.elapsed());
    let before = node.local();
    for _ in 0..100 {
        let denied = node.charge(&asks).expect_err("it is blocked");
        assert!(denied.standing.blocked && denied.standing.reset_at == until, "{denied:?}");
        let wait = until.since(denied.standing.at);
        assert!(denied.retry_after >= wait - Duration::from_millis(100) && denied.retry_after <= wait, "{denied:?}");
    }
    // Once a second it is asked again.
    assert!(node.local() - before >= 95, "{}", node.local() - before);
    assert_eq!(other.runtime.block_on(other.store.unblock("tested", &key)), Ok(true));
    let began = Instant::now();
    wait_until("it is lifted", || node.charge(&asks).is_ok());
    assert!(began.elapsed() < Duration::from_millis(1_100), "{:?}", began.elapsed());
    // A reward on another instance is seen as soon.
    node.charge(&asks).expect_err("there is none");
    other.runtime.block_on(other.store.reward(&asks[0])).expect("the store answers");
    let began = Instant::now();
    wait_until("the reward is seen", || node.charge(&asks).is_ok());
    assert!(began.elapsed() < Duration::from_millis(1_100), "{:?}", began.elapsed());
}

#[test]
fn l6_a_block_leaves_nothing_behind_and_overwrites_nothing_of_others() {
    let server = Server::start(&[]);
    let node = Node::new(&server);
    let (rate, key) = (rate(Algorithm::SlidingWindowLog, 9, HOUR), key("u"));
    node.charge(&[ask(&rate, &key, 3)]).expect("there is room");
    let block = |how_long| node.runtime.block_on(node.store.block("tested", &key, how_long));
    block(Duration::from_millis(700)).expect("the store answers");
    let name = key.name("tested");
    let left: i64 = server.cli(&["pttl", &name]).trim().parse().expect("a number");
    assert!((1..=700).contains(&left), "{left}");
    wait_until("it is gone", || server.cli(&["exists", &name]).trim() == "0");
    for foreign in [&["set", &name, "somebody's"][..], &["rpush", &name, "a", "b"], &["hset", &name, "a", "b"]] {
        server.cli(&["del", &name]);
        server.cli(foreign);
        let error = block(HOUR).expect_err("it is not ours");
        assert_eq!(error.kind(), "foreign", "{error}");
        assert_eq!(node.runtime.block_on(node.store.unblock("tested", &key)), Ok(false));
        assert_eq!(server.cli(&["exists", &name]).trim(), "1", "{foreign:?}");
    }
}

#[test]
fn l6_a_store_that_was_emptied_refuses_nobody_within_a_second() {
    let server = Server::start(&[]);
    let node = Node::new(&server);
    let (rate, key) = (rate(Algorithm::SlidingWindowLog, 1, HOUR), key("u"));
    for empty in
        [&["flushall"][..], &["eval", "redis.call('del', KEYS[1]) redis.call('set', 'rl::resets', 'by hand')", "1"]]
    {
        node.charge(&[ask(&rate, &key, 1)]).expect("there is room");
        node.charge(&[ask(&rate, &key, 1)]).expect_err("there is none");
        let name = key.name("tested");
        server.cli(&[empty, &[name.as_str()][usize::from(empty.len() == 1)..]].concat());
        let began = Instant::now();
        wait_until("it is seen", || node.charge(&[ask(&rate, &key, 1)]).is_ok());
        assert!(began.elapsed() < Duration::from_millis(1_100), "{empty:?}: {:?}", began.elapsed());
        assert_eq!(node.runtime.block_on(node.store.reset("tested", &key)), Ok(true));
    }
}

#[test]
fn l6_what_another_instance_gives_back_is_seen_within_a_quarter_of_a_second() {
    let server = Server::start(&[]);
    let (node, other) = (Node::new(&server), Node::new(&server));
    let (rate, key) = (rate(Algorithm::SlidingWindowLog, 1, HOUR), key("u"));
    let asks = [Ask { refundable: true, ..ask(&rate, &key, 1) }];
    let charge = other.charge(&asks).expect("there is room");
    node.charge(&asks).expect_err("there is none");
    node.charge(&asks).expect_err("there is none");
    assert_eq!(node.local(), 1);
    other.store.give_back(charge.receipts()[0].clone());
    let began = Instant::now();
    wait_until("it is seen", || node.charge(&asks).is_ok());
    assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
}

#[test]
fn l6_what_this_instance_gives_back_is_seen_at_once() {
    let server = Server::start(&[]);
    let node = Node::new(&server);
    let (rate, key) = (rate(Algorithm::SlidingWindowLog, 1, HOUR), key("u"));
    let asks = [ask(&rate, &key, 1)];
    let charge = node.charge(&asks).expect("there is room");
    node.charge(&asks).expect_err("there is none");
    node.store.give_back(charge.receipts()[0].clone());
    node.charge(&asks).expect("it was given back");
}

#[test]
fn l6_refusals_are_forgotten_while_nobody_can_say_whether_there_was_a_reset() {
    let server = Server::start(&[]);
    let (store, runtime) = store(&options(&server.url()).timeout(Duration::from_millis(200)));
    wait_until("the store is connected", || runtime.block_on(store.ping()).is_ok());
    let (rate, key) = (rate(Algorithm::SlidingWindowLog, 1, HOUR), key("u"));
    let asks = [ask(&rate, &key, 1)];
    let charge = || runtime.block_on(store.charge(&asks));
    assert!(charge().expect("it answers").is_ok() && charge().expect("it answers").is_err());
    server.signal("-STOP");
    let began = Instant::now();
    wait_until("the store says that it does not know", || charge().is_err());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    server.signal("-CONT");
}
