//! Answers that a route has a say about: they are collected, within bounds, and shaped or refused before any of them is
//! told. Those of all other routes never come here.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, HeaderName, RETRY_AFTER, TRAILER, VARY, WWW_AUTHENTICATE,
};
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use portcullis_core::{Principal, Problem, Reason, RequestId};
use portcullis_shield::openapi::Unjudged;
use portcullis_shield::{Asking, Plan, ResponseRules, SeenResponse};

use super::body::{ResponseBody, Streamed};
use super::collect::Whole;
use super::watching::Watching;
use crate::listen::{Late, Link};

/// Content of an answer that nobody is told is read past if there is no more of it, in bytes: the upstream's connection can
/// be used again then.
const READ_PAST: usize = 64 * 1024;

const TOO_LARGE: Reason = Reason::ResponseRefused("the answer is larger than the route looks at");

const PRIVATE_FOR_SURE: HeaderValue = HeaderValue::from_static("private, no-store");

/// What a route has to say about the answer to one request.
pub(super) struct Shaping {
    rules: Arc<ResponseRules>,
    id: RequestId,
    method: Method,
    target: PathAndQuery,
    principal: Option<Arc<Principal>>,
    sees_others: bool,
    /// Whether any rule may have something to say to this caller.
    binds: bool,
}

impl Shaping {
    /// `None`, nearly always: the route has no say. Takes the request as it came, once its pass is in the link.
    pub(super) fn begin<B>(link: &Link, request: &Request<B>, id: RequestId) -> Option<Box<Self>> {
        let pass = link.pass.borrow();
        let pass = pass.as_ref()?;
        let (rules, sees_others) = pass.response_rules()?;
        let target = pass.rewritten().or_else(|| request.uri().path_and_query()).cloned();
        let mut shaping = Box::new(Self {
            rules: Arc::clone(rules),
            id,
            method: request.method().clone(),
            target: target.unwrap_or_else(|| PathAndQuery::from_static("/")),
            principal: pass.principal().cloned(),
            sees_others,
            binds: false,
        });
        shaping.binds = rules.binds(&shaping.asking());
        Some(shaping)
    }

    /// Whether the answer may be shaped for anybody.
    pub(super) fn shapes(&self) -> bool {
        !self.rules.shapes.is_empty()
    }

    /// Whether the request may become a tunnel.
    pub(super) fn lets_tunnel(&self) -> bool {
        !self.binds || self.rules.lets_tunnel(&self.asking())
    }

    /// Begins to look at an answer that passes whatever is seen.
    pub(super) fn watch(&self, link: &Link, head: &Parts, body: &Streamed) -> Option<Box<Watching>> {
        let watch = self.rules.watch.as_ref()?;
        let watched = watch.begin(&self.seen(head, body.is_end_stream()), self.rules.max);
        Watching::begin(link, watched, self.id, body.size_hint().lower())
    }

    /// Whether the answer has to be looked at before any of it is told.
    pub(super) const fn binds(&self) -> bool {
        self.binds
    }

    /// Makes a request that is ready to be forwarded ask for an answer that can be judged. Whoever asks for the head alone
    /// is told that of the answer which a `GET` would have got: without its content nobody knows whose it is, or how long it
    /// will be.
    pub(super) fn prepare<B>(&self, request: &mut Request<B>) {
        if *request.method() == Method::HEAD {
            *request.method_mut() = Method::GET;
        }
        let method = request.method().clone();
        self.rules.prepare(&method, request.headers_mut());
    }

    /// Says of every answer of the route, whoever gets it, that it is for nobody else.
    pub(super) fn keep_private(headers: &mut HeaderMap) {
        // RFC 9213, and what came before it: words for caches that stand between.
        for name in ["cdn-cache-control", "surrogate-control", "cloudflare-cdn-cache-control"] {
            headers.remove(name);
        }
        let said: Vec<HeaderValue> = headers.get_all(CACHE_CONTROL).iter().cloned().collect();
        headers.insert(CACHE_CONTROL, private(&said));
        // A browser's own cache must not show one account what another was told.
        headers.append(VARY, HeaderValue::from_static("Authorization, Cookie, X-API-Key"));
    }

    /// What is to be done with an answer.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn plan(&self, head: &Parts, is_empty: bool) -> Result<Plan, Reason> {
        self.rules.plan(&self.seen(head, is_empty))
    }

    /// The answer to the client, where it does not go on as it comes.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) async fn answer(
        &self,
        link: &Rc<Link>,
        plan: Plan,
        mut head: Parts,
        mut body: Streamed,
        watching: Option<Box<Watching>>,
    ) -> Result<Response<ResponseBody>, Reason> {
        let content = match plan {
            Plan::Hide => {
                read_past(link, body).await;
                return Ok(self.instead_of(link, &head));
            }
            Plan::Stream | Plan::Empty => {
                read_past(link, body).await;
                drop_content_headers(&mut head.headers);
                Bytes::new()
            }
            Plan::Collect => {
                let is_empty = body.is_end_stream();
                let whole = self.collect(link, &mut body).await;
                if let Some(watching) = watching {
                    match &whole {
                        Ok(whole) => watching.judge(link, whole.as_ref()),
                        Err(reason) if *reason == TOO_LARGE => watching.give_up(link, Unjudged::TooLarge),
                        Err(Reason::Overloaded) => watching.give_up(link, Unjudged::NoRoom),
                        Err(_) => {}
                    }
                }
                let whole = whole?;
                let shaped = self.rules.shape(&self.seen(&head, is_empty), whole.as_ref())?;
                settle_headers(&mut head.headers, shaped.is_some());
                match shaped {
                    Some(shaped) => whole.replaced(shaped).into_bytes(),
                    None => whole.into_bytes(),
                }
            }
        };
        if self.method == Method::HEAD {
            if head.status != StatusCode::NO_CONTENT {
                head.headers.insert(CONTENT_LENGTH, HeaderValue::from(content.len()));
            }
            return Ok(Response::from_parts(head, ResponseBody::whole(Bytes::new(), Rc::clone(link))));
        }
        Ok(Response::from_parts(head, ResponseBody::whole(content, Rc::clone(link))))
    }

    /// The whole content, of at most as much as the route looks at.
    async fn collect(&self, link: &Link, body: &mut Streamed) -> Result<Whole, Reason> {
        let declared = body.size_hint();
        if declared.lower() > self.rules.max {
            return Err(TOO_LARGE);
        }
        let mut whole = Whole::new(link, declared.exact().unwrap_or(0));
        while let Some(piece) = next(link, body).await {
            let piece = piece?;
            if whole.len().saturating_add(piece.len()) as u64 > self.rules.max {
                return Err(TOO_LARGE);
            }
            whole.add(&piece)?;
        }
        Ok(whole)
    }

    /// What is said in the place of an upstream's own error.
    fn instead_of(&self, link: &Rc<Link>, head: &Parts) -> Response<ResponseBody> {
        let Problem { status, mut headers, body } = Problem::instead_of(head.status, self.id);
        let kept: &[HeaderName] = match status {
            StatusCode::UNAUTHORIZED => &[WWW_AUTHENTICATE],
            StatusCode::METHOD_NOT_ALLOWED => &[ALLOW],
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => &[RETRY_AFTER],
            _ => &[],
        };
        for name in kept {
            for value in head.headers.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let mut response = Response::new(ResponseBody::whole(Bytes::from(body), Rc::clone(link)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    fn asking(&self) -> Asking<'_> {
        Asking {
            method: &self.method,
            path: self.target.path(),
            query: self.target.query(),
            principal: self.principal.as_deref(),
            sees_others: self.sees_others,
        }
    }

    fn seen<'a>(&'a self, head: &'a Parts, is_empty: bool) -> SeenResponse<'a> {
        SeenResponse { asking: self.asking(), status: head.status, headers: &head.headers, is_empty }
    }
}

/// The next piece of an answer's content, in time. Its trailers are left behind: they are about what came before them.
async fn next(link: &Link, body: &mut Streamed) -> Option<Result<Bytes, Reason>> {
    loop {
        let frame = poll_fn(|cx| match link.deadlines.take_missed() {
            Some(Late::RequestBody | Late::WholeBody) => {
                link.lingers.set(true);
                Poll::Ready(Some(Err(Reason::RequestTimeout)))
            }
            Some(_) => Poll::Ready(Some(Err(Reason::UpstreamTimeout))),
            None => body.poll(link, cx).map_err(|_| Reason::UpstreamUnreachable),
        })
        .await;
        match frame {
            None => return None,
            Some(Err(reason)) => {
                link.deadlines.clear(Late::ResponseBody);
                return Some(Err(reason));
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data));
                }
            }
        }
    }
}

/// Reads past a little. What is more is not worth the wait, and goes with its connection.
async fn read_past(link: &Link, mut body: Streamed) {
    let mut seen = 0;
    while let Some(Ok(piece)) = next(link, &mut body).await {
        seen += piece.len();
        if seen > READ_PAST {
            break;
        }
    }
    link.deadlines.clear(Late::ResponseBody);
}

/// Removes what is about content that is not told.
fn drop_content_headers(headers: &mut HeaderMap) {
    settle_headers(headers, true);
    for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE] {
        headers.remove(name);
    }
}

/// Removes what is not true of collected content: its length and framing, which are told anew, and ranges, which nobody
/// serves here. What was computed over bytes that are not told is no longer true either, and would help to guess them.
fn settle_headers(headers: &mut HeaderMap, changed: bool) {
    for name in [CONTENT_LENGTH, CONTENT_RANGE, ACCEPT_RANGES, TRAILER] {
        headers.remove(name);
    }
    if changed {
        headers.remove(ETAG);
        // RFC 9530, RFC 3230, RFC 1864 and RFC 9421.
        for name in ["content-digest", "repr-digest", "digest", "content-md5", "signature", "signature-input"] {
            headers.remove(name);
        }
    }
}

/// A `Cache-Control` with all that was said but what lets others keep the answer (RFC 9111 §5.2.2).
fn private(said: &[HeaderValue]) -> HeaderValue {
    // A comma may stand in quotes. Nothing that caches need is said with any.
    if said.iter().any(|value| value.as_bytes().contains(&b'"')) {
        return PRIVATE_FOR_SURE;
    }
    let directives = said.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let kept = directives.map(str::trim).filter(|directive| {
        let name = directive.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        !matches!(name.as_str(), "" | "public" | "private" | "s-maxage" | "proxy-revalidate" | "must-understand")
    });
    let text = std::iter::once("private").chain(kept).collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(text).unwrap_or(PRIVATE_FOR_SURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z8_no_cache_between_keeps_what_is_for_one_caller() {
        for (said, told) in [
            (&[][..], "private"),
            (&["public, max-age=60, s-maxage=600"], "private, max-age=60"),
            (&["PUBLIC", "S-MaxAge = 5", "no-transform"], "private, no-transform"),
            (&["no-store"], "private, no-store"),
            (&["max-age=5, must-revalidate, private"], "private, max-age=5, must-revalidate"),
            (&["private=\"x-a, public\", immutable"], "private, no-store"),
        ] {
            let said: Vec<_> = said.iter().map(|text| HeaderValue::from_static(text)).collect();
            assert_eq!(private(&said), told, "{said:?}");
        }
    }

    #[test]
    fn z8_what_is_told_of_content_is_true_of_it() {
        let names = [
            "content-length",
            "etag",
            "content-digest",
            "repr-digest",
            "digest",
            "content-md5",
            "accept-ranges",
            "trailer",
            "content-type",
            "last-modified",
            "x-kept",
        ];
        let left = |changed| {
            let mut headers: HeaderMap =
                names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect();
            settle_headers(&mut headers, changed);
            let mut left: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
            left.sort_unstable();
            left.join(" ")
        };
        assert_eq!(left(true), "content-type last-modified x-kept");
        assert_eq!(left(false), "content-digest content-md5 content-type digest etag last-modified repr-digest x-kept");
    }
}
