//! The deadlines of one connection. Setting one is a store into a cell; the connection's one alarm looks at all.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::wheel::{Tick, Wheel};

/// What a connection may wait for only so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// The first byte of the next request.
    Idle,
    /// The last byte of a request head.
    Head,
    /// The next piece of a request body.
    RequestBody,
    /// All of a request body that is held in memory until it is whole.
    WholeBody,
    /// A connection to the upstream.
    Connect,
    /// The upstream's response head.
    ResponseHead,
    /// The next piece of the upstream's response body.
    ResponseBody,
    /// The client taking what is written to it.
    ClientWrite,
    /// The whole exchange.
    Total,
    /// The credential that opened a stream (T13).
    Credential,
}

impl Late {
    const ALL: [Self; 10] = [
        Self::Idle,
        Self::Head,
        Self::RequestBody,
        Self::WholeBody,
        Self::Connect,
        Self::ResponseHead,
        Self::ResponseBody,
        Self::ClientWrite,
        Self::Total,
        Self::Credential,
    ];
}

/// The deadlines of one connection.
#[derive(Debug)]
pub(crate) struct Deadlines {
    wheel: Rc<Wheel>,
    at: [Cell<Tick>; Late::ALL.len()],
    missed: Cell<Option<Late>>,
}

impl Deadlines {
    pub(crate) fn new(wheel: Rc<Wheel>) -> Self {
        Self { wheel, at: std::array::from_fn(|_| Cell::new(Tick::NEVER)), missed: Cell::new(None) }
    }

    /// From now on, `what` may take this long.
    pub(crate) fn set(&self, what: Late, wait: Duration) {
        self.at[what as usize].set(self.wheel.after(wait));
    }

    /// As [`Deadlines::set`], unless the wait for it has begun already.
    pub(crate) fn begin(&self, what: Late, wait: Duration) {
        if self.at[what as usize].get() == Tick::NEVER {
            self.set(what, wait);
        }
    }

    /// When `what` will have taken too long.
    pub(crate) fn at(&self, what: Late) -> Tick {
        self.at[what as usize].get()
    }

    /// It has happened.
    pub(crate) fn clear(&self, what: Late) {
        self.at[what as usize].set(Tick::NEVER);
    }

    /// Whether it is being waited for.
    pub(crate) fn awaits(&self, what: Late) -> bool {
        self.at[what as usize].get() != Tick::NEVER
    }

    /// Nothing is waited for.
    pub(crate) fn clear_all(&self) {
        for at in &self.at {
            at.set(Tick::NEVER);
        }
        self.missed.set(None);
    }

    /// The next deadline.
    pub(crate) fn next(&self) -> Tick {
        self.at.iter().map(Cell::get).min().unwrap_or(Tick::NEVER)
    }

    /// Takes the deadline that has passed, if one has.
    pub(crate) fn take_due(&self) -> Option<Late> {
        let now = self.wheel.now();
        let due = Late::ALL.into_iter().find(|what| self.at[*what as usize].get() <= now)?;
        self.clear(due);
        Some(due)
    }

    /// Tells the exchange that it has missed a deadline.
    pub(crate) fn miss(&self, what: Late) {
        self.missed.set(Some(what));
    }

    /// Takes what was missed: who takes it, answers for it.
    pub(crate) fn take_missed(&self) -> Option<Late> {
        self.missed.take()
    }
}
