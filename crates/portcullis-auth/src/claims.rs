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
        let millis = (seconds * 1000.0) as u64;
        // Saturates: the year 9999, which some issuers use for "never", is beyond what a `Timestamp` can hold, and a
        // `nbf` that wrapped around would lie in the past.
        Ok(Some(Timestamp::from_millis(millis)))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.at(name)?.as_str()
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.members.get(name)?.as_u64()
    }

    /// A text, or a whole number in its decimal form: some issuers number their users. A number that JSON readers round
    /// (a fraction, or more than 64 bits) is no id, for it would make two users one.
    pub(crate) fn id(&self, name: &str) -> Option<Box<str>> {
        let value = self.at(name)?;
        if value.is_boolean() { None } else { scalar(value) }
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

/// A text, a whole number or a truth value, as text.
fn scalar(value: &Value) -> Option<Box<str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string().into()),
        Value::Bool(flag) => Some(flag.to_string().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(json: &str) -> Claims {
        Claims::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn t2_dates_beyond_what_we_can_hold_saturate_and_never_wrap() {
        let date = |text: &str| claims(&format!(r#"{{"exp":{text}}}"#)).date("exp");
        assert_eq!(date("0"), Ok(Some(Timestamp::EPOCH)));
        assert_eq!(date("1.5"), Ok(Some(Timestamp::from_millis(1500))));
        // 2^64 ns is in the year 2554; the last second of 9999 is what some issuers write for "never".
        for far in ["18446744073", "18446744074", "40000000000", "253402300799"] {
            assert!(date(far).unwrap().unwrap() >= Timestamp::from_secs(18_446_744_073), "{far}");
        }
        assert_eq!(date("253402300799"), Ok(Some(Timestamp::MAX)));
        for bad in ["253402300800", "1e300", "-1", "-0.5", "\"1\"", "null", "true", "[1]", "{}", "18446744073709551615"]
        {
            assert_eq!(date(bad), Err(BadClaim("exp")), "{bad}");
        }
        assert_eq!(claims("{}").date("exp"), Ok(None));
    }

    #[test]
    fn t2_an_id_is_a_text_or_a_whole_number_that_nobody_rounds() {
        let id = |text: &str| claims(&format!(r#"{{"sub":{text}}}"#)).id("sub");
        assert_eq!(id(r#""u1""#).as_deref(), Some("u1"));
        assert_eq!(id("42").as_deref(), Some("42"));
        assert_eq!(id("18446744073709551615").as_deref(), Some("18446744073709551615"));
        for bad in ["18446744073709551616", "12345678901234567890123", "1.5", "1e3", "true", "null", "[\"u\"]", "{}"] {
            assert_eq!(id(bad), None, "{bad}");
        }
    }

    #[test]
    fn t11_a_claim_is_found_by_its_very_name_before_its_path() {
        let held = claims(r#"{"a":{"b":["x"],"c":[{"d":"y"}]},"https://x.example/roles":["z"]}"#);
        assert_eq!(held.list("a.b", None).unwrap().as_slice(), ["x".into()]);
        assert_eq!(held.list("https://x.example/roles", None).unwrap().as_slice(), ["z".into()]);
        for missing in ["a.x", "a.b.c", "a.c.0.d", "a.", ".a", ".", "", "a..b"] {
            assert!(held.list(missing, None).unwrap().is_empty(), "{missing}");
        }
        assert!(held.list("a", None).is_err(), "an object is no list of roles");
    }

    #[test]
    fn t2_lists_are_bounded() {
        let many = |count: usize| format!(r#"{{"role":[{}]}}"#, vec!["\"r\""; count].join(","));
        assert_eq!(claims(&many(MAX_LIST)).list("role", None).unwrap().len(), MAX_LIST);
        assert!(claims(&many(MAX_LIST + 1)).list("role", None).is_err());
        assert_eq!(claims(r#"{"scope":"a  b"}"#).list("scope", Some(' ')).unwrap().len(), 2);
    }
}
