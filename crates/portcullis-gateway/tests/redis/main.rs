//! Several gates that count together in a real Redis: exactly, whatever befalls them, and what each limit does while it is
//! away (L1 to L14).

mod asked;
mod crowd;
mod exact;
mod hostile;
mod keys;
mod link;
mod outage;
mod recovery;
mod reputation;
mod schedules;
#[path = "../../../portcullis-limit/tests/redis/servers.rs"]
#[expect(dead_code, reason = "one harness for the tests of the store and for these")]
mod servers;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "one harness for all tests of the binary")]
mod support;
mod told;

use std::time::{Duration, Instant};

use servers::Server;
use support::PROJECT_ROUTES;
use support::origin::Origin;
use support::process::{Gateway, Setup};

/// A gate whose limits are in this Redis.
fn gate(origin: &Origin, redis: &Server, limits: &str) -> Gateway {
    gate_at(origin, &redis.url(), limits)
}

fn gate_at(origin: &Origin, url: &str, limits: &str) -> Gateway {
    let store = format!("[limits]\nstore = \"{url}\"\n\n{limits}");
    Setup::before(origin).with(PROJECT_ROUTES).with(&store).start()
}

/// Several gates, started at once.
fn gates<const N: usize>(start: impl Fn(usize) -> Gateway + Sync) -> [Gateway; N] {
    let all: Vec<Gateway> = std::thread::scope(|scope| {
        let start = &start;
        let starting: Vec<_> = (0..N).map(|number| scope.spawn(move || start(number))).collect();
        starting.into_iter().map(|gate| gate.join().expect("it starts")).collect()
    });
    all.iter().for_each(up);
    all.try_into().unwrap_or_else(|_| unreachable!("as many as were started"))
}

fn limit(name: &str, path: &str, rest: &str) -> String {
    format!("[[limit]]\nname = \"{name}\"\nmatch = \"GET /public/{path}\"\nkey = \"address\"\n{rest}\n\n")
}

/// Waits until a gate's metric has this value.
fn metric(gateway: &Gateway, line: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !gateway.operator().metrics().lines().any(|told| told == line) {
        assert!(Instant::now() < deadline, "never {line}:\n{}", gateway.operator().metrics());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The number of a gate's metric.
fn figure(gateway: &Gateway, name: &str) -> u64 {
    let metrics = gateway.operator().metrics();
    let mut values = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    values.next().unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

/// Waits until a gate counts in its store. A busy machine may have made an answer late: then a request has to try.
fn up(gateway: &Gateway) {
    let config = gateway.config_text();
    let counted = config.split("[[limit]]").nth(1).and_then(|limit| limit.split("match = \"").nth(1));
    let pattern = counted.and_then(|rest| rest.split('"').next()).expect("a limit that names its requests");
    let path = pattern.trim_start_matches("GET ").replace("**", "up");
    let deadline = Instant::now() + Duration::from_secs(10);
    while figure(gateway, "portcullis_limit_store_up") != 1 {
        assert!(Instant::now() < deadline, "it does not count in its store: {}", gateway.operator().metrics());
        gateway.client().get(&path).send();
        std::thread::sleep(Duration::from_millis(20));
    }
}
