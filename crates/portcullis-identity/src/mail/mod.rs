//! Mail: a port that queues, the letters that go through it, and who takes them: the catcher of the demo, or a server by
//! SMTP.

mod allowance;
mod catcher;
mod failure;
pub(crate) mod letter;
mod message;
mod sender;
mod smtp;

use portcullis_core::Timestamp;

use crate::policy::Email;

pub use catcher::MailCatcher;
pub use sender::{Sender, SenderError};
pub use smtp::{Authorities, SmtpConfig, SmtpError, SmtpLogin, SmtpMailer, SmtpProtection};

/// One mail. Its `Debug` keeps the text to itself: the link inside is a credential.
#[derive(Clone)]
pub struct Mail {
    /// To whom.
    pub to: Email,
    /// One line of ours.
    pub subject: &'static str,
    /// The text; it may hold a token, so it goes to no log.
    pub text: String,
    /// The same as HTML, for the same eyes only.
    pub html: String,
    /// When it was written.
    pub at: Timestamp,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail").field("to", &self.to).field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// Takes mail off a flow. Implementations queue: they neither block nor fail, so that no answer tells by its time or
/// status whether a mail was sent.
pub trait Mailer: Send + Sync {
    /// Takes one mail.
    fn send(&self, mail: Mail);
}
