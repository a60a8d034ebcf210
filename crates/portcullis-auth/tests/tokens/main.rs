//! T1, T2, T8: what a verifier does with tokens of its own and of others, good and forged.

#![expect(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

mod forged;
mod memory;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_auth::{
    Algorithm, ClaimNames, Issuer, KeySet, KeySource, Lookup, SigningKey, TokenVerifier, VerificationKey,
};
use portcullis_core::{Principal, Reason, Scheme, Timestamp};
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

struct House {
    key: SigningKey,
    source: KeySource,
    verifier: TokenVerifier,
}

fn house(algorithm: Algorithm) -> House {
    let key = SigningKey::generate(algorithm).unwrap();
    let source = KeySource::new(KeySet::new(vec![key.verification_key().clone()]).unwrap());
    let verifier = TokenVerifier::new(vec![own(source.clone(), Algorithm::ALL.to_vec())], 1000);
    House { key, source, verifier }
}

fn own(keys: KeySource, algorithms: Vec<Algorithm>) -> Issuer {
    Issuer {
        name: None,
        iss: "https://api.example.com".into(),
        audiences: vec!["https://api.example.com".into()],
        algorithms,
        leeway: Duration::from_secs(30),
        typ: Some("at+jwt".into()),
        keys,
        claims: ClaimNames::default(),
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://api.example.com", "aud": "https://api.example.com", "sub": "u1", "client_id": "web",
        "iat": NOW.as_secs(), "exp": NOW.as_secs() + 900, "jti": "j1", "sid": "s1", "role": "editor", "ver": 3,
        "plan": "premium",
    })
}

fn with(change: &[(&str, Value)]) -> Value {
    let mut claims = claims();
    for (name, value) in change {
        claims[*name] = value.clone();
    }
    claims
}

fn judge_at(verifier: &TokenVerifier, token: &str, now: Timestamp) -> Result<Arc<Principal>, Reason> {
    match verifier.lookup(token, Scheme::Bearer, now) {
        Lookup::Known(judged) => judged,
        Lookup::Unknown(name) => verifier.verify(token, name, Scheme::Bearer, now),
    }
}

impl House {
    fn sign(&self, claims: &Value) -> String {
        self.key.sign("at+jwt", claims.to_string().as_bytes()).unwrap()
    }

    fn judge(&self, token: &str) -> Result<Arc<Principal>, Reason> {
        judge_at(&self.verifier, token, NOW)
    }

    fn refuses(&self, token: &str) {
        assert!(matches!(self.judge(token), Err(Reason::InvalidToken(_))), "{token}");
    }
}

#[test]
fn t1_every_algorithm_signs_what_it_verifies() {
    for algorithm in Algorithm::ALL {
        let house = house(algorithm);
        let principal = house.judge(&house.sign(&claims())).unwrap();
        let parts = principal.parts();
        assert_eq!((&*parts.subject, &*parts.roles[0], parts.plan.as_deref()), ("u1", "editor", Some("premium")));
        assert_eq!((parts.session.as_deref(), parts.token_id.as_deref(), parts.version), (Some("s1"), Some("j1"), 3));
        assert!(principal.is_local());
        let again = SigningKey::from_private(algorithm, house.key.private().expose()).unwrap();
        assert_eq!(again.kid(), house.key.kid());
    }
}

#[test]
fn t2_issuer_audience_and_dates_are_checked() {
    let house = house(Algorithm::Es256);
    let now = NOW.as_secs();
    for change in [
        ("iss", json!("https://evil.example")),
        ("iss", json!("https://api.example.com/")),
        ("iss", json!(1)),
        ("aud", json!("https://other.example")),
        ("aud", json!(["https://other.example"])),
        ("aud", Value::Null),
        ("exp", Value::Null),
        ("exp", json!("tomorrow")),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("nbf", json!(now + 31)),
        ("iat", json!(now + 31)),
        ("sub", json!("")),
        ("sub", json!("a\r\nX-Evil: 1")),
        ("sub", json!({"a": 1})),
        ("role", json!("admin,editor")),
        ("role", json!([1])),
        ("sid", Value::Null),
        ("jti", json!(7)),
        ("ver", json!(-1)),
    ] {
        house.refuses(&house.sign(&with(&[change])));
    }
    for change in [
        ("aud", json!(["https://other.example", "https://api.example.com"])),
        ("nbf", json!(now + 30)),
        ("exp", json!(now as f64 + 900.5)),
        ("role", json!(["editor", "viewer"])),
    ] {
        assert!(house.judge(&house.sign(&with(std::slice::from_ref(&change)))).is_ok(), "{change:?}");
    }
}

#[test]
fn t8_expiry_has_a_leeway_and_its_own_answer() {
    let house = house(Algorithm::EdDsa);
    let token = house.sign(&claims());
    let at = |secs: u64| judge_at(&house.verifier, &token, NOW.after(Duration::from_secs(secs)));
    assert!(at(929).is_ok());
    assert_eq!(at(930).unwrap_err(), Reason::TokenExpired, "remembered");
    assert_eq!(at(930).unwrap_err(), Reason::TokenExpired, "verified again");
    // A forged token that is expired as well is not told so.
    let (head, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", URL_SAFE_NO_PAD.encode([1; 64]));
    let judged = judge_at(&house.verifier, &forged, NOW.after(Duration::from_secs(2000)));
    assert!(matches!(judged, Err(Reason::InvalidToken(_))));
}

#[test]
fn an_issuer_of_others_maps_its_claims_and_is_held_to_its_algorithms() {
    let key = SigningKey::generate(Algorithm::Rs256).unwrap();
    let jwks = KeySet::new(vec![key.verification_key().clone()]).unwrap().public_jwks_json();
    let issuer = Issuer {
        name: Some("keycloak".into()),
        iss: "https://id.example/realms/x".into(),
        audiences: vec!["api".into()],
        algorithms: vec![Algorithm::Rs256],
        typ: None,
        claims: ClaimNames {
            user: "preferred_username".into(),
            roles: "realm_access.roles".into(),
            plan: "tier".into(),
            permissions: Some("scope".into()),
            keep: vec!["tenant".into()],
        },
        ..own(KeySource::new(KeySet::from_jwks(&jwks).unwrap()), vec![])
    };
    let payload = json!({
        "iss": "https://id.example/realms/x", "aud": ["api", "account"], "sub": "x", "preferred_username": "ann",
        "realm_access": {"roles": ["viewer", "editor"]}, "tier": "enterprise", "scope": "posts:read posts:write",
        "tenant": 42, "exp": NOW.as_secs() + 60,
    });
    let token = key.sign("JWT", payload.to_string().as_bytes()).unwrap();
    let verifier = TokenVerifier::new(vec![issuer.clone()], 10);
    let principal = judge_at(&verifier, &token, NOW).unwrap();
    let parts = principal.parts();
    assert_eq!(&*parts.subject, "ann");
    assert_eq!(parts.roles.len(), 2);
    assert_eq!(parts.permissions.len(), 2);
    assert_eq!(parts.claims, BTreeMap::from([("tenant".into(), "42".into())]));
    assert!(!principal.is_local());
    let narrowed = TokenVerifier::new(vec![Issuer { algorithms: vec![Algorithm::Ps256], ..issuer }], 10);
    assert!(matches!(judge_at(&narrowed, &token, NOW), Err(Reason::InvalidToken(_))));
}

#[test]
fn t3_a_pem_key_verifies_what_its_private_half_signed() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps512, Algorithm::Es512] {
        let key = SigningKey::generate(algorithm).unwrap();
        let pem = pem("PRIVATE KEY", key.private().expose());
        assert_eq!(SigningKey::from_pem(algorithm, &pem).unwrap().kid(), key.kid());
        assert!(VerificationKey::from_pem(algorithm, None, &pem).is_err(), "a private key is no public one");
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
