//! Cells in Redis, on real servers: what every store promises, on each arrangement of servers, and what is Redis's own.

#[path = "../contract/mod.rs"]
mod contract;
mod exact;
mod faults;
mod house;
mod leases;
mod refusals;
mod servers;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use contract::{Case, Subject};
use portcullis_core::{Secret, Timestamp};
use portcullis_limit::{
    Algorithm, Ask, Charge, Denied, Key, Limiter, Receipt, RedisOptions, RedisStore, SharedStore as _, Standing,
};
use servers::Server;
use tokio::runtime::Runtime;

/// A store on a runtime of its own, as the gateway has it.
pub(crate) fn store(options: &RedisOptions) -> (RedisStore, Runtime) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let store = RedisStore::new(options, runtime.handle()).expect("a store");
    (store, runtime)
}

/// Options for tests on a machine that is busy with others: the wait is long, except where it is what is tested.
pub(crate) fn options(url: &str) -> RedisOptions {
    RedisOptions::parse(url).expect("a URL").timeout(Duration::from_secs(5))
}

/// A store whose time stands where a test sets it.
struct Remote {
    store: Arc<RedisStore>,
    /// Over the same store, for what a limiter makes of several questions.
    limiter: Limiter,
    runtime: Runtime,
}

impl Subject for Remote {
    fn charge(&self, asks: &[Ask<'_>], now: Timestamp) -> Result<Charge, Denied> {
        self.store.set_time(now);
        self.runtime.block_on(self.store.charge(asks)).expect("the store answers")
    }

    fn peek(&self, ask: &Ask<'_>, now: Timestamp) -> Standing {
        self.store.set_time(now);
        self.runtime.block_on(self.store.peek(ask)).expect("the store answers")
    }

    fn give_back(&self, receipt: &Receipt, now: Timestamp) {
        self.store.set_time(now);
        self.store.give_back(receipt.clone());
    }

    fn reset(&self, limit: &str, key: &Key) -> bool {
        self.runtime.block_on(self.store.reset(limit, key)).expect("the store answers")
    }

    fn take(&self, ask: &Ask<'_>, now: Timestamp) -> u64 {
        self.store.set_time(now);
        self.runtime.block_on(self.limiter.take(ask, now)).expect("the store answers")
    }

    fn reward(&self, ask: &Ask<'_>, now: Timestamp) {
        self.store.set_time(now);
        self.runtime.block_on(self.limiter.reward(ask, now)).expect("the store answers");
    }

    fn block(&self, ask: &Ask<'_>, how_long: Duration, now: Timestamp) -> Timestamp {
        self.store.set_time(now);
        self.runtime.block_on(self.limiter.block(ask, how_long, now)).expect("the store answers")
    }

    fn unblock(&self, limit: &str, key: &Key, now: Timestamp) -> bool {
        self.store.set_time(now);
        self.runtime.block_on(self.limiter.unblock(limit, key, now)).expect("the store answers")
    }
}

fn keeps_the_contract(options: &RedisOptions) {
    let (store, runtime) = store(options);
    runtime.block_on(store.ping()).expect("the servers are there");
    let store = Arc::new(store);
    let limiter = Limiter::default().sharing(Arc::clone(&store) as _, Duration::from_secs(5), Arc::new(|_| {}));
    let subject = Remote { store, limiter, runtime };
    macro_rules! of_redis {
        ($($name:ident),*) => {
            $(
                println!("{}", stringify!($name));
                contract::$name(&Case::new(&subject));
            )*
        };
    }
    contract::promises!(of_redis);
}

/// More at once than any buffer on the way holds, each with another answer, and some whose callers have gone: every answer
/// comes to the one who asked.
fn answers_whom_it_was_asked_by(options: &RedisOptions) {
    let (store, runtime) = store(options);
    runtime.block_on(store.ping()).expect("the servers are there");
    let rates = Algorithm::ALL.map(|algorithm| contract::rate(algorithm, 5_000, contract::window(algorithm)));
    let asks: Vec<[Ask<'_>; 1]> = (0..4_000_u64)
        .map(|n| {
            let mut key = Key::new(0);
            key.push_text('u', &format!("{n:040}"));
            [contract::ask(&rates[n as usize % rates.len()], &key, n + 1)]
        })
        .collect();
    runtime.block_on(async {
        let mut calls: Vec<_> = asks.iter().map(|ask| Some(store.charge(ask))).collect();
        let mut answered = 0;
        std::future::poll_fn(|cx| {
            let mut waiting = false;
            for (call, ask) in calls.iter_mut().zip(&asks) {
                let Some(future) = call else { continue };
                match future.as_mut().poll(cx) {
                    Poll::Ready(answer) => {
                        let charge = answer.expect("the store answers").expect("there is room");
                        assert_eq!(charge.standings()[0].remaining, 5_000 - ask[0].cost, "{}", ask[0].rate.algorithm());
                        answered += 1;
                        *call = None;
                    }
                    Poll::Pending if ask[0].cost % 7 == 0 => *call = None,
                    Poll::Pending => waiting = true,
                }
            }
            if waiting { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        assert!(answered >= 4_000 - 4_000 / 7, "{answered}");
    });
}

#[test]
fn l2_one_redis_keeps_the_contract() {
    let server = Server::start(&[]);
    keeps_the_contract(&options(&server.url()));
    answers_whom_it_was_asked_by(&options(&server.url()));
}

#[test]
fn l2_redis_over_tls_with_a_user_that_may_do_no_more_keeps_the_contract() {
    let directory = tempfile::tempdir().expect("a directory");
    servers::certificates(directory.path());
    let path = |name: &str| directory.path().join(name).display().to_string();
    let port = servers::free_port();
    let rights = "user gate on >s3cret:/@% ~rl:* +eval +evalsha +script|load +get +set +del +time +lindex +llen +lset +ltrim \
                  +lpush +rpush +lrem +pexpire +info +role +select +cluster|slots";
    std::fs::write(directory.path().join("users.acl"), format!("user default off\n{rights}\n")).expect("a file");
    let words = format!(
        "--port 0 --tls-port {port} --tls-cert-file {} --tls-key-file {} --tls-ca-cert-file {} --tls-auth-clients no \
         --aclfile {}",
        path("cert.pem"),
        path("key.pem"),
        path("ca.pem"),
        path("users.acl")
    );
    let _server = Server::on(port, "redis-server", words.split(' ').map(str::to_owned).collect());
    let options = options(&format!("rediss://gate:s3cret%3A%2F%40%25@127.0.0.1:{port}")).ca_file(path("ca.pem"));
    keeps_the_contract(&options);
    answers_whom_it_was_asked_by(&options);

    // Another authority's word counts for nothing, and the wrong password neither.
    let (stranger, runtime) = store(&RedisOptions::parse(&format!("rediss://127.0.0.1:{port}")).expect("a URL"));
    let error = runtime.block_on(stranger.ping()).expect_err("nobody that we trust vouches for it");
    assert_eq!(error.kind(), "unavailable", "{error}");
    let (wrong, runtime) = store(&options.password(Secret::new("hunter2".into())));
    let error = runtime.block_on(wrong.ping()).expect_err("the password is wrong");
    assert!(error.kind() == "not-allowed" && !error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn l2_a_redis_cluster_of_three_nodes_keeps_the_contract() {
    let nodes = servers::cluster(0);
    answers_whom_it_was_asked_by(&options(&format!("redis-cluster://127.0.0.1:{}", nodes[0].port)));
    keeps_the_contract(&options(&format!("redis-cluster://127.0.0.1:{},127.0.0.1:{}", nodes[1].port, nodes[2].port)));
}

#[test]
fn l2_a_master_that_sentinels_watch_keeps_the_contract() {
    let watched = servers::watched(Some("s3ntinel"));
    keeps_the_contract(&watched.options().timeout(Duration::from_secs(5)));
    // The Sentinels have a password of their own, and are not let down by a wrong one.
    let (wrong, runtime) = store(&watched.options().sentinel_login(None, Secret::new("hunter2".into())));
    let error = runtime.block_on(wrong.ping()).expect_err("no Sentinel speaks to us");
    assert!(error.kind() == "not-allowed" && !error.to_string().contains("hunter2"), "{error}");
}
