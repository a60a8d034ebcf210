//! How slowly a request body may stream in.
//!
//! Between two pieces a client has so long, and in all it may let itself be waited for that long and a second more for every so
//! many bytes that came. Only waiting for the client counts: an upstream that takes its time costs it nothing. Whoever sends by
//! drops, each of them in time, would otherwise hold two connections for as long as the body may be large.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::listen::{TICK, Tick};

/// The patience with one body.
#[derive(Debug)]
pub(super) struct Pace {
    /// Between two pieces, and to begin with.
    grace: Duration,
    /// Bytes that buy a second.
    rate: Option<NonZeroU64>,
    received: u64,
    /// Ticks that it was waited for, up to the last piece.
    waited: u64,
    since: Option<Tick>,
}

impl Pace {
    /// A body of which nothing has been asked for yet. `rate` is in bytes per second; 0 lets it come as slowly as it likes.
    pub(super) const fn new(grace: Duration, rate: u64) -> Self {
        Self { grace, rate: NonZeroU64::new(rate), received: 0, waited: 0, since: None }
    }

    /// From now on the client is waited for. Returns for how long.
    pub(super) fn wait(&mut self, now: Tick) -> Duration {
        self.since = Some(now);
        let Some(rate) = self.rate else { return self.grace };
        let earned = Duration::from_millis(self.received.saturating_mul(1_000) / rate);
        let waited = TICK.saturating_mul(u32::try_from(self.waited).unwrap_or(u32::MAX));
        self.grace.saturating_add(earned).saturating_sub(waited).min(self.grace)
    }

    /// So many bytes came, or the end.
    pub(super) fn came(&mut self, bytes: usize, now: Tick) {
        if let Some(since) = self.since.take() {
            self.waited = self.waited.saturating_add(now.since(since));
        }
        self.received = self.received.saturating_add(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits so many ticks for each of these pieces; the tick at which patience ends, if it does.
    fn ends(mut pace: Pace, pieces: impl Iterator<Item = (u64, usize)>) -> Option<u64> {
        let mut now = 0;
        for (ticks, bytes) in pieces {
            let patience = pace.wait(Tick::at(now));
            if patience < TICK * u32::try_from(ticks).unwrap() {
                return Some(now + u64::try_from(patience.as_millis() / TICK.as_millis()).unwrap());
            }
            now += ticks;
            pace.came(bytes, Tick::at(now));
        }
        None
    }

    const GRACE: Duration = Duration::from_secs(30);
    const SECOND: u64 = 20;

    #[test]
    fn h5_drops_end_when_the_time_that_they_bought_is_used_up() {
        // 50 bytes a second buy a tenth of the time that they take.
        let drops = std::iter::repeat_n((SECOND, 50), 1_000);
        let end = ends(Pace::new(GRACE, 500), drops).unwrap();
        assert!((33 * SECOND..=34 * SECOND).contains(&end), "{end}");
        // One byte at a time, as late as each may come.
        let end = ends(Pace::new(GRACE, 500), std::iter::repeat_n((29 * SECOND, 1), 1_000)).unwrap();
        assert!((30 * SECOND..=31 * SECOND).contains(&end), "{end}");
        // Twenty pieces within each tick: none of them waits for a whole one, and all of them together do.
        let quick = (0..).map(|piece| (u64::from(piece % 20 == 0), 1));
        assert!(ends(Pace::new(GRACE, 500), quick.take(1_000_000)).is_some());
    }

    #[test]
    fn h5_whoever_keeps_the_pace_goes_on_and_may_rest() {
        assert_eq!(ends(Pace::new(GRACE, 500), std::iter::repeat_n((SECOND, 500), 10_000)), None);
        // What came fast is not forgotten: a pause is bought by it, though none longer than any may be.
        let rests = [(0, 100_000)].into_iter().chain(std::iter::repeat_n((29 * SECOND, 1), 7));
        assert_eq!(ends(Pace::new(GRACE, 500), rests), None);
        assert_eq!(ends(Pace::new(GRACE, 500), [(0, 100_000), (31 * SECOND, 1)].into_iter()), Some(30 * SECOND));
    }

    #[test]
    fn h5_no_pace_is_asked_where_the_rate_is_none() {
        assert_eq!(ends(Pace::new(GRACE, 0), std::iter::repeat_n((29 * SECOND, 1), 10_000)), None);
        assert_eq!(ends(Pace::new(GRACE, 0), [(31 * SECOND, 1)].into_iter()), Some(30 * SECOND));
    }

    #[test]
    fn what_is_not_waited_for_does_not_count() {
        let mut pace = Pace::new(GRACE, 500);
        for second in 0..1_000 {
            // The upstream took its time between two pieces that were there at once.
            pace.came(1, Tick::at(second * SECOND));
        }
        assert_eq!(pace.wait(Tick::at(1_000 * SECOND)), GRACE);
    }
}
