//! How often Redis is asked (L2): once for all limits of a request whose token is known.

use crate::exact::patient_gate;
use crate::servers::Server;
use crate::support::origin::Origin;
use crate::up;

/// One of them by the address alone, which in memory is charged before anybody's token is looked at.
#[test]
fn l2_a_request_with_a_known_token_asks_redis_once_for_all_its_limits() {
    let (origin, redis) = (Origin::echo(), Server::start(&[]));
    let limits: String = [
        ("address", "\"address\"", 24),
        ("user", "\"user\"", 100),
        ("both", "[\"user\", \"address\"]", 100),
    ]
    .map(|(name, key, quota)| {
        format!(
            "[[limit]]\nname = \"{name}\"\nmatch = \"GET /projects/**\"\nkey = {key}\nquota = \"{quota} per hour\"\n\n"
        )
    })
    .concat();
    let gateway = patient_gate(&origin, &redis, &limits);
    up(&gateway);
    let (client, token) = (gateway.client(), gateway.token("editor"));
    let ask = || client.get("/projects/1").bearer(&token).send();
    let scripts = || {
        let told = redis.cli(&["INFO", "commandstats"]);
        let calls = told.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next());
        calls.and_then(|calls| calls.parse::<u64>().ok()).unwrap_or(0)
    };
    ask().expect(200);
    let before = scripts();
    (0..20).for_each(|_| drop(ask().expect(200)));
    let asked = scripts() - before;
    // Some asked whether Redis is there.
    assert!((20..30).contains(&asked), "{asked} questions for 20 requests");

    let left = (0..10).filter(|_| ask().status == 200).count();
    assert_eq!(left, 3, "the address has had its 24");
    // Whoever brings a token that has to be verified is refused before it is.
    let mut forged = token.clone();
    forged.replace_range(token.len() - 3..token.len() - 2, if token.ends_with("AAA") { "B" } else { "A" });
    assert_eq!(client.get("/projects/1").bearer(&forged).send().status, 429);
    let shown = gateway.command(&["limits", "show", "address", "--address", &client.address.to_string()]);
    assert!(String::from_utf8_lossy(&shown.stdout).starts_with("address: 0 of 24 left"), "{shown:?}");
}
