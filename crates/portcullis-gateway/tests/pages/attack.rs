//! What a hostile page, a hostile name and a curious bystander try.

use serde_json::json;

use crate::browser::{Browser, Scripts};
use crate::support::client::Reply;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES, eventually};
use crate::{at, house, serving, sign_in, sign_in_new};

#[test]
fn a_hostile_name_is_text() {
    let Some((browser, gateway, _origin)) = house(Scripts::On) else { return };
    let token = gateway.token("viewer");
    let name = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\"'&amp;";
    let body = json!({ "name": name });
    gateway.client().request("PATCH", "/auth/me").bearer(&token).json(&body).send().expect(200);
    sign_in(&browser, &gateway, "viewer@example.com", PASSWORD);
    browser.await_text("Where you are signed in");
    assert!(browser.text().contains(name), "{}", browser.text());
    assert!(browser.all("script, img").is_empty());
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_hostile_program_name_and_address_are_text() {
    let Some((browser, gateway, _origin)) = house(Scripts::On) else { return };
    gateway.create_user("eve@example.com", "viewer");
    let agent = "</p><script>document.title='owned'</script>";
    let body = json!({ "email": "eve@example.com", "password": PASSWORD });
    gateway.client().post("/auth/login").header("User-Agent", agent).json(&body).send().expect(200);
    sign_in(&browser, &gateway, "eve@example.com", PASSWORD);
    browser.await_text(agent);
    assert!(browser.all("script").is_empty());

    // What comes back into a field of a form that failed.
    sign_in(&browser, &gateway, "\"><script>alert(1)</script>@example.com", "x");
    browser.open(&at(&gateway, "/auth/login?next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"));
    assert!(browser.all("script").is_empty());
    assert_eq!(browser.one("input[name=next]").property("value"), "\"><script>alert(1)</script>");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn h1_no_page_breaks_its_own_policy_and_none_loads_anything() {
    let Some((browser, gateway, origin)) = house(Scripts::On) else { return };
    for path in ["/auth/login", "/auth/register", "/auth/forgot-password", "/auth/verify?token=x"] {
        browser.open(&at(&gateway, path));
        browser.one("h1");
    }
    let token = "a".repeat(64);
    for path in ["/auth/verify", "/auth/reset-password", "/auth/confirm-email"] {
        browser.open(&at(&gateway, &format!("{path}?token={token}")));
        browser.one("h1");
    }
    sign_in_new(&browser, &gateway, "fay@example.com");
    // Not a page with a status of its own, nor the advice that a form for a password should name an address: nobody knows
    // it behind a mailed link.
    let counts = |line: &String| !line.contains("status of 400") && !line.starts_with("\"DEBUG\"");
    let complaints: Vec<_> = browser.complaints().into_iter().filter(counts).collect();
    assert_eq!(complaints, [""; 0]);
    let foreign = browser.run("return performance.getEntriesByType('resource').map(entry => entry.name)");
    assert_eq!(foreign, json!([]));
    // Not even an icon: the API behind the gate would hear of every opened link.
    let asked: Vec<_> = origin.requests().iter().map(|request| request.target.clone()).collect();
    assert_eq!(asked, [""; 0]);
    // The policy is no decoration.
    browser.run("const s = document.createElement('script'); s.text = 'window.ran = 1'; document.body.append(s);");
    assert_eq!(browser.run("return window.ran"), serde_json::Value::Null);
    assert!(browser.complaints().iter().any(|line| line.contains("Content Security Policy")));
}

#[test]
fn the_token_of_a_link_goes_into_no_referrer() {
    let Some((browser, gateway, origin)) = house(Scripts::On) else { return };
    let token = "c0ffee00".repeat(8);
    for path in ["/auth/verify", "/auth/reset-password", "/auth/confirm-email"] {
        browser.open(&at(&gateway, &format!("{path}?token={token}")));
        browser.run("const a = document.createElement('a'); a.href = '/public/x'; document.body.append(a); a.click();");
        eventually("the link is followed", std::time::Duration::from_secs(5), || {
            browser.url().ends_with("/public/x").then_some(())
        });
    }
    let requests = origin.requests();
    assert!(requests.len() >= 3);
    for request in requests {
        let heads = format!("{:?}", request.headers);
        assert!(!heads.contains(&token), "{heads}");
    }
}

/// A page that sends a form by itself as soon as it is opened.
fn sends(action: &str, fields: &[(&str, &str)], enctype: &str) -> String {
    let fields: String =
        fields.iter().map(|(name, value)| format!("<input type=hidden name=\"{name}\" value=\"{value}\">")).collect();
    format!(
        "<!doctype html><title>evil</title><form method=post action=\"{action}\" enctype=\"{enctype}\">{fields}</form>\
         <script>document.forms[0].submit()</script>"
    )
}

const FORM: &str = "application/x-www-form-urlencoded";

/// Opens a hostile page on another site and on another port of the same host, and lets it send its form.
fn attacked(browser: &Browser, gateway: &Gateway, path: &str, fields: &[(&str, &str)]) {
    let origin = serving(sends(&at(gateway, path), fields, FORM));
    for host in ["127.0.0.1", "localhost"] {
        browser.open(&format!("http://{host}:{}/", origin.address.port()));
        eventually("the form is sent", std::time::Duration::from_secs(5), || {
            browser.url().starts_with(&at(gateway, path)).then_some(())
        });
    }
}

#[test]
fn h2_another_sites_form_signs_nobody_in() {
    let Some((browser, gateway, _origin)) = house(Scripts::On) else { return };
    gateway.create_user("mallory@example.com", "viewer");
    // The attacker has a token of a page of their own: it is bound to their browser.
    let page = gateway.client().get("/auth/login").send().expect(200);
    let csrf = token_of(&page);
    // The victim has seen the page, so that there is a cookie in their browser.
    browser.open(&at(&gateway, "/auth/login"));
    let fields = [("email", "mallory@example.com"), ("password", PASSWORD), ("csrf", &csrf)];
    attacked(&browser, &gateway, "/auth/login", &fields);
    assert!(!browser.text().contains("Where you are signed in"));
    browser.open(&at(&gateway, "/auth/account"));
    assert!(browser.url().contains("/auth/login"), "{}", browser.url());
    let held: Vec<String> = browser.cookies().iter().map(|cookie| cookie["name"].to_string()).collect();
    assert!(held.iter().all(|name| !name.contains("session") && !name.contains("access")), "{held:?}");
}

#[test]
fn h2_another_sites_form_changes_nothing_for_who_is_signed_in() {
    let Some((browser, gateway, _origin)) = house(Scripts::On) else { return };
    sign_in_new(&browser, &gateway, "gil@example.com");
    attacked(&browser, &gateway, "/auth/logout", &[("csrf", "x")]);
    attacked(&browser, &gateway, "/auth/logout-all", &[("csrf", "x")]);
    let fields = [("currentPassword", PASSWORD), ("newPassword", "Evil-Horse-42-battery"), ("csrf", "x")];
    attacked(&browser, &gateway, "/auth/change-password", &fields);
    browser.open(&at(&gateway, "/auth/account"));
    browser.await_text("Where you are signed in");
}

#[test]
fn h1_no_page_can_be_put_into_a_frame() {
    let Some((browser, gateway, _origin)) = house(Scripts::On) else { return };
    let frame = |url: &str| format!("<!doctype html><body><iframe src=\"{url}\"></iframe>");
    let origin = serving(frame(&at(&gateway, "/auth/login")));
    browser.open(&format!("http://127.0.0.1:{}/", origin.address.port()));
    eventually("the browser refuses the frame", std::time::Duration::from_secs(5), || {
        let said = browser.complaints();
        said.iter().any(|line| line.contains("frame-ancestors") || line.contains("X-Frame-Options")).then_some(())
    });
}

#[test]
fn a_sign_in_may_lead_to_a_listed_origin_in_spite_of_the_policy_for_forms() {
    let Some((browser, ..)) = house(Scripts::Off) else { return };
    let app = serving("<!doctype html><body>the app</body>".to_owned());
    let other = serving("<!doctype html><body>elsewhere</body>".to_owned());
    let home = format!("http://localhost:{}", app.address.port());
    let origin = Origin::echo();
    let pages = format!("[identity.pages]\nname = \"Acme & Söhne\"\nredirects = [\"{home}/app\"]\n");
    let gateway = Setup::before(&origin).with(&pages).with(PROJECT_ROUTES).start();
    gateway.create_user("hal@example.com", "viewer");
    for (next, leads) in [
        (format!("{home}/app/x"), format!("{home}/app/x")),
        (format!("{home}/app/../x"), at(&gateway, "/auth/account")),
        (format!("{home}/app/%252e%252E/x"), at(&gateway, "/auth/account")),
        (format!("http://localhost:{}/app", other.address.port()), at(&gateway, "/auth/account")),
        (format!("http://localhost:{}@127.0.0.1:1/app", app.address.port()), at(&gateway, "/auth/account")),
    ] {
        browser.open(&at(&gateway, &format!("/auth/login?next={next}")));
        assert!(browser.title().ends_with("Acme & Söhne"), "{}", browser.title());
        browser.one("input[name=email]").fill("hal@example.com");
        browser.one("input[name=password]").fill(PASSWORD);
        browser.saying("button", "Sign in").click();
        eventually(&format!("{next} leads to {leads}"), std::time::Duration::from_secs(5), || {
            (browser.url() == leads).then_some(())
        });
    }
}

#[test]
fn l5_a_page_is_no_way_around_the_limit_of_logins() {
    let Some((browser, gateway, _origin)) = house(Scripts::Off) else { return };
    gateway.create_user("ivy@example.com", "viewer");
    for _ in 0..5 {
        sign_in(&browser, &gateway, "ivy@example.com", "Wrong-password-1");
        browser.await_text("is wrong");
    }
    sign_in(&browser, &gateway, "ivy@example.com", PASSWORD);
    browser.await_text("Too many login attempts. Try again in");
    assert!(!browser.text().contains("request_id"), "a person gets a page: {}", browser.text());
}

/// The hidden token of a page's form.
fn token_of(page: &Reply) -> String {
    let text = page.text();
    let start = text.find("name=\"csrf\" value=\"").expect("a token") + "name=\"csrf\" value=\"".len();
    text[start..].split('"').next().unwrap_or_default().to_owned()
}
