//! Heads of HTTP/2 that are none of HTTP/1.1 reach no upstream, whichever version that speaks: behind an API that is asked by
//! HTTP/2 may stand one that is asked by HTTP/1.1.

use super::HOST;
use crate::support::honest::{VERSIONS, Version};
use crate::support::http2::{self as raw, GET, OF_THE_CONNECTION, Raw, UNREADABLE, UNREADABLE_PSEUDO};
use crate::support::origin::Origin;
use crate::support::origin_http2::Http2Origin;
use crate::support::process::{Gateway, Setup};

/// A gate behind which every path is of an upstream that speaks this version.
fn before(origin: &Origin, http2: &Http2Origin, upstream: Version) -> Gateway {
    let upstream = if upstream == Version::One { "default" } else { "two" };
    Setup::upstream(&format!("http://{}", origin.address))
        .identity("enabled = false")
        .with(&format!(
            "[client]\nh2c = true\n\n[limits]\npreset = \"none\"\n\n\
             [[upstreams]]\nname = \"two\"\naddresses = [\"{}\"]\nhttp2 = true\n\n\
             [[route]]\nmatch = \"/**\"\naccess = \"public\"\nupstream = \"{upstream}\"\n",
            http2.address
        ))
        .start()
}

/// Fails unless the stream is reset, the connection closed or the request refused by an answer.
#[track_caller]
fn is_refused(gateway: &Gateway, what: &str, send: impl FnOnce(&mut Raw)) {
    let mut raw = Raw::connect(gateway.listen);
    send(&mut raw);
    let refused = raw.until(what, |frame| matches!(frame.kind, raw::RST_STREAM | raw::GOAWAY | raw::HEADERS));
    match refused.kind {
        raw::HEADERS => assert_ne!(refused.payload.first(), Some(&0x88), "{what} was answered with 200"),
        _ => assert!(matches!(refused.code(), 1 | 5 | 9), "{what}: {}", refused.code()),
    }
}

#[test]
fn h7_heads_that_are_other_requests_by_http1_reach_no_upstream_of_either_version() {
    for upstream in VERSIONS {
        let origin = Origin::echo();
        let http2 = Http2Origin::before(&origin);
        let gateway = before(&origin, &http2, upstream);
        let post = [(":method", "POST"), GET[1], GET[2], (":authority", "a")];
        for field in OF_THE_CONNECTION {
            is_refused(&gateway, &format!("{field:?}"), |raw| {
                raw.head(1, &[&post[..], &[field]].concat(), false);
                raw.frame(raw::DATA, raw::END_STREAM, 1, b"0\r\n\r\nGET /admin HTTP/1.1\r\nX: y");
            });
        }
        for field in UNREADABLE {
            is_refused(&gateway, &format!("{field:?}"), |raw| {
                raw.head(1, &[&post[..], &[field]].concat(), true);
            });
        }
        for head in UNREADABLE_PSEUDO {
            is_refused(&gateway, &format!("{head:?}"), |raw| {
                raw.head(1, &head, true);
            });
        }
        for (what, fields) in [
            ("a length and no body", &[("content-length", "3")][..]),
            ("two lengths", &[("content-length", "3"), ("content-length", "4")]),
            ("two types", &[("content-type", "a/b"), ("content-type", "c/d")]),
            ("two hosts", &[("host", "a"), ("host", "a")]),
            ("another host", &[("host", "a:80")]),
        ] {
            is_refused(&gateway, what, |raw| {
                raw.head(1, &[&post[..], fields].concat(), true);
            });
        }
        for authority in ["a b", "a:99999", "a,b", "[::1", "a:", ":80", "a/../b", "a?b", "a#b", "a@b:c"] {
            is_refused(&gateway, authority, |raw| {
                raw.head(1, &[GET[0], GET[1], GET[2], (":authority", authority)], true);
            });
        }
        assert!(origin.requests().is_empty(), "{upstream:?}: {:?}", origin.requests());
        assert_eq!((http2.requests().len(), http2.broken()), (0, 0), "{upstream:?}: {:?}", http2.requests());
        let bytes: usize = origin.connections().iter().map(|connection| connection.bytes.len()).sum();
        assert_eq!(bytes, 0, "{upstream:?}: something was sent");
        // Neither is the door simply shut, nor is a connection of the upstream's out of step.
        let mut raw = Raw::connect(gateway.listen);
        raw.head(1, &[GET[0], GET[1], (":path", "/next"), (":authority", HOST)], true);
        assert_eq!(raw.answered(1).payload.first(), Some(&0x88));
        assert_eq!((origin.requests().len(), origin.last().target.as_str()), (1, "/next"), "{upstream:?}");
    }
}
