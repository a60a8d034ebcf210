//! Counts in memcached, on real servers: what every store promises, of the algorithms that it carries, and what is
//! memcached's own.

#[path = "../contract/mod.rs"]
mod contract;
mod exact;
mod faults;
#[path = "../redis/house.rs"]
mod house;
mod refusals;
#[path = "../redis/servers.rs"]
#[expect(dead_code, reason = "one harness for all servers that tests start")]
mod servers;
mod windows;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use contract::{Case, Subject};
use house::key;
use portcullis_core::Timestamp;
use portcullis_limit::{
    Algorithm, Answer, Ask, Charge, Denied, Key, Limiter, MemcachedOptions, MemcachedStore, Rate, Receipt,
    SharedStore as _, Standing,
};
use servers::Server;
use tokio::runtime::Runtime;

/// The algorithms that memcached carries.
pub(crate) const CARRIED: [Algorithm; 2] = [Algorithm::FixedWindow, Algorithm::Calendar];

/// A memcached with these options more.
pub(crate) fn memcached(options: &[&str]) -> Server {
    let port = servers::free_port();
    let listen = ["-l", "127.0.0.1", "-U", "0", "-u", "nobody", "-p", &port.to_string()].map(str::to_owned);
    let more = options.iter().map(|text| (*text).to_owned());
    Server::on(port, "memcached", listen.into_iter().chain(more).collect())
}

pub(crate) fn url(server: &Server) -> String {
    format!("memcached://127.0.0.1:{}", server.port)
}

/// What a server answers to these lines, as far as it comes before the answer to one more.
pub(crate) fn say(server: &Server, lines: &str) -> String {
    let said = exchange(server, &format!("{lines}\r\nmn\r\n"), "MN\r\n");
    said.trim_end_matches("MN\r\n").to_owned()
}

fn exchange(server: &Server, lines: &str, end: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream.write_all(lines.as_bytes()).expect("it reads");
    let mut said = Vec::new();
    while !said.ends_with(end.as_bytes()) {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).expect("it answers");
        assert!(count > 0, "it left after {:?}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&bytes[..count]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// The names of the items that a server holds. The list is made by a thread of its own, which may not have seen the newest.
pub(crate) fn items(server: &Server) -> Vec<String> {
    let dump = exchange(server, "lru_crawler metadump all\r\n", "END\r\n");
    let names = dump.lines().filter_map(|line| line.strip_prefix("key=")?.split(' ').next());
    // They are escaped there as in a URL.
    let plain = |name: &str| {
        [("%3A", ":"), ("%3B", ";"), ("%3D", "=")]
            .iter()
            .fold(name.to_owned(), |name, (from, to)| name.replace(from, to).replace(&from.to_ascii_lowercase(), to))
    };
    names.map(plain).collect()
}

/// A store on a runtime of its own, as the gateway has it.
pub(crate) fn store(options: &MemcachedOptions) -> (MemcachedStore, Runtime) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let store = MemcachedStore::new(options, runtime.handle()).expect("a store");
    (store, runtime)
}

/// Options for tests on a machine that is busy with others: the wait is long, except where it is what is tested.
pub(crate) fn options(url: &str) -> MemcachedOptions {
    MemcachedOptions::parse(url).expect("a URL").timeout(Duration::from_secs(5))
}

/// Asks all at once, and waits for every answer.
pub(crate) fn at_once(store: &MemcachedStore, runtime: &Runtime, asks: &[Vec<Ask<'_>>]) -> Vec<Answer> {
    runtime.block_on(async {
        let mut calls: Vec<_> = asks.iter().map(|asks| (store.charge(asks), None)).collect();
        std::future::poll_fn(|cx| {
            let mut waiting = false;
            for (call, answer) in calls.iter_mut().filter(|(_, answer)| answer.is_none()) {
                match call.as_mut().poll(cx) {
                    Poll::Ready(said) => *answer = Some(said),
                    Poll::Pending => waiting = true,
                }
            }
            if waiting { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        calls.into_iter().filter_map(|(_, answer)| answer).collect()
    })
}

/// A store whose time stands where a test sets it.
struct Remote {
    store: Arc<MemcachedStore>,
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
        // What nothing has been counted by has no windows yet.
        CARRIED.iter().for_each(|algorithm| {
            let rate = contract::rate(*algorithm, 1, contract::window(*algorithm));
            self.store.introduce(limit, &rate).expect("it is carried");
        });
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

    fn carries(&self, rate: &Rate) -> bool {
        MemcachedStore::carries(rate).is_ok()
    }

    /// Its time is how long it runs.
    fn may_be_set_back(&self) -> bool {
        false
    }
}

fn keeps_the_contract(options: &MemcachedOptions) {
    let (store, runtime) = store(options);
    runtime.block_on(store.ping()).expect("the servers are there");
    let store = Arc::new(store);
    let limiter = Limiter::default().sharing(Arc::clone(&store) as _, Duration::from_secs(5), Arc::new(|_| {}));
    let subject = Remote { store, limiter, runtime };
    assert_eq!(Case::new(&subject).algorithms(), CARRIED);
    macro_rules! of_memcached {
        ($($name:ident),*) => {
            $(
                println!("{}", stringify!($name));
                contract::$name(&Case::new(&subject));
            )*
        };
    }
    contract::promises!(of_memcached);
}

/// More at once than any buffer on the way holds, each with another answer, and some whose callers have gone: every answer
/// comes to the one who asked.
fn answers_whom_it_was_asked_by(options: &MemcachedOptions) {
    let (store, runtime) = store(options);
    runtime.block_on(store.ping()).expect("the servers are there");
    let rates = CARRIED.map(|algorithm| contract::rate(algorithm, 5_000, contract::window(algorithm)));
    let asks: Vec<Vec<Ask<'_>>> = (0..4_000_u64)
        .map(|n| vec![contract::ask(&rates[n as usize % rates.len()], &key(&format!("{n:040}")), n + 1)])
        .collect();
    runtime.block_on(async {
        for ask in asks.iter().filter(|ask| ask[0].cost % 7 == 0) {
            let mut call = store.charge(ask);
            let _ = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
        }
    });
    let asks: Vec<_> = asks.into_iter().filter(|ask| ask[0].cost % 7 != 0).collect();
    for (answer, ask) in at_once(&store, &runtime, &asks).into_iter().zip(&asks) {
        let charge = answer.expect("the store answers").expect("there is room");
        assert_eq!(charge.standings()[0].remaining, 5_000 - ask[0].cost, "{}", ask[0].rate.algorithm());
    }
}

#[test]
fn l2_one_memcached_keeps_the_contract() {
    let server = memcached(&[]);
    keeps_the_contract(&options(&url(&server)));
    answers_whom_it_was_asked_by(&options(&url(&server)));
}

#[test]
fn l2_several_memcached_share_the_keys_and_keep_the_contract() {
    let servers = [memcached(&[]), memcached(&[]), memcached(&[])];
    let [a, b, c] = servers.each_ref().map(|server| format!("127.0.0.1:{}", server.port));
    keeps_the_contract(&options(&format!("memcached://{a},{b},{c}")));
    answers_whom_it_was_asked_by(&options(&format!("memcached://{c},{a},{b}")));
    for server in &servers {
        let held = say(server, "stats").lines().find_map(|line| line.strip_prefix("STAT curr_items ")?.parse().ok());
        assert!(held > Some(500_u64), "{held:?}");
    }
}

#[test]
fn l2_memcached_over_tls_keeps_the_contract() {
    let directory = tempfile::tempdir().expect("a directory");
    servers::certificates(directory.path());
    let path = |name: &str| directory.path().join(name).display().to_string();
    // The server gives up root before it reads them.
    for name in ["", "cert.pem", "key.pem"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path().join(name), mode).expect("they are ours");
    }
    let tls = format!("ssl_chain_cert={},ssl_key={}", path("cert.pem"), path("key.pem"));
    let server = memcached(&["-Z", "-o", &tls]);
    let url = url(&server).replace("memcached:", "memcacheds:");
    let ours = options(&url).ca_file(path("ca.pem"));
    keeps_the_contract(&ours);
    answers_whom_it_was_asked_by(&ours);
    // Another authority's word counts for nothing, and neither does a server that speaks in the clear.
    let (stranger, runtime) = store(&options(&url));
    let error = runtime.block_on(stranger.ping()).expect_err("nobody that we trust vouches for it");
    assert_eq!(error.kind(), "unavailable", "{error}");
}

#[test]
fn l2_an_algorithm_that_memcached_cannot_carry_is_refused_and_nothing_is_charged() {
    let server = memcached(&[]);
    let (store, runtime) = store(&options(&url(&server)));
    runtime.block_on(store.ping()).expect("the server is there");
    let fixed = contract::rate(Algorithm::FixedWindow, 9, Duration::from_secs(60));
    let too_short = contract::rate(Algorithm::FixedWindow, 9, Duration::from_millis(500));
    let refused = Algorithm::ALL.into_iter().filter(|algorithm| !CARRIED.contains(algorithm));
    let rates = refused.map(|algorithm| contract::rate(algorithm, 9, Duration::from_secs(60)));
    for rate in rates.chain([too_short]) {
        let stack = [contract::ask(&fixed, &key("a"), 1), contract::ask(&rate, &key("b"), 1)];
        let error = runtime.block_on(store.charge(&stack)).expect_err("it is not carried");
        assert_eq!(error.kind(), "not-carried");
        let message = error.to_string();
        let hint = if rate == too_short { "at least one" } else { "it carries fixed-window and calendar" };
        assert!(message.contains(hint) && message.contains(&server.port.to_string()), "{message}");
        assert_eq!(runtime.block_on(store.peek(&stack[1])).expect_err("it is not carried").kind(), "not-carried");
        let untouched = Ask { cost: 0, ..stack[0].clone() };
        assert_eq!(runtime.block_on(store.peek(&untouched)).expect("it answers").remaining, 9);
    }
}
