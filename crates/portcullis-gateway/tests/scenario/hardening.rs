//! What every answer carries, refusals and upstream errors included (H1, H5, RFC 9457).

use serde_json::json;

use crate::projects;
use crate::support::PROJECT_ROUTES;
use crate::support::client::{Connection, Reply};
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup, free_address};

/// Fails unless the answer is hardened and tells nothing about who made it.
#[track_caller]
fn hardened(what: &str, reply: &Reply) {
    for (name, expected) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
        ("x-xss-protection", "0"),
    ] {
        assert_eq!(reply.header(name), Some(expected), "{what}: {name} in {:?}", reply.headers);
    }
    // A page of ours tells other pages of this origin nothing of its address either: it may hold the token of a link.
    let is_page = reply.header("content-type").unwrap_or_default().starts_with("text/html");
    let expected = if is_page { "strict-origin" } else { "strict-origin-when-cross-origin" };
    assert_eq!(reply.header("referrer-policy"), Some(expected), "{what}: {:?}", reply.headers);
    let policy = reply.header("content-security-policy").unwrap_or_default();
    assert!(
        policy.contains("default-src 'self'") || policy.contains("default-src 'none'"),
        "{what}: {:?}",
        reply.headers
    );
    for name in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
        assert!(reply.header(name).is_some(), "{what}: {name} in {:?}", reply.headers);
    }
    for name in ["server", "x-powered-by"] {
        assert!(reply.headers(name).is_empty(), "{what}: {name} in {:?}", reply.headers);
    }
    assert!(reply.header("x-request-id").is_some(), "{what}: no request id in {:?}", reply.headers);
}

/// Fails unless the body is problem details with our member `error`.
#[track_caller]
fn problem(what: &str, reply: &Reply) {
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{what}: {:?}", reply.headers);
    let body = reply.json();
    assert_eq!(body["status"], reply.status, "{what}: {body}");
    for member in ["type", "title", "error", "request_id"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{what}: {member} in {body}");
    }
    assert_eq!(body["request_id"].as_str(), reply.header("x-request-id"), "{what}");
    assert!(
        reply.header("cache-control").is_some_and(|value| value.contains("no-store")),
        "{what}: {:?}",
        reply.headers
    );
}

fn raw(gateway: &Gateway, request: &str) -> Reply {
    let mut connection: Connection = gateway.client().connect();
    // The gate may answer and close before the whole of an oversized request is written.
    let _ = connection.send(request);
    connection.reply().unwrap_or_else(|error| panic!("{:?}… got no answer: {error}", &request[..request.len().min(60)]))
}

#[test]
fn h1_every_answer_is_hardened() {
    let (_origin, gateway) = projects();
    let viewer = gateway.token("viewer");
    let client = gateway.client();
    let wrong = json!({ "email": "a@example.com", "password": "Wrong-password-1" });
    for (what, reply) in [
        ("200 of the API", client.get("/public/status").send().expect(200)),
        ("401", client.get("/projects").send().expect(401)),
        ("401 of a bad token", client.get("/projects").bearer("a.b.c").send().expect(401)),
        ("403", client.get("/analytics").bearer(&viewer).send().expect(403)),
        ("404", client.get("/nowhere").send().expect(404)),
        ("400 of a path", client.get("/public/../x").send().expect(400)),
        ("401 of a login", client.post("/auth/login").json(&wrong).send().expect(401)),
        ("200 of the key set", client.get("/.well-known/jwks.json").send().expect(200)),
        ("the page of a link", client.get("/auth/verify?token=x").send()),
        ("an identity path that is none", client.get("/auth/nothing").send()),
        ("an identity method that is none", client.request("DELETE", "/auth/login").send()),
        ("a preflight", client.request("OPTIONS", "/projects").header("Origin", "https://evil.example.com").send()),
    ] {
        hardened(what, &reply);
        if reply.status >= 400 && !reply.header("content-type").unwrap_or_default().starts_with("text/html") {
            problem(what, &reply);
        }
        assert!(reply.headers("access-control-allow-origin").is_empty(), "{what}: no origin is allowed by default");
    }
    let limited = loop {
        let reply = client.get("/public/status").send();
        if reply.status == 429 {
            break reply;
        }
    };
    hardened("429", &limited);
    problem("429", &limited);
}

#[test]
fn h1_answers_that_the_parser_gives_are_hardened_too() {
    let (origin, gateway) = projects();
    let host = gateway.listen.to_string();
    let many: String = (0..300).map(|number| format!("X-H-{number}: v\r\n")).collect();
    let cases: [(&str, &[u16], String); 12] = [
        ("nonsense", &[400], "nonsense\r\n\r\n".to_owned()),
        ("no Host", &[400], "GET /public/status HTTP/1.1\r\n\r\n".to_owned()),
        ("two Hosts", &[400], format!("GET /public/status HTTP/1.1\r\nHost: {host}\r\nHost: b\r\n\r\n")),
        ("a bad field", &[400], format!("GET /public/status HTTP/1.1\r\nHost: {host}\r\nA b: c\r\n\r\n")),
        ("a control byte", &[400], format!("GET /public/status HTTP/1.1\r\nHost: {host}\r\nA: \u{1}\r\n\r\n")),
        (
            "two lengths",
            &[400],
            format!("POST /public/status HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ),
        ("a version", &[400, 505], format!("GET /public/status HTTP/3.7\r\nHost: {host}\r\n\r\n")),
        ("a long target", &[414, 431], format!("GET /public/{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "a".repeat(20_000))),
        (
            "a large head",
            &[431],
            format!("GET /public/status HTTP/1.1\r\nHost: {host}\r\nA: {}\r\n\r\n", "a".repeat(200_000)),
        ),
        ("many fields", &[431], format!("GET /public/status HTTP/1.1\r\nHost: {host}\r\n{many}\r\n")),
        ("CONNECT", &[400, 405, 501], "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n".to_owned()),
        ("an expectation", &[417], format!("GET /public/status HTTP/1.1\r\nHost: {host}\r\nExpect: a-pony\r\n\r\n")),
    ];
    for (what, statuses, request) in cases {
        let reply = raw(&gateway, &request);
        assert!(statuses.contains(&reply.status), "{what}: {}", reply.status);
        hardened(what, &reply);
        problem(what, &reply);
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
}

#[test]
fn h1_upstream_errors_are_hardened_and_tell_nothing_about_the_upstream() {
    let nobody = free_address();
    let gateway = Setup::upstream(&format!("http://{nobody}")).with(PROJECT_ROUTES).start();
    let reply = gateway.client().get("/public/status").send().refused(502, "Bad gateway");
    hardened("502", &reply);
    problem("502", &reply);
    assert!(!reply.text().contains(&nobody.port().to_string()), "{}", reply.text());
}

#[test]
fn h1_what_the_api_says_about_itself_is_removed_and_what_it_allows_is_overruled() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.send(
            "HTTP/1.1 500 Oops\r\nServer: leaky/1.2\r\nX-Powered-By: leaks\r\nX-Frame-Options: ALLOWALL\r\n\
             X-Content-Type-Options: sniff\r\nConnection: x-frame-options, keep-alive\r\nContent-Length: 4\r\n\r\noops",
        )
    });
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    let reply = gateway.client().get("/public/status").send().expect(500);
    hardened("500 of the API", &reply);
    assert_eq!(reply.body, b"oops", "the API's own error stays its own");
}

#[test]
fn h5_a_body_over_the_limit_is_refused_by_its_length_and_by_its_chunks() {
    let (origin, gateway) = projects();
    let token = gateway.token("viewer");
    let big = vec![b'x'; 64 * 1024];
    let client = gateway.client();
    let reply = client.post("/auth/login").header("Content-Type", "application/json").body(&big).send().expect(413);
    hardened("413", &reply);
    problem("413", &reply);

    let mut connection = gateway.client().connect();
    let mut request = format!(
        "POST /auth/login HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n10000\r\n",
        gateway.listen
    )
    .into_bytes();
    request.extend_from_slice(&big);
    request.extend_from_slice(b"\r\n0\r\n\r\n");
    let _ = connection.send(request);
    assert_eq!(connection.reply().unwrap().status, 413);
    assert!(origin.requests().is_empty());
}
