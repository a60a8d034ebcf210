//! Heads of requests.

use super::{Crossings, HOST, ways};
use crate::support::honest::Version;

#[test]
fn h7_what_is_about_one_hop_goes_no_further_by_any_crossing() {
    let crossings = Crossings::echo();
    for way in ways() {
        let client = crossings.client(way);
        let path = way.path("/hop");
        let mut request = client.post(&path).header("Host", HOST).header("TE", "trailers").header("X-Kept", "yes");
        for (name, value) in [
            ("Proxy-Authorization", "Basic eDp5"),
            ("X-HTTP-Method-Override", "DELETE"),
            ("X-Original-URL", "/admin"),
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Forwarded-Proto", "https"),
            ("Forwarded", "for=6.6.6.6"),
            ("X_Forwarded_For", "6.6.6.6"),
            ("X-User-Id", "root"),
            ("X_User_Role", "admin"),
            ("Content_Length", "3"),
            ("Transfer.Encoding", "chunked"),
        ] {
            request = request.header(name, value);
        }
        if way.client == Version::One {
            for (name, value) in [
                ("Connection", "close, X-Secret, te"),
                ("X-Secret", "1"),
                ("Keep-Alive", "timeout=5"),
                ("Proxy-Connection", "keep-alive"),
                ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
            ] {
                request = request.header(name, value);
            }
        }
        request.body(b"hello").send().expect(200);
        let seen = crossings.seen(way);
        for name in [
            "proxy-authorization",
            "x-http-method-override",
            "x-original-url",
            "forwarded",
            "x-user-id",
            "x-user-role",
            "x-secret",
            "keep-alive",
            "proxy-connection",
            "http2-settings",
            "upgrade",
            "transfer-encoding",
        ] {
            assert!(seen.twins(name).is_empty(), "{way:?}: {name} in {:?}", seen.headers);
        }
        let address = client.address.to_string();
        let via = if way.client == Version::One { "1.1 portcullis" } else { "2.0 portcullis" };
        for (name, value) in [
            ("x-forwarded-for", address.as_str()),
            ("x-forwarded-host", HOST),
            ("x-forwarded-proto", "http"),
            ("x-kept", "yes"),
            ("te", "trailers"),
            ("via", via),
            ("content-length", "5"),
        ] {
            assert_eq!(seen.header(name), Some(value), "{way:?}: {name} in {:?}", seen.headers);
            assert_eq!(seen.twins(name).len(), 1, "{way:?}: {name} in {:?}", seen.headers);
        }
        assert_eq!((seen.method.as_str(), seen.body.as_slice()), ("POST", &b"hello"[..]), "{way:?}");
        let named = ["host", ":authority", ":scheme", "connection"].map(|name| seen.header(name));
        let expected = match way.upstream {
            Version::One => [Some(HOST), None, None, Some("te")],
            // What HTTP/1.1 says in these fields HTTP/2 has no fields for (RFC 9113 sections 8.2.2 and 8.3.1).
            Version::Two => [None, Some(HOST), Some("http"), None],
        };
        assert_eq!(named, expected, "{way:?}");
        // Who does not take trailers is not said to.
        client.get(&path).send().expect(200);
        let seen = crossings.seen(way);
        assert_eq!((seen.header("te"), seen.header("connection")), (None, None), "{way:?}");
    }
}

#[test]
fn h7_what_was_matched_is_what_is_forwarded_by_any_crossing() {
    let crossings = Crossings::echo();
    for way in ways() {
        for (sent, forwarded) in [
            ("/a//b", "/a/b"),
            ("/%61/%7Eme?b=%61&c", "/a/~me?b=%61&c"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/x?a={b}|c", "/x?a=%7Bb%7D%7Cc"),
            ("/x?", "/x?"),
        ] {
            crossings.client(way).get(&way.path(sent)).send().expect(200);
            assert_eq!(crossings.seen(way).target, way.path(forwarded), "{way:?}");
        }
        let before = crossings.count();
        for sent in ["/../two/x", "/%2e%2e/two", "/..%2ftwo", "/a;x=1", "/a%00", "/a%5cb", "/./x"] {
            crossings.client(way).get(&way.path(sent)).send().expect(400);
        }
        assert_eq!(crossings.count(), before, "{way:?}");
        crossings.client(way).get("/renamed/x").header("Host", HOST).send().expect(200);
        let seen = crossings.http2.last();
        assert_eq!(seen.target, "/base/renamed/x");
        let named = [":authority", "host", "x-forwarded-host"].map(|name| seen.header(name));
        assert_eq!(named, [Some("internal.example:81"), None, Some(HOST)], "{way:?}");
    }
}

#[test]
fn h7_an_absolute_target_becomes_one_authority() {
    let crossings = Crossings::echo();
    for path in ["/one/x", "/two/x"] {
        let mut connection = crossings.gateway.client().connect();
        connection.send(format!("GET http://{HOST}{path}?a=b HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
        assert_eq!(connection.reply().unwrap().status, 200);
        connection.send(format!("GET http://other.example{path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
        assert_eq!(connection.reply().unwrap().status, 400, "{path}");
    }
    let seen = crossings.http2.last();
    assert_eq!((seen.target.as_str(), seen.header(":authority")), ("/two/x?a=b", Some(HOST)));
    assert_eq!(crossings.count(), (1, 1));
    // A client of HTTP/1.0 may know no host; an authority there is all the same.
    let mut connection = crossings.gateway.client().connect();
    connection.send("GET /two/old HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(connection.reply().unwrap().status, 200);
    let seen = crossings.http2.last();
    let upstream = crossings.http2.address.to_string();
    assert_eq!((seen.header(":authority"), seen.header("via")), (Some(upstream.as_str()), Some("1.0 portcullis")));
}

#[test]
fn h7_cookies_that_come_in_crumbs_are_read_as_one_field_by_every_upstream() {
    let crossings = Crossings::echo();
    for way in ways() {
        let client = crossings.client(way);
        let path = way.path("/cookies");
        let crumbs = ["a=1", "portcullis_admin=secret", "b=2; c=3", "portcullis_admin=secret; d=\"4\""];
        let request = crumbs.iter().fold(client.get(&path), |request, crumb| request.header("Cookie", crumb));
        request.send().expect(200);
        let seen = crossings.seen(way);
        assert_eq!(seen.headers("cookie").join("; "), "a=1; b=2; c=3; d=\"4\"", "{way:?}");
        // Somebody who sends several fields by HTTP/1.1 is nobody's client, and what is forwarded is what came.
        let fields = if way.client == Version::One { 3 } else { 1 };
        assert_eq!(seen.headers("cookie").len(), fields, "{way:?}: {:?}", seen.headers);
        client.get(&path).header("Cookie", "portcullis_admin=secret").send().expect(200);
        assert_eq!(crossings.seen(way).headers("cookie"), [""; 0], "{way:?}");
    }
}

#[test]
fn h7_an_upgrade_does_not_cross_to_http2() {
    let crossings = Crossings::echo();
    for (protocol, more) in [("websocket", "Sec-WebSocket-Version: 13\r\n"), ("h2c", "HTTP2-Settings: AAMAAABk\r\n")] {
        let mut connection = crossings.gateway.client().connect();
        let smuggled = format!("GET /two/smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        connection
            .send(format!(
                "GET /two/up HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\n\
                 {more}\r\n{smuggled}"
            ))
            .unwrap();
        let reply = connection.reply().unwrap();
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")), "{protocol}");
        assert_eq!(reply.header("upgrade"), None);
        // What follows is in the other protocol, if in any.
        assert!(connection.until_close(std::time::Duration::from_secs(5)).unwrap().is_empty());
        let seen = crossings.http2.last();
        assert_eq!(seen.target, "/two/up");
        for name in ["upgrade", "connection", "http2-settings"] {
            assert!(seen.twins(name).is_empty(), "{name}: {:?}", seen.headers);
        }
    }
}
