//! A mail as a message of RFC 5322, with its text and its HTML as alternatives (RFC 2046 §5.1.4).

use std::time::{Duration, SystemTime};

use lettre::address::AddressError;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, Message};
use uuid::Uuid;

use super::{Mail, Sender};
use crate::policy::Email;

/// Why a mail cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwritable {
    #[error("the address is not one: {0}")]
    Address(#[from] AddressError),
    #[error("the message cannot be built: {0}")]
    Message(#[from] lettre::error::Error),
}

/// Writes a mail. Its id stays the same over all attempts, so that a server which took it twice, because an answer was
/// lost, can tell.
pub(super) fn write(sender: &Sender, mail: &Mail) -> Result<Message, Unwritable> {
    let from = Mailbox::new(sender.name.as_deref().map(str::to_owned), address(&sender.address)?);
    let id = format!("<{}@{}>", Uuid::new_v4(), domain(&sender.address));
    let message = Message::builder()
        .from(from)
        .to(Mailbox::new(None, address(&mail.to)?))
        .subject(mail.subject)
        .date(SystemTime::UNIX_EPOCH + Duration::from_secs(mail.at.as_secs()))
        .message_id(Some(id))
        .header(AutoSubmitted)
        .multipart(MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone()))?;
    Ok(message)
}

/// The domain of an address.
pub(super) fn domain(address: &Email) -> &str {
    address.as_str().rsplit_once('@').map_or("", |(_, domain)| domain)
}

fn address(email: &Email) -> Result<Address, AddressError> {
    email.as_str().parse()
}

/// `Auto-Submitted: auto-generated` (RFC 3834 §5): no vacation notice shall answer.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::Timestamp;

    use super::*;
    use crate::mail::letter;

    fn written(sender: &str, to: &str) -> String {
        let (to, at) = (Email::parse(to).unwrap(), Timestamp::EPOCH);
        let mail = letter::verify(to, "https://gate.example.com", "T0ken", at, at);
        String::from_utf8(write(&sender.parse().unwrap(), &mail).unwrap().formatted()).unwrap()
    }

    #[test]
    fn a10_a_message_has_every_header_that_it_needs_once_and_both_alternatives() {
        let message = written("The Gate <gate@example.com>", "Ann@Example.com");
        let (head, body) = message.split_once("\r\n\r\n").unwrap();
        for start in [
            "From: \"The Gate\" <gate@example.com>",
            "To: ann@example.com",
            "Subject: Confirm your e-mail address",
            "Date: Thu, 01 Jan 1970 00:00:00",
            "Message-ID: <",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: multipart/alternative;",
        ] {
            assert_eq!(head.lines().filter(|line| line.starts_with(start)).count(), 1, "{start} in\n{head}");
        }
        let (plain, html) = (body.find("text/plain").unwrap(), body.find("text/html").unwrap());
        assert!(plain < html, "the best alternative is the last");
        let body = body.replace("=\r\n", "").replace("=3D", "=");
        assert!(body.contains("\r\nhttps://gate.example.com/auth/verify?token=T0ken\r\n"), "{body}");
        assert!(!message.replace("\r\n", "").contains(['\r', '\n']), "no lone line ends");
    }

    #[test]
    fn a10_every_address_that_registers_can_be_written_to_and_stands_in_one_header() {
        for local in ["a", "o'neil", "a.b+c", "!#$%&'*+-/=?^_`{|}~", "x=y", &"l".repeat(64)] {
            let message = written("gate@example.com", &format!("{local}@mail.example.co.uk"));
            assert_eq!(message.matches("\r\nTo: ").count(), 1, "{message}");
        }
    }

    #[test]
    fn a_name_beyond_ascii_is_encoded_and_not_sent_as_it_is() {
        let message = written("Tor für alle <gate@example.com>", "ann@example.com");
        assert!(message.is_ascii() && message.contains("=?utf-8?"), "{message}");
    }
}
