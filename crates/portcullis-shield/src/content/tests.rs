use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use portcullis_core::json::Wrong;
use serde_json::{Value, json};

use super::*;
use crate::check::Reported;
use crate::members::MemberPath;

fn nothing(name: &str) -> Result<Value, String> {
    Err(format!("there is no {name}"))
}

fn content(schema: Option<Value>, allowed: Option<(&[&str], Unknown)>) -> JsonContent {
    JsonContent {
        reading: Reading::default(),
        schema: schema.map(|schema| Schema::compile(&schema, nothing).unwrap()),
        allowed: allowed.map(|(paths, unknown)| {
            let paths: Vec<MemberPath> = paths.iter().map(|path| path.parse().unwrap()).collect();
            AllowedMembers::new(&paths, unknown)
        }),
    }
}

/// What is said of a body, and what is only reported.
fn ask(content: &JsonContent, method: Method, kind: Option<&'static str>, body: &str) -> (Result<(), Reason>, usize) {
    let headers: HeaderMap = kind.map(|kind| (CONTENT_TYPE, HeaderValue::from_static(kind))).into_iter().collect();
    let reported = Reported::default();
    let seen =
        Seen { method: &method, path: "/orders", query: None, headers: &headers, principal: None, reported: &reported };
    let said = content.before(&seen).and_then(|()| content.check(&seen, body.as_bytes()));
    (said, reported.into_inner().len())
}

/// The places and rules that a body breaks.
fn broken(content: &JsonContent, body: &Value) -> Vec<(String, String)> {
    match ask(content, Method::POST, Some("application/json"), &body.to_string()).0 {
        Ok(()) => Vec::new(),
        Err(Reason::ValidationFailed(told)) => {
            told.iter().map(|told| (told.path.to_string(), told.rule.to_string())).collect()
        }
        Err(other) => panic!("{other:?}"),
    }
}

fn one(path: &str, rule: &str) -> Vec<(String, String)> {
    vec![(path.to_owned(), rule.to_owned())]
}

/// The example of H4.
fn order() -> Value {
    serde_json::from_str(include_str!("../../tests/order.json")).unwrap()
}

fn good() -> Value {
    json!({
        "items": [{ "productId": "0b8f7a52-3d8f-4a5e-9a53-0d8c0d4c6f11", "quantity": 2 }],
        "address": { "line1": "1 High Street", "city": "Leeds", "postcode": "LS1 4AP", "country": "GB" },
        "promoCode": "SALE20"
    })
}

#[test]
fn h4_the_order_example_says_of_each_field_which_rule_it_breaks() {
    let content = content(Some(order()), None);
    assert_eq!(broken(&content, &good()), []);
    let item = good()["items"][0].clone();
    for (place, value, path, rule) in [
        ("/items", json!([]), "/items", "minItems"),
        ("/items", Value::Array(vec![item; 51]), "/items", "maxItems"),
        ("/items", json!({}), "/items", "type"),
        ("/items/0/productId", json!("not-a-uuid"), "/items/0/productId", "format"),
        ("/items/0/quantity", json!(0), "/items/0/quantity", "minimum"),
        ("/items/0/quantity", json!(101), "/items/0/quantity", "maximum"),
        ("/items/0/quantity", json!(1.5), "/items/0/quantity", "type"),
        ("/items/0/quantity", json!("2"), "/items/0/quantity", "type"),
        ("/address/line1", json!("abcd"), "/address/line1", "minLength"),
        ("/address/line1", json!("x".repeat(201)), "/address/line1", "maxLength"),
        ("/address/city", json!("x"), "/address/city", "minLength"),
        ("/address/city", json!("x".repeat(101)), "/address/city", "maxLength"),
        ("/address/postcode", json!("ls1 4ap"), "/address/postcode", "pattern"),
        ("/address/country", json!("FR"), "/address/country", "enum"),
        ("/promoCode", json!("SALE2"), "/promoCode", "pattern"),
        ("/promoCode", json!("SALE20\n"), "/promoCode", "pattern"),
        ("/address", json!(null), "/address", "type"),
    ] {
        let mut body = good();
        *body.pointer_mut(place).unwrap() = value;
        assert_eq!(broken(&content, &body), one(path, rule), "{place}");
    }
    let mut body = good();
    body["isAdmin"] = json!(true);
    assert_eq!(broken(&content, &body), one("/isAdmin", "additionalProperties"));
    body = good();
    body["address"].as_object_mut().unwrap().remove("city");
    assert_eq!(broken(&content, &body), one("/address/city", "required"));
}

#[test]
fn h4_what_is_told_never_repeats_what_was_sent_and_is_bounded() {
    let schema = json!({
        "type": "object",
        "properties": { "größe": { "type": "string", "maxLength": 3 }, "pin": { "const": "7391" } },
        "additionalProperties": { "type": "integer" }
    });
    let content = content(Some(schema), None);
    let secret = "sk_live_4242424242424242";
    let body = json!({ "größe": secret, "pin": secret, secret: secret, "note": secret, "a b": 1.5,
        "@type": secret, "bob@example.com": secret });
    let (said, _) = ask(&content, Method::POST, Some("application/json"), &body.to_string());
    let Err(Reason::ValidationFailed(told)) = said else { panic!("{said:?}") };
    let text = format!("{told:?}");
    assert!(!text.contains(secret) && !text.contains("7391"), "{text}");
    let mut paths: Vec<&str> = told.iter().map(|told| &*told.path).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/*", "/*", "/*", "/@type", "/größe", "/note", "/pin"]);

    let many: Value =
        (0..1_000).map(|index| (format!("m{index}"), json!("x"))).collect::<serde_json::Map<_, _>>().into();
    assert_eq!(broken(&content, &many).len(), MOST_TOLD);
}

#[test]
fn h4_a_body_that_is_missing_or_of_another_type_is_no_way_around_a_schema() {
    let content = content(Some(order()), None);
    let good = good().to_string();
    let json = Some("application/json");
    for (method, kind, body, status) in [
        (Method::POST, json, &*good, 200),
        (Method::POST, Some("application/vnd.shop+json; charset=utf-8"), &good, 200),
        (Method::POST, None, &good, 415),
        (Method::POST, Some("text/plain"), &good, 415),
        (Method::POST, Some("application/json; charset=utf-16"), &good, 415),
        (Method::POST, Some("application/x-www-form-urlencoded"), "", 415),
        (Method::POST, json, "", 400),
        (Method::POST, None, "", 400),
        (Method::PATCH, json, "", 400),
        ("PURGE".parse().unwrap(), json, "", 400),
        (Method::GET, None, "", 200),
        (Method::DELETE, None, "", 200),
        (Method::GET, json, "{}", 400),
        (Method::DELETE, None, &good, 415),
        (Method::POST, json, "{\"items\":1,\"items\":[]}", 400),
        (Method::POST, json, "not json", 400),
    ] {
        let said = ask(&content, method.clone(), kind, body).0;
        let found = said.as_ref().err().map_or(200, |reason| reason.status().as_u16());
        assert_eq!(found, status, "{method} {kind:?} {body} {said:?}");
    }
    let twice = ask(&content, Method::POST, json, "{\"items\":1,\"items\":[]}").0.unwrap_err();
    assert!(matches!(twice, Reason::UnreadableJson(wrong) if wrong.why == Wrong::Duplicate), "{twice:?}");
    assert_eq!(twice.error(), "Invalid request body");
}

#[test]
fn h4_formats_hold() {
    for (format, good, bad) in [
        ("uuid", "0b8f7a52-3d8f-4a5e-9a53-0d8c0d4c6f11", "0b8f7a523d8f4a5e9a530d8c0d4c6f11"),
        ("email", "a@example.com", "a@"),
        ("date-time", "2026-02-28T12:00:00Z", "2026-02-30T12:00:00Z"),
        ("date", "2024-02-29", "2023-02-29"),
        ("ipv4", "192.0.2.1", "192.0.2.256"),
        ("ipv6", "2001:db8::1", "2001:db8::g"),
        ("uri", "https://example.com/a", "not a uri"),
    ] {
        let content = content(Some(json!({ "format": format })), None);
        assert_eq!(broken(&content, &json!(good)), [], "{format}");
        assert_eq!(broken(&content, &json!(bad)), one("", "format"), "{format}");
    }
}

#[test]
fn h4_a_schema_that_cannot_be_trusted_is_not_compiled() {
    for (schema, part, hinted) in [
        (json!({ "type": "strin" }), "/type", false),
        (json!({ "minimum": "1" }), "/minimum", false),
        (json!([]), "a schema is an object", false),
        (json!({ "$schema": "http://json-schema.org/draft-07/schema#" }), "another dialect", true),
        (json!({ "format": "uuidd" }), "uuidd", false),
        (json!({ "pattern": "(?<=a)b" }), "pattern", true),
        (json!({ "pattern": "(a)\\1" }), "pattern", true),
        (json!({ "pattern": "(?:a{1000}){1000}" }), "pattern", true),
        (json!({ "patternProperties": { "(?=a)": {} } }), "patternProperties", true),
        (json!({ "$ref": "http://127.0.0.1:9/x.json" }), "http://127.0.0.1:9/x.json", true),
        (json!({ "$ref": "file:///etc/passwd" }), "file:///etc/passwd", true),
        (json!({ "$ref": "../x.json" }), "x.json is not followed", true),
        (json!({ "$ref": "../../../../etc/passwd" }), "is not followed", true),
        (json!({ "$ref": "a/%2e%2e/%2e%2e/x.json" }), "is not followed", true),
        (json!({ "$ref": "//example.com/x.json" }), "is not followed", true),
        (json!({ "$id": "https://example.com/order", "$ref": "item.json" }), "https://example.com/item.json", true),
        (json!({ "$ref": "item.json" }), "there is no item.json", false),
        (json!({ "$ref": "#/$defs/nothing" }), "", false),
    ] {
        let fault = Schema::compile(&schema, nothing).unwrap_err();
        assert!(fault.message.contains(part), "{schema}: {fault}");
        assert_eq!(fault.hint.is_some(), hinted, "{schema}: {fault}");
    }
}

#[test]
fn h4_a_pattern_for_names_in_all_scripts_is_taken() {
    let content = content(Some(json!({ "pattern": r"^[\p{L}\p{N} .,'-]{1,20}( \p{L}{2,5}){1,5}$" })), None);
    assert!(broken(&content, &json!("Зоя-Μαρία d'Été Øyen")).is_empty());
    assert_eq!(broken(&content, &json!("Zoë <Été>")), one("", "pattern"));
}

#[test]
fn h4_a_pattern_that_would_take_a_backtracking_engine_for_ever_takes_no_time() {
    let content = content(Some(json!({ "pattern": "^(a+)+$" })), None);
    assert_eq!(broken(&content, &json!(format!("{}!", "a".repeat(8_000)))), one("", "pattern"));
}

#[test]
fn h4_a_schema_may_consist_of_files_in_its_folder() {
    let files = |name: &str| match name {
        "item.json" => Ok(json!({ "type": "object", "properties": { "id": { "$ref": "types/id.json#/$defs/id" } } })),
        "types/id.json" => Ok(json!({ "$defs": { "id": { "type": "integer" } } })),
        "old.json" => Ok(json!({ "$schema": "http://json-schema.org/draft-07/schema#" })),
        other => nothing(other),
    };
    let schema = Schema::compile(&json!({ "items": { "$ref": "item.json" } }), files).unwrap();
    let content = JsonContent { reading: Reading::default(), schema: Some(schema), allowed: None };
    assert_eq!(broken(&content, &json!([{ "id": 1 }])), []);
    assert_eq!(broken(&content, &json!([{ "id": 1 }, { "id": "x" }])), one("/1/id", "type"));
    let old = Schema::compile(&json!({ "$ref": "old.json" }), files).unwrap_err();
    assert!(old.message.contains("dialect"), "{old}");
}

#[test]
fn z8_a_request_sets_what_is_listed_and_nothing_else() {
    let list: &[&str] = &["name", "address.city", "items.*.id", "meta.**"];
    let content = content(None, Some((list, Unknown::Refuse)));
    for (body, wrong) in [
        (json!({}), None),
        (
            json!({ "name": "a", "address": { "city": "b" }, "items": [{ "id": 1 }], "meta": { "x": [{ "y": 1 }] } }),
            None,
        ),
        (json!({ "name": null, "items": [], "address": {} }), None),
        (json!({ "name": "a", "isAdmin": true }), Some("/isAdmin")),
        (json!({ "NAME": "a" }), Some("/NAME")),
        (json!({ "name ": "a" }), Some("/*")),
        (json!({ "name.first": "a" }), Some("/name.first")),
        (json!({ "address.city": "a" }), Some("/address.city")),
        (json!({ "name": { "$gt": "" } }), Some("/name")),
        (json!({ "name": ["a"] }), Some("/name")),
        (json!({ "address": { "city": "b", "geo": 1 } }), Some("/address/geo")),
        (json!({ "address": [{ "city": "b" }] }), Some("/address/0")),
        (json!({ "address": null }), Some("/address")),
        (json!({ "items": [{ "id": 1 }, { "id": 2, "price": 0 }] }), Some("/items/1/price")),
        (json!({ "items": [[{ "id": 1 }]] }), Some("/items/0/0")),
        (json!({ "__proto__": { "isAdmin": true } }), Some("/__proto__")),
        (json!([{ "name": "a" }]), Some("/0")),
        (json!("name"), Some("")),
    ] {
        let expected = wrong.map_or_else(Vec::new, |path| one(path, "allow"));
        assert_eq!(broken(&content, &body), expected, "{body}");
    }
    // An escaped name is the name, and not a second one.
    let escaped = ask(&content, Method::POST, Some("application/json"), r#"{"is\u0041dmin":1,"n\u0061me":"a"}"#).0;
    let Err(Reason::ValidationFailed(told)) = escaped else { panic!("{escaped:?}") };
    assert_eq!(told.iter().map(|told| &*told.path).collect::<Vec<_>>(), ["/isAdmin"]);
}

#[test]
fn z8_a_list_may_be_about_the_elements_of_the_outermost_array() {
    let content = content(None, Some((&["*.id"], Unknown::Refuse)));
    assert_eq!(broken(&content, &json!([{ "id": 1 }, { "id": 2 }])), []);
    assert_eq!(broken(&content, &json!([{ "id": 1 }, { "id": 2, "owner": 3 }])), one("/1/owner", "allow"));
}

#[test]
fn z8_what_is_only_reported_passes() {
    let list: &[&str] = &["name"];
    let reports = content(Some(json!({ "required": ["name"] })), Some((list, Unknown::Report)));
    let json = Some("application/json");
    assert_eq!(ask(&reports, Method::POST, json, r#"{"name":"a","x":1,"y":{"z":2}}"#), (Ok(()), 2));
    let (said, reported) = ask(&reports, Method::POST, json, r#"{"x":1}"#);
    assert!(matches!(said, Err(Reason::ValidationFailed(told)) if told.len() == 1) && reported == 1);
}

#[test]
fn a_check_is_shared_by_all_cores() {
    fn shared(_: Arc<dyn Check>) {}
    shared(Arc::new(content(None, None)));
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    for schema in [
        json!({ "$ref": "#" }),
        json!({ "allOf": [{ "$ref": "#" }] }),
        json!({ "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } }, "$ref": "#/$defs/a" }),
        json!({ "if": { "$ref": "#" } }),
        json!({ "$dynamicAnchor": "x", "not": { "$dynamicRef": "#x" } }),
        json!({ "dependentSchemas": { "a": { "$ref": "#" } } }),
        json!({ "properties": { "a": { "$ref": "#" } } }),
    ] {
        let _ = broken(&content(Some(schema), None), &json!({ "a": { "a": 1 } }));
    }
    let tree = content(Some(json!({ "type": "object", "additionalProperties": { "$ref": "#" } })), None);
    assert_eq!(broken(&tree, &json!({ "a": { "b": { "c": 1 } } })), one("/a/b/c", "type"));
}
