//! Pages of other origins, through the binary (H3).

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::{Client, Reply};
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup, free_address};
use crate::support::{PASSWORD, PROJECT_ROUTES, eventually};

pub(super) const APP: &str = "https://app.example.com";
pub(super) const ALLOW: &str = "access-control-allow-origin";

pub(super) const CORS: &str = r#"
[cors]
origins = ["https://app.example.com", "https://*.preview.example.com"]
credentials = true
expose_headers = ["X-Total"]
"#;

fn open() -> (Origin, Gateway) {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(CORS).with(PROJECT_ROUTES).start();
    (origin, gateway)
}

fn preflight(client: &Client, target: &str, origin: &str, method: &str) -> Reply {
    let request = client.request("OPTIONS", target).header("Origin", origin);
    let request = request.header("Access-Control-Request-Method", method);
    request.header("Access-Control-Request-Headers", "authorization,content-type").send()
}

/// The names of the headers by which a browser is allowed anything.
fn allowed(reply: &Reply) -> Vec<&str> {
    reply.headers.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("access-control-")).collect()
}

#[test]
fn h3_a_preflight_is_answered_at_the_gate_before_anybody_is_authenticated() {
    let (origin, gateway) = open();
    let client = gateway.client();
    let reply = preflight(&client, "/projects/7", APP, "DELETE").expect(204);
    for (name, value) in [
        (ALLOW, APP),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "DELETE"),
        ("access-control-allow-headers", "authorization, content-type, x-api-key, x-csrf-token"),
        ("access-control-max-age", "600"),
        ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    assert!(reply.body.is_empty() && reply.header("x-request-id").is_some());
    assert_eq!(reply.header("access-control-allow-private-network"), None);
    // A credential that is no good is not looked at: no browser sends one along.
    let request = client.request("OPTIONS", "/projects").header("Origin", APP).bearer("nonsense");
    request.header("Access-Control-Request-Method", "GET").send().expect(204);
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
}

#[test]
fn h3_a_flood_of_preflights_charges_no_limit_and_writes_no_event() {
    let (origin, gateway) = open();
    let client = gateway.client();
    for _ in 0..1_000 {
        preflight(&client, "/projects", APP, "GET").expect(204);
    }
    client.get("/public/status").send().expect(200);
    assert_eq!(origin.requests().len(), 1);
    assert!(gateway.records().is_empty(), "{:?}", gateway.records());
    // They are told apart from what the API had to do.
    let metrics = gateway.operator().metrics();
    for line in [
        "portcullis_requests_total{outcome=\"answer\",status_class=\"2xx\"} 1000",
        "portcullis_requests_total{outcome=\"pass\",status_class=\"2xx\"} 1",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "no {line}: {metrics}");
    }
}

#[test]
fn h3_look_alikes_and_null_are_told_nothing() {
    let (_origin, gateway) = open();
    let client = gateway.client();
    for origin in [
        "null",
        "https://evil.example.com",
        "https://evil-app.example.com",
        "https://app.example.com.evil",
        "https://app.example.com.evil.test",
        "https://app.example.com:8443",
        "https://app.example.com:443",
        "http://app.example.com",
        "https://APP.example.com",
        "https://app.example.com.",
        "https://app.example.com/",
        "https://user@app.example.com",
        "https://evil.test@app.example.com",
        "https://app.example.com https://evil.test",
        "https://app.example.com, https://evil.test",
        "https://app_example.com",
        "https://appxexample.com",
        "https://preview.example.com",
        "https://a.b.preview.example.com",
        "https://xpreview.example.com",
        "https://a.preview.example.com.evil.test",
        "https://*.preview.example.com",
    ] {
        let reply = preflight(&client, "/projects", origin, "GET").expect(204);
        assert_eq!(allowed(&reply), [""; 0], "{origin}");
        let reply = gateway.client().get("/public/status").header("Origin", origin).send().expect(200);
        assert_eq!(allowed(&reply), [""; 0], "{origin}");
        assert_eq!(reply.header("vary"), Some("Origin"), "{origin}");
    }
    let twice = gateway.client().get("/public/status").header("Origin", APP).header("Origin", APP).send().expect(200);
    assert_eq!(allowed(&twice), [""; 0]);
    let preview = "https://pr-17.preview.example.com";
    assert_eq!(preflight(&client, "/projects", preview, "GET").expect(204).header(ALLOW), Some(preview));
}

#[test]
fn h3_a_page_can_read_every_refusal_and_how_its_limits_stand() {
    let (_origin, gateway) = open();
    let viewer = gateway.token("viewer");
    let client = gateway.client();
    let from = |method: &str, path: &str| client.request(method, path).header("Origin", APP);
    let wrong = json!({ "email": "nobody@example.com", "password": PASSWORD });
    let mut replies = vec![
        from("GET", "/projects").send().expect(401),
        from("GET", "/projects").bearer("a.b.c").send().expect(401),
        from("GET", "/analytics").bearer(&viewer).send().expect(403),
        from("GET", "/nowhere").send().expect(404),
        from("GET", "/public/../x").send().expect(400),
        from("POST", "/auth/login").json(&wrong).send().expect(401),
        from("GET", "/auth/nothing").send(),
        from("GET", "/public/status").header("Expect", "a-pony").send().expect(417),
    ];
    replies.push(loop {
        let reply = from("GET", "/public/status").send();
        if reply.status == 429 {
            break reply;
        }
    });
    for reply in &replies {
        assert_eq!(reply.header(ALLOW), Some(APP), "{}: {:?}", reply.status, reply.headers);
        let exposed = reply.header("access-control-expose-headers").unwrap_or_default();
        for name in ["Retry-After", "RateLimit", "RateLimit-Policy", "X-RateLimit-Remaining", "x-total"] {
            assert!(exposed.split(", ").any(|one| one == name), "{name} in {exposed}");
        }
        assert!(reply.headers("vary").iter().any(|vary| vary.contains("Origin")));
    }
    let dead = Setup::upstream(&format!("http://{}", free_address())).with(CORS).with(PROJECT_ROUTES).start();
    let reply = dead.client().get("/public/status").header("Origin", APP).send().expect(502);
    assert_eq!(reply.header(ALLOW), Some(APP));
}

#[test]
fn h3_what_the_upstream_allows_is_removed_and_its_vary_is_kept() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.send(
            "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://evil.example.com\r\nACCESS-CONTROL-ALLOW-ORIGIN: *\r\n\
             Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: *\r\nVary: Accept-Encoding\r\n\
             Vary: Accept\r\nContent-Length: 2\r\n\r\nok",
        )
    });
    let theirs = "[[route]]\nmatch = \"/theirs\"\naccess = \"public\"\ncors = \"upstream\"\n";
    let gateway = Setup::before(&origin).with(CORS).with(PROJECT_ROUTES).with(theirs).start();
    let client = gateway.client();
    for asks in [Some("https://evil.example.com"), None, Some(APP)] {
        let request = client.get("/public/status");
        let request = if let Some(origin) = asks { request.header("Origin", origin) } else { request };
        let reply = request.send().expect(200);
        assert_eq!(reply.header(ALLOW), asks.filter(|origin| *origin == APP), "{asks:?}");
        assert_eq!(reply.header("vary"), Some("Accept-Encoding, Accept, Origin"), "{asks:?}");
    }
    // A route that is left to the upstream: its preflights, too.
    let reply = preflight(&client, "/theirs", "https://evil.example.com", "PUT").expect(200);
    assert_eq!(reply.headers(ALLOW), ["https://evil.example.com", "*"]);
    assert_eq!(origin.last().method, "OPTIONS");
}

#[test]
fn h3_an_options_that_is_no_preflight_goes_its_way() {
    let (origin, gateway) = open();
    let token = gateway.token("viewer");
    let client = gateway.client();
    let reply = client.request("OPTIONS", "/echo/x").header("Origin", APP).bearer(&token).send().expect(200);
    assert_eq!((origin.last().method.as_str(), reply.header(ALLOW)), ("OPTIONS", Some(APP)));
    client.request("OPTIONS", "/echo/x").header("Access-Control-Request-Method", "GET").send().expect(401);
}

#[test]
fn h3_a_page_of_another_origin_signs_in_and_is_who_it_is() {
    let (origin, gateway) = open();
    gateway.create_user("spa@example.com", "viewer");
    let client = gateway.client();
    assert_eq!(preflight(&client, "/auth/login", APP, "POST").expect(204).header(ALLOW), Some(APP));
    assert_eq!(
        preflight(&client, "/auth/me", APP, "PATCH").expect(204).header("access-control-allow-methods"),
        Some("PATCH")
    );
    let body = json!({ "email": "spa@example.com", "password": PASSWORD });
    let from = |request: crate::support::client::Request<'_>| {
        request.header("Origin", APP).header("Sec-Fetch-Site", "cross-site").send()
    };
    let login = from(client.post("/auth/login").json(&body)).expect(200);
    assert_eq!(login.header(ALLOW), Some(APP));
    let token = login.json()["accessToken"].as_str().unwrap().to_owned();
    assert_eq!(from(client.get("/auth/me").bearer(&token)).expect(200).header(ALLOW), Some(APP));
    from(client.get("/projects").bearer(&token)).expect(200);
    assert!(origin.saw("/projects"));
}

#[test]
fn h3_a_route_may_be_open_to_others_and_to_a_private_network() {
    let routes = "[[route]]\nmatch = \"/open\"\naccess = \"public\"\ncors = { origins = \"*\", credentials = false }\n\
                  [[route]]\nmatch = \"/lan\"\naccess = \"public\"\ncors = { private_network = true, max_age = \"1h\" }\n";
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(CORS).with(routes).start();
    let client = gateway.client();
    for page in ["https://anybody.example.net", "null"] {
        assert_eq!(preflight(&client, "/open", page, "PUT").expect(204).header(ALLOW), Some("*"));
        let reply = client.get("/open").header("Origin", page).send().expect(200);
        assert_eq!((reply.header(ALLOW), reply.header("access-control-allow-credentials")), (Some("*"), None));
    }
    for (asks, hears) in [
        ("Access-Control-Request-Private-Network", "access-control-allow-private-network"),
        ("Access-Control-Request-Local-Network", "access-control-allow-local-network"),
    ] {
        let ask = |origin: &str| {
            let request = client.request("OPTIONS", "/lan").header("Origin", origin).header(asks, "true");
            request.header("Access-Control-Request-Method", "GET").send().expect(204)
        };
        assert_eq!(ask(APP).header(hears), Some("true"));
        assert_eq!(ask(APP).header("access-control-max-age"), Some("3600"));
        assert_eq!(allowed(&ask("https://evil.example.com")), [""; 0]);
    }
}

#[test]
fn h3_without_rules_nobody_is_allowed_and_other_origins_come_with_a_reload() {
    let origin = Origin::echo();
    let mut gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    let reply = gateway.client().get("/public/status").header("Origin", APP).send().expect(200);
    assert_eq!((allowed(&reply), reply.header("vary")), (Vec::new(), None));
    gateway.write_config(CORS);
    gateway.process().signal(Signal::HUP);
    eventually("the new origins", Duration::from_secs(5), || {
        let reply = preflight(&gateway.client(), "/projects", APP, "GET");
        (reply.status == 204 && reply.header(ALLOW) == Some(APP)).then_some(())
    });
}
