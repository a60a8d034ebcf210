//! What a route asks of a request's content: what the checks get to see, and what comes of what they say.

use std::sync::Arc;

use http::{HeaderValue, Request};
use portcullis::{Admittance, Otherwise, Pass, RouteRule, Unexamined};
use portcullis_auth::access::Requirement;
use portcullis_core::{EventKind, Reason, RequestId, Violation};
use portcullis_shield::{Check, Seen};

use crate::house::*;

/// Reads what it is to do in the body.
#[derive(Debug)]
struct Obeys;

impl Check for Obeys {
    fn before(&self, seen: &Seen<'_>) -> Result<(), Reason> {
        if seen.headers.contains_key("x-early") { Err(Reason::InvalidBody("early")) } else { Ok(()) }
    }

    fn check(&self, seen: &Seen<'_>, body: &[u8]) -> Result<(), Reason> {
        assert_eq!((seen.path, seen.query), ("/notes/a", Some("b=%2e")), "as it is forwarded");
        assert_eq!(seen.principal.map(|who| who.subject()), Some("the-editor"));
        assert!(seen.headers.contains_key("authorization"), "the headers as they came");
        match body {
            b"refuse" => Err(Reason::InvalidBody("as asked")),
            b"report" => {
                for _ in 0..100 {
                    let place = Violation { path: "/x".into(), rule: "r".into(), message: "m".into() };
                    seen.reported.note(place);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn notes() -> (House, Pass) {
    let notes = RouteRule { checks: vec![Arc::new(Obeys)], ..route("POST /notes/{id}", Requirement::Authenticated) };
    let house = house_with(vec![notes, route("GET /free", Requirement::Public)], Vec::new(), Otherwise::Refuse);
    let pass = passed(house.ask("POST /notes//%61?b=%2e", &[house.bearer("editor")]));
    (house, pass)
}

fn request(house: &House, extra: &[(&'static str, &'static str)]) -> Request<()> {
    let mut request = Request::builder().method("POST").uri("/notes//%61?b=%2e").body(()).unwrap();
    request.headers_mut().insert("authorization", house.bearer("editor").1.parse().unwrap());
    for (name, value) in extra {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    request
}

fn unexamined(pass: &Pass, request: Request<()>) -> Request<Unexamined<()>> {
    match pass.admit(request).unwrap() {
        Admittance::Unexamined(request) => request,
        Admittance::Free(_) => panic!("nobody has seen it"),
    }
}

#[test]
fn h4_a_body_that_a_check_wants_to_see_cannot_be_forwarded_before() {
    let (house, pass) = notes();
    let chunked = [("transfer-encoding", "chunked"), ("trailer", "x-sum")];
    let whole = house.gate.examine(
        &pass,
        unexamined(&pass, request(&house, &chunked)),
        "good".into(),
        RequestId::from_bits(7),
        NOW,
    );
    let whole = whole.unwrap();
    assert!(whole.body().is_here());
    assert_eq!(whole.headers()["content-length"], "4");
    assert!(!whole.headers().contains_key("trailer"));
    assert_eq!(house.records.kinds(), []);
    // Whatever is asked of no content stays as it is.
    let free = passed(house.ask("GET /free", &[]));
    assert!(matches!(free.admit(Request::new(())), Ok(Admittance::Free(request)) if !request.body().is_here()));
}

#[test]
fn h4_what_a_check_refuses_is_refused_and_what_it_only_reports_is_recorded_once() {
    let (house, pass) = notes();
    let ask = |body: &'static str| {
        let request = unexamined(&pass, request(&house, &[]));
        house.gate.examine(&pass, request, body.into(), RequestId::from_bits(7), NOW).map(|_| ())
    };
    assert_eq!(ask("refuse"), Err(Reason::InvalidBody("as asked")));
    assert_eq!(ask("report"), Ok(()));
    assert_eq!(house.records.kinds(), [EventKind::ContentReported]);
    assert_eq!(house.records.limits(EventKind::ContentReported), [(String::new(), Some("validation_failed"))]);
}

#[test]
fn h4_the_head_alone_can_be_refused_before_anything_of_the_body_is_asked_for() {
    let (house, pass) = notes();
    for (header, refused) in [
        (("x-early", "1"), Reason::InvalidBody("early")),
        (("content-length", "101"), Reason::BodyTooLarge(100)),
        (("content-encoding", "br"), Reason::UnsupportedCoding { takes_gzip: false }),
    ] {
        assert_eq!(pass.admit(request(&house, &[header])).unwrap_err(), refused);
    }
    let mut twice = request(&house, &[("content-encoding", "identity")]);
    twice.headers_mut().append("content-encoding", HeaderValue::from_static("gzip"));
    assert!(pass.admit(twice).is_err());
}

#[test]
fn h5_json_is_bounded_more_narrowly_than_the_rest() {
    let rule = RouteRule { max_json: 50, ..route("POST /notes", Requirement::Public) };
    let house = house_with(vec![rule], Vec::new(), Otherwise::Refuse);
    let pass = passed(house.ask("POST /notes", &[]));
    let ask = |kind: &str, length: &str| {
        let request = Request::builder().header("content-type", kind).header("content-length", length);
        pass.admit(request.body(()).unwrap()).map(|_| ())
    };
    for kind in ["application/json", "Application/Problem+JSON; charset=utf-8", "application/json, text/plain"] {
        assert_eq!(ask(kind, "50"), Ok(()));
        assert_eq!(ask(kind, "51"), Err(Reason::BodyTooLarge(50)), "{kind}");
    }
    assert_eq!(ask("text/plain", "100"), Ok(()));
    assert_eq!(ask("text/plain", "101"), Err(Reason::BodyTooLarge(100)));
}
