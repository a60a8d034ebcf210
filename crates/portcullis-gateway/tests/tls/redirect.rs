//! The plain listener beside TLS.

use std::net::SocketAddr;

use crate::support::client::{Client, Reply};
use crate::support::process::free_address;
use crate::{HOST, Scene};

fn scene() -> (Scene, SocketAddr) {
    let plain = free_address();
    (Scene::new(&format!("redirect = \"{plain}\"")), plain)
}

fn ask(plain: SocketAddr, request: &str) -> Reply {
    let mut connection = Client::at(plain, std::net::Ipv4Addr::LOCALHOST).connect();
    connection.send(request).unwrap();
    connection.reply_to(request.starts_with("HEAD")).unwrap()
}

#[test]
fn h6_http_is_shown_the_way_to_https_and_never_to_another_host() {
    let (scene, plain) = scene();
    for (request, location) in [
        (format!("GET /a/b?c=d HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), format!("https://{HOST}/a/b?c=d")),
        ("HEAD / HTTP/1.1\r\nHost: API.Example.Test:80\r\n\r\n".to_owned(), format!("https://{HOST}/")),
        ("GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), format!("https://{HOST}/x")),
        (format!("GET /x HTTP/1.1\r\nHost: {HOST}.evil.example\r\n\r\n"), format!("https://{HOST}/x")),
        ("GET http://evil.example/x HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), format!("https://{HOST}/x")),
        ("GET //evil.example/x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), format!("https://{HOST}//evil.example/x")),
        ("GET /x HTTP/1.0\r\n\r\n".to_owned(), format!("https://{HOST}/x")),
        (format!("GET http://{HOST}?c=d HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), format!("https://{HOST}/?c=d")),
        // What browsers send by themselves still finds its way.
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nCookie: theme=dark\r\n\r\n"), format!("https://{HOST}/")),
    ] {
        let reply = ask(plain, &request).expect(308);
        assert_eq!(reply.header("location"), Some(location.as_str()), "{request}");
        assert_eq!(reply.header("strict-transport-security"), None, "RFC 6797 section 7.2");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert!(reply.header("x-request-id").is_some() && reply.body.is_empty());
    }
    assert!(scene.origin.requests().is_empty(), "nothing passes here");
}

#[test]
fn h6_what_should_not_have_been_sent_in_the_clear_is_refused_not_redirected() {
    let (scene, plain) = scene();
    for request in [
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer a.b.c\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-API-Key: ptc_x\r\n\r\n"),
        format!("POST /auth/login HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!("DELETE /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
    ] {
        let reply = ask(plain, &request).refused(400, "Bad request");
        assert!(reply.text().contains("https://"), "{}", reply.text());
        assert_eq!((reply.header("location"), reply.header("strict-transport-security")), (None, None));
        assert_eq!(reply.header("connection"), Some("close"));
    }
    assert!(scene.origin.requests().is_empty());
}

#[test]
fn h6_the_rules_for_heads_hold_on_the_plain_listener_too() {
    let (_scene, plain) = scene();
    for request in ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "nonsense\r\n\r\n"] {
        let reply = ask(plain, request).refused(400, "Bad request");
        assert_eq!((reply.header("location"), reply.header("strict-transport-security")), (None, None));
    }
}
