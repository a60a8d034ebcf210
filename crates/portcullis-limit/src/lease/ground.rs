//! What is known of the store that portions come from: who it is, what it lost, and what time it is there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use portcullis_core::Timestamp;
use tokio::time::Instant;

use crate::rate::{Algorithm, Rate};
use crate::store::{Identity, Pulse};

/// A store whose mark is younger, and which nobody says has lost anything, is not leased from yet: an instance that knew
/// another mark finds that out, and says so, within this time. It is pinged twice a second, and reconnected to within 0.8 s.
const SETTLES: Duration = Duration::from_secs(3);
/// By how much two clocks may differ over a time: NTP slews by half of that at most, quartz by a tenth.
pub(super) const DRIFT: u32 = 1000;
/// How far a clock may seem to jump because of what a system does between two readings.
pub(super) const JITTER: Duration = Duration::from_millis(100);

/// What is known of the store.
#[derive(Debug, Default)]
pub(super) struct Ground {
    /// Counts up when what is held is worth nothing any more; 0 while nothing is known.
    generation: AtomicU64,
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    pulse: Pulse,
    /// When it was asked for and when it was told.
    asked: Instant,
    told: Instant,
}

/// Whether portions of a rate may be taken.
#[derive(Debug)]
pub(super) enum Footing {
    /// The store was not asked yet.
    Unknown,
    /// Not before `until`; it is `now` there.
    Closed { until: Timestamp, now: Timestamp, generation: u64 },
    /// From the store of this mark.
    Open { mark: Identity, generation: u64 },
}

impl Ground {
    /// The number of the ground that stands; what was taken on another is worth nothing.
    #[inline]
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Learns what the store told between two moments; `true` if it says of a loss that was not known here.
    pub(super) fn learn(&self, pulse: Pulse, asked: Instant, told: Instant) -> bool {
        let mut known = self.known.lock();
        // Two questions may overtake each other; what was asked earlier is no news.
        if known.as_ref().is_some_and(|before| asked < before.asked) {
            return false;
        }
        let held = known.as_ref().and_then(|before| before.pulse.lost);
        let has_lost = pulse.lost.is_some() && pulse.lost != held;
        let same = known.as_ref().is_some_and(|before| {
            let named = before.pulse.mark == pulse.mark && before.pulse.resets == pulse.resets;
            named && before.flows_into(&pulse, asked, told)
        });
        *known = Some(Known { pulse, asked, told });
        if !same {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        has_lost
    }

    /// Whether portions of this rate may be taken now.
    pub(super) fn footing(&self, rate: &Rate, now: Instant) -> Footing {
        let known = self.known.lock();
        let Some(Known { pulse, told, .. }) = known.as_ref() else { return Footing::Unknown };
        // Under the lock, so that all is of one moment.
        let generation = self.generation();
        let there = pulse.at.after(now.saturating_duration_since(*told));
        let until = match pulse.lost {
            Some(lost) => reopens(rate, lost),
            None => pulse.since.after(SETTLES),
        };
        if there < until {
            return Footing::Closed { until, now: there, generation };
        }
        Footing::Open { mark: pulse.mark.clone(), generation }
    }
}

/// Whether nothing is closed by what a store says of itself.
pub(crate) fn is_open(pulse: &Pulse) -> bool {
    pulse.lost.is_none() && pulse.since.after(SETTLES) <= pulse.at
}

impl Known {
    /// Whether the store's clock went on from here as ours did.
    fn flows_into(&self, later: &Pulse, asked: Instant, told: Instant) -> bool {
        let longest = told.saturating_duration_since(self.asked);
        let shortest = asked.saturating_duration_since(self.told);
        let slack = JITTER + longest / DRIFT;
        later.at >= self.pulse.at.after(shortest.saturating_sub(slack))
            && later.at <= self.pulse.at.after(longest + slack)
    }
}

/// The window that a moment of the store lies in, in nanoseconds, as stores over a network align it: in microseconds.
fn window(rate: &Rate) -> u64 {
    rate.quota().window_nanos().div_ceil(1000) * 1000
}

/// The first moment of the aligned window after that of a moment.
fn next_window(rate: &Rate, at: Timestamp) -> Timestamp {
    let window = window(rate);
    Timestamp::from_nanos((at.as_nanos() - at.as_nanos() % window).saturating_add(window))
}

/// Until when what is charged at a moment of the store may be spent: its aligned window's or period's end.
pub(super) fn ends(rate: &Rate, at: Timestamp) -> Timestamp {
    match rate.calendar() {
        Some(calendar) => calendar.around(at).end,
        None => next_window(rate, at),
    }
}

/// From when on a rate is leased again after a loss: as nobody knows what was admitted in the window of the loss, nothing
/// more is. A counter also weighs that window during the next.
fn reopens(rate: &Rate, lost: Timestamp) -> Timestamp {
    let end = ends(rate, lost);
    match rate.algorithm() {
        Algorithm::SlidingWindowCounter => end.after(Duration::from_nanos(window(rate))),
        _ => end,
    }
}

/// How long, counted from the moment a question was sent, an answer that gives so much time may be gone by: our clock may be
/// slower than the store's.
pub(super) fn cautiously(left: Duration) -> Duration {
    left.saturating_sub(left / DRIFT + Duration::from_millis(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;

    const AT: Timestamp = Timestamp::from_secs(1_000_030);

    fn rate(quota: &str, algorithm: Algorithm) -> Rate {
        Rate::new(quota.parse::<Quota>().unwrap(), algorithm, None).unwrap()
    }

    fn pulse(mark: &str, at: Timestamp) -> Pulse {
        let since = Timestamp::EPOCH;
        Pulse { mark: Identity::new(mark), at, since, lost: None, resets: Box::default() }
    }

    fn closed(ground: &Ground, rate: &Rate, now: Instant) -> Option<u64> {
        match ground.footing(rate, now) {
            Footing::Closed { until, .. } => Some(until.as_secs()),
            Footing::Open { .. } => None,
            Footing::Unknown => panic!("it is known"),
        }
    }

    #[test]
    fn l11_after_a_loss_a_rate_is_closed_for_the_window_of_the_loss_and_a_counter_for_the_next_too() {
        let (ground, now) = (Ground::default(), Instant::now());
        let fixed = rate("9 per minute", Algorithm::FixedWindow);
        assert!(matches!(ground.footing(&fixed, now), Footing::Unknown));
        ground.learn(Pulse { lost: Some(AT.before(Duration::from_secs(5))), ..pulse("a", AT) }, now, now);
        assert_eq!(closed(&ground, &fixed, now), Some(1_000_080));
        assert_eq!(closed(&ground, &fixed, now + Duration::from_secs(49)), Some(1_000_080));
        assert_eq!(closed(&ground, &fixed, now + Duration::from_secs(50)), None);
        let counter = rate("9 per minute", Algorithm::SlidingWindowCounter);
        assert_eq!(closed(&ground, &counter, now + Duration::from_secs(109)), Some(1_000_140));
        assert_eq!(closed(&ground, &counter, now + Duration::from_secs(110)), None);
        let day = rate("9 per day", Algorithm::Calendar);
        assert_eq!(closed(&ground, &day, now), Some(1_036_800));
    }

    #[test]
    fn l11_a_mark_that_is_new_has_to_settle() {
        let (ground, now) = (Ground::default(), Instant::now());
        let fixed = rate("9 per minute", Algorithm::FixedWindow);
        ground.learn(Pulse { since: AT, ..pulse("a", AT) }, now, now);
        assert_eq!(closed(&ground, &fixed, now + Duration::from_millis(2999)), Some(AT.as_secs() + 3));
        assert_eq!(closed(&ground, &fixed, now + SETTLES), None);
    }

    #[test]
    fn l11_another_mark_a_reset_and_a_clock_that_jumps_make_another_ground_and_a_late_answer_does_not() {
        let (ground, begun) = (Ground::default(), Instant::now());
        let learn = |pulse: Pulse, asked: u64, told: u64| {
            let before = ground.generation();
            let at = |millis| begun + Duration::from_millis(millis);
            ground.learn(pulse, at(asked), at(told));
            ground.generation() != before
        };
        let at = |millis| AT.after(Duration::from_millis(millis));
        assert!(learn(pulse("a", at(10)), 0, 20));
        assert!(!learn(pulse("a", at(1000)), 1000, 1020));
        assert!(!learn(pulse("a", at(500_000 + 590)), 500_000, 500_010), "a thousandth is drift");
        assert!(learn(pulse("a", at(500_000 + 1800)), 501_000, 501_010), "a jump ahead");
        assert!(learn(pulse("a", at(500_000 + 1500)), 502_000, 502_010), "a jump back");
        assert!(!learn(pulse("old", at(0)), 501_999, 509_000), "asked before what is known");
        assert!(learn(pulse("b", at(500_000 + 2500)), 503_000, 503_010));
        assert!(learn(Pulse { resets: "one".into(), ..pulse("b", at(500_000 + 3500)) }, 504_000, 504_010));
    }
}
