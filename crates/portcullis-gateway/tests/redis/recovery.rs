//! A Redis that comes back, is slow, or hands over to another: nobody waits, nothing piles up, and it is not trampled (L10).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::crowd::Stop;
use crate::link::{Link, Wire};
use crate::servers::{self, Server, wait_until};
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::process::Gateway;
use crate::{figure, gate_at, gates, limit, up};

/// What a decision may take with everything around it.
const DECISION: Duration = Duration::from_millis(50);

/// Who asks all the time while something happens: eight at each gate, with addresses of their own. How long each of their
/// requests took, and how many came.
fn load(gates: &[&Gateway], happens: impl FnOnce()) -> Vec<Duration> {
    let stop = AtomicBool::new(false);
    let ask = |client: &Client| {
        let mut took = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let status = client.get("/public/a").send().status;
            took.push(begun.elapsed());
            assert_eq!(status, 200);
            std::thread::sleep(Duration::from_millis(4));
        }
        took
    };
    std::thread::scope(|scope| {
        let ask = &ask;
        let _end = Stop(&stop);
        let asking: Vec<_> = gates
            .iter()
            .flat_map(|gate| std::iter::repeat_n(*gate, 8))
            .map(|gate| {
                let client = gate.client();
                scope.spawn(move || ask(&client))
            })
            .collect();
        happens();
        stop.store(true, Ordering::Relaxed);
        asking.into_iter().flat_map(|one| one.join().expect("every request is admitted")).collect()
    })
}

/// Most are answered long before patience would have ended. A machine that is busy with other tests holds up some of them,
/// whatever they wait for; what waits for the store, or for others that do, would be nearly all.
fn nobody_waits(took: &[Duration]) {
    let late = took.iter().filter(|took| **took > DECISION * 2 / 3).count();
    assert!(late * 2 < took.len(), "{late} of {} waited", took.len());
}

/// Two seconds from a moment on, and what a busy machine adds to everything.
fn within_two_seconds(since: Instant, calm: &[Duration]) {
    let mut calm = calm.to_vec();
    calm.sort_unstable();
    let bound = Duration::from_secs(2) + calm[calm.len() / 2] * 200;
    assert!(since.elapsed() < bound, "{:?} of {bound:?}", since.elapsed());
}

/// How much memory a gate has, in KiB.
pub(crate) fn memory(gate: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gate.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory is told");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// How often a command was run since the statistics were set back.
fn calls(server: &Server, command: &str) -> u64 {
    let stats = server.cli(&["info", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |rest| rest.split(',').next().unwrap_or_default().parse().expect("a number"))
}

const WIDE: &str = "quota = \"1000000 per 30d\"";

#[test]
fn l10_a_redis_that_returns_is_found_by_few_who_ask_again_and_not_trampled() {
    let (origin, redis) = (Origin::echo(), Server::start(&[]));
    let links: [Link; 4] = std::array::from_fn(|_| Link::to(redis.port));
    let gates: [Gateway; 4] = gates(|at| gate_at(&origin, &links[at].url(), &limit("wide", "a", WIDE)));
    let opened = || links.iter().map(Link::opened).sum::<usize>();
    let calm = load(&gates.iter().collect::<Vec<_>>(), || std::thread::sleep(Duration::from_millis(300)));
    let mut before = 0;
    let mut clients = String::new();
    let (mut first, mut charges, mut asked) = (0, 0, 0);
    let took = load(&gates.iter().collect::<Vec<_>>(), || {
        links.iter().for_each(|link| link.set(Wire::Cut));
        wait_until("all have noticed", || gates.iter().all(|gate| figure(gate, "portcullis_limit_store_up") == 0));
        std::thread::sleep(Duration::from_secs(1));
        redis.cli(&["config", "resetstat"]);
        before = opened();
        let seen = origin.requests().len();
        let returned = Instant::now();
        links.iter().for_each(|link| link.set(Wire::Whole));
        std::thread::sleep(Duration::from_millis(900));
        first = opened() - before;
        charges = calls(&redis, "evalsha") + calls(&redis, "eval");
        asked = origin.requests().len() - seen;
        clients = redis.cli(&["info", "clients"]);
        gates.iter().for_each(up);
        within_two_seconds(returned, &calm);
    });
    nobody_waits(&took);
    // As many connections as gates have when nothing ever happened, and no more charges than requests: whatever was asked
    // meanwhile is not asked again. Each gate looks after the store twice a second, and loads its scripts once.
    let usual = opened_by_one(&origin, &redis);
    println!("{first} connections, {usual} for one gate; {charges} charges for {asked} requests");
    assert!(first <= 4 * usual, "{first} connections in the first second, {usual} for a gate; {clients}");
    assert!(charges <= asked as u64 + 40, "{charges} charges for {asked} requests");
}

/// How many connections a gate opens to a Redis that is there.
fn opened_by_one(origin: &Origin, redis: &Server) -> usize {
    let link = Link::to(redis.port);
    let gate = gate_at(origin, &link.url(), &limit("wide", "a", WIDE));
    up(&gate);
    load(&[&gate], || std::thread::sleep(Duration::from_millis(300)));
    link.opened()
}

#[test]
fn l10_a_redis_that_is_slow_by_200_ms_holds_nobody_up_and_nothing_piles_up() {
    let (origin, redis) = (Origin::echo(), Server::start(&[]));
    let link = Link::to(redis.port);
    let gate = gate_at(&origin, &link.url(), &limit("wide", "a", WIDE));
    up(&gate);
    // So that buffers, tables and threads have the size that they need.
    let calm = load(&[&gate], || std::thread::sleep(Duration::from_millis(500)));
    let before = memory(&gate);
    let mut asked = 0;
    let took = load(&[&gate], || {
        link.set(Wire::Slow(Duration::from_millis(200)));
        redis.cli(&["config", "resetstat"]);
        std::thread::sleep(Duration::from_secs(5));
        asked = calls(&redis, "evalsha") + calls(&redis, "eval");
        link.set(Wire::Whole);
        let returned = Instant::now();
        up(&gate);
        within_two_seconds(returned, &calm);
    });
    nobody_waits(&took);
    assert!(took.len() > 1000, "{} requests are no load", took.len());
    // Those under way when it became slow, pings, and now and then one that tries.
    assert!(asked <= 100, "{asked} questions in five seconds to a store that is known to be slow");
    let grown = memory(&gate).saturating_sub(before);
    println!("{} requests, {asked} questions while slow, {grown} KiB more", took.len());
    assert!(grown < 16 * 1024, "{grown} KiB more");
}

#[test]
fn l10_while_sentinels_fail_over_nobody_waits_and_the_new_master_counts_within_two_seconds() {
    let (origin, mut watched) = (Origin::echo(), servers::watched(None));
    let gates: [Gateway; 2] = gates(|_| gate_at(&origin, &watched.url(), &limit("wide", "a", WIDE)));
    let calm = load(&gates.iter().collect::<Vec<_>>(), || std::thread::sleep(Duration::from_millis(300)));
    let before = gates.iter().map(memory).max();
    let took = load(&gates.iter().collect::<Vec<_>>(), || {
        watched.master.kill();
        wait_until("the replica is made master", || watched.replica.cli(&["role"]).starts_with("master"));
        let ended = Instant::now();
        gates.iter().for_each(up);
        within_two_seconds(ended, &calm);
        let counted = calls(&watched.replica, "evalsha");
        wait_until("the new master counts", || calls(&watched.replica, "evalsha") > counted + 20);
    });
    nobody_waits(&took);
    let grown = gates.iter().map(memory).max().unwrap_or_default().saturating_sub(before.unwrap_or_default());
    assert!(grown < 16 * 1024, "{grown} KiB more");
}
