//! Bodies in both directions, with nothing between the sockets but one bounded piece.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::SET_COOKIE;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use portcullis::{Admitted, BodyError};
use portcullis_core::Reason;

use super::client_body::ClientBody;
use super::headers::filter_trailers;
use super::pace::Pace;
use super::pool::{Address, Connected};
use super::streams::Download;
use super::watching::Watching;
use crate::listen::{Late, Link};

/// Why a body broke off. Whoever made it has noted the reason for the client where there is still one to tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The request body may not go on.
    #[error("the request body broke off")]
    Request,
    /// The upstream's body broke off.
    #[error("the response body broke off")]
    Response,
    /// It took too long.
    #[error("a deadline passed")]
    Late,
}

/// A request body on its way to an upstream. Small where there is none: hyper keeps room for 32 requests beside every
/// connection.
pub(crate) struct RequestBody(Option<Box<Sending>>);

/// A body that there is.
struct Sending {
    body: Admitted<ClientBody>,
    link: Rc<Link>,
    pace: Pace,
    response_timeout: Duration,
    ended: bool,
}

impl RequestBody {
    /// A body that has to come at `min_rate`, in bytes per second.
    pub(crate) fn new(body: Admitted<ClientBody>, link: &Rc<Link>, response_timeout: Duration, min_rate: u64) -> Self {
        // Where there is nothing to send there is nothing to admit.
        let sends = !body.is_end_stream();
        let pace = Pace::new(link.transport.body_timeout, min_rate);
        Self(sends.then(|| Box::new(Sending { body, link: Rc::clone(link), pace, response_timeout, ended: false })))
    }

    /// No body, for a request that is sent again.
    pub(crate) const fn empty() -> Self {
        Self(None)
    }
}

impl Sending {
    /// The client's turn. Once the answer has begun both sides may speak, each when it has something to say, and a client may
    /// listen for long in between.
    fn await_client(&mut self) {
        let Link { deadlines, transport, .. } = &*self.link;
        deadlines.clear(Late::ResponseHead);
        if !deadlines.awaits(Late::RequestBody) {
            let patience = self.pace.wait(self.link.core.wheel.now());
            let wait = if self.link.answered.get() { transport.body_timeout } else { patience };
            deadlines.set(Late::RequestBody, wait);
        }
    }

    /// The upstream's turn: it has this long to take more of the body or to answer.
    fn await_upstream(&self) {
        if !self.link.answered.get() {
            self.link.deadlines.set(Late::ResponseHead, self.response_timeout);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(this) = &mut self.0 else { return Poll::Ready(None) };
        let Poll::Ready(next) = Pin::new(&mut this.body).poll_frame(cx) else {
            this.await_client();
            return Poll::Pending;
        };
        this.link.deadlines.clear(Late::RequestBody);
        let data = next.as_ref().and_then(|next| next.as_ref().ok()?.data_ref());
        this.pace.came(data.map_or(0, Bytes::len), this.link.core.wheel.now());
        match next {
            None => {
                this.ended = true;
                this.await_upstream();
                Poll::Ready(None)
            }
            Some(Ok(frame)) => {
                this.await_upstream();
                if let Some(data) = frame.data_ref() {
                    this.link.body_read(data);
                    return Poll::Ready(Some(Ok(frame)));
                }
                this.ended = true;
                let Ok(mut trailers) = frame.into_trailers() else { return Poll::Ready(None) };
                filter_trailers(&mut trailers);
                if let Some(pass) = &*this.link.pass.borrow() {
                    pass.apply_to_trailers(&mut trailers);
                }
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Some(Err(error)) => {
                this.ended = true;
                let reason = match error {
                    BodyError::TooLarge(limit) => Reason::BodyTooLarge(limit),
                    BodyError::Client(_) => Reason::Malformed("the framing of the body is broken"),
                };
                this.link.lingers.set(true);
                this.link.body_failure.replace(Some(reason));
                Poll::Ready(Some(Err(Broken::Request)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|sending| sending.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |sending| sending.body.size_hint())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_here() && !self.body.is_end_stream() {
            self.link.lingers.set(true);
        }
    }
}

/// The largest request body that is read past when the request is refused, in bytes.
const READ_PAST: u64 = 64 * 1024;

/// Reads past the body of a refused request if all of it has arrived with the head: the connection can be kept then. A
/// client that floods us with small requests would otherwise cost us a connection for each.
pub(crate) fn is_here_whole(link: &Link, body: &mut ClientBody) -> bool {
    if body.is_end_stream() {
        return true;
    }
    if body.size_hint().exact().is_none_or(|length| length > READ_PAST) {
        return false;
    }
    // Nobody is woken: what is not here now is not waited for.
    let mut aside = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut *body).poll_frame(&mut aside) {
        if let Some(data) = frame.data_ref() {
            link.body_read(data);
        }
        if body.is_end_stream() {
            return true;
        }
    }
    false
}

/// A response body on its way to the client.
pub(crate) struct ResponseBody {
    kind: Kind,
    link: Rc<Link>,
}

enum Kind {
    Whole(Option<Bytes>),
    Streamed(Streamed),
    /// One that is looked at while it passes.
    Watched(Box<(Streamed, Option<Box<Watching>>)>),
}

/// A body that an upstream sends.
pub(super) struct Streamed {
    source: Source,
    read_timeout: Duration,
}

enum Source {
    /// Over a connection of its own: it drives the connection, and gives it back at its end.
    Own(Own),
    /// On a stream of HTTP/2.
    Shared(Box<Download>),
}

struct Own {
    incoming: Incoming,
    lender: Option<(Box<Connected>, Rc<Address>)>,
}

impl ResponseBody {
    /// A body that is all there.
    pub(crate) fn whole(bytes: Bytes, link: Rc<Link>) -> Self {
        Self { kind: Kind::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())), link }
    }

    /// A body that an upstream sends.
    pub(super) const fn streamed(body: Streamed, link: Rc<Link>) -> Self {
        Self { kind: Kind::Streamed(body), link }
    }

    /// A body that an upstream sends, and that is looked at while it passes.
    pub(super) fn watched(body: Streamed, watching: Box<Watching>, link: Rc<Link>) -> Self {
        Self { kind: Kind::Watched(Box::new((body, Some(watching)))), link }
    }
}

impl Streamed {
    /// A body that is sent over this connection.
    pub(super) fn new(
        incoming: Incoming,
        connected: Box<Connected>,
        home: Rc<Address>,
        read_timeout: Duration,
    ) -> Self {
        let mut own = Own { incoming, lender: Some((connected, home)) };
        if own.incoming.is_end_stream() {
            own.give_back();
        }
        Self { source: Source::Own(own), read_timeout }
    }

    /// A body that is sent on a stream of HTTP/2.
    pub(super) fn shared(download: Download, read_timeout: Duration) -> Self {
        Self { source: Source::Shared(Box::new(download)), read_timeout }
    }

    /// How long it is, as far as that is known.
    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(own) => own.incoming.size_hint(),
            Source::Shared(download) => download.size_hint(),
        }
    }

    /// Whether nothing more will come.
    pub(super) fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(own) => own.incoming.is_end_stream(),
            Source::Shared(download) => download.is_end_stream(),
        }
    }

    /// It did not come in time.
    fn late(&mut self) {
        match &mut self.source {
            Source::Own(own) => own.lender = None,
            Source::Shared(download) => download.late(),
        }
    }

    /// The next piece.
    pub(super) fn poll(&mut self, link: &Link, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = match &mut self.source {
            Source::Own(own) => own.poll(cx),
            Source::Shared(download) => download.poll(cx),
        };
        let Poll::Ready(next) = polled else {
            link.deadlines.begin(Late::ResponseBody, self.read_timeout);
            return Poll::Pending;
        };
        if let Some(Ok(_)) = &next {
            link.deadlines.clear(Late::ResponseBody);
        }
        Poll::Ready(next.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(data) => Frame::data(data),
                Err(frame) => Frame::trailers(response_trailers(frame.into_trailers().unwrap_or_default())),
            })
        }))
    }

    /// The next piece for the client, unless a deadline has passed.
    fn poll_in_time(&mut self, link: &Link, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = if link.deadlines.take_missed().is_some() {
            self.late();
            Poll::Ready(Some(Err(Broken::Late)))
        } else {
            self.poll(link, cx)
        };
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            link.broken.set(true);
        }
        polled
    }
}

impl Own {
    fn give_back(&mut self) {
        if let Some((connected, home)) = self.lender.take() {
            home.give_back(connected);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        // Only the connection below puts anything into the body, and it is driven right here: no waker is needed
        // between the two.
        let mut aside = Context::from_waker(Waker::noop());
        let mut driven = false;
        loop {
            match Pin::new(&mut self.incoming).poll_frame(&mut aside) {
                Poll::Ready(Some(Ok(frame))) => {
                    if self.incoming.is_end_stream() {
                        self.give_back();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(Some(Err(_))) => {
                    self.lender = None;
                    return Poll::Ready(Some(Err(Broken::Response)));
                }
                Poll::Ready(None) => {
                    self.give_back();
                    return Poll::Ready(None);
                }
                Poll::Pending if driven => return Poll::Pending,
                Poll::Pending => {
                    driven = true;
                    if let Some((connected, _)) = &mut self.lender {
                        // Its end or failure shows in the body, which is asked next.
                        let _ = connected.drive(cx);
                    }
                }
            }
        }
    }
}

fn response_trailers(mut trailers: HeaderMap) -> HeaderMap {
    filter_trailers(&mut trailers);
    trailers.remove(SET_COOKIE);
    trailers
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        match &mut this.kind {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Streamed(streamed) => streamed.poll_in_time(&this.link, cx),
            Kind::Watched(watched) => {
                let (streamed, watching) = &mut **watched;
                let polled = streamed.poll_in_time(&this.link, cx);
                if let Poll::Ready(next) = &polled {
                    Watching::look(watching, &this.link, next.as_ref(), streamed.is_end_stream());
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Streamed(streamed) => streamed.is_end_stream(),
            Kind::Watched(watched) => watched.0.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Streamed(streamed) => streamed.size_hint(),
            Kind::Watched(watched) => watched.0.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.link.end_exchange();
    }
}
