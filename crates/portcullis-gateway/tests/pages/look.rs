//! How the pages look and read: on a phone, in the dark, by keyboard, and to a screen reader.

use std::path::PathBuf;

use crate::browser::{Browser, Scripts};
use crate::support::PASSWORD;
use crate::support::process::Gateway;
use crate::{at, house, sign_in, sign_in_new};

/// Every page that a person can come to, with a name for its picture.
fn pages(gateway: &Gateway) -> Vec<(&'static str, String)> {
    let token = "a".repeat(64);
    [
        ("sign-in", "/auth/login".to_owned()),
        ("sign-up", "/auth/register".to_owned()),
        ("forgot", "/auth/forgot-password".to_owned()),
        ("reset", format!("/auth/reset-password?token={token}")),
        ("verify", format!("/auth/verify?token={token}")),
        ("confirm-email", format!("/auth/confirm-email?token={token}")),
        ("incomplete", "/auth/verify".to_owned()),
        ("account", "/auth/account".to_owned()),
    ]
    .into_iter()
    .map(|(name, path)| (name, at(gateway, &path)))
    .collect()
}

/// Takes a picture where `PORTCULLIS_PICTURES` names a folder for them.
fn picture(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("PORTCULLIS_PICTURES") {
        browser.picture(&PathBuf::from(folder).join(format!("{name}.png")));
    }
}

#[test]
fn no_page_scrolls_sideways_on_a_small_phone() {
    let Some((browser, gateway, _origin)) = house(Scripts::On) else { return };
    let token = gateway.token("viewer");
    // Long words without a place to break at.
    let body = serde_json::json!({ "name": "W".repeat(60) });
    gateway.client().request("PATCH", "/auth/me").bearer(&token).json(&body).send().expect(200);
    sign_in(&browser, &gateway, "viewer@example.com", PASSWORD);
    browser.await_text("Where you are signed in");
    for (display, dark) in [("light", false), ("dark", true)] {
        browser.prefer_dark(dark);
        for (name, url) in pages(&gateway) {
            browser.desktop();
            browser.open(&url);
            picture(&browser, &format!("{name}-desktop-{display}"));
            browser.phone();
            browser.open(&url);
            picture(&browser, &format!("{name}-phone-{display}"));
            let [wide, shown] = ["scrollWidth", "clientWidth"]
                .map(|side| browser.run(&format!("return document.documentElement.{side}")).as_u64().unwrap());
            assert_eq!((wide, shown), (360, 360), "{name} {display}");
        }
        browser.open(&at(&gateway, "/auth/register"));
        browser.run("document.querySelectorAll('input').forEach(input => input.removeAttribute('required'))");
        browser.one("form button").click();
        browser.await_text("The password must");
        picture(&browser, &format!("trouble-phone-{display}"));
    }
}

#[test]
fn every_field_has_a_label_and_says_what_belongs_into_it() {
    let Some((browser, gateway, _origin)) = house(Scripts::Off) else { return };
    sign_in_new(&browser, &gateway, "jo@example.com");
    for (name, url) in pages(&gateway) {
        browser.open(&url);
        assert_eq!(browser.one("html").attribute("lang").as_deref(), Some("en"), "{name}");
        browser.one("main");
        assert!(!browser.one("h1").text().is_empty(), "{name}");
        assert!(browser.title().contains(&browser.one("h1").text()), "{name}: {}", browser.title());
        for field in browser.all("input:not([type=hidden]):not([hidden])") {
            assert!(!field.label().is_empty(), "{name}");
            assert!(field.attribute("autocomplete").is_some(), "{name}: {}", field.label());
        }
        for button in browser.all("button") {
            assert!(!button.label().is_empty(), "{name}");
        }
    }
}

#[test]
fn the_keyboard_goes_through_a_form_from_top_to_bottom() {
    let Some((browser, gateway, _origin)) = house(Scripts::Off) else { return };
    const TAB: &str = "\u{e004}";
    const ENTER: &str = "\u{e007}";
    gateway.create_user("kim@example.com", "viewer");
    browser.open(&at(&gateway, "/auth/login"));
    let mut order = Vec::new();
    for _ in 0..5 {
        browser.press(TAB);
        order.push(browser.focused().label());
    }
    assert_eq!(order, ["E-mail address", "Password", "Sign in", "Forgot your password?", "Sign up"]);
    browser.one("input[name=email]").fill("kim@example.com");
    browser.one("input[name=password]").fill(PASSWORD);
    browser.press(ENTER);
    browser.await_text("Where you are signed in");
}

#[test]
fn what_went_wrong_has_the_focus_and_is_tied_to_its_fields() {
    let Some((browser, gateway, _origin)) = house(Scripts::Off) else { return };
    browser.open(&at(&gateway, "/auth/register"));
    browser.one("input[name=email]").fill("lee@example.com");
    browser.one("input[name=password]").fill("short");
    browser.saying("button", "Sign up").click();
    browser.await_text("The password must");
    assert_eq!(browser.focused().attribute("role").as_deref(), Some("alert"));
    let password = browser.one("input[name=password]");
    assert_eq!(password.attribute("aria-invalid").as_deref(), Some("true"));
    let told = password.attribute("aria-describedby").unwrap();
    assert!(browser.one(&format!("#{told}")).text().contains("The password must"));
    assert_eq!(browser.one("input[name=email]").attribute("aria-invalid"), None, "that one was right");
    assert!(browser.title().starts_with("Error: "), "{}", browser.title());
}

/// The contrast of two colours as `rgb(…)` (WCAG 2.2, 1.4.3).
const CONTRAST: &str = "
    const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(channel);
                         return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const under = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
                         if (c !== 'rgba(0, 0, 0, 0)') return c; } return 'rgb(255, 255, 255)'; };
    const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
                              return (x + 0.05) / (y + 0.05); };
    const poor = [];
    for (const e of document.querySelectorAll('body *')) {
        const style = getComputedStyle(e);
        if ([...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && ratio(style.color, under(e)) < 4.5)
            poor.push(e.outerHTML + ' text');
        if (e.matches('input:not([type=hidden]):not([hidden]), button')
            && Math.max(ratio(style.borderTopColor, under(e.parentElement)), ratio(under(e), under(e.parentElement))) < 3)
            poor.push(e.outerHTML + ' edge');
    }
    return poor;";

#[test]
fn text_and_fields_stand_out_in_the_light_and_in_the_dark() {
    let Some((browser, gateway, _origin)) = house(Scripts::On) else { return };
    sign_in_new(&browser, &gateway, "mia@example.com");
    for dark in [false, true] {
        browser.prefer_dark(dark);
        for (name, url) in pages(&gateway) {
            browser.open(&url);
            assert_eq!(browser.run(CONTRAST), serde_json::json!([]), "{name}, dark: {dark}");
        }
        sign_in(&browser, &gateway, "mia@example.com", "wrong");
        browser.await_text("is wrong");
        assert_eq!(browser.run(CONTRAST), serde_json::json!([]), "what went wrong, dark: {dark}");
        sign_in(&browser, &gateway, "mia@example.com", PASSWORD);
        browser.await_text("Where you are signed in");
    }
}
