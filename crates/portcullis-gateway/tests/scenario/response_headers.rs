//! Response headers by route, and a nonce for each page, through the binary (H1).

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::client::Reply;
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::process::Setup;

const CSP: &str = "content-security-policy";

/// An API whose pages hold the nonce that it is told, and that says about itself what the target asks for.
fn pages() -> Origin {
    Origin::start(|exchange| {
        exchange.read_body()?;
        let nonce = exchange.seen.headers("x-csp-nonce").join("+");
        let page = format!("<script nonce=\"{nonce}\"></script>");
        let (status, more) = match exchange.seen.target.as_str() {
            "/page/cached" => ("304 Not Modified", "ETag: \"1\"\r\n"),
            "/page/moved" => ("302 Found", "Location: /page/there\r\n"),
            "/page/own" | "/merged/own" | "/replaced/own" => {
                ("200 OK", "CONTENT-SECURITY-POLICY: img-src *\r\ncontent-security-policy: font-src *\r\n")
            }
            "/page/broken" => ("500 Oops", ""),
            _ => (
                "200 OK",
                "X-FRAME-OPTIONS: ALLOWALL\r\nx-frame-options: SAMEORIGIN\r\nX-Xss-Protection: 1\r\n\
                 Referrer-Policy: unsafe-url\r\nFeature-Policy: camera *\r\nX-Internal: 10.0.0.7\r\nX-Team: blue\r\n\
                 X-Team: green\r\nStrict-Transport-Security: max-age=1\r\nServer: leaky/1\r\nX-Powered-By: leaks\r\n",
            ),
        };
        let body = if status.starts_with("304") || exchange.seen.method == "HEAD" { "" } else { &page };
        let length = if status.starts_with("304") { 0 } else { page.len() };
        exchange.send(format!(
            "HTTP/1.1 {status}\r\n{more}Content-Type: text/html\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    })
}

const ROUTES: &str = r#"
[headers]
set = { "X-Team" = "red" }
remove = ["X-Internal"]

[[route]]
match = "/page/**"
access = "public"
headers.csp = "default-src 'self'; script-src 'nonce-{nonce}'"

[[route]]
match = "/merged/**"
access = "public"
headers = { csp = "default-src 'none'", csp_from = "merge" }

[[route]]
match = "/replaced/**"
access = "public"
headers = { csp = "default-src 'none'", csp_from = "replace" }

[[route]]
match = "/widget"
access = "public"
headers = { frame_options = "SAMEORIGIN", referrer_policy = "no-referrer", resource_policy = "cross-origin", opener_policy = "off", embedder_policy = "credentialless", set = { "X-Widget" = "1" } }

[[route]]
match = "/api"
access = "public"
headers.preset = "api"

[[route]]
match = "/closed"
access = "authenticated"
headers.csp = "script-src 'nonce-{nonce}'"
"#;

/// The nonce in the policy and the one in the page.
fn nonces(reply: &Reply) -> (String, String) {
    let between = |text: &str, start: &str, end: char| {
        let text = text.split_once(start).map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        text.split(end).next().unwrap_or_default().to_owned()
    };
    let policy = reply.header(CSP).unwrap_or_default();
    (between(policy, "'nonce-", '\''), between(&reply.text(), "nonce=\"", '"'))
}

#[test]
fn h1_each_page_gets_a_nonce_of_its_own_that_no_client_can_choose() {
    let origin = pages();
    let gateway = Setup::before(&origin).with(ROUTES).start();
    let client = gateway.client();
    let mut drawn = BTreeSet::new();
    for _ in 0..10 {
        let request = client.get("/page/x").header("X-CSP-Nonce", "mine").header("X_CSP_NONCE", "mine");
        let reply = request.header("x-csp_nonce", "mine").header("Connection", "x-csp-nonce").send().expect(200);
        let (policy, page) = nonces(&reply);
        assert_eq!(policy, page);
        assert!(policy.len() >= 22, "128 bits in base64: {policy}");
        assert_eq!(reply.header(CSP), Some(format!("default-src 'self'; script-src 'nonce-{page}'").as_str()));
        assert_eq!(origin.last().twins("x-csp-nonce").len(), 1, "{:?}", origin.last().headers);
        drawn.insert(page);
    }
    assert_eq!(drawn.len(), 10);
    // A route whose policy has no place for one: the upstream hears of none, whatever a client says.
    client.get("/api").header("X-CSP-Nonce", "mine").send().expect(200);
    assert!(origin.last().twins("x-csp-nonce").is_empty());
}

#[test]
fn h1_no_nonce_contradicts_a_page_that_is_kept_elsewhere() {
    let origin = pages();
    let gateway = Setup::before(&origin).with(ROUTES).start();
    let client = gateway.client();
    let cached = client.get("/page/cached").header("If-None-Match", "\"1\"").send().expect(304);
    let head = client.request("HEAD", "/page/x").send().expect(200);
    for reply in [&cached, &head] {
        assert_eq!(reply.headers(CSP), [""; 0]);
        assert_eq!(reply.header("x-frame-options"), Some("DENY"));
        assert_eq!(reply.header("x-team"), Some("red"));
    }
    for (path, status) in [("/page/moved", 302), ("/page/broken", 500)] {
        let (policy, page) = nonces(&client.get(path).send().expect(status));
        assert!(!page.is_empty() && policy == page, "{path}: {policy} {page}");
    }
    let refused = client.get("/closed").send().expect(401);
    assert_eq!(refused.header(CSP), Some("default-src 'none'; frame-ancestors 'none'"));
    // The upstream's own policy is respected where nothing else is said, and its page hears the nonce all the same.
    let own = client.get("/page/own").send().expect(200);
    assert_eq!(own.headers(CSP), ["img-src *", "font-src *"]);
}

#[test]
fn h1_the_upstreams_policy_is_merged_or_replaced_by_choice() {
    let origin = pages();
    let gateway = Setup::before(&origin).with(ROUTES).start();
    let policies = |path: &str| gateway.client().get(path).send().expect(200).headers(CSP).join(" | ");
    assert_eq!(policies("/merged/own"), "img-src * | font-src * | default-src 'none'");
    assert_eq!(policies("/merged/none"), "default-src 'none'");
    assert_eq!(policies("/replaced/own"), "default-src 'none'");
}

#[test]
fn h1_every_value_is_another_by_route_and_nothing_is_said_twice() {
    let origin = pages();
    let gateway = Setup::before(&origin).with(ROUTES).start();
    let client = gateway.client();
    let widget = client.get("/widget").send().expect(200);
    for (name, expected) in [
        ("x-frame-options", Some("SAMEORIGIN")),
        ("referrer-policy", Some("no-referrer")),
        ("cross-origin-resource-policy", Some("cross-origin")),
        ("cross-origin-opener-policy", None),
        ("cross-origin-embedder-policy", Some("credentialless")),
        ("x-content-type-options", Some("nosniff")),
        ("permissions-policy", Some("camera=(), microphone=(), geolocation=()")),
        ("x-xss-protection", Some("0")),
        ("x-widget", Some("1")),
        ("x-team", Some("red")),
        ("x-internal", None),
        ("feature-policy", None),
        ("server", None),
        ("x-powered-by", None),
        ("strict-transport-security", None),
    ] {
        assert_eq!(widget.header(name), expected, "{name} in {:?}", widget.headers);
    }
    assert!(widget.header(CSP).is_some_and(|policy| policy.contains("frame-ancestors 'self'")));
    let api = client.get("/api").send().expect(200);
    assert_eq!(api.header(CSP), Some("default-src 'none'; frame-ancestors 'none'"));
    assert_eq!((api.header("x-frame-options"), api.header("x-widget")), (Some("DENY"), None));
}

#[test]
fn h1_hsts_is_sent_where_clients_come_by_https_and_may_be_preloaded_by_choice() {
    let hsts = |setup: Setup| {
        let gateway = setup.with("[[route]]\nmatch = \"/api\"\naccess = \"public\"\n").start();
        let replies = ["/api", "/nowhere", "/auth/nothing"].map(|path| gateway.client().get(path).send());
        let values = replies.map(|reply| reply.header("strict-transport-security").map(str::to_owned));
        assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
        values[0].clone()
    };
    let origin = pages();
    let https = || Setup::before(&origin).public_url("https://api.example.com");
    assert_eq!(hsts(https()).as_deref(), Some("max-age=31536000; includeSubDomains"));
    assert_eq!(hsts(Setup::before(&origin)), None, "never over plain http");
    let preload = "[headers]\nhsts = { max_age = \"730d\", preload = true }\n";
    let told = "max-age=63072000; includeSubDomains; preload";
    assert_eq!(hsts(https().with(preload)).as_deref(), Some(told));
}

#[test]
fn h1_other_values_come_with_a_reload() {
    let origin = pages();
    let mut gateway = Setup::before(&origin).with("[[route]]\nmatch = \"/api\"\naccess = \"public\"\n").start();
    let value = |gateway: &crate::support::process::Gateway| {
        gateway.client().get("/api").send().expect(200).header("x-frame-options").map(str::to_owned)
    };
    assert_eq!(value(&gateway).as_deref(), Some("DENY"));
    gateway.write_config("[headers]\nframe_options = \"SAMEORIGIN\"\n");
    gateway.process().signal(Signal::HUP);
    eventually("the new value", Duration::from_secs(5), || {
        (value(&gateway).as_deref() == Some("SAMEORIGIN")).then_some(())
    });
}
