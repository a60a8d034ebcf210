//! Instances on one database, as processes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Client, Reply};
use crate::support::origin::Origin;
use crate::support::postgres::{self, Cluster};
use crate::support::process::{Gateway, Setup};
use crate::support::{PROJECT_ROUTES, eventually};

/// One deployment: its public name is the same wherever a request arrives.
const PUBLIC_URL: &str = "https://api.example.com";

fn start(origin: &Origin, database: &str) -> Gateway {
    let tables = format!("{PROJECT_ROUTES}\n[limits]\npreset = \"none\"\n\n[tokens]\nmax_staleness = \"6s\"\n");
    Setup::before(origin).public_url(PUBLIC_URL).on(database).with(&tables).start()
}

fn refresh(client: &Client, token: &str) -> Reply {
    client.post("/auth/refresh").json(&json!({ "refreshToken": token })).send()
}

fn reads(gateway: &Gateway, access: &str) -> u16 {
    gateway.client().get("/projects").bearer(access).send().status
}

#[test]
fn t3_t7_two_instances_share_accounts_keys_and_within_a_second_revocations() {
    if !postgres::is_installed() {
        return;
    }
    let server = Cluster::start();
    let database = server.database();
    let origin = Origin::echo();
    // Both start at once on an empty database.
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| start(&origin, &database));
        let two = scope.spawn(|| start(&origin, &database));
        (one.join().unwrap(), two.join().unwrap())
    });
    one.create_user("ann@example.com", "editor");

    let (access, first) = two.login("ann@example.com");
    assert_eq!((reads(&one, &access), reads(&two, &access)), (200, 200), "a token of one is good at the other");
    let second = refresh(&one.client(), &first).expect(200).json()["refreshToken"].as_str().unwrap().to_owned();
    let reply = two.client().post("/auth/logout").json(&json!({ "refreshToken": second })).send();
    assert!((200..300).contains(&reply.status), "{}", reply.status);
    let decided = Instant::now();
    eventually("the logout is seen", Duration::from_secs(1), || (reads(&one, &access) == 401).then_some(()));
    println!("a logout at one instance took effect at the other after {:?}", decided.elapsed());
    refresh(&one.client(), &second).refused(401, "Invalid refresh token");

    // A key that one of them makes signs at both, and what was signed before goes on.
    let (access, _) = one.login("ann@example.com");
    let rotated = one.command(&["keys", "rotate"]);
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    let kid = |gateway: &Gateway| {
        let (access, _) = gateway.login("ann@example.com");
        crate::support::jose_header(&access)["kid"].clone()
    };
    let old = crate::support::jose_header(&access)["kid"].clone();
    let within = Duration::from_secs(3);
    let new = eventually("one signs with the new key", within, || Some(kid(&one)).filter(|kid| *kid != old));
    eventually("so does the other", within, || (kid(&two) == new).then_some(()));
    assert_eq!((reads(&one, &access), reads(&two, &access)), (200, 200));
}

#[test]
fn h2_a_token_of_one_instance_is_good_at_the_other() {
    if !postgres::is_installed() {
        return;
    }
    let server = Cluster::start();
    let database = server.database();
    let origin = Origin::echo();
    let (one, two) = (start(&origin, &database), start(&origin, &database));
    one.create_user("ann@example.com", "editor");
    let body = json!({ "email": "ann@example.com", "password": crate::support::PASSWORD, "delivery": "session" });
    let login = || {
        let reply = one.client().post("/auth/login").header("Origin", PUBLIC_URL).json(&body).send().expect(200);
        ["session", "csrf"].map(|name| reply.set_cookie(name).unwrap().split(';').next().unwrap().to_owned())
    };
    let ([session, token], [_, another]) = (login(), login());
    let post = |gateway: &Gateway, token: &str| {
        let token = token.split_once('=').unwrap().1;
        gateway.client().post("/projects").header("Cookie", &session).csrf(token).json(&json!({})).send()
    };
    for gateway in [&one, &two] {
        post(gateway, &token).expect(200);
        post(gateway, &another).refused(403, "Invalid CSRF token");
    }
}

#[test]
fn t7_without_its_server_a_gate_verifies_for_max_staleness_refuses_writes_and_is_back_within_5_seconds() {
    if !postgres::is_installed() {
        return;
    }
    let mut server = Cluster::start();
    let origin = Origin::echo();
    let gateway = start(&origin, &server.database());
    gateway.create_user("ann@example.com", "editor");
    let (access, token) = gateway.login("ann@example.com");
    server.kill();
    let killed = Instant::now();

    let body = json!({ "email": "ann@example.com", "password": crate::support::PASSWORD });
    for reply in [
        refresh(&gateway.client(), &token),
        gateway.client().post("/auth/login").json(&body).send(),
        gateway.client().post("/auth/logout").json(&json!({ "refreshToken": token })).send(),
    ] {
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert!(!reply.text().contains("postgres") && !reply.text().contains("sql"), "{}", reply.text());
    }
    if killed.elapsed() < Duration::from_secs(5) {
        assert_eq!(reads(&gateway, &access), 200, "after {:?}", killed.elapsed());
    }
    eventually("the record of revocations is too old", Duration::from_secs(8), || {
        (reads(&gateway, &access) == 503).then_some(())
    });

    server.restart();
    let back = Instant::now();
    eventually("verification is back", Duration::from_secs(5), || (reads(&gateway, &access) == 200).then_some(()));
    let reply = refresh(&gateway.client(), &token).expect(200);
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    assert!(reply.json()["refreshToken"].as_str().is_some());
    let said = gateway.output();
    assert!(said.contains("cannot read the revocations"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}
