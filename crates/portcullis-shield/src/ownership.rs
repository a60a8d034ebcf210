//! Whose a response is (Z7): a member of it that must be the caller's id.

use portcullis_core::{Principal, Reason};

use crate::scan::{Fate, Invalid, Kind, Scanner, Single};
use crate::shape::{Asking, SeenResponse, Shape, Wants};

/// What becomes of a list in which something belongs to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Foreign {
    /// What is not the caller's is left out.
    #[default]
    Remove,
    /// The whole list is refused.
    Refuse,
}

/// The rule that a member of each thing in a response names the caller.
///
/// The member must be a string that is the caller's id to the last byte, once JSON's escapes are undone, or a whole number
/// that is written as the id is. Anything else belongs to somebody else: no member, `null`, another spelling, a list of
/// owners. Only what says that it was done (2xx) can be the caller's; a redirect shows no owner and is refused.
#[derive(Clone, Debug)]
pub struct OwnedContent {
    /// The names that lead from a thing to its owner's id.
    pub member: Vec<Box<str>>,
    /// The names that lead to the list of things. `None`: the response is one thing or an array of them.
    pub list: Option<Vec<Box<str>>>,
    /// What becomes of a list in which something belongs to others.
    pub foreign: Foreign,
    /// Whether the answer to what belongs to others is the one to what does not exist.
    pub hidden: bool,
}

impl OwnedContent {
    const fn refused(&self) -> Reason {
        Reason::NotOwner { hidden: self.hidden }
    }

    /// Reads the response; `false` where it is not the caller's.
    fn read(&self, scanner: &mut Scanner<'_>, id: &str) -> Result<bool, Invalid> {
        match &self.list {
            Some(list) => self.read_list(scanner, list, id),
            None if scanner.kind() == Kind::Array => self.read_things(scanner, id),
            None => is_owned(scanner, &self.member, id),
        }
    }

    /// Reads down to the list. Where there is none, nothing says whose the rest is.
    fn read_list(&self, scanner: &mut Scanner<'_>, names: &[Box<str>], id: &str) -> Result<bool, Invalid> {
        match (names, scanner.kind()) {
            ([], Kind::Array) => self.read_things(scanner, id),
            ([first, below @ ..], Kind::Object) => {
                let mut passes = false;
                scanner.object(&mut |scanner, name| {
                    if name == &**first {
                        passes = self.read_list(scanner, below, id)?;
                    } else {
                        scanner.skip()?;
                    }
                    Ok(Fate::Keep)
                })?;
                Ok(passes)
            }
            _ => scanner.skip().map(|()| false),
        }
    }

    fn read_things(&self, scanner: &mut Scanner<'_>, id: &str) -> Result<bool, Invalid> {
        let mut all = true;
        scanner.array(&mut |scanner| {
            let owned = is_owned(scanner, &self.member, id)?;
            all &= owned;
            Ok(if owned { Fate::Keep } else { Fate::Cut })
        })?;
        Ok(all || self.foreign == Foreign::Remove)
    }
}

impl Shape for OwnedContent {
    fn describe(&self) -> &'static str {
        "what belongs to others is not told"
    }

    fn binds(&self, asking: &Asking<'_>) -> bool {
        !asking.sees_others
    }

    fn wants(&self, seen: &SeenResponse<'_>) -> Result<Wants, Reason> {
        if !self.binds(&seen.asking) {
            return Ok(Wants::Nothing);
        }
        match seen.status.as_u16() {
            300..400 => Err(Reason::ResponseRefused("a redirect does not say whose it is")),
            // The content of an error is nobody's thing; what becomes of it is a rule of its own.
            400.. => Ok(Wants::Nothing),
            _ => Ok(Wants::Content),
        }
    }

    fn shape(&self, seen: &SeenResponse<'_>, body: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
        let id = seen.asking.principal.map(Principal::subject).ok_or_else(|| self.refused())?;
        if body.is_empty() {
            return Err(self.refused());
        }
        let mut scanner = Scanner::new(body).map_err(Reason::ResponseRefused)?;
        let passes = self.read(&mut scanner, id).map_err(Reason::ResponseRefused)?;
        let left = scanner.finish().map_err(Reason::ResponseRefused)?;
        if passes { Ok(left) } else { Err(self.refused()) }
    }
}

/// Reads one thing and tells whether the member at these names is the id.
fn is_owned(scanner: &mut Scanner<'_>, names: &[Box<str>], id: &str) -> Result<bool, Invalid> {
    match (names, scanner.kind()) {
        ([], Kind::Single) => Ok(match scanner.single()? {
            Single::Text(text) => text.is_some_and(|text| text == id),
            Single::Number(number) => is_whole(number) && number == id,
            Single::Word => false,
        }),
        ([first, below @ ..], Kind::Object) => {
            let mut owned = false;
            scanner.object(&mut |scanner, name| {
                if name == &**first {
                    owned = is_owned(scanner, below, id)?;
                } else {
                    scanner.skip()?;
                }
                Ok(Fate::Keep)
            })?;
            Ok(owned)
        }
        _ => scanner.skip().map(|()| false),
    }
}

/// Whether a number is a whole one in its one spelling: `-0`, `1.0` and `1e0` are other texts for what is written `0` or `1`,
/// and a reader that makes floats of numbers takes large ones for each other.
fn is_whole(number: &str) -> bool {
    number != "-0" && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {

    use http::{HeaderMap, Method, StatusCode};
    use portcullis_core::{PrincipalParts, Scheme, Timestamp};

    use super::*;

    fn caller(subject: &str) -> Principal {
        Principal::new(PrincipalParts::of(subject, Scheme::Bearer, Timestamp::MAX)).unwrap()
    }

    fn rule(member: &str, list: Option<&str>) -> OwnedContent {
        let names = |text: &str| text.split('.').map(Into::into).collect();
        OwnedContent { member: names(member), list: list.map(names), foreign: Foreign::Remove, hidden: true }
    }

    fn judged(rule: &OwnedContent, subject: Option<&str>, body: &str) -> Result<Option<String>, Reason> {
        let principal = subject.map(caller);
        let asking = Asking {
            method: &Method::GET,
            path: "/orders/1",
            query: None,
            principal: principal.as_ref(),
            sees_others: false,
        };
        let seen = SeenResponse { asking, status: StatusCode::OK, headers: &HeaderMap::new(), is_empty: false };
        let shaped = rule.shape(&seen, body.as_bytes())?;
        Ok(shaped.map(|bytes| String::from_utf8(bytes).unwrap()))
    }

    const NOT_THEIRS: Result<Option<String>, Reason> = Err(Reason::NotOwner { hidden: true });

    #[test]
    fn z7_a_response_is_the_callers_only_by_the_exact_id() {
        let rule = rule("owner.id", None);
        for own in [
            r#"{"owner":{"id":"42"}}"#,
            r#"{"owner":{"id":42},"total":1.0}"#,
            r#"{ "a" : [ { } ] , "owner" : { "name" : null , "id" : "\u0034\u0032" } }"#,
            r#"{"own\u0065r":{"id":"42"}}"#,
        ] {
            assert_eq!(judged(&rule, Some("42"), own), Ok(None), "{own}");
        }
        for foreign in [
            "{}",
            "null",
            "42",
            r#""42""#,
            r#"{"id":"42"}"#,
            r#"{"owner":"42"}"#,
            r#"{"owner":null}"#,
            r#"{"owner":{"id":null}}"#,
            r#"{"owner":{"id":true}}"#,
            r#"{"owner":{"id":"43"}}"#,
            r#"{"owner":{"id":"042"}}"#,
            r#"{"owner":{"id":" 42"}}"#,
            r#"{"owner":{"id":"42 "}}"#,
            r#"{"owner":{"id":"42\u0000"}}"#,
            r#"{"owner":{"id":"42\ud800"}}"#,
            r#"{"owner":{"id":"４２"}}"#,
            r#"{"owner":{"id":42.0}}"#,
            r#"{"owner":{"id":4.2e1}}"#,
            r#"{"owner":{"id":420e-1}}"#,
            r#"{"owner":{"id":-42}}"#,
            r#"{"owner":{"id":["42"]}}"#,
            r#"{"owner":{"id":{"id":"42"}}}"#,
            r#"{"owner":[{"id":"42"}]}"#,
            r#"{"OWNER":{"ID":"42"}}"#,
            r#"{"owner":{"ID":"42"}}"#,
            r#"{"owner.id":"42"}"#,
            r#"{"x":{"owner":{"id":"42"}}}"#,
        ] {
            assert_eq!(judged(&rule, Some("42"), foreign), NOT_THEIRS, "{foreign}");
        }
        // What can be read in two ways is nobody's.
        for unclear in [
            r#"{"owner":{"id":"43"},"owner":{"id":"42"}}"#,
            r#"{"owner":{"id":"42","id":"43"}}"#,
            r#"{"owner":{"id":"42","i\u0064":"43"}}"#,
            r#"{"owner":{"id":"42"}} {"owner":{"id":"43"}}"#,
            r#"{"owner":{"id":"42"}"#,
            r#"{"owner":{"id":042}}"#,
            r#"{"x":{"a":1,"a":2},"owner":{"id":"42"}}"#,
        ] {
            assert!(matches!(judged(&rule, Some("42"), unclear), Err(Reason::ResponseRefused(_))), "{unclear}");
        }
        assert_eq!(judged(&rule, Some("42"), ""), NOT_THEIRS);
        assert_eq!(judged(&rule, None, r#"{"owner":{"id":"42"}}"#), NOT_THEIRS);
        assert_eq!(judged(&rule, Some("-0"), r#"{"owner":{"id":-0}}"#), NOT_THEIRS);
        assert_eq!(judged(&rule, Some("é"), "{\"owner\":{\"id\":\"e\u{301}\"}}"), NOT_THEIRS);
        assert_eq!(judged(&rule, Some("Ann"), r#"{"owner":{"id":"ann"}}"#), NOT_THEIRS);
    }

    #[test]
    fn z7_of_a_list_only_what_is_the_callers_is_left() {
        let top = rule("owner", None);
        let list = r#"[{"owner":"ann","n":1.0}, {"owner":"bob"}, {"n":3}, "ann", ["ann"], {"owner":"ann"}]"#;
        assert_eq!(judged(&top, Some("ann"), list).unwrap().unwrap(), r#"[{"owner":"ann","n":1.0}, {"owner":"ann"}]"#);
        assert_eq!(judged(&top, Some("eve"), list).unwrap().unwrap(), "[]");
        assert_eq!(judged(&top, Some("ann"), "[]"), Ok(None));

        let inside = rule("owner", Some("page.items"));
        let list = r#"{"page":{"items":[{"owner":"bob"},{"owner":"ann"}],"next":2},"items":[{"owner":"bob"}]}"#;
        assert_eq!(
            judged(&inside, Some("ann"), list).unwrap().unwrap(),
            r#"{"page":{"items":[{"owner":"ann"}],"next":2},"items":[{"owner":"bob"}]}"#
        );
        // Where the list is not there, or is none, nothing says whose the rest is.
        for foreign in [
            "{}",
            "[]",
            r#"[{"owner":"ann"}]"#,
            r#"{"page":[]}"#,
            r#"{"page":{"items":{"0":{"owner":"ann"}}}}"#,
            r#"{"page":{"items":null}}"#,
            r#"{"owner":"ann"}"#,
        ] {
            assert_eq!(judged(&inside, Some("ann"), foreign), NOT_THEIRS, "{foreign}");
        }
        let twice = r#"{"page":{"items":[]},"page":{"items":[{"owner":"bob"}]}}"#;
        assert!(matches!(judged(&inside, Some("ann"), twice), Err(Reason::ResponseRefused(_))));
    }

    #[test]
    fn z7_a_list_with_something_foreign_is_refused_where_that_is_wanted() {
        let rule = OwnedContent { foreign: Foreign::Refuse, hidden: false, ..rule("owner", None) };
        assert_eq!(judged(&rule, Some("ann"), r#"[{"owner":"ann"}]"#), Ok(None));
        let mixed = judged(&rule, Some("ann"), r#"[{"owner":"ann"},{"owner":"bob"},{"owner":"ann"}]"#);
        assert_eq!(mixed, Err(Reason::NotOwner { hidden: false }));
    }
}
