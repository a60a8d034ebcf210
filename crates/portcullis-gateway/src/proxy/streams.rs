//! The two directions of one stream of HTTP/2 to an upstream.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;

use super::body::{Broken, RequestBody};
use super::lanes::Seat;
use crate::listen::{Late, Link};

/// Bytes that are asked room for at once.
const PIECE: usize = 64 * 1024;

/// What is kept of a request body that was sent, in case that the upstream has not looked at it.
const KEPT: usize = 64 * 1024;

/// Why an upload ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The client's body may not go on; the stream was reset.
    Client,
    /// The upstream takes no more of it. Why is told by its answer.
    Upstream,
}

/// A request body, and what of it can be sent again.
pub(crate) struct Load {
    body: RequestBody,
    /// Taken out of the body and not sent yet.
    waiting: VecDeque<Bytes>,
    /// Sent; whole only while it is no more than is kept.
    sent: Vec<Bytes>,
    kept: usize,
    /// How the body ended, if it did: with trailers or without.
    end: Option<Option<HeaderMap>>,
}

impl Load {
    pub(crate) const fn new(body: RequestBody) -> Self {
        Self { body, waiting: VecDeque::new(), sent: Vec::new(), kept: 0, end: None }
    }

    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && !matches!(self.end, Some(Some(_)))
            && (self.end.is_some() || self.body.is_end_stream())
    }

    /// Puts back what was sent. `None` where that is more than was kept.
    pub(crate) fn again(mut self) -> Option<Self> {
        if self.kept > KEPT {
            return None;
        }
        for piece in self.sent.drain(..).rev() {
            self.waiting.push_front(piece);
        }
        self.kept = 0;
        Some(self)
    }

    fn keep(&mut self, piece: &Bytes) {
        self.kept = self.kept.saturating_add(piece.len());
        if self.kept > KEPT {
            self.sent = Vec::new();
        } else {
            self.sent.push(piece.clone());
        }
    }
}

/// A request body on its way.
pub(crate) struct Upload {
    pub(crate) load: Load,
    to: SendStream<Bytes>,
}

impl Upload {
    pub(crate) const fn new(load: Load, to: SendStream<Bytes>) -> Self {
        Self { load, to }
    }

    /// Sends what can be sent now. Ready when all of it is, or nothing more will be.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        loop {
            if !matches!(self.to.poll_reset(cx), Poll::Pending) {
                return Poll::Ready(Err(Stopped::Upstream));
            }
            if let Some(mut piece) = self.load.waiting.pop_front() {
                let Poll::Ready(room) = self.poll_room(piece.len(), cx) else {
                    self.load.waiting.push_front(piece);
                    return Poll::Pending;
                };
                let sending = piece.split_to(room?.min(piece.len()));
                if !piece.is_empty() {
                    self.load.waiting.push_front(piece);
                }
                self.load.keep(&sending);
                let ends = self.load.waiting.is_empty()
                    && (matches!(self.load.end, Some(None))
                        || self.load.end.is_none() && self.load.body.is_end_stream());
                self.to.send_data(sending, ends).map_err(|_| Stopped::Upstream)?;
                if ends {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            if let Some(end) = &self.load.end {
                let sent = match end {
                    Some(trailers) => self.to.send_trailers(trailers.clone()),
                    None => self.to.send_data(Bytes::new(), true),
                };
                return Poll::Ready(sent.map_err(|_| Stopped::Upstream));
            }
            match ready!(Pin::new(&mut self.load.body).poll_frame(cx)) {
                None => self.load.end = Some(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => self.load.waiting.push_back(data),
                    Err(frame) => self.load.end = Some(frame.into_trailers().ok()),
                },
                Some(Err(_)) => {
                    // A body that broke off must not look complete to the upstream either.
                    self.to.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(Stopped::Client));
                }
            }
        }
    }

    /// Room for some of so many bytes.
    fn poll_room(&mut self, wanted: usize, cx: &mut Context<'_>) -> Poll<Result<usize, Stopped>> {
        self.to.reserve_capacity(wanted.min(PIECE));
        loop {
            if self.to.capacity() > 0 {
                return Poll::Ready(Ok(self.to.capacity()));
            }
            match ready!(self.to.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(Stopped::Upstream)),
            }
        }
    }

    /// Lets the rest go on by itself, whether or not the client reads the answer.
    pub(crate) fn detach(self, link: &Rc<Link>) -> Detached {
        let place = Rc::new(RefCell::new(Some(self)));
        let task = tokio::task::spawn_local(carry(Rc::clone(&place), Rc::clone(link)));
        Detached { place, task: task.abort_handle() }
    }
}

async fn carry(place: Rc<RefCell<Option<Upload>>>, link: Rc<Link>) {
    let alarm = link.core.wheel.alarm();
    poll_fn(|cx| {
        let mut held = place.borrow_mut();
        let Some(upload) = &mut *held else { return Poll::Ready(()) };
        if upload.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // The task of the client's connection may have looked at its deadlines before this one was set.
        let by = link.deadlines.at(Late::RequestBody);
        if by <= link.core.wheel.now() {
            upload.to.send_reset(Reason::CANCEL);
            return Poll::Ready(());
        }
        alarm.ring_by(by, cx);
        Poll::Pending
    })
    .await;
    place.take();
}

/// The rest of an upload. It ends with this value.
pub(crate) struct Detached {
    place: Rc<RefCell<Option<Upload>>>,
    task: AbortHandle,
}

impl Drop for Detached {
    fn drop(&mut self) {
        // At once: the client's next request may be the next thing that happens.
        let upload = self.place.try_borrow_mut().ok().and_then(|mut place| place.take());
        drop(upload);
        self.task.abort();
    }
}

/// A response body on its way.
pub(crate) struct Download {
    from: RecvStream,
    /// What the head says of its length, less what has come.
    left: Option<u64>,
    data_done: bool,
    /// Kept while there is something to come.
    held: Option<(Seat, Option<Detached>)>,
}

impl Download {
    pub(crate) fn new(from: RecvStream, declared: Option<u64>, seat: Seat, upload: Option<Detached>) -> Self {
        let mut download = Self { from, left: declared, data_done: false, held: Some((seat, upload)) };
        if download.from.is_end_stream() {
            download.end();
        }
        download
    }

    /// Nothing more is wanted of the upstream.
    pub(crate) fn end(&mut self) {
        self.held = None;
    }

    /// It did not come in time.
    pub(crate) fn late(&mut self) {
        if let Some((seat, _)) = &self.held {
            seat.late();
        }
        self.end();
    }

    /// The next piece.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        while !self.data_done {
            match ready!(self.from.poll_data(cx)) {
                Some(Ok(data)) => {
                    // It is the client's now. A stream that was reset has no room to give back.
                    let _ = self.from.flow_control().release_capacity(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    if self.from.is_end_stream() {
                        self.end();
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(self.broken(&error)),
                None => self.data_done = true,
            }
        }
        let trailers = ready!(self.from.poll_trailers(cx));
        self.end();
        match trailers {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) => Poll::Ready(self.broken(&error)),
        }
    }

    /// What a broken stream means. A peer that has ended its answer may reset the stream without an error, to be sent no more of
    /// the request (RFC 9113 section 8.1): the library does not tell of that. Here the end has not come, so that an answer is
    /// whole only if it is as long as it said. Any other code, CANCEL included, means that something is missing.
    fn broken(&mut self, error: &h2::Error) -> Option<Result<Frame<Bytes>, Broken>> {
        self.end();
        let complete =
            error.is_reset() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR) && self.left == Some(0);
        if complete {
            return None;
        }
        tracing::debug!(%error, "an upstream's answer broke off");
        Some(Err(Broken::Response))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.from.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.from.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
