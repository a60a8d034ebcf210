//! A request body that keeps the route's rule, and the only kind that can be forwarded.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};

/// What a body has to satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRule {
    /// The largest size, in bytes.
    pub max: u64,
}

/// A body that was admitted: it ends in an error as soon as it grows over its rule. Only
/// [`Pass::admit`](crate::Pass::admit) makes one.
#[derive(Debug)]
pub struct Admitted<B> {
    body: B,
    left: u64,
    rule: BodyRule,
}

/// Why an admitted body broke off.
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
    pub(crate) const fn new(body: B, rule: BodyRule) -> Self {
        Self { body, left: rule.max, rule }
    }
}

impl<B: Body + Unpin> Body for Admitted<B> {
    type Data = B::Data;
    type Error = BodyError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        Pin::new(&mut this.body).poll_frame(cx).map(|frame| {
            let frame = match frame? {
                Ok(frame) => frame,
                Err(error) => return Some(Err(BodyError::Client(error))),
            };
            if let Some(data) = frame.data_ref() {
                let size = bytes_of(data);
                let Some(left) = this.left.checked_sub(size) else {
                    this.left = 0;
                    return Some(Err(BodyError::TooLarge(this.rule.max)));
                };
                this.left = left;
            }
            Some(Ok(frame))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn bytes_of(data: &impl bytes::Buf) -> u64 {
    data.remaining() as u64
}
