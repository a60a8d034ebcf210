//! A request body that keeps the route's rule, and the only kind that can be forwarded.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use portcullis_shield::{Coding, Reported};

/// What a body has to satisfy, apart from what the route's checks ask of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRule {
    /// The largest size, in bytes.
    pub max: u64,
    /// The same for what says that it is JSON; no larger one than `max` counts.
    pub max_json: u64,
    /// How fast it has to come while it streams, in bytes per second: 0 for as slowly as it likes, `None` where the route says
    /// nothing of it.
    pub min_rate: Option<u64>,
}

/// What comes of a request that [`Pass::admit`](crate::Pass::admit) lets go on.
#[derive(Debug)]
pub enum Admittance<B> {
    /// Its route asks nothing of the content: the body can be forwarded as it arrives.
    Free(Request<Admitted<B>>),
    /// The content must be seen whole before any of it is forwarded.
    Unexamined(Request<Unexamined<B>>),
}

/// A body that was admitted, and the only kind that can be forwarded. Only [`Pass::admit`](crate::Pass::admit) makes one,
/// and [`Gate::examine`](crate::Gate::examine) of what the route's checks have seen.
#[derive(Debug)]
pub struct Admitted<B>(Kind<B>);

#[derive(Debug)]
enum Kind<B> {
    /// It is forwarded as it arrives, and ends in an error as soon as it grows over its rule.
    Arriving(Bounded<B>),
    /// It was seen whole, and these very bytes passed.
    Examined(Bytes),
}

/// A body whose content nobody has judged yet. It can be read to its end, within its rule, and not be forwarded.
#[derive(Debug)]
pub struct Unexamined<B> {
    body: Bounded<B>,
    pub(crate) coding: Coding,
    pub(crate) reported: Reported,
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError<E> {
    /// It grew over its rule.
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    /// The client's side failed.
    #[error(transparent)]
    Client(E),
}

impl<B> Admitted<B> {
    pub(crate) const fn arriving(body: B, max: u64) -> Self {
        Self(Kind::Arriving(Bounded::new(body, max)))
    }

    pub(crate) const fn examined(bytes: Bytes) -> Self {
        Self(Kind::Examined(bytes))
    }

    /// Whether all of it has been received already: nothing of it is still the client's to send.
    #[must_use]
    pub const fn is_here(&self) -> bool {
        matches!(self.0, Kind::Examined(_))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Admitted<B> {
    type Data = Bytes;
    type Error = BodyError<B::Error>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.0 {
            Kind::Arriving(body) => body.poll_frame(cx),
            Kind::Examined(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Examined(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Arriving(body) => body.body.is_end_stream(),
            Kind::Examined(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Arriving(body) => body.body.size_hint(),
            Kind::Examined(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

impl<B> Unexamined<B> {
    pub(crate) const fn new(body: B, max: u64, coding: Coding, reported: Reported) -> Self {
        Self { body: Bounded::new(body, max), coding, reported }
    }

    /// The largest size that it may have, in bytes.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.body.max
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Unexamined<B> {
    type Data = Bytes;
    type Error = BodyError<B::Error>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.body.size_hint()
    }
}

/// A body that ends in an error as soon as it grows over its rule.
#[derive(Debug)]
struct Bounded<B> {
    body: B,
    left: u64,
    max: u64,
}

impl<B> Bounded<B> {
    const fn new(body: B, max: u64) -> Self {
        Self { body, left: max, max }
    }
}

/// A piece of a body, or why it broke off.
type Piece<E> = Result<Frame<Bytes>, BodyError<E>>;

impl<B: Body<Data = Bytes> + Unpin> Bounded<B> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece<B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx).map(|frame| {
            let frame = match frame? {
                Ok(frame) => frame,
                Err(error) => return Some(Err(BodyError::Client(error))),
            };
            if let Some(data) = frame.data_ref() {
                let Some(left) = self.left.checked_sub(data.len() as u64) else {
                    self.left = 0;
                    return Some(Err(BodyError::TooLarge(self.max)));
                };
                self.left = left;
            }
            Some(Ok(frame))
        })
    }
}
