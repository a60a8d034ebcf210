//! Whether a browser obeys what this gate says of the pages behind it (H1).

use std::time::Duration;

use serde_json::{Value, json};

use crate::browser::{Browser, Scripts};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::process::Gateway;
use crate::{at, house_of, serving};

const ROUTES: &str = r#"
[[route]]
match = "/plain"
access = "public"

[[route]]
match = "/page"
access = "public"
headers.csp = "default-src 'self'; script-src 'nonce-{nonce}'; frame-ancestors 'none'"

[[route]]
match = "/merged"
access = "public"
headers = { csp = "script-src 'nonce-{nonce}'", csp_from = "merge" }

[[route]]
match = "/widget"
access = "public"
headers.frame_options = "SAMEORIGIN"
"#;

/// An app whose pages have a script with the nonce that they are told, and one that somebody has slipped in.
fn app() -> Origin {
    Origin::start(|exchange| {
        exchange.read_body()?;
        let nonce = exchange.seen.headers("x-csp-nonce").join("");
        let known = exchange.seen.headers("if-none-match").join("");
        let head = "Content-Type: text/html\r\nETag: \"1\"\r\nCache-Control: no-cache\r\n";
        if known == "\"1\"" {
            return exchange.send(format!("HTTP/1.1 304 Not Modified\r\n{head}\r\n"));
        }
        let own = if exchange.seen.target == "/merged" {
            format!("Content-Security-Policy: script-src 'nonce-{nonce}' 'unsafe-eval'\r\n")
        } else {
            String::new()
        };
        let page = format!(
            "<!doctype html><title>page</title><body><script nonce=\"{nonce}\">window.own = 1;\
             try {{ eval('window.evaluated = 1') }} catch {{ window.stopped = 1 }}</script>\
             <script>window.slipped = 1</script><script nonce=\"guessed\">window.guessed = 1</script>\
             <img src=x onerror=\"window.slipped = 1\"></body>"
        );
        exchange.send(format!("HTTP/1.1 200 OK\r\n{head}{own}Content-Length: {}\r\n\r\n{page}", page.len()))
    })
}

fn house() -> Option<(Browser, Gateway, Origin)> {
    house_of(Scripts::On, app, ROUTES)
}

fn ran(browser: &Browser) -> Value {
    browser.run("return [window.own ?? 0, window.slipped ?? 0, window.guessed ?? 0]")
}

#[test]
fn h1_a_script_with_the_nonce_runs_and_one_that_was_slipped_in_does_not() {
    let Some((browser, gateway, origin)) = house() else { return };
    browser.open(&at(&gateway, "/page"));
    assert_eq!(ran(&browser), json!([1, 0, 0]));
    assert!(browser.complaints().iter().any(|line| line.contains("Content Security Policy")));
    // Asked for again, the page comes out of the browser's cache by a 304, and its script still runs.
    browser.open("about:blank");
    browser.open(&at(&gateway, "/page"));
    let asked: Vec<_> = origin.requests().into_iter().filter(|request| request.target == "/page").collect();
    assert!(asked.len() == 2 && !asked[1].headers("if-none-match").is_empty(), "{asked:?}");
    assert_eq!(ran(&browser), json!([1, 0, 0]));
    // By default, nothing that stands in the page runs.
    browser.open(&at(&gateway, "/plain"));
    assert_eq!(ran(&browser), json!([0, 0, 0]));
}

#[test]
fn h1_of_two_policies_a_browser_allows_only_what_both_allow() {
    let Some((browser, gateway, _origin)) = house() else { return };
    browser.open(&at(&gateway, "/merged"));
    assert_eq!(ran(&browser), json!([1, 0, 0]));
    // The app's policy lets text become a script, and the gate's does not.
    assert_eq!(browser.run("return [window.evaluated ?? 0, window.stopped ?? 0]"), json!([0, 1]));
}

#[test]
fn h1_a_page_behind_the_gate_is_framed_by_nobody_or_by_its_own_origin() {
    let Some((browser, gateway, _origin)) = house() else { return };
    let frame = |url: &str| format!("<!doctype html><body><iframe src=\"{url}\"></iframe>");
    for path in ["/page", "/widget"] {
        let elsewhere = serving(frame(&at(&gateway, path)));
        browser.open(&format!("http://127.0.0.1:{}/", elsewhere.address.port()));
        eventually("the browser refuses the frame", Duration::from_secs(5), || {
            let said = browser.complaints();
            said.iter().any(|line| line.contains("frame-ancestors") || line.contains("X-Frame-Options")).then_some(())
        });
    }
    browser.open(&at(&gateway, "/widget"));
    let framed = browser.run(
        "return new Promise((done) => { const frame = document.createElement('iframe'); frame.src = '/widget'; \
         frame.onload = () => done(frame.contentDocument?.title ?? 'refused'); document.body.append(frame); })",
    );
    assert_eq!(framed, "page");
}
