//! Bodies by media type.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{JSON, compile, reporting, shop, told};
use portcullis_shield::openapi::{Terms, Unknown};

fn order() -> Value {
    json!({
        "items": [{"productId": "7d444840-9dc0-11d1-b245-5ffdce74fad2", "quantity": 1}],
        "address": {"line1": "1 High Street", "city": "Leeds", "postcode": "LS1 4AP"},
        "country": "GB", "promo": "SPRING24", "note": null,
    })
}

/// What is told of the order with one member changed.
fn changed(pointer: &str, value: Value) -> Vec<String> {
    let mut order = order();
    match order.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            order.pointer_mut(parent).unwrap()[name] = value;
        }
    }
    told(&shop(), "POST /v1/orders", &[JSON], order.to_string().as_bytes())
}

#[test]
fn h4_the_order_is_judged_member_by_member() {
    assert_eq!(told(&shop(), "POST /v1/orders", &[JSON], order().to_string().as_bytes()), ["ok"]);
    let item = order()["items"][0].clone();
    for (pointer, value, expected) in [
        ("/items", json!([]), "/items minItems"),
        ("/items", Value::Array(vec![item.clone(); 50]), "ok"),
        ("/items", Value::Array(vec![item; 51]), "/items maxItems"),
        ("/items/0/productId", json!("x"), "/items/0/productId format"),
        ("/items/0/quantity", json!(0), "/items/0/quantity minimum"),
        ("/items/0/quantity", json!(101), "/items/0/quantity maximum"),
        ("/items/0/quantity", json!(1.5), "/items/0/quantity type"),
        ("/items/0/quantity", json!("1"), "/items/0/quantity type"),
        ("/items/0/price", json!(0), "/items/0/price additionalProperties"),
        ("/address/line1", json!("1 Hi"), "/address/line1 minLength"),
        ("/address/city", json!("L"), "/address/city minLength"),
        ("/address/postcode", json!("ls1"), "/address/postcode pattern"),
        ("/country", json!("FR"), "/country enum"),
        ("/promo", json!("x"), "/promo pattern"),
        ("/id", json!("7d444840-9dc0-11d1-b245-5ffdce74fad2"), "/id readOnly"),
        ("/isAdmin", json!(true), "/isAdmin additionalProperties"),
        ("/pin", json!("1234"), "ok"),
    ] {
        assert_eq!(changed(pointer, value)[0], expected, "{pointer}");
    }
    assert_eq!(told(&shop(), "POST /v1/orders", &[JSON], b"{}").len(), 3, "every member that is missing is told");
}

#[test]
fn h4_a_body_is_what_its_operation_takes_or_nothing() {
    let shop = shop();
    let order = order().to_string();
    for (request, headers, body, expected) in [
        ("POST /v1/orders", vec![JSON], "", " required"),
        ("POST /v1/orders", vec![], order.as_str(), "unsupported_media_type"),
        ("POST /v1/orders", vec![("content-type", "text/plain")], &order, "unsupported_media_type"),
        ("POST /v1/orders", vec![JSON, JSON], &order, "unsupported_media_type"),
        ("POST /v1/orders", vec![("content-type", "application/json, text/plain")], &order, "unsupported_media_type"),
        (
            "POST /v1/orders",
            vec![("content-type", "application/json; charset=utf-16")],
            &order,
            "unsupported_media_type",
        ),
        ("POST /v1/orders", vec![("content-type", "Application/JSON; charset=UTF-8")], &order, "ok"),
        // Whoever shows a body has taken it out of its coding, and lets none come in any other.
        ("POST /v1/orders", vec![JSON, ("content-encoding", "gzip")], &order, "ok"),
        ("POST /v1/orders", vec![JSON, ("content-encoding", "gzip")], "\u{1f}\u{8}", "invalid_body"),
        ("POST /v1/orders", vec![JSON], "{", "invalid_body"),
        ("POST /v1/orders", vec![JSON], "{\"items\":1,\"items\":2}", "invalid_body"),
        ("GET /v1/orders", vec![JSON], "{}", " requestBody"),
        ("POST /v1/forms", vec![("content-type", "image/png")], "anything", "ok"),
        ("POST /v1/forms", vec![("content-type", "application/octet-stream")], "anything", "ok"),
        ("POST /v1/forms", vec![("content-type", "application/xml")], "<a/>", "unsupported_media_type"),
        ("POST /v1/forms", vec![("content-type", "text/plain")], "abcd", "ok"),
        ("POST /v1/forms", vec![("content-type", "text/plain")], "abcde", " maxLength"),
        ("POST /v1/forms", vec![], "", "ok"),
    ] {
        assert_eq!(told(&shop, request, &headers, body.as_bytes())[0], expected, "{request} {headers:?} {body}");
    }
    assert_eq!(told(&shop, "POST /v1/forms", &[("content-type", "text/plain")], b"\xff")[0], "invalid_body");
}

#[test]
fn h4_a_form_is_the_object_that_it_makes() {
    let shop = shop();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for (body, expected) in [
        ("name=Ann+Lee&age=7", "ok"),
        ("name=Ann&colours=red,blue", "ok"),
        ("name=Ann&colours=red,green", "/colours/1 enum"),
        ("name=Ann&age=x", "/age type"),
        ("name=Ann&age=-1", "/age minimum"),
        ("age=1", "/name required"),
        ("name=Ann&name=Bob", "/name duplicate"),
        ("name=Ann&role=admin", "/role additionalProperties"),
        ("name=Ann&colours[]=red", "/* additionalProperties"),
        ("name=A%", "/name encoding"),
        ("n%=A", "invalid_body"),
    ] {
        assert_eq!(told(&shop, "POST /v1/forms", &form, body.as_bytes())[0], expected, "{body}");
    }
}

#[test]
fn h4_a_form_of_parts_is_checked_but_for_what_is_inside_of_files() {
    let shop = shop();
    let multipart = [("content-type", "multipart/form-data; boundary=XX")];
    let name = "Content-Disposition: form-data; name=\"name\"\r\n\r\nAnn";
    let photo = |media: &str, bytes: &str| {
        format!(
            "Content-Disposition: form-data; name=\"photo\"; filename=\"a\"\r\nContent-Type: {media}\r\n\r\n{bytes}"
        )
    };
    let meta = |value: &str| {
        format!("Content-Disposition: form-data; name=\"meta\"\r\nContent-Type: application/json\r\n\r\n{value}")
    };
    for (parts, expected) in [
        (vec![name.to_owned()], "ok"),
        (vec![name.to_owned(), photo("image/png", "bytes")], "ok"),
        (vec![name.to_owned(), photo("image/png", "more than ten")], "/photo maxLength"),
        (vec![name.to_owned(), photo("text/html", "bytes")], "/photo contentType"),
        (vec![name.to_owned(), photo("image/png", ""), photo("image/png", "")], "/photo duplicate"),
        (vec![name.to_owned(), meta("{\"a\":1}")], "ok"),
        (vec![name.to_owned(), meta("{\"a\":\"x\"}")], "/meta/a type"),
        (vec![name.to_owned(), meta("{\"a\":1}{}")], "/meta json"),
        (
            vec![name.to_owned(), "Content-Disposition: form-data; name=\"role\"\r\n\r\nadmin".to_owned()],
            "/role additionalProperties",
        ),
        (vec![photo("image/png", "bytes")], "/name required"),
        (vec!["Content-Disposition: form-data; name=name\r\n\r\nAnn".to_owned()], "invalid_body"),
    ] {
        let body: String = parts.iter().map(|part| format!("--XX\r\n{part}\r\n")).collect::<String>() + "--XX--\r\n";
        assert_eq!(told(&shop, "POST /v1/forms", &multipart, body.as_bytes())[0], expected, "{body}");
    }
}

#[test]
fn h4_what_the_document_does_not_name_is_refused_or_reported_or_passes_by_choice() {
    let mut unknown = order();
    unknown["isAdmin"] = true.into();
    let body = unknown.to_string();
    let terms = |choice| Terms {
        unknown_paths: choice,
        unknown_parameters: choice,
        unknown_members: choice,
        ..Terms::default()
    };
    for (choice, path, query, member) in [
        (Unknown::Refuse, "not_found", "query.x unknown", "/isAdmin additionalProperties"),
        (Unknown::Report, "? path unknown", "? query.x unknown", "? /isAdmin additionalProperties"),
        (Unknown::Allow, "ok", "ok", "ok"),
    ] {
        let shop = compile(crate::support::SHOP, terms(choice));
        assert_eq!(told(&shop, "GET /v1/nothing", &[], b""), [path], "{choice:?}");
        assert_eq!(
            told(&shop, "PUT /v1/orders", &[], b""),
            [path],
            "a method that is not declared is as a path that is not"
        );
        assert_eq!(told(&shop, "GET /v1/orders?x=1", &[], b""), [query], "{choice:?}");
        assert_eq!(told(&shop, "POST /v1/orders", &[JSON], body.as_bytes()), [member], "{choice:?}");
        assert_eq!(
            told(&shop, "GET /v1/orders?limit=0", &[], b""),
            ["query.limit minimum"],
            "what is known is always judged"
        );
    }
}

#[test]
fn h4_a_contract_that_only_reports_lets_everything_pass_and_says_what_it_would_refuse() {
    let shop = compile(crate::support::SHOP, reporting());
    for (request, headers, body, expected) in [
        ("GET /v1/nothing", vec![], "", "? path unknown"),
        ("GET /v1/orders?limit=0", vec![], "", "? query.limit minimum"),
        ("POST /v1/orders", vec![JSON], "{", "?  invalid_body"),
        ("POST /v1/orders", vec![("content-type", "text/plain")], "{", "?  unsupported_media_type"),
        ("POST /v1/orders", vec![JSON], "{\"x\":1}", "? /items required"),
    ] {
        let told = told(&shop, request, &headers, body.as_bytes());
        assert!(
            told.contains(&expected.to_owned()) && told.iter().all(|one| one.starts_with('?')),
            "{request}: {told:?}"
        );
    }
}

proptest! {
    #[test]
    fn h4_no_body_and_no_query_makes_a_contract_panic(body in prop::collection::vec(any::<u8>(), 0..200), query in "[a-z\\[\\]%=&,|+0-9]{0,60}") {
        thread_local! { static SHOP: portcullis_shield::openapi::Contract = shop(); }
        SHOP.with(|shop| {
            for media in ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"] {
                told(shop, "POST /v1/forms", &[("content-type", media)], &body);
                told(shop, "POST /v1/orders", &[("content-type", media)], &body);
            }
            told(shop, &format!("GET /v1/orders?{query}"), &[], b"");
            told(shop, &format!("GET /v1/orders?filter{query}"), &[], b"");
        });
    }
}
