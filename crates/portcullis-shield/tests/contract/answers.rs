//! What the upstream answers.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::support::shop;

const ORDER: &str = r#"[{"id":"7d444840-9dc0-11d1-b245-5ffdce74fad2","items":[{"productId":"7d444840-9dc0-11d1-b245-5ffdce74fad2","quantity":1}],"address":{"line1":"1 High Street","city":"Leeds","postcode":"LS1"},"country":"GB"}]"#;

fn told(request: (&Method, &str), status: u16, media: Option<&'static str>, body: &str) -> String {
    let mut headers = HeaderMap::new();
    if let Some(media) = media {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    }
    match shop().judge_answer(request, StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes()) {
        Ok(()) => "ok".to_owned(),
        Err(told) => format!("{} {}", told[0].path, told[0].rule),
    }
}

#[test]
fn h4_answers_have_a_status_a_media_type_and_a_content_that_are_declared() {
    let json = Some("application/json; charset=utf-8");
    let orders = (&Method::GET, "/v1/orders");
    let leaked = ORDER.replace("\"country\":\"GB\"", "\"country\":\"GB\",\"pin\":\"1234\"");
    let without_id = ORDER.replace("\"id\":\"7d444840-9dc0-11d1-b245-5ffdce74fad2\",", "");
    let more = ORDER.replace("\"country\":\"GB\"", "\"country\":\"GB\",\"added\":1");
    for (request, status, media, body, expected) in [
        (orders, 200, json, ORDER, "ok"),
        (orders, 200, json, more.as_str(), "ok"),
        (orders, 200, json, &leaked, "/0/pin writeOnly"),
        (orders, 200, json, &without_id, "/0/id required"),
        (orders, 200, json, "[{}]", "/0/id required"),
        (orders, 200, json, "{", " json"),
        (orders, 200, Some("text/html"), "<html>", "header.Content-Type content"),
        (orders, 200, None, ORDER, "header.Content-Type content"),
        (orders, 500, Some("text/plain"), "at Shop.java:12", "status unknown"),
        (orders, 404, Some("application/problem+json"), "{\"error\":\"x\"}", "ok"),
        (orders, 404, Some("application/problem+json"), "{}", "/error required"),
        ((&Method::HEAD, "/v1/orders"), 200, json, "", "ok"),
        ((&Method::POST, "/v1/orders"), 201, None, "", "ok"),
        ((&Method::POST, "/v1/orders"), 201, json, "{}", " content"),
        ((&Method::GET, "/v1/orders/7"), 503, None, "", "ok"),
        ((&Method::GET, "/v1/unknown"), 200, json, "{", "ok"),
    ] {
        assert_eq!(told(request, status, media, body), expected, "{request:?} {status} {body}");
    }
}
