//! Requests that are admitted late: slowing down instead of refusing (L12).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How many requests may be held back at once in a process. One costs what an open request costs: some kilobytes and its
/// connection. Whoever slows clients down must not be drowned by those who do not mind waiting.
const PLACES: usize = 1_024;

/// A wait that an admitted request has to keep before it is forwarded, and its place among those that wait. A door takes it
/// from the pass, waits, and drops it.
#[derive(Debug)]
pub struct Delay {
    wait: Duration,
    /// Given back when dropped, whether the wait was kept or the client went away.
    _place: Place,
}

impl Delay {
    /// For how long.
    #[must_use]
    pub const fn wait(&self) -> Duration {
        self.wait
    }
}

/// The bounded number of requests that wait.
#[derive(Debug, Default)]
pub(crate) struct WaitingRoom(Arc<AtomicUsize>);

impl WaitingRoom {
    /// A place for so long a wait; `None` where too many wait already.
    pub(crate) fn enter(&self, wait: Duration) -> Option<Delay> {
        let place = Place(Arc::clone(&self.0));
        // Counted before it is looked at, so that two who come at once do not take the last place both.
        let taken = self.0.fetch_add(1, Ordering::Relaxed);
        (taken < PLACES).then_some(Delay { wait, _place: place })
    }

    /// How many wait.
    pub(crate) fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One place, counted as long as it lives.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn l12_only_so_many_wait_and_whoever_leaves_makes_room() {
        let room = WaitingRoom::default();
        let mut waiting: Vec<Delay> = (0..PLACES).map(|_| room.enter(SECOND).unwrap()).collect();
        assert!(room.enter(SECOND).is_none());
        assert_eq!(room.taken(), PLACES, "who found no room takes none");
        waiting.pop();
        assert_eq!(room.enter(SECOND).unwrap().wait(), SECOND);
        drop(waiting);
        assert_eq!(room.taken(), 0);
    }
}
