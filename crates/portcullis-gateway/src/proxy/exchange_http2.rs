//! One exchange with an upstream that speaks HTTP/2: a stream on a connection that others share.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use h2::client::ResponseFuture;
use h2::{Reason as Code, RecvStream};
use http::header::{CONNECTION, HOST};
use http::response::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use portcullis_core::Reason;

use super::body::{RequestBody, ResponseBody, Streamed};
use super::exchange::{Failed, deliver, is_idempotent};
use super::head_http2::declared_length;
use super::headers;
use super::pool::{Address, Upstream};
use super::shaping::Shaping;
use super::streams::{Download, Load, Stopped, Upload};
use crate::listen::{Late, Link};

/// How often a request is sent at most that an upstream says it has not looked at.
const MAX_SENT: usize = 3;

/// Forwards a request that is ready for an upstream and returns its answer.
pub(super) async fn forward(
    link: &Rc<Link>,
    upstream: &Upstream,
    request: Request<RequestBody>,
    shaping: Option<Box<Shaping>>,
) -> Result<Response<ResponseBody>, Failed> {
    let (parts, body) = request.into_parts();
    let mut head = Request::from_parts(parts, ());
    address(&mut head, upstream.settings.tls.is_some()).map_err(Failed::before)?;
    let mut load = Load::new(body);
    let mut repeated = false;
    for sent in 1.. {
        let (mut seat, home) = upstream.seat(link).await.map_err(Failed::before)?;
        let bare = load.is_empty();
        let (answer, to) = match seat.sender.send_request(copy(&head), bare) {
            Ok(begun) => begun,
            Err(error) if sent < MAX_SENT => {
                tracing::debug!(%error, "a connection of HTTP/2 takes no more requests");
                continue;
            }
            Err(_) => return Err(Failed::before(Reason::UpstreamUnreachable)),
        };
        link.deadlines.set(Late::ResponseHead, upstream.settings.response_timeout);
        let upload = Upload::new(load, to);
        let (answered, upload) = exchange(link, answer, upload, bare).await;
        link.deadlines.clear(Late::ResponseHead);
        match answered {
            Ok(response) => {
                link.answer_begins();
                let upload = upload.map(|upload| upload.detach(link));
                let declared = declared_length(response.headers());
                let (head, from) = response.into_parts();
                let download = Download::new(from, declared, seat, upload);
                return receive(link, upstream, head, download, shaping).await;
            }
            Err(Unanswered::Late(reason)) => {
                if reason == Reason::RequestTimeout {
                    link.lingers.set(true);
                } else {
                    seat.late();
                }
                return Err(Failed::after(reason));
            }
            Err(Unanswered::Client) => {
                let reason = link.body_failure.take().unwrap_or(Reason::Internal);
                return Err(Failed::after(reason));
            }
            Err(Unanswered::Broken(error)) => {
                let again = upload.and_then(|upload| upload.load.again());
                load = judge(&home, &error, again, sent, seat.reused && !repeated && is_idempotent(head.method()))?;
                repeated |= !is_unprocessed(&error);
            }
        }
    }
    Err(Failed::after(Reason::UpstreamUnreachable))
}

/// What may be sent again after a stream broke off without an answer.
fn judge(home: &Address, error: &h2::Error, load: Option<Load>, sent: usize, may_repeat: bool) -> Result<Load, Failed> {
    if is_unprocessed(error) {
        // The upstream says that it has not looked at it: any request may be sent again (RFC 9113 section 8.7).
        return load.filter(|_| sent < MAX_SENT).ok_or_else(|| Failed::after(Reason::UpstreamUnreachable));
    }
    home.tell(error);
    if error.is_io() {
        // The connection was stale, or died of something else: once more where that does no harm and there is no body.
        return load
            .filter(|load| may_repeat && load.is_empty())
            .ok_or_else(|| Failed::after(Reason::UpstreamUnreachable));
    }
    // What breaks the protocol is the upstream's fault; what it resets by itself it may have worked on.
    Err(Failed::after(if error.is_remote() { Reason::UpstreamUnreachable } else { Reason::UpstreamInvalid }))
}

/// Whether the upstream has certainly not looked at the request: REFUSED_STREAM, or a stream beyond the last one that a
/// GOAWAY names (the library tells no other streams of it).
fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || (error.is_reset() && error.reason() == Some(Code::REFUSED_STREAM)))
}

/// Brings a target to the form of HTTP/2: where HTTP/1.1 has a Host header it has an authority (RFC 9113 section 8.3.1).
fn address(head: &mut Request<()>, secure: bool) -> Result<(), Reason> {
    let invalid = Reason::Malformed("the Host header is not a host with an optional port");
    let headers = head.headers_mut();
    // "TE: trailers" stands for itself here; the list that announces it does not exist.
    headers.remove(CONNECTION);
    let host = headers.remove(HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok()).ok_or(invalid)?;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    parts.path_and_query = Some(head.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    *head.uri_mut() = Uri::from_parts(parts).map_err(|_| Reason::Malformed("the request target is not valid"))?;
    *head.version_mut() = Version::HTTP_2;
    Ok(())
}

fn copy(head: &Request<()>) -> Request<()> {
    let mut copy = Request::new(());
    *copy.method_mut() = head.method().clone();
    *copy.uri_mut() = head.uri().clone();
    *copy.headers_mut() = head.headers().clone();
    *copy.version_mut() = Version::HTTP_2;
    copy
}

/// Why there is no response head.
enum Unanswered {
    /// It took too long.
    Late(Reason),
    /// The client's body may not go on.
    Client,
    /// The stream or its connection broke off.
    Broken(h2::Error),
}

/// Sends the body until the response head is here. The upload is returned where it has not ended, or can be sent again.
async fn exchange(
    link: &Link,
    mut answer: ResponseFuture,
    upload: Upload,
    bare: bool,
) -> (Result<Response<RecvStream>, Unanswered>, Option<Upload>) {
    let mut upload = upload;
    let mut sending = !bare;
    let answered = poll_fn(|cx: &mut Context<'_>| {
        if let Some(late) = link.deadlines.take_missed() {
            return Poll::Ready(Err(Unanswered::Late(match late {
                Late::RequestBody => Reason::RequestTimeout,
                // The whole has taken too long: whoever is waited for is to blame.
                Late::Total if link.deadlines.awaits(Late::RequestBody) => Reason::RequestTimeout,
                _ => Reason::UpstreamTimeout,
            })));
        }
        if sending && let Poll::Ready(ended) = upload.poll(cx) {
            sending = false;
            if ended == Err(Stopped::Client) {
                return Poll::Ready(Err(Unanswered::Client));
            }
        }
        Pin::new(&mut answer).poll(cx).map_err(Unanswered::Broken)
    })
    .await;
    let wanted = sending || answered.is_err();
    (answered, wanted.then_some(upload))
}

/// Turns the upstream's answer into the client's.
async fn receive(
    link: &Rc<Link>,
    upstream: &Upstream,
    mut head: Parts,
    download: Download,
    shaping: Option<Box<Shaping>>,
) -> Result<Response<ResponseBody>, Failed> {
    if head.status.is_informational() {
        return Err(Failed::after(Reason::UpstreamInvalid));
    }
    headers::prepare_response(&mut head.headers, head.status, Version::HTTP_2, false).map_err(Failed::after)?;
    head.version = Version::HTTP_11;
    head.extensions.clear();
    deliver(link, head, Streamed::shared(download, upstream.settings.read_timeout), shaping).await
}
