//! What the upstream answers.

use std::io::Write as _;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use portcullis_core::Violation;
use portcullis_shield::openapi::{Answers, Mode, Terms, Unjudged, Watch};
use portcullis_shield::{Asking, Check, SeenResponse, Shape, Tunnels, Wants};

use crate::support::{compile, shop};

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

const JSON: (&str, &str) = ("content-type", "application/json");
const RANGE: (&str, &str) = ("content-range", "bytes 0-1/9");

fn asking<'a>(method: &'a Method, path: &'a str) -> Asking<'a> {
    Asking { method, path, query: None, principal: None, sees_others: false }
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// What is reported of an answer: by its head, or by its content, where that is looked at. `None`: it is known to have no
/// content.
fn reported(
    watch: &Watch,
    (method, path): (&Method, &str),
    status: u16,
    pairs: &[(&'static str, &'static str)],
    body: Option<&[u8]>,
) -> Vec<Violation> {
    let headers = headers(pairs);
    let status = StatusCode::from_u16(status).unwrap();
    let seen = SeenResponse { asking: asking(method, path), status, headers: &headers, is_empty: body.is_none() };
    match watch.begin(&seen, 64 * 1024) {
        Err(broken) => vec![broken],
        Ok(None) => Vec::new(),
        Ok(Some(watched)) => watched.judge(body.unwrap_or_default()),
    }
}

#[test]
fn h4_an_answer_that_only_is_reported_is_judged_as_one_that_may_be_refused() {
    let watch = Watch::new(Arc::new(shop()));
    let orders = (&Method::GET, "/v1/orders");
    let one = (&Method::GET, "/v1/orders/7");
    let (packed, leaked) = (gzip(ORDER.as_bytes()), ORDER.replace("\"country\":\"GB\"", "\"country\":\"s3cr3t\""));
    let (bomb, cut) = (gzip(&vec![b' '; 100_000]), &packed[..packed.len() - 4]);
    let gz = ("content-encoding", "gzip");
    for (request, status, pairs, body, expected) in [
        (orders, 200, &[JSON][..], Some(ORDER.as_bytes()), ""),
        (orders, 200, &[JSON], Some(b""), ""),
        (orders, 200, &[JSON], Some(leaked.as_bytes()), "/0/country enum"),
        (orders, 200, &[JSON], Some(b"[{\"id\":1,\"id\":2}]"), " json"),
        (orders, 200, &[("content-type", "text/html")], Some(b"<html>"), "header.Content-Type content"),
        (orders, 200, &[("content-type", "text/event-stream")], Some(b""), "header.Content-Type content"),
        (orders, 200, &[], Some(b"x"), "header.Content-Type content"),
        (orders, 200, &[JSON, JSON], Some(b"x"), "header.Content-Type content"),
        // Nothing came, and nothing is wrong with it.
        (orders, 200, &[], None, ""),
        (orders, 500, &[JSON], Some(b"{}"), "status unknown"),
        (orders, 500, &[], None, "status unknown"),
        (orders, 404, &[("content-type", "application/problem+json")], Some(b"{}"), "/error required"),
        // What is packed is unpacked, within the bound.
        (orders, 200, &[JSON, gz], Some(&packed), ""),
        (orders, 200, &[JSON, gz], Some(&gzip(leaked.as_bytes())), "/0/country enum"),
        (orders, 200, &[JSON, gz], Some(&gzip(b"")), " json"),
        (orders, 200, &[JSON, gz], Some(&bomb), "header.Content-Encoding notJudged"),
        (orders, 200, &[JSON, gz], Some(cut), "header.Content-Encoding notJudged"),
        (orders, 200, &[JSON, gz], Some(ORDER.as_bytes()), "header.Content-Encoding notJudged"),
        (orders, 200, &[JSON, gz, gz], Some(&packed), "header.Content-Encoding notJudged"),
        (orders, 200, &[JSON, ("content-encoding", "br")], Some(b"x"), "header.Content-Encoding notJudged"),
        (orders, 200, &[JSON, ("content-encoding", "identity")], Some(ORDER.as_bytes()), ""),
        // A part of an answer is none, whether or not errors are declared as a whole.
        (orders, 206, &[JSON, RANGE], Some(b"[{"), "status notJudged"),
        (orders, 226, &[JSON], Some(b"[{"), "status notJudged"),
        (orders, 304, &[], None, "status notJudged"),
        (one, 206, &[JSON, RANGE], Some(b"[{"), "status notJudged"),
        (one, 304, &[], None, ""),
        ((&Method::HEAD, "/v1/orders"), 200, &[("content-type", "text/html")], None, ""),
        ((&Method::HEAD, "/v1/orders"), 500, &[JSON], None, "status unknown"),
        ((&Method::POST, "/v1/orders"), 201, &[JSON], Some(b"{}"), " content"),
        ((&Method::POST, "/v1/orders"), 201, &[], None, ""),
        ((&Method::GET, "/v1/unknown"), 500, &[JSON], Some(b"{"), ""),
    ] {
        let told = reported(&watch, request, status, pairs, body);
        let places: Vec<String> = told.iter().map(|one| format!("{} {}", one.path, one.rule)).collect();
        assert_eq!(places.join(", "), expected, "{request:?} {status} {pairs:?}");
        assert!(!format!("{told:?}").contains("s3cr3t"), "{told:?}");
    }
    for why in [Unjudged::TooLarge, Unjudged::NoRoom] {
        let told = Violation::from(why);
        assert_eq!((&*told.path, &*told.rule), ("", "notJudged"));
        assert!(!told.message.is_empty());
    }
}

#[test]
fn h4_an_answer_without_content_needs_no_media_type_however_it_says_so() {
    let answers = Answers::new(Arc::new(shop()));
    let wants = |method, path, status, is_empty| {
        let headers = HeaderMap::new();
        let status = StatusCode::from_u16(status).unwrap();
        answers.wants(&SeenResponse { asking: asking(method, path), status, headers: &headers, is_empty })
    };
    // The end of the stream stands in its head, and no length (HTTP/2).
    assert_eq!(wants(&Method::POST, "/v1/orders", 201, true), Ok(Wants::Nothing));
    assert_eq!(wants(&Method::GET, "/v1/orders", 200, true), Ok(Wants::Nothing));
    assert!(wants(&Method::GET, "/v1/orders", 200, false).is_err());
    assert!(wants(&Method::GET, "/v1/orders", 500, true).is_err());
}

#[test]
fn h4_a_tunnel_is_opened_where_a_switch_of_protocols_is_declared() {
    const DECLARED: &str = "responses: {\"101\": {description: a socket}, \"200\": {description: mine}}";
    const MINE: &str = "get: {responses: {\"200\": {description: mine}}}";
    let socket = crate::support::SHOP.replacen(MINE, &format!("get: {{{DECLARED}}}"), 1);
    let class = socket.replace("\"101\"", "1XX");
    let report = || Terms { requests: Mode::Report, ..Terms::default() };
    let get = Method::GET;
    for (document, path, enforced, only_reported, by_answers) in [
        (crate::support::SHOP, "/v1/orders/mine", Tunnels::Closed, Tunnels::Reported, false),
        // `default` stands for mistakes.
        (crate::support::SHOP, "/v1/orders/7", Tunnels::Closed, Tunnels::Reported, false),
        (socket.as_str(), "/v1/orders/mine", Tunnels::Open, Tunnels::Open, true),
        (class.as_str(), "/v1/orders/mine", Tunnels::Open, Tunnels::Open, true),
        (socket.as_str(), "/v1/orders", Tunnels::Closed, Tunnels::Reported, false),
    ] {
        let contract = compile(document, Terms::default());
        assert_eq!(contract.tunnel(&get, path), enforced, "{path}");
        assert_eq!(compile(document, report()).tunnel(&get, path), only_reported, "{path}");
        assert_eq!(Answers::new(Arc::new(contract)).lets_tunnel(&asking(&get, path)), by_answers, "{path}");
    }
    // What no operation covers has passed, and nothing is declared of it.
    assert_eq!(shop().tunnel(&get, "/v1/unknown"), Tunnels::Open);
}
