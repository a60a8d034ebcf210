//! How many mails one mailbox may be sent, so that nobody can fill a stranger's by registering or forgetting in their
//! name.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use portcullis_core::Timestamp;

use crate::policy::Email;

/// The time that is looked back over.
const WINDOW: Duration = Duration::from_secs(3600);
/// Mails that are remembered over all mailboxes. When there are more within the window, the oldest are forgotten first:
/// bounded memory is worth more here than the last mailbox of a flood.
const MAX_REMEMBERED: usize = 100_000;

/// A mailbox and a kind of mail. Kinds are counted apart, so that whoever exhausts one cannot keep another from its owner.
type Key = (Box<str>, &'static str);

/// Counts what each mailbox was sent within the last hour.
#[derive(Debug)]
pub(super) struct Allowance {
    per_recipient: u32,
    sent: VecDeque<(Timestamp, Key)>,
    counts: HashMap<Key, u32>,
}

impl Allowance {
    pub(super) fn new(per_recipient: u32) -> Self {
        Self { per_recipient, sent: VecDeque::new(), counts: HashMap::new() }
    }

    /// Whether a mail may go out now; counts it then.
    pub(super) fn take(&mut self, to: &Email, subject: &'static str, now: Timestamp) -> bool {
        self.forget(now);
        let key = (mailbox(to), subject);
        let count = self.counts.entry(key.clone()).or_default();
        if *count >= self.per_recipient {
            return false;
        }
        *count += 1;
        self.sent.push_back((now, key));
        true
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.sent.front()
            && (at.after(WINDOW) <= now || self.sent.len() >= MAX_REMEMBERED)
        {
            let Some((_, key)) = self.sent.pop_front() else { return };
            if let Some(count) = self.counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&key);
                }
            }
        }
    }
}

/// The mailbox behind an address. What follows a `+` is a label that most servers deliver to the same mailbox, and
/// anybody can make up any number of labels.
fn mailbox(to: &Email) -> Box<str> {
    let text = to.as_str();
    match text.rsplit_once('@') {
        Some((local, domain)) => match local.split_once('+') {
            Some((name, _)) if !name.is_empty() => format!("{name}@{domain}").into(),
            _ => text.into(),
        },
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(text: &str) -> Email {
        Email::parse(text).unwrap()
    }

    #[test]
    fn a10_a_mailbox_gets_so_many_of_a_kind_in_any_hour() {
        let mut allowance = Allowance::new(2);
        let at = |minute: u64| Timestamp::from_secs(minute * 60);
        assert!(allowance.take(&to("ann@example.com"), "a", at(0)));
        assert!(allowance.take(&to("Ann+shop@example.com"), "a", at(30)), "labels lead to the same mailbox");
        assert!(!allowance.take(&to("ann+other@example.com"), "a", at(59)));
        assert!(allowance.take(&to("ann@example.com"), "b", at(59)), "another kind is counted apart");
        assert!(allowance.take(&to("bob@example.com"), "a", at(59)));
        assert!(allowance.take(&to("ann@example.com"), "a", at(60)), "the first is an hour ago");
        assert!(!allowance.take(&to("ann@example.com"), "a", at(60)));
    }

    #[test]
    fn what_is_an_hour_ago_takes_no_memory() {
        let mut allowance = Allowance::new(1);
        for i in 0..1000 {
            assert!(allowance.take(&to(&format!("u{i}@example.com")), "a", Timestamp::EPOCH));
        }
        assert!(allowance.take(&to("ann@example.com"), "a", Timestamp::EPOCH.after(WINDOW)));
        assert_eq!((allowance.sent.len(), allowance.counts.len()), (1, 1));
    }

    #[test]
    fn a_flood_over_ever_new_mailboxes_is_bounded_in_memory() {
        let mut allowance = Allowance::new(1);
        for i in 0..MAX_REMEMBERED + 500 {
            assert!(allowance.take(&to(&format!("u{i}@example.com")), "a", Timestamp::EPOCH));
        }
        assert_eq!((allowance.sent.len(), allowance.counts.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
    }
}
