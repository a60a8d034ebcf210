//! The catcher: mail that is kept instead of being sent.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::{Mail, Mailer};

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
