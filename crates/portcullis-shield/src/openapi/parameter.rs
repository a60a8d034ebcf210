//! One parameter of an operation: where it stands, how it is written, and what it must be.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::COOKIE;
use portcullis_core::Violation;
use serde_json::Value;

use super::document::{Document, Part};
use super::fault::Fault;
use super::findings::{Findings, Rule, Rules};
use super::media::Range;
use super::schema::{Book, Kind, Shape};
use super::style::{Decoding, Style, Taken, Wrong};
use crate::media::is_json;

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Path,
    Query,
    Header,
    Cookie,
}

impl Place {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }
}

/// A parameter, ready to be asked about.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: Box<str>,
    pub(super) place: Place,
    pub(super) required: bool,
    /// Whether `name` and `name=` are good whatever the schema says.
    pub(super) may_be_empty: bool,
    pub(super) written: Written,
    pub(super) shape: Shape,
    rule: Option<Rule>,
    /// How violations name it: `query.limit`.
    path: Box<str>,
    ambiguous: bool,
}

/// How a parameter is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Styled {
        style: Style,
        explode: bool,
    },
    /// A document of its own: JSON.
    Json,
    /// A text that nothing is known about.
    Text,
}

/// Header parameters that OpenAPI says are described elsewhere.
const DESCRIBED_ELSEWHERE: [&str; 3] = ["accept", "content-type", "authorization"];

impl Parameter {
    /// Reads a parameter; `None` for one that is described elsewhere.
    pub(super) fn read(rules: &mut Rules<'_, '_>, part: &Part<'_>) -> Result<Option<Self>, Fault> {
        let document = rules.document();
        part.object("a parameter")?;
        let Some(name) = part.text("name") else { return Err(part.fault("a parameter has a \"name\"")) };
        let place = match part.text("in") {
            Some("path") => Place::Path,
            Some("query") => Place::Query,
            Some("header") => Place::Header,
            Some("cookie") => Place::Cookie,
            _ => return Err(part.fault("a parameter is \"in\" path, query, header or cookie")),
        };
        if place == Place::Header && DESCRIBED_ELSEWHERE.contains(&&*name.to_ascii_lowercase()) {
            return Ok(None);
        }
        if place == Place::Header && http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(part.fault(format!("{name:?} is not the name of a header")));
        }
        let (written, schema) = match (part.member("schema"), part.member("content")) {
            (Some(schema), None) => (styled(part, place)?, Some(schema)),
            (None, Some(content)) => {
                let mut members = content.members();
                let (Some((media, content)), None) = (members.next(), members.next()) else {
                    return Err(content.fault("the content of a parameter has one media type"));
                };
                let json = Range::parse(media).is_some_and(|range| is_json(range.essence()));
                (if json { Written::Json } else { Written::Text }, content.member("schema"))
            }
            (Some(_), Some(_)) => return Err(part.fault("a parameter has a \"schema\" or a \"content\", not both")),
            (None, None) => return Err(part.fault("a parameter has a \"schema\" or a \"content\"")),
        };
        let shape = match &schema {
            Some(schema) => Shape::of(document, schema)?,
            None => Shape::default(),
        };
        let rule = schema.map(|schema| rules.request(&schema));
        Ok(Some(Self {
            ambiguous: shape.is_ambiguous(),
            path: format!("{}.{name}", place.word()).into(),
            name: name.into(),
            place,
            required: place == Place::Path || part.is("required"),
            may_be_empty: place == Place::Query && part.is("allowEmptyValue"),
            written,
            shape,
            rule,
        }))
    }

    /// Whether a list of it stands in several pieces of a query.
    pub(super) fn repeats(&self) -> bool {
        matches!(self.written, Written::Styled { style: Style::Form, explode: true }) && self.shape.has(Kind::Array)
    }

    pub(super) fn is_deep(&self) -> bool {
        matches!(self.written, Written::Styled { style: Style::Deep, .. })
    }

    /// Whether the members of its object stand in the query by themselves.
    pub(super) fn is_spread(&self) -> bool {
        let exploded = matches!(self.written, Written::Styled { style: Style::Form, explode: true });
        exploded && self.place == Place::Query && super::style::meant(&self.shape, 1) == super::style::Meant::Object
    }

    /// Whether its style writes what no path at the gate has.
    pub(super) fn is_never_matched(&self) -> bool {
        matches!(self.written, Written::Styled { style: Style::Matrix, .. })
    }

    /// Judges a header; lists may stand in several lines (RFC 9110 §5.3).
    pub(super) fn judge_header(&self, book: &Book, headers: &HeaderMap, findings: &mut Findings) {
        if headers.keys().any(|name| self.looks_like(name.as_str())) {
            let message = "is there in another spelling, which some programs take for the same";
            return findings.broken(self.violation("style", message));
        }
        let mut lines = headers.get_all(&*self.name).iter();
        let Some(first) = lines.next() else { return self.absent(findings) };
        let mut text = Cow::Borrowed(first.as_bytes());
        let composed = self.shape.has(Kind::Array) || self.shape.has(Kind::Object);
        for line in lines {
            if !composed {
                return findings.broken(self.violation("duplicate", "must not be given more than once"));
            }
            text.to_mut().push(b',');
            text.to_mut().extend_from_slice(line.as_bytes());
        }
        let Ok(text) = std::str::from_utf8(&text) else {
            return findings.broken(self.violation("encoding", "is not UTF-8"));
        };
        if composed && self.written != Written::Json {
            let trimmed: Vec<&str> = text.split(',').map(|part| part.trim_matches([' ', '\t'])).collect();
            return self.judge_text(book, findings, &trimmed.join(","), Decoding::None);
        }
        self.judge_text(book, findings, text, Decoding::None);
    }

    /// Whether a header is another one that CGI-like upstreams read as the same variable: `X_Tenant` beside `X-Tenant`.
    fn looks_like(&self, header: &str) -> bool {
        let fold = |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'_' };
        header.len() == self.name.len()
            && header.bytes().map(fold).eq(self.name.bytes().map(fold))
            && !header.eq_ignore_ascii_case(&self.name)
    }

    /// Judges a cookie. Of two with one name programs take one or the other.
    pub(super) fn judge_cookie(&self, book: &Book, headers: &HeaderMap, findings: &mut Findings) {
        let mut found = None;
        for line in headers.get_all(COOKIE) {
            let Ok(line) = std::str::from_utf8(line.as_bytes()) else {
                return findings.broken(self.violation("encoding", "stands among cookies that are not UTF-8"));
            };
            for pair in line.split(';') {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                if name.trim() == &*self.name && found.replace(value.trim()).is_some() {
                    return findings.broken(self.violation("duplicate", "must not be given more than once"));
                }
            }
        }
        match found {
            Some(raw) => self.judge_text(book, findings, raw, Decoding::Percent),
            None => self.absent(findings),
        }
    }

    /// It is not there.
    pub(super) fn absent(&self, findings: &mut Findings) {
        if self.required {
            findings.broken(self.violation("required", "is required"));
        }
    }

    /// Judges what was read, in the ways in which it may be meant.
    pub(super) fn judge(&self, book: &Book, findings: &mut Findings, read: impl Fn(Taken) -> Result<Value, Wrong>) {
        let mut value = match read(Taken::Typed) {
            Ok(value) => value,
            Err(wrong) => return findings.broken(self.violation(wrong.rule, wrong.message)),
        };
        let Some(rule) = &self.rule else { return };
        let typed = rule.judge(book, &mut value, &self.path);
        if typed.is_broken()
            && self.ambiguous
            && let Ok(mut text) = read(Taken::AsText)
        {
            let as_text = rule.judge(book, &mut text, &self.path);
            if !as_text.is_broken() {
                return findings.take(as_text);
            }
        }
        findings.take(typed);
    }

    /// Judges one text.
    pub(super) fn judge_text(&self, book: &Book, findings: &mut Findings, raw: &str, decoding: Decoding) {
        self.judge(book, findings, |taken| match self.written {
            Written::Styled { style, explode } => {
                super::style::one_text(style, explode, &self.name, raw, &self.shape, taken, decoding)
            }
            Written::Json => {
                let text = decoding.decode(raw)?;
                super::content::json(text.as_bytes())
                    .map_err(|_| Wrong { rule: "json", message: "is not JSON that can be read in one way only" })
            }
            Written::Text => Ok(Value::String(decoding.decode(raw)?.into_owned())),
        });
    }

    pub(super) fn violation(&self, rule: &str, message: &str) -> Violation {
        Violation { path: self.path.clone(), rule: rule.into(), message: message.into() }
    }
}

fn styled(part: &Part<'_>, place: Place) -> Result<Written, Fault> {
    let style = match (part.text("style"), place) {
        (None | Some("simple"), Place::Path | Place::Header) => Style::Simple,
        (Some("label"), Place::Path) => Style::Label,
        (Some("matrix"), Place::Path) => Style::Matrix,
        (None | Some("form"), Place::Query | Place::Cookie) => Style::Form,
        (Some("spaceDelimited"), Place::Query) => Style::Space,
        (Some("pipeDelimited"), Place::Query) => Style::Pipe,
        (Some("deepObject"), Place::Query) => Style::Deep,
        (Some(other), _) => {
            return Err(part.fault(format!("{other:?} is not a style of parameters in {}", place.word())));
        }
    };
    let explode = match part.value.get("explode") {
        Some(value) => value == &Value::Bool(true),
        None => style == Style::Form,
    };
    Ok(Written::Styled { style, explode })
}

/// The parameters of an operation: its own, and those of its path that it does not replace.
pub(super) fn all<'d>(document: &'d Document, lists: [Option<Part<'d>>; 2]) -> Result<Vec<Part<'d>>, Fault> {
    let mut all: Vec<(Option<&str>, Option<&str>, Part<'d>)> = Vec::new();
    for part in lists.iter().flatten() {
        let first_of_list = all.len();
        for element in part.elements() {
            let parameter = document.follow(element)?;
            let (name, place) = (parameter.text("name"), parameter.text("in"));
            let same = all.iter().position(|(known, at, _)| *known == name && *at == place);
            match same {
                Some(index) if index < first_of_list => all[index].2 = parameter,
                Some(_) => return Err(parameter.fault("the parameter is declared twice")),
                None => all.push((name, place, parameter)),
            }
        }
    }
    Ok(all.into_iter().map(|(_, _, part)| part).collect())
}
