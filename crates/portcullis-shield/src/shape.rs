//! What a route asks of a response's content: shapes that see the whole body before any of it is told.

use std::fmt::Debug;
use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, RANGE};
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use portcullis_core::{Principal, Reason};

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
    /// Whether it may have something to say of any response to this request. If not, request and response go through
    /// untouched.
    fn binds(&self, asking: &Asking<'_>) -> bool;

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
    /// They are shaped as all others are.
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
    /// The largest content that is looked at, in bytes; a larger one is refused.
    pub max: u64,
    /// What becomes of the upstream's own errors.
    pub errors: Errors,
    /// What becomes of what is not JSON.
    pub other_types: OtherTypes,
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
        Self { shapes, max: DEFAULT_MAX, errors: Errors::Hide, other_types: OtherTypes::Refuse }
    }

    /// Whether a response to this request may have to be shaped.
    #[must_use]
    pub fn binds(&self, asking: &Asking<'_>) -> bool {
        self.shapes.iter().any(|shape| shape.binds(asking))
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

    /// Judges the head of a response to a request that [`ResponseRules::binds`]. `is_empty`: it is known to have no content.
    ///
    /// # Errors
    /// What a shape refuses; and [`Reason::ResponseRefused`] for what no shape can judge: a part of a whole (206, 226), a 304
    /// that nobody asked for, a content coding, a type that is not JSON.
    pub fn plan(&self, seen: &SeenResponse<'_>, is_empty: bool) -> Result<Plan, Reason> {
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
            _ if is_empty => return Ok(Plan::Collect),
            _ if status.is_redirection() => return Ok(Plan::Empty),
            _ => {}
        }
        if !is_json(seen.headers) {
            // An error page is nobody's data, and its status code is what counts.
            return match self.other_types {
                OtherTypes::Pass => Ok(Plan::Stream),
                OtherTypes::Refuse if status.as_u16() >= 400 => Ok(Plan::Hide),
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
