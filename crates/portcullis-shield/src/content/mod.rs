//! The content of a JSON request: read in one way only, then held against a schema and a list of members (H4, Z8).

mod allow;
mod schema;
#[cfg(test)]
mod tests;

use http::Method;
use portcullis_core::json::{self, Reading};
use portcullis_core::{Reason, Violation};

pub use self::allow::{AllowedMembers, Unknown};
pub use self::schema::{Schema, SchemaFault};
use crate::check::{Check, Seen};
use crate::media;

/// No more violations than this are told of one request.
const MOST_TOLD: usize = 32;

/// A route's rules for JSON bodies. Without a schema and a list it still makes sure that there is one reading.
#[derive(Debug)]
pub struct JsonContent {
    /// How a body is read.
    pub reading: Reading,
    /// What it has to follow.
    pub schema: Option<Schema>,
    /// The members that it may set.
    pub allowed: Option<AllowedMembers>,
}

impl Check for JsonContent {
    fn describe(&self, _: &Method, _: &str) -> String {
        let schema = if self.schema.is_some() { ", as its schema says" } else { "" };
        let allowed = if self.allowed.is_some() { ", of listed members" } else { "" };
        format!("a body is JSON that is read in one way only{schema}{allowed}")
    }

    fn before(&self, seen: &Seen<'_>) -> Result<(), Reason> {
        // Without a type it may be that there is no body either: that shows when it is read.
        if seen.headers.contains_key(http::header::CONTENT_TYPE) { media::must_be_json(seen.headers) } else { Ok(()) }
    }

    fn check(&self, seen: &Seen<'_>, body: &[u8]) -> Result<(), Reason> {
        if body.is_empty() {
            return if needs_none(seen.method) { Ok(()) } else { Err(Reason::InvalidBody("the body is missing")) };
        }
        media::must_be_json(seen.headers)?;
        let value = json::read(body, self.reading).map_err(Reason::UnreadableJson)?;
        let mut told = Vec::new();
        if let Some(schema) = &self.schema {
            schema.judge(&value, &mut told);
        }
        if let Some(allowed) = &self.allowed {
            allowed.judge(&value, &mut told, seen.reported);
        }
        if told.is_empty() { Ok(()) } else { Err(Reason::ValidationFailed(told.into())) }
    }
}

/// Methods whose requests usually have no body; all others have to bring one, or whatever a schema requires would not be
/// required of a body that is left out.
fn needs_none(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE)
}

/// Tells a violation, unless enough were told.
fn tell(told: &mut Vec<Violation>, violation: Violation) {
    if told.len() < MOST_TOLD {
        told.push(violation);
    }
}
