//! Heads that two programs could read differently never reach an upstream (H7): what James Kettle's "HTTP/2: The Sequel is
//! Always Worse" found in the field, and what RFC 9113 section 8 says.

use super::raw::{GET, literal};
use super::*;

/// The pseudo-header fields of a POST and more.
fn post<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")], more].concat()
}

/// The stream is reset, or the whole connection closed; the upstream hears nothing.
fn is_refused(gateway: &Gateway, upstream: &Upstream, what: &str, send: impl FnOnce(&mut Raw)) {
    let mut raw = Raw::connect(gateway.address);
    send(&mut raw);
    let refused = raw.until(what, |frame| matches!(frame.kind, raw::RST_STREAM | raw::GOAWAY | raw::HEADERS));
    match refused.kind {
        raw::HEADERS => assert_ne!(refused.payload.first(), Some(&0x88), "{what} was answered with 200"),
        _ => assert!(matches!(refused.code(), 1 | 5 | 9), "{what}: {}", refused.code()),
    }
    assert!(upstream.is_quiet(), "{what} reached the upstream");
}

#[test]
fn h7_fields_of_the_connection_are_refused_because_an_http1_upstream_would_obey_them() {
    let upstream = Upstream::saying(OK);
    let gateway = gateway(&upstream);
    for (name, value) in raw::OF_THE_CONNECTION {
        is_refused(&gateway, &upstream, name, |raw| {
            raw.head(1, &post(&[(name, value)]), false);
            raw.frame(raw::DATA, raw::END_STREAM, 1, b"0\r\n\r\nGET /admin HTTP/1.1\r\nX: y");
        });
    }
}

#[test]
fn h7_names_values_and_methods_cannot_carry_lines_of_http1() {
    let upstream = Upstream::saying(OK);
    let gateway = gateway(&upstream);
    for (name, value) in raw::UNREADABLE {
        is_refused(&gateway, &upstream, &format!("{name}: {value}"), |raw| {
            raw.head(1, &post(&[(name, value)]), true);
        });
    }
    for pseudo in raw::UNREADABLE_PSEUDO {
        is_refused(&gateway, &upstream, &format!("{pseudo:?}"), |raw| {
            raw.head(1, &pseudo, true);
        });
    }
}

#[test]
fn h7_a_body_has_the_length_that_its_head_declares() {
    let upstream =
        Upstream::start(|served| while served.request().is_some_and(|request| request.ends_with("abcde")) {});
    let gateway = gateway(&upstream);
    for (length, body) in [("3", &b"abcdef"[..]), ("10", b"abc"), ("0", b"abc")] {
        let mut raw = Raw::connect(gateway.address);
        raw.head(1, &post(&[("content-length", length)]), false);
        raw.frame(raw::DATA, raw::END_STREAM, 1, body);
        assert_eq!(raw.reset(1), 1, "PROTOCOL_ERROR for {length}");
    }
    is_refused(&gateway, &upstream, "a length without a body", |raw| {
        raw.head(1, &post(&[("content-length", "3")]), true);
    });
    is_refused(&gateway, &upstream, "two lengths", |raw| {
        raw.head(1, &post(&[("content-length", "3"), ("content-length", "3")]), false);
    });
}

#[test]
fn h7_pseudo_header_fields_in_trailers_go_nowhere() {
    let upstream = Upstream::saying(OK);
    let gateway = gateway(&upstream);
    let mut raw = Raw::connect(gateway.address);
    raw.head(1, &post(&[("trailer", "x-sum")]), false);
    raw.frame(raw::DATA, 0, 1, b"abc");
    raw.head(1, &[(":path", "/admin"), (":authority", "b"), ("x-sum", "3")], true);
    raw.answered(1);
    let seen = upstream.received();
    assert!(seen.contains("x-sum: 3") && !seen.contains("admin") && !seen.contains("authority"), "{seen}");
}

#[test]
fn h7_what_was_matched_is_what_is_forwarded() {
    let upstream = Upstream::saying(OK);
    let gateway = gateway(&upstream);
    for (path, forwarded) in [("/a//b", "/a/b"), ("/%61?b=%61", "/a?b=%61"), ("/%7Eme", "/~me")] {
        let mut raw = Raw::connect(gateway.address);
        raw.head(1, &[GET[0], GET[1], (":path", path), GET[3]], true);
        raw.answered(1);
        let seen = upstream.received();
        assert!(seen.starts_with(&format!("GET {forwarded} HTTP/1.1\r\n")), "{path}: {seen}");
    }
    // The closed route stays closed however it is spelt.
    for path in ["/closed", "//closed", "/a/../closed", "/%63losed", "/closed#x", "/./closed"] {
        is_refused(&gateway, &upstream, path, |raw| {
            raw.head(1, &[GET[0], GET[1], (":path", path), GET[3]], true);
        });
    }
}

#[test]
fn websocket_and_tunnels_are_not_offered_over_http2() {
    let upstream = Upstream::saying(OK);
    let gateway = gateway(&upstream);
    let mut raw = Raw::connect(gateway.address);
    let settings = raw.until("SETTINGS", |frame| frame.kind == raw::SETTINGS && frame.flags == 0);
    let names: Vec<_> = settings.payload.chunks(6).map(|entry| u16::from_be_bytes([entry[0], entry[1]])).collect();
    assert!(!names.contains(&8), "SETTINGS_ENABLE_CONNECT_PROTOCOL is there: {names:?}");
    is_refused(&gateway, &upstream, "CONNECT", |raw| {
        raw.head(1, &[(":method", "CONNECT"), (":authority", "a:80")], true);
    });
}

#[test]
fn a_head_whose_names_are_empty_leaves_nothing_behind() {
    let upstream = Upstream::saying(OK);
    let gateway = gateway(&upstream);
    let mut raw = Raw::connect(gateway.address);
    let mut block = super::raw::block(&GET);
    for _ in 0..1_000 {
        literal(&mut block, 0x40, b"", b"");
    }
    raw.frame(raw::HEADERS, raw::END_HEADERS | raw::END_STREAM, 1, &block);
    assert!(raw.end().is_some_and(|code| code != 0), "CVE-2019-9516");
    assert!(upstream.is_quiet());
}
