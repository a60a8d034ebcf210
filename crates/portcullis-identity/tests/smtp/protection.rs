//! TLS: with it nobody but the server reads a mail or a password, and without it nobody gets one.

use portcullis_core::Secret;
use portcullis_identity::{Authorities, Mailer as _, SmtpConfig, SmtpLogin, SmtpProtection};

use crate::server::{self, Certificates, Setup};
use crate::{Log, TOKEN, mail_to, plain, settled, start};

const HERE: &str = "DNS:localhost,IP:127.0.0.1";
const PASSWORD: &str = "correct horse battery";

fn protected(port: u16, protection: SmtpProtection, certificates: &Certificates) -> SmtpConfig {
    SmtpConfig {
        protection,
        authorities: Some(Authorities::from_pem(&server::read(&certificates.authority())).unwrap()),
        login: Some(SmtpLogin { username: "gate".to_owned(), password: Secret::new(PASSWORD.to_owned()) }),
        ..plain(port)
    }
}

#[tokio::test]
async fn a10_mail_and_password_go_through_starttls_and_through_tls() {
    if !server::is_installed() {
        return;
    }
    let certificates = Certificates::of(HERE);
    for (name, protection) in [("starttls", SmtpProtection::Starttls), ("tls", SmtpProtection::Tls)] {
        for host in ["127.0.0.1", "localhost"] {
            let server = Setup::protected(name, &certificates).login("gate", PASSWORD).start();
            let config = protected(server.port, protection, &certificates);
            let (mailer, drops) = start(SmtpConfig { host: host.to_owned(), ..config });
            mailer.send(mail_to("ann@example.com"));
            settled(&mailer).await;
            assert!(drops.all().is_empty(), "{name} {host}: {:?}", drops.all());
            let mail = server.next("mail");
            assert_eq!((&mail["protected"], &mail["login"]), (&true.into(), &"gate".into()), "{name} {host}");
        }
    }
}

#[tokio::test]
async fn a10_a_server_with_another_certificate_gets_no_mail_and_no_password() {
    if !server::is_installed() {
        return;
    }
    let ours = Certificates::of(HERE);
    for (name, protection) in [("starttls", SmtpProtection::Starttls), ("tls", SmtpProtection::Tls)] {
        // One that another authority vouches for, one of another name, and one where only the web's are believed.
        let (stranger, misnamed) = (Certificates::of(HERE), Certificates::of("DNS:mail.example.org"));
        for (shown, believed) in [(&stranger, Some(&ours)), (&misnamed, Some(&misnamed)), (&ours, None)] {
            let server = Setup::protected(name, shown).login("gate", PASSWORD).start();
            let mut config = protected(server.port, protection, believed.unwrap_or(&ours));
            if believed.is_none() {
                config.authorities = None;
            }
            config.retries.truncate(1);
            let (log, _kept) = Log::keep();
            let (mailer, drops) = start(config);
            mailer.send(mail_to("ann@example.com"));
            settled(&mailer).await;
            assert_eq!(drops.all(), ["mail_server_not_trusted"], "{name}: {}", log.text());
            let told = server.rest();
            assert!(told.iter().all(|event| event == "connection"), "{name}: {told:?}");
            assert!(log.text().contains("certificate") && !log.text().contains(TOKEN), "{}", log.text());
        }
    }
}

#[tokio::test]
async fn a10_a_server_without_starttls_gets_no_mail_and_no_password() {
    if !server::is_installed() {
        return;
    }
    let certificates = Certificates::of(HERE);
    let server = Setup::plain().login("gate", PASSWORD).start();
    for protection in [SmtpProtection::Starttls, SmtpProtection::Tls] {
        let (mailer, drops) = start(protected(server.port, protection, &certificates));
        mailer.send(mail_to("ann@example.com"));
        settled(&mailer).await;
        assert_eq!(drops.all().len(), 1);
    }
    let told = server.rest();
    assert!(told.iter().all(|event| event == "connection"), "{told:?}");
}

#[tokio::test]
async fn a10_a_wrong_password_of_the_mail_server_is_told_and_tried_again() {
    if !server::is_installed() {
        return;
    }
    let certificates = Certificates::of(HERE);
    let server = Setup::protected("starttls", &certificates).login("gate", "another").start();
    let (log, _kept) = Log::keep();
    let (mailer, drops) = start(protected(server.port, SmtpProtection::Starttls, &certificates));
    mailer.send(mail_to("ann@example.com"));
    settled(&mailer).await;
    assert_eq!(drops.all(), ["mail_login_refused"]);
    assert_eq!(server.rest().iter().filter(|event| *event == "login").count(), 5);
    assert!(!log.text().contains(PASSWORD) && !log.text().contains(TOKEN), "{}", log.text());
}

#[test]
fn a_file_without_an_authority_is_refused() {
    for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(Authorities::from_pem(pem.as_bytes()).is_err(), "{pem}");
    }
}
