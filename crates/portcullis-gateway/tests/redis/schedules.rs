//! Whatever befalls the gates, their Redis and the wires between them, in whatever order: never more than docs/limits.md
//! says. A schedule is made from its seed; which faults meet which request is up to the machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::crowd::{self, ALGORITHMS, Crowd, Dice, QUOTA, STACK, Unknown};
use crate::link::{Link, Wire};
use crate::servers::{self, Server, Watched, wait_until};
use crate::support::PROJECT_ROUTES;
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

const GATES: usize = 3;

/// Where is counted, and what a limit does without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum House {
    /// One Redis that keeps what it acknowledged.
    Kept,
    /// One that writes to its disk, and waits for the disk once a second.
    EverySecond,
    /// One that keeps nothing, and that somebody empties now and then.
    Forgetful,
    /// One that keeps all, and limits that go on without it.
    Alone,
    /// A master with a replica, which Sentinels put in its place.
    Watched,
    /// Three nodes of a cluster, which keep what they acknowledged, and between which slots move.
    Cluster,
}

/// How many there are.
const HOUSES: u64 = 6;

enum Servers {
    One(Server),
    Watched(Watched),
    Cluster(Vec<Server>),
}

/// What has befallen, as far as it raises the bound.
#[derive(Debug, Default)]
struct Befallen {
    /// Servers that lost what they had acknowledged, or may have, and keys that somebody deleted.
    losses: u64,
    /// Gates that were started.
    launches: u64,
    /// Every fault by its name.
    faults: BTreeMap<&'static str, u32>,
}

impl House {
    fn outage(self) -> &'static str {
        if self == Self::Alone { "local" } else { "closed" }
    }

    /// How many quotas may be admitted in a window, as docs/limits.md has it.
    fn bound(self, befallen: &Befallen) -> u64 {
        match self {
            Self::Kept | Self::Cluster => 1,
            Self::EverySecond | Self::Forgetful | Self::Watched => 1 + befallen.losses,
            Self::Alone => 1 + befallen.launches,
        }
    }

    fn servers(self) -> Servers {
        let always = ["--appendonly", "yes", "--appendfsync", "always"];
        match self {
            Self::Kept | Self::Alone => Servers::One(Server::start(&always)),
            Self::EverySecond => Servers::One(Server::start(&["--appendonly", "yes", "--appendfsync", "everysec"])),
            Self::Forgetful => Servers::One(Server::start(&[])),
            Self::Watched => Servers::Watched(servers::watched(None)),
            Self::Cluster => {
                let mut nodes = servers::cluster(0);
                for node in &mut nodes {
                    node.options_for_next_run(&always);
                    node.cli(&["config", "set", "appendfsync", "always", "appendonly", "yes"]);
                    wait_until("it keeps what it acknowledges", || {
                        node.cli(&["info", "persistence"]).contains("aof_rewrite_in_progress:0")
                    });
                }
                Servers::Cluster(nodes)
            }
        }
    }
}

/// A schedule under way.
struct Play {
    house: House,
    dice: Dice,
    servers: Servers,
    links: Vec<Link>,
    gates: Vec<Gateway>,
    befallen: Befallen,
}

impl Play {
    fn new(house: House, seed: u64, origin: &Origin) -> Self {
        let servers = house.servers();
        let (links, urls): (Vec<Link>, Vec<String>) = match &servers {
            Servers::One(server) => {
                let links: Vec<Link> = (0..GATES).map(|_| Link::to(server.port)).collect();
                let urls = links.iter().map(Link::url).collect();
                (links, urls)
            }
            Servers::Watched(watched) => (Vec::new(), vec![watched.url(); GATES]),
            Servers::Cluster(nodes) => {
                (Vec::new(), vec![format!("redis-cluster://127.0.0.1:{}", nodes[0].port); GATES])
            }
        };
        let limits = crowd::limits(house.outage());
        let setups = urls.iter().map(|url| {
            let store = format!("[limits]\nstore = \"{url}\"\n\n{limits}");
            Setup::before(origin).with(PROJECT_ROUTES).with(&store)
        });
        let gates: Vec<Gateway> = std::thread::scope(|scope| {
            let starting: Vec<_> = setups.map(|setup| scope.spawn(|| setup.start())).collect();
            starting.into_iter().map(|gate| gate.join().expect("it starts")).collect()
        });
        gates.iter().for_each(crate::up);
        let befallen = Befallen { launches: GATES as u64, ..Befallen::default() };
        Self { house, dice: Dice::new(seed), servers, links, gates, befallen }
    }

    fn befalls(&mut self, name: &'static str) {
        *self.befallen.faults.entry(name).or_default() += 1;
    }

    fn one_gate(&mut self) -> usize {
        self.dice.below(GATES as u64) as usize
    }

    /// One fault, and mostly its end. The first ones are those that a schedule must not lack, however short it is.
    fn fault(&mut self, number: u32) {
        let pause = self.dice.millis(5, 400);
        let kind = self.dice.below(8);
        match number {
            0 => return self.kill_a_server(pause),
            1 => return self.break_a_wire(Wire::Deaf, pause),
            2 if self.house == House::Forgetful => return self.delete_keys(),
            _ => {}
        }
        match kind {
            0 => {
                self.befalls("a gate is killed");
                let gate = self.one_gate();
                self.gates[gate].kill();
                std::thread::sleep(pause);
                self.gates[gate].launch();
                self.befallen.launches += 1;
            }
            1 => {
                self.befalls("a gate stands still");
                let gate = self.one_gate();
                self.gates[gate].process().signal(Signal::STOP);
                std::thread::sleep(pause);
                self.gates[gate].process().signal(Signal::CONT);
            }
            2 => self.step_a_clock(),
            3 | 4 => {
                let slow = Wire::Slow(self.dice.millis(1, 200));
                let wire = [Wire::Cut, Wire::Silent, Wire::Deaf, slow][self.dice.below(4) as usize];
                self.break_a_wire(wire, pause);
            }
            5 => {
                self.befalls("a server stands still");
                let server = self.dice.below(3) as usize;
                // Shorter than what Sentinels and nodes take for a death: that fault is another.
                let pause = pause.min(Duration::from_millis(250));
                self.server(server).signal("-STOP");
                std::thread::sleep(pause);
                self.server(server).signal("-CONT");
            }
            6 => {
                let server = self.dice.below(3) as usize;
                if self.dice.below(2) == 0 {
                    self.befalls("connections are closed");
                    self.server(server).cli(&["client", "kill", "type", "normal"]);
                } else {
                    self.befalls("scripts are forgotten");
                    self.server(server).cli(&["script", "flush"]);
                }
            }
            _ if self.house == House::Forgetful && self.dice.below(2) == 0 => self.delete_keys(),
            _ => self.kill_a_server(pause),
        }
    }

    /// Somebody deletes what was counted, while it is counted on: all of it, or key by key.
    fn delete_keys(&mut self) {
        let all = self.dice.below(2) == 0;
        let server = self.server(0);
        if all {
            server.cli(&["flushall"]);
        } else {
            let found = server.cli(&["keys", "rl:*"]);
            let keys: Vec<&str> = found.lines().collect();
            if !keys.is_empty() {
                server.cli(&[&["del"], &keys[..]].concat());
            }
        }
        self.befallen.losses += 1;
        self.befalls(if all { "the server is emptied" } else { "keys are deleted" });
    }

    fn server(&mut self, number: usize) -> &mut Server {
        match &mut self.servers {
            Servers::One(server) => server,
            Servers::Watched(watched) => &mut watched.master,
            Servers::Cluster(nodes) => &mut nodes[number],
        }
    }

    /// One gate's clock goes wrong. Time is the server's, so that it matters to what the gate counts by itself only.
    fn step_a_clock(&mut self) {
        if self.house == House::Alone {
            return self.befalls("nothing");
        }
        self.befalls("a clock is set");
        let gate = self.one_gate();
        let by = format!("{}h", 1 + self.dice.below(40 * 24));
        let operator = self.gates[gate].operator();
        if self.dice.below(2) == 0 { operator.advance(&by) } else { operator.set_back(&by) }
    }

    fn break_a_wire(&mut self, wire: Wire, pause: Duration) {
        if self.links.is_empty() {
            return self.befalls("nothing");
        }
        let gate = self.one_gate();
        self.befalls(match wire {
            Wire::Cut => "a wire is cut",
            Wire::Silent => "a wire is silent",
            Wire::Deaf => "a wire loses answers",
            Wire::Slow(_) | Wire::Whole => "a wire is slow",
        });
        self.links[gate].set(wire);
        std::thread::sleep(pause);
        self.links[gate].set(Wire::Whole);
    }

    fn kill_a_server(&mut self, pause: Duration) {
        match &mut self.servers {
            Servers::One(server) => {
                server.kill();
                std::thread::sleep(pause);
                server.run();
                self.befallen.losses += 1;
                self.befalls("the server is killed");
            }
            Servers::Watched(watched) => {
                // Nobody waits for the replica, so that it may lack what the master has acknowledged.
                watched.master.kill();
                // Not before all Sentinels are through with it: one that finds the old master too soon undoes its work.
                let port = watched.replica.port.to_string();
                wait_until("every Sentinel names the new master", || {
                    let named = |sentinel: &Server| sentinel.cli(&["sentinel", "get-master-addr-by-name", "mymaster"]);
                    watched.sentinels.iter().all(|sentinel| named(sentinel).ends_with(&port))
                });
                std::mem::swap(&mut watched.master, &mut watched.replica);
                watched.replica.run();
                watched.replica.cli(&["replicaof", "127.0.0.1", &watched.master.port.to_string()]);
                wait_until("the old master follows", || {
                    watched.replica.cli(&["info", "replication"]).contains("master_link_status:up")
                });
                self.befalls("the master fails over");
            }
            Servers::Cluster(nodes) => {
                let (from, to) = (self.dice.below(3) as usize, 1 + self.dice.below(2) as usize);
                if self.dice.below(2) == 0 {
                    nodes[from].kill();
                    std::thread::sleep(pause);
                    nodes[from].run();
                    self.befalls("a node is killed");
                } else {
                    move_slots(nodes, from, (from + to) % 3);
                    self.befalls("slots move");
                }
                if let Servers::Cluster(nodes) = &self.servers {
                    wait_until("the cluster is whole", || nodes.iter().all(is_whole));
                }
            }
        }
    }

    /// Waits until everything works again, as far as gates can tell without being asked.
    fn calm(&mut self) {
        if let Servers::Cluster(nodes) = &self.servers {
            wait_until("the cluster is whole", || nodes.iter().all(is_whole));
        }
        let (gates, client) = (&self.gates, self.gates[0].client().address);
        let back = |gate: &Gateway| {
            // One request has to try.
            let _ = Client::at(gate.listen, client).get("/public/calm").try_send();
            gate.operator().metrics().contains("portcullis_limit_store_up 1\n")
        };
        wait_until("every gate counts in the store", || gates.iter().all(back));
    }

    /// Sentinels may take for dead what stood still for too long on a busy machine: they know how often they have failed over.
    fn count_failovers(&mut self) {
        if let Servers::Watched(watched) = &self.servers {
            let count = |sentinel: &Server| sentinel.log().matches("+switch-master").count() as u64;
            self.befallen.losses = watched.sentinels.iter().map(count).max().unwrap_or_default();
        }
    }

    fn no_key_is_eternal(&mut self) {
        let script = "local without = {} for _, key in ipairs(redis.call('keys', '*')) do \
                      if redis.call('pttl', key) < 1 then without[#without + 1] = key end end return without";
        let count = if let Servers::Cluster(nodes) = &self.servers { nodes.len() } else { 1 };
        for number in 0..count {
            assert_eq!(self.server(number).cli(&["eval", script, "0"]), "", "they stay for ever");
        }
    }
}

fn is_whole(node: &Server) -> bool {
    node.cli(&["cluster", "info"]).contains("cluster_state:ok")
}

/// Moves the slots of all keys of a node to another, while they are asked for.
fn move_slots(nodes: &[Server], from: usize, to: usize) {
    let id = |node: usize| nodes[node].cli(&["cluster", "myid"]);
    let (from_id, to_id, port) = (id(from), id(to), nodes[to].port.to_string());
    let keys = nodes[from].cli(&["keys", "rl:*"]);
    let slots: std::collections::BTreeSet<String> =
        keys.lines().take(6).map(|key| nodes[from].cli(&["cluster", "keyslot", key])).collect();
    for slot in &slots {
        nodes[to].cli(&["cluster", "setslot", slot, "importing", &from_id]);
        nodes[from].cli(&["cluster", "setslot", slot, "migrating", &to_id]);
        let held = nodes[from].cli(&["cluster", "getkeysinslot", slot, "100"]);
        for key in held.lines() {
            nodes[from].cli(&["migrate", "127.0.0.1", &port, key, "0", "1000"]);
        }
        for node in [to, from, 3 - to - from] {
            nodes[node].cli(&["cluster", "setslot", slot, "node", &to_id]);
        }
    }
}

/// Plays one schedule; what it came to, in a line.
fn play(house: House, seed: u64, lasts: Duration) -> String {
    let origin = Origin::echo();
    let mut play = Play::new(house, seed, &origin);
    let listen: Vec<SocketAddr> = play.gates.iter().map(|gate| gate.listen).collect();
    let crowd = Crowd::default();
    let mut unknown = Unknown::new();
    std::thread::scope(|scope| {
        let (crowd, listen) = (&crowd, &listen);
        // However this ends, they stop.
        let _end = crowd.until_dropped();
        let asking: Vec<_> = (0..4).map(|who| scope.spawn(move || crowd.run(listen, seed ^ who << 32))).collect();
        let begun = Instant::now();
        for number in 0.. {
            if begun.elapsed() > lasts {
                break;
            }
            std::thread::sleep(play.dice.millis(20, 300));
            play.fault(number);
            if begun.elapsed() > Duration::from_millis(400) * u32::try_from(crowd.addresses()).unwrap_or(u32::MAX) {
                crowd.next();
            }
        }
        crowd.stop();
        for one in asking {
            for (key, count) in one.join().expect("nobody panics") {
                *unknown.entry(key).or_default() += count;
            }
        }
    });
    play.calm();
    let during: u64 = crowd::admitted(&origin).values().sum();
    crowd.exhaust(&listen, &mut unknown);
    play.no_key_is_eternal();
    play.count_failovers();

    let (admitted, bound) = (crowd::admitted(&origin), house.bound(&play.befallen));
    let of = |all: &Unknown, key| all.get(&key).copied().unwrap_or(0);
    let total = |all: &Unknown, number| ALGORITHMS.iter().map(|path| of(all, (number, *path))).sum::<u64>();
    let mut most = 0.0_f64;
    for number in 0..crowd.addresses() {
        let (sum, lost) = (total(&admitted, number), total(&unknown, number));
        assert!(sum <= STACK * bound, "{house:?}, seed {seed}, all: {sum} of {STACK}: {:?}", play.befallen);
        for path in ALGORITHMS {
            let (count, lost_here) = (of(&admitted, (number, path)), of(&unknown, (number, path)));
            most = most.max(count as f64 / QUOTA as f64);
            assert!(count <= QUOTA * bound, "{house:?}, seed {seed}, {path}: {count} of {QUOTA}: {:?}", play.befallen);
            // What a fault takes is at most what nobody was told of. In a cluster, what could not be given back as well.
            let enough = count + lost_here >= QUOTA || sum + lost >= STACK;
            assert!(
                house == House::Cluster || enough,
                "{house:?}, seed {seed}, {path}: only {count} and {lost_here} unknown: {:?}",
                play.befallen
            );
        }
    }
    let unknown: u64 = unknown.values().sum();
    let sum: u64 = admitted.values().sum();
    format!(
        "{house:?}, seed {seed}: {} addresses, {during} admitted under faults and {} after, {unknown} unknown, at most \
         {most:.2} of {bound} quotas; {:?}",
        crowd.addresses(),
        sum - during,
        play.befallen.faults
    )
}

/// One schedule with a seed of its own, or those of a longer run that fall to this house: of `PORTCULLIS_SCHEDULES`, from
/// `PORTCULLIS_SEED` on, every sixth.
fn plays(house: House) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let place = house as u64;
    let Some(count) = number("PORTCULLIS_SCHEDULES") else {
        println!("{}", play(house, place, Duration::from_millis(2500)));
        return;
    };
    let first = number("PORTCULLIS_SEED").unwrap_or(0);
    for seed in (first..first + count).filter(|seed| seed % HOUSES == place) {
        println!("{}", play(house, seed, Duration::from_secs(8)));
    }
}

#[test]
fn l14_a_redis_that_keeps_what_it_acknowledges_admits_one_quota_whatever_befalls() {
    plays(House::Kept);
}

#[test]
fn l14_a_redis_that_keeps_its_data_a_second_late_admits_one_quota_more_for_each_crash_at_most() {
    plays(House::EverySecond);
}

#[test]
fn l14_a_redis_that_keeps_nothing_or_is_emptied_admits_one_quota_more_for_each_time_at_most() {
    plays(House::Forgetful);
}

#[test]
fn l14_gates_that_go_on_alone_admit_one_quota_each_and_that_of_the_store_at_most() {
    plays(House::Alone);
}

#[test]
fn l14_a_failover_by_sentinels_admits_one_quota_more_at_most() {
    plays(House::Watched);
}

#[test]
fn l14_a_cluster_whose_nodes_keep_what_they_acknowledge_admits_one_quota_wherever_slots_go() {
    plays(House::Cluster);
}
