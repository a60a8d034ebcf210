//! Documents that are read, and those that are not.

use std::time::{Duration, Instant};

use serde_json::json;

use portcullis_shield::openapi::{Contract, Format, Terms};

use crate::support::{SHOP, compile, table, told};

fn faults(text: &str, format: Format) -> Vec<(Option<usize>, String)> {
    let faults = Contract::compile(text, format, Terms::default()).err().unwrap_or_default();
    faults
        .into_iter()
        .map(|fault| (fault.place.map(|place| place.line), format!("{} {}", fault.pointer, fault.message)))
        .collect()
}

#[test]
fn h4_what_is_wrong_with_a_document_is_told_with_its_line() {
    let with = |paths: &str| format!("openapi: 3.1.0\ninfo: {{title: t, version: '1'}}\npaths:\n{paths}");
    for (text, line, message) in [
        ("swagger: '2.0'\n".to_owned(), Some(1), "Swagger 2.0"),
        ("openapi: 4.0.0\n".to_owned(), Some(1), "is not a version"),
        ("openapi: 3.0\n".to_owned(), Some(1), "is not a version"),
        ("a: 1\n".to_owned(), Some(1), "this is no OpenAPI document"),
        ("openapi: [\n".to_owned(), Some(2), "not valid YAML"),
        (with("  /a: {}\n"), Some(1), "has no operation"),
        (with("  a:\n    get: {}\n"), Some(4), "a path begins with"),
        (with("  /a/{x}:\n    get: {}\n  /a/{y}:\n    get: {}\n"), Some(6), "covers the same paths"),
        (with("  /a:\n    $ref: other.yaml\n"), Some(5), "leads out of the document"),
        (with("  /a:\n    $ref: '#/paths/~1a'\n"), Some(4), "goes in a circle"),
        (with("  /a:\n    get:\n      parameters:\n        - {name: x, in: body}\n"), Some(7), "is \"in\" path"),
        (
            with("  /a:\n    get:\n      parameters:\n        - {name: x, in: query}\n"),
            Some(7),
            "a \"schema\" or a \"content\"",
        ),
        (
            with("  /a:\n    get:\n      parameters:\n        - {name: x, in: query, style: label, schema: {}}\n"),
            Some(7),
            "is not a style",
        ),
        (
            with("  /a:\n    get:\n      parameters:\n        - {name: x, in: path, schema: {}}\n"),
            Some(5),
            "has no variable",
        ),
        (
            with("  /a:\n    post:\n      requestBody:\n        content:\n          json: {}\n"),
            Some(8),
            "is not a media type",
        ),
        (with("  /a:\n    get:\n      responses:\n        ok: {}\n"), Some(7), "is not a status"),
        (
            with(
                "  /a:\n    get:\n      responses:\n        '200':\n          content:\n            application/json:\n              schema:\n                type: objekt\n",
            ),
            Some(11),
            "not a schema",
        ),
        (with("  /a:\n    get: {}\nservers: [{url: /v1}, {url: /v2}]\n"), Some(6), "different paths"),
        (with("  /a:\n    get: {}\njsonSchemaDialect: http://json-schema.org/draft-07/schema#\n"), Some(6), "dialect"),
    ] {
        let told = faults(&text, Format::Yaml);
        assert!(told.iter().any(|(at, said)| *at == line && said.contains(message)), "{text}: {told:?}");
    }
}

#[test]
fn h4_a_document_is_json_too() {
    let text = r##"{"openapi":"3.1.0","paths":{"/a":{"post":{"requestBody":{"content":{"application/json":{"schema":{"type":"integer"}}}}}}}}"##;
    let contract = Contract::compile(text, Format::Json, Terms::default()).unwrap().contract;
    assert_eq!(told(&contract, "POST /a", &[crate::support::JSON], b"5"), ["ok"]);
    assert_eq!(told(&contract, "POST /a", &[crate::support::JSON], b"\"5\""), [" type"]);
    let twice = text.replacen("\"paths\"", "\"openapi\":\"3.1.1\",\"paths\"", 1);
    assert_eq!(faults(&twice, Format::Json).len(), 1, "a member that stands twice is refused");
    assert_eq!(faults(&text.replace("integer", "integr"), Format::Json)[0].0, Some(1));
}

#[test]
fn h4_a_base_path_is_that_of_the_servers_or_the_one_that_is_chosen() {
    table(
        &compile(SHOP, Terms { base_path: Some("/api/".to_owned()), ..Terms::default() }),
        &[("GET /api/orders", "ok"), ("GET /v1/orders", "not_found")],
    );
    table(&compile(SHOP, Terms { base_path: Some("/".to_owned()), ..Terms::default() }), &[("GET /orders", "ok")]);
}

#[test]
fn h4_what_no_request_can_have_and_what_nothing_describes_is_warned_of() {
    let text = "openapi: 3.0.3\npaths:\n  /a/{x}/{y}:\n    get:\n      parameters:\n        - {name: x, in: path, style: matrix, schema: {type: integer}}\n";
    let warnings = Contract::compile(text, Format::Yaml, Terms::default()).unwrap().warnings;
    let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("nothing describes") && told[1].contains("no request can have"), "{told:?}");
}

#[test]
fn h4_ten_thousand_paths_are_compiled_in_seconds_and_found_at_once() {
    let parameter = json!({"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}});
    let body = |n: usize| {
        let schema = json!({"$ref": format!("#/components/schemas/S{}", n % 100)});
        json!({"content": {"application/json": {"schema": schema}}})
    };
    let mut paths = serde_json::Map::new();
    for n in 0..10_000 {
        let mut operation = json!({"parameters": [parameter]});
        if n % 20 == 0 {
            operation["requestBody"] = body(n);
        }
        paths.insert(format!("/s{}/r{n}/{{id}}", n % 100), json!({"post": operation}));
    }
    let schema = |n: usize| {
        let next = json!({"$ref": format!("#/components/schemas/S{}", (n + 1) % 100)});
        (
            format!("S{n}"),
            json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}, "next": next}}),
        )
    };
    let schemas: serde_json::Map<_, _> = (0..100).map(schema).collect();
    let text = json!({"openapi": "3.0.3", "paths": paths, "components": {"schemas": schemas}}).to_string();
    let began = Instant::now();
    let contract = Contract::compile(&text, Format::Json, Terms::default()).unwrap().contract;
    let compiled = began.elapsed();
    // A build for tests is many times slower than what is shipped.
    assert!(compiled < Duration::from_secs(60), "{compiled:?}");
    let body = br#"{"id":1,"next":{"id":2,"next":{"id":3}}}"#;
    let began = Instant::now();
    for n in (0..10_000).step_by(100) {
        assert_eq!(told(&contract, &format!("POST /s{}/r{n}/7", n % 100), &[crate::support::JSON], body), ["ok"]);
    }
    let asked = began.elapsed() / 100;
    assert!(asked < Duration::from_millis(5), "{asked:?} for one");
}

#[test]
fn h4_a_chain_of_schemas_does_not_use_up_the_stack() {
    let mut text = "openapi: 3.1.0\npaths:\n  /a:\n    post: {requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/S0'}}}}}\ncomponents:\n  schemas:\n".to_owned();
    for n in 0..3_000 {
        text +=
            &format!("    S{n}: {{type: object, properties: {{next: {{$ref: '#/components/schemas/S{}'}}}}}}\n", n + 1);
    }
    text += "    S3000: {type: integer}\n";
    compile(&text, Terms::default());
}
