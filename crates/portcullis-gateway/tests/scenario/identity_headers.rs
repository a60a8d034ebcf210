//! What the API is told about who calls, and that nobody else can tell it (Z5, T6).

use crate::projects;
use crate::support::origin::{Origin, Seen};
use crate::support::process::Setup;
use crate::support::{PROJECT_ROUTES, claims};

/// Fails unless the API was told exactly this identity, under no other spelling of the names.
#[track_caller]
fn told(seen: &Seen, user: &str, role: &str) {
    assert_eq!(seen.header("x-user-id"), Some(user), "{:?}", seen.headers);
    assert_eq!(seen.header("x-user-role"), Some(role), "{:?}", seen.headers);
    assert_eq!(seen.header("x-user-plan"), Some("free"), "{:?}", seen.headers);
    for name in ["x-user-id", "x-user-role", "x-user-plan"] {
        assert_eq!(seen.twins(name).len(), 1, "{name}: {:?} {:?}", seen.headers, seen.trailers);
    }
}

/// Every way in which a client may try to name itself.
const SPOOFS: [(&str, &str); 12] = [
    ("X-User-Id", "boss"),
    ("x-user-id", "boss"),
    ("X-USER-ID", "boss"),
    ("X_User_Id", "boss"),
    ("x_user-id", "boss"),
    ("X.User.Id", "boss"),
    ("X-User-Role", "admin"),
    ("X_USER_ROLE", "admin"),
    ("x-user_role", "admin"),
    ("X-User-Plan", "enterprise"),
    ("X_User_Plan", "enterprise"),
    ("x!user!id", "boss"),
];

#[test]
fn z5_the_api_is_told_the_verified_identity_and_no_other() {
    let (origin, gateway) = projects();
    let token = gateway.token("viewer");
    let subject = claims(&token)["sub"].as_str().unwrap().to_owned();
    gateway.client().get("/projects").bearer(&token).send().expect(200);
    told(&origin.last(), &subject, "viewer");

    for (name, value) in SPOOFS {
        let reply = gateway.client().get("/projects").bearer(&token).header(name, value).send();
        // A head that is refused as ambiguous is as good as one that is cleaned.
        if reply.status == 400 {
            continue;
        }
        reply.expect(200);
        told(&origin.last(), &subject, "viewer");
    }
    let mut all = gateway.client();
    let mut request = all.get("/projects").bearer(&token);
    for (name, value) in SPOOFS.iter().filter(|(name, _)| !name.contains(['_', '.', '!'])) {
        request = request.header(name, value);
    }
    request.send().expect(200);
    told(&origin.last(), &subject, "viewer");

    all = gateway.client();
    for (name, value) in SPOOFS {
        let before = origin.requests().len();
        let reply = all.get("/public/status").header(name, value).send();
        if reply.status == 400 {
            continue;
        }
        reply.expect(200);
        assert_eq!(origin.requests().len(), before + 1);
        for name in ["x-user-id", "x-user-role", "x-user-plan"] {
            assert!(origin.last().twins(name).is_empty(), "nobody is nobody: {:?}", origin.last().headers);
        }
    }
}

#[test]
fn z5_a_connection_header_cannot_remove_what_the_gate_sets() {
    let (origin, gateway) = projects();
    let token = gateway.token("viewer");
    let subject = claims(&token)["sub"].as_str().unwrap().to_owned();
    let lists = [
        "x-user-id",
        "X-User-Id, X-User-Role, X-User-Plan",
        "close, x-user-role",
        "keep-alive, x-user-id, x-forwarded-for, x-request-id, via, host",
    ];
    for list in lists {
        let reply = gateway.client().get("/projects").bearer(&token).header("Connection", list).send();
        if reply.status == 400 {
            continue;
        }
        reply.expect(200);
        let seen = origin.last();
        told(&seen, &subject, "viewer");
        assert!(seen.header("host").is_some() && seen.header("x-forwarded-for").is_some(), "{:?}", seen.headers);
        let kept = seen.headers("connection").join(",").to_lowercase();
        assert!(!kept.contains("x-user"), "the list is for one hop: {kept}");
    }
    // What a client lists of its own is for one hop and goes no further.
    let mine = gateway.client();
    mine.get("/projects").bearer(&token).header("Connection", "x-mine").header("X-Mine", "1").send().expect(200);
    assert!(origin.last().headers("x-mine").is_empty());
    // Removing the credential by the list must not make anybody anonymous with an identity, or the other way round.
    let reply = mine.get("/projects").bearer(&token).header("Connection", "authorization").send();
    assert!(matches!(reply.status, 200 | 400 | 401), "{}", reply.status);
    if reply.status == 200 {
        told(&origin.last(), &subject, "viewer");
    }
}

#[test]
fn z5_trailers_carry_no_identity_either() {
    let (origin, gateway) = projects();
    let token = gateway.token("viewer");
    let subject = claims(&token)["sub"].as_str().unwrap().to_owned();
    for (name, value) in SPOOFS {
        let before = origin.requests().len();
        let mut connection = gateway.client().connect();
        let head = format!(
            "POST /echo/a HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nTE: trailers\r\nTrailer: {name}\r\n\
             Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{name}: {value}\r\nX-Checksum: abc\r\n\r\n",
            gateway.listen
        );
        connection.send(head).unwrap();
        let reply = connection.reply().unwrap();
        if reply.status == 200 {
            assert_eq!(origin.requests().len(), before + 1);
            let seen = origin.last();
            assert_eq!(seen.body, b"hello");
            told(&seen, &subject, "viewer");
        } else {
            assert_eq!(reply.status, 400, "{}", reply.text());
        }
    }
}

#[test]
fn t6_the_credential_that_was_consumed_goes_no_further() {
    let (origin, gateway) = projects();
    let token = gateway.token("viewer");
    gateway.client().get("/projects").bearer(&token).header("Cookie", "theirs=1; other=2").send().expect(200);
    let seen = origin.last();
    assert!(seen.headers("authorization").is_empty(), "{:?}", seen.headers);
    assert_eq!(seen.header("cookie"), Some("theirs=1; other=2"));
    assert!(!String::from_utf8_lossy(&origin.connections()[0].bytes).contains(&token));
}

#[test]
fn the_path_back_to_the_client_is_rewritten_and_not_believed() {
    let (origin, gateway) = projects();
    let client = gateway.client();
    let address = client.address.to_string();
    client
        .get("/public/status")
        .header("X-Forwarded-For", "198.51.100.9")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.example.com")
        .header("Forwarded", "for=198.51.100.9")
        .header("X-Real-IP", "198.51.100.9")
        .header("X-Request-Id", "chosen-by-the-client")
        .send()
        .expect(200);
    let seen = origin.last();
    assert_eq!(seen.header("x-forwarded-for"), Some(address.as_str()), "{:?}", seen.headers);
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert!(seen.headers.iter().all(|(_, value)| !value.contains("198.51.100.9")), "{:?}", seen.headers);
    assert_ne!(seen.header("x-forwarded-host"), Some("evil.example.com"));
    assert_ne!(seen.header("x-request-id"), Some("chosen-by-the-client"));
    assert!(seen.header("via").unwrap().contains("1.1"), "{:?}", seen.headers);

    // Who wrote the list does not change whose quota is spent.
    let origin = Origin::echo();
    let gateway = Setup::before(&origin)
        .with("[client]\ntrusted_hops = [\"127.0.0.0/8\"]\nheader = \"X-Forwarded-For\"\n")
        .with(PROJECT_ROUTES)
        .start();
    let hop = gateway.client();
    hop.get("/public/status").header("X-Forwarded-For", "203.0.113.5, 198.51.100.9").send().expect(200);
    let seen = origin.last();
    let list = seen.headers("x-forwarded-for").join(", ");
    assert!(list.contains("198.51.100.9") && list.ends_with(&hop.address.to_string()), "{list}");
}

#[test]
fn every_answer_and_every_forwarded_request_have_an_id() {
    let (origin, gateway) = projects();
    let client = gateway.client();
    let one = client.get("/public/status").send().expect(200);
    let id = one.header("x-request-id").unwrap().to_owned();
    assert_eq!(origin.last().header("x-request-id"), Some(id.as_str()));
    let two = client.get("/projects").send().expect(401);
    assert_ne!(two.header("x-request-id"), Some(id.as_str()));
    assert_eq!(two.json()["request_id"].as_str(), two.header("x-request-id"), "the body names the same request");
}
