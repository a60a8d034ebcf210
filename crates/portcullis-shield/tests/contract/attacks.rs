//! What an attacker would write.

use std::time::{Duration, Instant};

use portcullis_shield::openapi::{Terms, Unknown};

use crate::support::{JSON, SHOP, compile, shop, table, told};

#[test]
fn h4_a_parameter_cannot_be_said_twice_or_in_another_way() {
    let rows = [
        ("GET /v1/orders?limit=5&limit=6", "query.limit duplicate"),
        ("GET /v1/orders?limit=5&%6cimit=6", "query.limit duplicate"),
        ("GET /v1/orders?limit[]=5", "query.limit[] style"),
        ("GET /v1/orders?limit=5&limit[a]=6", "query.limit[a] style"),
        ("GET /v1/orders?limit=5&limit%5B0%5D=6", "query.limit[0] style"),
        ("GET /v1/orders?limit=5&Limit=6", "query.Limit style"),
        ("GET /v1/orders?filter[__proto__]=x", "query.filter style"),
        ("GET /v1/orders?filter[constructor]=x", "query.filter style"),
        ("GET /v1/orders?filter[constructor][prototype]=x", "query.filter[constructor][prototype] style"),
        ("GET /v1/orders?filter[name][a]=x", "query.filter[name][a] style"),
        ("GET /v1/orders?filter[]=x", "query.filter[] style"),
        ("GET /v1/orders?filter=x", "query.filter style"),
        ("GET /v1/orders?filter%5B%5F%5Fproto%5F%5F%5D=x", "query.filter style"),
        ("GET /v1/orders?state=open%00", "query.state enum"),
        ("GET /v1/orders?state=%6fpen", "ok"),
        ("GET /v1/orders?state=%256fpen", "query.state enum"),
        ("GET /v1/orders?state=open%", "query.state encoding"),
        ("GET /v1/orders?state=%c0%af", "query.state encoding"),
        ("GET /v1/orders?sta%te=open", "query encoding"),
        ("GET /v1/orders?state=open;limit=0", "query.state enum"),
    ];
    table(&shop(), &rows);
    // Whoever lets unknown parameters pass does not mean known ones in disguise.
    let open = compile(SHOP, Terms { unknown_parameters: Unknown::Allow, ..Terms::default() });
    table(&open, &rows);
    table(&open, &[("GET /v1/orders?other=1&other=2", "ok")]);
}

#[test]
fn h4_a_path_is_matched_in_its_one_spelling_only() {
    table(
        &shop(),
        &[
            ("GET /v1/%6frders", "ok"),
            ("GET /v1//orders", "ok"),
            ("GET /v1/orders/", "not_found"),
            ("GET /v1/Orders", "not_found"),
            ("GET /V1/orders", "not_found"),
            ("GET /orders", "not_found"),
            ("GET /v1/orders%2Fmine", "ambiguous_path"),
            ("GET /v1/orders/%2e%2e/admin", "ambiguous_path"),
            ("GET /v1/orders/..%2fadmin", "ambiguous_path"),
            ("GET /v1/orders;x=1", "ambiguous_path"),
            ("GET /v1/orders/a%00", "ambiguous_path"),
            ("HEAD /v1/orders", "ok"),
            ("HEAD /v1/orders?limit=0", "query.limit minimum"),
            ("OPTIONS /v1/orders", "not_found"),
            ("PATCH /v1/orders", "not_found"),
            ("GET /v1/places/1,2/.from=1/a.b.json", "not_found"),
        ],
    );
}

#[test]
fn h4_depth_and_size_of_what_is_sent_use_up_nothing() {
    let shop = shop();
    let deep = format!("{{\"items\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let began = Instant::now();
    assert_eq!(told(&shop, "POST /v1/orders", &[JSON], deep.as_bytes())[0], "invalid_body");
    let many = format!("{{{}}}", (0..20_000).map(|n| format!("\"k{n}\":1")).collect::<Vec<_>>().join(","));
    assert!(told(&shop, "POST /v1/orders", &[JSON], many.as_bytes()).len() <= 20, "what is told is bounded");
    let pairs = (0..2_000).map(|n| format!("x{n}=1")).collect::<Vec<_>>().join("&");
    assert!(told(&shop, &format!("GET /v1/orders?{pairs}"), &[], b"").len() <= 20);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn h4_a_schema_that_refers_to_itself_ends_with_what_is_sent() {
    let tree = "openapi: 3.1.0\npaths:\n  /t:\n    post:\n      requestBody: {required: true, content: {application/json: {schema: {$ref: '#/components/schemas/Tree'}}}}\n\
                components:\n  schemas:\n    Tree: {type: object, required: [v], properties: {v: {type: integer}, l: {$ref: '#/components/schemas/Tree'}, r: {type: array, items: {$ref: '#/components/schemas/Tree'}}}}\n";
    let contract = compile(tree, Terms::default());
    let mut value = serde_json::json!({"v": 1});
    for _ in 0..20 {
        value = serde_json::json!({"v": 1, "l": value.clone(), "r": [value["v"].is_i64().then_some(serde_json::json!({"v": 2}))]});
    }
    assert_eq!(told(&contract, "POST /t", &[JSON], value.to_string().as_bytes()), ["ok"]);
    let wrong = value.to_string().replace("\"v\":2", "\"w\":2");
    let told = told(&contract, "POST /t", &[JSON], wrong.as_bytes());
    assert!(
        told.iter().all(|one| one.ends_with("/v required") || one.ends_with("/w additionalProperties")),
        "{told:?}"
    );
}

#[test]
fn h4_choices_inside_of_choices_do_not_take_time_without_end() {
    let branch = |kind: &str| {
        format!(
            "{{type: object, required: [kind], properties: {{child: {{$ref: '#/components/schemas/Node'}}, kind: {{const: {kind}}}}}}}"
        )
    };
    for keyword in ["oneOf", "anyOf"] {
        let text = format!(
            "openapi: 3.1.0\npaths:\n  /t:\n    post:\n      requestBody: {{required: true, content: {{application/json: {{schema: {{$ref: '#/components/schemas/Node'}}}}}}}}\n\
             components:\n  schemas:\n    Node: {{{keyword}: [{}, {}]}}\n",
            branch("a"),
            branch("b"),
        );
        for members in [Unknown::Refuse, Unknown::Allow] {
            let contract = compile(&text, Terms { unknown_members: members, ..Terms::default() });
            for (levels, last, expected) in
                [(3, "b", "ok"), (3, "c", ""), (5, "b", "ok"), (8, "c", ""), (30, "b", "any"), (30, "c", "")]
            {
                let mut body = format!("{{\"kind\":\"{last}\"}}");
                for _ in 0..levels {
                    body = format!("{{\"kind\":\"b\",\"child\":{body}}}");
                }
                let began = Instant::now();
                let told = told(&contract, "POST /t", &[JSON], body.as_bytes());
                // What is honest and deep may be too much to judge, or not: that is a question of its keywords' order.
                let as_expected = match expected {
                    "any" => told == ["ok"] || told == [" depth"],
                    "" => told != ["ok"],
                    expected => told == [expected],
                };
                assert!(as_expected, "{keyword} {levels} {last}: {told:?}");
                // A build for tests is many times slower than what is shipped.
                assert!(
                    began.elapsed() < Duration::from_secs(3),
                    "{keyword} {members:?} {levels}: {:?}",
                    began.elapsed()
                );
            }
        }
    }
    // Where nothing comes back, or only one way does, depth costs nothing.
    let list = "openapi: 3.1.0\npaths:\n  /t:\n    post:\n      requestBody: {required: true, content: {application/json: {schema: {$ref: '#/components/schemas/L'}}}}\n\
                components:\n  schemas:\n    L: {oneOf: [{type: 'null'}, {type: object, properties: {next: {$ref: '#/components/schemas/L'}}, additionalProperties: false}]}\n";
    let contract = compile(list, Terms { unknown_members: Unknown::Allow, ..Terms::default() });
    let body = format!("{}null{}", "{\"next\":".repeat(60), "}".repeat(60));
    assert_eq!(told(&contract, "POST /t", &[JSON], body.as_bytes()), ["ok"]);
}

#[test]
fn h4_nothing_that_was_sent_is_repeated() {
    let shop = shop();
    let body = br#"{"items":"s3cret","address":{"line1":"s3cret"},"country":"s3cret","promo":"s3cret","id":"s3cret"}"#;
    let secret = "GET /v1/orders?state=s3cret&limit=s3cret&ids=s3cret&where=s3cret&code=s3cret";
    let said = [
        crate::support::raw(&shop, "POST /v1/orders", &[JSON], body),
        crate::support::raw(&shop, secret, &[("x-tenant", "s3cret-")], b""),
    ];
    for said in said {
        assert!(said.contains("Violation") && !said.contains("s3cret"), "{said}");
    }
}
