//! What becomes of a credential behind the gate, and of the names of our cookies (T6).

use crate::support::PROJECT_ROUTES;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

use super::person::{Held, Person};

const PUBLIC_URL: &str = "https://api.example.com";

/// Somebody with everything that can be presented, and how it is written into a head: one way a line.
struct Ways {
    secrets: Vec<(&'static str, String)>,
    ways: Vec<(&'static str, Vec<(&'static str, String)>)>,
}

fn ways(gateway: &Gateway) -> Ways {
    let ann = Person::new(gateway, "ann");
    let value = |pair: &str| pair.split_once('=').unwrap().1.to_owned();
    let cookies = format!("a=1; {}; {}; b=2", ann.cookie, ann.refresh_cookie);
    let secrets = vec![
        ("the access token", ann.access.clone()),
        ("the refresh token", ann.refresh.clone()),
        ("the access token's cookie", value(&ann.cookie)),
        ("the refresh token's cookie", value(&ann.refresh_cookie)),
        ("the session's cookie", value(&ann.session)),
        ("the API key", ann.key.clone()),
    ];
    let bearer = |secret: &str| ("Authorization", format!("Bearer {secret}"));
    let cookie = |text: &str| ("Cookie", text.to_owned());
    let ways = vec![
        ("a bearer token", vec![ann.header(Held::Bearer), cookie("a=1; b=2")]),
        ("a token in cookies", vec![cookie(&cookies)]),
        ("a session's cookie", vec![cookie(&format!("a=1; b=2; {}", ann.session))]),
        ("a token's and a session's cookie", vec![cookie(&cookies), cookie(&ann.session)]),
        ("a key", vec![ann.header(Held::Key), cookie("a=1; b=2")]),
        ("a key as a bearer", vec![bearer(&ann.key), cookie("a=1; b=2")]),
        ("a key beside cookies", vec![ann.header(Held::Key), cookie(&cookies)]),
        ("a bearer beside cookies", vec![bearer(&ann.access), cookie(&cookies), cookie(&ann.session)]),
    ];
    Ways { secrets, ways }
}

fn start(origin: &Origin, headers: &str) -> Gateway {
    let tables = format!("{PROJECT_ROUTES}\n[limits]\npreset = \"none\"\n{headers}");
    Setup::before(origin).public_url(PUBLIC_URL).with(&tables).start()
}

/// Which secrets an API has seen anywhere in what it read since.
fn leaked<'a>(origin: &Origin, secrets: &'a [(&'static str, String)]) -> Vec<&'a str> {
    let bytes: Vec<u8> = origin.connections().iter().flat_map(|connection| connection.bytes.clone()).collect();
    let holds = |secret: &str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    secrets.iter().filter(|(_, secret)| holds(secret)).map(|(name, _)| *name).collect()
}

#[test]
fn t6_no_credential_of_ours_goes_behind_the_gate() {
    let origin = Origin::echo();
    let gateway = start(&origin, "");
    let Ways { secrets, ways } = ways(&gateway);
    for (what, headers) in &ways {
        // A tunnel begins as a request, and a public route reads who it is as well.
        for (target, more) in [("/projects", None), ("/public/status", None), ("/projects", Some("websocket"))] {
            let before = origin.requests().len();
            let client = gateway.client();
            let mut request = client.get(target);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(protocol) = more {
                request = request.header("Connection", "Upgrade").header("Upgrade", protocol);
            }
            request.send().expect(200);
            assert_eq!(origin.requests().len(), before + 1, "{what}");
            let seen = origin.last();
            assert_eq!((seen.header("authorization"), seen.header("x-api-key")), (None, None), "{what}");
            assert_eq!(seen.headers("cookie").join("; "), "a=1; b=2", "{what}");
            assert_eq!(seen.header("x-user-role"), Some("editor"), "{what}");
        }
    }
    assert_eq!(leaked(&origin, &secrets), [""; 0]);
}

#[test]
fn t6_where_it_is_told_so_the_gate_forwards_what_it_consumed_and_never_a_refresh_token() {
    let origin = Origin::echo();
    let gateway = start(&origin, "[headers]\nforward_credentials = true\n");
    assert!(gateway.output().contains("the upstream receives the credentials of its callers"), "{}", gateway.output());
    let Ways { secrets, ways } = ways(&gateway);
    for (what, headers) in &ways {
        let client = gateway.client();
        let mut request = client.get("/projects");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().expect(200);
        let seen = origin.last();
        let sent = |wanted: &str| headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
        assert_eq!(seen.header("authorization"), sent("Authorization"), "{what}");
        assert_eq!(seen.header("x-api-key"), sent("X-API-Key"), "{what}");
        assert_eq!(seen.header("x-user-role"), Some("editor"), "{what}");
        let cookies = seen.headers("cookie").join("; ");
        assert!(cookies.contains("a=1") && cookies.contains("b=2"), "{what}: {cookies}");
        let consumed = match *what {
            "a session's cookie" => Some("__Host-portcullis_session="),
            "a token in cookies" | "a token's and a session's cookie" => Some("__Host-portcullis_access="),
            _ => None,
        };
        assert_eq!(cookies.matches("portcullis_").count(), usize::from(consumed.is_some()), "{what}: {cookies}");
        assert!(consumed.is_none_or(|name| cookies.contains(name)), "{what}: {cookies}");
    }
    let forwarded = ["the access token", "the access token's cookie", "the session's cookie", "the API key"];
    assert_eq!(leaked(&origin, &secrets), forwarded);
    // What was believed to be nobody's is not forwarded as somebody's: a stale cookie goes.
    gateway.client().get("/public/status").header("Cookie", "__Host-portcullis_access=a.b.c; c=3").send().expect(200);
    assert_eq!(origin.last().header("cookie"), Some("c=3"));
}

#[test]
fn t6_the_api_can_set_no_cookie_of_ours_in_whatever_it_answers() {
    const COOKIES: &str = "Set-Cookie: __Host-portcullis_access=planted; Path=/; Secure\r\n\
        Set-Cookie: portcullis_session=planted\r\nSet-Cookie: theirs=1\r\n\
        Set-Cookie: __Secure-portcullis_refresh=planted; Secure\r\nSet-Cookie: =portcullis_access=planted\r\n\
        set-cookie:  __Host-portcullis_session =planted\r\nSET-COOKIE: __Host-portcullis_form=planted\r\n\
        Set-Cookie: last=2; Path=/portcullis_access\r\n";
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        let target = exchange.seen.target.clone();
        exchange.send(match target.as_str() {
            "/public/401" => format!("HTTP/1.1 401 Unauthorized\r\n{COOKIES}Content-Length: 0\r\n\r\n"),
            "/public/304" => format!("HTTP/1.1 304 Not Modified\r\n{COOKIES}\r\n"),
            "/public/events" => format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{COOKIES}Transfer-Encoding: chunked\r\n\r\n\
                 2\r\nok\r\n0\r\nSet-Cookie: portcullis_access=planted\r\n\r\n"
            ),
            "/public/socket" => format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{COOKIES}\r\n"
            ),
            _ => format!("HTTP/1.1 200 OK\r\n{COOKIES}Content-Length: 0\r\n\r\n"),
        })?;
        if target.ends_with("socket") { Err(std::io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    });
    for (gateway, own) in [
        (start(&origin, ""), "public, https"),
        (start(&origin, "[headers]\nforward_credentials = true\n"), "public, https, forwarding"),
        (Setup::before(&origin).with(PROJECT_ROUTES).start(), "public, loopback"),
    ] {
        for (target, status) in [("200", 200), ("401", 401), ("304", 304), ("events", 200), ("socket", 101)] {
            let client = gateway.client();
            let mut request = client.get(&format!("/public/{target}")).header("TE", "trailers");
            if status == 101 {
                request = request.header("Connection", "Upgrade").header("Upgrade", "websocket");
            }
            let reply = request.send().expect(status);
            let expected = ["theirs=1", "last=2; Path=/portcullis_access"];
            assert_eq!(reply.headers("set-cookie"), expected, "{own}: {target}");
            assert!(!format!("{reply:?}").contains("planted"), "{own}: {target}: {reply:?}");
        }
    }
}
