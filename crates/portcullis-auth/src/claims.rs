//! Claims of an access token (RFC 7519 §4.1, RFC 9068 §2.2), read into types.

use std::collections::BTreeMap;

use portcullis_core::Timestamp;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use crate::json;

/// Where an issuer keeps what we need to know. A name with dots is a path into nested objects, as in
/// `realm_access.roles`, unless a claim has the very name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// The user's id (`sub`).
    pub user: Box<str>,
    /// One role as a text, or several as a list (`role`).
    pub roles: Box<str>,
    /// The plan (`plan`).
    pub plan: Box<str>,
    /// Permissions as a list, or separated by spaces like `scope`; `None`: the issuer is not trusted to name any.
    pub permissions: Option<Box<str>>,
    /// Further claims to keep, for limit keys.
    pub keep: Vec<Box<str>>,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self { user: "sub".into(), roles: "role".into(), plan: "plan".into(), permissions: None, keep: Vec::new() }
    }
}

/// A claim is missing or of the wrong type; the text says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadClaim(pub(crate) &'static str);

/// A token's claims, not yet believed.
#[derive(Debug)]
pub(crate) struct Claims {
    members: Map<String, Value>,
}

/// More roles or permissions than this are no token of ours or of any sane issuer.
const MAX_LIST: usize = 256;
/// The last second of the year 9999.
const MAX_DATE: f64 = 253_402_300_799.0;

impl Claims {
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, BadClaim> {
        Ok(Self { members: json::object(payload).map_err(|_| BadClaim("the claims are not a JSON object"))? })
    }

    pub(crate) fn issuer(&self) -> Option<&str> {
        self.members.get("iss")?.as_str()
    }

    /// Whether `aud` (a text or a list of texts) holds one of the audiences.
    pub(crate) fn is_for(&self, audiences: &[Box<str>]) -> bool {
        let ours = |value: &Value| value.as_str().is_some_and(|text| audiences.iter().any(|ours| **ours == *text));
        match self.members.get("aud") {
            Some(Value::Array(list)) => list.iter().any(ours),
            Some(value) => ours(value),
            None => false,
        }
    }

    /// A `NumericDate`: seconds since the epoch, possibly with a fraction. A date nobody lives to see is no date.
    pub(crate) fn date(&self, name: &'static str) -> Result<Option<Timestamp>, BadClaim> {
        let Some(value) = self.members.get(name) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| (0.0..=MAX_DATE).contains(seconds)).ok_or(BadClaim(name))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above and below")]
        let nanos = (seconds * 1000.0) as u64 * 1_000_000;
        Ok(Some(Timestamp::from_nanos(nanos)))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.at(name)?.as_str()
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.members.get(name)?.as_u64()
    }

    /// A text, or a number in its decimal form: some issuers number their users.
    pub(crate) fn id(&self, name: &str) -> Option<Box<str>> {
        scalar(self.at(name)?)
    }

    /// A text as a list of one, or a list of texts.
    pub(crate) fn list(&self, name: &str, separator: Option<char>) -> Result<SmallVec<[Box<str>; 2]>, BadClaim> {
        let list: SmallVec<[Box<str>; 2]> = match self.at(name) {
            None | Some(Value::Null) => SmallVec::new(),
            Some(Value::String(text)) => match separator {
                Some(separator) => text.split(separator).filter(|part| !part.is_empty()).map(Into::into).collect(),
                None => std::iter::once(text.as_str().into()).collect(),
            },
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| value.as_str().map(Into::into).ok_or(BadClaim("a list of roles or permissions")))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(BadClaim("a list of roles or permissions")),
        };
        if list.len() > MAX_LIST {
            return Err(BadClaim("a list of roles or permissions"));
        }
        Ok(list)
    }

    /// The claims to keep, as texts.
    pub(crate) fn kept(&self, names: &[Box<str>]) -> BTreeMap<Box<str>, Box<str>> {
        names.iter().filter_map(|name| Some((name.clone(), scalar(self.at(name)?)?))).collect()
    }

    /// The claim of this very name, or at the path that the dots spell.
    fn at(&self, name: &str) -> Option<&Value> {
        if let Some(value) = self.members.get(name) {
            return Some(value);
        }
        let mut parts = name.split('.');
        let first = self.members.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }
}

fn scalar(value: &Value) -> Option<Box<str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(flag) => Some(flag.to_string().into()),
        _ => None,
    }
}
