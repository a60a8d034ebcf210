use portcullis_core::Violation;
use serde_json::{Value, json};

use super::{Book, Draft, Entry, Way};
use crate::openapi::document::{Document, Format};
use crate::openapi::fault::Fault;

/// A book with the schema `T` of a document with these schemas.
fn book(version: &str, schemas: &str, way: Way, closed: bool) -> Result<(Book, Entry), Vec<Fault>> {
    let document =
        Document::read(&format!("openapi: {version}\ncomponents:\n  schemas:\n{schemas}"), Format::Yaml).unwrap();
    let mut draft = Draft::new(&document);
    let entry = draft.enter(&document.at("/components/schemas/T").unwrap(), way, closed);
    draft.finish().map(|book| (book, entry))
}

fn told(book: &(Book, Entry), value: Value) -> Vec<(String, String)> {
    let mut value = value;
    let told = book.0.judge(book.1, &mut value);
    told.into_iter().map(|Violation { path, rule, .. }| (path.into(), rule.into())).collect()
}

/// Asks about values: those that pass, and those that do not with a place and a rule.
fn table(version: &str, schemas: &str, way: Way, closed: bool, good: &[Value], bad: &[(Value, &str, &str)]) {
    let book = book(version, schemas, way, closed).unwrap();
    for value in good {
        assert_eq!(told(&book, value.clone()), [], "{value}");
    }
    for (value, path, rule) in bad {
        let told = told(&book, value.clone());
        assert!(told.contains(&((*path).to_owned(), (*rule).to_owned())), "{value}: {told:?}");
    }
}

#[test]
fn schemas_of_3_0_mean_what_they_mean_there() {
    let schemas = "
    T:
      type: object
      properties:
        price: {type: number, minimum: 0, exclusiveMinimum: true, maximum: 9, exclusiveMaximum: false}
        note: {type: string, nullable: true, maxLength: 3, example: x}
        kind: {nullable: true, allOf: [{$ref: '#/components/schemas/Kind'}]}
        small: {type: integer, format: int32}
        blob: {type: string, format: byte}
        other: {$ref: '#/components/schemas/Kind', maxLength: 0}
    Kind: {type: string, enum: [a, b]}
";
    table(
        "3.0.3",
        schemas,
        Way::Request,
        false,
        &[
            json!({"price": 0.1, "note": null, "kind": null, "small": -2147483648i64, "blob": "aGk=", "other": "a"}),
            json!({"price": 9, "note": "abc", "kind": "b", "unknown": 1}),
        ],
        &[
            (json!({"price": 0}), "/price", "exclusiveMinimum"),
            (json!({"price": 9.5}), "/price", "maximum"),
            (json!({"price": null}), "/price", "type"),
            (json!({"note": "abcd"}), "/note", "maxLength"),
            (json!({"small": 2147483648i64}), "/small", "maximum"),
            (json!({"blob": "a"}), "/blob", "format"),
            (json!({"other": "c"}), "/other", "enum"),
            (json!({"other": null}), "/other", "enum"),
        ],
    );
}

#[test]
fn schemas_of_3_1_are_json_schema_2020_12() {
    let schemas = "
    T:
      type: [object, 'null']
      required: [id]
      properties:
        id: {type: string, format: uuid}
        pair: {type: array, prefixItems: [{type: integer}, {type: string}], items: false}
        always: {const: 5}
        bound: {type: number, exclusiveMinimum: 1}
        text: {$ref: '#/components/schemas/Text', minLength: 2}
      if: {required: [pair]}
      then: {required: [bound]}
      dependentRequired: {always: [bound]}
    Text: {type: string, maxLength: 3}
";
    let id = "7d444840-9dc0-11d1-b245-5ffdce74fad2";
    table(
        "3.1.0",
        schemas,
        Way::Request,
        true,
        &[json!(null), json!({"id": id, "pair": [1, "x"], "bound": 1.5, "text": "abc"})],
        &[
            (json!({}), "/id", "required"),
            (json!({"id": "x"}), "/id", "format"),
            (json!({"id": id, "pair": [1, "x", 2]}), "/pair/2", "falseSchema"),
            (json!({"id": id, "pair": [1]}), "/bound", "required"),
            (json!({"id": id, "bound": 1}), "/bound", "exclusiveMinimum"),
            (json!({"id": id, "text": "a"}), "/text", "minLength"),
            (json!({"id": id, "text": "abcd"}), "/text", "maxLength"),
            (json!({"id": id, "extra": 1}), "/extra", "additionalProperties"),
        ],
    );
}

#[test]
fn what_is_composed_is_closed_as_a_whole() {
    let schemas = "
    T:
      allOf:
        - $ref: '#/components/schemas/Base'
        - type: object
          required: [name]
          properties:
            name: {type: string}
            owner: {$ref: '#/components/schemas/Base'}
            free: {type: object}
            open: {type: object, properties: {a: {type: integer}}, additionalProperties: true}
            list: {type: array, items: {type: object, properties: {n: {type: integer}}}}
      oneOf:
        - {properties: {cat: {type: boolean}}, required: [cat]}
        - {properties: {dog: {type: boolean}}, required: [dog]}
    Base: {type: object, properties: {id: {type: integer}, parent: {$ref: '#/components/schemas/T'}}}
";
    let good = [
        json!({"id": 1, "name": "n", "cat": true, "owner": {"id": 2}, "free": {"x": {"y": 1}}, "open": {"a": 1, "b": 2}}),
        json!({"name": "n", "dog": true, "list": [{"n": 1}], "parent": {"name": "p", "cat": false}}),
    ];
    let bad = [
        (json!({"name": "n", "cat": true, "x": 1}), "/x", "additionalProperties"),
        (json!({"name": "n", "cat": true, "owner": {"id": 2, "x": 1}}), "/owner/x", "additionalProperties"),
        (json!({"name": "n", "cat": true, "list": [{}, {"m": 1}]}), "/list/1/m", "additionalProperties"),
        (
            json!({"name": "n", "cat": true, "parent": {"name": "p", "cat": true, "y": 1}}),
            "/parent/y",
            "additionalProperties",
        ),
        (json!({"name": "n"}), "", "oneOf"),
    ];
    for version in ["3.0.3", "3.1.0"] {
        table(version, schemas, Way::Request, true, &good, &bad);
        let lax = book(version, schemas, Way::Request, false).unwrap();
        assert_eq!(
            told(&lax, json!({"name": "n", "cat": true, "x": 1, "owner": {"x": 1}})),
            [],
            "open where it is asked for"
        );
    }
}

#[test]
fn members_that_one_side_sets_are_not_taken_from_the_other_and_not_asked_of_it() {
    let schemas = "
    T:
      type: object
      required: [id, name, password]
      properties:
        id: {type: integer, readOnly: true}
        name: {type: string}
        password: {type: string, writeOnly: true}
        made: {$ref: '#/components/schemas/Moment'}
        not_yet: {not: {required: [id]}}
    Moment: {type: string, readOnly: true}
";
    for version in ["3.0.3", "3.1.0"] {
        let good = [json!({"name": "n", "password": "p"}), json!({"name": "n", "password": "p", "not_yet": {}})];
        let bad = [
            (json!({"name": "n", "password": "p", "id": 5}), "/id", "readOnly"),
            (json!({"name": "n", "password": "p", "made": "now"}), "/made", "readOnly"),
            (json!({"name": "n"}), "/password", "required"),
            (json!({"name": "n", "password": "p", "not_yet": {"id": 1}}), "/not_yet", "not"),
        ];
        table(version, schemas, Way::Request, true, &good, &bad);
        let good = [json!({"id": 1, "name": "n", "made": "now"})];
        let bad = [
            (json!({"id": 1, "name": "n", "password": "p"}), "/password", "writeOnly"),
            (json!({"name": "n"}), "/id", "required"),
        ];
        table(version, schemas, Way::Response, true, &good, &bad);
    }
}

#[test]
fn a_discriminator_names_the_schema_that_must_hold() {
    let schemas = "
    T:
      oneOf: [{$ref: '#/components/schemas/Cat'}, {$ref: '#/components/schemas/Dog'}]
      discriminator: {propertyName: kind, mapping: {kitty: Cat, puppy: '#/components/schemas/Dog'}}
    Cat: {type: object, required: [kind, lives], properties: {kind: {type: string}, lives: {type: integer}}}
    Dog: {type: object, required: [kind], properties: {kind: {type: string}, barks: {type: boolean}}}
";
    table(
        "3.0.3",
        schemas,
        Way::Request,
        true,
        &[json!({"kind": "kitty", "lives": 9}), json!({"kind": "Dog", "barks": true})],
        &[
            (json!({"kind": "kitty", "barks": true}), "/lives", "required"),
            (json!({"kind": "horse", "lives": 9}), "/kind", "enum"),
            (json!({"lives": 9}), "/kind", "required"),
            (json!({"kind": "Dog", "tail": true}), "/tail", "additionalProperties"),
        ],
    );
}

#[test]
fn a_schema_that_others_extend_is_the_one_that_is_named() {
    let schemas = "
    T:
      type: object
      required: [kind]
      properties: {kind: {type: string}}
      discriminator: {propertyName: kind}
    Cat: {allOf: [{$ref: '#/components/schemas/T'}, {type: object, required: [lives], properties: {lives: {type: integer}}}]}
    Lion: {allOf: [{$ref: '#/components/schemas/Cat'}, {type: object, properties: {mane: {type: boolean}}}]}
";
    table(
        "3.0.3",
        schemas,
        Way::Request,
        true,
        &[json!({"kind": "T"}), json!({"kind": "Cat", "lives": 9}), json!({"kind": "Lion", "lives": 1, "mane": true})],
        &[
            (json!({"kind": "Cat"}), "/lives", "required"),
            (json!({"kind": "Cat", "lives": 9, "mane": true}), "/mane", "additionalProperties"),
            (json!({"kind": "T", "lives": 9}), "/lives", "additionalProperties"),
            (json!({"kind": "Bird"}), "/kind", "enum"),
        ],
    );
}

#[test]
fn what_cannot_be_used_is_told_with_its_place() {
    for (schemas, pointer, message) in [
        ("    T: {$ref: 'other.yaml#/T'}", "/components/schemas/T/$ref", "leads out of the document"),
        ("    T: {$ref: 'http://x.test/T'}", "/components/schemas/T/$ref", "leads out of the document"),
        ("    T: {$ref: '#/components/schemas/U'}", "/components/schemas/T/$ref", "there is nothing at"),
        ("    T: {$ref: '#name'}", "/components/schemas/T/$ref", "names an anchor"),
        ("    T: {allOf: [{$ref: '#/components/schemas/T'}]}", "/components/schemas/T", "contains itself"),
        (
            "    T: {$ref: '#/components/schemas/U'}\n    U: {not: {$ref: '#/components/schemas/U'}}",
            "/components/schemas/U",
            "contains itself",
        ),
        ("    T: {type: string, pattern: '(?=x)y'}", "/components/schemas/T/pattern", "the pattern cannot be used"),
        (
            "    T: {type: object, properties: {a: {type: string, pattern: '(a'}}}",
            "/components/schemas/T/properties/a/pattern",
            "the pattern",
        ),
        ("    T: {type: strin}", "/components/schemas/T/type", "not a schema"),
        (
            "    T: {type: object, properties: {a: {minimum: x}}}",
            "/components/schemas/T/properties/a/minimum",
            "not a schema",
        ),
        ("    T: {$id: 'urn:x', type: object}", "/components/schemas/T/$id", "is not read here"),
        ("    T: [1]", "/components/schemas/T", "a schema is an object"),
        (
            "    T: {oneOf: [{$ref: '#/components/schemas/U'}], discriminator: {propertyName: k, mapping: {a: Z}}}\n    U: {}",
            "/components/schemas/T/discriminator/mapping/a",
            "there is no schema",
        ),
    ] {
        let faults = book("3.1.0", schemas, Way::Request, true).unwrap_err();
        assert!(
            faults.iter().any(|fault| fault.pointer == pointer && fault.message.contains(message)),
            "{schemas}: {faults:?}"
        );
    }
}

#[test]
fn nothing_of_a_value_is_repeated() {
    let schemas = "    T: {type: object, properties: {a: {type: string, maxLength: 2, pattern: '^x', enum: [x]}, b: {oneOf: [{type: integer}]}}}";
    let (book, entry) = book("3.1.0", schemas, Way::Request, true).unwrap();
    let told = book.judge(entry, &mut json!({"a": "s3cret-value", "b": "s3cret-value"}));
    assert!(told.len() >= 4);
    assert!(!format!("{told:?}").contains("s3cret"), "{told:?}");
}
