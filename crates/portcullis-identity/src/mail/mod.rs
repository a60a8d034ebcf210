//! Mail: a port that queues, the letters that go through it, and who takes them: the catcher of the demo, or a server by
//! SMTP.

mod allowance;
mod catcher;
mod failure;
mod letter;
mod letters;
mod message;
mod sender;
mod smtp;
mod template;

use std::sync::Arc;

use portcullis_core::Timestamp;

use crate::policy::Email;

pub use catcher::MailCatcher;
pub use letters::{LetterError, Letters};
pub use sender::{Sender, SenderError};
pub use smtp::{Authorities, SmtpConfig, SmtpError, SmtpLogin, SmtpMailer, SmtpProtection};

/// The letters that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LetterKind {
    /// For a new registration: the link that confirms the address.
    Verify,
    /// For the owner of an address that somebody tried to register again.
    AlreadyRegistered,
    /// For somebody who forgot their password: the link to set another.
    Reset,
    /// For the owner of an account whose password was changed.
    PasswordChanged,
    /// For a new address of an account: the link that confirms it.
    ConfirmEmail,
    /// For the present address of an account that is to get another.
    EmailChanging,
    /// For the former address of an account that got another.
    EmailChanged,
    /// For the owner of an account that was deleted.
    AccountDeleted,
}

impl LetterKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Verify,
        Self::AlreadyRegistered,
        Self::Reset,
        Self::PasswordChanged,
        Self::ConfirmEmail,
        Self::EmailChanging,
        Self::EmailChanged,
        Self::AccountDeleted,
    ];

    /// The stable word for this kind; an operator's files are named by it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::AlreadyRegistered => "already-registered",
            Self::Reset => "reset",
            Self::PasswordChanged => "password-changed",
            Self::ConfirmEmail => "confirm-email",
            Self::EmailChanging => "email-changing",
            Self::EmailChanged => "email-changed",
            Self::AccountDeleted => "account-deleted",
        }
    }
}

/// One mail. Its `Debug` keeps the text to itself: the link inside is a credential.
#[derive(Clone)]
pub struct Mail {
    /// To whom.
    pub to: Email,
    /// Which letter it is.
    pub kind: LetterKind,
    /// One line of ours or the operator's.
    pub subject: Arc<str>,
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

    /// Whether a mail would be taken, which counts it as one that was: for a flow that makes something void which nothing
    /// but this mail replaces. It goes on with [`Mailer::send_admitted`].
    fn admit(&self, _to: &Email, _kind: LetterKind, _at: Timestamp) -> bool {
        true
    }

    /// Takes a mail that was admitted.
    fn send_admitted(&self, mail: Mail) {
        self.send(mail);
    }
}
