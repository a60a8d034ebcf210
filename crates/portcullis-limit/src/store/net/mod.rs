//! What stores over a network have in common: connections that many calls share, and what is known without a call.

mod address;
mod lane;
mod refusals;
mod stream;

use std::fmt;
use std::pin::Pin;
use std::task::Poll;

pub(super) use address::{Address, AddressError};
pub(super) use lane::Lane;
#[cfg(feature = "redis")]
pub(super) use refusals::LONGEST;
pub(super) use refusals::{FRESH, REFUNDABLE, Refusals, with_twins};
pub(super) use stream::{Dialer, Stream, exchange, in_time, readable};

use super::shared::StoreError;

/// What is not an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What becomes of a question whose answer nobody has waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It charges: the charge stays.
    Charge,
    /// It gives back: what could not be given back stays charged.
    GiveBack,
    /// Nothing.
    Other,
}

/// A question as it goes over a [`Lane`], and its answer as it comes back: one each, in the same order.
pub(super) trait Question: fmt::Debug + Sized + Send + Sync + 'static {
    /// What a server says, an error included.
    type Answer: fmt::Debug + Send + 'static;

    /// What is asked first on each connection; the answers do not matter.
    fn opening() -> Vec<Self>;

    /// What has to be asked right before it; the answer does not matter.
    fn before(&self) -> Option<Self>;

    fn kind(&self) -> Kind;

    /// Appends its bytes: as short as it can be asked, or in full.
    fn write(&self, in_full: bool, out: &mut Vec<u8>);

    /// Reads one answer from the front: it and its length; `None` while more must come.
    fn read(bytes: &[u8]) -> Result<Option<(Self::Answer, usize)>, Malformed>;

    /// Whether the answer says that nothing was done, as it was not asked in full.
    fn must_be_in_full(&self, answer: &Self::Answer) -> bool;

    fn is_error(answer: &Self::Answer) -> bool;

    /// What the server says by which the connection is to be left, if it says so: another one has taken its place.
    fn leaves(answer: &Self::Answer) -> Option<String>;
}

/// Where a lane leads.
pub(super) trait Target: fmt::Debug + Send + Sync + 'static {
    /// How it is named in messages.
    fn name(&self) -> Box<str>;

    /// Makes a connection on which questions can be asked.
    fn connect(&self) -> impl Future<Output = Result<Stream, StoreError>> + Send;
}

/// Waits for all, at once.
pub(super) async fn join<T, F: Future<Output = T>>(futures: impl Iterator<Item = F>) -> Vec<T> {
    enum Slot<T, F> {
        Waiting(Pin<Box<F>>),
        Ready(Option<T>),
    }
    let mut slots: Vec<Slot<T, F>> = futures.map(|future| Slot::Waiting(Box::pin(future))).collect();
    std::future::poll_fn(|cx| {
        let mut waiting = false;
        for slot in &mut slots {
            if let Slot::Waiting(future) = slot {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *slot = Slot::Ready(Some(value)),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    let taken = slots.into_iter().filter_map(|slot| match slot {
        Slot::Ready(value) => value,
        Slot::Waiting(_) => None,
    });
    taken.collect()
}
