//! What an operation answers.

use std::collections::HashMap;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use portcullis_core::Violation;
use serde_json::Value;

use super::content;
use super::document::Part;
use super::fault::Fault;
use super::findings::{Findings, Rule, Rules};
use super::media::{self, MediaType, Range};
use super::schema::Book;

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

    /// Judges an answer that is here whole.
    pub(super) fn judge(
        &self,
        book: &Book,
        method: &Method,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Findings {
        let mut findings = Findings::default();
        let Some(response) = self.of(status) else {
            findings.broken(about("status", "unknown", "the operation declares no answer with this status"));
            return findings;
        };
        let bodiless = *method == Method::HEAD || matches!(status.as_u16(), 100..=199 | 204 | 304);
        if !bodiless && !body.is_empty() {
            response.judge(book, headers, body, &mut findings);
        }
        findings
    }
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

    fn judge(&self, book: &Book, headers: &HeaderMap, body: &[u8], findings: &mut Findings) {
        if self.content.is_empty() {
            return findings.broken(about("", "content", "the operation declares no content for this status"));
        }
        let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(MediaType::parse);
        let Some(media) = media else {
            return findings.broken(about("header.Content-Type", "content", "names no media type that can be read"));
        };
        let Some((_, rule)) = self.content.iter().find(|(range, _)| range.covers(&media)) else {
            return findings.broken(about("header.Content-Type", "content", "is not a media type that is declared"));
        };
        let Some(rule) = rule else { return };
        if headers.get_all(CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return findings.broken(about("header.Content-Encoding", "content", "cannot be looked into"));
        }
        let mut value = if media::is_json(&media.essence) {
            match content::json_of_upstream(body) {
                Ok(value) => value,
                Err(_) => return findings.broken(about("", "json", "is not JSON that can be read in one way only")),
            }
        } else if media.essence.starts_with("text/")
            && let Ok(text) = std::str::from_utf8(body)
        {
            Value::String(text.to_owned())
        } else {
            return;
        };
        findings.take(rule.judge(book, &mut value, ""));
    }
}

fn about(path: &str, rule: &str, message: &str) -> Violation {
    Violation { path: path.into(), rule: rule.into(), message: message.into() }
}
