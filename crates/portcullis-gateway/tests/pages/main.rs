//! The hosted pages in a real Chromium, without scripts wherever scripts are not what is tried.

#![expect(clippy::unwrap_used, reason = "a helper that has nothing to work on fails its test")]

#[expect(dead_code, reason = "each test binary uses its own part of what they share")]
#[path = "../support/mod.rs"]
pub(crate) mod support;

mod attack;
mod browser;
mod cors;
mod forgery;
mod look;
mod policy;
mod walk;

use browser::{Browser, Scripts};
use support::origin::Origin;
use support::process::{Gateway, Setup};
use support::{PASSWORD, PROJECT_ROUTES};

/// A browser and a gate whose pages it can open; nothing where there is no browser.
pub(crate) fn house(scripts: Scripts) -> Option<(Browser, Gateway, Origin)> {
    house_of(scripts, Origin::echo, PROJECT_ROUTES)
}

/// The same before another API, with other routes.
pub(crate) fn house_of(
    scripts: Scripts,
    api: impl FnOnce() -> Origin,
    routes: &str,
) -> Option<(Browser, Gateway, Origin)> {
    browser::is_installed().then(|| {
        let origin = api();
        let gateway = Setup::before(&origin).with(routes).start();
        (Browser::start(scripts), gateway, origin)
    })
}

/// A server that answers everything with this page.
pub(crate) fn serving(page: String) -> Origin {
    Origin::start(move |exchange| {
        exchange.read_body()?;
        let length = page.len();
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
        ))
    })
}

/// The URL of a path at the gate.
pub(crate) fn at(gateway: &Gateway, path: &str) -> String {
    format!("http://{}{path}", gateway.listen)
}

/// Signs in by the page, as a person does.
pub(crate) fn sign_in(browser: &Browser, gateway: &Gateway, email: &str, password: &str) {
    browser.open(&at(gateway, "/auth/login"));
    browser.one("input[name=email]").fill(email);
    browser.one("input[name=password]").fill(password);
    browser.saying("button", "Sign in").click();
}

/// Makes an account and signs it in.
pub(crate) fn sign_in_new(browser: &Browser, gateway: &Gateway, email: &str) {
    gateway.create_user(email, "viewer");
    sign_in(browser, gateway, email, PASSWORD);
    browser.await_text("Where you are signed in");
}
