//! What keeps a flood of requests from becoming a flood of lines.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use portcullis_core::{Event, EventKind, Timestamp};

use super::line::Line;

/// Different keys that are told apart in one minute. Further ones are summed up without their client and their rule.
const MAX_KEYS: usize = 16_384;

/// Sums up equal events: the first of a minute is a line at once, the rest of the minute is one more line with their
/// number. The numbers of all lines add up to the number of events.
#[derive(Debug, Default)]
pub(super) struct Aggregator {
    minute: u64,
    keys: HashMap<Key, Repeats>,
}

/// What makes two events equal. The user and the reason are part of it, so that a summary never says of one account or
/// one cause what was true of another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    kind: EventKind,
    client: Option<IpAddr>,
    user: Option<Box<str>>,
    route: Option<Arc<str>>,
    limit: Option<Arc<str>>,
    reason: Option<&'static str>,
    rule: Option<Box<str>>,
}

#[derive(Debug, Default)]
struct Repeats {
    count: u64,
    first: Option<Timestamp>,
    last: Option<Event>,
}

impl Aggregator {
    /// Takes an event; gives back a line if it is to be written at once.
    pub(super) fn take(&mut self, event: Event) -> Option<Line> {
        if !is_cheap_to_cause(event.kind) {
            return Some(Line::once(event));
        }
        let mut key = Key {
            kind: event.kind,
            client: event.client,
            user: event.user.clone(),
            route: event.route.clone(),
            limit: event.limit.clone(),
            reason: event.reason,
            rule: event.rule.clone(),
        };
        let mut crowd = false;
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(&key) {
            crowd = true;
            key.client = None;
            key.user = None;
            // It may hold a name that a client made up, of which there is no end.
            key.rule = None;
        }
        match self.keys.get_mut(&key) {
            Some(repeats) => {
                repeats.count += 1;
                repeats.first.get_or_insert(event.at);
                let mut event = event;
                event.client = key.client;
                event.user = key.user;
                event.rule = key.rule;
                if crowd {
                    event.request_id = None;
                }
                repeats.last = Some(event);
                None
            }
            None => {
                self.keys.insert(key, Repeats::default());
                Some(Line::once(event))
            }
        }
    }

    /// The summaries of the minute that has ended, if one has.
    pub(super) fn turn(&mut self, now: Timestamp) -> Vec<Line> {
        let minute = now.as_secs() / 60;
        if minute == self.minute {
            return Vec::new();
        }
        self.minute = minute;
        self.finish()
    }

    /// The summaries of everything that was held back.
    pub(super) fn finish(&mut self) -> Vec<Line> {
        let mut lines: Vec<Line> = self
            .keys
            .drain()
            .filter_map(|(_, repeats)| Some(Line { event: repeats.last?, count: repeats.count, since: repeats.first }))
            .collect();
        if self.keys.capacity() > 2 * 1_024 {
            self.keys.shrink_to(1_024);
        }
        lines.sort_unstable_by_key(|line| line.event.at);
        lines
    }
}

/// Whether a stranger can cause such events as fast as he can send. The others are rare, and each deserves its line.
const fn is_cheap_to_cause(kind: EventKind) -> bool {
    match kind {
        EventKind::Refused
        | EventKind::LimitHit
        | EventKind::LimitWouldHit
        | EventKind::LimitsDisagree
        | EventKind::LimitSlowed
        | EventKind::LoginFailed
        | EventKind::RefreshGrace
        | EventKind::RefreshReuse
        | EventKind::ContentReported
        | EventKind::UpstreamFailed
        | EventKind::MailDropped
        | EventKind::LoginsExhausted
        | EventKind::AddressSuspect
        | EventKind::AddressBad
        | EventKind::Http2Flood => true,
        EventKind::LoginSucceeded
        | EventKind::Reloaded
        | EventKind::ReloadRefused
        | EventKind::CertificatesReloaded
        | EventKind::CertificatesRefused
        | EventKind::CertificateObtained
        | EventKind::CertificateOrderFailed
        | EventKind::LimitStoreLost
        | EventKind::LimitStoreBack
        | EventKind::LimitStoreForgot => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(secs: u64, client: u32) -> Event {
        let mut event = Event::new(Timestamp::from_secs(secs), EventKind::LimitHit);
        event.client = Some(IpAddr::from(client.to_be_bytes()));
        event.limit = Some("login".into());
        event
    }

    #[test]
    fn w1_the_first_is_told_at_once_and_the_rest_once_a_minute() {
        let mut aggregator = Aggregator::default();
        assert!(aggregator.turn(Timestamp::from_secs(60)).is_empty());
        assert_eq!(aggregator.take(hit(60, 1)).unwrap().count, 1);
        for second in 61..100 {
            assert!(aggregator.take(hit(second, 1)).is_none());
        }
        assert!(aggregator.take(hit(99, 2)).is_some());
        assert!(aggregator.turn(Timestamp::from_secs(119)).is_empty());
        let lines = aggregator.turn(Timestamp::from_secs(120));
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].count, 39);
        assert_eq!(lines[0].since, Some(Timestamp::from_secs(61)));
        assert_eq!(lines[0].event.at, Timestamp::from_secs(99));
        assert!(aggregator.take(hit(121, 1)).is_some(), "a new minute tells the first again");
    }

    #[test]
    fn w1_numbers_add_up_and_memory_is_bounded_under_a_flood_from_everywhere() {
        let mut aggregator = Aggregator::default();
        let mut told = 0;
        let events = 100_000;
        for client in 0..events {
            told += aggregator.take(hit(1, client)).map_or(0, |line| line.count);
        }
        assert!(aggregator.keys.len() <= MAX_KEYS + 1);
        let lines = aggregator.finish();
        let crowd = lines.iter().find(|line| line.event.client.is_none()).expect("the crowd has one line");
        assert!(crowd.event.request_id.is_none() && crowd.count > 1);
        told += lines.iter().map(|line| line.count).sum::<u64>();
        assert_eq!(told, u64::from(events));
    }

    #[test]
    fn different_reasons_and_users_are_never_summed_up_together() {
        let mut aggregator = Aggregator::default();
        for (user, reason) in [("a", "not_found"), ("a", "token_expired"), ("b", "not_found")] {
            let mut event = Event::new(Timestamp::EPOCH, EventKind::Refused);
            event.user = Some(user.into());
            event.reason = Some(reason);
            assert!(aggregator.take(event).is_some());
        }
    }

    #[test]
    fn rare_events_all_have_their_own_line() {
        let mut aggregator = Aggregator::default();
        for _ in 0..3 {
            assert!(aggregator.take(Event::new(Timestamp::EPOCH, EventKind::LoginSucceeded)).is_some());
        }
        assert!(aggregator.finish().is_empty());
    }
}
