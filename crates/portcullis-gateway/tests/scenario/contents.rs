//! What a route asks of a request's content, through the binary: one reading, a schema, a list of members, a size.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::{Connection, Reply};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

/// The example of H4 as two schemas: an order refers to its items in `parts/item.json`.
fn schemas() -> (Value, Value) {
    let mut order: Value = serde_json::from_str(include_str!("../../../portcullis-shield/tests/order.json")).unwrap();
    let item = std::mem::replace(&mut order["properties"]["items"]["items"], json!({ "$ref": "parts/item.json" }));
    (order, item)
}

fn write_schemas(folder: &Path) {
    let (order, item) = schemas();
    std::fs::create_dir_all(folder.join("parts")).unwrap();
    std::fs::write(folder.join("order.json"), order.to_string()).unwrap();
    std::fs::write(folder.join("parts/item.json"), item.to_string()).unwrap();
}

/// An order that is right, in a spelling that no serializer would choose.
const ORDER: &str = " {\"items\" : [ {\"quantity\":2,\"productId\":\"0b8f7a52-3d8f-4a5e-9a53-0d8c0d4c6f11\"} ],\r\n\
    \"address\":{ \"line1\":\"1 High\\u0020Street\", \"city\":\"Leeds\",\"postcode\":\"LS1 4AP\",\"country\":\"GB\" } }\n";

fn orders(origin: &Origin, folder: &Path) -> Gateway {
    write_schemas(folder);
    let route = format!(
        "[[route]]\nmatch = \"POST /orders\"\naccess = \"public\"\n\n[route.body]\nschema = {:?}\n",
        folder.join("order.json")
    );
    Setup::open(origin).with(&route).start()
}

fn post(gateway: &Gateway, target: &str, body: &str) -> Reply {
    gateway.client().post(target).header("Content-Type", "application/json").body(body.as_bytes()).send()
}

/// The places and rules of a refusal.
fn details(reply: Reply) -> Vec<(String, String)> {
    let reply = reply.refused(400, "Validation failed");
    let json = reply.json();
    let details = json["details"].as_array().unwrap();
    let word = |detail: &Value, name: &str| detail[name].as_str().unwrap().to_owned();
    details.iter().map(|detail| (word(detail, "path"), word(detail, "rule"))).collect()
}

#[test]
fn h4_an_order_is_forwarded_byte_for_byte_or_refused_field_by_field() {
    let (origin, folder) = (Origin::echo(), tempfile::tempdir().unwrap());
    let gateway = orders(&origin, folder.path());
    post(&gateway, "/orders", ORDER).expect(200);
    let seen = origin.last();
    assert_eq!(seen.body, ORDER.as_bytes(), "what was validated is what arrives");
    assert_eq!(seen.header("content-length"), Some(ORDER.len().to_string().as_str()));

    let wrong = json!({
        "items": [{ "productId": "sk_live_1234567890", "quantity": 0 }, { "quantity": 101 }],
        "address": { "line1": "abcd", "city": "x", "postcode": "ls1", "country": "FR" },
        "promoCode": "WELCOME-BACK",
        "isAdmin": true
    });
    let reply = post(&gateway, "/orders", &wrong.to_string());
    for secret in ["sk_live", "WELCOME", "abcd"] {
        assert!(!reply.text().contains(secret), "{}", reply.text());
    }
    let mut told = details(reply);
    told.sort();
    let expected = [
        ("/address/city", "minLength"),
        ("/address/country", "enum"),
        ("/address/line1", "minLength"),
        ("/address/postcode", "pattern"),
        ("/isAdmin", "additionalProperties"),
        ("/items/0/productId", "format"),
        ("/items/0/quantity", "minimum"),
        ("/items/1/productId", "required"),
        ("/items/1/quantity", "maximum"),
        ("/promoCode", "pattern"),
    ];
    assert_eq!(told, expected.map(|(path, rule)| (path.to_owned(), rule.to_owned())));
    assert_eq!(origin.requests().len(), 1, "nothing that was refused reached the API");
    eventually("the refusal is recorded", Duration::from_secs(5), || {
        let records = gateway.records();
        let record = records.iter().find(|record| record["reason"] == "validation_failed")?;
        assert!(record["rule"].as_str().unwrap().contains("/items/0/quantity minimum"), "{record}");
        assert!(!record.to_string().contains("sk_live"), "{record}");
        Some(())
    });
}

#[test]
fn h4_what_can_be_read_in_two_ways_is_no_request_body() {
    let origin = Origin::echo();
    let gateway = Setup::open(&origin)
        .with("[[route]]\nmatch = \"/strict\"\naccess = \"public\"\nbody = { json = true, depth = 8, values = 100 }\n")
        .start();
    for (body, told) in [
        (&br#"{"role":"viewer","role":"admin"}"#[..], "a member stands twice in one object (at byte 17)"),
        (br#"{"role":"viewer","r\u006fle":"admin"}"#, "a member stands twice in one object (at byte 17)"),
        (b"\xef\xbb\xbf{}", "a byte order mark stands before the text (at byte 0)"),
        (b"{\"a\":\"\xff\"}", "the text is not UTF-8 (at byte 6)"),
        (br#"{"a":"\ud800"}"#, "half of a surrogate pair is no character (at byte 6)"),
        (
            br#"{"a":12345678901234567890123}"#,
            "the number is larger or more precise than programs agree on (at byte 5)",
        ),
        (br#"{"a":1e999}"#, "the number is larger or more precise than programs agree on (at byte 5)"),
        (br#"{"a":NaN}"#, "this is not JSON (at byte 5)"),
        (br#"{"a":1}{"a":2}"#, "something follows after the end (at byte 7)"),
        (br#"{"a":1,}"#, "this is not JSON (at byte 7)"),
        (br#"{"a":1"#, "the text ends too soon (at byte 6)"),
        (b"[[[[[[[[[]]]]]]]]]", "the text is nested too deeply (at byte 8)"),
        (b"   ", "there is no JSON text (at byte 3)"),
        (b"", "the body is missing"),
    ] {
        let client = gateway.client();
        let request = client.post("/strict").header("Content-Type", "application/json").body(body);
        let reply = request.send().refused(400, "Invalid request body");
        assert_eq!(reply.json()["detail"], told);
    }
    let many = format!("[{}0]", "0,".repeat(100));
    let reply = post(&gateway, "/strict", &many).refused(400, "Invalid request body");
    assert!(reply.json()["detail"].as_str().unwrap().starts_with("there are too many values"));
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"] {
        let client = gateway.client();
        let request = client.post("/strict").header("Content-Type", kind).body(b"{}");
        request.send().refused(415, "Unsupported media type");
    }
    gateway.client().post("/strict").body(b"{}").send().refused(415, "Unsupported media type");
    let client = gateway.client();
    let coded = client.post("/strict").header("Content-Type", "application/json");
    coded.header("Content-Encoding", "gzip").body(b"{}").send().refused(415, "Unsupported media type");
    assert!(origin.requests().is_empty());
    post(&gateway, "/strict", "{\"a\":[1,2.5,\"b\"]}").expect(200);
    gateway.client().get("/strict").send().expect(200);
    // Elsewhere nothing is asked of the content.
    post(&gateway, "/elsewhere", "{\"a\":1,\"a\":2}").expect(200);
}

#[test]
fn h5_json_is_bounded_at_10_kib_unless_a_route_says_otherwise() {
    let origin = Origin::echo();
    let gateway = Setup::open(&origin)
        .with("[[route]]\nmatch = \"/large\"\naccess = \"public\"\nbody = { max = \"64KiB\" }\n")
        .with("[[route]]\nmatch = \"/small\"\naccess = \"public\"\nbody = { max = 100 }\n")
        .start();
    let text = |size: usize| format!("\"{}\"", "x".repeat(size - 2));
    for (target, kind, size, status) in [
        ("/any", "application/json", 10_240, 200),
        ("/any", "application/json", 10_241, 413),
        ("/any", "Application/Problem+JSON; charset=utf-8", 10_241, 413),
        ("/any", "text/plain", 10_241, 200),
        ("/any", "text/plain", 1_048_577, 413),
        ("/large", "application/json", 65_536, 200),
        ("/large", "application/json", 65_537, 413),
        ("/small", "application/json", 100, 200),
        ("/small", "application/json", 101, 413),
    ] {
        let body = text(size);
        let client = gateway.client();
        let request = client.post(target).header("Content-Type", kind).body(body.as_bytes());
        let reply = request.send().expect(status);
        if status == 413 {
            assert_eq!(reply.error(), "Request body too large");
        }
    }
    // The same by its weight, where the length is hidden.
    for (size, status) in [(10_240, 200), (10_241, 413)] {
        let mut connection = gateway.client().connect();
        let body = text(size);
        let head = "Transfer-Encoding: chunked\r\nContent-Type: application/json";
        // The answer may come, and the connection go, before the last byte is written.
        let _ = connection.send(head_of(&gateway, "/any", head)).and_then(|()| {
            let (first, second) = body.split_at(5_000);
            connection.send(format!("{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len()))
        });
        assert_eq!(connection.reply().unwrap().status, status, "{size} bytes in chunks");
    }
}

fn head_of(gateway: &Gateway, target: &str, headers: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n\r\n", gateway.listen)
}

fn order_in(gateway: &Gateway, body: &str) -> String {
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
    head_of(gateway, "/orders", &headers) + body
}

#[test]
fn h4_a_refusal_takes_nothing_from_the_next_request_of_the_connection() {
    let (origin, folder) = (Origin::echo(), tempfile::tempdir().unwrap());
    let gateway = orders(&origin, folder.path());
    let mut connection: Connection = gateway.client().connect();
    let pipelined = [
        order_in(&gateway, "{}"),
        order_in(&gateway, ORDER),
        order_in(&gateway, "{\"items\":"),
        order_in(&gateway, ORDER),
    ];
    connection.send(pipelined.concat()).unwrap();
    for status in [400, 200, 400, 200] {
        assert_eq!(connection.reply().unwrap().status, status);
    }
    // Whoever waits for the word gets it, and then the answer to the whole.
    let expecting = "Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 2";
    connection.send(head_of(&gateway, "/orders", expecting)).unwrap();
    assert_eq!(connection.head().unwrap().status, 100);
    connection.send("{}").unwrap();
    assert_eq!(connection.reply().unwrap().status, 400);
    // In pieces of one byte, in chunks.
    let chunked = "Content-Type: application/json\r\nTransfer-Encoding: chunked";
    connection.send(head_of(&gateway, "/orders", chunked)).unwrap();
    for byte in ORDER.as_bytes().chunks(1) {
        connection.send([b"1\r\n", byte, b"\r\n"].concat()).unwrap();
    }
    connection.send("0\r\n\r\n").unwrap();
    connection.reply().unwrap().expect(200);
    assert_eq!(origin.last().body, ORDER.as_bytes());
    // A length that is too short cuts the order; the rest is no request.
    let lie = format!("Content-Type: application/json\r\nContent-Length: {}", ORDER.len() - 10);
    connection.send(head_of(&gateway, "/orders", &lie) + ORDER).unwrap();
    connection.reply().unwrap().refused(400, "Invalid request body");
    assert_eq!(connection.reply().unwrap().status, 400);
    assert_eq!(origin.requests().len(), 3, "two orders and the one in pieces");
}

#[test]
fn h5_a_body_that_does_not_come_is_not_waited_for() {
    let (origin, folder) = (Origin::echo(), tempfile::tempdir().unwrap());
    write_schemas(folder.path());
    let route = format!(
        "[client]\nbody_timeout = \"300ms\"\n\n[[route]]\nmatch = \"POST /orders\"\naccess = \"public\"\n\
         body = {{ schema = {:?} }}\n",
        folder.path().join("order.json")
    );
    let gateway = Setup::open(&origin).with(&route).start();
    // A length that is too long, and one byte after another so slowly that each is in time and the whole is not.
    let mut silent = gateway.client().connect();
    let lie = format!("Content-Type: application/json\r\nContent-Length: {}", ORDER.len() + 10);
    silent.send(head_of(&gateway, "/orders", &lie) + ORDER).unwrap();
    let mut slow = gateway.client().connect();
    slow.send(head_of(&gateway, "/orders", "Content-Type: application/json\r\nContent-Length: 50")).unwrap();
    for _ in 0..4 {
        slow.send(" ").unwrap();
        std::thread::sleep(Duration::from_millis(120));
    }
    silent.reply().unwrap().refused(408, "Request timeout");
    slow.reply().unwrap().refused(408, "Request timeout");
    post(&gateway, "/orders", ORDER).expect(200);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn z8_nobody_sets_a_member_that_he_was_not_asked_for() {
    let origin = Origin::echo();
    let gateway = Setup::open(&origin)
        .with(
            "[[route]]\nmatch = \"PATCH /me\"\naccess = \"public\"\n\
             body = { allow = [\"name\", \"address.city\", \"items.*.id\"] }\n",
        )
        .with(
            "[[route]]\nmatch = \"PATCH /trial\"\naccess = \"public\"\n\
             body = { allow = \"name\", unknown = \"report\", schema = { properties = { name = { type = \"string\" } } } }\n",
        )
        .start();
    let patch = |target: &str, body: &str| {
        let client = gateway.client();
        let request = client.request("PATCH", target).header("Content-Type", "application/json");
        request.body(body.as_bytes()).send()
    };
    patch("/me", r#"{"name":"A","address":{"city":"B"},"items":[{"id":1},{"id":2}]}"#).expect(200);
    for (body, path) in [
        (r#"{"name":"A","role":"admin"}"#, "/role"),
        (r#"{"name":"A","\u0072ole":"admin"}"#, "/role"),
        (r#"{"Name":"A"}"#, "/Name"),
        (r#"{"address":{"city":"B","verified":true}}"#, "/address/verified"),
        (r#"{"items":[{"id":1},{"id":2,"price":0}]}"#, "/items/1/price"),
        (r#"{"name":{"$ne":null}}"#, "/name"),
        (r#"[{"name":"A"}]"#, "/0"),
    ] {
        assert_eq!(details(patch("/me", body)), [(path.to_owned(), "allow".to_owned())], "{body}");
    }
    assert_eq!(origin.requests().len(), 1);
    patch("/trial", r#"{"name":"A","role":"admin","sk_live_1234567890":1}"#).expect(200);
    assert_eq!(details(patch("/trial", r#"{"name":1}"#)), [("/name".to_owned(), "type".to_owned())]);
    eventually("the report is recorded", Duration::from_secs(5), || {
        let records = gateway.records();
        let record = records.iter().find(|record| record["kind"] == "content_reported")?;
        assert_eq!(record["route"], "PATCH /trial");
        assert_eq!(record["rule"], "/role allow, /* allow");
        Some(())
    });
}

#[test]
fn h4_a_changed_schema_is_taken_over_by_a_reload_and_a_broken_one_is_not() {
    let (origin, folder) = (Origin::echo(), tempfile::tempdir().unwrap());
    let mut gateway = orders(&origin, folder.path());
    let five = ORDER.replace("\"quantity\":2", "\"quantity\":5");
    post(&gateway, "/orders", &five).expect(200);
    // What the schema refers to counts as well.
    let part = folder.path().join("parts/item.json");
    std::fs::write(&part, schemas().1.to_string().replace("100", "4")).unwrap();
    gateway.process().signal(Signal::HUP);
    eventually("the new schema is in force", Duration::from_secs(10), || {
        (post(&gateway, "/orders", &five).status == 400).then_some(())
    });
    for broken in
        ["{\"type\":\"objekt\"}", "{\"pattern\":\"(?=a)\"}", "{\"a\":1,\"a\":2}", "{\"$ref\":\"../../order.json\"}"]
    {
        let told = gateway.output().len();
        std::fs::write(&part, broken).unwrap();
        gateway.process().signal(Signal::HUP);
        eventually("the broken schema is refused", Duration::from_secs(10), || {
            gateway.output()[told..].contains("the new configuration is refused").then_some(())
        });
        post(&gateway, "/orders", ORDER).expect(200);
        post(&gateway, "/orders", &five).expect(400);
    }
    std::fs::write(&part, schemas().1.to_string()).unwrap();
    gateway.process().signal(Signal::HUP);
    eventually("the first schema is in force again", Duration::from_secs(10), || {
        (post(&gateway, "/orders", &five).status == 200).then_some(())
    });
}

#[test]
fn h5_choices_inside_of_choices_are_refused_before_anybody_waits() {
    let (origin, folder) = (Origin::echo(), tempfile::tempdir().unwrap());
    let file = folder.path().join("filter.json");
    // A filter language as many have it: without a bound 40 levels take hours.
    let inner = json!({ "type": "object", "properties": { "not": { "$ref": "#" } } });
    let filter = json!({ "oneOf": [inner, inner, { "type": "integer" }] });
    std::fs::write(&file, filter.to_string()).unwrap();
    let route = format!(
        "[[route]]\nmatch = \"POST /search\"\naccess = \"public\"\n\n[route.body]\ndepth = 64\nschema = {file:?}\n"
    );
    let gateway = Setup::open(&origin).with(&route).start();
    let hostile = format!("{}1{}", "{\"not\":".repeat(40), "}".repeat(40));
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        let attack = scope.spawn(|| {
            for _ in 0..4 {
                // That it is wrong is found, and where is not looked for.
                assert_eq!(details(post(&gateway, "/search", &hostile)), [(String::new(), "schema".to_owned())]);
            }
        });
        while !attack.is_finished() {
            let asked = std::time::Instant::now();
            gateway.client().get("/other").send().expect(200);
            assert!(asked.elapsed() < Duration::from_secs(3), "another client waited {:?}", asked.elapsed());
        }
        attack.join().unwrap();
    });
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    post(&gateway, "/search", "5").expect(200);
    assert_eq!(origin.requests().iter().filter(|seen| seen.target.starts_with("/search")).count(), 1);
}

#[test]
fn h4_nothing_that_was_judged_is_taken_away_by_the_clients_own_hop() {
    let origin = Origin::echo();
    let folder = tempfile::tempdir().unwrap();
    let gateway = orders(&origin, folder.path());
    let client = gateway.client();
    let order = |options: &str| {
        let request = client.post("/orders").header("Content-Type", "application/json").header("Connection", options);
        request.body(ORDER.as_bytes()).send()
    };
    for options in ["content-type", "Keep-Alive, Content-Type", "close,CONTENT-TYPE", "x-a, , content-type"] {
        order(options).refused(400, "Bad request");
    }
    assert!(origin.requests().is_empty(), "as JSON it was judged, and as nothing in particular it would arrive");
    order("keep-alive, x-not-there").expect(200);
    assert_eq!(origin.last().header("content-type"), Some("application/json"));
}

#[test]
fn h4_what_a_route_says_of_content_it_says_over_http2_too() {
    let origin = Origin::echo();
    let route = "[client]\nh2c = true\n\n[[route]]\nmatch = \"POST /items\"\naccess = \"public\"\n\
                 body = { allow = \"name\" }\nresponse = { allow = [\"method\"] }\n";
    let gateway = Setup::open(&origin).with(route).start();
    let ask = |body: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--http2-prior-knowledge", "--include", "--max-time", "10", "--data-binary", body]);
        curl.args(["-H", "Content-Type: application/json", "-H", "Accept-Encoding: gzip", "-H", "Range: bytes=0-1"]);
        let output = curl.arg(format!("http://{}/items", gateway.listen)).output().ok()?;
        // An old one says so by 2 and an absent feature by 4.
        (![Some(2), Some(4)].contains(&output.status.code())).then(|| String::from_utf8(output.stdout).unwrap())
    };
    let Some(told) = ask("{\"name\":\"a\"}") else {
        assert!(std::env::var_os("CI").is_none(), "there is no curl that speaks HTTP/2");
        return eprintln!("SKIPPED: there is no curl that speaks HTTP/2");
    };
    assert!(told.starts_with("HTTP/2 200") && told.ends_with("{\"method\":\"POST\"}"), "{told}");
    let seen = origin.last();
    assert_eq!((seen.header("range"), seen.header("accept-encoding")), (None, Some("identity")));
    let refused = ask("{\"name\":\"a\",\"role\":\"admin\"}").unwrap();
    assert!(refused.starts_with("HTTP/2 400") && refused.contains("Validation failed"), "{refused}");
    assert_eq!(origin.requests().len(), 1);
}
