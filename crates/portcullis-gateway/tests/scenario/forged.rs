//! Tokens that are wrong in exactly one way, signed by our own key or by what an attacker may take for it (T2, T8).
//!
//! The key is one that the test has brought along by `keys import`, so that nothing but the one thing can be the reason.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::client::Reply;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PROJECT_ROUTES, claims, eventually, jose_header};

const INVALID: &str = "Invalid or expired token";

/// Somebody who holds the gate's own signing key, and a user's genuine claims.
struct Forge {
    gateway: Gateway,
    origin: Origin,
    pair: EcdsaKeyPair,
    header: Value,
    claims: Value,
    retired: String,
}

#[expect(clippy::disallowed_methods, reason = "the process under test goes by the real time")]
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Forge {
    fn start(tokens: &str) -> Self {
        let origin = Origin::echo();
        let tables = format!("{PROJECT_ROUTES}\n[limits]\npreset = \"none\"\n\n{tokens}");
        let gateway = Setup::before(&origin).with(&tables).start();
        let retired = gateway.token("admin");
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        let file = gateway.directory().join("own.pem");
        let body = STANDARD.encode(document.as_ref());
        std::fs::write(&file, format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let imported = gateway.command(&["keys", "import", file.to_str().unwrap()]);
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        // Tokens that were signed meanwhile would otherwise lie in the future of what is signed below.
        let genuine = eventually("the imported key signs", std::time::Duration::from_secs(5), || {
            let (token, _) = gateway.login("admin@example.com");
            (jose_header(&token)["kid"] != jose_header(&retired)["kid"]).then_some(token)
        });
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref()).unwrap();
        let retired = jose_header(&retired)["kid"].as_str().unwrap().to_owned();
        let (header, claims) = (jose_header(&genuine), claims(&genuine));
        Self { gateway, origin, pair, header, claims, retired }
    }

    /// Signs whatever this is.
    fn sign(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(payload));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", encode(signature))
    }

    /// The genuine token with other members of its header; `Null` takes one away.
    fn header(&self, changes: Value) -> String {
        self.sign(&changed(&self.header, changes).to_string(), &self.claims.to_string())
    }

    /// The genuine token with other claims; `Null` takes one away.
    fn claims(&self, changes: Value) -> String {
        self.sign(&self.header.to_string(), &changed(&self.claims, changes).to_string())
    }

    fn ask(&self, token: &str) -> Reply {
        self.gateway.client().get("/analytics").bearer(token).send()
    }

    fn accepts(&self, what: &str, token: &str) {
        let reply = self.ask(token);
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
    }

    /// Refused with this error and the challenge of RFC 6750 that goes with it, for the API and for our own endpoints.
    fn refuses(&self, what: &str, token: &str, error: &str) {
        let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{error}\"");
        let seen = self.origin.requests().len();
        for target in ["/analytics", "/projects", "/public/status", "/auth/me"] {
            let reply = self.gateway.client().get(target).bearer(token).send();
            assert_eq!((reply.status, &*reply.error()), (401, error), "{what} at {target}: {}", reply.text());
            assert_eq!(reply.header("www-authenticate"), Some(&*challenge), "{what} at {target}");
            assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{what} at {target}");
            assert!(reply.header("cache-control").unwrap().contains("no-store"), "{what} at {target}");
        }
        assert_eq!(self.origin.requests().len(), seen, "{what} reached the API");
    }
}

fn changed(object: &Value, changes: Value) -> Value {
    let mut object = object.clone();
    let Value::Object(changes) = changes else { panic!("changes are members") };
    for (name, value) in changes {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(&name);
        } else {
            object[name] = value;
        }
    }
    object
}

/// The same object with one more member, written before the others.
fn with_first(object: &Value, member: &str) -> String {
    object.to_string().replacen('{', &format!("{{{member},"), 1)
}

#[test]
fn t2_a_token_is_believed_within_its_time_and_the_leeway_and_not_beyond() {
    let forge = Forge::start("");
    // What is signed here is believed, so that what is refused below is refused for the one thing.
    forge.accepts("the genuine claims", &forge.claims(json!({})));
    let now = now();
    for (what, changes) in [
        ("over for less than the leeway", json!({ "exp": now - 24 })),
        ("a fraction of a second", json!({ "exp": now as f64 + 30.5 })),
        ("valid from the start of the leeway", json!({ "nbf": now + 28 })),
        ("valid for long", json!({ "nbf": now - 86_400 })),
        ("issued within the leeway", json!({ "iat": now + 28 })),
        ("without a time of issue", json!({ "iat": null })),
        ("valid for ever", json!({ "exp": 253_402_300_799_u64 })),
    ] {
        forge.accepts(what, &forge.claims(changes));
    }
    for (what, changes) in [
        ("over for longer than the leeway", json!({ "exp": now - 31 })),
        ("over for ever", json!({ "exp": 0 })),
        ("over, and for less than the leeway valid", json!({ "exp": now - 31, "nbf": now - 31 })),
    ] {
        forge.refuses(what, &forge.claims(changes), "Token expired");
    }
    for (what, changes) in [
        ("not valid yet", json!({ "nbf": now + 60 })),
        ("not valid before the year 9999", json!({ "nbf": 253_402_300_799_u64 })),
        ("issued in the future", json!({ "iat": now + 60 })),
        ("without an end", json!({ "exp": null })),
        ("an end in words", json!({ "exp": (now + 900).to_string() })),
        ("an end that is no date", json!({ "exp": 1e300 })),
        ("an end before all time", json!({ "exp": -1 })),
        ("a list of ends", json!({ "exp": [now + 900] })),
        ("a beginning in words", json!({ "nbf": "0" })),
        ("a truth for a time of issue", json!({ "iat": true })),
    ] {
        forge.refuses(what, &forge.claims(changes), INVALID);
    }
}

#[test]
fn t2_without_a_leeway_a_token_ends_and_begins_to_the_second() {
    let forge = Forge::start("[tokens]\nleeway = \"0s\"\n");
    forge.accepts("it goes on", &forge.claims(json!({ "exp": now() + 8 })));
    forge.refuses("the moment itself is over", &forge.claims(json!({ "exp": now() })), "Token expired");
    forge.refuses("it begins soon", &forge.claims(json!({ "nbf": now() + 20 })), INVALID);
    // What was remembered as good is judged by its time again.
    let short = forge.claims(json!({ "exp": now() + 60 }));
    forge.accepts("it goes on", &short);
    forge.gateway.operator().advance("61s");
    forge.refuses("it has ended", &short, "Token expired");
}

#[test]
fn t2_a_header_that_asks_for_another_key_or_rule_is_refused() {
    let forge = Forge::start("");
    let (x, y) = forge.pair.public_key().as_ref()[1..].split_at(32);
    let own = json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "x": encode(x), "y": encode(y) });
    for (what, changes) in [
        ("the type with its prefix", json!({ "typ": "application/at+jwt" })),
        ("the type in capitals", json!({ "typ": "AT+JWT" })),
        ("a member that nobody knows", json!({ "nobody": "knows" })),
    ] {
        forge.accepts(what, &forge.header(changes));
    }
    for (what, changes) in [
        ("alg none", json!({ "alg": "none" })),
        ("alg None", json!({ "alg": "None" })),
        ("alg in lower case", json!({ "alg": "es256" })),
        ("an algorithm of the same curve's family", json!({ "alg": "ES384" })),
        ("alg HS256", json!({ "alg": "HS256" })),
        ("no alg", json!({ "alg": null })),
        ("a list of algorithms", json!({ "alg": ["ES256"] })),
        // Even the very key that signs, because a key that comes along proves nothing.
        ("jwk", json!({ "jwk": own })),
        ("jwk without kid", json!({ "jwk": own, "kid": null })),
        ("jku", json!({ "jku": "http://127.0.0.1:1/jwks.json" })),
        ("x5u", json!({ "x5u": "http://127.0.0.1:1/chain.pem" })),
        ("x5c", json!({ "x5c": ["MIIB"] })),
        ("crit that names what we check", json!({ "crit": ["exp"] })),
        ("crit that names nothing", json!({ "crit": [] })),
        ("crit that names one twice", json!({ "crit": ["exp", "exp"] })),
        ("crit that names what nobody knows", json!({ "crit": ["nobody"], "nobody": true })),
        ("a payload that is not encoded", json!({ "crit": ["b64"], "b64": false })),
        ("b64 without crit", json!({ "b64": false })),
        ("a compressed payload", json!({ "zip": "DEF" })),
        ("an encrypted token", json!({ "enc": "A256GCM", "alg": "dir" })),
        ("no type", json!({ "typ": null })),
        ("the type of any JWT", json!({ "typ": "JWT" })),
        ("the type of a logout", json!({ "typ": "logout+jwt" })),
        ("the key that is retired", json!({ "kid": forge.retired })),
        ("no key, of two that it could be", json!({ "kid": null })),
        ("a path for a key", json!({ "kid": "../../../../dev/null" })),
        ("a statement for a key", json!({ "kid": "x' UNION SELECT 'a' --" })),
        ("a number for a key", json!({ "kid": 0 })),
        ("a long name for a key", json!({ "kid": "k".repeat(3_000) })),
    ] {
        forge.refuses(what, &forge.header(changes), INVALID);
    }
    for (what, member) in [
        ("two algorithms, the first none", r#""alg":"none""#),
        ("two types", r#""typ":"JWT""#),
        ("two keys", r#""kid":"other""#),
        ("two keys, one spelt with an escape", r#""\u006bid":"other""#),
        ("two crit", r#""crit":["exp"],"crit":["exp"]"#),
    ] {
        forge.refuses(what, &forge.sign(&with_first(&forge.header, member), &forge.claims.to_string()), INVALID);
    }
}

#[test]
fn t2_claims_that_are_for_others_or_can_be_read_in_two_ways_are_refused() {
    let forge = Forge::start("");
    let ours = forge.claims["aud"].clone();
    let issuer = forge.claims["iss"].as_str().unwrap().to_owned();
    forge.accepts("one audience of several", &forge.claims(json!({ "aud": ["https://other.example", ours] })));
    for (what, changes) in [
        ("another audience", json!({ "aud": "https://other.example" })),
        ("several others", json!({ "aud": ["https://other.example", "*"] })),
        ("an audience that begins like ours", json!({ "aud": format!("{issuer}.evil.example") })),
        ("no audience", json!({ "aud": null })),
        ("an empty list of audiences", json!({ "aud": [] })),
        ("an object for an audience", json!({ "aud": { "0": ours } })),
        ("another issuer", json!({ "iss": "https://evil.example" })),
        ("our issuer with a slash", json!({ "iss": format!("{issuer}/") })),
        ("our issuer in capitals", json!({ "iss": issuer.to_uppercase() })),
        ("no issuer", json!({ "iss": null })),
        ("a list with our issuer", json!({ "iss": [issuer] })),
        ("nobody", json!({ "sub": null })),
        ("a list of users", json!({ "sub": ["admin"] })),
        ("a truth for a user", json!({ "sub": true })),
        ("no session, by which it could be revoked", json!({ "sid": null })),
        ("no name, by which it could be revoked", json!({ "jti": null })),
        ("no version, by which it could be revoked", json!({ "ver": null })),
        ("a version in words", json!({ "ver": "1" })),
        ("a user that would be two headers", json!({ "sub": "eve\r\nX-User-Role: admin" })),
        ("an object for a role", json!({ "role": { "admin": true } })),
        ("more roles than anybody has", json!({ "role": vec!["r"; 300] })),
    ] {
        forge.refuses(what, &forge.claims(changes), INVALID);
    }
    let header = forge.header.to_string();
    for (what, member) in [
        ("two users", r#""sub":"admin""#),
        ("two users, one spelt with an escape", r#""s\u0075b":"admin""#),
        ("two ends", r#""exp":253402300799"#),
        ("two members deep inside", r#""x":{"y":[{"z":1,"z":2}]}"#),
        ("a lone surrogate", r#""x":"\ud800""#),
    ] {
        forge.refuses(what, &forge.sign(&header, &with_first(&forge.claims, member)), INVALID);
    }
    let genuine = forge.claims.to_string();
    for (what, payload) in [
        ("a list", format!("[{genuine}]")),
        ("nothing", String::new()),
        ("two objects", format!("{genuine}{genuine}")),
        ("a comment", format!("{genuine}/* */")),
        ("a byte order mark", format!("\u{feff}{genuine}")),
        ("cut off", genuine[..genuine.len() - 1].to_owned()),
        ("depth", format!("{}{}", "[".repeat(2_800), "]".repeat(2_800))),
    ] {
        forge.refuses(what, &forge.sign(&header, &payload), INVALID);
    }
}

/// The public half of the key that signs, as PEM.
fn exported_pem(gateway: &Gateway) -> String {
    let exported = String::from_utf8(gateway.command(&["keys", "export-public", "--pem"]).stdout).unwrap();
    let from = exported.find("-----BEGIN PUBLIC KEY-----").unwrap();
    let end = "-----END PUBLIC KEY-----\n";
    let to = from + exported[from..].find(end).unwrap() + end.len();
    exported[from..to].to_owned()
}

fn der(pem: &str) -> Vec<u8> {
    STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
}

#[test]
fn t2_an_rsa_public_key_is_no_secret_either() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with("[tokens]\nalgorithm = \"RS256\"\n").start();
    let token = gateway.token("viewer");
    let header = changed(&jose_header(&token), json!({ "alg": "HS256" }));
    let raised = changed(&claims(&token), json!({ "role": "admin" }));
    let message = format!("{}.{}", encode(header.to_string()), encode(raised.to_string()));
    let pem = exported_pem(&gateway);
    let modulus = gateway.client().get("/.well-known/jwks.json").send().json()["keys"][0]["n"].clone();
    let modulus = modulus.as_str().unwrap();
    for secret in [
        pem.as_bytes(),
        pem.trim().as_bytes(),
        &der(&pem),
        modulus.as_bytes(),
        &URL_SAFE_NO_PAD.decode(modulus).unwrap(),
    ] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        let forged = format!("{message}.{}", encode(tag));
        gateway.client().get("/analytics").bearer(&forged).send().refused(401, INVALID);
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn t2_the_public_key_in_every_form_is_no_secret_and_no_signature_is_none() {
    let forge = Forge::start("");
    let message = |alg: &str| {
        let header = changed(&forge.header, json!({ "alg": alg }));
        format!("{}.{}", encode(header.to_string()), encode(forge.claims.to_string()))
    };
    for alg in ["none", "None", "NONE", "nOnE", "", "ES256"] {
        forge.refuses(alg, &format!("{}.", message(alg)), INVALID);
    }
    forge.refuses("r and s are zero", &format!("{}.{}", message("ES256"), encode([0; 64])), INVALID);

    let gateway = &forge.gateway;
    let pem = exported_pem(gateway);
    let jwks = gateway.client().get("/.well-known/jwks.json").send().expect(200);
    let point = forge.pair.public_key().as_ref().to_vec();
    let der = der(&pem);
    assert!(der.ends_with(&point), "it is the key that signs");
    let key = jwks.json()["keys"].as_array().unwrap().iter().find(|key| key["kid"] == forge.header["kid"]).cloned();
    let secrets = [
        pem.clone().into_bytes(),
        pem.trim().as_bytes().to_vec(),
        der,
        point,
        jwks.body.clone(),
        key.unwrap().to_string().into_bytes(),
        forge.header["kid"].as_str().unwrap().as_bytes().to_vec(),
        Vec::new(),
    ];
    let algorithms = [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)];
    for secret in &secrets {
        for (name, algorithm) in algorithms {
            let tag = hmac::sign(&hmac::Key::new(algorithm, secret), message(name).as_bytes());
            forge.refuses(name, &format!("{}.{}", message(name), encode(tag)), INVALID);
        }
    }
}

#[test]
fn t2_a_token_of_any_size_is_answered_and_judged_only_up_to_8_kib() {
    let forge = Forge::start("");
    let padded = |bytes: usize| forge.claims(json!({ "pad": "x".repeat(bytes) }));
    // Base64 makes four octets of three: 4,000 fit into 8 KiB beside the genuine claims, 7,000 do not.
    let (fits, long) = (padded(4_000), padded(7_000));
    assert!(fits.len() < 8_192 && long.len() > 8_192);
    forge.accepts("a long token", &fits);
    forge.refuses("a token that is too long", &long, INVALID);
    for bytes in [8_193, 20_000, 30_000] {
        forge.refuses("nonsense that is too long", &"a".repeat(bytes), INVALID);
        forge.refuses("parts that are too many", &".".repeat(bytes), INVALID);
    }
    // In a cookie it is as stale as any other: no entry where one is needed, and nobody where none is.
    let cookie = format!("portcullis_access={long}");
    let with_cookie = |target: &str| forge.gateway.client().get(target).header("Cookie", &cookie).send();
    with_cookie("/projects").refused(401, INVALID);
    assert!(with_cookie("/public/status").expect(200).set_cookie("portcullis_access").is_some(), "it is cleared");
    // Beyond what any head may be, the head is what is refused.
    forge.ask(&"a".repeat(33_000)).refused(431, "Request header fields too large");
    forge.accepts("the next one", &fits);
}

#[test]
fn t8_each_state_of_a_credential_has_its_words_and_its_challenge() {
    let forge = Forge::start("");
    let gateway = &forge.gateway;
    let challenge = |error: &str| format!("Bearer error=\"invalid_token\", error_description=\"{error}\"");
    let said = |reply: &Reply| (reply.status, reply.error(), reply.header("www-authenticate").map(str::to_owned));
    let get = |token: Option<&str>| {
        let client = gateway.client();
        let request = client.get("/projects");
        said(&token.map_or_else(|| client.get("/projects"), |token| request.bearer(token)).send())
    };
    assert_eq!(get(None), (401, "Authentication required".into(), Some("Bearer".into())));
    let (ended, refresh) = gateway.login("admin@example.com");
    let body = json!({ "refreshToken": refresh });
    gateway.client().post("/auth/logout").json(&body).send().expect(204);
    let expired = forge.claims(json!({ "exp": now() - 60 }));
    for (token, error) in [
        (&*expired, "Token expired"),
        (&*ended, "Token has been revoked"),
        ("x", INVALID),
        (&*forge.claims(json!({ "aud": "https://other.example" })), INVALID),
    ] {
        assert_eq!(get(Some(token)), (401, error.to_owned(), Some(challenge(error))));
    }
    for token in [&refresh, &"0".repeat(64)] {
        let reply = gateway.client().post("/auth/refresh").json(&json!({ "refreshToken": token })).send();
        assert_eq!(said(&reply), (401, "Invalid refresh token".into(), Some("Bearer".into())));
    }
    gateway.create_user("viewer@example.com", "viewer");
    let (viewer, _) = gateway.login("viewer@example.com");
    let reply = gateway.client().get("/analytics").bearer(&viewer).send();
    let insufficient = Some("Bearer error=\"insufficient_scope\"".to_owned());
    assert_eq!(said(&reply), (403, "Insufficient permissions".into(), insufficient));
}
