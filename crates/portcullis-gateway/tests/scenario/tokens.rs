//! Access tokens: what they say, when they end, what a wrong one is told (T1, T2, T3, T8).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::projects;
use crate::support::{claims, jose_header};

#[test]
fn t1_an_access_token_carries_the_promised_claims() {
    let (_origin, gateway) = projects();
    gateway.create_user("claims@example.com", "editor");
    let (first, _) = gateway.login("claims@example.com");
    let (second, _) = gateway.login("claims@example.com");

    let header = jose_header(&first);
    assert_eq!(header["typ"], "at+jwt", "RFC 9068: {header}");
    assert_eq!(header["alg"], "ES256", "{header}");
    assert!(header["kid"].is_string(), "{header}");

    let one = claims(&first);
    assert_eq!(one["iss"], format!("http://{}", gateway.listen), "{one}");
    assert!(one["aud"] == one["iss"] || one["aud"] == json!([one["iss"]]), "{one}");
    assert_eq!(one["role"], "editor", "{one}");
    assert_eq!(one["exp"].as_i64().unwrap() - one["iat"].as_i64().unwrap(), 900, "{one}");
    for name in ["sub", "client_id", "jti", "sid"] {
        assert!(one[name].as_str().is_some_and(|text| !text.is_empty()), "{name} in {one}");
    }
    assert!(!one["ver"].is_null(), "{one}");
    assert!(one.get("email").is_none(), "the e-mail is off by default: {one}");

    let two = claims(&second);
    assert_eq!(one["sub"], two["sub"]);
    assert_ne!(one["jti"], two["jti"]);
    assert_ne!(one["sid"], two["sid"], "each login is a session of its own");
}

#[test]
fn t1_an_access_token_ends_after_fifteen_minutes() {
    let (_origin, gateway) = projects();
    let token = gateway.token("viewer");
    let call = || gateway.client().get("/projects").bearer(&token).send();
    call().expect(200);
    gateway.operator().advance("14m");
    call().expect(200);
    // The leeway for clocks that differ is half a minute.
    gateway.operator().advance("2m");
    let reply = call().refused(401, "Token expired");
    let challenge = reply.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer") && challenge.contains("error=\"invalid_token\""), "{challenge}");
}

#[test]
fn t8_nothing_and_nonsense_are_told_apart() {
    let (origin, gateway) = projects();
    let reply = gateway.client().get("/projects").send().refused(401, "Authentication required");
    let challenge = reply.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer") && !challenge.contains("error="), "RFC 6750 section 3.1: {challenge}");

    let nonsense = ["x", "a.b.c", "....", "e30.e30.", "null", &"a".repeat(20_000)];
    for token in nonsense {
        let reply = gateway.client().get("/projects").bearer(token).send();
        // What is longer than any head may be is refused as such.
        if token.len() < 10_000 {
            let reply = reply.refused(401, "Invalid or expired token");
            assert!(reply.header("www-authenticate").unwrap().contains("invalid_token"));
        } else {
            assert!((400..500).contains(&reply.status), "{}", reply.status);
        }
    }
    for value in ["Bearer", "Bearer ", "Bearer a b", "Basic dTpw", "Token abc", ""] {
        let reply = gateway.client().get("/projects").header("Authorization", value).send();
        assert_eq!(reply.status, 401, "{value:?}: {}", reply.text());
    }
    assert!(origin.requests().is_empty(), "nothing of it reached the API");
}

#[test]
fn t8_a_bad_explicit_credential_never_falls_through_to_anonymous() {
    let (origin, gateway) = projects();
    gateway.client().get("/public/status").send().expect(200);
    gateway.client().get("/public/status").bearer("a.b.c").send().refused(401, "Invalid or expired token");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn t8_two_credentials_at_once_are_refused() {
    let (origin, gateway) = projects();
    let token = gateway.token("viewer");
    let reply = gateway.client().get("/projects").bearer(&token).bearer("a.b.c").send();
    assert!(matches!(reply.status, 400 | 401), "{}", reply.text());
    let reply = gateway.client().get("/projects").bearer(&token).bearer(&token).send();
    assert!(matches!(reply.status, 400 | 401), "{}", reply.text());
    assert!(origin.requests().is_empty());
    gateway.client().get("/projects").header("authorization", &format!("bEARER {token}")).send().expect(200);
}

#[test]
fn t2_a_token_that_was_changed_is_refused() {
    let (origin, gateway) = projects();
    let token = gateway.token("viewer");
    let parts: Vec<&str> = token.split('.').collect();
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = jose_header(&token);
    let mut payload = claims(&token);
    payload["role"] = json!("admin");
    let raised = encode(&payload);
    let unsigned = |alg: &str| encode(&json!({ "typ": "at+jwt", "alg": alg, "kid": header["kid"] }));
    let embedded = encode(&json!({
        "typ": "at+jwt", "alg": "ES256", "jwk": { "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" },
    }));
    let mut flipped = parts[2].to_owned();
    let first = if flipped.starts_with('A') { "B" } else { "A" };
    flipped.replace_range(0..1, first);

    let forged = [
        format!("{}.{raised}.{}", parts[0], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.{flipped}", parts[0], parts[1]),
        format!("{}.{}.{}.{}", parts[0], parts[1], parts[2], parts[2]),
        format!("{}.{raised}.", unsigned("none")),
        format!("{}.{raised}.{}", unsigned("none"), parts[2]),
        format!("{}.{raised}.{}", unsigned("HS256"), parts[2]),
        format!("{embedded}.{raised}.{}", parts[2]),
        format!("{token}="),
        format!("{}={}.{}.{}", parts[0], "", parts[1], parts[2]),
    ];
    for token in &forged {
        let reply = gateway.client().get("/analytics").bearer(token).send();
        assert_eq!((reply.status, reply.error().as_str()), (401, "Invalid or expired token"), "{token}");
        let reply = gateway.client().get("/projects").bearer(token).send();
        assert_eq!((reply.status, reply.error().as_str()), (401, "Invalid or expired token"), "{token}");
    }
    assert!(origin.requests().is_empty());
    gateway.client().get("/projects").bearer(&token).send().expect(200);
}

#[test]
fn t2_the_public_key_is_no_secret_to_sign_with() {
    let (origin, gateway) = projects();
    let token = gateway.token("viewer");
    let jwks = gateway.client().get("/.well-known/jwks.json").send().expect(200);
    let key = jwks.json()["keys"][0].clone();
    let mut payload = claims(&token);
    payload["role"] = json!("admin");
    let header = json!({ "typ": "at+jwt", "alg": "HS256", "kid": key["kid"] });
    let signed =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload.to_string()));
    let point = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap_or_default()).unwrap_or_default();
    let uncompressed = [&[4][..], &point("x"), &point("y")].concat();
    for secret in [uncompressed, point("x"), key.to_string().into_bytes(), jwks.body.clone()] {
        let mac =
            aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret), signed.as_bytes());
        let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac));
        gateway.client().get("/analytics").bearer(&forged).send().refused(401, "Invalid or expired token");
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn t3_the_key_set_is_public_and_holds_nothing_private() {
    let (_origin, gateway) = projects();
    let token = gateway.token("viewer");
    let reply = gateway.client().get("/.well-known/jwks.json").send().expect(200);
    let set = reply.json();
    let keys = set["keys"].as_array().unwrap();
    assert!(keys.iter().any(|key| key["kid"] == jose_header(&token)["kid"]), "{set}");
    for key in keys {
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(key.get(private).is_none(), "{private} in {set}");
        }
        assert_eq!(key["alg"], "ES256", "{set}");
    }
}

#[test]
fn t3_a_token_outlives_a_restart_and_the_rotation_of_its_key() {
    let (_origin, mut gateway) = projects();
    let token = gateway.token("viewer");
    gateway.kill();
    gateway.launch();
    gateway.client().get("/projects").bearer(&token).send().expect(200);

    let output = gateway.command(&["keys", "rotate"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The running gateway sees the new key by itself.
    let fresh = crate::support::eventually("a token of the new key", std::time::Duration::from_secs(10), || {
        let (fresh, _) = gateway.login("viewer@example.com");
        let new = jose_header(&fresh)["kid"] != jose_header(&token)["kid"];
        if !new {
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        new.then_some(fresh)
    });
    gateway.client().get("/projects").bearer(&token).send().expect(200);
    gateway.client().get("/projects").bearer(&fresh).send().expect(200);
    let set = gateway.client().get("/.well-known/jwks.json").send().expect(200).json();
    assert!(set["keys"].as_array().unwrap().len() >= 2, "the retired key still verifies: {set}");
}
