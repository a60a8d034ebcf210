//! When a certificate is ordered. The authority is never asked again and again: what fails is tried later and later, and no
//! restart and no reload makes more orders of it than an hour may have.

use std::time::Duration;

use portcullis_core::Timestamp;
use serde::{Deserialize, Serialize};

/// No hour has more orders than this, whatever fails and however often the process is started.
pub(super) const ORDERS_PER_HOUR: usize = 4;

const HOUR: Duration = Duration::from_secs(3600);

/// How long to wait after the first failure, the second, and so on; the last one repeats.
const PAUSES: [u64; 7] = [5, 15, 30, 60, 120, 240, 360];

/// The longest word of an authority about waiting that is believed: a certificate that ends meanwhile helps nobody.
const LONGEST_WORD: Duration = Duration::from_secs(24 * 3600);

/// What is remembered of orders across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Ledger {
    /// When the latest orders began, in seconds since 1970.
    started: Vec<u64>,
    /// Until when the authority does not want to be asked.
    not_before: u64,
}

impl Ledger {
    /// When the next order may begin at the earliest.
    pub(super) fn free_at(&self) -> Timestamp {
        let told = Timestamp::from_secs(self.not_before);
        let Some(index) = self.started.len().checked_sub(ORDERS_PER_HOUR) else { return told };
        told.max(Timestamp::from_secs(self.started[index]).after(HOUR))
    }

    /// Counts an order that begins now.
    pub(super) fn begin(&mut self, now: Timestamp) {
        // A clock that was set back by a restart must not close the ledger until the future has come.
        self.started.retain(|at| *at <= now.as_secs());
        self.started.push(now.as_secs());
        let surplus = self.started.len().saturating_sub(ORDERS_PER_HOUR);
        self.started.drain(..surplus);
    }

    /// Stays away for as long as the authority says.
    pub(super) fn stay_away(&mut self, now: Timestamp, word: Duration) {
        self.not_before = now.after(word.min(LONGEST_WORD)).as_secs();
    }

    /// The same ledger as it is seen at this time: what lies in the future was written by another clock.
    pub(super) fn seen_at(mut self, now: Timestamp) -> Self {
        self.started.retain(|at| *at <= now.as_secs());
        self.not_before = self.not_before.min(now.after(LONGEST_WORD).as_secs());
        self
    }
}

/// How long to wait after so many failures in a row; `chance` is between 0 and 1, so that many gates that failed together do
/// not come back together.
pub(super) fn pause(failures: usize, chance: f64) -> Duration {
    let minutes = PAUSES[failures.clamp(1, PAUSES.len()) - 1];
    Duration::from_secs(60 * minutes).mul_f64(1.0 + chance.clamp(0.0, 1.0) / 10.0)
}

/// When a certificate is renewed: two thirds through its life, or a little earlier by chance (up to a twentieth of it).
pub(super) fn renewal(not_before: Timestamp, not_after: Timestamp, chance: f64) -> Timestamp {
    let life = not_after.since(not_before);
    not_before.after(life * 2 / 3).before(life.mul_f64(chance.clamp(0.0, 1.0) / 20.0))
}

/// When a certificate is renewed by the authority's own word (RFC 9773 §4.2): at a moment by chance in the window that it
/// suggests; `None` for a window that is none, or that lies where the certificate would have ended.
pub(super) fn suggested(start: i64, end: i64, not_after: Timestamp, chance: f64) -> Option<Timestamp> {
    let [start, end] = [start, end].map(|at| u64::try_from(at).unwrap_or(0));
    if end <= start || end >= not_after.as_secs() {
        return None;
    }
    let into = Duration::from_secs(end - start).mul_f64(chance.clamp(0.0, 1.0));
    Some(Timestamp::from_secs(start).after(into))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn minutes(count: u64) -> Timestamp {
        START.after(Duration::from_secs(60 * count))
    }

    #[test]
    fn h6_acme_no_hour_has_more_than_four_orders_whoever_asks_for_them() {
        let mut ledger = Ledger::default();
        for minute in 0..4 {
            assert!(ledger.free_at() <= minutes(minute), "{ledger:?}");
            ledger.begin(minutes(minute));
        }
        assert_eq!(ledger.free_at(), minutes(60));
        ledger.begin(minutes(60));
        assert_eq!(ledger.free_at(), minutes(61));
        let text = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
    }

    #[test]
    fn h6_acme_the_authoritys_word_about_waiting_counts_and_has_its_bound() {
        let mut ledger = Ledger::default();
        ledger.stay_away(START, Duration::from_secs(7200));
        assert_eq!(ledger.free_at(), minutes(120));
        ledger.stay_away(START, Duration::from_secs(u64::MAX / 4));
        assert_eq!(ledger.free_at(), minutes(24 * 60));
    }

    #[test]
    fn what_another_clock_wrote_into_the_future_stops_nobody() {
        let mut ledger = Ledger::default();
        for minute in 0..4 {
            ledger.begin(minutes(10_000 + minute));
        }
        ledger.stay_away(minutes(10_000), Duration::from_secs(60));
        let seen = ledger.seen_at(START);
        assert!(seen.free_at() <= START.after(LONGEST_WORD), "{seen:?}");
        assert!(seen.started.is_empty());
    }

    #[test]
    fn h6_acme_failures_are_tried_again_later_and_later() {
        let pauses: Vec<u64> = (1..=9).map(|failures| pause(failures, 0.0).as_secs() / 60).collect();
        assert_eq!(pauses, [5, 15, 30, 60, 120, 240, 360, 360, 360]);
        assert_eq!(pause(1, 1.0), Duration::from_secs(330));
    }

    #[test]
    fn h6_acme_a_certificate_is_renewed_two_thirds_through_its_life() {
        let end = START.after(Duration::from_secs(90 * 86_400));
        assert_eq!(renewal(START, end, 0.0), START.after(Duration::from_secs(60 * 86_400)));
        assert_eq!(renewal(START, end, 1.0), START.after(Duration::from_secs(60 * 86_400 - 388_800)));
    }

    #[test]
    fn h6_acme_the_window_that_the_authority_suggests_counts_unless_it_comes_too_late() {
        let (start, end) = (minutes(10), minutes(20));
        let seconds = |at: Timestamp| i64::try_from(at.as_secs()).unwrap();
        let pick = |chance| suggested(seconds(start), seconds(end), minutes(100), chance);
        assert_eq!(pick(0.0), Some(start));
        assert_eq!(pick(0.5), Some(minutes(15)));
        assert_eq!(suggested(seconds(end), seconds(start), minutes(100), 0.5), None);
        assert_eq!(suggested(seconds(start), seconds(end), minutes(20), 0.5), None);
        assert_eq!(suggested(-5, -1, minutes(20), 0.5), None);
    }
}
