//! A document made of its rows.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::operation::{Answer, Body, Operation, Parameter, page};

/// What stands around the rows.
pub(crate) struct Frame<'a> {
    pub(crate) title: &'static str,
    pub(crate) about: &'static str,
    /// `components.securitySchemes`.
    pub(crate) schemes: Value,
    /// What a row asks of a caller: `security` of its operation.
    pub(crate) security: &'a dyn Fn(&Operation) -> Value,
    /// What whoever stands before the endpoint may answer in its place.
    pub(crate) before: &'a dyn Fn(&Operation) -> Vec<(u16, &'static str)>,
    /// Fields of the head that any answer may have.
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

const PROBLEM: &str = "application/problem+json";

/// Writes the document.
pub(crate) fn document(frame: &Frame<'_>, operations: &[&Operation]) -> Value {
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
    };
    // A member that is absent from an answer where there is nothing to say may be absent; one that a request may leave
    // out may be absent there. Hence two readings of types.
    let mut writer = Writer {
        reads: settings().for_deserialize().into_generator(),
        answers: settings().for_serialize().into_generator(),
        shared: Map::new(),
        frame,
    };
    let mut paths = Map::new();
    for operation in operations {
        let (method, path) = operation.parts();
        let item = paths.entry(path).or_insert_with(|| Value::Object(Map::new()));
        item[method.to_ascii_lowercase()] = writer.operation(operation);
    }
    let mut schemas = writer.reads.take_definitions(true);
    schemas.extend(writer.answers.take_definitions(true));
    schemas.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": frame.title,
            "description": frame.about,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": writer.shared,
            "headers": headers(frame.headers.iter().chain(&PROBLEM_HEADERS)),
            "securitySchemes": frame.schemes,
        },
    })
}

struct Writer<'a> {
    reads: SchemaGenerator,
    answers: SchemaGenerator,
    /// Answers in the place of endpoints, which are the same for most.
    shared: Map<String, Value>,
    frame: &'a Frame<'a>,
}

impl Writer<'_> {
    fn operation(&mut self, operation: &Operation) -> Value {
        let mut written = json!({
            "operationId": operation.id,
            "summary": operation.summary,
            "security": (self.frame.security)(operation),
            "responses": self.responses(operation),
        });
        if !operation.about.is_empty() {
            written["description"] = operation.about.into();
        }
        if !operation.parameters.is_empty() {
            written["parameters"] = operation.parameters.iter().map(|parameter| self.parameter(parameter)).collect();
        }
        let content = operation.bodies.iter().flatten().map(|body| content(&mut self.reads, body));
        let content: Map<String, Value> = content.collect();
        if !content.is_empty() {
            written["requestBody"] = json!({ "required": !operation.body_optional, "content": content });
        }
        written
    }

    fn parameter(&mut self, parameter: &Parameter) -> Value {
        json!({
            "name": parameter.name,
            "in": parameter.place,
            "required": parameter.required,
            "description": parameter.about,
            "schema": (parameter.schema)(&mut self.reads),
        })
    }

    /// Every answer there may be, its own and those in its place.
    fn responses(&mut self, operation: &Operation) -> Map<String, Value> {
        let mut responses = Map::new();
        for answer in operation.answers {
            self.answer(&mut responses, answer);
        }
        for status in operation.troubles {
            self.answer(&mut responses, &page(*status, "A page that says what is wrong with the form."));
        }
        for (status, when) in operation.problems {
            self.problem(&mut responses, *status, when);
        }
        // Written apart, so that what says nothing of the endpoint itself is written once for all.
        let mut before = Map::new();
        for (status, when) in (self.frame.before)(operation) {
            let own = if responses.contains_key(&status.to_string()) { &mut responses } else { &mut before };
            self.problem(own, status, when);
        }
        for (status, response) in before {
            let name = self.share(&status, response);
            responses.insert(status, json!({ "$ref": format!("#/components/responses/{name}") }));
        }
        responses
    }

    /// The name under which a response is told for all operations.
    fn share(&mut self, status: &str, response: Value) -> String {
        let mut names = ('a'..='z').map(|letter| format!("refused{status}{letter}"));
        let fits = |name: &String| self.shared.get(name).is_none_or(|held| *held == response);
        let name = names.find(fits).unwrap_or_else(|| format!("refused{status}"));
        self.shared.insert(name.clone(), response);
        name
    }

    fn problem(&self, responses: &mut Map<String, Value>, status: u16, when: &str) {
        let response = self.response(responses, status, when);
        response["content"][PROBLEM] = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
        for (name, _) in PROBLEM_HEADERS.iter().filter(|(name, _)| goes_with(name, status)) {
            response["headers"][*name] = reference(name);
        }
    }

    fn answer(&mut self, responses: &mut Map<String, Value>, answer: &Answer) {
        let content = answer.body.as_ref().map(|body| content(&mut self.answers, body));
        let response = self.response(responses, answer.status, answer.when);
        if let Some((media, content)) = content {
            response["content"][media] = content;
        }
        for (name, about) in answer.headers {
            response["headers"][*name] = json!({ "description": about, "schema": { "type": "string" } });
        }
    }

    /// The response of a status; what was told of it before is kept.
    fn response<'r>(&self, responses: &'r mut Map<String, Value>, status: u16, when: &str) -> &'r mut Value {
        let response = responses.entry(status.to_string()).or_insert_with(|| {
            let headers: Map<String, Value> =
                self.frame.headers.iter().map(|(name, _)| ((*name).to_owned(), reference(name))).collect();
            if headers.is_empty() { json!({}) } else { json!({ "headers": headers }) }
        });
        let before = response["description"].as_str().map(|before| format!("{before} "));
        response["description"] = format!("{}{when}", before.unwrap_or_default()).into();
        response
    }
}

fn content(generator: &mut SchemaGenerator, body: &Body) -> (String, Value) {
    let schema: Schema = (body.schema)(generator);
    (body.media.to_owned(), json!({ "schema": schema }))
}

fn reference(header: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{header}") })
}

fn headers<'a>(told: impl Iterator<Item = &'a (&'static str, &'static str)>) -> Map<String, Value> {
    told.map(|(name, about)| {
        let number = *name == "Retry-After" || name.starts_with("X-RateLimit");
        let schema = if number { json!({ "type": "integer", "minimum": 0 }) } else { json!({ "type": "string" }) };
        ((*name).to_owned(), json!({ "description": about, "schema": schema }))
    })
    .collect()
}

/// Fields of the head that go with some refusals.
const PROBLEM_HEADERS: [(&str, &str); 2] = [
    ("WWW-Authenticate", "How to prove an identity, and what was wrong with the one presented (RFC 6750 §3)."),
    ("Retry-After", "After how many seconds to come again (RFC 9110 §10.2.3)."),
];

fn goes_with(header: &str, status: u16) -> bool {
    match header {
        "WWW-Authenticate" => status == 401,
        _ => matches!(status, 429 | 503),
    }
}

/// The one shape of every refusal (RFC 9457), as `portcullis_core::Problem` and the endpoints write it.
fn problem() -> Value {
    json!({
        "type": "object",
        "title": "Problem",
        "description": "Why a request was refused (RFC 9457).",
        "required": ["type", "title", "status", "error", "request_id"],
        "additionalProperties": false,
        "properties": {
            "type": { "type": "string", "format": "uri", "description": "The kind of problem, stable: urn:portcullis:problem:…" },
            "title": { "type": "string", "description": "The status in words." },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "error": { "type": "string", "description": "What to show a person." },
            "detail": { "type": "string", "description": "What else there is to say." },
            "details": {
                "type": "array",
                "description": "Every broken rule.",
                "items": {
                    "type": "object",
                    "required": ["field", "message"],
                    "properties": { "field": { "type": "string" }, "message": { "type": "string" } },
                },
            },
            "limit": { "type": "integer", "description": "The quota of the limit that refused." },
            "remaining": { "type": "integer", "const": 0 },
            "resetAt": { "type": "string", "format": "date-time", "description": "When a request will be admitted again." },
            "request_id": {
                "type": "string",
                "pattern": "^[0-9a-f]{32}$",
                "description": "The name of this request in the operator's records.",
            },
        },
    })
}
