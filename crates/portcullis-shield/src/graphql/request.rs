//! Where a GraphQL request carries its documents: in a body of JSON, in a body that is the document, or in the target of a GET.

use std::borrow::Cow;

use http::Method;
use http::header::CONTENT_TYPE;
use portcullis_core::Reason;
use portcullis_core::json::{self, Reading};
use serde_json::{Map, Value};

use super::{GraphqlRules, Sent, broken};
use crate::check::{Check, Seen};
use crate::media;

/// Weighs every GraphQL document of a request. What carries documents in any other way is refused: an upload in several
/// parts, a form, a WebSocket. Pages of another site can send the first two without asking, and the last would be weighed
/// once for any number of operations.
#[derive(Clone, Debug)]
pub struct GraphqlCheck {
    rules: GraphqlRules,
}

/// The members of a request that say something of its document.
const MEMBERS: [&str; 4] = ["query", "variables", "operationName", "extensions"];

impl GraphqlCheck {
    /// A check by these rules.
    #[must_use]
    pub const fn new(rules: GraphqlRules) -> Self {
        Self { rules }
    }

    /// A document in the target of a GET.
    fn target(&self, seen: &Seen<'_>) -> Result<(), Reason> {
        let mut members = Map::new();
        for (name, value) in form_urlencoded::parse(seen.query.unwrap_or_default().as_bytes()) {
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return Err(Reason::Malformed("the query of the target is not UTF-8"));
            }
            let value = match &*name {
                "query" | "operationName" => Value::from(Cow::into_owned(value)),
                "variables" | "extensions" => read(value.as_bytes())?,
                _ => Value::Null,
            };
            if members.insert(name.into_owned(), value).is_some() {
                return Err(broken("duplicate", "a parameter of the target may be there once"));
            }
        }
        self.operation(&Method::GET, &members)
    }

    /// Documents in a body.
    fn body(&self, seen: &Seen<'_>, body: &[u8]) -> Result<(), Reason> {
        // There are servers that believe the target where both say something.
        let names = form_urlencoded::parse(seen.query.unwrap_or_default().as_bytes());
        if names.into_iter().any(|(name, _)| MEMBERS.contains(&&*name)) {
            return Err(broken("target", "the document of a POST stands in its body, and not in its target"));
        }
        if is_document(seen) {
            let query = std::str::from_utf8(body).map_err(|_| Reason::InvalidBody("the body is not UTF-8"))?;
            return self.rules.judge(seen.method, &Sent { query, variables: None });
        }
        media::must_be_json(seen.headers)?;
        match read(body)? {
            Value::Object(members) => self.operation(seen.method, &members),
            Value::Array(list) if list.is_empty() => Err(broken("batch", "a list of operations must have one")),
            Value::Array(list) if list.len() > self.rules.batch => {
                let most = self.rules.batch;
                Err(broken("batch", &format!("at most {most} operations may be sent at once")))
            }
            Value::Array(list) => list.iter().try_for_each(|one| match one {
                Value::Object(members) => self.operation(seen.method, members),
                _ => Err(Reason::InvalidBody("a list of operations holds objects")),
            }),
            _ => Err(Reason::InvalidBody("the body is neither an operation nor a list of them")),
        }
    }

    fn operation(&self, method: &Method, members: &Map<String, Value>) -> Result<(), Reason> {
        let of = |name: &str| members.get(name).filter(|value| !value.is_null());
        if !self.rules.persisted && members.keys().any(|name| !MEMBERS.contains(&name.as_str())) {
            return Err(broken("members", "a request has query, variables, operationName and extensions"));
        }
        let variables = match of("variables") {
            None => None,
            Some(Value::Object(variables)) => Some(variables),
            Some(_) => return Err(broken("variables", "variables are an object")),
        };
        match of("query") {
            Some(Value::String(query)) => self.rules.judge(method, &Sent { query, variables }),
            Some(_) => Err(broken("query", "the query is a text")),
            None if self.rules.persisted => Ok(()),
            None => Err(broken("query", "there is no query; what a hash stands for is not weighed here")),
        }
    }
}

fn read(text: &[u8]) -> Result<Value, Reason> {
    json::read(text, Reading::default()).map_err(Reason::UnreadableJson)
}

/// Whether the body is the document itself.
fn is_document(seen: &Seen<'_>) -> bool {
    let mut types = seen.headers.get_all(CONTENT_TYPE).iter();
    let only = (types.next(), types.next());
    matches!(only, (Some(kind), None) if matches!(kind.as_bytes(), b"application/graphql" | b"application/graphql; charset=utf-8"))
}

impl Check for GraphqlCheck {
    fn check(&self, seen: &Seen<'_>, body: &[u8]) -> Result<(), Reason> {
        match *seen.method {
            Method::GET | Method::HEAD if body.is_empty() => self.target(seen),
            Method::POST => self.body(seen, body),
            _ => Err(broken("method", "GraphQL is asked by a GET without a body, or by a POST")),
        }
    }
}
