//! What is weighed, and what slips through nowhere.

use http::Method;
use portcullis_core::Reason;
use serde_json::{Map, Value, json};

use super::{GraphqlRules, Sent};

/// The rule that a query breaks, `Ok` where it breaks none.
fn judge(rules: &GraphqlRules, method: &Method, query: &str, variables: &Value) -> Result<(), String> {
    let none = Map::new();
    let sent = Sent { query, variables: Some(variables.as_object().unwrap_or(&none)) };
    rules.judge(method, &sent).map_err(|reason| match reason {
        Reason::ValidationFailed(list) => list[0].rule.to_string(),
        Reason::InvalidBody(why) => why.to_owned(),
        other => panic!("{other:?}"),
    })
}

fn plain(query: &str) -> Result<(), String> {
    judge(&GraphqlRules::default(), &Method::POST, query, &Value::Null)
}

#[test]
fn h5_depth_is_counted_through_fragments() {
    let nested = |levels: usize| format!("{}a{}", "{ a ".repeat(levels - 1) + "{ ", " }".repeat(levels));
    assert_eq!(plain(&nested(10)), Ok(()));
    assert_eq!(plain(&nested(11)), Err("depth".into()));
    let hidden = format!("{{ a {{ ...F }} }} fragment F on T {}", nested(9));
    assert_eq!(plain(&hidden), Ok(()));
    let hidden = format!("{{ a {{ ...F }} }} fragment F on T {}", nested(10));
    assert_eq!(plain(&hidden), Err("depth".into()));
    let inline = format!("{{ ... on T {} }}", nested(11));
    assert_eq!(plain(&inline), Err("depth".into()));
    assert_eq!(plain(&nested(5_000)), Err("tokens".into()), "and it costs no stack");
}

#[test]
fn h5_complexity_multiplies_below_lists_and_through_fragments() {
    assert_eq!(plain("{ users(first: 100) { name mail } }"), Ok(()));
    assert_eq!(plain("{ users(first: 1000) { name } }"), Err("complexity".into()));
    assert_eq!(plain("{ users(limit: 40) { posts(last: 30) { title } } }"), Err("complexity".into()));
    assert_eq!(plain("{ users(first: 99999999999999999999999) { name } }"), Err("complexity".into()));
    // Each fragment spreads the one before it twice: 2^40 fields in a page of text.
    let mut bomb = "{ ...F40 } fragment F0 on T { a }".to_owned();
    for level in 1..=40 {
        bomb += &format!(" fragment F{level} on T {{ ...F{0} ...F{0} }}", level - 1);
    }
    assert_eq!(plain(&bomb), Err("complexity".into()));
    let rules = GraphqlRules::default();
    let by_variable = "query Q($n: Int = 5000) { users(first: $n) { name } }";
    assert_eq!(judge(&rules, &Method::POST, by_variable, &json!({"n": 10})), Ok(()));
    assert_eq!(judge(&rules, &Method::POST, by_variable, &json!({"n": 5000})), Err("complexity".into()));
    assert_eq!(judge(&rules, &Method::POST, by_variable, &json!({})), Err("complexity".into()), "the default");
}

#[test]
fn h5_aliases_are_counted_each_time_they_are_asked_for() {
    let logins = |count: usize| {
        let fields: Vec<String> = (0..count).map(|index| format!("a{index}: login(code: {index}) {{ ok }}")).collect();
        format!("mutation {{ {} }}", fields.join(" "))
    };
    assert_eq!(plain(&logins(15)), Ok(()));
    assert_eq!(plain(&logins(16)), Err("aliases".into()));
    assert_eq!(
        plain("{ ...F x { ...F } } fragment F on T { a1:a a2:a a3:a a4:a a5:a a6:a a7:a a8:a }"),
        Err("aliases".into())
    );
}

#[test]
fn h5_introspection_is_found_wherever_it_hides() {
    let rules = GraphqlRules { introspection: true, ..GraphqlRules::default() };
    for query in [
        "{ __schema { types { name } } }",
        "{ __type(name: \"User\") { name } }",
        "{ s: __schema { queryType { name } } }",
        "{ ...F } fragment F on Query { __schema { queryType { name } } }",
        "query A { a } query B { ... on Query { __schema { queryType { name } } } }",
        "{,\u{feff}__schema,{\n#}\nqueryType { name } } }",
    ] {
        assert_eq!(plain(query), Err("introspection".into()), "{query}");
        assert_eq!(judge(&rules, &Method::POST, query, &Value::Null), Ok(()), "{query}");
    }
    assert_eq!(plain("{ __typename users { __typename } }"), Ok(()), "every client asks for that");
    assert_eq!(plain("{ a(text: \"__schema\") }"), Ok(()));
}

#[test]
fn h5_what_is_no_document_is_refused_and_so_is_a_circle() {
    for query in ["", "{", "query", "{ a", "}", "{ a } garbage", "{ a(b: ) }", "{ }"] {
        assert!(plain(query).is_err(), "{query:?}");
    }
    for (query, told) in [
        ("{ ...A } fragment A on T { ...B } fragment B on T { ...A }", "circle"),
        ("{ ...A } fragment A on T { a { ...A } }", "circle"),
        ("{ ...Nobody }", "does not define"),
        ("{ ...A } fragment A on T { a } fragment A on T { b }", "two fragments"),
        ("fragment A on T { a }", "no operation"),
        ("{ a } type T { a: Int }", "types"),
    ] {
        assert!(plain(query).is_err_and(|why| why.contains(told)), "{query}: {:?}", plain(query));
    }
    assert_eq!(plain(&format!("{{ {} }}", "a ".repeat(3_000))), Err("tokens".into()));
    assert_eq!(plain(&format!("{{ a {} }}", "@a".repeat(3_000))), Err("tokens".into()), "CVE-2022-37734");
}

#[test]
fn h5_a_get_only_reads() {
    let rules = GraphqlRules::default();
    let get = |query: &str| judge(&rules, &Method::GET, query, &Value::Null);
    assert_eq!(get("{ a }"), Ok(()));
    assert_eq!(get("query { a }"), Ok(()));
    assert_eq!(get("mutation { a }"), Err("operation".into()));
    assert_eq!(get("query A { a } mutation B { b }"), Err("operation".into()), "whichever the name chooses");
    assert_eq!(get("subscription { a }"), Err("operation".into()));
}
