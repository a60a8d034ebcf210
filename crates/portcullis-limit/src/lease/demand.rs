//! How much of a quota is worth holding: as much as the traffic needs for a moment, and never more than a small share of
//! what is left.

use std::time::Duration;

use tokio::time::Instant;

/// What is taken beyond what requests wait for is at most one part in so many of what is left. Towards its end a quota is
/// handed out in ever smaller portions, and its last units one request at a time.
pub(super) const SHARE: u64 = 16;
/// For how long a portion shall last.
const AHEAD: Duration = Duration::from_millis(250);
/// The shortest time that says anything about a rate.
const SHORTEST: Duration = Duration::from_millis(5);
/// How often it is looked for what was not needed.
const KEEPS: Duration = Duration::from_secs(1);

/// What a node's requests ask of one key.
#[derive(Debug)]
pub(super) struct Demand {
    /// Units in a second, as of late.
    per_second: f64,
    asked: u64,
    since: Instant,
    /// How many units shall be at hand after a portion was taken.
    want: u64,
    /// What was asked for since it was last looked for what is not needed, and when that was.
    lately: u64,
    looked: Instant,
}

impl Demand {
    pub(super) const fn new(now: Instant) -> Self {
        Self { per_second: 0.0, asked: 0, since: now, want: 0, lately: 0, looked: now }
    }

    /// Requests asked for units, whether they got them or not.
    pub(super) const fn note(&mut self, cost: u64) {
        self.asked = self.asked.saturating_add(cost);
        self.lately = self.lately.saturating_add(cost);
    }

    /// Sets how much is wanted, now that something is taken and so much is left of the quota.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is an estimate"
    )]
    pub(super) fn plan(&mut self, left: u64, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed >= SHORTEST {
            let rate = self.asked as f64 / passed.as_secs_f64();
            self.per_second = self.per_second.midpoint(rate);
            (self.asked, self.since) = (0, now);
        }
        self.want = (self.per_second * AHEAD.as_secs_f64()) as u64;
        self.limit(left);
    }

    /// Holds what is wanted to its share of what is left.
    pub(super) const fn limit(&mut self, left: u64) {
        if self.want > left / SHARE {
            self.want = left / SHARE;
        }
    }

    /// Nothing is wanted until requests wait for it.
    pub(super) const fn nothing(&mut self) {
        self.want = 0;
    }

    pub(super) const fn want(&self) -> u64 {
        self.want
    }

    /// From how few units on the next portion is taken, so that nobody has to wait for it.
    pub(super) const fn low(&self) -> u64 {
        self.want.div_ceil(2)
    }

    /// Of so many units, those that the last second had no need for; `None` while it is not over.
    pub(super) fn unneeded(&mut self, units: u64, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.looked) < KEEPS {
            return None;
        }
        let needed = std::mem::take(&mut self.lately);
        self.looked = now;
        Some(units.saturating_sub(needed))
    }

    /// Whether nobody asked for so long.
    pub(super) fn is_idle(&self, now: Instant, long: Duration) -> bool {
        self.lately == 0 && now.saturating_duration_since(self.since) >= long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l11_a_portion_is_a_quarter_of_a_seconds_traffic_and_a_sixteenth_of_what_is_left_at_most() {
        let begun = Instant::now();
        let mut demand = Demand::new(begun);
        demand.plan(1_000_000, begun);
        assert_eq!(demand.want(), 0, "nothing is known of its traffic");
        for second in 1..=20 {
            demand.note(1000);
            demand.plan(1_000_000, begun + Duration::from_secs(second));
        }
        assert_eq!((demand.want(), demand.low()), (249, 125));
        demand.limit(160);
        assert_eq!(demand.want(), 10);
        demand.limit(15);
        assert_eq!((demand.want(), demand.low()), (0, 0), "the last units go one request at a time");
    }

    #[test]
    fn l11_what_the_last_second_had_no_need_for_is_told_once_a_second() {
        let begun = Instant::now();
        let mut demand = Demand::new(begun);
        demand.note(3);
        let at = |millis| begun + Duration::from_millis(millis);
        assert_eq!(demand.unneeded(10, at(999)), None);
        assert_eq!(demand.unneeded(10, at(1000)), Some(7));
        assert_eq!(demand.unneeded(3, at(1500)), None);
        assert_eq!(demand.unneeded(3, at(2000)), Some(3));
        assert!(
            !demand.is_idle(at(2000), Duration::from_secs(10)) && demand.is_idle(at(10_000), Duration::from_secs(10))
        );
    }
}
