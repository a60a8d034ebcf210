//! What a route asks of a response's content: shapes that see the whole body before any of it is told.

use std::fmt::Debug;
use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, RANGE};
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use portcullis_core::{Principal, Reason};

use crate::openapi::Watch;

/// The request that a response answers.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The method as the client sent it.
    pub method: &'a Method,
    /// The path as it was matched: normalised, without the query.
    pub path: &'a str,
    /// The query, without its `?`.
    pub query: Option<&'a str>,
    /// Who asks, where that was proven.
    pub principal: Option<&'a Principal>,
    /// Whether a role or a permission lets the caller see what belongs to others.
    pub sees_others: bool,
}

/// A response whose head has come.
#[derive(Clone, Copy, Debug)]
pub struct SeenResponse<'a> {
    /// What it answers.
    pub asking: Asking<'a>,
    /// Its status code.
    pub status: StatusCode,
    /// Its headers, without those of the upstream's own hop.
    pub headers: &'a HeaderMap,
    /// Whether it is known to have no content, whatever its headers say.
    pub is_empty: bool,
}

/// Whether a shape has something to say of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// It may go on as it comes.
    Nothing,
    /// Its whole content is needed: JSON, in no content coding.
    Content,
}

/// One shape of a response's content. Several are applied in order, each to what the one before has left.
pub trait Shape: Debug + Send + Sync {
    /// What it makes of responses, in a few words for the operator.
    fn describe(&self) -> &'static str;

    /// Whether it may have something to say of any response to this request. If not, request and response go through
    /// untouched.
    fn binds(&self, asking: &Asking<'_>) -> bool;

    /// Whether such a request may become a tunnel, in which nothing is looked at, although it [`Shape::binds`] it.
    fn lets_tunnel(&self, asking: &Asking<'_>) -> bool {
        let _ = asking;
        false
    }

    /// Judges a response by its head.
    ///
    /// # Errors
    /// [`Reason::ResponseRefused`] and whatever else refuses it without a look at its content.
    fn wants(&self, seen: &SeenResponse<'_>) -> Result<Wants, Reason>;

    /// Judges a response by its complete content, which is empty where there is none. `None` leaves it as it is.
    ///
    /// # Errors
    /// [`Reason::ResponseRefused`] where it cannot be told, [`Reason::NotOwner`] where it is not the caller's.
    fn shape(&self, seen: &SeenResponse<'_>, body: &[u8]) -> Result<Option<Vec<u8>>, Reason>;
}

/// What becomes of an upstream's answers with a status code of 400 and above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Errors {
    /// Their content is replaced by problem details that say the status code and no more.
    #[default]
    Hide,
    /// They are shaped as all others are; those that are not JSON are hidden.
    Shape,
    /// They go on as they come.
    Pass,
}

/// What becomes of answers whose content is not JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherTypes {
    /// They are refused.
    #[default]
    Refuse,
    /// They go on as they come.
    Pass,
}

/// Everything that a route asks of responses.
#[derive(Clone, Debug)]
pub struct ResponseRules {
    /// The shapes, in the order in which they are applied.
    pub shapes: Vec<Arc<dyn Shape>>,
    /// The largest content that is looked at, in bytes; a larger one is refused by shapes, and passes a watch unjudged.
    pub max: u64,
    /// What becomes of the upstream's own errors.
    pub errors: Errors,
    /// What becomes of what is not JSON.
    pub other_types: OtherTypes,
    /// The contract that answers are compared with while they pass; nothing becomes of them for it.
    pub watch: Option<Watch>,
}

/// What is to be done with a response whose head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It goes on as it comes.
    Stream,
    /// Its content is collected, up to [`ResponseRules::max`], and given to [`ResponseRules::shape`].
    Collect,
    /// Its content is left out: that of a redirect is for nobody.
    Empty,
    /// Its content is replaced by words of the gate's own.
    Hide,
}

/// The largest content that is looked at where a route says nothing else.
pub const DEFAULT_MAX: u64 = 1 << 20;

impl ResponseRules {
    /// Rules with these shapes, and the default of everything else.
    #[must_use]
    pub const fn new(shapes: Vec<Arc<dyn Shape>>) -> Self {
        Self { shapes, max: DEFAULT_MAX, errors: Errors::Hide, other_types: OtherTypes::Refuse, watch: None }
    }

    /// Whether a response to this request may have to be shaped.
    #[must_use]
    pub fn binds(&self, asking: &Asking<'_>) -> bool {
        self.shapes.iter().any(|shape| shape.binds(asking))
    }

    /// Whether no shape that binds this request minds that it becomes a tunnel.
    #[must_use]
    pub fn lets_tunnel(&self, asking: &Asking<'_>) -> bool {
        self.shapes.iter().all(|shape| !shape.binds(asking) || shape.lets_tunnel(asking))
    }

    /// Makes the headers of a request that [`ResponseRules::binds`] ask for an answer that can be judged: all of it, in no
    /// content coding, and whatever the client has of it already. `method` is the one that is forwarded.
    ///
    /// A conditional request would be answered 304 or 412, which tells whether there is something, and shows no owner.
    pub fn prepare(&self, method: &Method, headers: &mut HeaderMap) {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        // RFC 3229: an answer that is the difference to another.
        for name in [RANGE, IF_RANGE, HeaderName::from_static("a-im")] {
            headers.remove(name);
        }
        // The conditions of what changes something are the upstream's to judge.
        if method.is_safe() {
            for name in [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
                headers.remove(name);
            }
        }
    }

    /// Judges the head of a response to a request that [`ResponseRules::binds`].
    ///
    /// # Errors
    /// What a shape refuses; and [`Reason::ResponseRefused`] for what no shape can judge: a part of a whole (206, 226), a 304
    /// that nobody asked for, a content coding, a type that is not JSON.
    pub fn plan(&self, seen: &SeenResponse<'_>) -> Result<Plan, Reason> {
        let status = seen.status;
        if status.is_client_error() || status.is_server_error() {
            match self.errors {
                Errors::Pass => return Ok(Plan::Stream),
                Errors::Hide => return Ok(Plan::Hide),
                Errors::Shape => {}
            }
        }
        let mut wants = Wants::Nothing;
        for shape in &self.shapes {
            if shape.wants(seen)? == Wants::Content {
                wants = Wants::Content;
            }
        }
        if wants == Wants::Nothing {
            return Ok(Plan::Stream);
        }
        match status {
            StatusCode::PARTIAL_CONTENT | StatusCode::IM_USED => {
                return Err(Reason::ResponseRefused("a part of an answer came where the whole was asked for"));
            }
            StatusCode::NOT_MODIFIED => {
                return Err(Reason::ResponseRefused("a 304 came where no condition was sent"));
            }
            _ if seen.is_empty => return Ok(Plan::Collect),
            _ if status.is_redirection() => return Ok(Plan::Empty),
            _ => {}
        }
        if !is_json(seen.headers) {
            // An error page is nobody's data, and its status code is what counts.
            return match self.other_types {
                _ if status.as_u16() >= 400 => Ok(Plan::Hide),
                OtherTypes::Pass => Ok(Plan::Stream),
                OtherTypes::Refuse => Err(Reason::ResponseRefused("the answer is not JSON")),
            };
        }
        if seen
            .headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            return Err(Reason::ResponseRefused("the answer has a content coding although none was accepted"));
        }
        Ok(Plan::Collect)
    }

    /// Applies all shapes to a complete body. `None` leaves it as it is.
    ///
    /// # Errors
    /// The first refusal of a shape.
    pub fn shape(&self, seen: &SeenResponse<'_>, body: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
        let mut shaped: Option<Vec<u8>> = None;
        for shape in &self.shapes {
            if shape.wants(seen)? == Wants::Content
                && let Some(left) = shape.shape(seen, shaped.as_deref().unwrap_or(body))?
            {
                shaped = Some(left);
            }
        }
        Ok(shaped)
    }
}

/// Whether a message says, once and clearly, that its content is JSON: `application/json` or a type with the suffix `+json`
/// (RFC 6839 §3.1).
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(first), None) = (types.next(), types.next()) else { return false };
    let essence = first.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let Some(slash) = essence.iter().position(|byte| *byte == b'/') else { return false };
    let (kind, subtype) = (&essence[..slash], &essence[slash + 1..]);
    let is_token = |bytes: &[u8]| !bytes.iter().any(|byte| byte.is_ascii_whitespace() || *byte == b',');
    let is_suffixed = subtype.len() > 5 && subtype[subtype.len() - 5..].eq_ignore_ascii_case(b"+json");
    is_token(essence)
        && (is_suffixed || (kind.eq_ignore_ascii_case(b"application") && subtype.eq_ignore_ascii_case(b"json")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shape that wants all content, and takes the first byte of it away.
    #[derive(Debug)]
    struct Shorter;

    impl Shape for Shorter {
        fn describe(&self) -> &'static str {
            "its first byte is left out"
        }

        fn binds(&self, _: &Asking<'_>) -> bool {
            true
        }

        fn wants(&self, seen: &SeenResponse<'_>) -> Result<Wants, Reason> {
            Ok(if seen.status == StatusCode::CREATED { Wants::Nothing } else { Wants::Content })
        }

        fn shape(&self, _: &SeenResponse<'_>, body: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
            Ok(body.get(1..).map(<[u8]>::to_vec))
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn seen(status: u16, headers: &HeaderMap) -> SeenResponse<'_> {
        let asking = Asking { method: &Method::GET, path: "/", query: None, principal: None, sees_others: false };
        SeenResponse { asking, status: StatusCode::from_u16(status).unwrap(), headers, is_empty: false }
    }

    fn plan(rules: &ResponseRules, status: u16, pairs: &[(&'static str, &'static str)]) -> Option<Plan> {
        rules.plan(&seen(status, &headers(pairs))).ok()
    }

    const JSON: (&str, &str) = ("content-type", "application/json");

    #[test]
    fn z8_what_cannot_be_judged_is_refused() {
        let rules = ResponseRules::new(vec![Arc::new(Shorter)]);
        for (status, pairs, expected) in [
            (200, &[JSON][..], Some(Plan::Collect)),
            (200, &[("content-type", "application/vnd.api+json; charset=utf-8")], Some(Plan::Collect)),
            (200, &[("content-type", "Application/JSON ;charset=utf-8")], Some(Plan::Collect)),
            (200, &[JSON, ("content-encoding", "identity")], Some(Plan::Collect)),
            (201, &[("content-type", "text/html")], Some(Plan::Stream)),
            (200, &[], None),
            (200, &[JSON, ("content-type", "text/html")], None),
            (200, &[("content-type", "text/html, application/json")], None),
            (200, &[("content-type", "text/html;x=application/json")], None),
            (200, &[("content-type", "text/event-stream")], None),
            (200, &[("content-type", "application/x-ndjson")], None),
            (200, &[("content-type", "application/jsonp")], None),
            (200, &[("content-type", "/+json")], None),
            (200, &[JSON, ("content-encoding", "gzip")], None),
            (200, &[JSON, ("content-encoding", "identity"), ("content-encoding", "br")], None),
            (206, &[JSON], None),
            (226, &[JSON], None),
            (304, &[], None),
            (302, &[("content-type", "text/html")], Some(Plan::Empty)),
            (404, &[JSON], Some(Plan::Hide)),
            (500, &[("content-type", "text/html")], Some(Plan::Hide)),
        ] {
            assert_eq!(plan(&rules, status, pairs), expected, "{status} {pairs:?}");
        }
        let none = HeaderMap::new();
        for status in [204, 303] {
            let seen = SeenResponse { is_empty: true, ..seen(status, &none) };
            assert_eq!(rules.plan(&seen), Ok(Plan::Collect));
        }
    }

    #[test]
    fn errors_and_other_types_go_on_only_where_that_is_said() {
        let rules = ResponseRules::new(vec![Arc::new(Shorter)]);
        let html = ("content-type", "text/html");
        let shape = ResponseRules { errors: Errors::Shape, ..rules.clone() };
        assert_eq!(plan(&shape, 422, &[JSON]), Some(Plan::Collect));
        assert_eq!(plan(&shape, 500, &[html]), Some(Plan::Hide));
        let pass = ResponseRules { errors: Errors::Pass, ..rules.clone() };
        assert_eq!(plan(&pass, 422, &[JSON]), Some(Plan::Stream));
        assert_eq!(plan(&pass, 200, &[html]), None);
        let other = ResponseRules { errors: Errors::Shape, other_types: OtherTypes::Pass, ..rules };
        assert_eq!(plan(&other, 200, &[html]), Some(Plan::Stream));
        assert_eq!(plan(&other, 500, &[html]), Some(Plan::Hide));
    }

    #[test]
    fn each_shape_gets_what_the_one_before_has_left() {
        let rules = ResponseRules::new(vec![Arc::new(Shorter), Arc::new(Shorter)]);
        let json = headers(&[JSON]);
        assert_eq!(rules.shape(&seen(200, &json), b"abc"), Ok(Some(b"c".to_vec())));
        assert_eq!(rules.shape(&seen(200, &json), b""), Ok(None));
        assert_eq!(rules.shape(&seen(201, &json), b"abc"), Ok(None));
    }

    #[test]
    fn z7_a_condition_or_a_range_is_not_forwarded_where_its_answer_would_tell_something() {
        let rules = ResponseRules::new(Vec::new());
        let all = [
            ("range", "bytes=0-1"),
            ("if-range", "\"a\""),
            ("a-im", "vcdiff"),
            ("if-match", "*"),
            ("if-none-match", "\"a\""),
            ("if-modified-since", "Sat, 29 Oct 1994 19:43:31 GMT"),
            ("if-unmodified-since", "Sat, 29 Oct 1994 19:43:31 GMT"),
            ("accept-encoding", "gzip, br"),
            ("accept-encoding", "identity;q=0"),
        ];
        let left = |method: &Method| {
            let mut headers = headers(&all);
            rules.prepare(method, &mut headers);
            assert_eq!(headers.get_all(ACCEPT_ENCODING).iter().collect::<Vec<_>>(), ["identity"]);
            let mut left: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
            left.sort_unstable();
            left.join(" ")
        };
        assert_eq!(left(&Method::GET), "accept-encoding");
        assert_eq!(left(&Method::PUT), "accept-encoding if-match if-modified-since if-none-match if-unmodified-since");
    }
}
