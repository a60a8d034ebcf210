//! What an operation answers.

use std::collections::HashMap;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};

use super::content;
use super::document::Part;
use super::fault::Fault;
use super::findings::{Findings, Rule, Rules};
use super::media::Range;
use super::schema::Book;
use crate::media::MediaType;

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
            return wrong("status", "unknown", "the operation declares no answer with this status");
        };
        let bodiless = *method == Method::HEAD || matches!(status.as_u16(), 100..=199 | 204 | 304);
        if bodiless || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() == b"0") {
            return Ok(None);
        }
        response.judge_head(headers)
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
            Err(told) if !body.is_empty() || told.path == "status" => return Err(told),
            Err(_) | Ok(None) => return Ok(Findings::default()),
            Ok(Some(rule)) => rule,
        };
        if body.is_empty() {
            return Ok(Findings::default());
        }
        match content::json_of_upstream(body) {
            Ok(mut value) => Ok(rule.judge(book, &mut value, "")),
            Err(_) => wrong("", "json", "the answer is not JSON that can be read in one way only"),
        }
    }
}

/// What is wrong with an answer beside its values: a place, a rule, and a sentence for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) path: &'static str,
    pub(super) rule: &'static str,
    pub(super) message: &'static str,
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
