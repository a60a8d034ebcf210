//! Every endpoint and its refusals: the lists that the routers are made of are walked, and an endpoint without its cases here
//! fails (T8, O4).

use std::fs::Permissions;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_gateway::identity_api::{ENDPOINTS, Need};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{Client, Reply};
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES};

const PARTNER: &str = "7c1f0e9ab25d48361e7a90c4bd52f8139a6e04d7c3b18f25";

/// A gate that believes a second issuer, whose users have no accounts here.
fn start() -> ((Origin, TempDir), Gateway) {
    let origin = Origin::echo();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("partner.secret");
    std::fs::write(&secret, PARTNER).unwrap();
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let issuer = format!(
        "[[issuer]]\nname = \"partner\"\nissuer = \"https://partner.example\"\naudience = \"api\"\nsecret_file = \"{}\"\n",
        secret.display()
    );
    let limits = "[limits]\npreset = \"none\"\n";
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with(limits).with(&issuer).start();
    ((origin, folder), gateway)
}

/// A token that somebody signed with a shared secret.
fn signed(issuer: &str, secret: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "the process under test goes by the real time")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "iss": issuer, "aud": "api", "sub": "eve", "role": "admin", "iat": now, "exp": now + 86_400 });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(&json!({ "alg": "HS256", "typ": "JWT" })), encode(&claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, message.as_bytes())))
}

/// What each public endpoint answers to this body of somebody whom nothing is known of.
fn public_case(pattern: &str) -> Option<(Value, u16)> {
    let unused = "0".repeat(64);
    Some(match pattern {
        "POST /auth/register" => (json!({ "email": "new@example.com", "password": PASSWORD }), 202),
        "POST /auth/resend-verification" | "POST /auth/forgot-password" => (json!({ "email": "new@example.com" }), 202),
        "POST /auth/login" => (json!({ "email": "ann@example.com", "password": PASSWORD }), 200),
        "POST /auth/verify" | "POST /auth/confirm-email" | "POST /auth/confirm-device" => {
            (json!({ "token": unused }), 400)
        }
        "POST /auth/reset-password" => (json!({ "token": unused, "password": PASSWORD }), 400),
        "POST /auth/refresh" => (json!({ "refreshToken": unused }), 401),
        "POST /auth/logout" => (json!({ "refreshToken": unused }), 204),
        "GET /auth/verify" | "GET /auth/reset-password" | "GET /auth/confirm-email" | "GET /auth/confirm-device" => {
            (Value::Null, 400)
        }
        "GET /auth/login"
        | "GET /auth/register"
        | "GET /auth/forgot-password"
        | "GET /auth/openapi.json"
        | "GET /.well-known/jwks.json" => (Value::Null, 200),
        _ => return None,
    })
}

/// What is sent to each endpoint that needs a login. It is good, so that nothing but the caller can be refused.
fn login_case(pattern: &str) -> Option<Value> {
    Some(match pattern {
        "GET /auth/me"
        | "GET /auth/sessions"
        | "GET /auth/api-keys"
        | "POST /auth/logout-all"
        | "DELETE /auth/sessions/{id}"
        | "POST /auth/sessions/{id}/end"
        | "DELETE /auth/api-keys/{id}" => Value::Null,
        "PATCH /auth/me" => json!({ "name": "Eve Other" }),
        "DELETE /auth/me" => json!({ "password": PASSWORD }),
        "POST /auth/change-password" => json!({ "currentPassword": PASSWORD, "newPassword": "Another-horse-8-staple" }),
        "POST /auth/change-email" => json!({ "email": "eve@example.com", "password": PASSWORD }),
        "POST /auth/api-keys" => json!({ "name": "eve", "password": PASSWORD }),
        "POST /auth/api-keys/{id}/rotate" => json!({ "password": PASSWORD }),
        _ => return None,
    })
}

/// Endpoints that a program's key may use too.
const FOR_PROGRAMS: [&str; 1] = ["GET /auth/me"];

fn ask(gateway: &Gateway, pattern: &str, body: &Value, headers: &[(&str, &str)]) -> Reply {
    let (method, path) = pattern.split_once(' ').unwrap();
    let client = gateway.client();
    let mut request = client.request(method, &path.replace("{id}", "01a1fd31-0000-7000-8000-000000000000"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if body.is_null() { request.send() } else { request.json(body).send() }
}

#[test]
fn t8_every_endpoint_that_needs_a_login_tells_each_wrong_caller_what_is_wrong() {
    let (_origin, gateway) = start();
    gateway.create_user("ann@example.com", "viewer");
    let (expired, _) = gateway.login("ann@example.com");
    gateway.operator().advance("20m");
    let (revoked, refresh) = gateway.login("ann@example.com");
    gateway.client().post("/auth/logout").json(&json!({ "refreshToken": refresh })).send().expect(204);
    let (access, _) = gateway.login("ann@example.com");
    let made = gateway
        .client()
        .post("/auth/api-keys")
        .bearer(&access)
        .json(&json!({ "name": "build", "password": PASSWORD }))
        .send();
    let api_key = made.expect(201).json()["key"].as_str().unwrap().to_owned();
    let stranger = signed("https://evil.example", PARTNER);
    let forged = signed("https://partner.example", &"f".repeat(48));
    let foreign = signed("https://partner.example", PARTNER);
    let bearer = |token: &str| format!("Bearer {token}");

    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.need == Need::Login) {
        let pattern = endpoint.pattern;
        let body = login_case(pattern).unwrap_or_else(|| panic!("{pattern} needs its cases here"));
        let refused = |authorization: Option<&str>, status: u16, error: &str| {
            let headers: Vec<_> = authorization.into_iter().map(|value| ("Authorization", value)).collect();
            let reply = ask(&gateway, pattern, &body, &headers);
            assert_eq!(
                (reply.status, &*reply.error()),
                (status, error),
                "{pattern} {authorization:?}: {}",
                reply.text()
            );
            assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{pattern}");
            let challenge = reply.header("www-authenticate");
            assert_eq!(challenge.is_some(), status == 401, "{pattern}");
            assert_eq!(
                challenge.is_some_and(|value| value.contains("error=")),
                status == 401 && authorization.is_some()
            );
        };
        refused(None, 401, "Authentication required");
        refused(Some(&bearer(&expired)), 401, "Token expired");
        refused(Some(&bearer(&revoked)), 401, "Token has been revoked");
        for nonsense in ["x", "e30.e30.", &stranger, &forged] {
            refused(Some(&bearer(nonsense)), 401, "Invalid or expired token");
        }
        refused(Some("Basic dTpw"), 401, "Invalid or expired token");
        refused(Some(&bearer("ptc_00000000000000000000000000000000000000000000000")), 401, "Invalid or expired token");
        refused(Some(&bearer(&foreign)), 404, "Not found");
        let by_key = ask(&gateway, pattern, &body, &[("X-API-Key", &api_key)]);
        if FOR_PROGRAMS.contains(&pattern) {
            by_key.expect(200);
        } else {
            assert_eq!(by_key.expect(403).error(), "Insufficient permissions", "{pattern}");
        }
        // Another site's page may make a browser send its cookie, but changes nothing by it.
        let cookie = format!("portcullis_access={access}");
        let crossed = [("Cookie", &*cookie), ("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")];
        if !pattern.starts_with("GET ") {
            assert_eq!(
                ask(&gateway, pattern, &body, &crossed).expect(403).error(),
                "Cross-site request refused",
                "{pattern}"
            );
        }
    }
    // Nothing of all that did anything to anybody.
    let me = gateway.client().get("/auth/me").bearer(&access).send().expect(200).json();
    assert_eq!((&me["email"], &me["name"]), (&json!("ann@example.com"), &Value::Null));
    let keys = gateway.client().get("/auth/api-keys").bearer(&access).send().expect(200).json();
    assert_eq!(keys["apiKeys"].as_array().unwrap().len(), 1);
}

#[test]
fn t8_a_stale_credential_does_not_disturb_a_public_endpoint() {
    let (_origin, gateway) = start();
    gateway.create_user("ann@example.com", "viewer");
    let (expired, _) = gateway.login("ann@example.com");
    gateway.operator().advance("20m");
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.need == Need::Nothing) {
        let pattern = endpoint.pattern;
        let (body, status) = public_case(pattern).unwrap_or_else(|| panic!("{pattern} needs its cases here"));
        let fresh = ask(&gateway, pattern, &body, &[]);
        assert_eq!(fresh.status, status, "{pattern}: {}", fresh.text());
        for authorization in [format!("Bearer {expired}"), "Bearer x".to_owned(), "Basic dTpw".to_owned()] {
            let stale = ask(&gateway, pattern, &body, &[("Authorization", &authorization)]);
            assert_eq!(stale.status, status, "{pattern} {authorization}: {}", stale.text());
        }
        let cookie = format!("portcullis_access={expired}");
        assert_eq!(
            ask(&gateway, pattern, &body, &[("Cookie", &cookie)]).status,
            status,
            "{pattern} with a stale cookie"
        );
        assert_eq!(
            ask(&gateway, pattern, &body, &[("X-API-Key", "ptc_stale")]).status,
            status,
            "{pattern} with a stale key"
        );
    }
}

#[test]
fn t8_an_endpoint_that_tells_more_to_whoever_is_known_refuses_a_bad_credential() {
    let (_origin, gateway) = start();
    gateway.create_user("ann@example.com", "viewer");
    let (expired, _) = gateway.login("ann@example.com");
    gateway.operator().advance("20m");
    let optional: Vec<_> = ENDPOINTS.iter().filter(|endpoint| endpoint.need == Need::Optional).collect();
    assert_eq!(
        optional.iter().map(|endpoint| endpoint.pattern).collect::<Vec<_>>(),
        ["GET /auth/csrf", "GET /auth/account"],
        "add its cases"
    );
    let foreign = format!("Bearer {}", signed("https://partner.example", PARTNER));
    for pattern in ["GET /auth/csrf", "GET /auth/account"] {
        let ask = |headers: &[(&str, &str)]| ask(&gateway, pattern, &Value::Null, headers);
        assert_eq!(ask(&[("Authorization", &format!("Bearer {expired}"))]).expect(401).error(), "Token expired");
        assert_eq!(ask(&[("Authorization", "Bearer x")]).expect(401).error(), "Invalid or expired token");
        assert_eq!(ask(&[("Authorization", &foreign)]).expect(404).error(), "Not found");
    }
    let nobody = |pattern| ask(&gateway, pattern, &Value::Null, &[]);
    assert!(nobody("GET /auth/account").expect(303).header("location").unwrap().starts_with("/auth/login"));
    assert_eq!(nobody("GET /auth/csrf").expect(401).error(), "Authentication required");
}

/// Paths of the admin listener that stand open, with what they answer to somebody without anything.
const OPEN: [(&str, u16); 5] =
    [("GET /livez", 200), ("GET /readyz", 200), ("GET /login", 200), ("POST /login", 401), ("GET /style.css", 200)];
/// Open while the listener is on loopback.
const ON_LOOPBACK: [&str; 1] = ["GET /metrics"];

#[test]
fn o4_every_admin_endpoint_is_the_operators_unless_it_is_declared_open() {
    let (_origin, gateway) = start();
    gateway.create_user("admin@example.com", "admin");
    let (access, _) = gateway.login("admin@example.com");
    let operator = gateway.operator();
    let admin = Client::at(gateway.admin, Ipv4Addr::LOCALHOST);
    // The document has a row for every endpoint of the list, or its own test fails.
    let document = operator.get("/openapi.json").expect(200).json();
    let (mut open, mut guarded) = (0, 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            let pattern = format!("{method} {path}");
            let path = path.replace("{id}", "01a1fd31-0000-7000-8000-000000000000");
            let ask = |headers: &[(&str, &str)]| {
                let mut request = admin.request(&method, &path);
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                match &*pattern {
                    "POST /login" => {
                        request.header("Content-Type", "application/x-www-form-urlencoded").body(b"token=wrong").send()
                    }
                    _ if method == "GET" => request.send(),
                    _ => request.json(&json!({})).send(),
                }
            };
            let declared = OPEN.iter().find(|(known, _)| *known == pattern).map(|(_, status)| *status);
            if let Some(status) = declared.or_else(|| ON_LOOPBACK.contains(&&*pattern).then_some(200)) {
                open += 1;
                assert_eq!(ask(&[]).status, status, "{pattern}");
                assert_eq!(ask(&[("Authorization", "Bearer stale")]).status, status, "{pattern} beside a stale token");
                continue;
            }
            guarded += 1;
            let refused = |headers: &[(&str, &str)], status: u16, error: &str| {
                let reply = ask(headers);
                assert_eq!((reply.status, &*reply.error()), (status, error), "{pattern} {headers:?}: {}", reply.text());
                assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{pattern}");
                assert_eq!(reply.header("www-authenticate").is_some(), status == 401, "{pattern}");
            };
            refused(&[], 401, "Authentication required");
            refused(&[("Cookie", "portcullis_admin=1.2.3")], 401, "Authentication required");
            // An admin of the API is no operator, and neither is whoever holds another secret.
            for token in [&*access, "wrong", "", &"0".repeat(64), &operator.token[1..]] {
                refused(&[("Authorization", &format!("Bearer {token}"))], 401, "Invalid or expired token");
            }
            refused(&[("Authorization", "Basic dTpw")], 401, "Invalid or expired token");
            let token = format!("Bearer {}", operator.token);
            if method != "GET" {
                let evil = [("Authorization", &*token), ("Origin", "https://evil.example")];
                refused(&evil, 403, "Cross-site request refused");
            }
            refused(&[("Authorization", &token), ("Host", "evil.example")], 421, "Misdirected request");
        }
    }
    assert_eq!(open, OPEN.len() + ON_LOOPBACK.len(), "what is declared open is there");
    assert!(guarded >= 14, "{guarded}");
    operator.get("/api/accounts").expect(200);
}
