//! GraphQL: one request may ask for a whole database, so that it is weighed before it is forwarded (H5).
//!
//! A document is read by a real parser that stops at a number of tokens, and weighed with its fragments expanded: each
//! fragment is weighed once, so that fragments which spread each other cost us nothing for the exponents they stand for.

mod request;
mod weigh;

use http::Method;
use portcullis_core::{Reason, Violation};
use serde_json::{Map, Value};

pub use self::request::GraphqlCheck;

/// What one GraphQL request may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphqlRules {
    /// How deeply fields may be nested; a field of the operation itself stands at depth 1.
    pub depth: u64,
    /// How many fields may be asked for. Fields below one whose argument names a number of items (`first`, `last`, `limit`,
    /// `take`) count as many times.
    pub complexity: u64,
    /// How many fields may be renamed, each time that they are asked for: by other names one field can be asked for any
    /// number of times.
    pub aliases: u64,
    /// How many operations may be sent at once, as a list.
    pub batch: usize,
    /// How many tokens a document may have, at most [`GraphqlRules::MOST_TOKENS`].
    pub tokens: usize,
    /// Whether the API may be asked what it offers (`__schema`, `__type`).
    pub introspection: bool,
    /// Whether a hash may stand for a document that the API knows (`extensions.persistedQuery`). What it asks for is not
    /// weighed.
    pub persisted: bool,
}

impl GraphqlRules {
    /// The most tokens that a rule may allow. Fragments can nest about a sixth of it deep, and are weighed on the stack.
    pub const MOST_TOKENS: usize = 10_000;
}

impl Default for GraphqlRules {
    fn default() -> Self {
        Self {
            depth: 10,
            complexity: 1_000,
            aliases: 15,
            batch: 1,
            tokens: 2_000,
            introspection: false,
            persisted: false,
        }
    }
}

/// One operation as it was sent.
struct Sent<'a> {
    query: &'a str,
    variables: Option<&'a Map<String, Value>>,
}

impl GraphqlRules {
    /// Judges one document with the values of its variables.
    fn judge(&self, method: &Method, sent: &Sent<'_>) -> Result<(), Reason> {
        let document = weigh::Document::read(sent.query, self.tokens.min(Self::MOST_TOKENS))?;
        for operation in document.operations() {
            // A page of another site can make a browser send a GET, and what is cached or prefetched is one.
            if *method == Method::GET && !operation.is_query() {
                return Err(broken("operation", "a GET may only query"));
            }
            let weight = document.weigh(operation, sent.variables)?;
            if weight.introspects && !self.introspection {
                return Err(broken("introspection", "this API does not tell what it offers"));
            }
            for (rule, is, most) in [
                ("depth", weight.depth, self.depth),
                ("complexity", weight.fields, self.complexity),
                ("aliases", weight.aliases, self.aliases),
            ] {
                if is > most {
                    return Err(broken(rule, &format!("the {rule} of an operation may be at most {most}")));
                }
            }
        }
        Ok(())
    }
}

fn broken(rule: &str, message: &str) -> Reason {
    Reason::ValidationFailed([Violation { path: "query".into(), rule: rule.into(), message: message.into() }].into())
}

#[cfg(test)]
mod tests;
