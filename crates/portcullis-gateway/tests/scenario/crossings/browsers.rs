//! What browsers send by themselves: tokens against forgery (H2) and pages of other origins (H3).

use serde_json::json;

use super::super::cors::{ALLOW, APP, CORS};
use super::{Crossings, SIDES, VERSIONS};
use crate::support::PASSWORD;
use crate::support::client::{Client, Reply};
use crate::support::origin::Origin;

const PUBLIC_URL: &str = "https://api.example.com";
const FORM: &str = "application/x-www-form-urlencoded";

const ROUTES: &str = r#"
[[route]]
match = "POST <at>/projects"
access = "authenticated"

[[route]]
match = "<at>/public/**"
access = "public"

[[route]]
match = "GET <at>/analytics"
roles = ["admin"]

[[route]]
match = "<at>/theirs"
access = "public"
cors = "upstream"
"#;

/// The pairs that a browser holds after this answer, and the token among them.
fn jar(reply: &Reply) -> (Vec<String>, String) {
    let pair = |name: &str| reply.set_cookie(name).and_then(|cookie| cookie.split(';').next()).unwrap_or_default();
    let pairs = ["access", "refresh", "session"].map(|name| pair(name).to_owned());
    let token = pair("csrf").split_once('=').unwrap().1.to_owned();
    (pairs.into_iter().filter(|pair| !pair.is_empty() && !pair.ends_with('=')).collect(), token)
}

#[test]
fn h2_a_cookie_alone_changes_nothing_by_any_crossing_in_however_many_crumbs() {
    let crossings = Crossings::with(Origin::echo(), ROUTES, "", |setup| setup.public_url(PUBLIC_URL));
    crossings.gateway.create_user("ann@example.com", "editor");
    let login = |client: &Client, delivery: &str| {
        let body = json!({ "email": "ann@example.com", "password": PASSWORD, "delivery": delivery });
        client.post("/auth/login").header("Origin", PUBLIC_URL).json(&body).send().expect(200)
    };
    for (delivery, version) in [("cookie", VERSIONS[0]), ("cookie", VERSIONS[1]), ("session", VERSIONS[1])] {
        let client = crossings.gateway.client().by(version);
        let reply = login(&client, delivery);
        let set = reply.set_cookie("csrf").unwrap();
        assert!(set.starts_with("__Host-portcullis_csrf=") && set.contains("SameSite=Strict; Secure"), "{set}");
        assert!(!reply.text().contains("accessToken"), "{}", reply.text());
        let (mut crumbs, token) = jar(&reply);
        crumbs.insert(0, "a=1".to_owned());
        crumbs.push("b=2".to_owned());
        let (_, other) = jar(&login(&client, delivery));
        // A browser sends a cookie of HTTP/2 in crumbs; by HTTP/1.1 it is one field.
        let post = |what: &str, more: &[(&str, &str)], media: &str, body: &str| {
            crossings.ask(what, |client, at| {
                let path = format!("{at}/projects");
                let request = client.post(&path).header("Content-Type", media);
                let request = if client.speaks_http2() {
                    crumbs.iter().fold(request, |request, crumb| request.header("Cookie", crumb))
                } else {
                    request.header("Cookie", &crumbs.join("; "))
                };
                let request = more.iter().fold(request, |request, (name, value)| request.header(name, value));
                request.body(body.as_bytes()).send()
            })
        };
        let before = crossings.count();
        let ours = ("Origin", PUBLIC_URL);
        let json = "application/json";
        let refused = post("none", &[ours], json, "{}").refused(403, "Missing CSRF token");
        assert!(refused.set_cookie("csrf").is_some(), "the next try has one");
        post("a program's", &[], json, "{}").refused(403, "Missing CSRF token");
        post("another's", &[ours, ("X-CSRF-Token", &other)], json, "{}").refused(403, "Invalid CSRF token");
        post("twice", &[ours, ("X-CSRF-Token", &token), ("X-CSRF-Token", &token)], json, "{}")
            .refused(403, "Invalid CSRF token");
        post("another site's", &[("Origin", "https://evil.example"), ("X-CSRF-Token", &token)], json, "{}")
            .refused(403, "Cross-site request refused");
        post("a browser's word", &[("Sec-Fetch-Site", "cross-site"), ("X-CSRF-Token", &token)], json, "{}")
            .refused(403, "Cross-site request refused");
        post("a form", &[ours], FORM, "title=a").refused(403, "Missing CSRF token");
        post("a form's", &[ours], FORM, &format!("_csrf={other}")).refused(403, "Invalid CSRF token");
        post("a text", &[ours], "text/plain", &format!("_csrf={token}\r\n")).refused(403, "Missing CSRF token");
        assert_eq!(crossings.count(), before, "the API has heard of nothing");
        // The echo tells its own headers, which differ by the way: who is admitted is asked one by one.
        for (at, _) in SIDES {
            for version in VERSIONS {
                let client = crossings.gateway.client().by(version);
                for form in [false, true] {
                    let body = if form { format!("title=a+%26b&_csrf={token}&x=%ff") } else { "{}".to_owned() };
                    let path = format!("{at}/projects");
                    let request =
                        crumbs.iter().fold(client.post(&path), |request, crumb| request.header("Cookie", crumb));
                    let media = if form { FORM } else { json };
                    let request =
                        request.header("Origin", PUBLIC_URL).header("Content-Type", media).body(body.as_bytes());
                    let request = if form { request } else { request.csrf(&token) };
                    let reply = request.send();
                    assert_eq!(reply.status, 200, "{version:?} {at} {form}: {}", reply.text());
                    let seen = crossings.last(at);
                    assert_eq!(String::from_utf8_lossy(&seen.body), body, "{version:?} {at}");
                    assert_eq!(seen.headers("cookie").join("; "), "a=1; b=2", "{version:?} {at}");
                    assert_eq!(seen.header("x-csrf-token"), None, "{version:?} {at}");
                    let told = format!("{:?}", seen.headers);
                    assert!(!told.contains(&token) && !told.contains("portcullis_"), "{version:?} {at}: {told}");
                }
            }
        }
    }
}

/// The names of the headers by which a browser is allowed anything.
fn allowed(reply: &Reply) -> Vec<&str> {
    reply.headers.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("access-control-")).collect()
}

#[test]
fn h3_pages_of_other_origins_are_told_the_same_by_every_crossing() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.send(
            "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://evil.example.com\r\nACCESS-CONTROL-ALLOW-ORIGIN: *\r\n\
             Access-Control-Allow-Credentials: true\r\nVary: Accept-Encoding\r\nVary: Accept\r\nContent-Length: 2\r\n\r\nok",
        )
    });
    let crossings = Crossings::before(origin, ROUTES, CORS);
    let viewer = crossings.gateway.token("viewer");
    let preflight = |path: &str, from: &str, method: &str| {
        crossings.ask(&format!("a preflight by {from}"), |client, at| {
            let path = format!("{at}{path}");
            let request = client.request("OPTIONS", &path).header("Origin", from);
            let request = request.header("Access-Control-Request-Method", method);
            request.header("Access-Control-Request-Headers", "authorization,content-type").send()
        })
    };
    let reply = preflight("/projects", APP, "POST").expect(204);
    for (name, value) in [
        (ALLOW, APP),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "authorization, content-type, x-api-key, x-csrf-token"),
        ("access-control-max-age", "600"),
        ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    let get = |path: &str, from: &[&str], token: Option<&str>| {
        crossings.ask(&format!("{path} from {from:?}"), |client, at| {
            let path = format!("{at}{path}");
            let request = from.iter().fold(client.get(&path), |request, origin| request.header("Origin", origin));
            if let Some(token) = token { request.bearer(token).send() } else { request.send() }
        })
    };
    for evil in [
        "null",
        "https://evil.example.com",
        "https://evil-app.example.com",
        "https://app.example.com.evil",
        "https://app.example.com:8443",
        "http://app.example.com",
        "https://APP.example.com",
        "https://a.b.preview.example.com",
        "https://app.example.com, https://evil.test",
    ] {
        assert_eq!(allowed(&preflight("/projects", evil, "POST").expect(204)), [""; 0], "{evil}");
        let reply = get("/public/x", &[evil], None).expect(200);
        assert_eq!(
            (allowed(&reply), reply.header("vary")),
            (vec![], Some("Accept-Encoding, Accept, Origin")),
            "{evil}"
        );
    }
    assert_eq!(allowed(&get("/public/x", &[APP, APP], None).expect(200)), [""; 0], "two are none");
    assert_eq!(crossings.http2.requests().len(), 2 * 10, "no preflight was forwarded");
    // What the gate refuses can be read, and so can what it lets through.
    for (path, token, status) in [
        ("/public/x", None, 200),
        ("/analytics", None, 401),
        ("/analytics", Some("a.b.c"), 401),
        ("/analytics", Some(viewer.as_str()), 403),
        ("/nowhere", None, 404),
        ("/public/a;b", None, 400),
    ] {
        let reply = get(path, &[APP], token).expect(status);
        assert_eq!(reply.header(ALLOW), Some(APP), "{path}: {:?}", reply.headers);
        assert_eq!(reply.header("access-control-allow-credentials"), Some("true"), "{path}");
        let exposed = reply.header("access-control-expose-headers").unwrap_or_default();
        assert!(exposed.contains("Retry-After") && exposed.contains("x-total"), "{path}: {exposed}");
    }
    // A route that is left to the upstream: its preflights, too.
    let reply = preflight("/theirs", "https://evil.example.com", "PUT").expect(200);
    assert_eq!(reply.headers(ALLOW), ["https://evil.example.com", "*"]);
}
