//! Gates that lease portions of their limits from one Redis (L11).

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis_core::{Clock as _, SystemClock};
use rustix::process::Signal;

use super::exact::patient_gate;
use super::servers::Server;
use super::support::client::Client;
use super::support::origin::Origin;
use super::support::process::Gateway;
use super::{figure, gate, gates, limit, metric, up};

/// The part of what is left that a gate holds at most beyond what requests wait for.
const SHARE: u64 = 16;

/// A Redis that an operator says has lost nothing, so that nobody waits for it to settle.
fn redis() -> Server {
    let redis = Server::start(&[]);
    redis.cli(&["set", "rl::epoch", "open"]);
    redis
}

/// It is `closed` because what a gate decides alone, when Redis is late on a busy machine, is not what these are about.
fn leased(window: &str) -> String {
    limit(
        "leased",
        "a",
        &format!("quota = \"100 per {window}\"\nalgorithm = \"fixed-window\"\nlease = true\noutage = \"closed\""),
    )
}

#[test]
fn l11_four_gates_lease_and_admit_at_most_the_quota_even_when_one_is_killed() {
    let (origin, redis) = (Origin::echo(), redis());
    let mut gates: Vec<Gateway> = (0..4).map(|_| patient_gate(&origin, &redis, &leased("day"))).collect();
    gates.iter().for_each(up);
    let address = gates[0].client().address;
    let listen: Vec<_> = gates.iter().map(|gate| gate.listen).collect();
    let (admitted, asked, unanswered) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let victim = Mutex::new(&mut gates[3]);
    std::thread::scope(|scope| {
        for number in 0..20 {
            let (admitted, asked, unanswered, victim) = (&admitted, &asked, &unanswered, &victim);
            let listen = listen[number % 4];
            scope.spawn(move || {
                let client = Client::at(listen, address);
                for _ in 0..50 {
                    match client.get("/public/a").try_send() {
                        Ok(reply) => drop(admitted.fetch_add(u64::from(reply.status == 200), Ordering::Relaxed)),
                        Err(_) => drop(unanswered.fetch_add(1, Ordering::Relaxed)),
                    }
                    if asked.fetch_add(1, Ordering::Relaxed) == 40 {
                        victim.lock().unwrap().kill();
                    }
                }
            });
        }
    });
    let admitted = admitted.into_inner();
    println!("{admitted} admitted of 1,000; {} were never answered", unanswered.into_inner());
    // What the dead one held is lost, and what it had charged for the five who were with it.
    let least = 100 - 3 * (100 / SHARE) - 5 - 100 / SHARE;
    assert!((least..=100).contains(&admitted), "{admitted}");
    // What the living ones hold and do not need comes back.
    let (begun, mut more) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(3) {
        more += u64::from(Client::at(listen[0], address).get("/public/a").send().status == 200);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!((100 - 5 - 100 / SHARE..=100).contains(&(admitted + more)), "{admitted} and {more}");
}

#[test]
fn l11_after_its_redis_was_emptied_a_leased_limit_is_closed_until_its_window_is_over() {
    let (origin, redis) = (Origin::echo(), redis());
    let mut gateway = gate(&origin, &redis, &leased("10s"));
    up(&gateway);
    let client = gateway.client();
    let into = || SystemClock.now().as_millis() % 10_000;
    while into() > 1_000 {
        std::thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..20 {
        client.get("/public/a").send().expect(200);
    }
    assert_eq!(redis.cli(&["flushall"]), "OK");
    let mut more = 0;
    let refused = loop {
        let reply = client.get("/public/a").send();
        if reply.status != 200 {
            break reply.refused(429, "Rate limit exceeded");
        }
        more += 1;
        assert!(more <= 100 / SHARE, "it counts anew");
    };
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=11).contains(&wait), "{wait}");
    assert!(figure(&gateway, "portcullis_limit_lease_closed_total") >= 1);
    let shown = gateway.command(&["limits", "show", "leased", "--address", &client.address.to_string()]);
    assert!(String::from_utf8_lossy(&shown.stdout).starts_with("leased: 0 of 100 left"), "{shown:?}");
    assert!(gateway.process().output().contains("may have lost what it had counted"));
    std::thread::sleep(Duration::from_secs(wait));
    client.get("/public/a").send().expect(200);
}

#[test]
fn l11_a_gate_that_stops_gives_back_what_it_holds_and_one_that_is_cut_off_goes_on_with_it() {
    let (origin, mut redis) = (Origin::echo(), redis());
    let limits =
        limit("leased", "a", "quota = \"100000 per day\"\nalgorithm = \"calendar\"\nlease = true\noutage = \"closed\"");
    let mut gateway = gate(&origin, &redis, &limits);
    up(&gateway);
    let client = gateway.client();
    let mut sent = 0;
    // Until it has learnt how much it needs.
    while figure(&gateway, "portcullis_limit_leased_units") < 20 {
        for _ in 0..50 {
            client.get("/public/a").send().expect(200);
            sent += 1;
        }
        assert!(sent < 20_000, "it leases nothing");
    }
    assert!(figure(&gateway, "portcullis_limit_leased_decisions_total") > sent / 2);
    redis.signal("-STOP");
    metric(&gateway, "portcullis_limit_store_up 0");
    let held = figure(&gateway, "portcullis_limit_leased_units");
    for _ in 0..held {
        client.get("/public/a").send().expect(200);
        sent += 1;
    }
    client.get("/public/a").send().refused(503, "Service unavailable");
    redis.signal("-CONT");
    up(&gateway);
    let back = Instant::now();
    while figure(&gateway, "portcullis_limit_leased_units") < 20 {
        sent += (0..50).filter(|_| client.get("/public/a").send().status == 200).count() as u64;
        assert!(back.elapsed() < Duration::from_secs(10), "it leases nothing any more");
    }
    gateway.process().signal(Signal::TERM);
    gateway.process().ended(Duration::from_secs(10));
    // Whoever asked whether the store is up may have a cell as well.
    let cell = redis.cli(&["get", &format!("rl:leased:{}", client.address)]);
    let charged: u64 = cell.rsplit(' ').next().unwrap().parse().unwrap();
    // An answer that came too late has charged what nobody knows of.
    println!("{sent} sent, {charged} charged");
    assert!(charged >= sent && charged - sent < 1_000, "{sent} sent, {charged} charged");
    redis.kill();
}

/// What `portcullis limits …` answers: its code, and what it says; where that is nothing, why.
fn limits(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String) {
    let output = gateway.command(&[&["limits"], arguments].concat());
    let told = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    (output.status.code(), String::from_utf8(told).expect("a text"))
}

#[test]
fn l11_an_operator_who_knows_that_nothing_was_lost_opens_leases_again() {
    let (origin, redis) = (Origin::echo(), redis());
    let gates = gates::<2>(|_| gate(&origin, &redis, &leased("day")));
    let address = gates[0].client().address;
    let status = |gateway: &Gateway| Client::at(gateway.listen, address).get("/public/a").send().status;
    let listed = limits(&gates[0], &["list"]).1;
    assert!(listed.trim_end().ends_with("on GET /public/a (leased) (outage closed)"), "{listed}");
    assert_eq!(
        limits(&gates[0], &["reopen"]),
        (Some(0), "the store of the limits knows of no loss: leases were open\n".into())
    );
    assert_eq!([status(&gates[0]), status(&gates[1])], [200, 200]);
    assert_eq!(redis.cli(&["flushall"]), "OK");
    let deadline = Instant::now() + Duration::from_secs(5);
    while gates.iter().any(|gateway| status(gateway) != 429) {
        assert!(Instant::now() < deadline, "nobody closes");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (code, told) = limits(&gates[0], &["reopen"]);
    assert!(code == Some(0) && told.contains("leases are open within a second"), "{code:?} {told}");
    let said = Instant::now();
    while gates.iter().any(|gateway| status(gateway) != 200) {
        assert!(said.elapsed() < Duration::from_secs(2), "nobody opens");
        std::thread::sleep(Duration::from_millis(20));
    }
    let rows = gates[0]
        .accounts()
        .texts("SELECT client || '|' || detail FROM audit WHERE action = 'leases_reopened' AND at > 0");
    assert_eq!(rows, ["operator 127.0.0.1|the store of the limits lost nothing"; 2]);
    assert_eq!(gates[1].accounts().texts("SELECT action FROM audit WHERE action = 'leases_reopened'").len(), 0);

    redis.signal("-STOP");
    let (code, told) = limits(&gates[0], &["reopen"]);
    redis.signal("-CONT");
    assert!(code == Some(1) && told.contains("did not answer"), "{code:?} {told}");
}

#[test]
fn l9_l11_a_candidate_is_judged_in_the_place_of_a_leased_limit_as_in_that_of_another() {
    let (origin, redis) = (Origin::echo(), redis());
    let candidate = |name: &str, quota: &str, lease: bool| {
        let rest = format!("quota = \"{quota} per day\"\nalgorithm = \"fixed-window\"\nlease = {lease}");
        limit(name, "a", &format!("{rest}\nmode = \"report\"\nreplaces = \"live\""))
    };
    let live = limit("live", "a", "quota = \"40 per day\"\nalgorithm = \"fixed-window\"\nlease = true");
    let file =
        live + &candidate("less", "30", true) + &candidate("more", "50", true) + &candidate("plain", "30", false);
    let gateway = gate(&origin, &redis, &file);
    up(&gateway);
    let client = gateway.client();
    let passed = (0..60).filter(|_| client.get("/public/a").send().status == 200).count();
    assert_eq!(passed, 40);
    let told = limits(&gateway, &["compare"]).1;
    let compared = |name: &str| {
        let line = told.lines().find(|line| line.split_whitespace().nth(1) == Some(name)).unwrap();
        line.split_whitespace().skip(2).take(5).map(|number| number.parse().unwrap()).collect::<Vec<u64>>()
    };
    // Requests, both admit, both refuse, only the live one, only the candidate.
    assert_eq!(compared("less"), [60, 30, 20, 0, 10], "{told}");
    assert_eq!(compared("plain"), [60, 30, 20, 0, 10], "{told}");
    assert_eq!(compared("more"), [60, 40, 10, 10, 0], "{told}");
    // What they hold goes back, so that each count is that of the same limit alone.
    for (name, left) in [("live", "0 of 40"), ("less", "0 of 30"), ("plain", "0 of 30"), ("more", "0 of 50")] {
        let (_, shown) = limits(&gateway, &["show", name, "--address", &client.address.to_string()]);
        assert!(shown.starts_with(&format!("{name}: {left} left")), "{shown}");
    }
}
