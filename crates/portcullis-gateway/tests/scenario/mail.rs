//! Mail that leaves the process (A10), taken by a real server.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::Reply;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::smtp::{self, Certificates, headers, part};
use crate::support::{PASSWORD, PROJECT_ROUTES};

/// A gate that hands its mail to 127.0.0.1.
fn mailing(keys: &str) -> (Origin, Gateway) {
    let origin = Origin::echo();
    let setup = Setup::before(&origin).public_url("https://gate.example.com").with(PROJECT_ROUTES);
    let gateway = setup.mailing(&format!("host = \"127.0.0.1\"\n{keys}")).start();
    (origin, gateway)
}

fn register(gateway: &Gateway, email: &str) -> Reply {
    let registration = json!({ "email": email, "password": PASSWORD, "name": "<b>Eve</b> https://evil.example" });
    gateway.client().post("/auth/register").header("X-Forwarded-Host", "evil.example").json(&registration).send()
}

#[test]
fn a10_a_registration_is_mailed_confirmed_and_logs_in() {
    if !smtp::is_installed() {
        return;
    }
    let certificates = Certificates::of("IP:127.0.0.1");
    let server = smtp::Setup::protected("starttls", &certificates).login("gate", "its-own-password").start();
    let password = certificates.authority().with_file_name("password");
    std::fs::write(&password, "its-own-password\n").unwrap();
    let (_origin, gateway) = mailing(&format!(
        "port = {}\nca_file = \"{}\"\nusername = \"gate\"\npassword_file = \"{}\"",
        server.port,
        certificates.authority().display(),
        password.display()
    ));
    register(&gateway, "new@example.com").expect(202);
    let mail = server.next("mail");
    assert_eq!((&mail["recipients"][0], &mail["protected"]), (&"new@example.com".into(), &true.into()));
    assert_eq!(headers(&mail, "From"), ["The Gate <gate@example.com>"]);
    let (text, html) = (part(&mail, "text/plain"), part(&mail, "text/html"));
    let start = "https://gate.example.com/auth/verify?token=";
    let token = text.split_once(start).unwrap().1.split_whitespace().next().unwrap();
    assert!(html.contains(&format!("href=\"{start}{token}\"")), "{html}");
    for alternative in [text, html] {
        assert!(!alternative.contains("evil") && !alternative.contains("Eve"), "{alternative}");
        assert_eq!(alternative.matches("://").count(), alternative.matches("https://gate.example.com/").count());
    }

    gateway.client().post("/auth/verify").json(&json!({ "token": token })).send().expect(200);
    gateway.login("new@example.com");
    register(&gateway, "New@Example.com").expect(202);
    let told = server.next("mail");
    assert_eq!(headers(&told, "Subject"), ["You already have an account"]);
    assert_eq!(told["recipients"], json!(["new@example.com"]));
    assert!(!gateway.output().contains(token) && !gateway.output().contains("its-own-password"));
}

#[test]
fn a10_no_answer_waits_for_the_mail_server_and_a_stop_waits_a_moment_only() {
    // It takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let (_origin, mut gateway) = mailing(&format!("port = {port}\ntls = \"none\""));
    gateway.create_user("known@example.com", "viewer");
    let timed = |email: &str| {
        let begun = Instant::now();
        let reply = register(&gateway, email).expect(202);
        (begun.elapsed(), reply.json()["message"].clone())
    };
    let answers = ["known@example.com", "a@example.com", "known@example.com", "b@example.com"].map(timed);
    assert!(answers.iter().all(|(took, _)| *took < Duration::from_secs(5)), "{answers:?}");
    assert!(answers.iter().all(|(_, message)| *message == answers[0].1), "{answers:?}");
    assert!(gateway.operator().get("/metrics").text().contains("portcullis_mails_under_way 4"));

    let begun = Instant::now();
    gateway.process().signal(Signal::TERM);
    assert!(gateway.process().ended(Duration::from_secs(15)).success());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(gateway.output().contains("mails could not be sent before the end"), "{}", gateway.output());
}

#[test]
fn a10_a_graceful_stop_sends_what_waits_for_its_next_attempt() {
    if !smtp::is_installed() {
        return;
    }
    let port = smtp::Setup::plain().start().port;
    let (_origin, mut gateway) = mailing(&format!("port = {port}\ntls = \"none\""));
    register(&gateway, "new@example.com").expect(202);
    // The first two attempts fail; the next comes in a quarter of a minute.
    std::thread::sleep(Duration::from_secs(3));
    let server = smtp::Setup::plain().on(port).start();
    gateway.process().signal(Signal::TERM);
    assert_eq!(server.next("mail")["recipients"], json!(["new@example.com"]));
    assert!(gateway.process().ended(Duration::from_secs(15)).success());
    assert!(!gateway.output().contains("mails could not be sent"), "{}", gateway.output());
}
