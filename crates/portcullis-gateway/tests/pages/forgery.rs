//! What other origins' pages can make a browser do with its cookies, and what our own can (H2).
//!
//! A page on another port of the same host is the strongest attacker there is here: for a browser it is the same site, so
//! that `SameSite=Strict` keeps no cookie back, and it reads the cookies that scripts can read, because no cookie knows its port.

use std::time::Duration;

use serde_json::{Value, json};

use crate::attack::{FORM, sends};
use crate::browser::{Browser, Scripts};
use crate::support::origin::Origin;
use crate::support::process::Gateway;
use crate::support::{PASSWORD, eventually};
use crate::{at, house, serving, sign_in};

/// An editor who is signed in.
fn signed_in() -> Option<(Browser, Gateway, Origin)> {
    let (browser, gateway, origin) = house(Scripts::On)?;
    gateway.create_user("eda@example.com", "editor");
    sign_in(&browser, &gateway, "eda@example.com", PASSWORD);
    browser.await_text("Where you are signed in");
    Some((browser, gateway, origin))
}

fn posts(origin: &Origin) -> usize {
    origin.requests().iter().filter(|request| request.method != "GET").count()
}

/// The status and the word of a POST by a page of our own origin, with these headers.
fn by_own_page(browser: &Browser, gateway: &Gateway, headers: &str) -> Value {
    browser.open(&at(gateway, "/public/page"));
    browser.run(&format!(
        "const token = document.cookie.match(/portcullis_csrf=([^;]+)/)[1];\n\
         return fetch('/projects', {{ method: 'POST', body: '{{}}', headers: {headers} }})\
         .then(async answer => [answer.status, (await answer.json()).error ?? '']);"
    ))
}

#[test]
fn h2_a_page_of_our_own_reads_the_token_and_sends_it_back() {
    let Some((browser, gateway, origin)) = signed_in() else { return };
    let json_only = "{ 'Content-Type': 'application/json' }";
    assert_eq!(by_own_page(&browser, &gateway, json_only), json!([403, "Missing CSRF token"]));
    let wrong = "{ 'Content-Type': 'application/json', 'X-CSRF-Token': token.slice(1) }";
    assert_eq!(by_own_page(&browser, &gateway, wrong), json!([403, "Invalid CSRF token"]));
    assert_eq!(posts(&origin), 0);
    let good = "{ 'Content-Type': 'application/json', 'X-CSRF-Token': token }";
    assert_eq!(by_own_page(&browser, &gateway, good), json!([200, ""]));
    assert_eq!(posts(&origin), 1);
    // The sessions themselves are out of reach of every script.
    let seen = browser.run("return document.cookie");
    assert!(!seen.as_str().unwrap().contains("session") && !seen.as_str().unwrap().contains("access"), "{seen}");

    // And by a form, as a page without scripts of its own has it.
    for enctype in [FORM, "multipart/form-data"] {
        browser.open(&at(&gateway, "/public/page"));
        browser.run(&format!(
            "const form = document.createElement('form');\n\
             Object.assign(form, {{ method: 'post', action: '/projects', enctype: '{enctype}' }});\n\
             const field = document.createElement('input');\n\
             Object.assign(field, {{ name: '_csrf', value: document.cookie.match(/portcullis_csrf=([^;]+)/)[1] }});\n\
             form.append(field); document.body.append(form); form.submit();"
        ));
        eventually("the form is answered", Duration::from_secs(5), || {
            (browser.url() == at(&gateway, "/projects")).then_some(())
        });
        assert!(!browser.text().contains("CSRF"), "{enctype}: {}", browser.text());
    }
    assert_eq!(posts(&origin), 3);
}

#[test]
fn h2_another_origins_form_changes_nothing_whatever_it_looks_like_and_whatever_it_knows() {
    let Some((browser, gateway, origin)) = signed_in() else { return };
    let cookie = browser.cookies().into_iter().find(|cookie| cookie["name"] == "portcullis_csrf").unwrap();
    let token = cookie["value"].as_str().unwrap();
    for enctype in [FORM, "text/plain", "multipart/form-data"] {
        for fields in [&[("title", "{}")][..], &[("_csrf", token)]] {
            let page = serving(sends(&at(&gateway, "/projects"), fields, enctype));
            for host in ["127.0.0.1", "localhost"] {
                browser.open(&format!("http://{host}:{}/", page.address.port()));
                eventually("the form is sent", Duration::from_secs(5), || {
                    browser.url().starts_with(&at(&gateway, "/projects")).then_some(())
                });
                let told = browser.text();
                let refused = told.contains("Cross-site request refused") || told.contains("Authentication required");
                assert!(refused, "{enctype} from {host}: {told}");
            }
        }
    }
    assert_eq!(posts(&origin), 0);
    // The visitor is signed in all the time.
    let good = "{ 'Content-Type': 'application/json', 'X-CSRF-Token': token }";
    assert_eq!(by_own_page(&browser, &gateway, good), json!([200, ""]));
}

#[test]
fn h2_another_origins_script_changes_nothing_with_the_visitors_cookies() {
    let Some((browser, gateway, origin)) = signed_in() else { return };
    let page = serving("<!doctype html><title>evil</title>".to_owned());
    let target = at(&gateway, "/projects");
    for host in ["127.0.0.1", "localhost"] {
        browser.open(&format!("http://{host}:{}/", page.address.port()));
        for options in [
            "mode: 'no-cors', body: 'title=x'",
            "mode: 'no-cors', body: '{\"title\": \"x\"}', headers: { 'Content-Type': 'text/plain' }",
            "mode: 'no-cors', body: new URLSearchParams({ _csrf: token })",
            "mode: 'no-cors', body: new Blob(['{}'])",
            "mode: 'cors', body: '{}', headers: { 'Content-Type': 'application/json', 'X-CSRF-Token': token }",
            "mode: 'cors', method: 'DELETE'",
        ] {
            let said = browser.run(&format!(
                "const token = (document.cookie.match(/portcullis_csrf=([^;]+)/) ?? [])[1] ?? 'none';\n\
                 return fetch('{target}', {{ method: 'POST', credentials: 'include', {options} }})\
                 .then(answer => answer.status, error => 'blocked');"
            ));
            // A request that may not be read has the status 0, and one that a preflight has to allow is not even sent.
            assert!(said == json!(0) || said == json!("blocked"), "{options} from {host}: {said}");
        }
        let beacon = browser.run(&format!("return navigator.sendBeacon('{target}', 'title=x')"));
        assert_eq!(beacon, json!(true));
    }
    let good = "{ 'Content-Type': 'application/json', 'X-CSRF-Token': token }";
    assert_eq!(by_own_page(&browser, &gateway, good), json!([200, ""]));
    assert_eq!(posts(&origin), 1, "that of our own page");
}
