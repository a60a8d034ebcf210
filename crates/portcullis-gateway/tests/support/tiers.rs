//! Limits that stand on one another, are settled by outcome, or only report: the same on every store.

use std::time::Duration;

use super::PASSWORD;
use super::client::Client;
use super::eventually;
use super::origin::Origin;
use super::process::Gateway;

/// An address before anybody is known, a user by plan, and an endpoint on top.
pub(crate) const TIERS: &str = r#"
[[limit]]
name  = "address"
match = "/projects/**"
key   = "address"
quota = "30 per hour"

[[limit]]
name  = "user"
match = "/projects/**"
key   = "user"
quota = { by = "plan", free = "3 per hour", premium = "5 per hour", enterprise = "8 per hour", otherwise = "free" }

[[limit]]
name  = "export"
match = "GET /projects/export"
key   = "user"
quota = "2 per hour"
"#;

/// How much a limit has left for an address, once what is settled behind an answer is settled.
#[track_caller]
pub(crate) fn left(gate: &Gateway, limit: &str, client: &Client, expected: u64) {
    let address = client.address.to_string();
    let mut shown = String::new();
    let mut asked = 0;
    eventually(&format!("{limit} has {expected} left"), Duration::from_secs(5), || {
        let output = gate.command(&["limits", "show", limit, "--address", &address]);
        shown = String::from_utf8_lossy(&output.stdout).into_owned();
        asked += 1;
        assert!(asked < 15, "{limit} should have {expected} left: {shown}");
        shown.starts_with(&format!("{limit}: {expected} of ")).then_some(())
    });
}

/// Each plan has its own, what is on top is charged with what is below or not at all, and all of it behind one address.
pub(crate) fn stack(gate: &Gateway) {
    let client = gate.client();
    let mut passed = 0;
    for (plan, quota) in [("free", 3), ("premium", 5), ("enterprise", 8), ("unheard-of", 3)] {
        let email = format!("{plan}@example.com");
        // The name of the role is that of the file with its password.
        gate.create_user(&email, "viewer");
        if plan != "free" {
            assert!(gate.command(&["users", "plan", &email, plan]).status.success(), "{plan}");
        }
        let body = serde_json::json!({ "email": email, "password": PASSWORD, "delivery": "body" });
        let pair = gate.client().post("/auth/login").json(&body).send().expect(200).json();
        let token = pair["accessToken"].as_str().expect("a token").to_owned();
        let ask = |path: &str| client.get(path).bearer(&token).send();
        let export: Vec<u16> = (0..4).map(|_| ask("/projects/export").status).collect();
        assert_eq!(export, [200, 200, 429, 429], "{plan}: two exports");
        // What was refused on top took nothing below.
        let rest = (0..12).filter(|_| ask("/projects/a").status == 200).count();
        assert_eq!(rest, quota - 2, "{plan}: the rest of its plan");
        passed += quota as u64;
        // What the user's limit refused was given back to the address.
        left(gate, "address", &client, 30 - passed);
    }
    // Nobody's requests have the address's own count for an endpoint on top.
    let refused = client.get("/projects/export").send();
    assert_eq!(refused.status, 401);
}

/// Limits that are settled by what becomes of a request, one that costs three, and one before an upstream that is dead.
pub(crate) const OUTCOMES: &str = r#"
[[limit]]
name  = "failures"
match = "GET /public/**"
key   = "address"
count = "failures"
quota = "10 per hour"

[[limit]]
name  = "successes"
match = "GET /public/**"
key   = "address"
count = "successes"
quota = "10 per hour"

[[limit]]
name  = "costly"
match = "GET /public/export"
key   = "address"
cost  = 3
quota = "10 per hour"

[[limit]]
name  = "dead"
match = "GET /dead/**"
key   = "address"
quota = "10 per hour"

[[upstreams]]
name      = "nobody"
addresses = ["127.0.0.1:1"]

[[route]]
match    = "GET /dead/**"
access   = "public"
upstream = "nobody"
"#;

/// An origin that does not find what is called missing.
pub(crate) fn moody() -> Origin {
    Origin::start(|exchange| {
        exchange.read_body()?;
        let status = if exchange.seen.target.ends_with("missing") { "404 Not Found" } else { "200 OK" };
        exchange.answer(status, &serde_json::json!({}))
    })
}

/// Counted is what the limit says, refused is what is left alone, and our own failure before anything was forwarded is free.
pub(crate) fn outcomes(gate: &Gateway) {
    let client = gate.client();
    let ask = |path: &str| client.get(path).send().status;
    assert_eq!([ask("/public/a"), ask("/public/a")], [200, 200]);
    assert_eq!([ask("/public/missing"), ask("/public/missing"), ask("/public/missing")], [404, 404, 404]);
    left(gate, "failures", &client, 7);
    left(gate, "successes", &client, 8);
    assert_eq!([(); 4].map(|()| ask("/public/export")), [200, 200, 200, 429], "ten are three times three");
    left(gate, "costly", &client, 1);
    left(gate, "successes", &client, 5);
    left(gate, "failures", &client, 7);
    for _ in 0..3 {
        let status = ask("/dead/a");
        assert!(status >= 500, "{status}");
    }
    left(gate, "dead", &client, 10);
}

/// A limit that only looks on.
pub(crate) const REPORT: &str = r#"
[[limit]]
name  = "watched"
match = "GET /public/**"
key   = "address"
quota = "3 per hour"
mode  = "report"
"#;

/// Ten pass, and seven of them are told to the operator.
pub(crate) fn report(gate: &Gateway, origin: &Origin) {
    let client = gate.client();
    for _ in 0..10 {
        let reply = client.get("/public/a").send().expect(200);
        assert_eq!(reply.header("retry-after"), None);
    }
    assert_eq!(origin.requests().len(), 10);
    let line = "portcullis_limit_would_hits_total{limit=\"watched\"} 7";
    eventually("seven would have been refused", Duration::from_secs(5), || {
        gate.operator().metrics().lines().any(|told| told == line).then_some(())
    });
    left(gate, "watched", &client, 0);
}
