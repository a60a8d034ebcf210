//! Whose something is (Z7): by the path, before anything is forwarded; by a member of the answer, before it is told.

use serde_json::json;

use super::dictated::{SECRET, ask, ok, origin, refusals, told};
use super::person::{ALL, Person};
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{claims, eventually};

const ROUTES: &str = r#"
[roles.support]
permissions = ["orders:any"]

[[route]]
match = ["/users/{user_id}/**", "/users/{user_id}"]
access = "authenticated"
[route.owner]
path = "user_id"
unless = { roles = ["admin"], permissions = ["orders:any"] }

[[route]]
match = "/told/{user_id}"
access = "authenticated"
owner = { path = "user_id", answer = 403 }

[[route]]
match = "GET /orders/{id}"
access = "authenticated"
[route.owner]
member = "owner.id"
unless = { roles = ["admin"] }

[[route]]
match = "GET /orders"
access = "authenticated"
owner = { member = "owner.id", list = "page.items" }

[[route]]
match = "GET /strict"
access = "authenticated"
owner = { member = "owner", foreign = "refuse", answer = 403 }
"#;

struct House {
    origin: Origin,
    gateway: Gateway,
    /// Whose things they are.
    ann: String,
    id: String,
    eve: String,
    admin: String,
}

fn house() -> House {
    let origin = origin();
    let gateway = Setup::before(&origin).with(ROUTES).start();
    let [ann, eve, admin] = ["viewer", "editor", "admin"].map(|role| gateway.token(role));
    let id = claims(&ann)["sub"].as_str().unwrap().to_owned();
    House { origin, gateway, ann, id, eve, admin }
}

#[test]
fn z7_a_path_that_names_somebody_else_is_not_forwarded_whatever_the_method() {
    let House { origin, gateway, ann, id, eve, admin } = house();
    let missing = gateway.client().get("/nowhere").bearer(&eve).send().refused(404, "Not found");
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let target = format!("/users/{id}/orders?a=b");
        ask(&gateway.client(), method, &target, &ann, &ok("{}")).expect(200);
        ask(&gateway.client(), method, &target, &admin, &ok("{}")).expect(200);
        let before = origin.requests().len();
        let refused = ask(&gateway.client(), method, &target, &eve, &ok(SECRET));
        if method == "HEAD" {
            assert_eq!(refused.status, 404);
        } else {
            assert_eq!(told(&refused), told(&missing), "{method}");
        }
        let refused = ask(&gateway.client(), method, &format!("/told/{id}"), &eve, &ok(SECRET)).expect(403);
        assert!(method == "HEAD" || refused.error() == "Insufficient permissions");
        assert_eq!(origin.requests().len(), before, "{method}");
    }
    // Who has not said who they are is asked to.
    gateway.client().get(&format!("/users/{id}")).send().refused(401, "Authentication required");
    // No role lifts a rule that names none.
    gateway.client().get(&format!("/told/{id}")).bearer(&admin).send().refused(403, "Insufficient permissions");
    assert!(refusals(&gateway, "not_owner") >= 14);
    eventually("the records tell it from what does not exist", std::time::Duration::from_secs(5), || {
        let found = gateway.records().into_iter().any(|line| line.to_string().contains("not_owner"));
        found.then_some(())
    });
}

#[test]
fn z7_no_spelling_of_a_path_is_anybody_elses() {
    let House { origin, gateway, id, eve, .. } = house();
    let eves = claims(&eve)["sub"].as_str().unwrap().to_owned();
    let escaped: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let twice: String = id.bytes().map(|byte| format!("%25{byte:02x}")).collect();
    for path in [
        format!("/users/{id}"),
        format!("/users/{id}/"),
        format!("/users//{id}"),
        format!("//users/{id}"),
        format!("/USERS/{id}"),
        format!("/{}/{}", "Users", id.to_uppercase()),
        format!("/users/{}", id.to_uppercase()),
        format!("/users/{escaped}"),
        format!("/users/{twice}"),
        format!("/%75sers/{id}"),
        format!("/users/{id}."),
        format!("/users/{id}%20"),
        format!("/users/{id}%00"),
        format!("/users/{id}%2f"),
        format!("/users/{id};x={eves}"),
        format!("/users/{eves}/../{id}"),
        format!("/users/{eves}/%2e%2e/{id}"),
        format!("/users/{eves}%2f..%2f{id}"),
        format!("/users/{eves}%5c..%5c{id}"),
        format!("/users/{eves}\\..\\{id}"),
        format!("/users/./{id}"),
        format!("/users/[%22{eves}%22,%22{id}%22]"),
        format!("/users/{eves},{id}"),
        format!("/users/{id}?user_id={eves}"),
        format!("/users/{id}#{eves}"),
        format!("/users/{}%CC%81", id),
        "/users/".to_owned(),
        "/users/%20".to_owned(),
        "/users/undefined".to_owned(),
    ] {
        let client = gateway.client();
        let mut connection = client.connect();
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-User-Id: {id}\r\nX-Original-URL: /users/{eves}\r\n");
        connection.send(format!("{head}Authorization: Bearer {eve}\r\n\r\n")).unwrap();
        let reply = connection.reply().unwrap();
        assert!([400, 404].contains(&reply.status), "{path}: {}", reply.text());
    }
    assert!(origin.requests().is_empty());
    // What is compared is what is forwarded: another spelling of one's own name is brought to the usual one.
    let own: String = eves.bytes().map(|byte| format!("%{byte:02X}")).collect();
    gateway.client().get(&format!("/users/{own}/x")).bearer(&eve).send().expect(200);
    assert_eq!(origin.last().target, format!("/users/{eves}/x"));
    assert_eq!(origin.last().header("x-user-id"), Some(eves.as_str()));
}

#[test]
fn z7_what_is_compared_is_the_id_that_the_api_is_told_by_whatever_it_was_proven() {
    let origin = origin();
    let gateway = Setup::before(&origin).with(ROUTES).start();
    let [ann, eve] = ["ann", "eve"].map(|name| Person::new(&gateway, name));
    let id = claims(&ann.access)["sub"].as_str().unwrap().to_owned();
    let order = ok(&json!({ "owner": { "id": id } }).to_string());
    // A restricted key of an administrator's holds no role; its own things are its owner's.
    for held in ALL {
        for (person, status) in [(&ann, 200), (&eve, 404)] {
            let (name, value) = person.header(held);
            for target in [format!("/users/{id}"), "/orders/7".to_owned()] {
                let client = gateway.client();
                let reply = client.get(&target).header(name, &value).header("X-Answer", &order).send();
                assert_eq!(reply.status, status, "{held:?} {target}: {}", reply.text());
                if status == 200 {
                    assert_eq!(origin.last().header("x-user-id"), Some(id.as_str()));
                }
            }
        }
    }
}

#[test]
fn z7_an_answer_is_told_only_where_its_member_is_the_callers_id() {
    let House { origin: _origin, gateway, ann, id, admin, .. } = house();
    let client = gateway.client();
    let own = format!(r#"{{"total": 1.0, "owner": {{"id": "{id}"}}, "big": 12345678901234567890}}"#);
    let reply = ask(&client, "GET", "/orders/1", &ann, &ok(&own)).expect(200);
    assert_eq!(reply.text(), own);
    assert_eq!(reply.header("etag"), Some("\"e1\""));
    let escaped: String = id.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
    ask(&client, "GET", "/orders/1", &ann, &ok(&format!(r#"{{"owner":{{"id":"{escaped}"}}}}"#))).expect(200);

    let missing =
        ask(&client, "GET", "/orders/1", &ann, "404 Not Found|Content-Type: text/html||no order 1").expect(404);
    for foreign in [
        format!(r#"{{"owner":{{"id":"{SECRET}"}}}}"#),
        format!(r#"{{"owner":{{"id":"{}"}}}}"#, id.to_uppercase() + "X"),
        format!(r#"{{"owner":{{"id":"{id} "}}}}"#),
        format!(r#"{{"owner":{{"id":"{id}\u0000"}}}}"#),
        format!(r#"{{"owner":{{"id":["{id}"]}}}}"#),
        format!(r#"{{"owner":[{{"id":"{id}"}}],"x":"{SECRET}"}}"#),
        format!(r#"{{"owner":"{id}"}}"#),
        format!(r#"{{"Owner":{{"id":"{id}"}}}}"#),
        format!(r#"{{"owner.id":"{id}"}}"#),
        format!(r#"{{"data":{{"owner":{{"id":"{id}"}}}}}}"#),
        r#"{"owner":{"id":null}}"#.to_owned(),
        r#"{"owner":{"id":0}}"#.to_owned(),
        r#"{"owner":{}}"#.to_owned(),
        "{}".to_owned(),
        format!("\"{id}\""),
        String::new(),
    ] {
        let reply = ask(&client, "GET", "/orders/1", &ann, &ok(&foreign));
        assert_eq!(told(&reply), told(&missing), "{foreign}");
    }
    // What can be read in two ways is told to nobody.
    for unclear in [
        format!(r#"{{"owner":{{"id":"{id}"}},"owner":{{"id":"{SECRET}"}}}}"#),
        format!(r#"{{"owner":{{"id":"{SECRET}","\u0069d":"{id}"}}}}"#),
        format!(r#"{{"owner":{{"id":"{id}"}}}} {SECRET}"#),
        format!(r#"{{"owner":{{"id":"{id}"}},"x":"{SECRET}"#),
        SECRET.to_owned(),
    ] {
        let reply = ask(&client, "GET", "/orders/1", &ann, &ok(&unclear)).refused(502, "Bad gateway");
        assert!(!reply.text().contains(SECRET));
    }
    // Who may see others' sees all of it, and as it comes.
    let reply = ask(&client, "GET", "/orders/1", &admin, &ok(SECRET)).expect(200);
    assert_eq!((reply.text().as_str(), reply.header("cache-control")), (SECRET, Some("private")));
}

#[test]
fn z7_what_is_not_the_callers_cannot_be_told_from_what_does_not_exist() {
    let House { origin, gateway, ann, .. } = house();
    let foreign = ok(&format!(r#"{{"owner":{{"id":"{SECRET}"}}}}"#));
    let missing =
        "404 Not Found|Content-Type: application/json|X-Trace: 1|Set-Cookie: a=b|Retry-After: 7||{\"error\":\"gone\"}";
    for (method, headers) in [
        ("GET", &[][..]),
        ("HEAD", &[]),
        ("GET", &[("If-None-Match", "\"e1\"")]),
        ("GET", &[("If-None-Match", "*")]),
        ("GET", &[("If-Match", "*")]),
        ("GET", &[("If-Modified-Since", "Sat, 29 Oct 2033 19:43:31 GMT")]),
        ("GET", &[("If-Unmodified-Since", "Sat, 29 Oct 1994 19:43:31 GMT")]),
        ("GET", &[("Range", "bytes=0-0"), ("If-Range", "\"e1\"")]),
        ("GET", &[("Accept-Encoding", "gzip, br")]),
        ("GET", &[("Accept", "text/html")]),
        (
            "GET",
            &[
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ],
        ),
    ] {
        let [foreign, missing] = [foreign.as_str(), missing].map(|answer| {
            let client = gateway.client();
            let mut request = client.request(method, "/orders/9").bearer(&ann).header("X-Answer", answer);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let first = request.send();
            // Neither does the connection tell.
            (told(&first), client.get("/nowhere").send().status)
        });
        assert_eq!(foreign, missing, "{method} {headers:?}");
        assert_eq!(foreign.0.0, 404);
        let seen = origin.last();
        assert_eq!(seen.method, "GET");
        for name in
            ["if-none-match", "if-match", "if-modified-since", "if-unmodified-since", "range", "if-range", "upgrade"]
        {
            assert_eq!(seen.header(name), None, "{:?}", seen.headers);
        }
        assert_eq!(seen.header("accept-encoding"), Some("identity"));
    }
}

#[test]
fn z7_an_answer_that_shows_no_owner_is_told_to_nobody() {
    let House { origin: _origin, gateway, ann, id, .. } = house();
    let own = format!(r#"{{"owner":{{"id":"{id}"}},"x":"{SECRET}"}}"#);
    let client = gateway.client();
    for (answer, status) in [
        (format!("302 Found|Location: https://store.example/{SECRET}||"), 502),
        (format!("303 See Other|Content-Type: application/json|Location: /{SECRET}||{own}"), 502),
        ("304 Not Modified|ETag: \"e1\"||".to_owned(), 502),
        (format!("206 Partial Content|Content-Type: application/json|Content-Range: bytes 0-9/99||{own}"), 502),
        (format!("200 OK|Content-Type: application/json|Content-Encoding: gzip||{own}"), 502),
        (format!("200 OK|Content-Type: text/html||{own}"), 502),
        (format!("200 OK||{own}"), 502),
        (format!("200 OK|Content-Type: text/event-stream||data: {own}"), 502),
        (format!("200 OK|Content-Type: application/json|Content-Type: text/html||{own}"), 502),
        (format!("101 Switching Protocols|Connection: upgrade|Upgrade: websocket||{own}"), 502),
        ("204 No Content||".to_owned(), 404),
        (format!("201 Created|Content-Type: application/json||{{\"x\":\"{SECRET}\"}}"), 404),
        (format!("409 Conflict|Content-Type: application/json|X-Debug: {SECRET}||{own}"), 409),
        (format!("500 Oops|Content-Type: text/html||{SECRET}"), 500),
        (format!("418 Teapot|Content-Type: application/json||{own}"), 418),
    ] {
        let reply = ask(&client, "GET", "/orders/1", &ann, &answer).expect(status);
        let everything = format!("{:?} {}", reply.headers, reply.text());
        assert!(!everything.contains(SECRET), "{answer}: {everything}");
        assert!(!reply.error().is_empty());
    }
}

#[test]
fn z7_of_a_list_each_sees_their_own() {
    let House { origin: _origin, gateway, ann, id, eve, .. } = house();
    let client = gateway.client();
    let list = format!(
        r#"{{"page":{{"items":[{{"owner":{{"id":"{SECRET}"}}}}, {{"n":1.0,"owner":{{"id":"{id}"}}}}, {{"n":2}}, "{SECRET}"],"next":3}}}}"#
    );
    let reply = ask(&client, "GET", "/orders", &ann, &ok(&list)).expect(200);
    assert_eq!(reply.text(), format!(r#"{{"page":{{"items":[ {{"n":1.0,"owner":{{"id":"{id}"}}}}],"next":3}}}}"#));
    assert_eq!((reply.header("etag"), reply.headers("content-length").len()), (None, 1));
    assert_eq!(
        ask(&client, "GET", "/orders", &eve, &ok(&list)).expect(200).text(),
        r#"{"page":{"items":[],"next":3}}"#
    );
    for nowhere in ["[]", "{}", r#"{"page":{}}"#, &format!(r#"{{"items":[{{"owner":{{"id":"{id}"}}}}]}}"#)] {
        ask(&client, "GET", "/orders", &ann, &ok(nowhere)).refused(404, "Not found");
    }
    let own = format!(r#"[{{"owner":"{id}"}},{{"owner":"{id}"}}]"#);
    assert_eq!(ask(&client, "GET", "/strict", &ann, &ok(&own)).expect(200).text(), own);
    let mixed = format!(r#"[{{"owner":"{id}"}},{{"owner":"{SECRET}"}}]"#);
    ask(&client, "GET", "/strict", &ann, &ok(&mixed)).refused(403, "Insufficient permissions");
    assert!(refusals(&gateway, "not_owner") >= 5);
}
