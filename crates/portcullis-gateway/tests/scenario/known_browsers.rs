//! Browsers that an account is known on (L13): the cookie they are told by, and the pages.

use serde_json::json;

use super::lockout::{CEO, OTHER, PUBLIC_URL, REFUSED, WRONG, device, exhaust, house, login, notices, post};
use crate::support::PASSWORD;
use crate::support::client::Reply;
use crate::support::process::Gateway;

/// What the browser of a login or a letter is known by from now on, as `name=value`.
fn device_cookie(reply: &Reply) -> String {
    let cookie = reply.set_cookie("device").unwrap_or_else(|| panic!("no cookie in {:?}", reply.headers));
    assert!(!reply.text().contains("deviceToken"), "{}", reply.text());
    cookie.split(';').next().unwrap().to_owned()
}

#[test]
fn l13_the_cookie_of_a_device_is_bound_to_the_host_and_reaches_no_upstream() {
    let (origin, gateway) = house();
    let client = gateway.client();
    let enter = |delivery: &str, cookies: &str, password: &str| {
        let body = json!({ "email": CEO, "password": password, "delivery": delivery });
        let request = gateway.client();
        let request = request.post("/auth/login").header("Origin", PUBLIC_URL).header("Cookie", cookies);
        request.json(&body).send()
    };
    let reply = enter("cookie", "a=1", PASSWORD).expect(200);
    let set = reply.set_cookie("device").unwrap().to_lowercase();
    assert!(set.starts_with("__host-portcullis_device="), "{set}");
    for attribute in ["; httponly", "; secure", "; samesite=strict", "; path=/", "; max-age=7776000"] {
        assert!(set.contains(attribute), "{attribute} in {set}");
    }
    let known = device_cookie(&reply);
    let access = reply.set_cookie("access").unwrap().split(';').next().unwrap().to_owned();
    client.get("/projects").header("Cookie", &format!("a=1; {known}; {access}")).send().expect(200);
    assert_eq!(origin.last().header("cookie"), Some("a=1"));

    exhaust(&gateway, CEO);
    // Signing out leaves the device known.
    let bye = client.post("/auth/logout").header("Origin", PUBLIC_URL);
    let bye = bye.header("Cookie", &format!("{known}; {access}")).json(&json!({ "refreshToken": "0" })).send();
    assert!(bye.set_cookie("device").is_none(), "{:?}", bye.headers);
    enter("session", "a=1", PASSWORD).expect(429);
    let again = enter("session", &known, PASSWORD).expect(200);
    let known = device_cookie(&again);
    // Two of one name, or the other spelling: nobody can tell who planted which.
    enter("session", &format!("{known}; {known}"), PASSWORD).expect(429);
    enter("session", &known.replace("__Host-", ""), PASSWORD).expect(429);
    // Another site's page cannot make the browser use up its own allowance.
    for _ in 0..6 {
        let foreign = gateway.client();
        let foreign = foreign.post("/auth/login").header("Origin", "https://evil.example").header("Cookie", &known);
        foreign.json(&json!({ "email": CEO, "password": WRONG })).send().expect(429);
    }
    let reply = enter("body", &known, PASSWORD).expect(200);
    assert!(!device(&reply).is_empty(), "who asked for a body gets a body");
}

#[test]
fn l13_one_browser_is_known_to_several_people() {
    let (_origin, gateway) = house();
    gateway.create_user("cfo@example.com", "viewer");
    let enter = |email: &str, cookie: &str| {
        let body = json!({ "email": email, "password": PASSWORD, "delivery": "session" });
        let client = gateway.client();
        let request = client.post("/auth/login").header("Origin", PUBLIC_URL).header("Cookie", cookie);
        request.json(&body).send()
    };
    let one = device_cookie(&enter(CEO, "a=1").expect(200));
    let both = device_cookie(&enter("cfo@example.com", &one).expect(200));
    exhaust(&gateway, CEO);
    exhaust(&gateway, "cfo@example.com");
    enter("cfo@example.com", &one).expect(429);
    let both = device_cookie(&enter("cfo@example.com", &both).expect(200));
    enter(CEO, &both).expect(200);
}

/// The token and the cookie of a form.
fn form(gateway: &Gateway) -> (String, String) {
    let page = gateway.client().get("/auth/login").header("Accept", "text/html").send().expect(200);
    let text = page.text();
    let token = text.split_once("name=\"csrf\" value=\"").unwrap().1.split('"').next().unwrap().to_owned();
    (token, page.set_cookie("form").unwrap().split(';').next().unwrap().to_owned())
}

fn sign_in(gateway: &Gateway, password: &str, cookie: Option<&str>) -> Reply {
    let (token, binding) = form(gateway);
    let cookies = cookie.map_or(binding.clone(), |cookie| format!("{binding}; {cookie}"));
    let body = format!("csrf={token}&email=ceo%40example.com&password={password}");
    let client = gateway.client();
    let request = client.post("/auth/login").header("Origin", PUBLIC_URL).header("Cookie", &cookies);
    let request = request.header("Content-Type", "application/x-www-form-urlencoded").header("Accept", "text/html");
    request.body(body.as_bytes()).send()
}

#[test]
fn l13_the_sign_in_page_counts_in_the_same_pools_and_knows_the_browser_again() {
    let (_origin, gateway) = house();
    let known = device_cookie(&sign_in(&gateway, PASSWORD, None).expect(303));
    for turn in 0..5 {
        // By turns at the page and at the endpoint for programs.
        let reply = if turn % 2 == 0 { sign_in(&gateway, WRONG, None) } else { login(&gateway, CEO, WRONG, None) };
        reply.expect(401);
    }
    let refused = sign_in(&gateway, PASSWORD, None).expect(429);
    let text = refused.text();
    assert!(text.contains(REFUSED) && text.contains("look into your mail"), "{text}");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 800);
    assert!(refused.set_cookie("session").is_none() && refused.set_cookie("device").is_none());
    login(&gateway, CEO, PASSWORD, None).refused(429, REFUSED);
    let known = device_cookie(&sign_in(&gateway, PASSWORD, Some(&known)).expect(303));
    sign_in(&gateway, PASSWORD, Some(&known)).expect(303);

    // The page behind the letter's link makes another browser known, and no page of another site does: with a link of its own
    // it could put a device of its author's into the place of the owner's.
    gateway.operator().await_mails(CEO, 1);
    let [link] = notices(&gateway, CEO).try_into().expect("one letter");
    let client = gateway.client();
    let confirm = |link: &str, from: &str| {
        let request = client.post("/auth/confirm-device").header("Content-Type", "application/x-www-form-urlencoded");
        request.header("Origin", from).body(format!("token={link}").as_bytes()).send()
    };
    let confirmed = confirm(&link, PUBLIC_URL).expect(303);
    assert_eq!(confirmed.header("location"), Some("/auth/login?done=device"));
    sign_in(&gateway, PASSWORD, Some(&device_cookie(&confirmed))).expect(303);
    sign_in(&gateway, PASSWORD, None).expect(429);

    gateway.create_user("eve@example.com", "viewer");
    exhaust(&gateway, "eve@example.com");
    gateway.operator().await_mails("eve@example.com", 1);
    let [eves] = notices(&gateway, "eve@example.com").try_into().expect("one letter");
    assert!(confirm(&eves, "https://evil.example").set_cookie("device").is_none());
    post(&gateway, "/auth/forgot-password", &json!({ "email": "eve@example.com" })).expect(202);
    let mails = gateway.operator().await_mails("eve@example.com", 2);
    let reset = mails.iter().find(|mail| mail.subject == "Set another password").unwrap().token();
    let request = client.post("/auth/reset-password").header("Content-Type", "application/x-www-form-urlencoded");
    let request = request.header("Origin", "https://evil.example");
    let reply = request.body(format!("token={reset}&password={OTHER}").as_bytes()).send().expect(303);
    assert!(reply.set_cookie("device").is_none(), "{:?}", reply.headers);
}
