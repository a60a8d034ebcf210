//! What a route asks of a request's content: first by the head alone, then by all of the body (H4). What breaks rules that only
//! report is recorded here, for requests and for answers.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method, Request, Uri};
use portcullis_core::{Event, EventKind, Reason, RequestId, Timestamp, Violation};
use portcullis_shield::{Check as _, Coding, Reported, Seen, gunzip, media};

use crate::body::{Admittance, Admitted, BodyRule, Unexamined};
use crate::gate::Gate;
use crate::pass::Pass;

impl Pass {
    /// Admits a body under the route's rule. What comes out is the only kind of body that can be forwarded, or where the
    /// route has checks, one that has to be read whole and shown to [`Gate::examine`] first. Call it with the head as the
    /// client sent it: a check may go by what is not forwarded.
    ///
    /// # Errors
    /// [`Reason::BodyTooLarge`] where the declared length is already over the rule; a body that hides its length
    /// breaks off when it gets there. Where the route has checks: what they refuse by the head alone, and
    /// [`Reason::UnsupportedCoding`] for a body in a coding that it does not take.
    pub fn admit<B>(&self, request: Request<B>) -> Result<Admittance<B>, Reason> {
        let declared = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let BodyRule { mut max, max_json, .. } = self.body;
        if max_json < max && media::may_be_json(request.headers()) {
            max = max_json;
        }
        if declared.is_some_and(|length| length > max) {
            return Err(Reason::BodyTooLarge(max));
        }
        let (checks, form) = (self.case.checks(), self.case.form());
        if checks.is_empty() && form.is_none() {
            return Ok(Admittance::Free(request.map(|body| Admitted::arriving(body, max))));
        }
        let coding = Coding::of(request.headers(), self.case.takes_gzip())?;
        judge_connection(request.headers())?;
        let reported = Reported::default();
        let seen = self.seen(request.method(), request.uri(), request.headers(), &reported);
        checks.iter().try_for_each(|check| check.before(&seen))?;
        Ok(Admittance::Unexamined(request.map(|body| Unexamined::new(body, max, coding, reported))))
    }

    /// What is known of the request, for the record of an answer that breaks rules which only report.
    #[must_use]
    pub fn reported(&self, id: RequestId, now: Timestamp) -> Event {
        self.case.event(now, EventKind::ContentReported, id)
    }

    fn seen<'a>(
        &'a self,
        method: &'a Method,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        reported: &'a Reported,
    ) -> Seen<'a> {
        let (path, query) = match &self.rewritten {
            Some(target) => (target.path(), target.query()),
            None => (uri.path(), uri.query()),
        };
        Seen { method, path, query, headers, principal: self.principal().map(|principal| &**principal), reported }
    }
}

impl Gate {
    /// Shows the route's checks a request whose body has been read to its end, and admits just these bytes. `whole` is all
    /// that came out of the unexamined body; trailers, which no check has seen, are left behind.
    ///
    /// # Errors
    /// What the first check that does not agree says; before that what [`gunzip`] says of a body that came as gzip.
    pub fn examine<B>(
        &self,
        pass: &Pass,
        request: Request<Unexamined<B>>,
        whole: Bytes,
        id: RequestId,
        now: Timestamp,
    ) -> Result<Request<Admitted<B>>, Reason> {
        let (mut head, unexamined) = request.into_parts();
        let (max, Unexamined { coding, reported, .. }) = (unexamined.max(), unexamined);
        // What a body unpacks to lives no longer than this call, which nothing interrupts: there is one on each core at most.
        let content = match coding {
            Coding::Gzip if !whole.is_empty() => Cow::Owned(gunzip(&whole, max)?),
            Coding::Gzip | Coding::Identity => Cow::Borrowed(&*whole),
        };
        let seen = pass.seen(&head.method, &head.uri, &head.headers, &reported);
        // Whether somebody means it comes first: nothing else about the body is told to whoever cannot say so.
        let meant = pass.case().form().map_or(Ok(()), |form| form.check(&seen, &content));
        let judged =
            meant.and_then(|()| pass.case().checks().iter().try_for_each(|check| check.check(&seen, &content)));
        let reported = reported.into_inner();
        if !reported.is_empty() {
            let broken = Reason::ValidationFailed(reported.into());
            let event = pass.case().event(now, EventKind::ContentReported, id);
            self.record(Event { reason: Some(broken.slug()), rule: broken.places(), ..event });
        }
        judged?;
        // Where the length was hidden it is known now, and no trailers follow.
        head.headers.remove(TRAILER);
        if !whole.is_empty() || head.headers.contains_key(TRANSFER_ENCODING) {
            head.headers.insert(CONTENT_LENGTH, whole.len().into());
        }
        Ok(Request::from_parts(head, Admitted::examined(whole)))
    }

    /// Records an answer that breaks rules which only report. `event` is what [`Pass::reported`] made, as the answer may
    /// outlive its pass; the reason is the one that would have refused it.
    pub fn report_answer(&self, event: Event, broken: Vec<Violation>, now: Timestamp) {
        if !broken.is_empty() {
            let reason = Reason::ResponseRefused("").slug();
            let rule = Reason::ValidationFailed(broken.into()).places();
            self.record(Event { at: now, reason: Some(reason), rule, ..event });
        }
    }
}

/// What a `Connection` list names goes no further (RFC 9110 §7.6.1): a check would have seen a header that the upstream does
/// not. What is about the connection itself is no part of what is judged.
fn judge_connection(headers: &HeaderMap) -> Result<(), Reason> {
    const OF_THE_HOP: [&str; 6] = ["connection", "http2-settings", "keep-alive", "proxy-connection", "te", "upgrade"];
    let lists = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut named = lists.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse::<HeaderName>().ok());
    if named.any(|name| headers.contains_key(&name) && !OF_THE_HOP.contains(&name.as_str())) {
        return Err(Reason::Malformed("the Connection header names a header that is for the API"));
    }
    Ok(())
}
