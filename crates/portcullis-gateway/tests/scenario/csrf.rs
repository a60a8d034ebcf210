//! Tokens against forgery (H2): how they are handed out, what they are asked of, and when they are good no more.

use std::time::Duration;

use portcullis_gateway::identity_api::{ENDPOINTS, Need};
use rustix::process::Signal;
use serde_json::json;

use crate::support::client::Reply;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES, eventually};

const PUBLIC_URL: &str = "https://api.example.com";
const FORM: &str = "application/x-www-form-urlencoded";
const KINDS: [&str; 2] = ["cookie", "session"];

fn start(more: &str) -> (Origin, Gateway) {
    let origin = Origin::echo();
    let tables = format!("{PROJECT_ROUTES}\n[limits]\npreset = \"none\"\n{more}");
    let gateway = Setup::before(&origin).public_url(PUBLIC_URL).with(&tables).start();
    gateway.create_user("ann@example.com", "editor");
    (origin, gateway)
}

/// A browser's session: what it holds, `name=value; …`, and the token among it.
struct Browser {
    jar: String,
    token: String,
}

fn pair<'r>(reply: &'r Reply, name: &str) -> &'r str {
    reply.set_cookie(name).and_then(|cookie| cookie.split(';').next()).unwrap_or_default()
}

impl Browser {
    fn of(reply: &Reply) -> Self {
        let pairs = ["access", "refresh", "session"].map(|name| pair(reply, name));
        let held: Vec<&str> = pairs.into_iter().filter(|pair| !pair.is_empty() && !pair.ends_with('=')).collect();
        let token = pair(reply, "csrf").split_once('=').unwrap().1.to_owned();
        Self { jar: held.join("; "), token }
    }

    fn login(gateway: &Gateway, delivery: &str, jar: &str) -> Self {
        let body = json!({ "email": "ann@example.com", "password": PASSWORD, "delivery": delivery });
        let client = gateway.client();
        let request = client.post("/auth/login").header("Origin", PUBLIC_URL).header("Cookie", jar);
        Self::of(&request.json(&body).send().expect(200))
    }

    fn post(&self, gateway: &Gateway, token: Option<&str>) -> Reply {
        let client = gateway.client();
        let request = client.post("/projects").header("Cookie", &self.jar).header("Origin", PUBLIC_URL);
        match token {
            Some(token) => request.csrf(token).json(&json!({})).send(),
            None => request.json(&json!({})).send(),
        }
    }

    fn form(&self, gateway: &Gateway, media: &str, body: &str) -> Reply {
        let client = gateway.client();
        let request = client.post("/projects").header("Cookie", &self.jar).header("Content-Type", media);
        request.body(body.as_bytes()).send()
    }
}

#[test]
fn h2_a_login_by_cookie_hands_out_a_token_that_scripts_can_read_and_the_upstream_never_sees() {
    let (origin, gateway) = start("");
    for delivery in KINDS {
        let body = json!({ "email": "ann@example.com", "password": PASSWORD, "delivery": delivery });
        let reply = gateway.client().post("/auth/login").json(&body).send().expect(200);
        let set = reply.set_cookie("csrf").unwrap();
        assert!(set.starts_with("__Host-portcullis_csrf="), "{set}");
        assert!(set.ends_with("; Max-Age=3600; Path=/; SameSite=Strict; Secure"), "not HttpOnly: {set}");
        let browser = Browser::of(&reply);
        let jar = format!("a=1; {}; {}", browser.jar, pair(&reply, "csrf"));
        let client = gateway.client();
        let posted = client.post("/projects").header("Cookie", &jar).csrf(&browser.token).json(&json!({})).send();
        assert_eq!(posted.expect(200).headers("set-cookie"), [""; 0], "nothing is written while the token is fresh");
        let seen = origin.last();
        assert_eq!((seen.header("cookie"), seen.header("x-csrf-token")), (Some("a=1"), None));
        assert!(!format!("{seen:?}").contains(&browser.token));
    }
    let body = json!({ "email": "ann@example.com", "password": PASSWORD });
    let by_body = gateway.client().post("/auth/login").json(&body).send().expect(200);
    assert_eq!(by_body.headers("set-cookie"), [""; 0], "who holds tokens in hand needs none of these");
}

#[test]
fn h2_a_request_without_a_token_of_its_session_changes_nothing() {
    let (origin, gateway) = start("");
    for delivery in KINDS {
        let (browser, other) = (Browser::login(&gateway, delivery, ""), Browser::login(&gateway, delivery, ""));
        let before = origin.requests().len();
        browser.post(&gateway, None).refused(403, "Missing CSRF token");
        browser.post(&gateway, Some("")).refused(403, "Missing CSRF token");
        let tampered = browser.token.replace(|c: char| c.is_ascii_lowercase(), "q");
        let long = "A".repeat(8_000);
        for wrong in [&*other.token, &tampered, "x", "null", &long, &format!("{}=", browser.token)] {
            browser.post(&gateway, Some(wrong)).refused(403, "Invalid CSRF token");
            // Nor where a neighbouring host has planted the same in the cookie.
            let jar = format!("{}; __Host-portcullis_csrf={wrong}", browser.jar);
            let planted = Browser { jar, token: wrong.to_owned() };
            planted.post(&gateway, Some(wrong)).refused(403, "Invalid CSRF token");
        }
        let client = gateway.client();
        let twice = client.post("/projects").header("Cookie", &browser.jar).csrf(&browser.token).csrf(&browser.token);
        twice.json(&json!({})).send().refused(403, "Invalid CSRF token");
        assert_eq!(origin.requests().len(), before, "the upstream has heard of nothing");
        // Also where a program says nothing of where it comes from; and a page of ours that has the token may.
        let client = gateway.client();
        let curl = client.post("/projects").header("Cookie", &browser.jar).json(&json!({}));
        let refused = curl.send().refused(403, "Missing CSRF token");
        let next = Browser { jar: browser.jar.clone(), token: Browser::of(&refused).token };
        next.post(&gateway, Some(&next.token)).expect(200);
        browser.post(&gateway, Some(&browser.token)).expect(200);
        let client = gateway.client();
        let foreign = client.post("/projects").header("Cookie", &browser.jar).csrf(&browser.token);
        foreign.header("Origin", "https://evil.example").send().refused(403, "Cross-site request refused");
    }
    // An explicit credential is nobody's but its holder's.
    let (access, _) = gateway.login("ann@example.com");
    gateway.client().post("/projects").bearer(&access).json(&json!({})).send().expect(200);
}

#[test]
fn h2_a_form_may_hold_the_token_and_goes_on_byte_for_byte() {
    let (origin, gateway) = start("");
    for delivery in KINDS {
        let browser = Browser::login(&gateway, delivery, "");
        let token = &browser.token;
        let multipart = "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxk";
        let part = |name: &str, value: &str| {
            format!(
                "------WebKitFormBoundary7MA4YWxk\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            )
        };
        let ends = "------WebKitFormBoundary7MA4YWxk--\r\n";
        for (media, body) in [
            (FORM, format!("title=a+%26b&_csrf={token}&x=%ff")),
            ("Application/X-WWW-FORM-urlencoded; charset=UTF-8", format!("_csrf={token}")),
            (multipart, part("title", "\u{e4}\r\n--") + &part("_csrf", token) + ends),
        ] {
            browser.form(&gateway, media, &body).expect(200);
            assert_eq!(String::from_utf8_lossy(&origin.last().body), body);
        }
        let before = origin.requests().len();
        for (media, body, error) in [
            (FORM, "title=a".to_owned(), "Missing CSRF token"),
            (FORM, format!("csrf={token}"), "Missing CSRF token"),
            (FORM, "_csrf=x".to_owned(), "Invalid CSRF token"),
            (FORM, format!("_csrf={token}&_csrf={token}"), "Invalid CSRF token"),
            (multipart, part("title", "a") + ends, "Missing CSRF token"),
            (multipart, part("_csrf", token) + &part("_csrf", token) + ends, "Invalid CSRF token"),
            ("multipart/form-data", part("_csrf", token) + ends, "Missing CSRF token"),
            // What a form of another site can send without asking, dressed as something else.
            ("text/plain", format!("_csrf={token}\r\n"), "Missing CSRF token"),
            ("application/json", json!({ "_csrf": token }).to_string(), "Missing CSRF token"),
            ("", format!("_csrf={token}"), "Missing CSRF token"),
        ] {
            browser.form(&gateway, media, &body).refused(403, error);
        }
        assert_eq!(origin.requests().len(), before);
    }
}

#[test]
fn h2_a_token_ends_with_its_session_and_its_hour_and_outlives_a_restart() {
    let (_origin, mut gateway) = start("");
    for delivery in KINDS {
        let first = Browser::login(&gateway, delivery, "");
        let second = Browser::login(&gateway, delivery, &first.jar);
        second.post(&gateway, Some(&first.token)).refused(403, "Invalid CSRF token");
        second.post(&gateway, Some(&second.token)).expect(200);

        let to = json!({ "currentPassword": PASSWORD, "newPassword": "Another-Horse-7" });
        let back = json!({ "currentPassword": "Another-Horse-7", "newPassword": PASSWORD });
        let change = |browser: &Browser, body| {
            let client = gateway.client();
            let request = client.post("/auth/change-password").header("Cookie", &browser.jar).csrf(&browser.token);
            Browser::of(&request.header("Origin", PUBLIC_URL).json(body).send().expect(200))
        };
        let third = change(&change(&second, &to), &back);
        third.post(&gateway, Some(&second.token)).refused(403, "Invalid CSRF token");
        third.post(&gateway, Some(&third.token)).expect(200);
    }
    let kept = Browser::login(&gateway, "session", "");
    gateway.kill();
    gateway.launch();
    kept.post(&gateway, Some(&kept.token)).expect(200);
    gateway.operator().advance("29m");
    assert_eq!(kept.post(&gateway, Some(&kept.token)).expect(200).status, 200);
    gateway.operator().advance("32m");
    let late = kept.post(&gateway, Some(&kept.token)).refused(403, "Invalid CSRF token");
    let fresh = Browser::of(&late).token;
    kept.post(&gateway, Some(&fresh)).expect(200);
}

#[test]
fn h2_every_endpoint_of_an_account_that_changes_something_asks_for_the_token() {
    let (_origin, gateway) = start("");
    for delivery in KINDS {
        let browser = Browser::login(&gateway, delivery, "");
        let changing = |endpoint: &&portcullis_gateway::identity_api::Endpoint| {
            endpoint.need == Need::Login && !endpoint.pattern.starts_with("GET ")
        };
        let mut asked = 0;
        for endpoint in ENDPOINTS.iter().filter(changing) {
            let (method, path) = endpoint.pattern.split_once(' ').unwrap();
            let path = path.replace("{id}", "0");
            let ask = |media: &str| {
                let client = gateway.client();
                let request = client.request(method, &path).header("Cookie", &browser.jar);
                request.header("Origin", PUBLIC_URL).header("Content-Type", media).body(b"csrf=x").send()
            };
            ask("application/json").refused(403, "Missing CSRF token");
            ask(FORM).refused(403, "Missing CSRF token");
            asked += 1;
        }
        assert!(asked >= 9, "{asked}");
        // Nothing of all that did anything.
        gateway.client().get("/auth/me").header("Cookie", &browser.jar).send().expect(200);
        let client = gateway.client();
        let rename = client.request("PATCH", "/auth/me").header("Cookie", &browser.jar).csrf(&browser.token);
        rename.header("Origin", PUBLIC_URL).json(&json!({ "name": "Ann" })).send().expect(200);
    }
}

#[test]
fn h2_a_refresh_and_a_logout_by_cookie_need_the_token_too_and_spend_nothing_without() {
    let (_origin, gateway) = start("");
    let browser = Browser::login(&gateway, "cookie", "");
    let refresh_cookie = browser.jar.split("; ").find(|pair| pair.contains("refresh")).unwrap().to_owned();
    let ask = |target: &str, jar: &str, token: Option<&str>| {
        let client = gateway.client();
        let request = client.post(target).header("Cookie", jar).header("Origin", PUBLIC_URL);
        match token {
            Some(token) => request.csrf(token).json(&json!({})).send(),
            None => request.send(),
        }
    };
    let other = Browser::login(&gateway, "cookie", "");
    for target in ["/auth/refresh", "/auth/logout"] {
        ask(target, &refresh_cookie, Some(&other.token)).refused(403, "Invalid CSRF token");
        let refused = ask(target, &refresh_cookie, None).refused(403, "Missing CSRF token");
        assert!(pair(&refused, "csrf").len() > 40, "the next try has one: {:?}", refused.headers);
        assert!(refused.set_cookie("refresh").is_none());
    }
    let client = gateway.client();
    let as_form = client.post("/auth/refresh").header("Cookie", &refresh_cookie).header("Origin", PUBLIC_URL);
    let as_form = as_form.header("Content-Type", FORM).body(format!("_csrf={}", browser.token).as_bytes()).send();
    assert!(matches!(as_form.status, 403 | 415), "{}: {}", as_form.status, as_form.text());

    // None of that spent it: the session goes on, with a token of the same session.
    let renewed = Browser::of(&ask("/auth/refresh", &refresh_cookie, Some(&browser.token)).expect(200));
    renewed.post(&gateway, Some(&browser.token)).expect(200);
    renewed.post(&gateway, Some(&renewed.token)).expect(200);
    let bye = ask("/auth/logout", &renewed.jar, Some(&renewed.token)).expect(204);
    assert!(bye.set_cookie("csrf").unwrap().contains("Max-Age=0"));
    renewed.post(&gateway, Some(&renewed.token)).refused(401, "Token has been revoked");
    ask("/auth/refresh", &renewed.jar, None).refused(401, "Invalid refresh token");

    let session = Browser::login(&gateway, "session", "");
    ask("/auth/logout", &session.jar, None).refused(403, "Missing CSRF token");
    session.post(&gateway, Some(&session.token)).expect(200);
    ask("/auth/logout", &session.jar, Some(&session.token)).expect(204);
    // A refresh token in the body is known to its holder only.
    let (_, refresh) = gateway.login("ann@example.com");
    gateway.client().post("/auth/refresh").json(&json!({ "refreshToken": refresh })).send().expect(200);
}

#[test]
fn h2_whoever_comes_back_late_gets_a_token_by_the_refresh_cookie_alone() {
    let (_origin, gateway) = start("");
    let browser = Browser::login(&gateway, "cookie", "");
    let ask = |jar: &str| gateway.client().get("/auth/csrf").header("Cookie", jar).send();
    let reply = ask(&browser.jar).expect(200);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let told = reply.json();
    assert_eq!((&told["header"], &told["field"]), (&json!("x-csrf-token"), &json!("_csrf")));
    assert_eq!(told["expiresIn"], 3600);
    assert_eq!(told["csrfToken"], Browser::of(&reply).token);
    browser.post(&gateway, told["csrfToken"].as_str()).expect(200);

    gateway.operator().advance("3h");
    let refresh_cookie = browser.jar.split("; ").find(|pair| pair.contains("refresh")).unwrap();
    let token = ask(refresh_cookie).expect(200).json()["csrfToken"].as_str().unwrap().to_owned();
    let client = gateway.client();
    let refresh = client.post("/auth/refresh").header("Cookie", refresh_cookie).csrf(&token);
    let renewed = Browser::of(&refresh.header("Origin", PUBLIC_URL).json(&json!({})).send().expect(200));
    renewed.post(&gateway, Some(&token)).expect(200);

    ask("").refused(401, "Authentication required");
    ask("__Host-portcullis_refresh=0").refused(401, "Authentication required");
    let (access, _) = gateway.login("ann@example.com");
    gateway.client().get("/auth/csrf").bearer(&access).send().refused(404, "Not found");
}

#[test]
fn h2_names_exemptions_and_the_word_to_the_upstream_are_configured_and_loaded_anew() {
    let exempt = "[[route]]\nmatch = \"POST /hook\"\naccess = \"authenticated\"\ndanger_no_csrf_token = true\n";
    let (origin, mut gateway) = start(exempt);
    let browser = Browser::login(&gateway, "session", "");
    let post = |gateway: &Gateway, target: &str, extra: &[(&str, &str)]| {
        let client = gateway.client();
        let request = client.post(target).header("Cookie", &browser.jar).json(&json!({}));
        extra.iter().fold(request, |request, (name, value)| request.header(name, value)).send()
    };
    post(&gateway, "/hook", &[]).expect(200);
    post(&gateway, "/hook", &[("Origin", "https://evil.example")]).refused(403, "Cross-site request refused");
    post(&gateway, "/projects", &[]).refused(403, "Missing CSRF token");

    let app = "https://app.example.com";
    gateway.write_config(&format!(
        "[csrf]\nheader = \"X-XSRF-Token\"\nfield = \"authenticity_token\"\nlife = \"30m\"\n\
         to_upstream = \"X-Form-Token\"\ntrusted_origins = [\"{app}\"]\n"
    ));
    gateway.process().signal(Signal::HUP);
    let named = [("X-XSRF-Token", &*browser.token)];
    eventually("the new names hold", Duration::from_secs(5), || {
        (post(&gateway, "/projects", &named).status == 200).then_some(())
    });
    post(&gateway, "/projects", &[("X-CSRF-Token", &browser.token)]).refused(403, "Missing CSRF token");
    browser.form(&gateway, FORM, &format!("authenticity_token={}", browser.token)).expect(200);
    let told = gateway.client().get("/auth/csrf").header("Cookie", &browser.jar).send().expect(200).json();
    assert_eq!((&told["header"], &told["field"]), (&json!("x-xsrf-token"), &json!("authenticity_token")));
    // The pages of a trusted origin may use the cookies, with a token like all others.
    let from = [("Origin", app), ("Sec-Fetch-Site", "same-site")];
    post(&gateway, "/projects", &from).refused(403, "Missing CSRF token");
    post(&gateway, "/projects", &[from[0], from[1], named[0]]).expect(200);
    // The upstream puts this one into its forms, and nobody else can.
    let client = gateway.client();
    client.get("/projects").header("Cookie", &browser.jar).header("X-Form-Token", "forged").send().expect(200);
    let seen = origin.last().header("x-form-token").unwrap().to_owned();
    post(&gateway, "/projects", &[("X-XSRF-Token", &seen)]).expect(200);
    let (access, _) = gateway.login("ann@example.com");
    gateway.client().get("/projects").bearer(&access).header("X-Form-Token", "forged").send().expect(200);
    assert_eq!(origin.last().header("x-form-token"), None);

    gateway.write_config("[csrf]\nmode = \"danger-origin-only\"\n");
    gateway.process().signal(Signal::HUP);
    eventually("no token is asked for", Duration::from_secs(5), || {
        (post(&gateway, "/projects", &[]).status == 200).then_some(())
    });
    post(&gateway, "/projects", &[("Origin", "https://evil.example")]).refused(403, "Cross-site request refused");
    gateway.client().get("/auth/csrf").header("Cookie", &browser.jar).send().refused(404, "Not found");
}
