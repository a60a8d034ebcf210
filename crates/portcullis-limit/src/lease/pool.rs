//! The units of one key that this node may spend by itself, and the requests that wait for more: data and times in, data out.
//!
//! All units are of one aligned window of the store, in which they were charged; its end, by a clock that cannot be late, is
//! theirs too. So whoever spends them spends what the store has already counted in that window.

use std::collections::VecDeque;
use std::time::Duration;

use portcullis_core::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::demand::Demand;
use super::ground::{cautiously, ends};
use crate::limiter::{Charge, Denied, Receipt};
use crate::rate::Rate;

/// How long a refusal is gone by without asking: any node may give units back.
const REMEMBERED: Duration = Duration::from_millis(250);

/// The units of one key and rate.
#[derive(Debug)]
pub(super) struct Pool {
    /// The ground that everything here stands on.
    ground: u64,
    /// Of units that were spent, those of another generation do not come back.
    generation: u64,
    /// How often everything was dropped; what was under way then is dropped too.
    dropped: u64,
    units: u64,
    portion: Option<Portion>,
    refused: Option<Refusal>,
    waiting: VecDeque<Waiter>,
    /// Whether somebody looks after it, or is about to.
    queued: bool,
    demand: Demand,
}

/// Where the units come from.
#[derive(Debug)]
struct Portion {
    /// By which any of them are given back.
    receipt: Receipt,
    /// The window's end there, and here.
    ends_at: Timestamp,
    ends: Instant,
    /// What the store had left, when the whole quota is back, and when it said so.
    left: u64,
    reset_at: Timestamp,
    at: Timestamp,
    told: Instant,
}

#[derive(Debug)]
struct Refusal {
    cost: u64,
    denied: Denied,
    told: Instant,
    until: Instant,
    closed: bool,
}

#[derive(Debug)]
struct Waiter {
    cost: u64,
    since: Instant,
    answer: oneshot::Sender<Said>,
}

/// How a key stands after something was spent.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) remaining: u64,
    pub(super) reset_at: Timestamp,
    pub(super) at: Timestamp,
    pub(super) generation: u64,
}

/// What a request is told.
#[derive(Debug)]
pub(super) enum Said {
    Spent(View),
    Denied(Denied),
    /// Refused because the store may have lost something in this window.
    Closed(Denied),
    /// Nobody can say: the store does not answer.
    Away,
}

/// How much the next question may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// All that is waited for, and what is worth holding.
    All,
    /// What is waited for, as far as so much goes.
    AtMost(u64),
    /// What the first one waits for.
    First,
}

/// A question to the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) cost: u64,
    ground: u64,
    dropped: u64,
    asked: Instant,
}

impl Pool {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            ground: 0,
            generation: 0,
            dropped: 0,
            units: 0,
            portion: None,
            refused: None,
            waiting: VecDeque::new(),
            queued: false,
            demand: Demand::new(now),
        }
    }

    /// Lets go of what may not be spent any more.
    #[inline]
    fn settle(&mut self, ground: u64, now: Instant) {
        // Whoever looked at the ground before another has changed it does not bring the old one back.
        if self.ground < ground {
            self.drop_all();
            self.ground = ground;
        }
        if self.portion.as_ref().is_some_and(|portion| portion.ends <= now) {
            self.units = 0;
            self.portion = None;
            self.generation += 1;
        }
    }

    /// Forgets everything but who waits. Nothing is given back: what it was charged in is not there any more.
    pub(super) fn drop_all(&mut self) {
        self.units = 0;
        self.portion = None;
        self.refused = None;
        self.generation += 1;
        self.dropped += 1;
    }

    /// Spends units that are here, or says what is known; `None` if it has to be waited for. And whether the next portion
    /// should be taken now.
    #[inline]
    pub(super) fn spend(&mut self, cost: u64, ground: u64, now: Instant) -> (Option<Said>, bool) {
        self.settle(ground, now);
        if self.units >= cost && self.portion.is_some() {
            self.demand.note(cost);
            self.units -= cost;
            let fetch = self.units < self.demand.low() && !std::mem::replace(&mut self.queued, true);
            return (self.view(now).map(Said::Spent), fetch);
        }
        match &self.refused {
            Some(refused) if refused.cost <= cost && now < refused.until => (Some(refused.said(now)), false),
            _ => (None, false),
        }
    }

    /// Waits for units. And whether somebody has to be told to look after it.
    pub(super) fn wait(&mut self, cost: u64, now: Instant) -> (oneshot::Receiver<Said>, bool) {
        self.demand.note(cost);
        let (answer, said) = oneshot::channel();
        self.waiting.push_back(Waiter { cost, since: now, answer });
        (said, !std::mem::replace(&mut self.queued, true))
    }

    fn view(&self, now: Instant) -> Option<View> {
        self.portion.as_ref().map(|portion| View {
            remaining: portion.left.saturating_add(self.units),
            reset_at: portion.reset_at,
            at: portion.at.after(now.saturating_duration_since(portion.told)),
            generation: self.generation,
        })
    }

    /// What to ask the store for next; `None` if nothing is wanted, and then nobody looks after it any more.
    pub(super) fn plan(&mut self, rate: &Rate, bound: Bound, ground: u64, now: Instant) -> Option<Question> {
        self.settle(ground, now);
        self.waiting.retain(|waiter| !waiter.answer.is_closed());
        self.serve(None, now);
        let left = self.portion.as_ref().map_or(0, |portion| portion.left);
        let most = rate.capacity();
        let cost = match (self.waiting.front(), bound) {
            (Some(first), Bound::First) => first.cost,
            (Some(_), Bound::AtMost(room)) => self.waited_for(room),
            (Some(_), Bound::All) => {
                let waited_for = self.waited_for(most);
                self.demand.plan(left.saturating_sub(waited_for), now);
                waited_for.saturating_add(self.demand.want()).min(most)
            }
            (None, Bound::All) if self.units < self.demand.low() => {
                self.demand.plan(left, now);
                self.demand.want().saturating_sub(self.units).min(most)
            }
            (None, _) => 0,
        };
        if cost == 0 {
            self.queued = false;
            return None;
        }
        Some(Question { cost, ground, dropped: self.dropped, asked: now })
    }

    /// What the first ones wait for, as far as it fits into `room`; the very first always.
    fn waited_for(&self, room: u64) -> u64 {
        let mut sum: u64 = 0;
        for waiter in &self.waiting {
            let next = sum.saturating_add(waiter.cost);
            if sum > 0 && next > room {
                break;
            }
            sum = next;
        }
        sum
    }

    /// The store charged what was asked for.
    pub(super) fn admitted(&mut self, rate: &Rate, question: Question, charge: &Charge, ground: u64, now: Instant) {
        self.settle(ground, now);
        let (Some(receipt), Some(standing)) = (charge.receipts().first(), charge.standings().first()) else { return };
        if question.dropped != self.dropped || question.ground != self.ground {
            // It was charged in what has been dropped since.
            return;
        }
        let ends_at = ends(rate, receipt.at);
        let left = ends_at.since(standing.at).min(rate.quota().window());
        let here = question.asked + cautiously(left);
        if self.portion.as_ref().is_none_or(|portion| portion.ends_at != ends_at) {
            self.units = 0;
            self.generation += 1;
        }
        self.units = self.units.saturating_add(question.cost);
        self.portion = Some(Portion {
            receipt: receipt.clone(),
            ends_at,
            ends: here,
            left: standing.remaining,
            reset_at: standing.reset_at,
            at: standing.at,
            told: now,
        });
        self.refused = None;
        self.demand.limit(standing.remaining);
        // Who waited when the question was asked is admitted by the charge, at its moment, even if the window has ended since.
        self.serve(Some(question.asked), now);
        self.settle(ground, now);
    }

    /// The store has no room for what was asked for; what to ask for next.
    pub(super) fn denied(&mut self, question: Question, denied: Denied, now: Instant) -> Bound {
        let remaining = denied.standing.remaining;
        if let Some(portion) = &mut self.portion {
            portion.left = remaining;
        }
        let Some(first) = self.waiting.front().map(|waiter| waiter.cost) else {
            self.demand.nothing();
            return Bound::First;
        };
        if question.cost > first {
            return if first < remaining && question.cost > remaining {
                Bound::AtMost(remaining)
            } else {
                Bound::First
            };
        }
        self.demand.nothing();
        let until = now + denied.retry_after.min(REMEMBERED);
        self.refuse(Refusal { cost: question.cost, denied, told: now, until, closed: false }, now);
        Bound::All
    }

    /// Refuses everybody who waits, and who comes until the ground is another or the wait is over.
    pub(super) fn close(&mut self, denied: Denied, ground: u64, now: Instant) {
        self.settle(ground, now);
        let until = now + denied.retry_after;
        self.refuse(Refusal { cost: 0, denied, told: now, until, closed: true }, now);
        self.queued = false;
    }

    fn refuse(&mut self, refusal: Refusal, now: Instant) {
        for waiter in std::mem::take(&mut self.waiting) {
            if waiter.cost < refusal.cost {
                self.waiting.push_back(waiter);
            } else {
                // Whoever asked may have gone.
                let _ = waiter.answer.send(refusal.said(now));
            }
        }
        self.refused = Some(refusal);
    }

    /// The store does not answer.
    pub(super) fn abandon(&mut self) {
        for waiter in self.waiting.drain(..) {
            let _ = waiter.answer.send(Said::Away);
        }
        self.queued = false;
    }

    /// Spends units on those who wait, in their order. Those who came before `asked` were waiting for this very charge.
    fn serve(&mut self, asked: Option<Instant>, now: Instant) {
        let Some(valid) = self.portion.as_ref().map(|portion| now < portion.ends) else { return };
        while let Some(first) = self.waiting.front() {
            if first.cost > self.units || !(valid || asked.is_some_and(|asked| first.since <= asked)) {
                return;
            }
            let (Some(waiter), Some(view)) = (self.waiting.pop_front(), self.view(now)) else { return };
            let view = View { remaining: view.remaining.saturating_sub(waiter.cost), ..view };
            if waiter.answer.send(Said::Spent(view)).is_ok() {
                self.units -= waiter.cost;
            }
        }
    }

    /// Takes back what a request was charged, if it may still be spent here; otherwise it stays charged.
    pub(super) fn put_back(&mut self, cost: u64, generation: u64, ground: u64, now: Instant) -> bool {
        self.settle(ground, now);
        let fits = self.generation == generation && self.portion.is_some();
        if fits {
            self.units = self.units.saturating_add(cost);
            self.serve(None, now);
        }
        fits
    }

    /// What the last second had no need for, to be given back.
    pub(super) fn unneeded(&mut self, ground: u64, now: Instant) -> Option<Receipt> {
        self.settle(ground, now);
        let unneeded = self.demand.unneeded(self.units, now).unwrap_or(0);
        self.give_back(unneeded)
    }

    /// All that is left, to be given back.
    pub(super) fn release(&mut self, ground: u64, now: Instant) -> Option<Receipt> {
        self.settle(ground, now);
        self.demand.nothing();
        self.give_back(self.units)
    }

    fn give_back(&mut self, units: u64) -> Option<Receipt> {
        let portion = self.portion.as_mut().filter(|_| units > 0)?;
        self.units -= units;
        portion.left = portion.left.saturating_add(units);
        Some(Receipt { cost: units, ..portion.receipt.clone() })
    }

    /// Units that may be spent.
    pub(super) fn held(&mut self, ground: u64, now: Instant) -> u64 {
        self.settle(ground, now);
        self.units
    }

    /// Whether nobody has asked for so long, and nothing is held.
    pub(super) fn is_idle(&self, now: Instant, long: Duration) -> bool {
        self.units == 0 && self.waiting.is_empty() && !self.queued && self.demand.is_idle(now, long)
    }
}

impl Refusal {
    fn said(&self, now: Instant) -> Said {
        let passed = now.saturating_duration_since(self.told);
        let mut denied = self.denied.clone();
        denied.standing.at = denied.standing.at.after(passed);
        denied.retry_after = denied.retry_after.saturating_sub(passed);
        if self.closed { Said::Closed(denied) } else { Said::Denied(denied) }
    }
}
