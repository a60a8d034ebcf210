//! One stream: a request and its answer, with a task and deadlines of its own. Whatever ends it early resets the stream and
//! nothing else of the connection.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, DATE, EXPECT};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};

use super::super::deadlines::Late;
use super::super::link::Link;
use super::{PIECE, Streams};
use crate::proxy::{self, ClientBody, Invitation, ResponseBody, StreamBody};

/// Begins a stream. One for whose head there is no room is refused; it may be asked again (RFC 9113 section 8.7).
pub(super) fn begin(streams: &Rc<Streams>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let Some(seat) = streams.enter(proxy::list_size(&request)) else {
        respond.send_reset(h2::Reason::REFUSED_STREAM);
        return;
    };
    let streams = Rc::clone(streams);
    tokio::task::spawn_local(tokio::task::unconstrained(async move {
        run(&streams, request, respond).await;
        drop(seat);
    }));
}

/// Serves a stream until it ends or misses a deadline that nobody answers for.
async fn run(streams: &Streams, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let link = Link::stream(&streams.link);
    let spare = streams.alarms.borrow_mut().pop();
    let alarm = match spare {
        Some(alarm) => {
            poll_fn(|cx| {
                alarm.hand_to(cx);
                Poll::Ready(())
            })
            .await;
            alarm
        }
        None => link.core.wheel.alarm(),
    };
    {
        // Dropped before its end it resets the stream (CANCEL).
        let mut work = pin!(carry(&link, request, respond));
        poll_fn(|cx| {
            loop {
                let polled = work.as_mut().poll(cx);
                if polled.is_ready() || link.deadlines.take_missed().is_some() {
                    return Poll::Ready(());
                }
                match link.deadlines.take_due() {
                    None => break,
                    Some(Late::Credential) if link.goes_on(link.holder().as_deref()) => {}
                    // The exchange answers for its own deadlines if it still can; if nobody takes the news, it cannot.
                    Some(late) => {
                        if late == Late::ClientWrite {
                            streams.stalled();
                        }
                        link.deadlines.miss(late);
                    }
                }
            }
            alarm.ring_by(link.deadlines.next(), cx);
            Poll::Pending
        })
        .await;
    }
    streams.alarms.borrow_mut().push(alarm);
}

/// The stream is no more: the client has reset it, or its connection has ended.
struct Gone;

async fn carry(link: &Rc<Link>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let is_head = *request.method() == Method::HEAD;
    let invitation = request.headers().contains_key(EXPECT).then(Invitation::default);
    let declared = proxy::declared_length(request.headers());
    let request = request.map(|stream| ClientBody::Http2(StreamBody::new(stream, declared, invitation.clone())));
    let mut serving = pin!(proxy::serve(Rc::clone(link), request));
    let answered = poll_fn(|cx| {
        if let Poll::Ready(answer) = serving.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        if invitation.as_ref().is_some_and(Invitation::take) {
            let mut go_on = Response::new(());
            *go_on.status_mut() = StatusCode::CONTINUE;
            // Where it cannot be sent the stream has ended, which is seen next.
            let _ = respond.send_informational(go_on);
        }
        respond.poll_reset(cx).map(|_| Err(Gone))
    })
    .await;
    let Ok(Ok::<_, Infallible>(response)) = answered else { return };
    // Whoever waits for our answer any longer is looked for where it is sent.
    let _ = send(link, response, respond, is_head).await;
}

/// Sends an answer, as fast as the client makes room for it.
async fn send(
    link: &Rc<Link>,
    response: Response<ResponseBody>,
    mut respond: SendResponse<Bytes>,
    is_head: bool,
) -> Result<(), Gone> {
    let (mut head, body) = response.into_parts();
    head.version = Version::HTTP_2;
    proxy::strip_response(&mut head.headers);
    if !head.headers.contains_key(DATE) {
        head.headers.insert(DATE, link.core.date());
    }
    let has_no_content = is_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if let Some(length) = body.size_hint().exact()
        && (length > 0 || !has_no_content)
        && head.status != StatusCode::NO_CONTENT
        && !head.headers.contains_key(CONTENT_LENGTH)
    {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let ends = has_no_content || body.is_end_stream();
    let mut stream = respond.send_response(Response::from_parts(head, ()), ends).map_err(|_| Gone)?;
    if ends {
        return Ok(());
    }
    let mut body = pin!(body);
    loop {
        match next(&mut stream, body.as_mut()).await? {
            None => return stream.send_data(Bytes::new(), true).map_err(|_| Gone),
            Some(Err(_)) => {
                // An answer that broke off must not look complete.
                stream.send_reset(h2::Reason::INTERNAL_ERROR);
                return Err(Gone);
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let last = body.is_end_stream();
                    send_data(link, &mut stream, data, last).await?;
                    if last {
                        return Ok(());
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return stream.send_trailers(trailers).map_err(|_| Gone);
                }
            },
        }
    }
}

type Next = Option<Result<Frame<Bytes>, <ResponseBody as Body>::Error>>;

/// The next piece of an answer, unless the client has given the stream up.
async fn next(stream: &mut SendStream<Bytes>, mut body: Pin<&mut ResponseBody>) -> Result<Next, Gone> {
    poll_fn(|cx| match stream.poll_reset(cx) {
        Poll::Ready(_) => Poll::Ready(Err(Gone)),
        Poll::Pending => body.as_mut().poll_frame(cx).map(Ok),
    })
    .await
}

/// Hands a piece of an answer to the library by no more than the client has room for: what lies there has no deadline.
async fn send_data(link: &Link, stream: &mut SendStream<Bytes>, mut data: Bytes, last: bool) -> Result<(), Gone> {
    loop {
        let wanted = data.len().min(PIECE);
        let room = if wanted == 0 { 0 } else { room(link, stream, wanted).await? };
        let piece = data.split_to(room);
        let ends = last && data.is_empty();
        stream.send_data(piece, ends).map_err(|_| Gone)?;
        if data.is_empty() {
            return Ok(());
        }
    }
}

/// Waits until the client has room, but not for longer than a client may take to read.
async fn room(link: &Link, stream: &mut SendStream<Bytes>, wanted: usize) -> Result<usize, Gone> {
    stream.reserve_capacity(wanted);
    let room = poll_fn(|cx: &mut Context<'_>| {
        let room = stream.capacity();
        if room > 0 {
            return Poll::Ready(Ok(room.min(wanted)));
        }
        match stream.poll_capacity(cx) {
            Poll::Ready(Some(Ok(room))) if room > 0 => Poll::Ready(Ok(room.min(wanted))),
            Poll::Ready(Some(Ok(_))) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(Err(Gone)),
            Poll::Pending => {
                link.deadlines.begin(Late::ClientWrite, link.transport.body_timeout);
                Poll::Pending
            }
        }
    })
    .await;
    link.deadlines.clear(Late::ClientWrite);
    room
}
