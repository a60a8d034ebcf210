//! Two instances that share accounts and a Redis: what one counts, the other refuses (L2, L13).

use serde_json::json;

use crate::servers::Server;
use crate::support::PROJECT_ROUTES;
use crate::support::origin::Origin;
use crate::support::postgres::{self, Cluster};
use crate::support::process::{Gateway, Setup};

#[test]
fn l13_wrong_passwords_at_two_instances_are_counted_together() {
    if !postgres::is_installed() {
        return;
    }
    let (origin, cluster, redis) = (Origin::echo(), Cluster::start(), Server::start(&[]));
    let database = cluster.database();
    let store = format!("[limits]\nstore = \"{}\"\n", redis.url());
    let start = || {
        let setup = Setup::before(&origin).public_url("https://api.example.com").on(&database);
        setup.with(PROJECT_ROUTES).with(&store).start()
    };
    let gates = [start(), start()];
    gates[0].create_user("ceo@example.com", "viewer");
    // Each guess comes from an address of its own: only the account's count can hold them together.
    let guess = |gateway: &Gateway| {
        let body = json!({ "email": "ceo@example.com", "password": "Wrong-password-1" });
        gateway.client().post("/auth/login").json(&body).send().status
    };
    let told: Vec<u16> = (0..8).map(|turn| guess(&gates[turn % 2])).collect();
    assert_eq!(told, [401, 401, 401, 401, 401, 429, 429, 429]);
    assert!(redis.cli(&["--scan", "--pattern", "rl:lockout:*"]).starts_with("rl:lockout:p="));
}
