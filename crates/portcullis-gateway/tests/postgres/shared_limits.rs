//! Two instances that share accounts and a Redis: what one counts, the other refuses (L2, L13).

use std::time::Duration;

use serde_json::json;

use crate::servers::Server;
use crate::support::origin::Origin;
use crate::support::postgres::{self, Cluster};
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES, eventually};

/// Two of them, with an account. They wait for Redis for longer than a machine that is busy with other tests delays them.
fn two(origin: &Origin, cluster: &Cluster, redis: &Server) -> [Gateway; 2] {
    let database = cluster.database();
    let store = format!("[limits]\nstore = \"{}\"\npatience = \"1s\"\n", redis.url());
    let start = || {
        let setup = Setup::before(origin).public_url("https://api.example.com").on(&database);
        setup.with(PROJECT_ROUTES).with(&store).start()
    };
    let gates = [start(), start()];
    for gate in &gates {
        eventually("it counts in Redis", Duration::from_secs(5), || {
            gate.operator().metrics().contains("portcullis_limit_store_up 1\n").then_some(())
        });
    }
    gates[0].create_user("ceo@example.com", "viewer");
    gates
}

#[test]
fn l13_of_fifty_wrong_passwords_at_once_at_two_instances_five_are_heard() {
    if !postgres::is_installed() {
        return;
    }
    let (origin, cluster, redis) = (Origin::echo(), Cluster::start(), Server::start(&[]));
    let gates = two(&origin, &cluster, &redis);
    let told: Vec<u16> = std::thread::scope(|scope| {
        let guesses: Vec<_> = (0..50)
            .map(|turn| {
                let client = gates[turn % 2].client();
                let body = json!({ "email": "ceo@example.com", "password": format!("Wrong-password-{turn}") });
                scope.spawn(move || client.post("/auth/login").json(&body).send().status)
            })
            .collect();
        guesses.into_iter().map(|guess| guess.join().unwrap()).collect()
    });
    let count = |status: u16| told.iter().filter(|told| **told == status).count();
    assert_eq!((count(401), count(429)), (5, 45), "{told:?}");
    let body = json!({ "email": "ceo@example.com", "password": PASSWORD });
    for gate in &gates {
        gate.client().post("/auth/login").json(&body).send().expect(429);
    }
}

#[test]
fn l13_wrong_passwords_at_two_instances_are_counted_together() {
    if !postgres::is_installed() {
        return;
    }
    let (origin, cluster, redis) = (Origin::echo(), Cluster::start(), Server::start(&[]));
    let gates = two(&origin, &cluster, &redis);
    // Each guess comes from an address of its own: only the account's count can hold them together.
    let guess = |gateway: &Gateway| {
        let body = json!({ "email": "ceo@example.com", "password": "Wrong-password-1" });
        gateway.client().post("/auth/login").json(&body).send().status
    };
    let told: Vec<u16> = (0..8).map(|turn| guess(&gates[turn % 2])).collect();
    assert_eq!(told, [401, 401, 401, 401, 401, 429, 429, 429]);
    assert!(redis.cli(&["--scan", "--pattern", "rl:lockout:*"]).starts_with("rl:lockout:p="));
}
