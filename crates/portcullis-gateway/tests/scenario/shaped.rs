//! What a role may see of an answer (Z8), and what becomes of answers that cannot be judged.

use std::time::Duration;

use super::dictated::{SECRET, ask, ok, origin, refusals};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

const ROUTES: &str = r#"
[roles.chief]
inherits = ["editor"]

[[route]]
match = "/orders/**"
access = "authenticated"
[route.response]
allow = { admin = ["**"], editor = ["id", "items.*.price"], chief = ["note"], otherwise = ["id", "items.*.id"] }
max = "64KiB"

[[route]]
match = "/open/**"
access = "public"
response = { allow = ["error"], errors = "shape", other_types = "danger-pass" }

[[route]]
match = "/errors/**"
access = "public"
response = { allow = ["id"], errors = "danger-pass" }

[[route]]
match = "/free/**"
access = "public"
"#;

const ORDER: &str = r#"{"id": 1.0, "card":"s3cr3t", "items":[ {"id":12345678901234567890,"price":7e0}, {"price":1} ], "note":"\u00e9"}"#;

struct House {
    origin: Origin,
    gateway: Gateway,
    viewer: String,
    admin: String,
}

fn house() -> House {
    let origin = origin();
    let gateway = Setup::before(&origin).with(ROUTES).start();
    let [viewer, admin] = ["viewer", "admin"].map(|role| gateway.token(role));
    House { origin, gateway, viewer, admin }
}

#[test]
fn z8_each_role_sees_the_members_that_are_listed_for_it_and_every_byte_of_them() {
    let House { origin: _origin, gateway, viewer, admin, .. } = house();
    let [editor, chief] = ["editor", "chief"].map(|role| gateway.token(role));
    for (token, left) in [
        (&viewer, r#"{"id": 1.0, "items":[ {"id":12345678901234567890}, {} ]}"#),
        (&editor, r#"{"id": 1.0, "items":[ {"price":7e0}, {"price":1} ]}"#),
        (&chief, r#"{"id": 1.0, "items":[ {"price":7e0}, {"price":1} ], "note":"\u00e9"}"#),
        (&admin, ORDER),
    ] {
        let reply = ask(&gateway.client(), "GET", "/orders/1", token, &ok(ORDER)).expect(200);
        assert_eq!(reply.text(), left);
        assert_eq!(reply.header("content-length"), Some(left.len().to_string().as_str()));
        // The tag of all of it would help to guess what is left out.
        assert_eq!(reply.header("etag"), (left == ORDER).then_some("\"e1\""));
        assert_eq!(reply.header("cache-control"), Some("private"));
        assert_eq!(reply.header("vary"), Some("Authorization, Cookie, X-API-Key"));
        // Whoever asks for the head is told that of the answer.
        let head = ask(&gateway.client(), "HEAD", "/orders/1", token, &ok(ORDER)).expect(200);
        let names = |headers: &[(String, String)]| {
            let differs = |name: &str| ["date", "x-request-id"].contains(&name) || name.starts_with("x-ratelimit-");
            let mut told: Vec<_> = headers.iter().filter(|(name, _)| !differs(name)).cloned().collect();
            told.sort();
            told
        };
        assert_eq!(names(&head.headers), names(&reply.headers));
    }
    // Nobody in particular is somebody with no role.
    let reply = gateway.client().get("/open/1").header("X-Answer", &ok(r#"{"x":1,"error":2}"#)).send().expect(200);
    assert_eq!(reply.text(), r#"{"error":2}"#);
}

#[test]
fn z8_only_who_is_bound_asks_for_another_answer() {
    let House { origin, gateway, viewer, admin } = house();
    let headers = [
        ("Accept-Encoding", "gzip, br"),
        ("Range", "bytes=0-1"),
        ("If-Range", "\"a\""),
        ("If-None-Match", "\"a\""),
        ("If-Modified-Since", "Sat, 29 Oct 1994 19:43:31 GMT"),
    ];
    for (token, method, target) in [
        (&viewer, "GET", "/orders/1"),
        (&admin, "GET", "/orders/1"),
        (&viewer, "GET", "/free/1"),
        (&viewer, "PUT", "/orders/1"),
    ] {
        let client = gateway.client();
        let mut request = client.request(method, target).bearer(token).header("X-Answer", &ok(ORDER));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let reply = request.send().expect(200);
        let seen = origin.last();
        let told: Vec<_> = headers.iter().map(|(name, _)| seen.header(name).unwrap_or("-")).collect();
        let as_sent: Vec<_> = headers.iter().map(|(_, value)| *value).collect();
        let is_bound = target == "/orders/1" && token == &viewer;
        match (is_bound, method) {
            (false, _) => assert_eq!(told, as_sent),
            // What is to be changed under a condition is changed under it.
            (true, "PUT") => assert_eq!(told, ["identity", "-", "-", as_sent[3], as_sent[4]]),
            (true, _) => assert_eq!(told, ["identity", "-", "-", "-", "-"]),
        }
        assert_eq!(reply.header("cache-control"), (target != "/free/1").then_some("private"));
    }
    let cached = "200 OK|Content-Type: application/json|Cache-Control: public, s-maxage=600, max-age=5|CDN-Cache-Control: max-age=9|\
                  Vary: Accept|Accept-Ranges: bytes|Content-Digest: sha-256=:YQ==:||{}";
    for token in [&viewer, &admin] {
        let reply = ask(&gateway.client(), "GET", "/orders/1", token, cached).expect(200);
        assert_eq!(reply.header("cache-control"), Some("private, max-age=5"));
        assert_eq!(reply.header("cdn-cache-control"), None);
        assert_eq!(reply.headers("vary"), ["Accept", "Authorization, Cookie, X-API-Key"]);
        assert_eq!(reply.header("accept-ranges"), (token == &admin).then_some("bytes"));
        assert_eq!(reply.header("content-digest"), Some("sha-256=:YQ==:"));
    }
}

#[test]
fn z8_what_cannot_be_judged_is_refused() {
    let House { origin: _origin, gateway, viewer, admin, .. } = house();
    let json = "Content-Type: application/json";
    let answers = [
        format!("200 OK|{json}|Content-Encoding: gzip||{ORDER}"),
        format!("200 OK|{json}|Content-Encoding: identity, br||{ORDER}"),
        format!("200 OK|Content-Type: text/html||{ORDER}"),
        format!("200 OK|Content-Type: text/event-stream||data: {ORDER}"),
        format!("200 OK|Content-Type: application/x-ndjson||{ORDER}"),
        format!("200 OK|{json}|Content-Type: text/plain||{ORDER}"),
        format!("200 OK||{ORDER}"),
        format!("206 Partial Content|{json}|Content-Range: bytes 0-9/99||{ORDER}"),
        format!("226 IM Used|{json}|IM: vcdiff||{ORDER}"),
        "304 Not Modified|ETag: \"e1\"||".to_owned(),
        format!("200 OK|{json}||{{\"id\":1,\"id\":\"{SECRET}\"}}"),
        format!("200 OK|{json}||{ORDER}{ORDER}"),
        format!("200 OK|{json}||\"{SECRET}\""),
        format!("200 OK|{json}||)]}}',{ORDER}"),
        format!("200 OK|{json}||{{\"id\":1,\"card\":\"{SECRET}\","),
        format!("200 OK|{json}|Content-Length: 500|X-Break: 1||{ORDER}"),
        format!("200 OK|{json}|Transfer-Encoding: chunked|X-Break: 1||{:x}|{ORDER}|", ORDER.len()),
        format!("200 OK|{json}|Transfer-Encoding: chunked||zz|{ORDER}|"),
        format!("200 OK|{json}||{{\"id\":1,\"x\":\"<big>\"}}"),
        format!("200 OK|{json}|Connection: close||{{\"id\":1,\"x\":\"<big>\"}}"),
        format!("101 Switching Protocols|Connection: upgrade|Upgrade: websocket||{ORDER}"),
    ];
    let client = gateway.client();
    for answer in &answers {
        for method in ["GET", "HEAD", "POST"] {
            let reply = ask(&client, method, "/orders/1", &viewer, answer).expect(502);
            assert!(method == "HEAD" || reply.error() == "Bad gateway", "{answer}");
            let everything = format!("{:?} {}", reply.headers, reply.text());
            assert!(!everything.contains(SECRET), "{answer}: {everything}");
            assert_eq!(reply.headers("content-length").len(), 1);
        }
    }
    assert_eq!(refusals(&gateway, "response_refused"), 51);
    let told = |kind: &str| gateway.records().iter().any(|line| line.to_string().contains(kind));
    eventually("an event tells of it", Duration::from_secs(5), || told("response_refused").then_some(()));
    let logged = || gateway.output().contains("larger than the route looks at").then_some(());
    eventually("the log says why", Duration::from_secs(5), logged);
    // Who sees all gets what comes.
    for answer in [&answers[0], &answers[2], &answers[12], &answers[18]] {
        assert!(ask(&client, "GET", "/orders/1", &admin, answer).expect(200).text().contains(SECRET));
    }
}

#[test]
fn z8_pieces_and_trailers_of_an_answer_become_one() {
    let House { origin, gateway, viewer, .. } = house();
    let (one, two) = ORDER.split_at(20);
    let chunked = format!(
        "200 OK|Content-Type: application/json|Transfer-Encoding: chunked|Trailer: X-Sum||{:x}|{one}|{:x}|{two}|0|X-Sum: {SECRET}||",
        one.len(),
        two.len()
    );
    let client = gateway.client();
    for _ in 0..3 {
        let reply = ask(&client, "GET", "/orders/1", &viewer, &chunked).expect(200);
        assert_eq!(reply.text(), r#"{"id": 1.0, "items":[ {"id":12345678901234567890}, {} ]}"#);
        assert_eq!((reply.header("trailer"), reply.header("transfer-encoding")), (None, None));
        assert!(reply.trailers.is_empty());
    }
    // The upstream's connection is used again, by what is hidden too.
    ask(&client, "GET", "/orders/1", &viewer, &format!("404 Not Found||{SECRET}")).expect(404);
    ask(&client, "GET", "/orders/1", &viewer, &ok("{}")).expect(200);
    assert_eq!(origin.connections().len(), 1);
    let empty = "200 OK|Content-Type: text/plain||";
    assert_eq!(ask(&client, "GET", "/orders/1", &viewer, empty).expect(200).header("content-length"), Some("0"));
    ask(&client, "DELETE", "/orders/1", &viewer, "204 No Content||").expect(204);
}

#[test]
fn z8_errors_and_redirects_say_no_more_than_they_must() {
    let House { origin: _origin, gateway, viewer, .. } = house();
    let client = gateway.client();
    for (status, kept) in [
        (400, ""),
        (401, "WWW-Authenticate: Basic"),
        (404, ""),
        (405, "Allow: GET"),
        (429, "Retry-After: 9"),
        (500, ""),
        (599, ""),
    ] {
        let line = if kept.is_empty() { String::new() } else { format!("{kept}|") };
        let answer = format!(
            "{status} {SECRET}|{line}X-Debug: {SECRET}|Content-Type: application/json||{{\"id\":\"{SECRET}\"}}"
        );
        let reply = ask(&client, "GET", "/orders/1", &viewer, &answer).expect(status);
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert!(!reply.error().is_empty());
        if let Some((name, value)) = kept.split_once(": ") {
            assert!(reply.headers(&name.to_lowercase()).contains(&value), "{:?}", reply.headers);
        }
        assert!(!format!("{:?} {}", reply.headers, reply.text()).contains(SECRET));
    }
    let redirect = format!("302 Found|Location: /there|Content-Type: text/html|ETag: \"x\"||<a>{SECRET}</a>");
    let reply = ask(&client, "GET", "/orders/1", &viewer, &redirect).expect(302);
    assert_eq!(
        (reply.header("location"), reply.header("content-type"), reply.text().as_str()),
        (Some("/there"), None, "")
    );

    let open = |target: &str, answer: &str| gateway.client().get(target).header("X-Answer", answer).send();
    let json = format!("422 Unprocessable|Content-Type: application/json||{{\"error\":\"id\",\"stack\":\"{SECRET}\"}}");
    assert_eq!(open("/open/1", &json).expect(422).text(), r#"{"error":"id"}"#);
    let html = format!("500 Oops|Content-Type: text/html||{SECRET}");
    assert!(!open("/open/1", &html).expect(500).text().contains(SECRET));
    // Where the file says so, it goes on as it comes.
    assert!(open("/open/1", &format!("200 OK|Content-Type: text/html||{SECRET}")).expect(200).text().contains(SECRET));
    assert!(open("/errors/1", &json).expect(422).text().contains(SECRET));
    assert!(open("/errors/1", &html).expect(500).text().contains(SECRET));
}

#[test]
fn z8_what_is_held_of_answers_is_bounded_for_each_and_for_all() {
    let origin = origin();
    let routes = ROUTES.replace("max = \"64KiB\"", "max = \"2MiB\"");
    let gateway = Setup::before(&origin).with(&format!("[client]\nmax_held = \"1MiB\"\n{routes}")).start();
    let viewer = gateway.token("viewer");
    let client = gateway.client();
    let large = |kib: usize| ok(&format!("{{\"id\":1,\"x\":\"{}\"}}", "a".repeat(kib * 1024)));
    assert!(large(1).len() < 8 * 1024);
    // A quarter of a mebibyte is what one address may take of it; a larger answer is nobody's fault, and comes too late.
    let answer = "200 OK|Content-Type: application/json||{\"id\":1,\"x\":\"<big>\"}";
    for _ in 0..3 {
        ask(&client, "GET", "/orders/1", &viewer, answer).refused(503, "Service unavailable");
        // What was taken has been given back.
        assert_eq!(ask(&client, "GET", "/orders/1", &viewer, &large(6)).expect(200).text(), r#"{"id":1}"#);
    }
    // What nobody looks at goes through in pieces.
    let reply = client.get("/free/1").header("X-Answer", answer).send().expect(200);
    assert!(reply.text().len() > 1_000_000);
}
