//! Bodies in a content coding, where something looks at them: unpacked within bounds, forwarded as they came (H5).

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::support::client::{Client, Reply};
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

const ROUTES: &str = "
[[route]]
match  = \"/packed\"
access = \"public\"
body   = { allow = \"name\", codings = [\"gzip\"] }

[[route]]
match  = \"/large\"
access = \"public\"
body   = { json = true, max = \"64MiB\", codings = \"gzip\" }

[[route]]
match  = \"/plain\"
access = \"public\"
body   = { json = true }

[[route]]
match  = \"/graphql\"
access = \"public\"
body   = { codings = [\"gzip\"] }
[route.graphql]
depth = 3
";

fn gate(origin: &Origin) -> Gateway {
    Setup::open(origin).with(ROUTES).start()
}

fn post(client: &Client, target: &str, coding: &str, body: &[u8]) -> Reply {
    let request = client.post(target).header("Content-Type", "application/json");
    request.header("Content-Encoding", coding).body(body).send()
}

#[test]
fn h5_a_packed_body_is_judged_unpacked_and_forwarded_packed() {
    let origin = Origin::echo();
    let gateway = gate(&origin);
    let client = gateway.client();
    let packed = gzip(br#"{"name":"A"}"#);
    post(&client, "/packed", "gzip", &packed).expect(200);
    let seen = origin.last();
    assert_eq!(seen.body, packed, "byte for byte");
    assert_eq!(seen.header("content-encoding"), Some("gzip"));
    assert_eq!(seen.header("content-length"), Some(packed.len().to_string().as_str()));
    // The same rules as without.
    let refused = post(&client, "/packed", "gzip", &gzip(br#"{"role":"admin"}"#)).refused(400, "Validation failed");
    assert_eq!(refused.json()["details"][0]["path"], "/role");
    post(&client, "/packed", "gzip", &gzip(br#"{"name":1,"name":2}"#)).refused(400, "Invalid request body");
    let deep = json!({"query": "{ a { b { c { d } } } }"}).to_string();
    let refused = post(&client, "/graphql", "gzip", &gzip(deep.as_bytes())).refused(400, "Validation failed");
    assert_eq!(refused.json()["details"][0]["rule"], "depth");
    post(&client, "/graphql", "gzip", &gzip(br#"{"query":"{ a }"}"#)).expect(200);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn h5_a_coding_is_taken_where_the_route_says_so_and_only_once() {
    let origin = Origin::echo();
    let gateway = gate(&origin);
    let client = gateway.client();
    let packed = gzip(br#"{"name":"A"}"#);
    for (target, coding, accepted) in [
        ("/plain", "gzip", "identity"),
        ("/plain", "br", "identity"),
        ("/packed", "br", "gzip, identity"),
        ("/packed", "deflate", "gzip, identity"),
        ("/packed", "gzip, gzip", "gzip, identity"),
        ("/packed", "identity, gzip", "gzip, identity"),
    ] {
        let refused = post(&client, target, coding, &packed).refused(415, "Unsupported media type");
        assert_eq!(refused.header("accept-encoding"), Some(accepted), "{target} {coding}");
    }
    let request = client.post("/packed").header("Content-Type", "application/json");
    let twice = request.header("Content-Encoding", "gzip").header("Content-Encoding", "gzip").body(&gzip(&packed));
    twice.send().refused(415, "Unsupported media type");
    // Another trouble with the type is told apart from that (RFC 7694 section 3).
    let refused = client.post("/plain").header("Content-Type", "text/plain").body(b"{}").send();
    assert_eq!(refused.refused(415, "Unsupported media type").header("accept-encoding"), None);
    assert!(origin.requests().is_empty());
    // Where nothing looks at it, it is the upstream's affair.
    post(&client, "/elsewhere", "gzip, gzip", &gzip(&packed)).expect(200);
    assert_eq!(origin.last().header("content-encoding"), Some("gzip, gzip"));
}

#[test]
fn h5_a_bomb_is_given_up_and_a_broken_stream_is_no_body() {
    let origin = Origin::echo();
    let gateway = gate(&origin);
    let client = gateway.client();
    let text = |size: usize| format!("\"{}\"", "x".repeat(size - 2)).into_bytes();
    // The size that a route allows is that of the content, however small it came.
    for (size, status) in [(10_240, 400), (10_241, 413)] {
        assert_eq!(post(&client, "/packed", "gzip", &gzip(&text(size))).status, status, "{size} bytes");
    }
    let bomb = gzip(&vec![b' '; 48 << 20]);
    assert!(bomb.len() < 64 * 1024, "a thousandth of what it becomes: {}", bomb.len());
    let before = gateway.memory();
    for target in ["/packed", "/large", "/graphql"] {
        for _ in 0..4 {
            post(&client, target, "gzip", &bomb).refused(413, "Request body too large");
        }
    }
    let grown = gateway.memory().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
    let whole = gzip(br#"{"name":"A"}"#);
    let mut broken = whole.clone();
    broken[12] ^= 0x55;
    for (what, body) in [
        ("cut", &whole[..whole.len() - 1]),
        ("cut in the middle", &whole[..whole.len() / 2]),
        ("broken", &broken),
        ("not packed", br#"{"name":"A"}"#),
        ("with more behind it", &[&whole[..], b" "].concat()),
        ("twice in a row", &[&whole[..], &whole].concat()),
        ("packed twice and called packed once", &gzip(&whole)),
        ("nothing", b""),
    ] {
        let refused = post(&client, "/packed", "gzip", body);
        assert_eq!((refused.status, refused.error().as_str()), (400, "Invalid request body"), "{what}");
    }
    assert!(origin.requests().is_empty(), "nothing of it reached the API");
}
