//! The members of a response that a role may see (Z8): whatever is not listed is left out.

use std::collections::BTreeMap;

use http::StatusCode;
use portcullis_core::{Principal, Reason};

use crate::members::{List, MemberPath, Members, Place};
use crate::scan::{Fate, Invalid, Kind, Scanner};
use crate::shape::{Asking, SeenResponse, Shape, Wants};

/// Which members of a response each role may see. Who holds several listed roles sees what any of them may; who holds none,
/// and nobody, sees what is listed for all others.
///
/// Members that are not listed are cut out; every other byte stays as it is, numbers and order included. What is left of an
/// object of which nothing is listed is `{}` where paths lead into it, and is gone where none does. A `null` stands where an
/// object or array with listed members would.
#[derive(Clone, Debug)]
pub struct ResponseMembers {
    members: Members,
    roles: BTreeMap<Box<str>, List>,
    otherwise: List,
}

impl ResponseMembers {
    /// From the lists by role, and the list of whoever holds none of those.
    #[must_use]
    pub fn new(roles: &BTreeMap<Box<str>, Vec<MemberPath>>, otherwise: &[MemberPath]) -> Self {
        let mut members = Members::default();
        let roles = roles.iter().map(|(role, list)| (role.clone(), members.add(list))).collect();
        let otherwise = members.add(otherwise);
        Self { members, roles, otherwise }
    }

    /// The outermost value, as this caller may see it.
    fn place(&self, principal: Option<&Principal>) -> Place<'_> {
        let holds = |role: &str| principal.is_some_and(|principal| principal.has_role(role));
        let mut held = self.roles.iter().filter(|(role, _)| holds(role)).map(|(_, list)| *list).peekable();
        if held.peek().is_none() { self.members.place([self.otherwise]) } else { self.members.place(held) }
    }
}

impl Shape for ResponseMembers {
    fn describe(&self) -> &'static str {
        "members that are not listed for the caller's roles are left out"
    }

    fn binds(&self, asking: &Asking<'_>) -> bool {
        !self.place(asking.principal).allows_all()
    }

    fn wants(&self, seen: &SeenResponse<'_>) -> Result<Wants, Reason> {
        Ok(if self.binds(&seen.asking) { Wants::Content } else { Wants::Nothing })
    }

    fn shape(&self, seen: &SeenResponse<'_>, body: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
        // No content has no members. Where a client expects some, that is the upstream's to answer for.
        if body.is_empty() || seen.status == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        left_of(&self.place(seen.asking.principal), body).map_err(Reason::ResponseRefused)
    }
}

/// What the lists leave of a document.
fn left_of(place: &Place<'_>, body: &[u8]) -> Result<Option<Vec<u8>>, Invalid> {
    let mut scanner = Scanner::new(body)?;
    if walk(&mut scanner, place)? == Fate::Cut {
        return Err("the answer is a single value, and none is listed");
    }
    scanner.finish()
}

fn walk(scanner: &mut Scanner<'_>, place: &Place<'_>) -> Result<Fate, Invalid> {
    let kind = scanner.kind();
    let allowed = match kind {
        Kind::Object | Kind::Array => place.allows_inside(),
        Kind::Null => place.allows_single() || place.allows_inside(),
        Kind::Single => place.allows_single(),
    };
    // What is left out and what is wholly allowed has to be JSON as well: a reader that is confused by one member
    // misreads the next.
    match kind {
        Kind::Object if allowed && !place.allows_all() => {
            scanner.object(&mut |scanner, name| walk(scanner, &place.member(name)))?;
        }
        Kind::Array if allowed && !place.allows_all() => {
            scanner.array(&mut |scanner| walk(scanner, &place.element()))?;
        }
        _ => scanner.skip()?,
    }
    Ok(if allowed { Fate::Keep } else { Fate::Cut })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};
    use portcullis_core::{PrincipalParts, Scheme, Timestamp};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn caller(roles: &[&str], scoped: bool) -> Principal {
        Principal::new(PrincipalParts {
            roles: roles.iter().map(|role| (*role).into()).collect(),
            scopes: scoped.then(|| Box::from(["*".into()])),
            ..PrincipalParts::of("ann", Scheme::Bearer, Timestamp::MAX)
        })
        .unwrap()
    }

    fn paths(list: &[&str]) -> Vec<MemberPath> {
        list.iter().map(|path| path.parse().unwrap()).collect()
    }

    fn seen(principal: Option<&Principal>) -> SeenResponse<'_> {
        static NONE: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);
        let asking = Asking { method: &Method::GET, path: "/", query: None, principal, sees_others: true };
        SeenResponse { asking, status: StatusCode::OK, headers: &NONE, is_empty: false }
    }

    /// What a list leaves of a document for everyone.
    fn left(list: &[&str], body: &str) -> Result<String, Reason> {
        let rule = ResponseMembers::new(&BTreeMap::new(), &paths(list));
        let shaped = rule.shape(&seen(None), body.as_bytes())?;
        Ok(shaped.map_or_else(|| body.to_owned(), |bytes| String::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn z8_what_is_listed_stays_to_the_byte_and_all_else_goes() {
        let order = r#"{"id":  1.0, "card":"4111", "big":12345678901234567890.10, "name":"\u00e9\/",
            "items":[ {"id":7e2,"cost":3}, {"cost":1}, 5, null ], "owner":{"id":"a","mail":"m"}, "tags":["x",["y"]]}"#;
        for (list, expected) in [
            (&["id", "big", "name"][..], r#"{"id":  1.0, "big":12345678901234567890.10, "name":"\u00e9\/"}"#),
            (&["items.*.id"], "{\n            \"items\":[ {\"id\":7e2}, {}, null ]}"),
            (&["owner.id", "tags.*"], r#"{ "owner":{"id":"a"}, "tags":["x"]}"#),
            (&["owner", "tags", "items"], "{}"),
            (&["owner.**", "tags.**"], r#"{ "owner":{"id":"a","mail":"m"}, "tags":["x",["y"]]}"#),
            (&["ID", "Card", "*.id"], "{\n            \"items\":[ ], \"owner\":{\"id\":\"a\"}, \"tags\":[]}"),
            (&["**"], order),
        ] {
            assert_eq!(left(list, order).unwrap(), expected, "{list:?}");
        }
        assert_eq!(left(&["*.id"], r#"[{"id":1,"x":2},{"x":3}]"#).unwrap(), r#"[{"id":1},{}]"#);
        assert_eq!(left(&["id"], r#"[{"id":1}]"#).unwrap(), "[]");
        assert_eq!(left(&["id"], r#"{"\u0069d":1,"i\u0064x":2}"#).unwrap(), r#"{"\u0069d":1}"#);
        assert_eq!(left(&["id.x"], r#"{"id":null}"#).unwrap(), r#"{"id":null}"#);
        assert_eq!(
            left(&[], r#"{"id":null}"#),
            Err(Reason::ResponseRefused("the answer is a single value, and none is listed"))
        );
        assert_eq!(left(&["id"], "").unwrap(), "");
    }

    #[test]
    fn z8_what_can_be_read_in_two_ways_is_refused_even_where_it_goes() {
        for body in [
            r#"{"id":1,"id":2}"#,
            r#"{"id":1,"x":{"a":1,"a":2}}"#,
            r#"{"id":1,"x":01}"#,
            r#"{"id":1} {}"#,
            r#"{"id":1"#,
            "callback({\"id\":1})",
            "{\"id\":1}\n{\"id\":2}",
            r#""secret""#,
            "7",
        ] {
            assert!(matches!(left(&["id"], body), Err(Reason::ResponseRefused(_))), "{body}");
        }
    }

    #[test]
    fn z8_several_roles_see_what_any_of_them_may() {
        let lists = BTreeMap::from([
            ("admin".into(), paths(&["**"])),
            ("editor".into(), paths(&["id", "draft"])),
            ("auditor".into(), paths(&["id", "log.**"])),
        ]);
        let rule = ResponseMembers::new(&lists, &paths(&["name"]));
        let body = br#"{"id":1,"draft":2,"log":{"a":[3]},"name":4,"x":5}"#;
        for (who, expected) in [
            (None, r#"{"name":4}"#),
            (Some(caller(&[], false)), r#"{"name":4}"#),
            (Some(caller(&["Editor"], false)), r#"{"name":4}"#),
            (Some(caller(&["editor"], false)), r#"{"id":1,"draft":2}"#),
            (Some(caller(&["auditor", "editor", "other"], false)), r#"{"id":1,"draft":2,"log":{"a":[3]}}"#),
            (Some(caller(&["admin"], true)), r#"{"name":4}"#),
        ] {
            let shaped = rule.shape(&seen(who.as_ref()), body).unwrap().unwrap();
            assert_eq!(String::from_utf8(shaped).unwrap(), expected, "{who:?}");
            assert_eq!(rule.wants(&seen(who.as_ref())), Ok(Wants::Content));
        }
        let admin = caller(&["editor", "admin"], false);
        assert!(!rule.binds(&seen(Some(&admin)).asking));
        assert_eq!(rule.wants(&seen(Some(&admin))), Ok(Wants::Nothing));
        assert_eq!(rule.shape(&seen(Some(&admin)), body), Ok(None));
    }

    /// The same said in another way: what the lists leave of a parsed value.
    fn expected(value: &Value, place: &Place<'_>) -> Option<Value> {
        match value {
            _ if place.allows_all() => Some(value.clone()),
            Value::Object(members) if place.allows_inside() => {
                let left = members
                    .iter()
                    .filter_map(|(name, value)| Some((name.clone(), expected(value, &place.member(name))?)));
                Some(Value::Object(left.collect()))
            }
            Value::Array(elements) if place.allows_inside() => {
                Some(elements.iter().filter_map(|value| expected(value, &place.element())).collect())
            }
            Value::Null if place.allows_inside() => Some(Value::Null),
            Value::Object(_) | Value::Array(_) => None,
            single => place.allows_single().then(|| single.clone()),
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let single = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z\"\\\\é\n😀]{0,4}".prop_map(Value::from),
        ];
        single.prop_recursive(4, 48, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[abc.*\"é]", inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn path() -> impl Strategy<Value = String> {
        let step = prop_oneof![4 => "[abcé]", 1 => Just("*".to_owned()), 1 => Just("\\.".to_owned())];
        (prop::collection::vec(step, 1..4), any::<bool>()).prop_map(|(mut steps, rest)| {
            steps.extend(rest.then(|| "**".to_owned()));
            steps.join(".")
        })
    }

    /// White space wherever it may stand, the same for the same text.
    fn spread(compact: &str) -> String {
        let (mut out, mut in_string, mut escaped) = (String::new(), false, false);
        for (at, character) in compact.chars().enumerate() {
            out.push(character);
            match (in_string, escaped, character) {
                (true, true, _) => escaped = false,
                (true, false, '\\') => escaped = true,
                (true, false, '"') => in_string = false,
                (false, _, '"') => in_string = true,
                (false, _, ',' | ':' | '{' | '[') => out.push_str([" ", "\n\t", ""][at % 3]),
                _ => {}
            }
        }
        out
    }

    proptest! {
        #[test]
        fn z8_no_member_is_told_that_is_not_listed(value in value(), list in prop::collection::vec(path(), 0..4)) {
            let list: Vec<MemberPath> = list.iter().map(|path| path.parse().unwrap()).collect();
            let rule = ResponseMembers::new(&BTreeMap::new(), &list);
            let body = spread(&value.to_string());
            let shaped = rule.shape(&seen(None), body.as_bytes());
            match expected(&value, &rule.place(None)) {
                None => prop_assert!(shaped.is_err()),
                Some(left) => {
                    let bytes = shaped.unwrap().unwrap_or_else(|| body.clone().into_bytes());
                    prop_assert_eq!(&serde_json::from_slice::<Value>(&bytes).unwrap(), &left);
                    // Whatever is told stood in what came, in this order: nothing is rendered anew.
                    let mut rest = body.as_bytes();
                    for byte in &bytes {
                        let at = rest.iter().position(|other| other == byte);
                        prop_assert!(at.is_some(), "{:?} is no part of {:?}", bytes, body);
                        rest = &rest[at.unwrap() + 1..];
                    }
                    // What was left is left as it is when it is asked again.
                    let again = rule.shape(&seen(None), &bytes).unwrap();
                    prop_assert_eq!(again, None);
                }
            }
        }

        #[test]
        fn no_bytes_bring_the_reader_down(body in prop::collection::vec(any::<u8>(), 0..64), text in "[\\[\\]{}\",:a0-9.eE+\\\\u -]{0,48}") {
            let rule = ResponseMembers::new(&BTreeMap::new(), &paths(&["a", "*.a"]));
            for body in [body.as_slice(), text.as_bytes()] {
                if let Ok(shaped) = rule.shape(&seen(None), body) && !body.is_empty() {
                    // What is accepted is JSON to others too.
                    let told = shaped.as_deref().unwrap_or(body);
                    prop_assert!(serde_json::from_slice::<Value>(told).is_ok() || has_huge_number(told));
                }
            }
        }
    }

    /// Numbers beyond what a float can say are JSON, and an error to the reader that the test compares with.
    fn has_huge_number(text: &[u8]) -> bool {
        text.iter().any(|byte| matches!(byte, b'e' | b'E'))
    }
}
