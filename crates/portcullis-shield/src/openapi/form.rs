//! The fields of a form (`application/x-www-form-urlencoded`, `multipart/form-data`), as the object that the document
//! describes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::content;
use super::document::Part;
use super::escape::{self, BadEscape};
use super::fault::Fault;
use super::media::Range;
use super::multipart;
use super::schema::Shape;
use super::style::{self, Decoding, Meant, Style, Taken, Wrong};
use crate::media::{self, MediaType};

/// A form has not more fields.
const MOST_FIELDS: usize = 4_096;

/// How the fields of a form are written.
#[derive(Debug, Default)]
pub(super) struct Encodings(HashMap<Box<str>, Encoding>);

#[derive(Debug)]
struct Encoding {
    style: Style,
    explode: bool,
    /// What a part may be; empty where it is not said.
    types: Vec<Range>,
}

/// What was sent in a field.
#[derive(Clone, Debug)]
pub(super) enum Sent<'b> {
    /// A text, not decoded: `name=value`.
    Escaped(&'b str),
    /// A text as it is, with the media type of its part.
    Text(&'b str, Option<&'b str>),
    /// A file: its bytes, and its media type.
    File(&'b [u8], Option<&'b str>),
}

/// Why a form is not one, and which field is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrongField {
    pub(super) field: String,
    pub(super) wrong: Wrong,
}

impl Encodings {
    /// Reads the encodings of a media type.
    pub(super) fn read(media: &Part<'_>) -> Result<Self, Fault> {
        let mut encodings = HashMap::new();
        let encoding = media.member("encoding");
        for (name, part) in encoding.iter().flat_map(Part::members) {
            let style = match part.text("style") {
                None | Some("form") => Style::Form,
                Some("spaceDelimited") => Style::Space,
                Some("pipeDelimited") => Style::Pipe,
                Some("deepObject") => Style::Deep,
                Some(other) => return Err(part.fault(format!("{other:?} is not a style of a form's field"))),
            };
            let explode = part.value.get("explode").map_or(style == Style::Form, |value| value == &Value::Bool(true));
            let types = part.text("contentType").unwrap_or_default().split(',').filter(|text| !text.trim().is_empty());
            let types: Option<Vec<Range>> = types.map(|text| Range::parse(text.trim())).collect();
            let types = types.ok_or_else(|| part.fault("the contentType is not a list of media types"))?;
            encodings.insert(name.into(), Encoding { style, explode, types });
        }
        Ok(Self(encodings))
    }

    /// The object that the fields make.
    pub(super) fn assemble(
        &self,
        fields: &[(Cow<'_, str>, Sent<'_>)],
        shape: &Shape,
        taken: Taken,
    ) -> Result<Value, WrongField> {
        let mut grouped: BTreeMap<&str, Vec<(&str, &Sent<'_>)>> = BTreeMap::new();
        for (name, sent) in fields {
            let (stem, bracket) = name.split_at(name.find('[').unwrap_or(name.len()));
            let deep = self.0.get(stem).is_some_and(|encoding| encoding.style == Style::Deep);
            let (name, key) = if deep {
                (stem, style::deep_key(bracket).map_err(|wrong| WrongField { field: stem.to_owned(), wrong })?)
            } else {
                (&**name, &**name)
            };
            grouped.entry(name).or_default().push((key, sent));
        }
        let unknown = Shape::default();
        let mut object = Map::new();
        for (name, sent) in grouped {
            let member = shape.members.get(name).or(shape.more.as_deref()).unwrap_or(&unknown);
            let value = self.member(name, &sent, member, taken);
            object.insert(name.to_owned(), value.map_err(|wrong| WrongField { field: name.to_owned(), wrong })?);
        }
        Ok(Value::Object(object))
    }

    fn member(&self, name: &str, sent: &[(&str, &Sent<'_>)], shape: &Shape, taken: Taken) -> Result<Value, Wrong> {
        let encoding = self.0.get(name);
        let (style, explode) = encoding.map_or((Style::Form, true), |encoding| (encoding.style, encoding.explode));
        if style == Style::Deep {
            let pairs = sent.iter().map(|(key, sent)| Ok((Cow::Borrowed(*key), text_of(sent)?)));
            return style::object(pairs.collect::<Result<_, Wrong>>()?, shape, taken);
        }
        let unknown = Shape::default();
        let types = encoding.map_or(&[][..], |encoding| &encoding.types);
        if explode && style::meant(shape, sent.len()) == Meant::List {
            let item = shape.items.as_deref().unwrap_or(&unknown);
            return sent.iter().map(|(_, sent)| one(sent, item, types, taken)).collect();
        }
        let [(_, only)] = sent else {
            return Err(Wrong { rule: "duplicate", message: "must not be given more than once" });
        };
        match only {
            Sent::Escaped(raw) if !explode => style::one_text(style, false, name, raw, shape, taken, Decoding::Form),
            only => one(only, shape, types, taken),
        }
    }
}

/// The value of one field.
fn one(sent: &Sent<'_>, shape: &Shape, types: &[Range], taken: Taken) -> Result<Value, Wrong> {
    let (declared, is_file) = match sent {
        Sent::Escaped(_) => (None, false),
        Sent::Text(_, media) => (*media, false),
        Sent::File(_, media) => (*media, true),
    };
    let media = match declared.map(MediaType::parse) {
        Some(None) => return Err(Wrong { rule: "contentType", message: "has no media type that can be read" }),
        Some(media) => media,
        None => None,
    };
    if let (Some(media), false) = (&media, types.is_empty())
        && !types.iter().any(|range| range.covers(media))
    {
        return Err(Wrong { rule: "contentType", message: "has a media type that is not taken here" });
    }
    let json = media.as_ref().is_some_and(MediaType::is_json)
        || (media.is_none() && !types.is_empty() && types.iter().all(|range| media::is_json(range.essence())))
        || (media.is_none() && style::meant(shape, 1) == Meant::Object);
    if json && !is_file {
        let wrong = Wrong { rule: "json", message: "is not JSON that can be read in one way only" };
        return content::json(text_of(sent)?.as_bytes()).map_err(|_| wrong);
    }
    match sent {
        // One character for each byte, so that a length is counted in bytes.
        Sent::File(bytes, _) => Ok(Value::String(bytes.iter().map(|byte| char::from(*byte)).collect())),
        sent => Ok(style::scalar(&text_of(sent)?, shape, taken)),
    }
}

fn text_of<'b>(sent: &Sent<'b>) -> Result<Cow<'b, str>, Wrong> {
    match sent {
        Sent::Escaped(raw) => Ok(escape::decode(raw, true)?),
        Sent::Text(text, _) => Ok(Cow::Borrowed(text)),
        Sent::File(bytes, _) => Ok(Cow::Borrowed(std::str::from_utf8(bytes).map_err(|_| BadEscape)?)),
    }
}

/// The fields of `application/x-www-form-urlencoded`.
pub(super) fn urlencoded(body: &[u8]) -> Result<Vec<(Cow<'_, str>, Sent<'_>)>, &'static str> {
    let text = std::str::from_utf8(body).map_err(|_| "the form is not UTF-8")?;
    let mut fields = Vec::new();
    for piece in text.split('&').filter(|piece| !piece.is_empty()) {
        let (name, raw) = piece.split_once('=').unwrap_or((piece, ""));
        let name =
            escape::decode(name, true).map_err(|_| "a field has a name that is not UTF-8, or escaped wrongly")?;
        if fields.len() >= MOST_FIELDS {
            return Err("the form has too many fields");
        }
        fields.push((name, Sent::Escaped(raw)));
    }
    Ok(fields)
}

/// The fields of `multipart/form-data`.
pub(super) fn multipart<'b>(
    media: &MediaType<'_>,
    body: &'b [u8],
) -> Result<Vec<(Cow<'b, str>, Sent<'b>)>, &'static str> {
    let parts = multipart::parts(media, body)?;
    let field = |part: multipart::Part<'b>| {
        let is_text = part.media.is_none_or(|media| {
            MediaType::parse(media).is_some_and(|media| media.is_json() || media.essence.starts_with("text/"))
        });
        let sent = match std::str::from_utf8(part.data) {
            Ok(text) if is_text && !part.file => Sent::Text(text, part.media),
            Err(_) if is_text && !part.file => return Err("a field that is no file is not UTF-8"),
            _ => Sent::File(part.data, part.media),
        };
        Ok((Cow::Borrowed(part.name), sent))
    };
    parts.into_iter().map(field).collect()
}
