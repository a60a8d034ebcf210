//! `[identity.pages] enabled = false`: the pages are gone, programs go on, and every mailed link leads to its page (A5, A7).

use serde_json::json;

use crate::support::client::Reply;
use crate::support::operator::Mail;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES};

const OTHER: &str = "Other-Horse-43";

fn without_pages() -> (Origin, Gateway) {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with("[identity.pages]\nenabled = false\n").start();
    (origin, gateway)
}

fn page(gateway: &Gateway, target: &str) -> Reply {
    gateway.client().get(target).header("Accept", "text/html").send()
}

/// Sends a form as the page of this very gate would.
fn submit(gateway: &Gateway, target: &str, fields: &str) -> Reply {
    gateway
        .client()
        .post(target)
        .header("Accept", "text/html")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Origin", &format!("http://{}", gateway.listen))
        .body(fields.as_bytes())
        .send()
}

/// The newest mail of this subject, and the path of its link, which has to lead here.
fn link(gateway: &Gateway, email: &str, count: usize, subject: &str) -> String {
    let mails: Vec<Mail> = gateway.operator().await_mails(email, count);
    let mail = mails.into_iter().rfind(|mail| mail.subject == subject).unwrap();
    let here = format!("http://{}", gateway.listen);
    let found =
        mail.text.split_whitespace().find_map(|word| word.strip_prefix(&here).filter(|path| path.starts_with("/auth")));
    found.unwrap_or_else(|| panic!("no link in {mail:?}")).to_owned()
}

/// Every place that a page leads to by itself is there.
fn no_dead_ends(gateway: &Gateway, reply: &Reply) {
    for path in reply.text().split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        if !path.starts_with("data:") {
            assert_ne!(page(gateway, path).status, 404, "{path} in {}", reply.text());
        }
    }
    assert_eq!(reply.header("location"), None);
}

#[test]
fn a6_without_pages_nobody_finds_one_and_programs_go_on() {
    let (_origin, gateway) = without_pages();
    gateway.create_user("ann@example.com", "viewer");
    let (access, refresh) = gateway.login("ann@example.com");
    for target in ["/auth/login", "/auth/register", "/auth/forgot-password", "/auth/account"] {
        for reply in [page(&gateway, target), gateway.client().get(target).bearer(&access).send()] {
            reply.refused(404, "Not found");
        }
        let head = gateway.client().request("HEAD", target).send();
        assert_eq!((head.status, head.body.len()), (404, 0), "{target}");
    }
    // A form without its page is what another site would send.
    let form = format!("email=ann%40example.com&password={PASSWORD}");
    for target in ["/auth/login", "/auth/register", "/auth/forgot-password", "/auth/resend-verification"] {
        let reply = submit(&gateway, target, &form).refused(415, "Unsupported media type");
        assert!(reply.headers("set-cookie").is_empty());
    }
    gateway.client().get("/projects").bearer(&access).send().expect(200);
    gateway.client().get("/auth/me").bearer(&access).send().expect(200);
    gateway.client().get("/auth/sessions").bearer(&access).send().expect(200);
    let renewed = gateway.client().post("/auth/refresh").json(&json!({ "refreshToken": refresh })).send().expect(200);
    let refresh = renewed.json()["refreshToken"].clone();
    gateway.client().post("/auth/logout").json(&json!({ "refreshToken": refresh })).send().expect(204);
    // A browser's program may hold its session in a cookie all the same.
    let body = json!({ "email": "ann@example.com", "password": PASSWORD, "delivery": "session" });
    let cookie = gateway.client().post("/auth/login").json(&body).send().expect(200);
    let cookie = cookie.set_cookie("session").unwrap().split(';').next().unwrap().to_owned();
    gateway.client().get("/projects").header("Cookie", &cookie).send().expect(200);
}

#[test]
fn a5_without_pages_every_mailed_link_leads_to_its_page_and_on_to_no_dead_end() {
    let (_origin, gateway) = without_pages();
    let body = json!({ "email": "new@example.com", "password": PASSWORD });
    gateway.client().post("/auth/register").json(&body).send().expect(202);
    let verify = link(&gateway, "new@example.com", 1, "Confirm your e-mail address");
    let asked = json!({ "email": "new@example.com" });

    let token = |link: &str| link.split_once('?').unwrap().1.to_owned();
    let opened = page(&gateway, &verify).expect(200);
    assert!(opened.text().contains("action=\"/auth/verify\""), "{}", opened.text());
    no_dead_ends(&gateway, &opened);
    let done = submit(&gateway, "/auth/verify", &token(&verify)).expect(200);
    assert!(done.text().contains("You can log in now."), "{}", done.text());
    no_dead_ends(&gateway, &done);
    no_dead_ends(&gateway, &submit(&gateway, "/auth/verify", &token(&verify)).expect(400));

    gateway.client().post("/auth/forgot-password").json(&asked).send().expect(202);
    let reset = link(&gateway, "new@example.com", 2, "Set another password");
    no_dead_ends(&gateway, &page(&gateway, &reset).expect(200));
    no_dead_ends(&gateway, &submit(&gateway, "/auth/reset-password", &(token(&reset) + "&password=short")).expect(400));
    let fields = format!("{}&password={OTHER}", token(&reset));
    let done = submit(&gateway, "/auth/reset-password", &fields).expect(200);
    assert!(done.text().contains("Log in with it."), "{}", done.text());
    no_dead_ends(&gateway, &done);
    no_dead_ends(&gateway, &submit(&gateway, "/auth/reset-password", &fields).expect(400));

    let login = json!({ "email": "new@example.com", "password": OTHER });
    let pair = gateway.client().post("/auth/login").json(&login).send().expect(200).json();
    let access = pair["accessToken"].as_str().unwrap();
    let change = json!({ "email": "other@example.com", "password": OTHER });
    gateway.client().post("/auth/change-email").bearer(access).json(&change).send().expect(202);
    let confirm = link(&gateway, "other@example.com", 1, "Confirm your new e-mail address");
    no_dead_ends(&gateway, &page(&gateway, &confirm).expect(200));
    no_dead_ends(&gateway, &submit(&gateway, "/auth/confirm-email", &token(&confirm)).expect(200));
    no_dead_ends(&gateway, &submit(&gateway, "/auth/confirm-email", &token(&confirm)).expect(400));
    no_dead_ends(&gateway, &page(&gateway, "/auth/verify?token=cut").expect(400));
}

#[test]
fn a5_without_pages_a_person_who_is_refused_at_a_link_is_not_sent_to_a_page_that_is_not_there() {
    let (_origin, gateway) = without_pages();
    let client = gateway.client();
    let token = "0".repeat(64);
    let refused = (0..40).find_map(|_| {
        let form = client.post("/auth/verify").header("Accept", "text/html");
        let form = form.header("Content-Type", "application/x-www-form-urlencoded");
        let reply = form.body(format!("token={token}").as_bytes()).send();
        (reply.status == 429).then_some(reply)
    });
    let refused = refused.expect("links are limited");
    assert!(refused.text().contains("Please wait"), "{}", refused.text());
    no_dead_ends(&gateway, &refused);
    no_dead_ends(&gateway, &page(&gateway, "/auth/me").expect(401));
}
