//! When a shared store is asked and when it is left alone (circuit breaker), as a pure machine of three states.
//!
//! It stops asking after one answer that did not come in time, or some that were errors. From then on nobody waits for the
//! store. Only pings, one at a time, find out whether it is there again, and the first of them that succeeds lets one
//! request try: pings may work where charges do not (no memory left, no rights). Where that one succeeds, all go again.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

/// So many errors in a row, none of them a timeout, and the store is left alone. One alone may be a connection that broke.
const ERRORS_IN_A_ROW: u32 = 3;

const WORKS: u8 = 0;
const AWAY: u8 = 1;
const MAY_BE_BACK: u8 = 2;

/// Whether one request may ask the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    /// As any other.
    Ask,
    /// As the one that finds out.
    Try,
    /// It is away.
    LeaveAlone,
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// The store is away from now on.
    Lost,
    /// It is asked again.
    Back,
}

/// How a question to the store ended badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No answer in time: whoever asks next would wait as long.
    Late,
    /// An error, told at once.
    Told,
}

/// The machine. A few loads on the way of a request that is let through.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: AtomicU8,
    errors: AtomicU32,
    tried: AtomicBool,
}

impl Breaker {
    /// Whether the store is believed to work.
    pub(crate) fn works(&self) -> bool {
        self.state.load(Ordering::Acquire) == WORKS
    }

    /// May this request ask?
    pub(crate) fn permit(&self) -> Permit {
        match self.state.load(Ordering::Acquire) {
            WORKS => Permit::Ask,
            MAY_BE_BACK if !self.tried.swap(true, Ordering::AcqRel) => Permit::Try,
            _ => Permit::LeaveAlone,
        }
    }

    /// A request was answered.
    pub(crate) fn succeeded(&self, permit: Permit) -> Change {
        // Looked at first: a store into a line that all cores share costs more than a load.
        if self.errors.load(Ordering::Relaxed) != 0 {
            self.errors.store(0, Ordering::Relaxed);
        }
        let back = permit == Permit::Try && self.moves(MAY_BE_BACK, WORKS);
        if back { Change::Back } else { Change::None }
    }

    /// A request was not answered.
    pub(crate) fn failed(&self, permit: Permit, failure: Failure) -> Change {
        if permit == Permit::Try {
            // It was away all the time.
            self.moves(MAY_BE_BACK, AWAY);
            return Change::None;
        }
        let many = self.errors.fetch_add(1, Ordering::Relaxed) + 1 >= ERRORS_IN_A_ROW;
        let lost = (many || failure == Failure::Late) && self.moves(WORKS, AWAY);
        if lost { Change::Lost } else { Change::None }
    }

    /// A request that tried was given up before it knew: another may.
    pub(crate) fn gave_up(&self, permit: Permit) {
        if permit == Permit::Try {
            self.tried.store(false, Ordering::Release);
        }
    }

    /// A ping ended, well or not.
    pub(crate) fn pinged(&self, well: bool) -> Change {
        if !well {
            self.moves(MAY_BE_BACK, AWAY);
            return if self.moves(WORKS, AWAY) { Change::Lost } else { Change::None };
        }
        if self.state.load(Ordering::Acquire) == AWAY {
            self.errors.store(0, Ordering::Relaxed);
            self.tried.store(false, Ordering::Release);
            self.moves(AWAY, MAY_BE_BACK);
        }
        Change::None
    }

    fn moves(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l10_one_late_answer_or_three_errors_in_a_row_leave_the_store_alone() {
        let breaker = Breaker::default();
        for _ in 0..2 {
            assert_eq!(breaker.failed(Permit::Ask, Failure::Told), Change::None);
        }
        assert_eq!(breaker.succeeded(Permit::Ask), Change::None);
        for _ in 0..2 {
            assert_eq!(breaker.failed(Permit::Ask, Failure::Told), Change::None, "errors count in a row only");
        }
        assert_eq!(breaker.permit(), Permit::Ask);
        assert_eq!(breaker.failed(Permit::Ask, Failure::Told), Change::Lost);
        assert_eq!(breaker.failed(Permit::Ask, Failure::Told), Change::None, "it is lost once");
        assert_eq!(breaker.permit(), Permit::LeaveAlone);
        let late = Breaker::default();
        assert_eq!(late.failed(Permit::Ask, Failure::Late), Change::Lost);
    }

    #[test]
    fn l10_after_a_ping_one_request_tries_and_all_others_wait_for_what_it_finds() {
        let breaker = Breaker::default();
        assert_eq!(breaker.pinged(false), Change::Lost);
        assert_eq!(breaker.pinged(false), Change::None);
        assert_eq!(breaker.pinged(true), Change::None);
        assert_eq!([breaker.permit(), breaker.permit()], [Permit::Try, Permit::LeaveAlone]);
        assert_eq!(breaker.failed(Permit::Try, Failure::Told), Change::None);
        assert_eq!(breaker.permit(), Permit::LeaveAlone, "the next ping lets another try");
        assert_eq!(breaker.pinged(true), Change::None);
        assert_eq!(breaker.permit(), Permit::Try);
        assert_eq!(breaker.succeeded(Permit::Try), Change::Back);
        assert!(breaker.works());
        assert_eq!(breaker.permit(), Permit::Ask);
    }

    #[test]
    fn l10_who_gives_up_trying_does_not_keep_the_store_away_for_ever() {
        let breaker = Breaker::default();
        breaker.failed(Permit::Ask, Failure::Late);
        breaker.pinged(true);
        assert_eq!(breaker.permit(), Permit::Try);
        breaker.gave_up(Permit::Try);
        assert_eq!(breaker.permit(), Permit::Try);
    }

    #[test]
    fn l10_an_answer_that_was_asked_for_before_the_store_was_lost_changes_nothing() {
        let breaker = Breaker::default();
        breaker.failed(Permit::Ask, Failure::Late);
        assert_eq!(breaker.succeeded(Permit::Ask), Change::None);
        assert_eq!(breaker.permit(), Permit::LeaveAlone);
    }
}
