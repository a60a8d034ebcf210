//! What time it is at a server that tells whole seconds only.

use std::time::Duration;

use parking_lot::Mutex;
use portcullis_core::Timestamp;
use tokio::time::Instant;

/// How far apart what two instances take for a server's time may be: it tells whole seconds.
pub(super) const GRAIN: Duration = Duration::from_secs(1);
/// By how much clocks of two machines may differ in speed: what was learned is trusted less by a ten-thousandth of the time
/// since.
const DRIFT: u32 = 10_000;

/// The server's time as far as it is known: a moment that it has certainly reached, and how long ago that was.
///
/// A server that says 12:00:07 is somewhere in that second. The latest of all lower bounds is kept, so that with each answer
/// the distance becomes smaller: after some dozens, a few hundredths of a second. It never runs ahead of the server.
#[derive(Debug, Default)]
pub(super) struct ServerClock(Mutex<Option<Reading>>);

#[derive(Clone, Debug)]
struct Reading {
    /// Which run of the server told it.
    run: Run,
    reached: Timestamp,
    at: Instant,
}

/// One run of a server, from its start to its end: its process, and when by its own clock it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) pid: u64,
    pub(super) since: u64,
}

impl ServerClock {
    /// The server's time; `None` before it has told any.
    pub(super) fn now(&self) -> Option<Timestamp> {
        self.0.lock().as_ref().map(|reading| reading.reached.after(reading.at.elapsed()))
    }

    /// The server told these seconds, between the moment when it was asked and that when its answer was there.
    pub(super) fn learn(&self, run: Run, secs: u64, asked: Instant, told: Instant) {
        let least = Timestamp::from_secs(secs);
        // It moves its time once a second, and when it is late for that the next time by two.
        let most = least.after(2 * GRAIN + told.saturating_duration_since(asked));
        let mut held = self.0.lock();
        let known = held.as_ref().filter(|reading| reading.run == run).map(|reading| {
            let passed = told.saturating_duration_since(reading.at);
            reading.reached.after(passed - passed / DRIFT)
        });
        // More than it can be means that the server stood still, as a machine that was suspended does.
        let reached = known.filter(|known| *known <= most).map_or(least, |known| known.max(least));
        *held = Some(Reading { run, reached, at: told });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run = Run { pid: 1, since: 0 };
    const START: u64 = 1_795_219_200;

    /// What a server says at a moment after it started, in milliseconds.
    fn told(millis: u64) -> u64 {
        START + millis / 1000
    }

    #[tokio::test(start_paused = true)]
    async fn l14_a_servers_time_is_never_ahead_and_soon_close() {
        let clock = ServerClock::default();
        assert_eq!(clock.now(), None);
        let began = Instant::now();
        for step in 0..100_u64 {
            let millis = 300 + step * 377;
            tokio::time::sleep_until(began + Duration::from_millis(millis)).await;
            clock.learn(RUN, told(millis), Instant::now(), Instant::now());
            let (is, known) = (Timestamp::from_secs(START).after(Duration::from_millis(millis)), clock.now().unwrap());
            assert!(known <= is && is.since(known) < GRAIN, "{step}: {is} {known}");
            assert!(step < 50 || is.since(known) < Duration::from_millis(30), "{step}: {is} {known}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn l14_a_server_that_stood_still_or_is_another_is_believed() {
        let clock = ServerClock::default();
        clock.learn(RUN, told(0), Instant::now(), Instant::now());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(clock.now(), Some(Timestamp::from_secs(START + 60)));
        clock.learn(RUN, told(10_000), Instant::now(), Instant::now());
        assert_eq!(clock.now(), Some(Timestamp::from_secs(START + 10)), "it was suspended");
        clock.learn(Run { pid: 2, since: 5 }, 1000, Instant::now(), Instant::now());
        assert_eq!(clock.now(), Some(Timestamp::from_secs(1000)), "it was restarted with another clock");
        tokio::time::sleep(Duration::from_millis(500)).await;
        clock.learn(Run { pid: 2, since: 5 }, 1000, Instant::now(), Instant::now());
        assert!(clock.now().unwrap() > Timestamp::from_secs(1000), "what is known is not given up for less");
    }
}
