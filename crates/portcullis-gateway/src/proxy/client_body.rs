//! What a client sends as the body of a request, whichever version of HTTP it speaks.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// The body of a client's request.
pub(crate) enum ClientBody {
    /// Framed by HTTP/1.1.
    Http1(Incoming),
    /// The DATA frames of a stream.
    Http2(StreamBody),
}

/// Why a client's body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientBodyError {
    /// On a connection of HTTP/1.1.
    #[error(transparent)]
    Http1(hyper::Error),
    /// On a stream of HTTP/2.
    #[error(transparent)]
    Http2(h2::Error),
}

/// The body of one stream. What is taken out of it gives the client room for more.
pub(crate) struct StreamBody {
    stream: RecvStream,
    /// What the head says of its length, less what was taken out. The HTTP library holds the client to it.
    left: Option<u64>,
    data_done: bool,
    /// Where the client waits to be told that its body is wanted.
    invitation: Option<Invitation>,
}

/// Whether a client that asked first is to send its body (RFC 9110 section 10.1.1). Who waits for the body sets it; who holds
/// the stream tells the client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Invitation(Rc<Cell<bool>>);

impl Invitation {
    /// Whether the client is to be told now.
    pub(crate) fn take(&self) -> bool {
        self.0.take()
    }
}

impl StreamBody {
    /// A body of which the head declares the length, or does not.
    pub(crate) const fn new(stream: RecvStream, declared: Option<u64>, invitation: Option<Invitation>) -> Self {
        Self { stream, left: declared, data_done: false, invitation }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        while !self.data_done {
            let polled = self.stream.poll_data(cx);
            if let Some(invitation) = self.invitation.take()
                && polled.is_pending()
            {
                invitation.0.set(true);
            }
            match ready!(polled) {
                Some(Ok(data)) => {
                    // Nothing of ours keeps it: the room is the client's again. A stream that was reset has none to give.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    if data.is_empty() {
                        continue;
                    }
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => {
                    self.data_done = true;
                    // Whatever its code says: a body that was reset is not whole.
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.data_done = true,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        match &mut *self {
            Self::Http1(incoming) => {
                Pin::new(incoming).poll_frame(cx).map(|next| next.map(|frame| frame.map_err(ClientBodyError::Http1)))
            }
            Self::Http2(body) => body.poll(cx).map(|next| next.map(|frame| frame.map_err(ClientBodyError::Http2))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(incoming) => incoming.is_end_stream(),
            Self::Http2(body) => body.stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(incoming) => incoming.size_hint(),
            Self::Http2(body) if body.stream.is_end_stream() => SizeHint::with_exact(0),
            Self::Http2(body) => body.left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
