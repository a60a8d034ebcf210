//! Tokens in cookies (T6) and the stale ones among them (T8).

use serde_json::json;

use crate::projects;
use crate::support::client::Reply;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES};

const PUBLIC_URL: &str = "https://api.example.com";

fn https() -> (Origin, Gateway) {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).public_url(PUBLIC_URL).with(PROJECT_ROUTES).start();
    gateway.create_user("cookie@example.com", "viewer");
    (origin, gateway)
}

fn login(gateway: &Gateway) -> Reply {
    let body = json!({ "email": "cookie@example.com", "password": PASSWORD, "delivery": "cookie" });
    gateway.client().post("/auth/login").header("Origin", PUBLIC_URL).json(&body).send()
}

/// `name=value` of a cookie that was set.
fn pair(cookie: &str) -> &str {
    cookie.split(';').next().unwrap()
}

fn value(cookie: &str) -> &str {
    pair(cookie).split_once('=').unwrap().1
}

#[test]
fn t6_under_https_the_cookies_are_bound_to_the_host_and_no_script_sees_them() {
    let (_origin, gateway) = https();
    let reply = login(&gateway).expect(200);
    assert!(reply.header("strict-transport-security").unwrap().contains("max-age=31536000; includeSubDomains"));
    for part in ["access", "refresh"] {
        let cookie = reply.set_cookie(part).unwrap_or_else(|| panic!("no {part} in {:?}", reply.headers));
        let lower = cookie.to_lowercase();
        assert!(cookie.starts_with("__Host-"), "{cookie}");
        for attribute in ["; httponly", "; secure", "; samesite=strict", "; path=/", "; max-age="] {
            assert!(lower.contains(attribute), "{attribute} in {cookie}");
        }
        assert!(!lower.contains("domain="), "__Host- allows none: {cookie}");
        assert!(!reply.text().contains(value(cookie)), "a token in a cookie is never in a body");
    }
    assert!(reply.json().get("accessToken").is_none_or(serde_json::Value::is_null), "{}", reply.text());
    assert!(reply.json().get("refreshToken").is_none_or(serde_json::Value::is_null), "{}", reply.text());
}

#[test]
fn t6_the_cookie_opens_the_api_and_goes_no_further() {
    let (origin, gateway) = https();
    let reply = login(&gateway).expect(200);
    let access = pair(reply.set_cookie("access").unwrap());
    let refresh = pair(reply.set_cookie("refresh").unwrap());
    let cookies = format!("a=1; {access}; theirs=2; {refresh}");
    gateway.client().get("/projects").header("Cookie", &cookies).send().expect(200);
    let seen = origin.last();
    assert_eq!(seen.header("cookie"), Some("a=1; theirs=2"));
    assert!(seen.header("x-user-id").is_some());

    gateway.client().get("/projects").header("Cookie", &format!("{access}; {refresh}")).send().expect(200);
    assert!(origin.last().headers("cookie").iter().all(|value| value.is_empty()), "{:?}", origin.last().headers);
    let bytes: Vec<u8> = origin.connections().iter().flat_map(|connection| connection.bytes.clone()).collect();
    for secret in [value(access), value(refresh)] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }

    // The refresh token is no access token, and two cookies of one name are nobody's.
    let swapped = format!("{}={}", access.split('=').next().unwrap(), value(refresh));
    gateway.client().get("/projects").header("Cookie", &swapped).send().expect(401);
    let twice = format!("{access}; {}=x", access.split('=').next().unwrap());
    let reply = gateway.client().get("/projects").header("Cookie", &twice).send();
    assert!(matches!(reply.status, 400 | 401), "{}", reply.status);
}

#[test]
fn t6_a_refresh_by_cookie_answers_by_cookie_and_only_to_our_own_pages() {
    let (_origin, gateway) = https();
    let reply = login(&gateway).expect(200);
    let refresh = pair(reply.set_cookie("refresh").unwrap()).to_owned();
    let send = |origin: Option<&str>, site: Option<&str>| {
        let client = gateway.client();
        let mut request = client.post("/auth/refresh").header("Cookie", &refresh).csrf(&gateway.csrf(&refresh));
        if let Some(origin) = origin {
            request = request.header("Origin", origin);
        }
        if let Some(site) = site {
            request = request.header("Sec-Fetch-Site", site);
        }
        request.json(&json!({})).send()
    };
    for (origin, site) in [
        (Some("https://evil.example.com"), None),
        (Some("https://api.example.com.evil.example"), Some("cross-site")),
        (Some("http://api.example.com"), None),
        (Some("null"), Some("cross-site")),
        (None, Some("cross-site")),
    ] {
        let reply = send(origin, site);
        assert!(matches!(reply.status, 400 | 401 | 403), "{origin:?} {site:?}: {}", reply.status);
        assert!(reply.set_cookie("access").is_none_or(|cookie| value(cookie).is_empty()), "{:?}", reply.headers);
    }
    let renewed = send(Some(PUBLIC_URL), Some("same-origin")).expect(200);
    let cookie = renewed.set_cookie("refresh").unwrap();
    assert_ne!(pair(cookie), refresh);
    assert!(!renewed.text().contains(value(cookie)));
    assert!(!renewed.text().contains(value(renewed.set_cookie("access").unwrap())));
}

#[test]
fn t6_logout_by_cookie_clears_the_cookies() {
    let (_origin, gateway) = https();
    let reply = login(&gateway).expect(200);
    let cookies =
        format!("{}; {}", pair(reply.set_cookie("access").unwrap()), pair(reply.set_cookie("refresh").unwrap()));
    let logout = gateway
        .client()
        .post("/auth/logout")
        .header("Cookie", &cookies)
        .csrf(&gateway.csrf(&cookies))
        .header("Origin", PUBLIC_URL)
        .json(&json!({}))
        .send();
    assert!((200..300).contains(&logout.status), "{}: {}", logout.status, logout.text());
    for part in ["access", "refresh"] {
        let cookie = logout.set_cookie(part).unwrap_or_else(|| panic!("{part} is not cleared: {:?}", logout.headers));
        assert!(cookie.to_lowercase().contains("max-age=0"), "{cookie}");
    }
    gateway
        .client()
        .post("/auth/refresh")
        .header("Cookie", &cookies)
        .header("Origin", PUBLIC_URL)
        .json(&json!({}))
        .send()
        .expect(401);
}

#[test]
fn t8_a_stale_cookie_on_a_public_route_is_nothing_and_is_cleared() {
    let (origin, gateway) = https();
    let reply = login(&gateway).expect(200);
    let name = pair(reply.set_cookie("access").unwrap()).split('=').next().unwrap().to_owned();
    let stale = format!("{name}=a.b.c; theirs=1");
    let reply = gateway.client().get("/public/status").header("Cookie", &stale).send().expect(200);
    let cleared = reply.set_cookie(&name).unwrap_or_else(|| panic!("it is cleared: {:?}", reply.headers));
    assert!(cleared.to_lowercase().contains("max-age=0"), "{cleared}");
    let seen = origin.last();
    assert!(seen.headers("x-user-id").is_empty());
    assert_eq!(seen.header("cookie"), Some("theirs=1"));
    gateway.client().get("/projects").header("Cookie", &stale).send().expect(401);
}

#[test]
fn t6_on_http_loopback_the_cookie_has_a_plain_name() {
    let (_origin, gateway) = projects();
    gateway.create_user("cookie@example.com", "viewer");
    let body = json!({ "email": "cookie@example.com", "password": PASSWORD, "delivery": "cookie" });
    let own = format!("http://{}", gateway.listen);
    let reply = gateway.client().post("/auth/login").header("Origin", &own).json(&body).send().expect(200);
    let cookie = reply.set_cookie("access").unwrap();
    assert!(!cookie.starts_with("__Host-") && !cookie.to_lowercase().contains("; secure"), "{cookie}");
    assert!(cookie.to_lowercase().contains("; httponly"), "{cookie}");
    gateway.client().get("/projects").header("Cookie", pair(cookie)).send().expect(200);
}

#[test]
fn t6_cookies_are_refused_where_the_way_is_neither_safe_nor_short() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).public_url("http://api.example.com").with(PROJECT_ROUTES).start();
    gateway.create_user("cookie@example.com", "viewer");
    let reply = login(&gateway);
    assert!((400..500).contains(&reply.status), "{}: {}", reply.status, reply.text());
    assert!(reply.headers("set-cookie").is_empty());
    let body = json!({ "email": "cookie@example.com", "password": PASSWORD, "delivery": "body" });
    gateway.client().post("/auth/login").json(&body).send().expect(200);
}

#[test]
fn t6_the_api_cannot_set_our_cookies() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.send(
            "HTTP/1.1 200 OK\r\nSet-Cookie: __Host-portcullis_access=planted; Path=/; Secure\r\n\
             Set-Cookie: theirs=1\r\nSet-Cookie: __Host-portcullis_refresh=planted; Path=/; Secure\r\n\
             Content-Length: 0\r\n\r\n",
        )
    });
    let gateway = Setup::before(&origin).public_url(PUBLIC_URL).with(PROJECT_ROUTES).start();
    let reply = gateway.client().get("/public/status").send().expect(200);
    assert_eq!(reply.headers("set-cookie"), ["theirs=1"]);
}
