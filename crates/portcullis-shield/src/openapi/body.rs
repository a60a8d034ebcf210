//! The body of a request against what its operation takes.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use portcullis_core::Reason;
use serde_json::Value;

use super::content;
use super::document::Part;
use super::fault::Fault;
use super::findings::{Findings, Rule, Rules};
use super::form::{self, Encodings, Sent, WrongField};
use super::media::Range;
use super::schema::{Book, Shape};
use super::style::Taken;
use crate::judging::words::Pointer;
use crate::media::{self, MediaType};

/// What an operation takes as its body.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) required: bool,
    /// Those that say more first.
    payloads: Vec<(Range, Payload)>,
}

/// What is known of a body of one media type.
#[derive(Debug)]
struct Payload {
    /// How it is read; `None` for a range, where the body's own media type says so.
    kind: Option<Kind>,
    rule: Option<Rule>,
    shape: Shape,
    encodings: Encodings,
}

/// How a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Form,
    Multipart,
    Text,
    /// Nothing inside of it is looked at.
    Opaque,
}

impl Kind {
    fn of(essence: &str) -> Self {
        match essence {
            "application/x-www-form-urlencoded" => Self::Form,
            "multipart/form-data" => Self::Multipart,
            essence if media::is_json(essence) => Self::Json,
            essence if essence.starts_with("text/") => Self::Text,
            _ => Self::Opaque,
        }
    }
}

const UNKNOWN_TYPE: Reason = Reason::UnsupportedMediaType("the operation does not take a body of this media type");
const UNREADABLE_TYPE: Reason =
    Reason::UnsupportedMediaType("a body needs one Content-Type that can be read in one way");

impl Body {
    pub(super) fn read(rules: &mut Rules<'_, '_>, part: &Part<'_>) -> Result<Self, Fault> {
        part.object("a request body")?;
        let Some(content) = part.member("content") else { return Err(part.fault("a request body has a \"content\"")) };
        let mut payloads = Vec::new();
        for (name, media) in content.members() {
            let Some(range) = Range::parse(name) else {
                return Err(media.fault(format!("{name:?} is not a media type")));
            };
            let schema = media.member("schema");
            let shape = match &schema {
                Some(schema) => Shape::of(rules.document(), schema)?,
                None => Shape::default(),
            };
            let kind = (!range.essence().ends_with("/*")).then(|| Kind::of(range.essence()));
            let rule = schema.filter(|_| kind != Some(Kind::Opaque)).map(|schema| rules.request(&schema));
            payloads.push((range, Payload { kind, rule, shape, encodings: Encodings::read(&media)? }));
        }
        payloads.sort_by_key(|(range, _)| std::cmp::Reverse(range.precision()));
        Ok(Self { required: part.is("required"), payloads })
    }

    /// What is taken, in a few words.
    pub(super) fn describe(&self) -> String {
        let types: Vec<&str> = self.payloads.iter().map(|(range, _)| range.essence()).collect();
        let need = if self.required { "a body is required" } else { "a body may come" };
        format!("{need}: {}", types.join(", "))
    }

    /// Finds what is known of a body by its head.
    pub(super) fn accepts(&self, headers: &HeaderMap) -> Result<(), Reason> {
        self.payload(headers).map(|_| ())
    }

    fn payload<'h>(&self, headers: &'h HeaderMap) -> Result<(&Payload, MediaType<'h>), Reason> {
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(UNREADABLE_TYPE) };
        let media = value.to_str().ok().and_then(MediaType::parse).ok_or(UNREADABLE_TYPE)?;
        let found = self.payloads.iter().find(|(range, _)| range.covers(&media));
        found.map(|(_, payload)| (payload, media)).ok_or(UNKNOWN_TYPE)
    }

    /// Judges a body that is there.
    pub(super) fn judge(
        &self,
        book: &Book,
        headers: &HeaderMap,
        body: &[u8],
        findings: &mut Findings,
    ) -> Result<(), Reason> {
        let (payload, media) = self.payload(headers)?;
        let kind = payload.kind.unwrap_or_else(|| Kind::of(&media.essence));
        let Some(rule) = &payload.rule else { return is_readable(kind, &media, body) };
        let mut value = match kind {
            Kind::Opaque => return Ok(()),
            Kind::Json => {
                utf8(&media)?;
                content::json(body).map_err(Reason::UnreadableJson)?
            }
            Kind::Text => {
                utf8(&media)?;
                Value::String(std::str::from_utf8(body).map_err(|_| NOT_TEXT)?.to_owned())
            }
            Kind::Form | Kind::Multipart => {
                let fields = fields(kind, &media, body)?;
                findings.take(payload.judge_form(book, *rule, &fields));
                return Ok(());
            }
        };
        findings.take(rule.judge(book, &mut value, ""));
        Ok(())
    }
}

const NOT_TEXT: Reason = Reason::InvalidBody("the body is not UTF-8");

fn utf8(media: &MediaType<'_>) -> Result<(), Reason> {
    if media.is_utf8() { Ok(()) } else { Err(Reason::UnsupportedMediaType("bodies are read as UTF-8 only")) }
}

/// Whether a body without a schema is at least what it says it is.
fn is_readable(kind: Kind, media: &MediaType<'_>, body: &[u8]) -> Result<(), Reason> {
    match kind {
        Kind::Json => {
            utf8(media)?;
            content::json(body).map(drop).map_err(Reason::UnreadableJson)
        }
        Kind::Text => utf8(media),
        Kind::Form | Kind::Multipart => fields(kind, media, body).map(drop),
        Kind::Opaque => Ok(()),
    }
}

/// The fields of a form.
fn fields<'b>(kind: Kind, media: &MediaType<'_>, body: &'b [u8]) -> Result<Vec<(Cow<'b, str>, Sent<'b>)>, Reason> {
    utf8(media)?;
    let fields = if kind == Kind::Multipart { form::multipart(media, body) } else { form::urlencoded(body) };
    fields.map_err(Reason::InvalidBody)
}

impl Payload {
    fn judge_form(&self, book: &Book, rule: Rule, fields: &[(Cow<'_, str>, Sent<'_>)]) -> Findings {
        let judge = |taken| {
            let mut value = match self.encodings.assemble(fields, &self.shape, taken) {
                Ok(value) => value,
                Err(WrongField { field, wrong }) => {
                    let broken = Pointer::default().member(&field).violation(wrong.rule, wrong.message);
                    return Findings { broken: vec![broken], reported: Vec::new() };
                }
            };
            rule.judge(book, &mut value, "")
        };
        let typed = judge(Taken::Typed);
        if typed.is_broken() && self.shape.is_ambiguous() {
            let as_text = judge(Taken::AsText);
            if !as_text.is_broken() {
                return as_text;
            }
        }
        typed
    }
}
