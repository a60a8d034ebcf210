//! Refusals that are known are free, and what undoes them is not hidden by them.

use std::time::{Duration, Instant};

use portcullis_limit::{Algorithm, Ask, Charge, Denied, MemcachedStore, SharedStore as _};
use tokio::runtime::Runtime;

use crate::contract::{ask, rate};
use crate::house::key;
use crate::servers::{Server, wait_until};
use crate::{memcached, options, say, store, url};

const DAY: Duration = Duration::from_secs(86_400);

struct Node {
    store: MemcachedStore,
    runtime: Runtime,
}

impl Node {
    fn new(server: &Server) -> Self {
        let (store, runtime) = store(&options(&url(server)));
        runtime.block_on(store.ping()).expect("the server is there");
        Self { store, runtime }
    }

    fn charge(&self, asks: &[Ask<'_>]) -> Result<Charge, Denied> {
        self.runtime.block_on(self.store.charge(asks)).expect("the store answers")
    }
}

#[test]
fn l6_a_key_that_memcached_refused_is_refused_without_a_question_for_a_moment() {
    let server = memcached(&[]);
    let node = Node::new(&server);
    let (one, ten) = (rate(Algorithm::FixedWindow, 1, DAY * 300), rate(Algorithm::FixedWindow, 10, DAY * 300));
    let stack = [ask(&ten, &key("other"), 1), ask(&one, &key("u"), 1)];
    node.charge(&stack).expect("there is room");
    let questions = || {
        let said = say(&server, "stats");
        said.lines().find_map(|line| line.strip_prefix("STAT incr_hits ")?.parse::<u64>().ok()).expect("a figure")
    };
    let (before, began, mut last) = (questions(), Instant::now(), None::<Denied>);
    for _ in 0..2000 {
        let denied = node.charge(&stack).expect_err("there is none");
        assert!(last.is_none_or(|last| denied.retry_after <= last.retry_after + Duration::from_secs(1)));
        last = Some(denied);
    }
    let (asked, passed) = (questions() - before, began.elapsed());
    let most = 2 * (1 + passed.as_millis() as u64 / 250);
    assert!((1..=most).contains(&asked) && node.store.figures().refused_locally > 1000, "{asked} in {passed:?}");
    wait_until("nothing stays reserved", || {
        node.runtime.block_on(node.store.peek(&stack[0])).is_ok_and(|standing| standing.remaining == 8)
    });
    // Another cost, and a limit that only reports, are another question.
    let reported = Ask { enforce: false, ..ask(&one, &key("u"), 1) };
    assert!(node.charge(&[reported]).expect("it only reports").standings()[0].would_refuse);
    node.charge(&[ask(&ten, &key("ten"), 8)]).expect("there is room");
    node.charge(&[ask(&ten, &key("ten"), 3)]).expect_err("there is none for three");
    node.charge(&[ask(&ten, &key("ten"), 2)]).expect("there is for two");
}

#[test]
fn l6_a_reset_on_any_instance_and_a_flush_are_seen_by_all_within_a_second() {
    let server = memcached(&[]);
    let (node, other) = (Node::new(&server), Node::new(&server));
    for algorithm in crate::CARRIED {
        let (rate, key) = (rate(algorithm, 1, DAY), key(algorithm.as_str()));
        let asks = [ask(&rate, &key, 1)];
        // Nobody has asked the other instance for this limit; it is told by its configuration.
        other.store.introduce("tested", &rate).expect("it is carried");
        for round in 0..4 {
            node.charge(&asks).expect("there is room");
            node.charge(&asks).expect_err("there is none");
            match round {
                0 => assert_eq!(node.runtime.block_on(node.store.reset("tested", &key)), Ok(true)),
                1 | 2 => assert_eq!(other.runtime.block_on(other.store.reset("tested", &key)), Ok(true)),
                _ => drop(say(&server, "flush_all")),
            }
            let began = Instant::now();
            wait_until("it is seen", || node.charge(&asks).is_ok());
            assert!(began.elapsed() < Duration::from_millis(1_100), "round {round}: {:?}", began.elapsed());
            assert!(round > 0 || began.elapsed() < Duration::from_millis(100), "one's own is seen at once");
            assert_eq!(node.runtime.block_on(node.store.reset("tested", &key)), Ok(true));
            assert_eq!(node.runtime.block_on(node.store.reset("tested", &key)), Ok(false));
        }
    }
    let error = other.runtime.block_on(other.store.reset("never-heard-of", &key("u"))).expect_err("nobody can know");
    assert!(error.kind() == "not-ready" && error.to_string().contains("never-heard-of"), "{error}");
}

#[test]
fn l6_what_is_given_back_to_memcached_is_seen_at_once_here_and_in_a_moment_elsewhere() {
    let server = memcached(&[]);
    let (node, other) = (Node::new(&server), Node::new(&server));
    let (rate, key) = (rate(Algorithm::FixedWindow, 1, DAY), key("u"));
    let asks = [Ask { refundable: true, ..ask(&rate, &key, 1) }];
    let charge = node.charge(&asks).expect("there is room");
    node.charge(&asks).expect_err("there is none");
    node.store.give_back(charge.receipts()[0].clone());
    let charge = node.charge(&asks).expect("it was given back");
    other.charge(&asks).expect_err("there is none");
    node.store.give_back(charge.receipts()[0].clone());
    let began = Instant::now();
    wait_until("it is seen", || other.charge(&asks).is_ok());
    assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
}

#[test]
fn l6_a_block_in_memcached_holds_for_every_instance_and_ends_for_every_instance() {
    let server = memcached(&[]);
    let (node, other) = (Node::new(&server), Node::new(&server));
    let (rate, key) = (rate(Algorithm::FixedWindow, 5, DAY), key("u"));
    let asks = [ask(&rate, &key, 1)];
    let charge = node.charge(&asks).expect("there is room");
    let until = node.runtime.block_on(node.store.block("tested", &key, DAY * 40)).expect("it answers");
    for node in [&node, &other] {
        let denied = node.charge(&asks).expect_err("it is blocked");
        assert!(denied.standing.blocked && denied.standing.reset_at >= until, "{denied:?}");
        assert!(denied.retry_after > DAY * 39, "{denied:?}");
    }
    node.store.give_back(charge.receipts()[0].clone());
    other.charge(&asks).expect_err("it is blocked all the same");
    assert_eq!(node.runtime.block_on(node.store.unblock("tested", &key)), Ok(true));
    let began = Instant::now();
    wait_until("it is seen", || other.charge(&asks).is_ok());
    assert!(began.elapsed() < Duration::from_millis(1_100), "{:?}", began.elapsed());
    let standing = node.charge(&asks).expect("it was lifted").standings()[0].clone();
    assert_eq!(standing.remaining, 3, "nothing was counted while it was blocked, and nothing before");
    // What lies there and is no block of ours stops nobody unseen: it is an error.
    say(&server, "ms rl:tested:u=u;blocked 3 T600\r\nyes");
    let error = node.runtime.block_on(node.store.charge(&asks)).expect_err("it is not ours");
    assert_eq!(error.kind(), "foreign", "{error}");
    // Now, and not only once it is gone, can it be lifted.
    assert_eq!(node.runtime.block_on(node.store.unblock("tested", &key)), Ok(false));
    let left = node.charge(&asks).expect("it is gone").standings()[0].remaining;
    assert_eq!(left, 2, "what was reserved beside it was given back");
}
