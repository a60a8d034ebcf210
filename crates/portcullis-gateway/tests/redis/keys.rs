//! What limits count by, as it stands in Redis (L3), and limits that stand on one another there (L4, L6, L9).

use serde_json::json;

use crate::exact::patient_gate;
use crate::servers::Server;
use crate::support::client::Request;
use crate::support::origin::Origin;
use crate::support::tiers;
use crate::support::{PASSWORD, claims};
use crate::up;

/// The keys of one limit, without what comes before them.
fn keys(redis: &Server, limit: &str) -> Vec<String> {
    let prefix = format!("rl:{limit}:");
    let all = redis.cli(&["--scan", "--pattern", &format!("{prefix}*")]);
    let mut keys: Vec<String> = all.lines().map(|key| key[prefix.len()..].to_owned()).collect();
    keys.sort();
    keys
}

/// Every kind of part, by the name of its limit.
const KINDS: [(&str, &str); 10] = [
    ("address", "\"address\""),
    ("user", "\"user\""),
    ("key", "\"api-key\""),
    ("session", "\"session\""),
    ("plan", "\"plan\""),
    ("role", "\"role\""),
    ("route", "\"route\""),
    ("header", "\"header:X-Tenant\""),
    ("claim", "\"claim:email\""),
    ("several", "[\"user\", \"header:X-Tenant\", \"address\"]"),
];

#[test]
fn l3_every_kind_of_key_reads_as_documented_and_no_text_of_a_client_leaves_its_place() {
    let (origin, redis) = (Origin::echo(), Server::start(&[]));
    let limits = KINDS.map(|(name, key)| {
        format!("[[limit]]\nname = \"{name}\"\nmatch = \"GET /public/**\"\nkey = {key}\nquota = \"1000 per hour\"\n\n")
    });
    let more = "[tokens]\nclaims = [\"email\"]\n\n[[limit]]\nname = \"odd:name\"\nmatch = \"GET /public/**\"\nquota = \"1000 per hour\"\n";
    let gate = patient_gate(&origin, &redis, &(limits.concat() + more));
    up(&gate);
    gate.create_user("ann@example.com", "editor");
    let (token, _) = gate.login("ann@example.com");
    let said = claims(&token);
    let text = |name: &str| said[name].as_str().expect("a text").to_owned();
    let (user, session) = (text("sub"), text("sid"));
    let body = json!({ "name": "a key", "password": PASSWORD });
    let made = gate.client().post("/auth/api-keys").bearer(&token).json(&body).send().expect(201).json();
    let member = |name: &str| made[name].as_str().expect("a text").to_owned();
    let forget = || drop(redis.cli(&["flushall"]));
    let all = || KINDS.map(|(name, _)| (name, keys(&redis, name)));
    let client = gate.client();
    let address = client.address.to_string();
    let send = |request: Request<'_>| drop(request.send().expect(200));

    // Nobody: what is lacking is the address.
    forget();
    send(client.get("/public/a"));
    for (name, keys) in all() {
        let expected = match name {
            "route" => "t=GET%20/public/%2A%2A".to_owned(),
            "several" => format!("{address},{address},{address}"),
            _ => address.clone(),
        };
        assert_eq!(keys, [expected], "{name}, of nobody");
    }
    assert_eq!(keys(&redis, "odd%3Aname"), [address.as_str()], "a name stays in its place as well");

    // A user with a token, and a header that would break out of its place.
    forget();
    send(client.get("/public/a").bearer(&token).header("X-Tenant", "{a}:b, c=d"));
    for (name, keys) in all() {
        let expected = match name {
            "user" => format!("i=,u={user}"),
            "session" => format!("i=,s={session}"),
            "plan" => "p=free".to_owned(),
            "role" => "r=editor".to_owned(),
            "route" => "t=GET%20/public/%2A%2A".to_owned(),
            "header" => "h=%7Ba%7D:b%2C%20c%3Dd".to_owned(),
            "claim" => "c=ann@example.com".to_owned(),
            "several" => format!("i=,u={user},h=%7Ba%7D:b%2C%20c%3Dd,{address}"),
            _ => address.clone(),
        };
        assert_eq!(keys, [expected], "{name}, of a user");
    }

    // A program, and a header that is longer than 48 bytes: only its hash is there.
    forget();
    let long = "x".repeat(49);
    send(client.get("/public/a").header("X-API-Key", &member("key")).header("X-Tenant", &long));
    assert_eq!(keys(&redis, "key"), [format!("k={}", member("id"))]);
    assert_eq!(keys(&redis, "header"), ["H=55bb9823e68e05f71c105395b87283afc86e549e1f1ca4598b1cc7a6dd2d3ac8"]);
    let held = redis.cli(&["--scan"]);
    assert!(!held.contains(&member("key")) && !held.contains(&long), "{held}");

    // Nothing outlives what it says: an hour, and for the counter the next one, in which it still weighs.
    for key in held.lines().filter(|key| !key.starts_with("rl::")) {
        let left: u64 = redis.cli(&["pttl", key]).parse().expect("a time to live");
        assert!((1..=2 * 3_600_000 + 2_000).contains(&left), "{key}: {left}");
        assert!(!key.contains(['{', '}', ' ']), "{key}");
    }
    assert!(held.lines().all(|key| key.starts_with("rl:")), "{held}");
}

#[test]
fn l4_tiers_stack_in_redis_and_a_refusal_gives_back_what_was_taken_before() {
    let (origin, redis) = (Origin::echo(), Server::start(&[]));
    let gate = patient_gate(&origin, &redis, tiers::TIERS);
    up(&gate);
    tiers::stack(&gate);
}

#[test]
fn l6_in_redis_outcomes_costs_and_failures_of_ours_are_settled_as_in_memory() {
    let (origin, redis) = (tiers::moody(), Server::start(&[]));
    let gate = patient_gate(&origin, &redis, tiers::OUTCOMES);
    up(&gate);
    tiers::outcomes(&gate);
}

#[test]
fn l9_a_limit_that_reports_counts_in_redis_what_it_would_have_refused_and_refuses_nothing() {
    let (origin, redis) = (Origin::echo(), Server::start(&[]));
    let gate = patient_gate(&origin, &redis, tiers::REPORT);
    up(&gate);
    tiers::report(&gate, &origin);
}
