//! Each algorithm that our tokens can be signed with (T1), its keys, and what becomes of a key that is retired (T3).

use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PROJECT_ROUTES, claims, eventually, jose_header};

const ALGORITHMS: [&str; 4] = ["ES256", "EdDSA", "RS256", "HS256"];

fn read(gateway: &Gateway, token: &str) -> u16 {
    gateway.client().get("/projects").bearer(token).send().status
}

fn key_set(gateway: &Gateway) -> Vec<Value> {
    let reply = gateway.client().get("/.well-known/jwks.json").send().expect(200);
    for private in ["\"d\"", "\"p\"", "\"q\"", "\"dp\"", "\"dq\"", "\"qi\"", "\"k\"", "\"oct\""] {
        assert!(!reply.text().contains(private), "{private} in {}", reply.text());
    }
    reply.json()["keys"].as_array().unwrap().clone()
}

fn kid(token: &str) -> String {
    jose_header(token)["kid"].as_str().unwrap().to_owned()
}

/// The public key that this token names, of those that were published.
fn key_of<'a>(keys: &'a [Value], token: &str) -> Option<&'a Value> {
    keys.iter().find(|key| key["kid"] == kid(token))
}

/// Whether a token verifies with a public key, by somebody who knows the RFCs and not us.
fn verifies(key: &Value, token: &str) -> bool {
    let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (message, signature) = (message.as_bytes(), URL_SAFE_NO_PAD.decode(signature).unwrap());
    assert_eq!((&key["alg"], &key["use"]), (&jose_header(token)["alg"], &json!("sig")), "{key}");
    match (key["kty"].as_str().unwrap(), key["alg"].as_str().unwrap()) {
        ("EC", "ES256") => {
            assert_eq!(key["crv"], "P-256");
            let point = [&[4][..], &part("x"), &part("y")].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, &signature).is_ok()
        }
        ("OKP", "EdDSA") => {
            assert_eq!(key["crv"], "Ed25519");
            UnparsedPublicKey::new(&ED25519, part("x")).verify(message, &signature).is_ok()
        }
        ("RSA", "RS256") => {
            let (n, e) = (part("n"), part("e"));
            assert!(n.len() >= 256, "{} bits", n.len() * 8);
            RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, &signature).is_ok()
        }
        other => panic!("{other:?} in {key}"),
    }
}

/// Waits until new tokens name another key than this one.
fn await_new_key(gateway: &Gateway, email: &str, old: &str) -> String {
    // Every instance hears of a new key before it signs.
    gateway.operator().advance("3s");
    eventually("new tokens name the new key", Duration::from_secs(3), || {
        let (token, _) = gateway.login(email);
        (kid(&token) != kid(old)).then_some(token)
    })
}

#[test]
fn t1_t3_tokens_of_each_algorithm_verify_elsewhere_and_outlive_their_key_until_they_expire() {
    let origin = Origin::echo();
    for algorithm in ALGORITHMS {
        let gateway = start(&origin, algorithm);
        let old = gateway.token("editor");
        let header = jose_header(&old);
        assert_eq!((&header["alg"], &header["typ"]), (&json!(algorithm), &json!("at+jwt")), "{header}");
        assert_eq!(header.as_object().unwrap().len(), 3, "alg, typ and kid: {header}");
        let said = claims(&old);
        assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 900, "{said}");
        for name in ["iss", "sub", "client_id", "jti", "sid"] {
            assert!(said[name].as_str().is_some_and(|text| !text.is_empty()), "{name} in {said}");
        }
        assert!(said.get("aud").is_some() && said["ver"].is_u64() && said["role"] == "editor", "{said}");
        assert_eq!(read(&gateway, &old), 200, "{algorithm}");
        assert_eq!(origin.last().header("x-user-id"), said["sub"].as_str(), "{algorithm}");

        // What others verify with is published, and a shared secret is not.
        let secret = algorithm == "HS256";
        let before = key_set(&gateway);
        assert_eq!(before.len(), usize::from(!secret), "{algorithm}");
        if let Some(key) = key_of(&before, &old) {
            assert!(verifies(key, &old), "{key}");
            let other = gateway.login("editor@example.com").0;
            let mixed = format!("{}.{}", old.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1);
            assert!(!verifies(key, &mixed), "the check above can fail");
        }

        let rotated = gateway.command(&["keys", "rotate"]);
        assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
        let new = await_new_key(&gateway, "editor@example.com", &old);
        assert_eq!(jose_header(&new)["alg"], algorithm);
        let both = key_set(&gateway);
        assert_eq!(both.len(), if secret { 0 } else { 2 }, "{algorithm}");
        for token in [&old, &new] {
            assert_eq!(read(&gateway, token), 200, "{algorithm}");
            assert!(secret || verifies(key_of(&both, token).unwrap(), token));
        }

        // Shortly before the end of its last token the retired key is there, shortly after it is gone.
        gateway.operator().advance("14m");
        assert_eq!(read(&gateway, &old), 200, "{algorithm}");
        assert!(secret || key_of(&key_set(&gateway), &old).is_some());
        gateway.operator().advance("2m");
        // Nobody can tell any more what it was.
        gateway.client().get("/projects").bearer(&old).send().refused(401, "Invalid or expired token");
        eventually("the retired key is gone", Duration::from_secs(2), || {
            key_of(&key_set(&gateway), &old).is_none().then_some(())
        });
        assert_eq!(key_set(&gateway).len(), usize::from(!secret), "{algorithm}");
        let listed = String::from_utf8(gateway.command(&["keys", "list"]).stdout).unwrap();
        assert_eq!(listed.lines().filter(|line| line.ends_with("signs")).count(), 1, "{listed}");
    }
}

fn start(origin: &Origin, algorithm: &str) -> Gateway {
    Setup::before(origin).with(PROJECT_ROUTES).with(&format!("[tokens]\nalgorithm = \"{algorithm}\"\n")).start()
}

/// Stops the gateway and starts it with another `[tokens]`.
fn restart_with(gateway: &mut Gateway, tokens: &str) {
    gateway.kill();
    gateway.write_config(&format!("[tokens]\n{tokens}\n"));
    gateway.launch();
}

#[test]
fn t3_another_algorithm_signs_what_is_new_and_what_is_old_verifies_unless_a_secret_is_on_either_side() {
    let origin = Origin::echo();
    let mut gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    let first = gateway.token("viewer");
    restart_with(&mut gateway, "algorithm = \"EdDSA\"");
    let (second, _) = gateway.login("viewer@example.com");
    assert_eq!(jose_header(&second)["alg"], "EdDSA");
    assert_eq!((read(&gateway, &first), read(&gateway, &second)), (200, 200));
    let keys = key_set(&gateway);
    assert!([&first, &second].iter().all(|token| verifies(key_of(&keys, token).unwrap(), token)));

    // Beside a secret no key pair stands, so that no question of one can be answered by the other.
    restart_with(&mut gateway, "algorithm = \"HS256\"");
    let (third, _) = gateway.login("viewer@example.com");
    assert_eq!((read(&gateway, &first), read(&gateway, &second), read(&gateway, &third)), (401, 401, 200));
    assert!(key_set(&gateway).is_empty());
    restart_with(&mut gateway, "algorithm = \"ES256\"");
    let (fourth, _) = gateway.login("viewer@example.com");
    assert_ne!(kid(&fourth), kid(&first), "a retired key does not sign again");
    assert_eq!((read(&gateway, &first), read(&gateway, &third), read(&gateway, &fourth)), (200, 401, 200));
}

#[test]
fn t3_a_shorter_life_of_new_tokens_takes_no_key_from_older_ones() {
    let origin = Origin::echo();
    let mut gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    restart_with(&mut gateway, "access = \"1h\"");
    let old = gateway.token("viewer");
    restart_with(&mut gateway, "access = \"5m\"");
    assert!(gateway.command(&["keys", "rotate"]).status.success());
    let new = await_new_key(&gateway, "viewer@example.com", &old);
    gateway.operator().advance("50m");
    assert_eq!((read(&gateway, &old), read(&gateway, &new)), (200, 401), "each by its own life");
    let keys = key_set(&gateway);
    assert!(verifies(key_of(&keys, &old).unwrap(), &old), "others can verify it too");
    gateway.operator().advance("11m");
    assert_eq!(read(&gateway, &old), 401);
    eventually("its key is gone", Duration::from_secs(2), || key_of(&key_set(&gateway), &old).is_none().then_some(()));
}

#[test]
fn t3_a_key_that_is_due_is_rotated_by_the_schedule_once_and_refuses_nobody() {
    let origin = Origin::echo();
    let tokens = "[tokens]\nrotate = \"1d\"\naccess = \"24h\"\n";
    let mut gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(tokens).start();
    let first = gateway.token("viewer");
    gateway.operator().advance("23h");
    let (old, _) = gateway.login("viewer@example.com");
    // The chore runs when the process starts and every minute from then on: here it is not due, there it is.
    let again = |gateway: &mut Gateway| {
        // The time that was acted upon is kept within a second, and goes on after a restart.
        std::thread::sleep(Duration::from_millis(1_500));
        gateway.kill();
        gateway.launch();
    };
    again(&mut gateway);
    assert_eq!(kid(&gateway.login("viewer@example.com").0), kid(&first), "nothing is rotated before its time");
    // The new process's idea of the machine's clock knows nothing of those 23 hours.
    gateway.operator().advance("24h");
    again(&mut gateway);
    again(&mut gateway);
    let new = await_new_key(&gateway, "viewer@example.com", &old);
    let keys = key_set(&gateway);
    assert_eq!(keys.len(), 2, "one new key, because at the second start it was not due any more: {keys:?}");
    for token in [&old, &new] {
        assert_eq!(read(&gateway, token), 200);
        assert!(verifies(key_of(&keys, token).unwrap(), token));
    }
}
