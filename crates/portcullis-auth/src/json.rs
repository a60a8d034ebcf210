//! JSON as a verifier must read it (RFC 8725 §2.4, RFC 7515 §4).
//!
//! Two programs that pick different ones of two members called `sub` disagree about who somebody is.

use portcullis_core::json::{self, Numbers, Reading, Unreadable};
use serde_json::{Map, Value};

/// Deeper than any real token nests. Other issuers' claims hold numbers that we neither compare nor pass on; the size of a
/// token is bounded before it is read.
const TOKEN: Reading = Reading { depth: 16, values: usize::MAX, numbers: Numbers::Near };

/// Parses one JSON object.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, Unreadable> {
    json::object(bytes, TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_members_are_refused_at_any_depth() {
        assert!(object(br#"{"sub":"a","exp":1,"x":{"y":[1,null,true,1.5,18446744073709551616]}}"#).is_ok());
        for text in [
            r#"{"sub":"a","sub":"b"}"#,
            r#"{"x":{"y":1,"y":1}}"#,
            r#"{"x":[{"y":1,"\u0079":2}]}"#,
            r#"{"a":1"#,
            r#"{"a":1}{"b":2}"#,
            r#"[1]"#,
            r#""text""#,
            "",
        ] {
            assert!(object(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(object(nested(10).as_bytes()).is_ok());
        assert!(object(nested(100).as_bytes()).is_err());
        assert!(object(nested(100_000).as_bytes()).is_err());
    }
}
