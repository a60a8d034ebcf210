//! Answers: whose something is (Z7), who may see what of it (Z8), and what every answer carries (H1).

use super::super::dictated::{SECRET, ask, ok, origin};
use super::Crossings;
use crate::support::claims;
use crate::support::client::Reply;
use crate::support::origin::Origin;
use crate::support::process::Setup;

const OWNED: &str = r#"
[[route]]
match = "<at>/users/{user_id}/**"
access = "authenticated"
owner = { path = "user_id", unless = { roles = ["admin"] } }

[[route]]
match = "GET <at>/orders/{id}"
access = "authenticated"
owner = { member = "owner.id", unless = { roles = ["admin"] } }

[[route]]
match = "GET <at>/orders"
access = "authenticated"
owner = { member = "owner.id", list = "page.items" }

[[route]]
match = "GET <at>/strict"
access = "authenticated"
owner = { member = "owner", foreign = "refuse", answer = 403 }
"#;

#[test]
fn z7_what_is_somebody_elses_is_told_to_nobody_by_any_crossing() {
    let crossings = Crossings::before(origin(), OWNED, "");
    let [ann, eve, admin] = ["viewer", "editor", "admin"].map(|role| crossings.gateway.token(role));
    let id = claims(&ann)["sub"].as_str().unwrap().to_owned();
    // By the path: nothing is forwarded.
    let path = |at: &str, rest: &str| format!("{at}/users/{id}{rest}");
    let missing =
        crossings.ask("nothing", |client, _| client.get("/nowhere").bearer(&eve).send().refused(404, "Not found"));
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        crossings.ask(method, |client, at| ask(client, method, &path(at, "/x?a=b"), &ann, &ok("{}")).expect(200));
        crossings.ask(method, |client, at| ask(client, method, &path(at, "/x"), &admin, &ok("{}")).expect(200));
        let before = crossings.count();
        let refused =
            crossings.ask(method, |client, at| ask(client, method, &path(at, "/x"), &eve, &ok(SECRET)).expect(404));
        assert!(method == "HEAD" || super::told(&refused) == super::told(&missing), "{method}: {refused:?}");
        assert_eq!(crossings.count(), before, "{method}");
    }
    let escaped: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let before = crossings.count();
    for spelling in [
        format!("/users/{escaped}/x"),
        format!("/users/{}/x", id.to_uppercase()),
        format!("/users//{id}/x"),
        format!("/users/{id};a/x"),
        format!("/users/{id}%2fx/x"),
        format!("/users/{id}%00/x"),
    ] {
        let reply = crossings.ask(&spelling, |client, at| client.get(&format!("{at}{spelling}")).bearer(&eve).send());
        assert!([400, 404].contains(&reply.status), "{spelling}: {reply:?}");
    }
    assert_eq!(crossings.count(), before);

    // By the answer, however it comes.
    let orders = |token: &str, answer: &str| {
        crossings.ask(answer, |client, at| ask(client, "GET", &format!("{at}/orders/1"), token, answer))
    };
    let own = format!(r#"{{"total": 1.0, "owner": {{"id": "{id}"}}}}"#);
    assert_eq!(orders(&ann, &ok(&own)).expect(200).text(), own);
    let (one, two) = own.split_at(9);
    let pieces = format!("{:x}|{one}|{:x}|{two}|0|", one.len(), two.len());
    let chunked = format!("200 OK|Content-Type: application/json|Transfer-Encoding: chunked||{pieces}|");
    assert_eq!(orders(&ann, &chunked).expect(200).text(), own);
    let with_trailers = format!(
        "200 OK|Content-Type: application/json|Trailer: X-Sum|Transfer-Encoding: chunked||{pieces}X-Sum: {SECRET}||"
    );
    assert!(orders(&ann, &with_trailers).expect(200).trailers.is_empty());
    for foreign in [
        format!(r#"{{"owner":{{"id":"{SECRET}"}}}}"#),
        format!(r#"{{"owner":{{"id":["{id}"]}}}}"#),
        format!(r#"{{"owner":"{id}"}}"#),
        "{}".to_owned(),
        String::new(),
    ] {
        orders(&ann, &ok(&foreign)).refused(404, "Not found");
    }
    for unclear in [
        ok(&format!(r#"{{"owner":{{"id":"{id}"}},"owner":{{"id":"{SECRET}"}}}}"#)),
        ok(&format!(r#"{{"owner":{{"id":"{id}"}},"x":"{SECRET}"#)),
        format!("200 OK|Content-Type: application/json|Content-Encoding: gzip||{own}"),
        format!("200 OK|Content-Type: text/html||{own}"),
        format!("200 OK|Content-Type: text/event-stream||data: {own}"),
        format!("206 Partial Content|Content-Type: application/json|Content-Range: bytes 0-9/99||{own}"),
        format!("200 OK|Content-Type: application/json|Content-Length: 500|X-Break: 1||{own}"),
        format!("200 OK|Content-Type: application/json|Transfer-Encoding: chunked|X-Break: 1||{:x}|{own}|", own.len()),
        format!("302 Found|Location: https://store.example/{SECRET}||"),
        "304 Not Modified|ETag: \"e1\"||".to_owned(),
    ] {
        let reply = orders(&ann, &unclear).refused(502, "Bad gateway");
        assert!(!format!("{reply:?}").contains(SECRET), "{unclear}");
    }
    let list = format!(
        r#"{{"page":{{"items":[{{"owner":{{"id":"{SECRET}"}}}}, {{"n":1.0,"owner":{{"id":"{id}"}}}}],"next":3}}}}"#
    );
    let reply = crossings.ask("a list", |client, at| ask(client, "GET", &format!("{at}/orders"), &ann, &ok(&list)));
    assert_eq!(reply.text(), format!(r#"{{"page":{{"items":[ {{"n":1.0,"owner":{{"id":"{id}"}}}}],"next":3}}}}"#));
    let mixed = ok(&format!(r#"[{{"owner":"{id}"}},{{"owner":"{SECRET}"}}]"#));
    let strict = crossings.ask("a strict list", |client, at| ask(client, "GET", &format!("{at}/strict"), &ann, &mixed));
    strict.refused(403, "Insufficient permissions");
    // Who may see others' sees what comes.
    assert_eq!(orders(&admin, &ok(SECRET)).expect(200).text(), SECRET);
}

const SHAPED: &str = r#"
[[route]]
match = "<at>/orders/**"
access = "authenticated"
[route.response]
allow = { admin = ["**"], editor = ["id", "items.*.price"], otherwise = ["id", "items.*.id"] }
max = "64KiB"

[[route]]
match = "<at>/open/**"
access = "public"
response = { allow = ["error"], errors = "shape", other_types = "danger-pass" }
"#;

const ORDER: &str = r#"{"id": 1.0, "card":"s3cr3t", "items":[ {"id":12345678901234567890,"price":7e0}, {"price":1} ], "note":"\u00e9"}"#;

#[test]
fn z8_each_role_sees_the_same_members_by_every_crossing() {
    let crossings = Crossings::before(origin(), SHAPED, "");
    let [viewer, editor, admin] = ["viewer", "editor", "admin"].map(|role| crossings.gateway.token(role));
    let orders = |method: &str, token: &str, answer: &str| {
        crossings.ask(answer, |client, at| ask(client, method, &format!("{at}/orders/1"), token, answer))
    };
    let (one, two) = ORDER.split_at(20);
    let chunked = format!(
        "200 OK|Content-Type: application/json|ETag: \"e1\"|Transfer-Encoding: chunked|Trailer: X-Sum||{:x}|{one}|{:x}|{two}|0|X-Sum: {SECRET}||",
        one.len(),
        two.len()
    );
    for (token, left) in [
        (&viewer, r#"{"id": 1.0, "items":[ {"id":12345678901234567890}, {} ]}"#),
        (&editor, r#"{"id": 1.0, "items":[ {"price":7e0}, {"price":1} ]}"#),
        (&admin, ORDER),
    ] {
        for answer in [ok(ORDER), chunked.clone()] {
            let reply = orders("GET", token, &answer).expect(200);
            assert_eq!(reply.text(), left);
            assert!(!reply.text().contains(SECRET) || left == ORDER);
            assert_eq!(reply.header("etag"), (left == ORDER).then_some("\"e1\""));
            if left != ORDER {
                assert_eq!(reply.header("content-length"), Some(left.len().to_string().as_str()));
                assert_eq!((reply.header("trailer"), reply.trailers.len()), (None, 0));
            }
        }
        let head = orders("HEAD", token, &ok(ORDER)).expect(200);
        assert_eq!(head.header("content-length"), Some(left.len().to_string().as_str()));
    }
    let json = "Content-Type: application/json";
    for answer in [
        format!("200 OK|{json}|Content-Encoding: gzip||{ORDER}"),
        format!("200 OK|Content-Type: text/html||{ORDER}"),
        format!("200 OK|Content-Type: application/x-ndjson||{ORDER}"),
        format!("200 OK|{json}|Content-Type: text/plain||{ORDER}"),
        format!("200 OK||{ORDER}"),
        "304 Not Modified|ETag: \"e1\"||".to_owned(),
        format!("200 OK|{json}||{{\"id\":1,\"id\":\"{SECRET}\"}}"),
        format!("200 OK|{json}||{ORDER}{ORDER}"),
        format!("200 OK|{json}|Content-Length: 500|X-Break: 1||{ORDER}"),
        format!("200 OK|{json}|Transfer-Encoding: chunked|X-Break: 1||{:x}|{ORDER}|", ORDER.len()),
        format!("200 OK|{json}|Transfer-Encoding: chunked||zz|{ORDER}|"),
        format!("200 OK|{json}||{{\"id\":1,\"x\":\"<big>\"}}"),
        format!("200 OK|{json}|Connection: close||{{\"id\":1,\"x\":\"<big>\"}}"),
    ] {
        for method in ["GET", "POST"] {
            let reply = orders(method, &viewer, &answer).refused(502, "Bad gateway");
            assert!(!format!("{:?} {}", reply.headers, reply.text()).contains(SECRET), "{answer}");
        }
    }
    for (answer, status) in [
        ("204 No Content||".to_owned(), 204),
        (format!("500 Oops|Content-Type: text/html|X-Debug: {SECRET}||{SECRET}"), 500),
        (format!("409 Conflict|{json}||{{\"id\":\"{SECRET}\"}}"), 409),
        (format!("302 Found|Location: /there|Content-Type: text/html||<a>{SECRET}</a>"), 302),
    ] {
        let reply = orders("GET", &viewer, &answer).expect(status);
        assert!(!format!("{:?} {}", reply.headers, reply.text()).contains(SECRET), "{answer}");
    }
    let open = |answer: &str| {
        crossings.ask(answer, |client, at| client.get(&format!("{at}/open/1")).header("X-Answer", answer).send())
    };
    assert_eq!(
        open(&format!("422 No|{json}||{{\"error\":\"id\",\"stack\":\"{SECRET}\"}}")).text(),
        r#"{"error":"id"}"#
    );
    // An answer is asked of the API without what would make it another one.
    let held = [("Accept-Encoding", "gzip"), ("Range", "bytes=0-1"), ("If-None-Match", "\"a\"")];
    crossings.ask("conditions", |client, at| {
        let request = client.get(&format!("{at}/orders/1")).bearer(&viewer).header("X-Answer", &ok(ORDER));
        held.iter().fold(request, |request, (name, value)| request.header(name, value)).send().expect(200)
    });
    for (at, _) in super::SIDES {
        let seen = crossings.last(at);
        assert_eq!(held.map(|(name, _)| seen.header(name)), [Some("identity"), None, None], "{:?}", seen.headers);
    }
}

const HEADERS: &str = r#"
[[route]]
match = "<at>/public/**"
access = "public"

[[route]]
match = "<at>/closed/**"
access = "authenticated"

[[route]]
match = "<at>/page/**"
access = "public"
headers.csp = "default-src 'self'; script-src 'nonce-{nonce}'"

[[route]]
match = "<at>/merged/**"
access = "public"
headers = { csp = "default-src 'none'", csp_from = "merge", set = { "X-Team" = "red" }, remove = ["X-Internal"] }

[[route]]
match = "<at>/admin"
roles = ["admin"]
"#;

/// Fails unless the answer is hardened, and tells nothing about who made it.
#[track_caller]
fn hardened(what: &str, reply: &Reply) {
    for (name, expected) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
        ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
        ("x-xss-protection", "0"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(reply.header(name), Some(expected), "{what}: {name} in {:?}", reply.headers);
    }
    for name in ["server", "x-powered-by", "feature-policy"] {
        assert!(reply.headers(name).is_empty(), "{what}: {name} in {:?}", reply.headers);
    }
    assert!(reply.header("x-request-id").is_some() && reply.header("date").is_some(), "{what}: {:?}", reply.headers);
}

#[test]
fn h1_every_answer_is_hardened_alike_by_every_crossing() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        let rest = exchange.seen.target.rsplit('/').next().unwrap_or_default().to_owned();
        let (status, length) = match rest.as_str() {
            "304" => ("304 Not Modified", String::new()),
            "204" => ("204 No Content", String::new()),
            "302" => ("302 Found", "Location: /there\r\nContent-Length: 0\r\n".to_owned()),
            "500" => ("500 Oops", "Content-Length: 4\r\n".to_owned()),
            "nonce" => {
                let nonce = exchange.seen.headers("x-csp-nonce").join("+");
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n", nonce.len());
                return exchange.send(head + &nonce);
            }
            _ => ("200 OK", "Content-Length: 4\r\n".to_owned()),
        };
        let body = if length.contains(": 4") && exchange.seen.method != "HEAD" { "page" } else { "" };
        exchange.send(format!(
            "HTTP/1.1 {status}\r\nServer: leaky/1\r\nX-Powered-By: leaks\r\nX-FRAME-OPTIONS: ALLOWALL\r\n\
             x-frame-options: SAMEORIGIN\r\nX-Content-Type-Options: sniff\r\nX-Xss-Protection: 1\r\n\
             Referrer-Policy: unsafe-url\r\nFeature-Policy: camera *\r\nStrict-Transport-Security: max-age=1\r\n\
             X-Team: blue\r\nX-Team: green\r\nX-Internal: 10.0.0.7\r\nContent-Security-Policy: img-src *\r\n{length}\r\n{body}"
        ))
    });
    let crossings = Crossings::with(origin, HEADERS, "", |setup| setup.public_url("https://api.example.com"));
    let viewer = crossings.gateway.token("viewer");
    for (method, path, status) in [
        ("GET", "/public/200", 200),
        ("HEAD", "/public/200", 200),
        ("POST", "/public/204", 204),
        ("GET", "/public/304", 304),
        ("GET", "/public/302", 302),
        ("GET", "/public/500", 500),
        ("GET", "/closed/x", 401),
        ("GET", "/nowhere", 404),
        ("GET", "/public/a;b", 400),
        ("GET", "/admin", 403),
        ("OPTIONS", "/public/200", 200),
    ] {
        let what = format!("{method} {path}");
        let reply = crossings.ask(&what, |client, at| {
            let request = client.request(method, &format!("{at}{path}"));
            if status == 403 { request.bearer(&viewer).send() } else { request.send() }
        });
        hardened(&what, &reply.expect(status));
    }
    let merged = crossings.ask("merged", |client, at| client.get(&format!("{at}/merged/x")).send().expect(200));
    assert_eq!(merged.headers("content-security-policy"), ["img-src *", "default-src 'none'"]);
    assert_eq!((merged.headers("x-team"), merged.header("x-internal")), (vec!["red"], None));
    // A nonce of its own for each page, told to the API and in the policy; a client's own word for it goes nowhere.
    let mut drawn = std::collections::BTreeSet::new();
    for (at, _) in super::SIDES {
        for version in super::VERSIONS {
            let client = crossings.gateway.client().by(version);
            let page = client.get(&format!("{at}/page/nonce")).header("X-CSP-Nonce", "mine").send().expect(200);
            let policy = format!("default-src 'self'; script-src 'nonce-{}'", page.text());
            assert_eq!(page.header("content-security-policy"), Some(policy.as_str()), "{version:?} {at}");
            assert!(page.text().len() >= 16 && drawn.insert(page.text()), "{version:?} {at}: {}", page.text());
        }
    }
    // An upstream that is not there is nobody's to see.
    let gone = Setup::upstream("http://127.0.0.1:9").with(
        "[client]\nh2c = true\n\n[[upstreams]]\nname = \"two\"\naddresses = [\"127.0.0.1:9\"]\nhttp2 = true\n\n\
         [[route]]\nmatch = \"/one\"\naccess = \"public\"\n[[route]]\nmatch = \"/two\"\naccess = \"public\"\nupstream = \"two\"\n",
    );
    let gone = gone.public_url("https://api.example.com").start();
    let replies: Vec<Reply> = super::VERSIONS
        .into_iter()
        .flat_map(|version| ["/one", "/two"].map(|path| gone.client().by(version).get(path).send()))
        .map(|reply| reply.refused(502, "Bad gateway"))
        .collect();
    for reply in replies {
        hardened("502", &reply);
        assert!(!reply.text().contains("127.0.0.1"), "{}", reply.text());
    }
}
