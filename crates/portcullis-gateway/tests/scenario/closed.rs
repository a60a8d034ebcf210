//! Registration that is closed, and a gate that sends no mail (A4, A10).

use std::time::Duration;

use serde_json::json;

use super::account::post;
use crate::projects;
use crate::support::client::Reply;
use crate::support::origin::Origin;
use crate::support::process::Setup;
use crate::support::{PASSWORD, PROJECT_ROUTES, eventually, smtp};

/// What whoever asks can see, but for the name of the request.
fn seen(reply: &Reply) -> (u16, Vec<String>, String) {
    let names = reply.headers.iter().map(|(name, _)| name.clone()).collect();
    (reply.status, names, reply.text().replace(reply.header("x-request-id").unwrap(), "?"))
}

#[test]
fn a10_without_mail_all_that_needs_it_is_closed_and_tells_nothing_of_an_address() {
    let origin = Origin::echo();
    let mut gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    // Somebody has registered while there was mail, and was told the link.
    let waits = json!({ "email": "waits@example.com", "password": PASSWORD });
    post(&gateway, "/auth/register", None, &waits).expect(202);
    let link = gateway.operator().await_mails("waits@example.com", 1).remove(0).token();
    gateway.create_user("known@example.com", "viewer");
    gateway.kill();
    let text = gateway.config_text().replace("registration = true\ndanger_mail_catcher = true\n", "");
    std::fs::write(&gateway.config, text).unwrap();
    gateway.launch();
    eventually("it is said at the start", Duration::from_secs(5), || {
        gateway.output().contains("no mail is configured").then_some(())
    });

    let (access, _) = gateway.login("known@example.com");
    for (target, access, error) in [
        ("/auth/register", None, "Registration is closed"),
        ("/auth/forgot-password", None, "Mail is turned off"),
        ("/auth/change-email", Some(&*access), "Mail is turned off"),
    ] {
        let ask = |email: &str| {
            let body = match target {
                "/auth/forgot-password" => json!({ "email": email }),
                _ => json!({ "email": email, "password": PASSWORD }),
            };
            post(&gateway, target, access, &body)
        };
        let unknown = seen(&ask("nobody@example.com").refused(403, error));
        for email in ["known@example.com", "waits@example.com", "no address", ""] {
            assert_eq!(seen(&ask(email)), unknown, "{target}: {email:?}");
        }
    }
    let resend = |email: &str| seen(&post(&gateway, "/auth/resend-verification", None, &json!({ "email": email })));
    let unknown = resend("nobody@example.com");
    assert!(matches!(unknown.0, 202 | 403), "{unknown:?}");
    for email in ["known@example.com", "waits@example.com"] {
        assert_eq!(resend(email), unknown);
    }
    // No token is written where a log's reader could find it, and a link that was mailed in time is as good as before.
    let output = gateway.output();
    assert!(!output.contains("token=") && !output.contains(&link), "{output}");
    post(&gateway, "/auth/verify", None, &json!({ "token": link })).expect(200);
    gateway.login("waits@example.com");
    for path in ["/auth/register", "/auth/forgot-password"] {
        let page = gateway.client().get(path).header("Accept", "text/html").send();
        assert!(page.status < 500, "{path}: {}", page.status);
        if path == "/auth/register" {
            assert!(page.text().contains("New accounts are made by whoever runs this service."), "{}", page.text());
        }
    }
}

#[test]
fn a5_whoever_asks_for_letters_again_and_again_takes_no_link_from_its_owner() {
    if !smtp::is_installed() {
        return;
    }
    let server = smtp::Setup::plain().start();
    let origin = Origin::echo();
    let mail = format!("host = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nper_recipient = 3", server.port);
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).mailing(&mail).start();
    let body = json!({ "email": "new@example.com", "password": PASSWORD });
    post(&gateway, "/auth/register", None, &body).expect(202);
    let link = || {
        let mail = server.next("mail");
        smtp::part(&mail, "text/plain").split_once("token=").unwrap().1.split_whitespace().next().unwrap().to_owned()
    };
    let first = link();
    let resend =
        || post(&gateway, "/auth/resend-verification", None, &json!({ "email": "new@example.com" })).expect(202);
    let (told, second) = (resend().text(), link());
    resend();
    let last = link();
    // The mailbox has had its share: what is asked for now makes no link, and takes none away.
    for _ in 0..4 {
        assert_eq!(resend().text(), told);
    }
    for void in [first, second] {
        post(&gateway, "/auth/verify", None, &json!({ "token": void })).expect(400);
    }
    post(&gateway, "/auth/verify", None, &json!({ "token": last })).expect(200);
    gateway.login("new@example.com");
}

#[test]
fn a4_with_registration_closed_mail_goes_on_for_those_who_have_an_account() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    gateway.create_user("known@example.com", "viewer");
    let mut gateway = gateway;
    gateway.kill();
    let text = gateway.config_text().replace("registration = true\n", "registration = false\n");
    std::fs::write(&gateway.config, text).unwrap();
    gateway.launch();
    for email in ["known@example.com", "new@example.com"] {
        let body = json!({ "email": email, "password": PASSWORD });
        post(&gateway, "/auth/register", None, &body).refused(403, "Registration is closed");
    }
    assert!(gateway.accounts().texts("SELECT email FROM pending").is_empty());
    post(&gateway, "/auth/forgot-password", None, &json!({ "email": "known@example.com" })).expect(202);
    let mails = gateway.operator().await_mails("known@example.com", 1);
    assert_eq!(mails[0].subject, "Set another password");
    let reset = json!({ "token": mails[0].token(), "password": "Other-Horse-43" });
    post(&gateway, "/auth/reset-password", None, &reset).expect(200);
}

#[test]
fn a1_the_longest_address_and_names_at_their_bounds_are_welcome_and_one_more_is_not() {
    let (_origin, gateway) = projects();
    // 64 characters, the sign, and labels of 63: 255 in all.
    let local = "a".repeat(64);
    let label = "b".repeat(63);
    let longest = format!("{local}@{label}.{label}.{}.example", "c".repeat(54));
    assert_eq!(longest.len(), 255);
    let register = |email: &str, name: &str| {
        post(&gateway, "/auth/register", None, &json!({ "email": email, "password": PASSWORD, "name": name }))
    };
    register(&longest.to_uppercase(), "Jo").expect(202);
    let token = gateway.operator().await_mails(&longest, 1).remove(0).token();
    post(&gateway, "/auth/verify", None, &json!({ "token": token })).expect(200);
    gateway.login(&longest);
    for (email, name, field) in [
        (longest.replace("@b", "@bb").as_str(), "Jo", "email"),
        (&format!("a{local}@example.com"), "Jo", "email"),
        ("name@example.com", "J", "name"),
        ("name@example.com", &"\u{d6}".repeat(101), "name"),
    ] {
        let told = register(email, name).refused(400, "Validation failed").json();
        assert_eq!(told["details"].as_array().map(Vec::len), Some(1), "{told}");
        assert_eq!(told["details"][0]["field"], field, "{told}");
    }
    register("name@example.com", &format!("  {}  ", "\u{d6}".repeat(100))).expect(202);
    let token = gateway.operator().await_mails("name@example.com", 1).remove(0).token();
    post(&gateway, "/auth/verify", None, &json!({ "token": token })).expect(200);
    assert_eq!(
        gateway.accounts().texts("SELECT name FROM account ORDER BY length(name)"),
        ["Jo".to_owned(), "\u{d6}".repeat(100)]
    );
}
