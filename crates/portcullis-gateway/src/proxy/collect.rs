//! Bodies that are read whole before anything is done with them: bounded each, bounded together, and not for ever. Those of
//! requests are read here, those of answers in `shaping.rs` and, beside being told, in `watching.rs`.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::client_body::{ClientBody, ClientBodyError};
use bytes::Bytes;
use http::Request;
use http_body::Body;
use parking_lot::Mutex;
use portcullis::{Admitted, BodyError, Unexamined};
use portcullis_core::{AddressKey, ClientAddress, Reason, RequestId};

use super::exchange::Failed;
use crate::listen::{Late, Link};

/// Who sends slower than this on the whole gives up a body that is held, in bytes per second.
const SLOWEST: u64 = 16 * 1024;

/// Room that is made at once for a length that is only declared, in bytes.
const BELIEVED: u64 = 16 * 1024;

/// Reads the body of an admitted request (its pass is in the link) to its end and shows it to the route's checks.
pub(super) async fn examine(
    link: &Rc<Link>,
    request: Request<Unexamined<ClientBody>>,
    id: RequestId,
) -> Result<Request<Admitted<ClientBody>>, Failed> {
    let (head, mut body) = request.into_parts();
    let max = body.max();
    let whole = collect(link, &mut body, max).await.map_err(Failed::before)?;
    let shared = &link.core.shared;
    let pass = link.pass.borrow();
    let pass = pass.as_ref().ok_or(Failed::read(Reason::Internal))?;
    let request = Request::from_parts(head, body);
    shared.gate.examine(pass, request, whole, id, shared.clock.now()).map_err(Failed::read)
}

/// The whole body, of at most `max` bytes.
pub(super) async fn collect<B>(link: &Link, mut body: B, max: u64) -> Result<Bytes, Reason>
where
    B: Body<Data = Bytes, Error = BodyError<ClientBodyError>> + Unpin,
{
    let declared = body.size_hint();
    if declared.lower() > max {
        return Err(Reason::BodyTooLarge(max));
    }
    let length = declared.upper().unwrap_or(max).min(max);
    link.deadlines.set(Late::WholeBody, link.transport.body_timeout + Duration::from_secs(length / SLOWEST));
    let mut whole = Whole::new(link, if length <= BELIEVED { length } else { 0 });
    let collected = loop {
        let frame = match next(link, &mut body).await {
            None => break Ok(whole.into_bytes()),
            Some(Err(reason)) => break Err(reason),
            // Nobody has asked for trailers: they are left behind.
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        link.body_read(&frame);
        if whole.len().saturating_add(frame.len()) as u64 > max {
            break Err(Reason::BodyTooLarge(max));
        }
        if whole.len() == 0 && body.is_end_stream() {
            // It came in one piece, and stays where it is.
            break Ok(frame);
        }
        if let Err(reason) = whole.add(&frame) {
            break Err(reason);
        }
    };
    link.deadlines.clear(Late::WholeBody);
    collected
}

/// The next piece of a body, in time.
async fn next<B>(link: &Link, body: &mut B) -> Option<Result<http_body::Frame<Bytes>, Reason>>
where
    B: Body<Data = Bytes, Error = BodyError<ClientBodyError>> + Unpin,
{
    poll_fn(|cx| {
        if link.deadlines.take_missed().is_some() {
            return Poll::Ready(Some(Err(Reason::RequestTimeout)));
        }
        let polled = Pin::new(&mut *body).poll_frame(cx);
        if polled.is_pending() {
            link.deadlines.begin(Late::RequestBody, link.transport.body_timeout);
        } else {
            link.deadlines.clear(Late::RequestBody);
        }
        polled.map_err(|error| match error {
            BodyError::TooLarge(limit) => Reason::BodyTooLarge(limit),
            BodyError::Client(_) => Reason::Malformed("the framing of the body is broken"),
        })
    })
    .await
}

/// How much memory bodies take that arrive in pieces and are held until they are whole.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    all: usize,
    /// By client address; one that holds nothing is not listed.
    by: HashMap<AddressKey, usize>,
}

impl Held {
    /// How many bytes there are.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.0.lock().all
    }

    /// Takes more for an address, where there is room. Nobody may take more than a quarter: who sends slowly on many
    /// connections keeps nobody else out.
    fn take(&self, of: AddressKey, more: usize, most: usize) -> bool {
        let mut sums = self.0.lock();
        let own = sums.by.get(&of).copied().unwrap_or(0).saturating_add(more);
        let all = sums.all.saturating_add(more);
        if all > most || own > most / 4 {
            return false;
        }
        sums.all = all;
        sums.by.insert(of, own);
        true
    }

    fn give_back(&self, of: AddressKey, bytes: usize) {
        let mut sums = self.0.lock();
        sums.all = sums.all.saturating_sub(bytes);
        let left = sums.by.get(&of).copied().unwrap_or(0).saturating_sub(bytes);
        if left == 0 {
            sums.by.remove(&of);
        } else {
            sums.by.insert(of, left);
        }
    }
}

/// A body that becomes whole. Its memory is counted until the last of it is gone.
pub(super) struct Whole {
    bytes: Vec<u8>,
    /// Room to make with the first piece.
    expected: usize,
    held: Arc<Held>,
    most: usize,
    of: AddressKey,
    /// What it has taken.
    taken: usize,
}

impl Whole {
    /// An empty one, on the account of whoever asks. `expected`: how long it is said to become.
    pub(super) fn new(link: &Link, expected: u64) -> Self {
        let pass = link.pass.borrow();
        // Whoever collects has a pass; the peer's whole network is the narrow guess.
        let of = pass.as_ref().map_or_else(|| ClientAddress::new(link.peer).key(64), |pass| pass.case().address_key());
        Self {
            bytes: Vec::new(),
            expected: usize::try_from(expected).unwrap_or(0),
            held: Arc::clone(&link.core.shared.held),
            most: link.transport.max_held_bytes,
            of,
            taken: 0,
        }
    }

    /// An empty one of what nobody waits for: it takes no more than half of what there is, for one address no more than half
    /// of its share, so that it keeps out nothing that is needed.
    pub(super) fn aside(link: &Link, expected: u64) -> Self {
        let mut whole = Self::new(link, expected);
        whole.most /= 2;
        whole
    }

    /// How long it is by now, in bytes.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// [`Reason::Overloaded`] where there is no room for it.
    pub(super) fn add(&mut self, piece: &[u8]) -> Result<(), Reason> {
        let needed = self.bytes.len() + piece.len();
        if needed > self.bytes.capacity() {
            let room = needed.max(self.expected).max(self.bytes.capacity().saturating_mul(2));
            if !self.held.take(self.of, room - self.taken, self.most) {
                return Err(Reason::Overloaded);
            }
            self.taken = room;
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// The same with other bytes in the place of its own, of which there are no more.
    pub(super) fn replaced(mut self, bytes: Vec<u8>) -> Self {
        let taken = bytes.capacity().min(self.taken);
        self.held.give_back(self.of, self.taken - taken);
        self.taken = taken;
        self.bytes = bytes;
        self
    }

    /// What it has become.
    pub(super) fn into_bytes(self) -> Bytes {
        if self.bytes.is_empty() { Bytes::new() } else { Bytes::from_owner(self) }
    }
}

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if self.taken > 0 {
            self.held.give_back(self.of, self.taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn nobody_holds_more_than_a_quarter_and_all_together_no_more_than_there_is() {
        let held = Held::default();
        let address = |last| ClientAddress::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))).key(64);
        assert!(held.take(address(1), 25, 100));
        assert!(!held.take(address(1), 1, 100));
        for last in 2..5 {
            assert!(held.take(address(last), 25, 100));
        }
        assert!(!held.take(address(5), 1, 100));
        held.give_back(address(1), 10);
        assert!(held.take(address(5), 10, 100));
        assert!(!held.take(address(1), 1, 100));
        for (last, bytes) in [(1, 15), (2, 25), (3, 25), (4, 25), (5, 10)] {
            held.give_back(address(last), bytes);
        }
        assert_eq!(held.bytes(), 0);
        assert!(held.0.lock().by.is_empty());
    }
}
