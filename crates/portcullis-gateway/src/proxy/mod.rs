//! The reverse proxy: a door of the gate. Every request becomes facts, the gate decides, and only what has a
//! [`Pass`] is carried to an upstream or to the identity endpoints.

mod body;
mod client_body;
mod collect;
mod dial;
mod exchange;
mod exchange_http2;
mod grpc;
mod head;
mod head_http2;
mod headers;
mod identity;
mod lanes;
mod pace;
mod pool;
mod redirect;
mod request_id;
mod shaping;
mod streams;
mod tunnel;
mod watching;
pub(crate) mod wire;

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, EXPECT, HOST, LOCATION, STRICT_TRANSPORT_SECURITY};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use portcullis::{Admittance, Answer, Delay, Outcome, Pass, Refusal, Target, Verdict};
use portcullis_core::{Facts, Fault, Principal, Reason, RequestId, Timestamp};
use portcullis_watch::Outcome as Counted;

pub(crate) use self::body::ResponseBody;
pub(crate) use self::client_body::{ClientBody, Invitation, StreamBody};
pub(crate) use self::collect::Held;
use self::exchange::Failed;
use self::head::Asks;
pub(crate) use self::head_http2::{declared_length, list_size, strip_response};
pub use self::identity::{
    Denied, IdentityHandle, IdentityRequest, IdentityRequests, MAX_IDENTITY_BODY, identity_channel,
};
pub(crate) use self::pool::Pool;
pub(crate) use self::redirect::ToHttps;
pub(crate) use self::request_id::RequestIds;
pub(crate) use self::tunnel::Tunnel;
use crate::identity_api::pages;
use crate::listen::{Door, Late, Link};

/// Judges a head by the rules that hyper does not enforce, and brings its target to origin form: the first step of
/// every request, for whoever tests it alone.
///
/// # Errors
/// The rule that it breaks.
#[cfg(feature = "parts")]
pub fn check_head<B: http_body::Body>(
    request: &mut Request<B>,
    bounds: &crate::config::TransportSettings,
) -> Result<(), Reason> {
    head::check(request, bounds).map(drop)
}

/// One served request, for the access log. It holds no header and no query: those carry secrets.
#[derive(Clone, Copy, Debug)]
pub struct AccessLine<'a> {
    /// When its head was complete.
    pub at: Timestamp,
    /// Its name.
    pub id: RequestId,
    /// The client's address.
    pub client: IpAddr,
    /// The method.
    pub method: &'a Method,
    /// The path as received.
    pub path: &'a str,
    /// The status of the answer.
    pub status: StatusCode,
    /// From the end of its head to the start of its answer.
    pub took: Duration,
    /// Who it was, where that was proven.
    pub user: Option<&'a str>,
    /// The pattern of its route, where one was found.
    pub route: Option<&'a str>,
    /// Why it was refused or failed, in one stable word.
    pub reason: Option<&'static str>,
}

/// Takes lines of the access log. Called on the hot path: it queues, and neither blocks nor fails.
pub type AccessLog = Arc<dyn Fn(&AccessLine<'_>) + Send + Sync>;

/// Serves one request of a client's connection.
pub(crate) fn serve(
    link: Rc<Link>,
    request: Request<ClientBody>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> {
    // At once, not when the future is first polled: from here on what hyper writes is an answer of ours.
    link.begin_exchange();
    async move { Ok(answer(&link, request).await) }
}

/// What is remembered of a request while its parts travel.
struct Line {
    at: Timestamp,
    id: RequestId,
    /// The name as a header value, which the upstream and the client both get.
    id_value: HeaderValue,
    /// What the client's certificate proves at this moment.
    certificate: Option<Result<Arc<Principal>, &'static str>>,
    /// Kept only where an access log wants it.
    named: Option<(Method, Uri)>,
    /// Whether the client speaks gRPC.
    grpc: bool,
}

async fn answer(link: &Rc<Link>, mut request: Request<ClientBody>) -> Response<ResponseBody> {
    let shared = &link.core.shared;
    let id = link.core.ids.next();
    let mut line = Line {
        at: shared.clock.now(),
        id,
        id_value: headers::id_value(id),
        certificate: link.certificate(),
        named: shared.access_log.is_some().then(|| (request.method().clone(), request.uri().clone())),
        grpc: false,
    };
    let asks = match head::check(&mut request, &link.transport) {
        Ok(asks) => asks,
        Err(reason) => {
            let refusal = shared.gate.refuse(&facts(link, &request, &line), reason);
            // After a head that can be read in two ways nobody knows where the next one begins.
            return refuse(link, &line, &refusal, true, false);
        }
    };
    line.grpc = asks.grpc;
    if let Some(said) = before_the_gate(link, &request, &line) {
        return said;
    }
    let (verdict, upstream) = decide(link, &request, &line).await;
    let mut response = match verdict {
        Verdict::Refuse(refusal) => {
            // Who asks first whether to send is told by the answer; looking for the body would invite it.
            let waits = request.headers().contains_key(EXPECT);
            let closes = waits || !body::is_here_whole(link, request.body_mut());
            refuse(link, &line, &refusal, closes, shared.identity.is_some() && pages::is_for_a_person(&request))
        }
        Verdict::Answer(told) => {
            let closes = request.headers().contains_key(EXPECT) || !body::is_here_whole(link, request.body_mut());
            tell(link, &line, &told, closes)
        }
        Verdict::Pass(mut pass) => {
            let target = pass.target();
            if let Some(delay) = pass.take_delay() {
                hold_back(link, &delay).await;
            }
            let person = target == Target::Identity && pages::is_for_a_person(&request);
            let admittance = pass.admit(request);
            link.pass.replace(Some(pass));
            let admitted = match admittance {
                Ok(Admittance::Free(request)) => Ok(request),
                Ok(Admittance::Unexamined(request)) => Box::pin(collect::examine(link, request, line.id)).await,
                Err(reason) => Err(Failed::before(reason)),
            };
            let answered = match (admitted, target, upstream) {
                (Err(failed), ..) => Err(failed),
                (Ok(request), Target::Upstream(_), Some(upstream)) => {
                    exchange::forward(link, &upstream, request, asks, (line.id, line.id_value.clone())).await
                }
                (Ok(request), Target::Identity, _) => identity::ask(link, request, line.id).await,
                // The settings and the policy are swapped together, so an index without an upstream is our mistake.
                (Ok(_), Target::Upstream(_), None) => Err(Failed::before(Reason::Internal)),
            };
            finish(link, &line, answered, person)
        }
    };
    let closes = closes(asks, response.status());
    if closes {
        link.lingers.set(true);
    }
    if closes || link.core.draining.get() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What TLS, or its absence, answers in the gate's place.
fn before_the_gate(link: &Rc<Link>, request: &Request<ClientBody>, line: &Line) -> Option<Response<ResponseBody>> {
    let shared = &link.core.shared;
    let reason = match (link.door, link.session.get()) {
        (Door::Open, _) => return None,
        (_, Some(session)) if session.serves(request.headers().get(HOST)) => return None,
        (Door::Tls, _) => Reason::Misdirected,
        (Door::Redirect, _) if let Some(proof) = proof(link, request) => return Some(tell_proof(link, line, proof)),
        (Door::Redirect, _) => match shared.to_https(request) {
            Ok(location) => return Some(redirect(link, line, location)),
            Err(reason) => reason,
        },
    };
    let refusal = shared.gate.refuse(&facts(link, request, line), reason);
    Some(refuse(link, line, &refusal, true, false))
}

/// What an authority of certificates looks for at port 80, while it does (RFC 8555 §8.3).
fn proof(link: &Link, request: &Request<ClientBody>) -> Option<Vec<u8>> {
    matches!(*request.method(), Method::GET | Method::HEAD)
        .then(|| link.core.shared.challenges().file(request.uri().path()))
        .flatten()
}

fn tell_proof(link: &Rc<Link>, line: &Line, proof: Vec<u8>) -> Response<ResponseBody> {
    let shared = &link.core.shared;
    let mut answer = portcullis_core::Problem { status: StatusCode::OK, headers: HeaderMap::new(), body: proof };
    shared.gate.policy().response_headers().apply(&mut answer.headers);
    answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    shared.metrics.request(Counted::Answer, answer.status.as_u16(), shared.clock.now().since(line.at));
    problem(link, line, answer, false)
}

/// The way to https, for good (RFC 9110 §15.4.9).
fn redirect(link: &Rc<Link>, line: &Line, location: HeaderValue) -> Response<ResponseBody> {
    let shared = &link.core.shared;
    let mut answer = portcullis_core::Problem {
        status: StatusCode::PERMANENT_REDIRECT,
        headers: HeaderMap::new(),
        body: Vec::new(),
    };
    shared.gate.policy().response_headers().apply(&mut answer.headers);
    answer.headers.insert(LOCATION, location);
    shared.metrics.request(Counted::Answer, answer.status.as_u16(), shared.clock.now().since(line.at));
    problem(link, line, answer, false)
}

/// Keeps an admitted request waiting (L12). It holds its connection and its head, and nothing of the upstream's; who goes
/// away meanwhile takes it along. The wait is ours: it is not counted against the client.
async fn hold_back(link: &Link, delay: &Delay) {
    let total = link.transport.total_timeout;
    if !total.is_zero() {
        link.deadlines.set(Late::Total, total.saturating_add(delay.wait()));
    }
    tokio::time::sleep(delay.wait()).await;
}

/// After an upgrade that was not granted the client may already speak the other protocol: nothing more is read.
fn closes(asks: Asks, status: StatusCode) -> bool {
    asks.upgrade && status != StatusCode::SWITCHING_PROTOCOLS
}

fn facts<'a>(link: &Link, request: &'a Request<ClientBody>, line: &'a Line) -> Facts<'a> {
    Facts {
        method: request.method(),
        target: request.uri(),
        headers: request.headers(),
        peer: link.peer,
        secure: link.is_secure(),
        certificate: line.certificate.as_ref(),
        id: line.id,
        now: line.at,
    }
}

/// Asks the gate, and finds the upstream in the settings that belong to the policy it decided by.
async fn decide(link: &Link, request: &Request<ClientBody>, line: &Line) -> (Verdict, Option<Rc<pool::Upstream>>) {
    let core = &link.core;
    loop {
        let Some(epoch) = core.shared.epoch() else {
            tokio::task::yield_now().await;
            continue;
        };
        let verdict = core.shared.gate.decide(&facts(link, request, line)).await;
        let Verdict::Pass(mut pass) = verdict else { return (verdict, None) };
        let upstream = match pass.target() {
            Target::Upstream(index) => core.shared.with_settings(|settings| core.pool.upstream(settings, index)),
            Target::Identity => None,
        };
        if core.shared.epoch() == Some(epoch) {
            return (Verdict::Pass(pass), upstream);
        }
        // A reload came in between: the same index may mean another upstream now.
        core.shared.gate.settle(&mut pass, Outcome::NotForwarded, line.at);
    }
}

/// Settles, shapes and counts the outcome of an admitted request; where it failed, a page tells so if a person asked for one.
fn finish(
    link: &Rc<Link>,
    line: &Line,
    answered: Result<Response<ResponseBody>, Failed>,
    person: bool,
) -> Response<ResponseBody> {
    let shared = &link.core.shared;
    let now = shared.clock.now();
    match answered {
        Ok(mut response) => {
            let mut held = link.pass.borrow_mut();
            if let Some(pass) = held.as_mut() {
                let outcome = match response.extensions_mut().remove::<Denied>() {
                    Some(Denied) => Outcome::Denied(response.status()),
                    None => Outcome::Answered(response.status()),
                };
                shared.gate.settle_answer(pass, outcome, response.headers(), now);
                pass.shape_response(response.status(), response.headers_mut());
                count(link, line, Counted::Pass, response.status(), None, pass.case(), now);
            }
            response.headers_mut().insert(headers::X_REQUEST_ID, line.id_value.clone());
            response
        }
        Err(Failed { reason, forwarded, read }) => {
            // What a slow or broken body leaves behind is in nobody's hands.
            let closes = (reason.fault() == Fault::Client && !read) || link.lingers.get();
            let Some(mut pass) = link.pass.take() else {
                let mut lost = portcullis_core::Problem::new(&Reason::Internal, line.id);
                shared.gate.policy().response_headers().apply(&mut lost.headers);
                return problem(link, line, lost, true);
            };
            if forwarded {
                // What it has cost the upstream, nobody will say.
                shared.gate.settle(&mut pass, Outcome::Answered(reason.status()), now);
            } else if reason.fault() == Fault::Client {
                shared.gate.settle_answer(&mut pass, Outcome::Answered(reason.status()), &HeaderMap::new(), now);
            } else {
                shared.gate.settle(&mut pass, Outcome::NotForwarded, now);
            }
            match reason.fault() {
                Fault::Upstream => shared.gate.note_upstream_failure(&pass, &reason, line.id, now),
                Fault::Client => shared.gate.note_refused(&pass, &reason, line.id, now),
                Fault::Dependency | Fault::Us => {}
            }
            let refusal = Pass::refuse(pass, reason, line.id);
            refuse(link, line, &refusal, closes, person)
        }
    }
}

/// The answer to a request that goes no further; a page where a person is to read it.
fn refuse(link: &Rc<Link>, line: &Line, refusal: &Refusal, closes: bool, person: bool) -> Response<ResponseBody> {
    let shared = &link.core.shared;
    shared.metrics.refused(refusal.reason());
    let mut answer = refusal.problem();
    if person {
        let has_pages = shared.identity.as_ref().is_some_and(IdentityHandle::has_pages);
        pages::instead_of(&mut answer, refusal.reason(), has_pages);
    }
    let reason = Some(refusal.reason().slug());
    count(link, line, Counted::Refuse, answer.status, reason, refusal.case(), shared.clock.now());
    // Records have the status that it would have been.
    if line.grpc {
        grpc::instead_of(&mut answer, refusal.reason());
    }
    problem(link, line, answer, closes)
}

/// The answer to what the gate was asked itself.
fn tell(link: &Rc<Link>, line: &Line, told: &Answer, closes: bool) -> Response<ResponseBody> {
    count(link, line, Counted::Answer, Answer::STATUS, None, told.case(), link.core.shared.clock.now());
    let answer = portcullis_core::Problem { status: Answer::STATUS, headers: told.headers(), body: Vec::new() };
    problem(link, line, answer, closes)
}

fn problem(link: &Rc<Link>, line: &Line, problem: portcullis_core::Problem, closes: bool) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(Bytes::from(problem.body), Rc::clone(link)));
    *response.status_mut() = problem.status;
    *response.headers_mut() = problem.headers;
    response.headers_mut().insert(headers::X_REQUEST_ID, line.id_value.clone());
    if link.is_bare() {
        response.headers_mut().remove(STRICT_TRANSPORT_SECURITY);
    }
    if closes {
        link.lingers.set(true);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Counts a request, and logs it where that is asked for.
fn count(
    link: &Link,
    line: &Line,
    outcome: Counted,
    status: StatusCode,
    reason: Option<&'static str>,
    case: &portcullis::Case,
    now: Timestamp,
) {
    let shared = &link.core.shared;
    let took = now.since(line.at);
    shared.metrics.request(outcome, status.as_u16(), took);
    if let Some(route) = case.route() {
        link.core.count_route(route);
    }
    if let (Some(log), Some((method, uri))) = (&shared.access_log, &line.named) {
        log(&AccessLine {
            at: line.at,
            id: line.id,
            client: case.client().ip(),
            method,
            path: uri.path(),
            status,
            took,
            user: case.principal().map(|principal| principal.subject()),
            route: case.route().map(|route| &**route),
            reason,
        });
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}
