//! The process's clock: it follows the operating system's forward and never back, whoever sets that.
//!
//! Time is read from the monotonic clock, from a point at which it was compared with the operating system's. A chore compares
//! them anew several times a second. Where the operating system's is ahead, the process follows it; where it was set back,
//! the process goes on, a little slower, until the other has caught up. So what has expired stays expired, and no limit and
//! no lockout stands still.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use portcullis_core::{Clock, SystemClock, Timestamp};

/// How far the process's time may be ahead of the operating system's. Somebody's wrong time zone fits into a day. What is
/// more is held to be an error of the time before, which would otherwise outlive its repair by weeks.
pub const MAX_LEAD: Duration = portcullis_identity::MAX_LEAD;

/// A clock that is ahead loses one second in so many. A token of a quarter of an hour lives less than half a minute longer by
/// it, which is what verifiers tolerate between two machines; an hour is made up for in 32.
const LOSES_ONE_IN: u64 = 32;

/// A lead that is not worth slowing down for: less than what is lost between two comparisons.
const NO_LEAD: Duration = Duration::from_millis(20);

/// How often the clocks are compared.
const COMPARE: Duration = Duration::from_millis(250);

/// The clock that everything in the process reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessClock;

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        #[cfg(feature = "test-clock")]
        if let Some(stopped) = stopped() {
            return stopped;
        }
        KEPT.reading.load().at(KEPT.elapsed())
    }

    fn wall(&self) -> Timestamp {
        wall()
    }

    fn raise(&self, mark: Timestamp) {
        KEPT.change(|reading, elapsed| reading.raised(elapsed, mark));
    }
}

impl ProcessClock {
    /// How far the process's time is ahead of the operating system's.
    #[must_use]
    pub fn lead(self) -> Duration {
        self.now().since(self.wall())
    }

    /// Compares the clocks again and again, for as long as it is polled.
    pub async fn keep(self) {
        let mut poll = tokio::time::interval(COMPARE);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut was_behind = false;
        loop {
            poll.tick().await;
            let before = self.lead();
            compare();
            let behind = before > Duration::from_secs(1);
            if behind && !was_behind {
                warn(before);
            }
            was_behind = behind;
        }
    }
}

fn warn(lead: Duration) {
    let seconds = lead.as_secs();
    if lead > MAX_LEAD {
        tracing::error!(
            "the machine's clock was set back by {seconds} s, which is more than a day: time starts again from there, and what \
             expired since may be valid again. Check the machine's time service, and rotate the keys if it was right before"
        );
    } else {
        tracing::warn!(
            "the machine's clock is {seconds} s behind the time that this deployment has acted upon; time goes on from there, \
             slightly slower, until the clock has caught up. Check the machine's time service"
        );
    }
}

/// Compares the process's time with the operating system's.
fn compare() {
    KEPT.change(|reading, elapsed| reading.compared(elapsed, wall()));
}

fn wall() -> Timestamp {
    let now = SystemClock.now();
    #[cfg(feature = "test-clock")]
    let now = moved(now);
    now
}

static KEPT: LazyLock<Kept> = LazyLock::new(|| {
    let start = Instant::now();
    Kept { start, reading: ArcSwap::from_pointee(Reading::new(Duration::ZERO, wall())), changes: Mutex::new(()) }
});

struct Kept {
    start: Instant,
    reading: ArcSwap<Reading>,
    changes: Mutex<()>,
}

impl Kept {
    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn change(&self, change: impl FnOnce(&Reading, Duration) -> Reading) {
        let _one = self.changes.lock();
        let next = change(&self.reading.load(), self.elapsed());
        self.reading.store(next.into());
    }
}

/// What the time was at one moment of the monotonic clock, and how it goes on from there.
#[derive(Clone, Copy, Debug)]
struct Reading {
    elapsed: Duration,
    time: Timestamp,
    slow: bool,
}

impl Reading {
    const fn new(elapsed: Duration, time: Timestamp) -> Self {
        Self { elapsed, time, slow: false }
    }

    fn at(&self, elapsed: Duration) -> Timestamp {
        let nanos = u64::try_from(elapsed.saturating_sub(self.elapsed).as_nanos()).unwrap_or(u64::MAX);
        let nanos = if self.slow { nanos - nanos / LOSES_ONE_IN } else { nanos };
        self.time.after(Duration::from_nanos(nanos))
    }

    fn compared(&self, elapsed: Duration, wall: Timestamp) -> Self {
        let time = self.at(elapsed);
        let lead = time.since(wall);
        if time <= wall || lead > MAX_LEAD {
            return Self::new(elapsed, wall);
        }
        Self { elapsed, time, slow: lead > NO_LEAD }
    }

    fn raised(&self, elapsed: Duration, mark: Timestamp) -> Self {
        let time = self.at(elapsed);
        if mark <= time { *self } else { Self { elapsed, time: mark, slow: true } }
    }
}

#[cfg(feature = "test-clock")]
static OFFSET_NANOS: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);

#[cfg(feature = "test-clock")]
fn moved(now: Timestamp) -> Timestamp {
    if let Some(stopped) = stopped() {
        return stopped;
    }
    let offset = OFFSET_NANOS.load(std::sync::atomic::Ordering::SeqCst);
    let by = Duration::from_nanos(offset.unsigned_abs());
    if offset < 0 { now.before(by) } else { now.after(by) }
}

/// The nanoseconds at which time stands still; zero while it flows.
#[cfg(feature = "test-clock")]
static STOPPED_NANOS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

#[cfg(feature = "test-clock")]
fn stopped() -> Option<Timestamp> {
    let nanos = STOPPED_NANOS.load(std::sync::atomic::Ordering::SeqCst);
    (nanos > 0).then(|| Timestamp::from_nanos(nanos))
}

/// Lets time stand still from now on, but for [`advance`], so that a test knows how much has passed to the last nanosecond.
#[cfg(feature = "test-clock")]
pub fn stop() {
    STOPPED_NANOS.store(ProcessClock.now().as_nanos(), std::sync::atomic::Ordering::SeqCst);
}

/// Sets the operating system's clock, as the process sees it, forward. Only a test build has this; timers of the runtime are
/// not moved.
#[cfg(feature = "test-clock")]
pub fn advance(by: Duration) {
    let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
    if stopped().is_some() {
        STOPPED_NANOS.fetch_add(nanos.unsigned_abs(), std::sync::atomic::Ordering::SeqCst);
    }
    OFFSET_NANOS.fetch_add(nanos, std::sync::atomic::Ordering::SeqCst);
    compare();
}

/// The same, back.
#[cfg(feature = "test-clock")]
pub fn set_back(by: Duration) {
    let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
    OFFSET_NANOS.fetch_sub(nanos, std::sync::atomic::Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    /// Compares every quarter of a second for so long, with a wall clock that is at `wall` in the beginning.
    fn run(mut reading: Reading, from: Duration, wall: Timestamp, length: Duration) -> Reading {
        let mut passed = Duration::ZERO;
        let mut latest = reading.at(from);
        while passed <= length {
            reading = reading.compared(from + passed, wall.after(passed));
            let time = reading.at(from + passed);
            assert!(time >= latest, "time ran back after {passed:?}");
            latest = time;
            passed += COMPARE;
        }
        reading
    }

    #[test]
    fn a_clock_set_back_an_hour_moves_nothing_back_stops_nothing_and_is_caught_up_within_two_days() {
        let reading = run(Reading::new(Duration::ZERO, START), Duration::ZERO, START, HOUR);
        let set_back = START.after(Duration::from_secs(1));
        let later = run(reading, HOUR, set_back, HOUR);
        let passed = later.at(2 * HOUR).since(START.after(HOUR));
        assert!((Duration::from_secs(3480)..=HOUR).contains(&passed), "{passed:?} passed in an hour");
        let end = run(reading, HOUR, set_back, 33 * HOUR);
        assert!(end.at(34 * HOUR).since(set_back.after(33 * HOUR)) < Duration::from_millis(20), "caught up");
        assert!(!end.slow);
    }

    #[test]
    fn a_clock_set_forward_is_followed_and_one_from_beyond_a_day_is_not_kept_to() {
        let reading = Reading::new(Duration::ZERO, START).compared(Duration::from_secs(1), START.after(HOUR));
        assert_eq!(reading.at(Duration::from_secs(1)), START.after(HOUR));
        let far = reading.compared(Duration::from_secs(2), START.after(50 * HOUR));
        let back = far.compared(Duration::from_secs(3), START.after(Duration::from_secs(3)));
        assert_eq!(back.at(Duration::from_secs(3)), START.after(Duration::from_secs(3)));
    }

    #[test]
    fn a_mark_is_gone_on_from_and_an_older_one_changes_nothing() {
        let reading = Reading::new(Duration::ZERO, START);
        let raised = reading.raised(Duration::ZERO, START.after(HOUR));
        assert_eq!(raised.at(Duration::ZERO), START.after(HOUR));
        let older = raised.raised(Duration::from_secs(32), START);
        assert_eq!(older.at(Duration::from_secs(32)), START.after(HOUR + Duration::from_secs(31)));
    }

    #[test]
    fn two_clocks_that_differ_by_a_breath_tick_alike() {
        let reading = Reading::new(Duration::ZERO, START)
            .compared(Duration::from_secs(1), START.after(Duration::from_millis(990)));
        assert!(!reading.slow);
    }
}
