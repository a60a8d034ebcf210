//! One operation of the document: what it takes and what it answers.

use std::collections::HashSet;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method};
use portcullis_core::{Reason, Violation};
use serde_json::Value;

use super::body::Body;
use super::document::Part;
use super::fault::Fault;
use super::findings::{Findings, Rules, Unknown};
use super::parameter::{self, Parameter, Place};
use super::query::Names;
use super::response::Responses;
use super::schema::Book;
use super::style::Decoding;
use super::template::{Template, Values};

/// The members of a path item that are operations.
pub(super) const METHODS: [(&str, Method); 8] = [
    ("get", Method::GET),
    ("put", Method::PUT),
    ("post", Method::POST),
    ("delete", Method::DELETE),
    ("options", Method::OPTIONS),
    ("head", Method::HEAD),
    ("patch", Method::PATCH),
    ("trace", Method::TRACE),
];

/// An operation, ready to be asked about.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: Method,
    /// Its path as a pattern of routes: with the base path.
    pub(super) pattern: Box<str>,
    /// Whether the document says that it needs a credential.
    pub(super) needs_login: bool,
    parameters: Vec<Parameter>,
    /// For each variable of the path the parameter that describes it, where one does.
    in_path: Vec<Option<usize>>,
    query: Names,
    body: Option<Body>,
    pub(super) responses: Responses,
}

impl Operation {
    /// Reads an operation with the path item around it.
    pub(super) fn read(
        rules: &mut Rules<'_, '_>,
        (method, pattern): (Method, &str),
        template: &Template,
        item: &Part<'_>,
        part: &Part<'_>,
        warnings: &mut Vec<Fault>,
    ) -> Result<Self, Fault> {
        part.object("an operation")?;
        let document = rules.document();
        let mut parameters = Vec::new();
        for found in parameter::all(document, [item.member("parameters"), part.member("parameters")])? {
            parameters.extend(Parameter::read(rules, &found)?);
        }
        let in_path = |name: &str| parameters.iter().position(|one| one.place == Place::Path && *one.name == *name);
        let described: Vec<Option<usize>> = template.names.iter().map(|name| in_path(name)).collect();
        for (name, _) in template.names.iter().zip(&described).filter(|(_, found)| found.is_none()) {
            let warning = part.fault(format!("nothing describes the variable \"{name}\" of the path"));
            warnings.push(warning.hint("without a parameter \"in: path\" any value of it passes"));
        }
        for one in &parameters {
            if one.place == Place::Path && !template.names.contains(&one.name) {
                let fault = part.fault(format!("the path has no variable \"{}\"", one.name));
                return Err(fault.hint("a parameter \"in: path\" is written {name} in the path"));
            }
            if one.is_never_matched() {
                let warning = part.fault(format!("no request can have the parameter \"{}\"", one.name));
                warnings
                    .push(warning.hint("style: matrix writes \";\" into the path, which the gate refuses everywhere"));
            }
        }
        let body = match part.member("requestBody") {
            Some(body) => Some(Body::read(rules, &document.follow(body)?)?),
            None => None,
        };
        let (needs_login, credentials) = security(document.root(), part);
        Ok(Self {
            pattern: pattern.into(),
            needs_login,
            query: Names::new(&parameters, credentials),
            in_path: described,
            responses: Responses::read(rules, part)?,
            parameters,
            body,
            method,
        })
    }

    /// Judges what stands in the head of a request.
    pub(super) fn judge_head(&self, book: &Book, values: &Values<'_>, head: &Head<'_>, unknown: Unknown) -> Findings {
        let mut findings = Findings::default();
        for (raw, parameter) in values.iter().zip(&self.in_path) {
            if let Some(index) = parameter {
                self.parameters[*index].judge_text(book, &mut findings, raw, Decoding::Percent);
            }
        }
        self.query.judge(head.query.unwrap_or_default(), &self.parameters, book, unknown, &mut findings);
        for parameter in &self.parameters {
            match parameter.place {
                Place::Header => parameter.judge_header(book, head.headers, &mut findings),
                Place::Cookie => parameter.judge_cookie(book, head.headers, &mut findings),
                Place::Path | Place::Query => {}
            }
        }
        findings
    }

    /// Whether a body of the media type that the head names is taken, where the head says that there is one.
    pub(super) fn accepts(&self, headers: &HeaderMap) -> Result<(), Reason> {
        let length = headers.get(CONTENT_LENGTH).map(http::HeaderValue::as_bytes);
        let announced = headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != b"0");
        match &self.body {
            Some(body) if announced => body.accepts(headers),
            _ => Ok(()),
        }
    }

    /// Judges a body.
    pub(super) fn judge_body(&self, book: &Book, headers: &HeaderMap, body: &[u8]) -> Result<Findings, Reason> {
        let mut findings = Findings::default();
        let about =
            |rule: &str, message: &str| Violation { path: "".into(), rule: rule.into(), message: message.into() };
        match &self.body {
            None if body.is_empty() => {}
            None => findings.broken(about("requestBody", "the operation takes no body")),
            Some(declared) if body.is_empty() && declared.required => {
                findings.broken(about("required", "a body is required"));
            }
            Some(_) if body.is_empty() => {}
            Some(declared) => declared.judge(book, headers, body, &mut findings)?,
        }
        Ok(findings)
    }

    /// What is checked, in one sentence.
    pub(super) fn describe(&self) -> String {
        let count = |place| self.parameters.iter().filter(|one| one.place == place).count();
        let places = [Place::Path, Place::Query, Place::Header, Place::Cookie];
        let parameters: Vec<String> = places
            .into_iter()
            .filter(|place| count(*place) > 0)
            .map(|place| format!("{} in {}", count(place), place.word()))
            .collect();
        let parameters = if parameters.is_empty() { "none".to_owned() } else { parameters.join(", ") };
        let body = match &self.body {
            None => "no body".to_owned(),
            Some(body) => body.describe(),
        };
        format!("{} {}: parameters: {parameters}; {body}", self.method, self.pattern)
    }
}

/// The head of a request, as far as it is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'h> {
    pub(super) query: Option<&'h str>,
    pub(super) headers: &'h HeaderMap,
}

/// Whether the document asks for a credential, and the names of those in the query.
fn security(root: Part<'_>, operation: &Part<'_>) -> (bool, HashSet<Box<str>>) {
    let Some(security) = operation.member("security").or_else(|| root.member("security")) else {
        return (false, HashSet::new());
    };
    let mut names = HashSet::new();
    let (mut needed, mut free) = (false, false);
    for choice in security.elements() {
        free |= choice.value.as_object().is_none_or(serde_json::Map::is_empty);
        needed = true;
        for (scheme, _) in choice.members() {
            let schemes = root.member("components").and_then(|components| components.member("securitySchemes"));
            let scheme = schemes.and_then(|schemes| schemes.member(scheme));
            if let Some(scheme) = scheme
                && scheme.value.get("in") == Some(&Value::from("query"))
                && let Some(name) = scheme.text("name")
            {
                names.insert(name.into());
            }
        }
    }
    (needed && !free, names)
}
