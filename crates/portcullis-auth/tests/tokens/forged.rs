//! T2: tokens that somebody made who may not.

use super::*;

#[test]
fn t2_algorithm_confusion_is_refused() {
    // CVE-2015-9235, CVE-2023-48223: the public key's text as the secret of an HMAC.
    let house = house(Algorithm::Rs256);
    let jwks = house.source.load().1.public_jwks_json();
    for secret in [
        jwks.as_bytes(),
        house.key.kid().as_bytes(),
        public_pem(&house.key).as_bytes(),
        public_pem(&house.key).trim().as_bytes(),
    ] {
        let forger = SigningKey::from_private(Algorithm::Hs256, secret).unwrap();
        let token = forger.sign("at+jwt", claims().to_string().as_bytes()).unwrap();
        house.refuses(&token);
        house.refuses(&with_header(&token, &json!({"alg": "HS256", "typ": "at+jwt", "kid": house.key.kid()})));
    }
}

/// The public half of an RSA key as everybody may have it.
fn public_pem(key: &SigningKey) -> String {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
    let pair = RsaKeyPair::from_pkcs8(key.private().expose()).unwrap();
    pem("PUBLIC KEY", pair.public_key().as_der().unwrap().as_ref())
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
    // CVE-2018-0114: a key that comes with the token; CVE-2022-23540 and its kin: `none`.
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
    house.refuses(&".".repeat(8192));
    house.refuses(&"A".repeat(8192));
    house.refuses(&"[".repeat(4000));
}

#[test]
fn t2_no_octet_of_a_token_can_be_changed() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Hs256, Algorithm::Rs256] {
        let house = house(algorithm);
        let token = house.sign(&claims());
        for at in 0..token.len() {
            for with in [b'A', b'_', b'.', b' ', token.as_bytes()[at] ^ 1, token.as_bytes()[at] ^ 0x20] {
                let mut changed = token.clone().into_bytes();
                if changed[at] == with {
                    continue;
                }
                changed[at] = with;
                house.refuses(std::str::from_utf8(&changed).unwrap());
            }
            house.refuses(&token[..at]);
        }
        // Parts of two good tokens do not make a third.
        let other = house.sign(&with(&[("sub", json!("admin"))]));
        let (mine, theirs): (Vec<&str>, Vec<&str>) = (token.split('.').collect(), other.split('.').collect());
        house.refuses(&format!("{}.{}.{}", mine[0], theirs[1], mine[2]));
    }
}

#[test]
fn t2_signatures_of_another_form_are_refused() {
    let house = house(Algorithm::Es256);
    let token = house.sign(&claims());
    let (head, signature) = token.rsplit_once('.').unwrap();
    let fixed = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let (r, s) = fixed.split_at(32);
    let der = [&[0x30, 70, 2, 33, 0][..], r, &[2, 33, 0], s].concat();
    for form in [der, [&[0], r, &[0], s].concat(), [&fixed[..], &[0]].concat(), fixed[..63].to_vec(), Vec::new()] {
        house.refuses(&format!("{head}.{}", URL_SAFE_NO_PAD.encode(form)));
    }
    // r and s at the order of P-256, which is zero in disguise.
    let order = b"\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51";
    house.refuses(&format!("{head}.{}", URL_SAFE_NO_PAD.encode([&order[..], &order[..]].concat())));
}

#[test]
fn t2_two_issuers_cannot_speak_for_each_other() {
    let (ours, theirs) = (house(Algorithm::Es256), SigningKey::generate(Algorithm::Es256).unwrap());
    let named = |iss: &str, key: &SigningKey| Issuer {
        name: Some(iss.into()),
        iss: iss.into(),
        typ: None,
        ..own(KeySource::new(KeySet::new(vec![key.verification_key().clone()]).unwrap()), vec![Algorithm::Es256])
    };
    let issuers = vec![own(ours.source.clone(), vec![Algorithm::Es256]), named("https://other.example", &theirs)];
    let verifier = TokenVerifier::new(issuers, 10);
    let judge = |key: &SigningKey, iss: &str| {
        let token = key.sign("at+jwt", with(&[("iss", json!(iss))]).to_string().as_bytes()).unwrap();
        judge_at(&verifier, &token, NOW).map(|principal| principal.is_local())
    };
    assert_eq!(judge(&ours.key, "https://api.example.com"), Ok(true));
    assert_eq!(judge(&theirs, "https://other.example"), Ok(false), "another's user is never one of ours");
    assert!(judge(&theirs, "https://api.example.com").is_err());
    assert!(judge(&ours.key, "https://other.example").is_err());
    for iss in ["HTTPS://api.example.com", "https://api.example.com ", "https://api.example.com.evil.example", ""] {
        assert!(judge(&ours.key, iss).is_err(), "{iss}");
    }
}

#[test]
fn t2_an_all_zero_ecdsa_signature_is_refused() {
    // CVE-2022-21449: r = s = 0 verifies any message where nobody looks at the range.
    let house = house(Algorithm::Es256);
    let token = house.sign(&claims());
    let (head, _) = token.rsplit_once('.').unwrap();
    house.refuses(&format!("{head}.{}", URL_SAFE_NO_PAD.encode([0; 64])));
}
