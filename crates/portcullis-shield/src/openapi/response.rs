//! What an operation answers.

use std::collections::HashMap;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use portcullis_core::Violation;

use super::content;
use super::document::Part;
use super::fault::Fault;
use super::findings::{Findings, Rule, Rules};
use super::media::Range;
use super::schema::Book;
use crate::coding::Coding;
use crate::media::MediaType;

/// The place of a status.
pub(super) const STATUS: &str = "status";

/// The rule of an answer that nobody can say anything of.
pub(super) const NOT_JUDGED: &str = "notJudged";

/// What there is to say of content in a coding that cannot be undone.
pub(super) const UNREADABLE: Wrong = Wrong {
    path: "header.Content-Encoding",
    rule: NOT_JUDGED,
    message: "it has a content coding that is not read here, is broken, or becomes too large",
};

/// The answers that an operation declares.
#[derive(Debug, Default)]
pub(super) struct Responses {
    exact: HashMap<u16, Response>,
    /// `1XX` to `5XX`.
    classes: HashMap<u16, Response>,
    default: Option<Response>,
}

/// One declared answer: the media types that it may have, those that say more first.
#[derive(Debug)]
struct Response {
    content: Vec<(Range, Option<Rule>)>,
}

impl Responses {
    pub(super) fn read(rules: &mut Rules<'_, '_>, operation: &Part<'_>) -> Result<Self, Fault> {
        let mut responses = Self::default();
        let declared = operation.member("responses");
        for (status, part) in declared.iter().flat_map(Part::members) {
            if status.starts_with("x-") {
                continue;
            }
            let part = rules.document().follow(part)?;
            let response = Response::read(rules, &part)?;
            let class = status.strip_suffix("XX").or_else(|| status.strip_suffix("xx"));
            match (status.parse::<u16>(), class.map(str::parse::<u16>)) {
                (Ok(code @ 100..=599), _) => drop(responses.exact.insert(code, response)),
                (_, Some(Ok(class @ 1..=5))) => drop(responses.classes.insert(class, response)),
                _ if status == "default" => responses.default = Some(response),
                _ => {
                    return Err(
                        part.fault(format!("{status:?} is not a status: write \"200\", \"2XX\" or \"default\""))
                    );
                }
            }
        }
        Ok(responses)
    }

    fn of(&self, status: StatusCode) -> Option<&Response> {
        let code = status.as_u16();
        self.exact.get(&code).or_else(|| self.classes.get(&(code / 100))).or(self.default.as_ref())
    }

    /// Judges the head of an answer, and finds the schema that its content has to follow: that of JSON, where one is
    /// declared.
    pub(super) fn judge_head(
        &self,
        method: &Method,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Option<Rule>, Wrong> {
        let Some(response) = self.of(status) else {
            return wrong(STATUS, "unknown", "the operation declares no answer with this status");
        };
        let bodiless = *method == Method::HEAD || matches!(status.as_u16(), 100..=199 | 204 | 304);
        if bodiless || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() == b"0") {
            return Ok(None);
        }
        response.judge_head(headers)
    }

    /// Whether it declares a status by itself or by its class. A `default` stands for mistakes: it declares no part of an
    /// answer, and that no protocol may be switched.
    pub(super) fn name(&self, status: StatusCode) -> bool {
        let code = status.as_u16();
        self.exact.contains_key(&code) || self.classes.contains_key(&(code / 100))
    }

    /// What there is to say by its head of an answer that passes whatever is said, and where its content is to be judged, by
    /// what and in which coding that comes.
    pub(super) fn watch(
        &self,
        method: &Method,
        status: StatusCode,
        headers: &HeaderMap,
        is_empty: bool,
    ) -> Result<Option<(Rule, Coding)>, Wrong> {
        const PART: &str = "it is a part of an answer, or says that the client has it already";
        let is_part = matches!(status.as_u16(), 206 | 226);
        if (is_part && !self.name(status)) || (status == StatusCode::NOT_MODIFIED && self.of(status).is_none()) {
            return wrong(STATUS, NOT_JUDGED, PART);
        }
        let rule = match self.judge_head(method, status, headers) {
            Err(told) if !is_empty || told.path == STATUS => return Err(told),
            Ok(Some(rule)) if !is_empty => rule,
            Err(_) | Ok(_) => return Ok(None),
        };
        if is_part {
            return wrong(STATUS, NOT_JUDGED, PART);
        }
        match Coding::of(headers, true) {
            Ok(coding) => Ok(Some((rule, coding))),
            Err(_) => Err(UNREADABLE),
        }
    }

    /// Judges an answer that is here whole.
    pub(super) fn judge(
        &self,
        book: &Book,
        (method, status): (&Method, StatusCode),
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Findings, Wrong> {
        let rule = match self.judge_head(method, status, headers) {
            Err(told) if !body.is_empty() || told.path == STATUS => return Err(told),
            Err(_) | Ok(None) => return Ok(Findings::default()),
            Ok(Some(rule)) => rule,
        };
        if body.is_empty() {
            return Ok(Findings::default());
        }
        judge_content(book, rule, body)
    }
}

/// Judges content that is here whole, in no coding.
pub(super) fn judge_content(book: &Book, rule: Rule, body: &[u8]) -> Result<Findings, Wrong> {
    match content::json_of_upstream(body) {
        Ok(mut value) => Ok(rule.judge(book, &mut value, "")),
        Err(_) => wrong("", "json", "the answer is not JSON that can be read in one way only"),
    }
}

/// What is wrong with an answer beside its values: a place, a rule, and a sentence for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) path: &'static str,
    pub(super) rule: &'static str,
    pub(super) message: &'static str,
}

impl From<Wrong> for Violation {
    fn from(Wrong { path, rule, message }: Wrong) -> Self {
        Self { path: path.into(), rule: rule.into(), message: message.into() }
    }
}

const fn wrong<T>(path: &'static str, rule: &'static str, message: &'static str) -> Result<T, Wrong> {
    Err(Wrong { path, rule, message })
}

impl Response {
    fn read(rules: &mut Rules<'_, '_>, part: &Part<'_>) -> Result<Self, Fault> {
        let mut all = Vec::new();
        let content = part.member("content");
        for (name, media) in content.iter().flat_map(Part::members) {
            let Some(range) = Range::parse(name) else {
                return Err(media.fault(format!("{name:?} is not a media type")));
            };
            let rule = media.member("schema").map(|schema| rules.response(&schema));
            all.push((range, rule));
        }
        all.sort_by_key(|(range, _)| std::cmp::Reverse(range.precision()));
        Ok(Self { content: all })
    }

    fn judge_head(&self, headers: &HeaderMap) -> Result<Option<Rule>, Wrong> {
        const TYPE: &str = "header.Content-Type";
        if self.content.is_empty() {
            return wrong("", "content", "the operation declares no content for this status");
        }
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let only = match (types.next(), types.next()) {
            (Some(only), None) => only.to_str().ok(),
            _ => None,
        };
        let Some(media) = only.and_then(MediaType::parse) else {
            return wrong(TYPE, "content", "the answer names no media type that can be read in one way");
        };
        match self.content.iter().find(|(range, _)| range.covers(&media)) {
            None => wrong(TYPE, "content", "the answer has a media type that is not declared"),
            Some((_, rule)) => Ok(rule.filter(|_| media.is_json())),
        }
    }
}
