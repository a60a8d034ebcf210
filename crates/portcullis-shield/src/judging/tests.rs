//! What hostile content costs. These bodies took seconds, or did not end.

use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use portcullis_core::Reason;
use portcullis_core::json::{Numbers, Reading};
use serde_json::{Map, Value, json};

use crate::check::{Check, Reported, Seen};
use crate::content::{JsonContent, Schema};

fn ask(schema: &Value, body: &str) -> Result<(), Reason> {
    let reading = Reading { depth: Reading::DEEPEST, values: 1_000_000, numbers: Numbers::Long };
    let schema = Schema::compile(schema, |name| Err(format!("there is no {name}"))).unwrap();
    let content = JsonContent { reading, schema: Some(schema), allowed: None };
    let headers: HeaderMap = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
    let reported = Reported::default();
    let (method, path) = (&Method::POST, "/");
    content.check(
        &Seen { method, path, query: None, headers: &headers, principal: None, reported: &reported },
        body.as_bytes(),
    )
}

/// The places and rules that a body breaks.
fn broken(schema: &Value, body: &str) -> Vec<(String, String)> {
    match ask(schema, body) {
        Ok(()) => Vec::new(),
        Err(Reason::ValidationFailed(told)) => {
            told.iter().map(|told| ((*told.path).to_owned(), (*told.rule).to_owned())).collect()
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// A JSON body of this text is refused or passes within a time that nobody notices, whatever it holds.
fn is_quick(what: &str, schema: Value, text: &str) -> bool {
    let start = Instant::now();
    let passed = ask(&schema, text).is_ok();
    let took = start.elapsed();
    println!("{what}: {} bytes, {took:?}, passed {passed}", text.len());
    assert!(took < Duration::from_secs(5), "{what}: {took:?}");
    passed
}

#[test]
fn h5_choices_inside_of_choices_take_no_time() {
    let nested = |open: &str, leaf: &str, close: &str, levels: usize| {
        format!("{}{leaf}{}", open.repeat(levels), close.repeat(levels))
    };
    let below = |part: Value| json!({ "type": "object", "properties": { "a": part } });
    let again = || below(json!({ "$ref": "#" }));
    let filters = json!({ "oneOf": [again(), again(), { "type": "integer" }] });
    let lists =
        json!({ "anyOf": [{ "items": { "$ref": "#" } }, { "items": { "$ref": "#" } }], "type": ["array", "null"] });
    assert_eq!(broken(&filters, &nested("{\"a\":", "\"x\"", "}", 40)), [(String::new(), "schema".to_owned())]);
    for (what, schema) in [
        ("oneOf", filters),
        ("anyOf", json!({ "anyOf": [again(), again()] })),
        ("allOf", json!({ "allOf": [again(), again()] })),
        ("not", json!({ "not": { "not": again() }, "properties": { "a": { "$ref": "#" } } })),
        ("if", json!({ "if": again(), "then": again(), "else": again() })),
        ("dependentSchemas", json!({ "dependentSchemas": { "a": again() }, "properties": { "a": { "$ref": "#" } } })),
        ("unevaluated", json!({ "anyOf": [again()], "unevaluatedProperties": false })),
        (
            "patterns",
            json!({ "patternProperties": { "a": { "$ref": "#" }, "^a": { "$ref": "#" }, "a$": { "$ref": "#" } } }),
        ),
        (
            "dynamic",
            json!({ "$dynamicAnchor": "x", "oneOf": [
            below(json!({ "$dynamicRef": "#x" })), below(json!({ "$dynamicRef": "#x" })), { "type": "integer" }] }),
        ),
        (
            "chain",
            json!({ "$ref": "#/$defs/a", "$defs": {
            "a": { "$ref": "#/$defs/b" }, "b": { "anyOf": [{ "$ref": "#/$defs/c" }, { "$ref": "#/$defs/c" }] },
            "c": below(json!({ "$ref": "#/$defs/a" })) } }),
        ),
    ] {
        is_quick(what, schema, &nested("{\"a\":", "\"x\"", "}", 100));
    }
    is_quick("lists", lists.clone(), &nested("[", "1", "]", 100));
    // What lies beside the way down is looked at as often as the way is gone.
    let wide = format!("[{}1]", "1,".repeat(100_000));
    is_quick("wide lists", lists, &nested("[", &wide, "]", 12));
    let beside = json!({ "anyOf": [
        { "properties": { "a": { "$ref": "#" }, "b": { "items": { "type": "integer" } } } },
        { "properties": { "a": { "$ref": "#" }, "b": { "uniqueItems": true } } },
        { "properties": { "a": { "$ref": "#" }, "b": { "contains": { "type": "string" } } } },
        { "properties": { "a": { "$ref": "#" }, "b": { "enum": [[1, 2]] } } }
    ], "required": ["c"] });
    let open = format!("{{\"b\":{wide},\"a\":");
    is_quick("wide beside", beside, &nested(&open, "1", "}", 9));
    let texts = json!({ "anyOf": [again(), again()], "pattern": "^(a|b)*c$" });
    is_quick("long texts", texts, &nested("{\"a\":", &format!("\"{}\"", "a".repeat(900_000)), "}", 9));
}

#[test]
fn h5_items_that_hash_alike_take_no_time() {
    // Whole numbers between two neighbouring doubles, and lists of lists that hold nothing.
    let numbers: Vec<String> =
        (0..50_000).map(|number: u64| (9_223_372_036_854_775_808 + number).to_string()).collect();
    assert!(is_quick("numbers", json!({ "uniqueItems": true }), &format!("[{}]", numbers.join(","))));
    fn lists(pairs: usize) -> Vec<String> {
        if pairs == 0 {
            return vec![String::new()];
        }
        (0..pairs)
            .flat_map(|inner| {
                let (first, rest) = (lists(inner), lists(pairs - 1 - inner));
                first.into_iter().flat_map(move |first| {
                    rest.clone()
                        .into_iter()
                        .map(move |rest| format!("[{first}]{}{rest}", if rest.is_empty() { "" } else { "," }))
                })
            })
            .collect()
    }
    let all = lists(10).join("],[");
    assert!(is_quick("lists", json!({ "uniqueItems": true }), &format!("[[{all}]]")));
    let twice = json!({ "uniqueItems": true });
    assert_eq!(broken(&twice, "[1,1.0]"), [(String::new(), "uniqueItems".to_owned())]);
    assert_eq!(broken(&json!({ "uniqueItems": false }), "[1,1]"), []);
}

#[test]
fn h5_a_large_body_that_is_wrong_everywhere_takes_no_time() {
    let wrong = format!("[{}1]", "1,".repeat(500_000));
    is_quick("items", json!({ "items": { "type": "string" } }), &wrong);
    is_quick("contains", json!({ "contains": { "type": "string" } }), &wrong);
    is_quick("prefix", json!({ "prefixItems": [true], "unevaluatedItems": { "type": "string" } }), &wrong);
    is_quick("alternatives", json!({ "items": { "oneOf": [{ "type": "string" }, { "type": "null" }] } }), &wrong);
    let members: Vec<String> = (0..90_000).map(|index| format!("\"k{index}\":1")).collect();
    let members = format!("{{{}}}", members.join(","));
    is_quick("names", json!({ "propertyNames": { "pattern": "^a" } }), &members);
    is_quick("unknown", json!({ "additionalProperties": false }), &members);
    is_quick(
        "unevaluated",
        json!({ "allOf": [{ "properties": { "a": true } }], "unevaluatedProperties": false }),
        &members,
    );
    let patterns: Map<String, Value> = (0..50).map(|n| (format!("a{n}$"), json!(true))).collect();
    is_quick("patterns", json!({ "patternProperties": patterns, "additionalProperties": false }), &members);
    let text = |fill: &str| format!("\"{}\"", fill.repeat(1_000_000 / fill.len()));
    for pattern in
        ["^(a+)+$", "(a|b)*a(a|b){20}c", "^(.*a){20}b$", "[a-z]{1,200}z$", "\\p{L}{1,20}!", "^\\w{0,500}(ab?){1,300}!$"]
    {
        is_quick(pattern, json!({ "pattern": pattern }), &text("a"));
        is_quick(pattern, json!({ "pattern": pattern }), &text("abaab"));
    }
    for format in ["email", "uri", "date-time", "hostname", "ipv6", "iri", "uri-template", "regex"] {
        for fill in ["a", "a.", "(a|", "{a}", "1:", "\u{fc}"] {
            is_quick(format, json!({ "format": format }), &text(fill));
        }
    }
}

#[test]
fn h5_what_refers_to_itself_and_is_honest_is_judged_in_full() {
    let tree = json!({
        "type": "object", "required": ["name"], "unevaluatedProperties": false,
        "properties": {
            "name": { "type": "string" }, "const": { "const": { "$ref": "#" } },
            "children": { "type": "array", "items": { "$ref": "#" } }
        },
        "allOf": [{ "properties": { "parent": { "$ref": "#" } } }]
    });
    let told = |path: &str, rule: &str| [(path.to_owned(), rule.to_owned())];
    assert_eq!(broken(&tree, r##"{"name":"a","const":{"$ref":"#"},"parent":{"name":"b","children":[]}}"##), []);
    assert_eq!(broken(&tree, r#"{"name":"a","children":[{"name":"b"},{"name":1}]}"#), told("/children/1/name", "type"));
    assert_eq!(
        broken(&tree, r#"{"name":"a","children":[{"name":"b","x":1}]}"#),
        told("/children/0/x", "additionalProperties")
    );
    assert_eq!(broken(&tree, r#"{"name":"a","children":[{}]}"#), told("/children/0/name", "required"));
    let many =
        format!(r#"{{"name":"a","children":[{{"name":"b"}}{}]}}"#, r#",{"name":"c","children":[]}"#.repeat(20_000));
    assert_eq!(broken(&tree, &many), []);
    let wrong = many.replacen("\"b\"", "1", 1);
    assert_eq!(broken(&tree, &wrong), told("", "schema"));
    // By its name a schema can stand in the place of a keyword.
    let named = json!({ "properties": { "enum": { "$ref": "#" }, "$ref": { "type": "integer" } }, "type": "object" });
    assert_eq!(broken(&named, r#"{"enum":{"$ref":1}}"#), []);
    assert_eq!(broken(&named, r#"{"enum":{"enum":1}}"#), told("/enum/enum", "type"));
    assert_eq!(broken(&named, r##"{"$ref":"#"}"##), told("/$ref", "type"));
}
