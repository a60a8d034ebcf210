//! What one connection may ask of us that costs it next to nothing: a budget for each kind, which time and honest work
//! fill again.
//!
//! HTTP/2 has frames that are answered, remembered or merely read without anybody having been served. A client that sends
//! more of one kind than any honest one needs is told to calm down (RFC 9113 section 10.5) and loses its connection.

use std::cell::Cell;

use portcullis_watch::Http2Flood as Kind;

use super::super::wheel::{TICK, Tick};

/// Ticks in a second.
const SECOND: u64 = 1_000 / TICK.as_millis() as u64;

/// How much more a trusted hop may ask: it carries many clients over one connection.
const HOP: u32 = 8;

/// What a kind may cost: at once, and each second.
const fn allowance(kind: Kind) -> (u32, u32) {
    match kind {
        // A browser that leaves a page gives up all its streams at once. Each answer taken to its end earns one more.
        Kind::RapidReset => (200, 10),
        // Frames that make us reset a stream are faults, not manners (CVE-2025-8671).
        Kind::ProvokedReset => (100, 2),
        // Streams beyond the number that is allowed: a client learns that number only after its first burst.
        Kind::RefusedStream => (1_000, 10),
        Kind::Continuation => (0, 0),
        Kind::EmptyData => (80, 10),
        Kind::Settings => (20, 1),
        // gRPC measures its way by one ping in each round trip in which it receives something: what we send earns more.
        Kind::Ping => (100, 10),
        Kind::Priority => (300, 20),
        Kind::WindowUpdate => (1_000, 100),
        // A page that is paused stops what it loads. Who leaves no room for this many asks for what it does not want.
        Kind::ZeroWindow => (30, 1),
        Kind::UnknownFrame => (100, 10),
        Kind::Goaway => (4, 1),
        Kind::Library => (0, 0),
    }
}

/// The budgets of one connection.
#[derive(Debug)]
pub(super) struct Budgets {
    left: [Cell<u32>; Kind::ALL.len()],
    filled: Cell<Tick>,
    scale: u32,
    tripped: Cell<Option<Kind>>,
}

impl Budgets {
    /// Full budgets; greater ones where the peer is a hop that is trusted.
    pub(super) fn new(now: Tick, peer_is_trusted: bool) -> Self {
        let scale = if peer_is_trusted { HOP } else { 1 };
        Self {
            left: Kind::ALL.map(|kind| Cell::new(allowance(kind).0 * scale)),
            filled: Cell::new(now),
            scale,
            tripped: Cell::new(None),
        }
    }

    /// Fills the budgets by the time that has passed. Called once for each turn of the connection.
    pub(super) fn fill(&self, now: Tick) {
        let seconds = now.since(self.filled.get()) / SECOND;
        if seconds == 0 {
            return;
        }
        self.filled.set(now);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        for kind in Kind::ALL {
            self.earn(kind, allowance(kind).1.saturating_mul(seconds).saturating_mul(self.scale));
        }
    }

    /// Something of this kind was asked.
    pub(super) fn spend(&self, kind: Kind) {
        let left = &self.left[kind as usize];
        match left.get().checked_sub(1) {
            Some(rest) => left.set(rest),
            None => self.trip(kind),
        }
    }

    /// Honest work was done that this kind goes along with.
    pub(super) fn earn(&self, kind: Kind, more: u32) {
        let left = &self.left[kind as usize];
        left.set(left.get().saturating_add(more).min(allowance(kind).0 * self.scale));
    }

    /// The connection is over, for this reason.
    pub(super) fn trip(&self, kind: Kind) {
        if self.tripped.get().is_none() {
            self.tripped.set(Some(kind));
        }
    }

    /// What it was closed for, if it was.
    pub(super) const fn tripped(&self) -> Option<Kind> {
        self.tripped.get()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::wheel::Wheel;
    use super::*;

    #[test]
    fn a_budget_is_spent_once_and_filled_by_time_up_to_its_bound() {
        let wheel = Wheel::new();
        let budgets = Budgets::new(wheel.now(), false);
        for _ in 0..20 {
            budgets.spend(Kind::Settings);
        }
        assert_eq!(budgets.tripped(), None);
        budgets.fill(wheel.after(Duration::from_secs(2)));
        budgets.spend(Kind::Settings);
        budgets.spend(Kind::Settings);
        assert_eq!(budgets.tripped(), None, "two seconds are two more");
        budgets.spend(Kind::Settings);
        assert_eq!(budgets.tripped(), Some(Kind::Settings));
        let budgets = Budgets::new(wheel.now(), false);
        budgets.fill(wheel.after(Duration::from_secs(3_600)));
        for _ in 0..=20 {
            budgets.spend(Kind::Settings);
        }
        assert_eq!(budgets.tripped(), Some(Kind::Settings), "an hour of silence earns no more than the bound");
    }

    #[test]
    fn a_trusted_hop_may_ask_more_because_it_carries_many() {
        let wheel = Wheel::new();
        let budgets = Budgets::new(wheel.now(), true);
        for _ in 0..20 * HOP {
            budgets.spend(Kind::Settings);
        }
        assert_eq!(budgets.tripped(), None);
        budgets.spend(Kind::Settings);
        assert_eq!(budgets.tripped(), Some(Kind::Settings));
    }
}
