//! A coarse timer for one core: deadlines of many connections for the price of a few slots.
//!
//! A connection has one alarm for all its deadlines, and the alarm is re-armed lazily: a deadline that moves into the
//! future touches nothing but the connection's own cell. Only when the alarm rings does the connection look which of
//! its deadlines is due, and arms it again for the next one. A request on a kept connection therefore costs no
//! operation of the wheel. A deadline is never early and at most two ticks late.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use slab::Slab;

/// How long a tick takes.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// An alarm beyond this many ticks rings early once and is armed again.
const SLOTS: u64 = 512;

/// A moment, in ticks since the wheel was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

impl Tick {
    /// A moment that never comes.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// So many ticks after the first.
    #[cfg(test)]
    pub(crate) const fn at(ticks: u64) -> Self {
        Self(ticks)
    }

    /// Whether at least so much time has passed since.
    pub(crate) fn has_passed(self, wait: Duration, wheel: &Wheel) -> bool {
        let ticks = u64::try_from(wait.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX);
        self.0.saturating_add(ticks) <= wheel.now.get()
    }

    /// How many ticks after an earlier one it comes.
    pub(crate) const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The timer of one core. Something must call [`Wheel::advance`] once every [`TICK`].
#[derive(Debug)]
pub(crate) struct Wheel {
    began: Instant,
    now: Cell<u64>,
    inner: RefCell<Inner>,
}

#[derive(Debug)]
struct Inner {
    slots: Vec<Vec<usize>>,
    alarms: Slab<Entry>,
}

#[derive(Debug)]
struct Entry {
    armed: u64,
    waker: Option<Waker>,
}

impl Wheel {
    /// A wheel that begins to turn now.
    pub(crate) fn new() -> Rc<Self> {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Rc::new(Self {
            began: Instant::now(),
            now: Cell::new(0),
            inner: RefCell::new(Inner { slots, alarms: Slab::new() }),
        })
    }

    /// The present tick.
    pub(crate) fn now(&self) -> Tick {
        Tick(self.now.get())
    }

    /// The first tick by which at least `wait` has certainly passed.
    pub(crate) fn after(&self, wait: Duration) -> Tick {
        let ticks = u64::try_from(wait.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX);
        // The present tick may have begun up to a whole tick ago.
        Tick(self.now.get().saturating_add(ticks).saturating_add(1))
    }

    /// An alarm for one task.
    pub(crate) fn alarm(self: &Rc<Self>) -> Alarm {
        let key = self.inner.borrow_mut().alarms.insert(Entry { armed: u64::MAX, waker: None });
        Alarm { wheel: Rc::clone(self), key, armed: Cell::new(u64::MAX) }
    }

    /// Lets the wheel catch up with the clock and wakes whose alarm rings.
    pub(crate) fn advance(&self) {
        let passed = self.began.elapsed().as_millis() / TICK.as_millis();
        self.advance_to(u64::try_from(passed).unwrap_or(u64::MAX));
    }

    fn advance_to(&self, target: u64) {
        let first = self.now.get() + 1;
        if target < first {
            return;
        }
        self.now.set(target);
        let mut ringing = Vec::new();
        {
            let mut inner = self.inner.borrow_mut();
            let Inner { slots, alarms } = &mut *inner;
            // After a long pause of the machine one whole turn covers everything.
            for tick in first..=target.min(first.saturating_add(SLOTS - 1)) {
                for key in slots[slot(tick)].drain(..) {
                    // An entry may have been dropped or armed anew; its old places in the wheel mean nothing then.
                    if let Some(entry) = alarms.get_mut(key)
                        && entry.armed <= target
                    {
                        entry.armed = u64::MAX;
                        ringing.extend(entry.waker.take());
                    }
                }
            }
        }
        for waker in ringing {
            waker.wake();
        }
    }

    /// Wakes every task that has an alarm, so that it sees that the core is draining.
    pub(crate) fn wake_all(&self) {
        let wakers: Vec<Waker> =
            self.inner.borrow().alarms.iter().filter_map(|(_, entry)| entry.waker.clone()).collect();
        for waker in wakers {
            waker.wake();
        }
    }
}

const fn slot(tick: u64) -> usize {
    (tick % SLOTS) as usize
}

/// One task's place in the wheel. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Alarm {
    wheel: Rc<Wheel>,
    key: usize,
    armed: Cell<u64>,
}

impl Alarm {
    /// Makes sure that the task is woken at `tick` or before. Always called from the same task, so an alarm that
    /// already rings early enough is left alone.
    pub(crate) fn ring_by(&self, tick: Tick, cx: &Context<'_>) {
        let now = self.wheel.now.get();
        let armed = self.armed.get();
        if armed > now && armed <= tick.0 && armed != u64::MAX {
            return;
        }
        // Even a task without a deadline keeps a place: draining finds it there.
        let at = tick.0.clamp(now + 1, now + SLOTS - 1);
        self.armed.set(at);
        let mut inner = self.wheel.inner.borrow_mut();
        let entry = &mut inner.alarms[self.key];
        entry.armed = at;
        entry.waker = Some(cx.waker().clone());
        inner.slots[slot(at)].push(self.key);
    }

    /// From now on it is this task's, whosever it was: if it rings for a deadline of the one before, that does no harm.
    pub(crate) fn hand_to(&self, cx: &Context<'_>) {
        if let Some(waker) = &mut self.wheel.inner.borrow_mut().alarms[self.key].waker {
            waker.clone_from(cx.waker());
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.wheel.inner.borrow_mut().alarms.remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_deadline_is_never_early_and_at_most_two_ticks_late() {
        let wheel = Wheel::new();
        for millis in [1_u64, 49, 50, 51, 1_000, 60_000] {
            let ticks = millis.div_ceil(50);
            assert_eq!(wheel.after(Duration::from_millis(millis)), Tick(ticks + 1), "{millis} ms");
        }
        assert_eq!(wheel.after(Duration::MAX), Tick::NEVER);
    }

    #[test]
    fn an_alarm_rings_once_at_its_tick_and_a_later_deadline_costs_nothing() {
        let wheel = Wheel::new();
        let alarm = wheel.alarm();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&waker);
        alarm.ring_by(Tick(3), &cx);
        for later in 4..100 {
            alarm.ring_by(Tick(later), &cx);
        }
        assert_eq!(wheel.inner.borrow().slots.iter().map(Vec::len).sum::<usize>(), 1);
        wheel.advance_to(2);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        wheel.advance_to(3);
        wheel.advance_to(400);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn an_earlier_deadline_moves_the_alarm() {
        let wheel = Wheel::new();
        let alarm = wheel.alarm();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&waker);
        alarm.ring_by(Tick(100), &cx);
        alarm.ring_by(Tick(2), &cx);
        wheel.advance_to(2);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_far_deadline_rings_early_and_a_pause_of_the_machine_loses_no_alarm() {
        let wheel = Wheel::new();
        let alarm = wheel.alarm();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&waker);
        alarm.ring_by(Tick::NEVER, &cx);
        wheel.advance_to(100_000);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_dropped_alarm_is_forgotten() {
        let wheel = Wheel::new();
        let alarm = wheel.alarm();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        alarm.ring_by(Tick(1), &Context::from_waker(&waker));
        drop(alarm);
        wheel.advance_to(5);
        wheel.wake_all();
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }
}
