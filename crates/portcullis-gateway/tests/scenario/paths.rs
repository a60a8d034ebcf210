//! Every spelling of a path that one program might read as another (H7).

use crate::support::PROJECT_ROUTES;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

/// Spellings that some server somewhere reads as `/analytics`.
fn spellings(gateway: &Gateway) -> Vec<String> {
    let mut targets: Vec<String> = [
        "/analytics",
        "/analytics/",
        "/analytics?x=1",
        "/analytics?/../public/status",
        "//analytics",
        "///analytics",
        "/./analytics",
        "/analytics/.",
        "/analytics/..%2fanalytics",
        "/public/../analytics",
        "/public/status/../../analytics",
        "/public/%2e%2e/analytics",
        "/public/%2E%2E/analytics",
        "/public/.%2e/analytics",
        "/public/..%2fanalytics",
        "/public/..%2Fanalytics",
        "/public%2f..%2fanalytics",
        "/public/..%5canalytics",
        "/public/..\\analytics",
        "/public\\..\\analytics",
        "\\analytics",
        "/\\analytics",
        "/public/..;/analytics",
        "/public/..;x=y/analytics",
        "/public;/../analytics",
        "/analytics;",
        "/analytics;x=1",
        "/;x=1/analytics",
        "/%61nalytics",
        "/%61%6e%61lytics",
        "/analytic%73",
        "/%2561nalytics",
        "/public/%252e%252e/analytics",
        "/ANALYTICS",
        "/Analytics",
        "/analytics.",
        "/analytics%2e",
        "/analytics%20",
        "/analytics%00",
        "/analytics%00.html",
        "/analytics%0a",
        "/analytics%3f",
        "/analytics%23",
        "/analytics#x",
        "/public/status#/../../analytics",
        "/analytics%3bx",
        "/analytics/%2e",
        "/analytics//",
        "/public//../analytics",
        "/public/...//../analytics",
        "/%c0%ae%c0%ae/analytics",
        "/public/%c0%ae%c0%ae/analytics",
        "/public/%u002e%u002e/analytics",
        "/%EF%BC%8Fanalytics",
        "/analytics%",
        "/analytics%2",
        "/analytics%zz",
        "analytics",
        "*",
        "/public/status/%2e%2e/%2e%2e/analytics",
        "/projects/../analytics",
        "/projects/%2e%2e/analytics",
        "/projects/..%2fanalytics",
        "/projects/x/..;/..;/analytics",
    ]
    .map(str::to_owned)
    .to_vec();
    targets.push(format!("http://{}/analytics", gateway.listen));
    targets.push(format!("http://{}//analytics", gateway.listen));
    targets.push(format!("http://{}/public/../analytics", gateway.listen));
    targets.push("http://evil.example.com/analytics".to_owned());
    targets.push("http:/analytics".to_owned());
    targets
}

/// What the most obliging server would make of a target: parameters cut, escapes decoded once, backslashes read as
/// slashes, dots resolved, case folded, and what ends a segment without being seen dropped.
fn most_obliging(target: &str) -> String {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let uncut: Vec<&str> = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    let decoded = decode(&uncut.join("/")).replace('\\', "/").to_lowercase();
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment.trim_end_matches(['.', ' ', '\0', '\n'])),
        }
    }
    format!("/{}", segments.join("/"))
}

fn decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::new();
    let mut index = 0;
    while index < bytes.len() {
        let escape = bytes.get(index + 1..index + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if bytes[index] == b'%' => {
                decoded.push(byte);
                index += 3;
            }
            _ => {
                decoded.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[test]
fn the_obliging_reader_is_obliging() {
    for target in ["/public/%2e%2E/analytics", "/Public\\..\\%61nalytics.;x?y", "//analytics/."] {
        assert_eq!(most_obliging(target), "/analytics", "{target}");
    }
    assert_eq!(most_obliging("/public/status"), "/public/status");
}

/// Sends every spelling as a viewer and as nobody; none may get further than a refusal, or reach the API as what only
/// an admin may call.
fn nothing_gets_through(origin: &Origin, gateway: &Gateway) {
    let viewer = gateway.token("viewer");
    for target in spellings(gateway) {
        for method in ["GET", "HEAD"] {
            for authorization in [format!("Authorization: Bearer {viewer}\r\n"), String::new()] {
                let before = origin.requests().len();
                let mut connection = gateway.client().connect();
                let request = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{authorization}\r\n", gateway.listen);
                connection.send(request).unwrap();
                let reply = connection.reply_to(method == "HEAD").unwrap();
                for seen in &origin.requests()[before..] {
                    assert_ne!(most_obliging(&seen.target), "/analytics", "{target} came through as {}", seen.target);
                }
                let refused = matches!(reply.status, 400 | 401 | 403 | 404 | 501);
                assert!(refused || origin.requests().len() > before, "{target}: {}", reply.status);
            }
        }
    }
    // The door is not simply shut.
    let admin = gateway.token("admin");
    gateway.client().get("/analytics").bearer(&admin).send().expect(200);
    assert_eq!(origin.last().target, "/analytics");
}

#[test]
fn h7_no_spelling_of_an_admin_path_lets_a_viewer_through() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    nothing_gets_through(&origin, &gateway);
}

#[test]
fn h7_nor_where_what_matches_no_route_needs_only_a_login() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with("[routes]\notherwise = \"authenticated\"\n").with(PROJECT_ROUTES).start();
    nothing_gets_through(&origin, &gateway);
}

#[test]
fn h7_no_spelling_of_a_method_goes_around_its_route() {
    let origin = Origin::echo();
    let routes = "[routes]\notherwise = \"public\"\n\n[[route]]\nmatch = \"GET /members\"\nroles = \"admin\"\n";
    let gateway = Setup::before(&origin).with(routes).start();
    gateway.client().get("/members").send().refused(401, "Authentication required");
    for method in ["get", "Get", "gET", "head", "post", "Options", "trace"] {
        let mut connection = gateway.client().connect();
        connection.send(format!("{method} /members HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        assert_eq!(connection.reply().unwrap().status, 501, "{method}");
    }
    assert!(origin.requests().is_empty(), "an API may serve it as what it looks like");
    gateway.client().request("REPORT", "/members").send().expect(200);
}

#[test]
fn h7_what_was_matched_is_what_is_forwarded() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    let viewer = gateway.token("viewer");
    for (sent, forwarded) in [
        ("/projects/7", "/projects/7"),
        ("/projects/%37", "/projects/7"),
        ("/projects/a%20b", "/projects/a%20b"),
        ("/projects/caf%c3%a9", "/projects/caf%C3%A9"),
        ("/projects/x?y=%2e%2e/z&w", "/projects/x?y=%2e%2e/z&w"),
        ("/projects/a.b~c_d-e", "/projects/a.b~c_d-e"),
    ] {
        gateway.client().get(sent).bearer(&viewer).send().expect(200);
        assert_eq!(origin.last().target, forwarded, "{sent}");
    }
    let absolute = format!("http://{}/projects/7", gateway.listen);
    let reply = gateway.client().get(&absolute).bearer(&viewer).send();
    if reply.status == 200 {
        assert_eq!(origin.last().target, "/projects/7", "the origin is told a path");
    } else {
        assert_eq!(reply.status, 400);
    }
}

#[test]
fn h7_the_identity_endpoints_have_one_spelling_too() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with("[routes]\notherwise = \"public\"\n").with(PROJECT_ROUTES).start();
    let targets = [
        "//auth/login",
        "/auth//login",
        "/AUTH/login",
        "/auth/login/",
        "/auth/./login",
        "/%61uth/login",
        "/auth;/login",
    ];
    for target in targets {
        let body = r#"{"email":"a@example.com","password":"x"}"#;
        gateway.client().post(target).header("Content-Type", "application/json").body(body.as_bytes()).send();
    }
    // A login that goes past the identity endpoints would hand a password to the API and escape the login limit.
    assert!(!origin.requests().iter().any(|seen| most_obliging(&seen.target).starts_with("/auth/login")));
}
