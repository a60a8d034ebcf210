//! T1, T2, T8: what a verifier does with tokens of its own and of others, good and forged.

#![expect(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

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
fn t2_algorithm_confusion_is_refused() {
    // CVE-2015-9235: the public key's text as the secret of an HMAC.
    let house = house(Algorithm::Rs256);
    let jwks = house.source.load().1.public_jwks_json();
    for secret in
        [jwks.as_bytes(), house.key.kid().as_bytes(), b"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"]
    {
        let forger = SigningKey::from_private(Algorithm::Hs256, secret).unwrap();
        let token = forger.sign("at+jwt", claims().to_string().as_bytes()).unwrap();
        house.refuses(&token);
        house.refuses(&with_header(&token, &json!({"alg": "HS256", "typ": "at+jwt", "kid": house.key.kid()})));
    }
}

/// The same payload and signature under another header.
fn with_header(token: &str, header: &Value) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

#[test]
fn t2_headers_that_ask_for_trust_are_refused() {
    let house = house(Algorithm::Es256);
    let kid = house.key.kid().to_owned();
    let payload = URL_SAFE_NO_PAD.encode(claims().to_string());
    // CVE-2018-0114: a key that comes with the token; CVE-2015-2797 and its kin: `none`.
    let base = json!({"alg": "ES256", "typ": "at+jwt", "kid": kid});
    for (name, value) in [
        ("alg", json!("none")),
        ("alg", json!("None")),
        ("alg", json!("es256")),
        ("alg", json!("ES384")),
        ("alg", json!(["ES256"])),
        ("alg", Value::Null),
        ("jwk", json!({"kty": "EC"})),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("kid", json!("../../dev/null")),
        ("kid", json!("x' UNION SELECT 'a")),
        ("kid", json!(7)),
        ("kid", json!("k".repeat(5000))),
    ] {
        let mut header = base.clone();
        header[name] = value;
        let input = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header.to_string()));
        // Signed by the right key, so that nothing but the header can be the reason.
        let token = house.key.sign_input_for_test(&input);
        house.refuses(&token);
    }
    let unsigned = format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#));
    house.refuses(&unsigned);
}

/// Signs an arbitrary signing input by cutting it out of the library's way: the header is replaced before signing.
trait SignInput {
    fn sign_input_for_test(&self, input: &str) -> String;
}

impl SignInput for SigningKey {
    fn sign_input_for_test(&self, input: &str) -> String {
        use aws_lc_rs::rand::SystemRandom;
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, self.private().expose()).unwrap();
        let signature = pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[test]
fn t2_a_valid_header_signed_the_same_way_is_accepted() {
    let house = house(Algorithm::Es256);
    let header = json!({"alg": "ES256", "typ": "application/at+jwt", "kid": house.key.kid()});
    let input =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims().to_string()));
    assert!(house.judge(&house.key.sign_input_for_test(&input)).is_ok());
}

#[test]
fn t2_duplicate_claims_and_other_types_are_refused() {
    let house = house(Algorithm::Es256);
    let text = claims().to_string();
    let twice = text.replacen('{', r#"{"sub":"admin","#, 1);
    house.refuses(&house.key.sign("at+jwt", twice.as_bytes()).unwrap());
    house.refuses(&house.key.sign("JWT", text.as_bytes()).unwrap());
    house.refuses(&house.key.sign("at+jwt", b"[]").unwrap());
    house.refuses(&house.key.sign("at+jwt", b"not json").unwrap());
}

#[test]
fn t2_a_token_has_one_spelling() {
    let house = house(Algorithm::Es256);
    let token = house.sign(&claims());
    assert!(house.judge(&token).is_ok());
    for respelled in [
        format!("{token}="),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.x"),
        token.replacen('.', "..", 1),
        token[..token.len() - 2].to_owned(),
        format!("{token}\u{e9}"),
        String::new(),
        "..".to_owned(),
        "a.b.c".to_owned(),
    ] {
        house.refuses(&respelled);
    }
    let long = house.sign(&with(&[("pad", json!("x".repeat(9000)))]));
    house.refuses(&long);
}

#[test]
fn t2_an_all_zero_ecdsa_signature_is_refused() {
    // CVE-2022-21449: r = s = 0 verifies any message where nobody looks at the range.
    let house = house(Algorithm::Es256);
    let token = house.sign(&claims());
    let (head, _) = token.rsplit_once('.').unwrap();
    house.refuses(&format!("{head}.{}", URL_SAFE_NO_PAD.encode([0; 64])));
}

#[test]
fn t3_a_rotated_key_takes_what_it_verified_along() {
    let house = house(Algorithm::Es256);
    let token = house.sign(&claims());
    assert!(house.judge(&token).is_ok());
    assert!(matches!(house.verifier.lookup(&token, Scheme::Bearer, NOW), Lookup::Known(Ok(_))));
    let next = SigningKey::generate(Algorithm::Es256).unwrap();
    let both = vec![house.key.verification_key().clone(), next.verification_key().clone()];
    house.source.replace(KeySet::new(both).unwrap());
    assert!(house.judge(&token).is_ok(), "a retired key still verifies");
    house.source.replace(KeySet::new(vec![next.verification_key().clone()]).unwrap());
    house.refuses(&token);
}

#[test]
fn a_remembered_token_keeps_the_place_where_it_was_presented() {
    let house = house(Algorithm::Es256);
    let token = house.sign(&claims());
    assert_eq!(house.judge(&token).unwrap().parts().scheme, Scheme::Bearer);
    let Lookup::Unknown(name) = house.verifier.lookup(&token, Scheme::Cookie, NOW) else { panic!("not as a cookie") };
    let cookie = house.verifier.verify(&token, name, Scheme::Cookie, NOW).unwrap();
    assert_eq!(cookie.parts().scheme, Scheme::Cookie);
    assert_eq!(house.judge(&token).unwrap().parts().scheme, Scheme::Bearer);
}

#[test]
fn only_successes_are_remembered_and_the_memory_is_bounded() {
    let key = SigningKey::generate(Algorithm::Hs256).unwrap();
    let source = KeySource::new(KeySet::new(vec![key.verification_key().clone()]).unwrap());
    let verifier = TokenVerifier::new(vec![own(source, vec![Algorithm::Hs256])], 100);
    for index in 0..1000 {
        let token = key.sign("at+jwt", with(&[("jti", json!(index.to_string()))]).to_string().as_bytes()).unwrap();
        assert!(judge_at(&verifier, &token, NOW).is_ok());
        assert!(judge_at(&verifier, &format!("{token}x"), NOW).is_err());
    }
    assert!(verifier.remembered() <= 100, "{}", verifier.remembered());
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
