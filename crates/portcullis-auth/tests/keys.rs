//! T1, T2, T3: which keys are believed, and what a set of them tells.

#![expect(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_auth::{Algorithm, KeyError, KeySet, SigningKey, VerificationKey, jws};
use serde_json::{Value, json};

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn jwk_of(key: &VerificationKey) -> Value {
    let set = KeySet::new(vec![key.clone()]).unwrap().public_jwks_json();
    serde_json::from_str::<Value>(&set).unwrap()["keys"][0].clone()
}

fn generated(algorithm: Algorithm) -> VerificationKey {
    SigningKey::generate(algorithm).unwrap().verification_key().clone()
}

fn import(jwk: &Value) -> Result<VerificationKey, KeyError> {
    VerificationKey::from_jwk(&jwk.to_string(), None)
}

/// An RSA key with this modulus.
fn rsa(modulus: &[u8], exponent: &[u8]) -> Value {
    json!({"kty": "RSA", "alg": "RS256", "n": base64url(modulus), "e": base64url(exponent)})
}

/// A PEM block around a SubjectPublicKeyInfo: the tag, the algorithm and the bits are the test's.
fn spki_pem(algorithm: &[u8], key: &[u8]) -> String {
    let element = |tag: u8, content: &[u8]| {
        let mut out = vec![tag];
        match u8::try_from(content.len()) {
            Ok(short) if short < 0x80 => out.push(short),
            Ok(long) => out.extend([0x81, long]),
            Err(_) => out.extend([&[0x82][..], &u16::try_from(content.len()).unwrap().to_be_bytes()].concat()),
        }
        out.extend_from_slice(content);
        out
    };
    let bits = element(0x03, &[&[0], key].concat());
    let spki = element(0x30, &[element(0x30, algorithm), bits].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(spki))
}

const ED25519: &[u8] = &[6, 3, 0x2b, 0x65, 0x70];
const EC_P256: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

#[test]
fn t3_a_kid_is_the_thumbprint_of_rfc_7638() {
    // RFC 8037 appendix A.3.
    let key = import(&json!({
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "kid": "another", "use": "sig", "alg": "EdDSA", "x5t": "ignored",
    }));
    assert_eq!(key.unwrap().thumbprint().unwrap(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    for algorithm in [Algorithm::Es256, Algorithm::Es512, Algorithm::Rs256, Algorithm::EdDsa] {
        let key = SigningKey::generate(algorithm).unwrap();
        assert_eq!(key.verification_key().thumbprint().unwrap(), key.kid());
        assert_eq!(key.verification_key().kid(), Some(key.kid()));
    }
    let secret = SigningKey::generate(Algorithm::Hs256).unwrap();
    assert_eq!(secret.verification_key().thumbprint(), None);
    assert!(!format!("{secret:?}{:?}", secret.verification_key()).contains("Secret(["), "nothing of it is shown");
}

#[test]
fn t3_a_jwk_set_never_shows_a_private_part() {
    let private = json!({"keys": [{
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", "ext": true,
    }]});
    let set = KeySet::from_jwks(&private.to_string()).unwrap();
    let shown: Value = serde_json::from_str(&set.public_jwks_json()).unwrap();
    let names: Vec<&String> = shown["keys"][0].as_object().unwrap().keys().collect();
    assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x"]);
    for algorithm in [Algorithm::Hs256, Algorithm::Hs512] {
        let set = KeySet::new(vec![generated(algorithm)]).unwrap();
        assert_eq!(set.public_jwks_json(), r#"{"keys":[]}"#);
    }
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| !generated(*algorithm).is_secret()) {
        let key = generated(algorithm);
        let again = KeySet::from_jwks(&KeySet::new(vec![key.clone()]).unwrap().public_jwks_json()).unwrap();
        assert_eq!(again.keys()[0].thumbprint(), key.thumbprint(), "{algorithm}");
        assert_eq!(again.keys()[0].algorithm(), algorithm);
    }
}

#[test]
fn t1_weak_rsa_keys_are_refused() {
    let healthy = jwk_of(&generated(Algorithm::Rs256));
    let modulus = URL_SAFE_NO_PAD.decode(healthy["n"].as_str().unwrap()).unwrap();
    assert!(import(&rsa(&modulus, &[1, 0, 1])).is_ok());
    assert!(import(&rsa(&[&[0, 0], &modulus[..]].concat(), &[0, 1, 0, 1])).is_ok(), "leading zeros mean nothing");
    for exponent in [&[][..], &[0], &[1], &[0, 1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
        assert!(matches!(import(&rsa(&modulus, exponent)), Err(KeyError::Weak(_))), "{exponent:?}");
    }
    assert!(matches!(import(&rsa(&modulus[..255], &[1, 0, 1])), Err(KeyError::Weak(_))), "2040 bits");
    assert!(matches!(import(&rsa(&[0x7f; 256], &[1, 0, 1])), Err(KeyError::Weak(_))), "2047 bits");
    assert!(matches!(import(&rsa(&[0xff; 1025], &[1, 0, 1])), Err(KeyError::Weak(_))), "8200 bits");
    assert!(matches!(import(&rsa(&[], &[1, 0, 1])), Err(KeyError::Weak(_))));
    let mut even = modulus;
    *even.last_mut().unwrap() &= 0xfe;
    assert!(import(&rsa(&even, &[1, 0, 1])).is_err());
}

#[test]
fn t1_short_secrets_are_refused() {
    for (algorithm, length) in [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)] {
        assert!(VerificationKey::from_secret(algorithm, None, &vec![7; length]).is_ok());
        let short = VerificationKey::from_secret(algorithm, None, &vec![7; length - 1]);
        assert!(matches!(short, Err(KeyError::Weak(_))));
        assert!(SigningKey::from_private(algorithm, &vec![7; length - 1]).is_err());
    }
    let mismatch = VerificationKey::from_secret(Algorithm::Es256, None, &[7; 64]);
    assert_eq!(mismatch.unwrap_err(), KeyError::Mismatch("ES256".into()));
}

#[test]
fn t2_points_that_are_no_keys_are_refused() {
    let jwk = jwk_of(&generated(Algorithm::Es256));
    let change = |name: &str, value: &str| {
        let mut jwk = jwk.clone();
        jwk[name] = value.into();
        import(&jwk).unwrap_err()
    };
    let x = jwk["x"].as_str().unwrap();
    assert_eq!(change("y", x), KeyError::Invalid, "off the curve");
    assert_eq!(change("x", &base64url([0; 32])), KeyError::Invalid);
    assert_eq!(change("x", &base64url([0; 31])), KeyError::Invalid, "RFC 7518 §6.2.1.2: the full length");
    assert_eq!(change("x", &base64url([0; 33])), KeyError::Invalid);
    assert!(matches!(change("x", &format!("{x}=")), KeyError::Jwk(_)), "padded");
    assert_eq!(change("crv", "P-384"), KeyError::Mismatch("ES256".into()));
    assert_eq!(change("crv", "secp256k1"), KeyError::Curve("secp256k1".into()));
    assert_eq!(change("alg", "HS256"), KeyError::Mismatch("HS256".into()));
    assert_eq!(change("alg", "none"), KeyError::Algorithm("none".into()));
    assert_eq!(change("use", "enc"), KeyError::Use);
    assert!(matches!(change("kty", "oct"), KeyError::Jwk(_)));
}

#[test]
fn t2_an_ed25519_key_that_verifies_what_anybody_can_sign_is_refused() {
    let order_eight = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let order_eight = <[u8; 32]>::try_from(hex::decode(order_eight).unwrap()).unwrap();
    let number = |low: u8| std::array::from_fn::<u8, 32, _>(|index| if index == 0 { low } else { 0 });
    let near_p = |low: u8| {
        std::array::from_fn::<u8, 32, _>(|index| match index {
            0 => low,
            31 => 0x7f,
            _ => 0xff,
        })
    };
    for mut point in [number(0), number(1), order_eight, near_p(0xec), near_p(0xed), near_p(0xee)] {
        for sign in [0, 0x80] {
            point[31] = point[31] & 0x7f | sign;
            let imported = import(&json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(point)}));
            assert!(matches!(imported, Err(KeyError::Weak(_))), "{}", hex::encode(point));
            let pem = VerificationKey::from_pem(Algorithm::EdDsa, None, &spki_pem(ED25519, &point));
            assert!(matches!(pem, Err(KeyError::Weak(_))), "{}", hex::encode(point));
        }
    }
    for _ in 0..100 {
        generated(Algorithm::EdDsa);
    }
}

#[test]
fn t3_a_public_key_in_pem_verifies_what_its_private_half_signed() {
    let ec = SigningKey::generate(Algorithm::Es256).unwrap();
    let jwk = jwk_of(ec.verification_key());
    let decode = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let point = [vec![4], decode("x"), decode("y")].concat();
    let pem = spki_pem(EC_P256, &point);
    let key = VerificationKey::from_pem(Algorithm::Es256, None, &pem).unwrap();
    assert_eq!(key.thumbprint().as_deref(), Some(ec.kid()));
    let token = ec.sign("JWT", b"{}").unwrap();
    assert_eq!(jws::verify(&token, &KeySet::new(vec![key]).unwrap()).unwrap(), b"{}");

    // A key is of its own kind, whatever is asked of it.
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::Es256) {
        assert!(VerificationKey::from_pem(algorithm, None, &pem).is_err(), "{algorithm}");
    }
    assert!(VerificationKey::from_pem(Algorithm::Es256, None, &pem.repeat(2)).is_err(), "which one is meant?");
    assert!(
        VerificationKey::from_pem(Algorithm::Es256, None, &spki_pem(EC_P256, &[&point[..], &[0]].concat())).is_err()
    );
    let mut compressed = point[..33].to_vec();
    compressed[0] = 2;
    assert!(VerificationKey::from_pem(Algorithm::Es256, None, &spki_pem(EC_P256, &compressed)).is_err());
}

#[test]
fn t2_a_set_in_which_the_key_is_not_clear_is_refused() {
    let (one, two) = (generated(Algorithm::Es256), generated(Algorithm::EdDsa));
    let secret = generated(Algorithm::Hs256);
    assert!(KeySet::new(vec![one.clone(), two.clone()]).is_ok());
    let twice = KeySet::new(vec![one.clone().named("k"), two.clone().named("k")]);
    assert_eq!(twice.unwrap_err(), KeyError::DuplicateKid("k".into()));
    assert_eq!(KeySet::new(vec![one.clone(), secret]).unwrap_err(), KeyError::MixedSet);

    // Without a `kid` only a key that stands alone can be meant.
    let signer = SigningKey::generate(Algorithm::Hs256).unwrap();
    let verifier = VerificationKey::from_secret(Algorithm::Hs256, None, signer.private().expose()).unwrap();
    let other = VerificationKey::from_secret(Algorithm::Hs256, Some("other"), &[1; 32]).unwrap();
    let token = signer.sign("JWT", b"{}").unwrap();
    assert!(jws::verify(&token, &KeySet::new(vec![verifier.clone()]).unwrap()).is_ok());
    let both = KeySet::new(vec![verifier, other]).unwrap();
    assert_eq!(jws::verify(&token, &both).unwrap_err(), jws::JwsError::UnknownKey);
    assert_eq!(jws::verify(&token, &KeySet::default()).unwrap_err(), jws::JwsError::UnknownKey);
}

#[test]
fn t11_an_issuer_may_publish_keys_that_we_do_not_follow() {
    let good = jwk_of(&generated(Algorithm::Es256));
    let mut encrypts = jwk_of(&generated(Algorithm::Es256));
    encrypts.as_object_mut().unwrap().remove("use");
    encrypts["key_ops"] = json!(["deriveKey"]);
    for beside in [
        json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "use": "sig"}),
        json!({"kty": "OKP", "crv": "Ed448", "x": "AA", "use": "sig"}),
        json!({"kty": "RSA", "alg": "RSA-OAEP", "n": "AA", "e": "AQAB"}),
        json!({"kty": "RSA", "use": "enc", "n": "AA", "e": "AQAB"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
        json!({"kid": "no type"}),
        encrypts,
    ] {
        let set = KeySet::from_jwks(&json!({"keys": [beside, good]}).to_string());
        assert_eq!(set.unwrap().keys().len(), 1, "{beside}");
        let alone = KeySet::from_jwks(&json!({"keys": [beside]}).to_string());
        assert_eq!(alone.unwrap_err(), KeyError::Empty, "{beside}");
    }
    // A key for signatures that is weak or broken is found out at once.
    let mut broken = good.clone();
    broken["y"] = broken["x"].clone();
    for beside in [broken, json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), json!({"kty": "EC", "crv": 7}), json!(7)] {
        assert!(KeySet::from_jwks(&json!({"keys": [good, beside]}).to_string()).is_err(), "{beside}");
    }
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
        assert!(KeySet::from_jwks(text).is_err(), "{text}");
    }
}
