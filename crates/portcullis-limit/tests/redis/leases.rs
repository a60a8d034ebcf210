//! Portions of quotas that several nodes lease from real servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_limit::{
    Algorithm, Ask, Charge, Denied, Key, Limiter, Outage, Patience, Rate, RedisOptions, RedisStore, Refused,
    SharedStore as _, StoreError,
};
use tokio::runtime::Runtime;

use crate::contract::{self, rate};
use crate::house::key;
use crate::servers::{self, Server, wait_until};
use crate::store;

const DAYS: Duration = Duration::from_secs(86_400 * 30);
/// The part of what is left that a node holds at most beyond what requests wait for.
const SHARE: u64 = 16;

/// A node: a limiter, its connection, and the threads that both have for themselves. Dropped, it is gone like a process
/// that was killed.
struct Node {
    limiter: Arc<Limiter>,
    store: Arc<RedisStore>,
    runtime: Option<Runtime>,
}

impl Node {
    fn new(options: &RedisOptions) -> Self {
        let (store, runtime) = store(options);
        let store = Arc::new(store);
        let wait = Duration::from_secs(1);
        let limiter = Arc::new(Limiter::default().sharing(Arc::clone(&store) as _, wait, Arc::new(|_| {})));
        let kept = Arc::clone(&limiter);
        runtime.spawn(async move { kept.keep().await });
        wait_until("the store is connected", || runtime.block_on(store.ping()).is_ok());
        Self { limiter, store, runtime: Some(runtime) }
    }

    fn charge(&self, asks: &[Ask<'_>]) -> Result<Charge, Refused> {
        let runtime = self.runtime.as_ref().expect("it lives");
        runtime.block_on(self.limiter.charge(asks, portcullis_core::Timestamp::EPOCH, &mut Patience::default()))
    }

    fn admits(&self, rate: &Rate, key: &Key) -> bool {
        self.charge(&[leased(rate, key, 1)]).is_ok()
    }

    fn denied(&self, rate: &Rate, key: &Key) -> Denied {
        match self.charge(&[leased(rate, key, 1)]) {
            Err(Refused::Denied(denied)) => denied,
            other => panic!("{other:?}"),
        }
    }

    /// What an operator's word that nothing was lost comes to.
    fn reopen(&self) -> Result<bool, StoreError> {
        self.runtime.as_ref().expect("it lives").block_on(self.limiter.reopen())
    }

    fn used(&self, rate: &Rate, key: &Key) -> u64 {
        let runtime = self.runtime.as_ref().expect("it lives");
        let look = Ask { cost: 0, ..leased(rate, key, 0) };
        rate.capacity() - runtime.block_on(self.store.peek(&look)).expect("it answers").remaining
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn leased<'a>(rate: &'a Rate, key: &Key, cost: u64) -> Ask<'a> {
    Ask { cost, lease: true, outage: Outage::Closed, ..Ask::new("leased", key.clone(), rate) }
}

/// A server that an operator says has lost nothing, so that nobody waits for it to settle.
fn server(options: &[&str]) -> Server {
    let server = Server::start(options);
    server.cli(&["set", "rl::epoch", "open"]);
    server
}

fn options(server: &Server) -> RedisOptions {
    RedisOptions::parse(&server.url()).expect("a URL").timeout(Duration::from_secs(1))
}

#[test]
fn l11_a_thousand_at_once_through_four_nodes_are_never_more_than_the_quota_and_at_last_all_of_it() {
    let server = server(&[]);
    let nodes: Vec<Node> = (0..4).map(|_| Node::new(&options(&server))).collect();
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindowCounter, Algorithm::Calendar] {
        let (rate, key) = (rate(algorithm, 100, contract::window(algorithm)), key(algorithm.as_str()));
        let admitted: u64 = std::thread::scope(|scope| {
            let crowd: Vec<_> = (0..20)
                .map(|number| {
                    let (node, rate, key) = (&nodes[number % 4], &rate, &key);
                    scope.spawn(move || (0..50).filter(|_| node.admits(rate, key)).count() as u64)
                })
                .collect();
            crowd.into_iter().map(|one| one.join().expect("it ends")).sum()
        });
        println!("{algorithm}: {admitted} of 100 at once");
        assert!((100 - 3 * 100 / SHARE..=100).contains(&admitted), "{algorithm}: {admitted}");
        let (begun, mut rest) = (Instant::now(), 0);
        while admitted + rest < 100 {
            assert!(begun.elapsed() < Duration::from_secs(4), "{algorithm}: {rest} of what was held has come back");
            rest += u64::from(nodes[0].admits(&rate, &key));
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(300));
        assert!(nodes.iter().all(|node| !node.admits(&rate, &key)), "{algorithm}");
    }
}

#[test]
fn l11_nodes_that_are_killed_take_with_them_what_they_held_and_exact_charges_fit_in_beside_leases() {
    let server = server(&[]);
    let (rate, key) = (rate(Algorithm::FixedWindow, 3_000, DAYS), key("u"));
    let mut nodes: Vec<Node> = (0..4).map(|_| Node::new(&options(&server))).collect();
    let exact = |node: &Node| node.charge(&[Ask { lease: false, ..leased(&rate, &key, 1) }]).is_ok();
    let (mut admitted, mut lost) = (0_u64, 0);
    for round in 0..3 {
        let some: u64 = std::thread::scope(|scope| {
            let crowd: Vec<_> = nodes
                .iter()
                .map(|node| {
                    let (rate, key, exact) = (&rate, &key, &exact);
                    let ask = move |n: u64| if n.is_multiple_of(10) { exact(node) } else { node.admits(rate, key) };
                    scope.spawn(move || (0..150).filter(|n| ask(*n)).count() as u64)
                })
                .collect();
            crowd.into_iter().map(|one| one.join().expect("it ends")).sum()
        });
        admitted += some;
        lost += nodes[0].limiter.leases().expect("it leases").held;
        nodes[0] = Node::new(&options(&server));
        println!("round {round}: {some} admitted, {lost} lost until now");
    }
    assert!(admitted == 1_800 && lost <= 3 * 3_000 / SHARE, "{admitted}, {lost}");
    let begun = Instant::now();
    // What was under way when a node died may be lost too: a portion each.
    while nodes[1].used(&rate, &key) < 3_000 {
        admitted += (0..50).filter(|_| nodes[1].admits(&rate, &key)).count() as u64;
        assert!(begun.elapsed() < Duration::from_secs(10), "{admitted}");
    }
    admitted += (0..3_000).take_while(|_| nodes[1].admits(&rate, &key)).count() as u64;
    println!("{admitted} admitted, {lost} known to be lost");
    assert!((3_000 - 2 * 3 * 3_000 / SHARE..=3_000).contains(&(admitted + lost)), "{admitted} {lost}");
}

#[test]
fn l11_a_store_that_was_emptied_or_restarted_is_closed_until_its_window_is_over() {
    let persistent = ["--appendonly", "yes", "--appendfsync", "always"];
    type Losing = fn(&mut Server);
    let losses: [(&[&str], Losing); 3] = [
        (&[], |server| assert_eq!(server.cli(&["flushall"]), "OK")),
        (&[], |server| {
            server.kill();
            server.run();
        }),
        // Nobody can know how much of it was kept.
        (&persistent, |server| {
            server.kill();
            server.run();
            wait_until("it has loaded", || server.cli(&["ping"]) == "PONG");
        }),
    ];
    std::thread::scope(|scope| {
        for (words, lose) in losses {
            scope.spawn(move || {
                let mut server = server(words);
                let (rate, key) = (rate(Algorithm::FixedWindow, 100, Duration::from_secs(8)), key("u"));
                let node = Node::new(&options(&server));
                // Enough of the window is left for what follows.
                let now = || portcullis_core::Clock::now(&portcullis_core::SystemClock).as_millis() % 8_000;
                wait_until("a window begins", || now() < 1_000);
                assert!((0..60).all(|_| node.admits(&rate, &key)));
                lose(&mut server);
                let begun = Instant::now();
                let mut more = 0;
                while node.limiter.leases().expect("it leases").closed == 0 {
                    more += u64::from(node.admits(&rate, &key));
                    assert!(begun.elapsed() < Duration::from_secs(4), "it is not closed");
                    std::thread::sleep(Duration::from_millis(5));
                }
                assert!(more <= 100 / SHARE, "{more}");
                let fresh = Node::new(&options(&server));
                let (here, there) = (node.denied(&rate, &key), fresh.denied(&rate, &key));
                assert_eq!(here.standing.reset_at, there.standing.reset_at);
                assert_eq!(here.standing.reset_at.as_secs() % 8, 0, "the end of the window");
                std::thread::sleep(here.retry_after);
                assert!(node.admits(&rate, &key), "whoever waits as long as is told is admitted");
            });
        }
    });
}

#[test]
fn l11_a_failover_closes_leases_and_the_operators_word_opens_them() {
    let mut watched = servers::watched(None);
    watched.master.cli(&["set", "rl::epoch", "open"]);
    let (rate, key) = (rate(Algorithm::SlidingWindowCounter, 100, DAYS), key("u"));
    let node = Node::new(&watched.options().timeout(Duration::from_secs(1)));
    assert!((0..10).all(|_| node.admits(&rate, &key)));
    wait_until("the replica has it", || watched.replica.cli(&["get", "rl::epoch"]).contains(' '));
    watched.master.kill();
    wait_until("the replica was made master", || watched.replica.cli(&["role"]).starts_with("master"));
    wait_until("leases are closed", || {
        node.charge(&[leased(&rate, &key, 1)]).ok();
        node.limiter.leases().expect("it leases").closed > 0
    });
    assert!(node.denied(&rate, &key).retry_after > Duration::from_secs(86_400));
    assert_eq!(node.reopen(), Ok(true));
    wait_until("leases are open", || node.admits(&rate, &key));
    assert_eq!(node.reopen(), Ok(false), "there is nothing to open");
}

#[test]
fn l11_a_charge_under_another_mark_is_not_made_and_a_new_mark_is_told_from_one_that_was_lost() {
    let server = Server::start(&[]);
    let node = Node::new(&options(&server));
    let (rate, key) = (rate(Algorithm::FixedWindow, 100, DAYS), key("u"));
    let runtime = node.runtime.as_ref().expect("it lives");
    let lender = node.store.lender().expect("it lends");
    let pulse = || runtime.block_on(lender.pulse()).expect("it answers");
    let first = pulse();
    assert_eq!((first.lost, &pulse().mark), (None, &first.mark));
    assert!(first.since <= first.at && first.at.since(first.since) < Duration::from_secs(5), "{first:?}");
    let ask = leased(&rate, &key, 3);
    let take = |mark| runtime.block_on(lender.take(&ask, mark)).expect("it answers");
    assert!(matches!(take(&first.mark), Some(Ok(_))));
    server.cli(&["flushall"]);
    assert!(take(&first.mark).is_none());
    // Somebody who knew nothing came first.
    let (fresh, elsewhere) = store(&options(&server));
    let (second, denied) = (elsewhere.block_on(fresh.lender().expect("it lends").pulse()), take(&first.mark));
    let second = second.expect("it answers");
    assert!(second.lost.is_none() && denied.is_none() && second.mark != first.mark);
    let third = pulse();
    assert!(third.lost == Some(second.since) && take(&second.mark).is_none(), "{third:?}");
    assert_eq!(node.used(&rate, &key), 0);
    assert!(matches!(take(&third.mark), Some(Ok(_))));
    // What is no mark of ours is none.
    server.cli(&["set", "rl::epoch", "something else"]);
    assert!(pulse().lost.is_some());
    server.cli(&["set", "rl::epoch", "open"]);
    assert_eq!((pulse().lost, pulse().lost), (None, None));
}

#[test]
fn l11_a_user_that_may_do_no_more_than_is_written_leases_and_a_cluster_is_charged_one_by_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let users = directory.path().join("users.acl");
    let rights = "user gate on >secret ~rl:* +eval +evalsha +script|load +get +set +del +time +lindex +llen +lset +ltrim \
                  +lpush +rpush +lrem +pexpire +info +role +select +cluster|slots";
    std::fs::write(&users, format!("user default on nopass ~* +@all\n{rights}\n")).expect("a file");
    let server = server(&["--aclfile", &users.display().to_string()]);
    let gate = RedisOptions::parse(&format!("redis://gate:secret@127.0.0.1:{}", server.port)).expect("a URL");
    let node = Node::new(&gate.timeout(Duration::from_secs(1)));
    let (rate, key) = (rate(Algorithm::Calendar, 50, contract::window(Algorithm::Calendar)), key("u"));
    assert_eq!((0..60).filter(|_| node.admits(&rate, &key)).count(), 50);
    assert!(node.limiter.leases().expect("it leases").taken >= 50);
    server.cli(&["set", "rl::epoch", "something else"]);
    assert_eq!(node.reopen(), Ok(true));

    let nodes = servers::cluster(0);
    let options = RedisOptions::parse(&format!("redis-cluster://127.0.0.1:{}", nodes[0].port)).expect("a URL");
    let node = Node::new(&options.timeout(Duration::from_secs(1)));
    assert_eq!((0..60).filter(|_| node.admits(&rate, &key)).count(), 50);
    assert_eq!(node.limiter.leases(), None);
    assert_eq!(node.reopen(), Err(StoreError::Unsupported { what: "lease anything" }));
}
