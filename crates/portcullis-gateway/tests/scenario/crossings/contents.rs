//! What a route asks of a body (H4), asked of one that comes in DATA frames too, and handed on in them.

use std::path::Path;

use serde_json::{Value, json};

use super::Crossings;
use crate::support::client::Reply;
use crate::support::honest::Version;
use crate::support::origin::Origin;

const ROUTES: &str = r#"
[[route]]
match = "POST <at>/orders"
access = "public"
body = { schema = "SCHEMA", max = "8KiB" }

[[route]]
match = "PATCH <at>/profile"
access = "public"
body = { allow = ["name", "address.city"] }

[[route]]
match = "POST <at>/any"
access = "public"
body = { json = true }
"#;

fn schema(folder: &Path) -> String {
    let schema = json!({
        "type": "object", "required": ["quantity", "country"], "additionalProperties": false,
        "properties": {
            "quantity": { "type": "integer", "minimum": 1, "maximum": 100 },
            "country": { "enum": ["IN", "US", "GB", "AU"] },
            "line1": { "type": "string", "minLength": 5, "maxLength": 200 }
        }
    });
    let file = folder.join("order.json");
    std::fs::write(&file, schema.to_string()).unwrap();
    file.display().to_string()
}

/// An order that is right, in a spelling that no serializer would choose.
const ORDER: &str = " {\"quantity\" : 2,\r\n\"country\":\"GB\" , \"line1\":\"1 High\\u0020Street\"}\n";

/// An API that says the same to everybody.
fn api() -> Origin {
    Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.answer("200 OK", &json!({}))
    })
}

/// The places and rules of a refusal.
fn details(reply: &Reply) -> Vec<(String, String)> {
    let json = reply.json();
    let word = |detail: &Value, name: &str| detail[name].as_str().unwrap().to_owned();
    let mut told: Vec<_> =
        json["details"].as_array().unwrap().iter().map(|one| (word(one, "path"), word(one, "rule"))).collect();
    told.sort();
    told
}

#[test]
fn h4_a_body_is_judged_alike_by_every_crossing_and_goes_on_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let routes = ROUTES.replace("SCHEMA", &schema(folder.path()));
    let crossings = Crossings::before(api(), &routes, "");
    // Of a length that is told, and of one that is not.
    let send = |method: &str, path: &str, media: &str, body: &[u8], told: bool| {
        let what = format!("{method} {path} {media} {}", String::from_utf8_lossy(&body[..body.len().min(80)]));
        crossings.ask(&what, |client, at| {
            let request = client.request(method, &format!("{at}{path}")).header("Content-Type", media).body(body);
            if told { request.send() } else { request.trailer("X-Sum", "1").send() }
        })
    };
    let json_type = "application/json";
    for told in [true, false] {
        for (at, way) in super::SIDES.iter().flat_map(|(at, _)| super::VERSIONS.map(|version| (*at, version))) {
            let client = crossings.gateway.client().by(way);
            let path = format!("{at}/orders");
            let request = client.post(&path).header("Content-Type", json_type).body(ORDER.as_bytes());
            if told { request.send() } else { request.trailer("X-Sum", "1").send() }.expect(200);
        }
        for (at, _) in super::SIDES {
            let seen = crossings.last(at);
            assert_eq!(String::from_utf8_lossy(&seen.body), ORDER, "what was validated is what arrives");
            assert_eq!(seen.header("content-length"), Some(ORDER.len().to_string().as_str()), "{:?}", seen.headers);
            assert_eq!((seen.header("transfer-encoding"), seen.trailers.len()), (None, 0), "{seen:?}");
        }
        let before = crossings.count();
        let wrong = json!({ "quantity": 101, "country": "FR", "line1": "abcd", "isAdmin": true }).to_string();
        let refused = send("POST", "/orders", json_type, wrong.as_bytes(), told).refused(400, "Validation failed");
        let expected = [
            ("/country", "enum"),
            ("/isAdmin", "additionalProperties"),
            ("/line1", "minLength"),
            ("/quantity", "maximum"),
        ];
        assert_eq!(details(&refused), expected.map(|(path, rule)| (path.to_owned(), rule.to_owned())));
        assert!(!refused.text().contains("abcd"), "{}", refused.text());
        for body in [
            &b"{\"quantity\":1,\"quantity\":2,\"country\":\"GB\"}"[..],
            b"{\"quantity\":1,\"country\":\"GB\"} {}",
            b"{\"quantity\":1,\"country\":\"G\xff\"}",
            b"{\"quantity\":1,",
            b"",
        ] {
            send("POST", "/orders", json_type, body, told).refused(400, "Invalid request body");
        }
        let deep = "[".repeat(10_000);
        send("POST", "/any", json_type, deep.as_bytes(), told).refused(400, "Invalid request body");
        for media in ["text/plain", "application/x-www-form-urlencoded", "application/json, text/plain"] {
            let reply = send("POST", "/orders", media, ORDER.as_bytes(), told);
            assert_eq!(reply.status, 415, "{media}: {}", reply.text());
        }
        let reply = send("POST", "/orders", json_type, &vec![b' '; 9_000], told);
        assert_eq!(reply.status, 413, "{}", reply.text());
        let reply = send("PATCH", "/profile", json_type, br#"{"name":"x","role":"admin"}"#, told);
        assert_eq!((reply.status, details(&reply)[0].0.as_str()), (400, "/role"), "{}", reply.text());
        assert_eq!(crossings.count(), before, "nothing that was refused has reached the API");
        send("PATCH", "/profile", json_type, br#"{"name":"x","address":{"city":"Leeds"}}"#, told);
        assert!(crossings.count() > before);
    }
}

#[test]
fn h4_who_asks_before_sending_a_body_is_invited_where_it_is_held_too() {
    let folder = tempfile::tempdir().unwrap();
    let routes = ROUTES.replace("SCHEMA", &schema(folder.path()));
    let crossings = Crossings::before(api(), &routes, "");
    let client = crossings.gateway.client().by(Version::Two);
    for (at, _) in super::SIDES {
        let path = format!("{at}/orders");
        let ask = |body: &str| {
            let request =
                client.post(&path).header("Content-Type", "application/json").header("Expect", "100-continue");
            request.body(body.as_bytes()).send()
        };
        let reply = ask(ORDER).expect(200);
        assert_eq!(reply.interim, [100], "{at}");
        let reply = ask("{}").refused(400, "Validation failed");
        assert_eq!(reply.interim, [100], "{at}: by its head nobody could tell");
        let reply = ask(&" ".repeat(9_000));
        assert_eq!((reply.status, reply.interim.len()), (413, 0), "{at}");
    }
}
