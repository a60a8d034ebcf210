//! Mail: a port that queues, and the catcher of the demo.

use std::collections::VecDeque;

use parking_lot::Mutex;
use portcullis_core::Timestamp;

use crate::policy::Email;

/// One mail, text only. Its `Debug` keeps the text to itself: the link inside is a credential.
#[derive(Clone)]
pub struct Mail {
    /// To whom.
    pub to: Email,
    /// One line of ours.
    pub subject: &'static str,
    /// The text; it may hold a token, so it goes to no log.
    pub text: String,
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

/// Keeps the last mails in memory, for the demo and for tests.
#[derive(Debug, Default)]
pub struct MailCatcher {
    mails: Mutex<VecDeque<Mail>>,
}

/// How many mails a catcher keeps.
const KEPT: usize = 200;

impl MailCatcher {
    /// The mails that are kept, oldest first.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.mails.lock().iter().cloned().collect()
    }
}

impl Mailer for MailCatcher {
    fn send(&self, mail: Mail) {
        let mut mails = self.mails.lock();
        if mails.len() == KEPT {
            mails.pop_front();
        }
        mails.push_back(mail);
    }
}

/// The subjects of our mails.
pub(crate) mod subject {
    /// For a new registration.
    pub(crate) const VERIFY: &str = "Confirm your e-mail address";
    /// For the owner of an address that somebody tried to register again.
    pub(crate) const KNOWN: &str = "You already have an account";
}

/// The texts of our mails. Nothing in them comes from a stranger but the link's token, which we drew.
pub(crate) mod text {
    use portcullis_core::Timestamp;

    /// For a new registration.
    pub(crate) fn verify(public_url: &str, token: &str, registered: Timestamp) -> String {
        format!(
            "Welcome!\n\nYour address was registered at {registered}. Please confirm it within 24 hours of that:\n\n{public_url}/auth/verify?token={token}\n\n\
             If you did not ask for an account, ignore this mail: without your confirmation none is made.\n"
        )
    }

    /// For the owner of an address that somebody tried to register again.
    pub(crate) fn already_registered(public_url: &str) -> String {
        format!(
            "Somebody, perhaps you, tried to register your e-mail address at {public_url} again.\n\nYou already have an \
             account; just log in. If it was not you, there is nothing to do: your account is untouched.\n"
        )
    }
}
