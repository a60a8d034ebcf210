//! Mail by SMTP, against a real server in a process of its own (A10).

#![expect(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

mod hostile;
mod outage;
mod protection;
#[path = "../support/smtp.rs"]
mod server;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_core::{Clock, Event, EventKind, EventSink, Timestamp};
use portcullis_identity::{Email, LetterKind, Mail, Mailer as _, SmtpConfig, SmtpMailer, SmtpProtection};
use server::{Setup, headers, part};

/// What a token looks like.
const TOKEN: &str = "q3Jx9_0vKc7wLrT2mZs8Yf1uN5bHd4Ga-x0PqRsTuVw";

struct Still;

impl Clock for Still {
    fn raise(&self, _: Timestamp) {}

    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }
}

/// Keeps why mails were dropped.
#[derive(Default)]
pub(crate) struct Drops(Mutex<Vec<&'static str>>);

impl EventSink for Drops {
    fn record(&self, event: Event) {
        assert_eq!(event.kind, EventKind::MailDropped);
        self.0.lock().unwrap().push(event.reason.unwrap());
    }
}

impl Drops {
    pub(crate) fn all(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

/// What was logged while it lives, on this thread.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn keep() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let kept = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || kept.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Without TLS, on this port, with short pauses between five attempts.
pub(crate) fn plain(port: u16) -> SmtpConfig {
    SmtpConfig {
        host: "127.0.0.1".to_owned(),
        port,
        protection: SmtpProtection::None,
        authorities: None,
        login: None,
        from: "The Gate <gate@example.com>".parse().unwrap(),
        per_recipient: 5,
        retries: [50, 200, 500, 1000].map(Duration::from_millis).to_vec(),
    }
}

pub(crate) fn start(config: SmtpConfig) -> (SmtpMailer, Arc<Drops>) {
    let drops = Arc::<Drops>::default();
    (SmtpMailer::start(config, Arc::new(Still), Arc::clone(&drops) as _).unwrap(), drops)
}

pub(crate) fn mail_to(address: &str) -> Mail {
    let link = format!("https://gate.example.com/auth/verify?token={TOKEN}");
    Mail {
        to: Email::parse(address).unwrap(),
        kind: LetterKind::Verify,
        subject: "Confirm your e-mail address".into(),
        text: format!("Welcome!\n\n{link}\n\n.\nA line with a dot is no end.\n"),
        html: format!("<p><a href=\"{link}\">Confirm — now</a></p>\n"),
        at: Still.now(),
    }
}

/// Waits until nothing is under way any more.
pub(crate) async fn settled(mailer: &SmtpMailer) {
    for _ in 0..1500 {
        if mailer.under_way() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} mails are still under way", mailer.under_way());
}

#[tokio::test]
async fn a10_a_mail_arrives_as_it_was_written() {
    if !server::is_installed() {
        return;
    }
    let server = Setup::plain().start();
    let (mailer, drops) = start(plain(server.port));
    mailer.send(mail_to("Ann@Example.com"));
    settled(&mailer).await;
    let mail = server.next("mail");
    assert_eq!((&mail["sender"], &mail["recipients"]), (&"gate@example.com".into(), &vec!["ann@example.com"].into()));
    assert_eq!((&mail["protected"], &mail["hello"]), (&false.into(), &"example.com".into()));
    assert_eq!(headers(&mail, "From"), ["The Gate <gate@example.com>"]);
    assert_eq!(headers(&mail, "To"), ["ann@example.com"]);
    assert_eq!(headers(&mail, "Subject"), ["Confirm your e-mail address"]);
    assert_eq!(headers(&mail, "Date"), ["Fri, 15 Jan 2027 08:00:00 +0000"]);
    assert_eq!(headers(&mail, "Auto-Submitted"), ["auto-generated"]);
    assert_eq!(headers(&mail, "Message-ID").len(), 1);
    let written = mail_to("ann@example.com");
    assert_eq!(part(&mail, "text/plain").replace("\r\n", "\n"), written.text);
    assert_eq!(part(&mail, "text/html").replace("\r\n", "\n"), written.html);
    assert!(drops.all().is_empty());
}

#[tokio::test]
async fn a10_a_mailbox_is_not_filled_by_a_stranger() {
    if !server::is_installed() {
        return;
    }
    let server = Setup::plain().start();
    let (mailer, drops) = start(SmtpConfig { per_recipient: 2, ..plain(server.port) });
    for address in ["ann@example.com", "ANN@example.com", "ann+1@example.com", "ann+2@example.com", "bob@example.com"] {
        mailer.send(mail_to(address));
    }
    settled(&mailer).await;
    let arrived = server.rest().into_iter().filter(|event| event == "mail").count();
    assert_eq!((arrived, drops.all()), (3, vec!["mail_recipient_limit"; 2]));
}
