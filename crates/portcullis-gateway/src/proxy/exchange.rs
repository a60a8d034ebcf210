//! One exchange with an upstream, driven inline: the client's task polls the upstream's connection itself.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, UPGRADE};
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use portcullis::Admitted;
use portcullis_core::{Reason, RequestId};
use portcullis_shield::{Plan, Tunnels};

use super::body::{RequestBody, ResponseBody, Streamed};
use super::client_body::ClientBody;
use super::exchange_http2;
use super::head::{Asks, connection_options};
use super::headers;
use super::pool::{Address, Borrowed, Connected, Upstream};
use super::shaping::Shaping;
use super::tunnel::Tunnel;
use super::watching;
use crate::listen::{Late, Link};

/// An exchange that yielded no answer.
#[derive(Debug)]
pub(crate) struct Failed {
    /// What the client is told.
    pub(crate) reason: Reason,
    /// Whether the upstream may have seen the request.
    pub(crate) forwarded: bool,
    /// Whether the request was read to its end, so that the next one can follow on the connection.
    pub(crate) read: bool,
}

impl Failed {
    /// Nothing was forwarded, and the client may still be sending.
    pub(super) const fn before(reason: Reason) -> Self {
        Self { reason, forwarded: false, read: false }
    }

    /// Nothing was forwarded, and nothing of the request is still to come.
    pub(super) const fn read(reason: Reason) -> Self {
        Self { reason, forwarded: false, read: true }
    }

    /// The upstream has answered, and its answer is not told. Who may not see it keeps their connection: by that it could be
    /// told from what does not exist.
    fn shaped(reason: Reason) -> Self {
        if let Reason::ResponseRefused(why) = reason {
            tracing::warn!(why, "an upstream's answer is refused");
        }
        Self { reason, forwarded: true, read: true }
    }

    /// The upstream may have seen it.
    pub(super) const fn after(reason: Reason) -> Self {
        Self { reason, forwarded: true, read: false }
    }
}

/// Forwards an admitted request (its pass is in the link) and returns the upstream's answer, ready for the client.
pub(crate) async fn forward(
    link: &Rc<Link>,
    upstream: &Upstream,
    request: Request<Admitted<ClientBody>>,
    asks: Asks,
    (id, id_value): (RequestId, HeaderValue),
) -> Result<Response<ResponseBody>, Failed> {
    let shaping = Shaping::begin(link, &request, id);
    let upgrade = if asks.websocket { upgrade(link, upstream, &request, shaping.as_deref(), id) } else { Upgrade::No };
    let asks = Asks { websocket: upgrade != Upgrade::No, ..asks };
    let mut request = prepare(link, upstream, request, asks, id_value).map_err(Failed::before)?;
    if let Some(shaping) = shaping.as_ref().filter(|shaping| shaping.binds()) {
        shaping.prepare(&mut request);
    }
    if upstream.settings.http2 {
        return Box::pin(exchange_http2::forward(link, upstream, request, shaping)).await;
    }
    let mut fresh = false;
    loop {
        let Borrowed { mut connected, home, reused } = upstream.borrow(link, fresh).await.map_err(Failed::before)?;
        // hyper consumes the head. Where the connection may be stale and saying it twice does no harm (RFC 9110 §9.2.2),
        // a copy is kept.
        let spare = (reused && is_repeatable(&request)).then(|| copy(&request));
        link.deadlines.set(Late::ResponseHead, upstream.settings.response_timeout);
        let answer = send(link, &mut connected, &home, request).await;
        link.deadlines.clear(Late::ResponseHead);
        match answer {
            Ok(response) => {
                link.answer_begins();
                return receive(link, upstream, Borrowed { connected, home, reused }, response, upgrade, shaping).await;
            }
            // Nothing of it was sent: another connection may take it, whatever it is.
            Err(Unanswered::Unsent(unsent)) if reused => request = *unsent,
            Err(Unanswered::Unsent(_)) => return Err(Failed::before(Reason::UpstreamUnreachable)),
            Err(Unanswered::Lost) => match spare {
                Some(head) => request = head.map(|()| RequestBody::empty()),
                None => return Err(Failed::after(Reason::UpstreamUnreachable)),
            },
            Err(Unanswered::Because(reason)) => return Err(Failed::after(reason)),
        }
        fresh = true;
    }
}

/// What the upstream is asked to switch to, and may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upgrade {
    /// Nothing.
    No,
    /// WebSocket.
    WebSocket,
    /// WebSocket, and if it does, that is told as something of which no rule speaks.
    Reported(RequestId),
}

/// Whether a request that properly asks to become a WebSocket may. Through a tunnel everything could be told, and HTTP/2 has
/// no upgrade (RFC 9113 section 8.6): a hop may leave it out.
fn upgrade<B>(
    link: &Link,
    upstream: &Upstream,
    request: &Request<B>,
    shaping: Option<&Shaping>,
    id: RequestId,
) -> Upgrade {
    if upstream.settings.http2 || shaping.is_some_and(|shaping| !shaping.lets_tunnel()) {
        return Upgrade::No;
    }
    let pass = link.pass.borrow();
    match pass.as_ref().map(|pass| pass.tunnel(request.method(), request.uri())) {
        Some(Tunnels::Open) => Upgrade::WebSocket,
        Some(Tunnels::Reported) => Upgrade::Reported(id),
        Some(Tunnels::Closed) | None => Upgrade::No,
    }
}

/// Turns an admitted request into the one that the upstream gets.
fn prepare(
    link: &Rc<Link>,
    upstream: &Upstream,
    mut request: Request<Admitted<ClientBody>>,
    asks: Asks,
    id: HeaderValue,
) -> Result<Request<RequestBody>, Reason> {
    let mut pass = link.pass.borrow_mut();
    // A pass that has gone was used before; one request is forwarded by one pass.
    let pass = pass.as_mut().ok_or(Reason::Internal)?;
    let version = request.version();
    let settings = &upstream.settings;
    headers::prepare_request(request.headers_mut(), link, pass, settings, version, asks.websocket, id)?;
    if let Some(target) = target(request.uri(), pass.take_rewritten(), &settings.base_path)? {
        *request.uri_mut() = Uri::from(target);
    }
    *request.version_mut() = Version::HTTP_11;
    // Messages of gRPC come when there is something to say. Where nobody speaks it, its name is no way around the pace.
    let streams = asks.grpc && settings.http2;
    let min_rate = if streams { 0 } else { pass.min_body_rate().unwrap_or(link.transport.min_body_rate) };
    let mut request = request.map(|body| RequestBody::new(body, link, settings.response_timeout, min_rate));
    if !settings.http2
        && matches!(*request.method(), Method::GET | Method::HEAD)
        && request.body().size_hint().exact().is_none()
        && !request.headers().contains_key(CONTENT_LENGTH)
    {
        // hyper leaves such content out in silence where the head does not say how it is framed: the upstream would act on
        // another request than the one that was decided about.
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Ok(request)
}

/// The target to forward, where it is not the one that is there already.
fn target(uri: &Uri, rewritten: Option<PathAndQuery>, base_path: &str) -> Result<Option<PathAndQuery>, Reason> {
    let current = rewritten.as_ref().or_else(|| uri.path_and_query());
    let text = current.map_or("/", PathAndQuery::as_str);
    // Characters that RFC 3986 §3.4 has no place for in a query, though browsers send some of them raw.
    let is_raw =
        |byte: &u8| matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b'[' | b']');
    if base_path.is_empty() && !text.as_bytes().iter().any(is_raw) {
        return Ok(rewritten);
    }
    let mut full = String::with_capacity(base_path.len() + text.len() + 8);
    full.push_str(base_path);
    for character in text.chars() {
        match u8::try_from(character) {
            Ok(byte) if is_raw(&byte) => full.push_str(&format!("%{byte:02X}")),
            _ => full.push(character),
        }
    }
    PathAndQuery::try_from(full).map(Some).map_err(|_| Reason::Malformed("the request target is not valid"))
}

/// Whether a request may be sent a second time (RFC 9110 §9.2.2) and still can be: it has no body.
fn is_repeatable(request: &Request<RequestBody>) -> bool {
    is_idempotent(request.method()) && request.body().is_end_stream()
}

/// Whether saying it twice does no harm.
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

fn copy(request: &Request<RequestBody>) -> Request<()> {
    let mut copy = Request::new(());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Why there is no response head.
enum Unanswered {
    /// Nothing was sent; here it is again.
    Unsent(Box<Request<RequestBody>>),
    /// The connection ended without an answer.
    Lost,
    /// For this reason.
    Because(Reason),
}

/// Sends a request and drives the connection until its response head is here.
async fn send(
    link: &Link,
    connected: &mut Connected,
    home: &Address,
    request: Request<RequestBody>,
) -> Result<Response<Incoming>, Unanswered> {
    let mut answer = pin!(connected.sender.try_send_request(request));
    // The connection is driven right here before the answer is asked for, and nothing else makes one: no waker is
    // needed between the two.
    let mut aside = Context::from_waker(Waker::noop());
    let result = poll_fn(|cx| {
        if let Some(late) = link.deadlines.take_missed() {
            return Poll::Ready(Err(match late {
                Late::RequestBody => Reason::RequestTimeout,
                // The whole has taken too long: whoever is waited for is to blame.
                Late::Total if link.deadlines.awaits(Late::RequestBody) => Reason::RequestTimeout,
                _ => Reason::UpstreamTimeout,
            }));
        }
        // Its failure reaches the answer.
        let _ = connected.drive(cx);
        answer.as_mut().poll(&mut aside).map(Ok)
    })
    .await;
    let mut error = match result {
        Ok(Ok(response)) => return Ok(response),
        Ok(Err(error)) => error,
        Err(reason) => {
            if reason == Reason::RequestTimeout {
                link.lingers.set(true);
            }
            return Err(Unanswered::Because(reason));
        }
    };
    if let Some(reason) = link.body_failure.take() {
        return Err(Unanswered::Because(reason));
    }
    if let Some(unsent) = error.take_message() {
        return Err(Unanswered::Unsent(Box::new(unsent)));
    }
    let error = error.into_error();
    home.tell(&error);
    if error.is_parse() || error.is_user() {
        return Err(Unanswered::Because(Reason::UpstreamInvalid));
    }
    Err(Unanswered::Lost)
}

/// Turns the upstream's answer into the client's.
async fn receive(
    link: &Rc<Link>,
    upstream: &Upstream,
    borrowed: Borrowed,
    response: Response<Incoming>,
    upgrade: Upgrade,
    shaping: Option<Box<Shaping>>,
) -> Result<Response<ResponseBody>, Failed> {
    let (mut head, incoming) = response.into_parts();
    let Borrowed { connected, home, .. } = borrowed;
    let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
    if head.status.is_informational() && !(upgrade != Upgrade::No && switches && grants_websocket(&head.headers)) {
        // A 101 that nobody asked for would turn the client's next request into bytes of a tunnel.
        return Err(Failed::after(Reason::UpstreamInvalid));
    }
    headers::prepare_response(&mut head.headers, head.status, head.version, switches).map_err(Failed::after)?;
    head.version = Version::HTTP_11;
    head.extensions.clear();

    if switches {
        open_tunnel(link, upstream, connected).await?;
        if let Upgrade::Reported(id) = upgrade {
            watching::report_tunnel(link, id);
        }
        return Ok(Response::from_parts(head, ResponseBody::whole(bytes::Bytes::new(), Rc::clone(link))));
    }
    deliver(link, head, Streamed::new(incoming, connected, home, upstream.settings.read_timeout), shaping).await
}

/// Hands an answer on, shaped where its route has a say about it, and bound to the credential that asked for it where it may
/// go on for long.
pub(super) async fn deliver(
    link: &Rc<Link>,
    mut head: Parts,
    body: Streamed,
    shaping: Option<Box<Shaping>>,
) -> Result<Response<ResponseBody>, Failed> {
    let mut watching = None;
    if let Some(shaping) = shaping {
        watching = shaping.watch(link, &head, &body);
        if shaping.shapes() {
            Shaping::keep_private(&mut head.headers);
        }
        if shaping.binds() {
            let plan = shaping.plan(&head, body.is_end_stream()).map_err(Failed::shaped)?;
            if plan != Plan::Stream {
                return Box::pin(shaping.answer(link, plan, head, body, watching)).await.map_err(Failed::shaped);
            }
        }
    }
    if is_event_stream(&head.headers) {
        // A stream of events never ends by itself: it ends with the credential that opened it (T13), and the bound of
        // ordinary exchanges is not for it.
        link.deadlines.clear(Late::Total);
        let holder = link.holder();
        if !link.goes_on(holder.as_deref()) {
            return Err(Failed::after(Reason::TokenExpired));
        }
    } else if !body.is_end_stream() && body.size_hint().exact().is_none() {
        // Nobody knows how long it goes on: a download that takes longer than its token lives is finished, and a stream of
        // any other kind ends where its credential is revoked.
        link.outlives_expiry.set(true);
        if !link.goes_on(link.holder().as_deref()) {
            return Err(Failed::after(Reason::TokenRevoked));
        }
    }
    let link = Rc::clone(link);
    Ok(Response::from_parts(
        head,
        match watching {
            None => ResponseBody::streamed(body, link),
            Some(watching) => ResponseBody::watched(body, watching, link),
        },
    ))
}

/// Takes the upstream's bare socket out of hyper's hands.
async fn open_tunnel(link: &Link, upstream: &Upstream, mut connected: Box<Connected>) -> Result<(), Failed> {
    poll_fn(|cx| connected.drive(cx)).await.map_err(|_| Failed::after(Reason::UpstreamInvalid))?;
    let (socket, read_ahead) = connected.into_socket();
    let idle_timeout = upstream.settings.read_timeout;
    link.tunnel.replace(Some(Tunnel { socket, read_ahead, idle_timeout, holder: link.holder() }));
    Ok(())
}

/// Whether a 101 switches to WebSocket and nothing else (RFC 6455 §4.2.2).
fn grants_websocket(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).iter();
    let only = (protocols.next(), protocols.next());
    matches!(only, (Some(protocol), None) if protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let name = b"text/event-stream";
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
}
