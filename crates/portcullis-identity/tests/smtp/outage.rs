//! A server that is away, slow or unwilling: mail waits, for a bounded time and in bounded memory, and nobody waits for it.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use portcullis_identity::{Mailer as _, SmtpConfig};

use crate::server::{self, Setup, headers};
use crate::{Log, TOKEN, mail_to, plain, settled, start};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a10_mail_waits_for_a_server_that_is_down() {
    if !server::is_installed() {
        return;
    }
    let port = Setup::plain().start().port;
    let (log, _kept) = Log::keep();
    let (mailer, drops) = start(SmtpConfig { retries: vec![Duration::from_millis(250); 60], ..plain(port) });
    mailer.send(mail_to("ann@example.com"));
    mailer.send(mail_to("bob@example.com"));
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(mailer.under_way(), 2);
    let server = Setup::plain().on(port).start();
    settled(&mailer).await;
    let mut to = [server.next("mail"), server.next("mail")].map(|mail| mail["recipients"][0].clone());
    to.sort_by_key(ToString::to_string);
    assert_eq!(to, ["ann@example.com", "bob@example.com"]);
    assert!(drops.all().is_empty());
    let log = log.text();
    assert_eq!(log.matches("mail cannot be sent now").count(), 1, "an outage is told once: {log}");
    assert!(log.contains("mail can be sent again") && !log.contains(TOKEN), "{log}");
}

#[tokio::test]
async fn a10_a_mail_that_is_deferred_arrives_once_and_as_the_same_message() {
    if !server::is_installed() {
        return;
    }
    let answers = ["rcpt 451 4.7.1 Greylisted", "data 421 4.3.0 Later", "data 451 4.3.0 Later still"];
    let server = Setup::plain().answers(&answers).start();
    let (mailer, drops) = start(plain(server.port));
    mailer.send(mail_to("ann@example.com"));
    settled(&mailer).await;
    assert!(drops.all().is_empty(), "{:?}", drops.all());
    server.next("refused");
    let deferred = server.next("refused");
    let mail = server.next("mail");
    assert_eq!(headers(&deferred, "Message-ID"), headers(&mail, "Message-ID"));
    assert!(!server.rest().contains(&"mail".to_owned()));
}

#[tokio::test]
async fn a10_a_mail_that_is_refused_is_dropped_at_once_and_told_without_its_token() {
    if !server::is_installed() {
        return;
    }
    for answer in ["rcpt 550 5.1.1 No such user", "data 554 5.7.1 Spam: LINK"] {
        let server = Setup::plain().answers(&[answer]).start();
        let (log, _kept) = Log::keep();
        let (mailer, drops) = start(plain(server.port));
        mailer.send(mail_to("ann@example.com"));
        settled(&mailer).await;
        assert_eq!(drops.all(), ["mail_refused"]);
        assert_eq!(server.rest(), ["connection", "refused"], "it is offered once");
        let log = log.text();
        let words = ["a mail was not sent", "ann@example.com", "mail_refused", &answer[9..20]];
        assert!(words.iter().all(|word| log.contains(word)), "{log}");
        assert!(!log.contains(&TOKEN[..12]) && !log.contains(&TOKEN[TOKEN.len() - 12..]), "{log}");
    }
}

#[tokio::test]
async fn a10_a_server_that_never_takes_a_mail_is_given_up() {
    if !server::is_installed() {
        return;
    }
    let server = Setup::plain().answers(&["rcpt 450 4.2.0 Busy"; 20]).start();
    let (mailer, drops) = start(plain(server.port));
    mailer.send(mail_to("ann@example.com"));
    settled(&mailer).await;
    assert_eq!(drops.all(), ["mail_deferred"]);
    assert_eq!(server.rest().iter().filter(|event| *event == "refused").count(), 5, "one more attempt than pauses");
}

/// Takes connections and never says a word.
fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn a10_nobody_waits_for_a_server_that_does_not_answer_or_notices_a_full_queue() {
    let (_listener, port) = silent();
    let (mailer, drops) = start(plain(port));
    let mails: Vec<_> = (0..1100).map(|i| mail_to(&format!("u{i}@example.com"))).collect();
    let mut longest = Duration::ZERO;
    for mail in mails {
        let begun = Instant::now();
        mailer.send(mail);
        longest = longest.max(begun.elapsed());
    }
    assert!(longest < Duration::from_millis(100), "{longest:?}");
    assert_eq!(mailer.under_way(), 1000);
    assert_eq!(drops.all(), ["mail_queue_full"; 100]);
}

#[tokio::test]
async fn a10_a_stop_gives_what_waits_one_more_attempt_at_once() {
    if !server::is_installed() {
        return;
    }
    let port = Setup::plain().start().port;
    let (mailer, drops) = start(SmtpConfig { retries: vec![HOUR; 3], ..plain(port) });
    mailer.send(mail_to("ann@example.com"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let server = Setup::plain().on(port).start();
    assert_eq!(mailer.flush(Duration::from_secs(10)).await, 0);
    server.next("mail");
    assert!(drops.all().is_empty());
}

#[tokio::test]
async fn a10_a_stop_waits_no_longer_than_it_was_told() {
    let (_listener, port) = silent();
    let (mailer, _) = start(plain(port));
    mailer.send(mail_to("ann@example.com"));
    let begun = Instant::now();
    assert_eq!(mailer.flush(Duration::from_millis(300)).await, 1);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}
