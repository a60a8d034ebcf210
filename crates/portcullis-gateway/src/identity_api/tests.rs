//! The shapes, asked of the router in process.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use portcullis_auth::Algorithm;
use portcullis_core::{ClientAddress, Event, EventSink, ManualClock, RequestId, Secret, Timestamp};
use portcullis_identity::{
    IdentityConfig, Letters, MailCatcher, NewAccount, Origin, PasswordHash, PasswordPolicy, Ports,
};
use portcullis_shield::csrf::CsrfRules;
use serde_json::{Value, json};
use tower_service::Service as _;

use super::*;

struct Deaf;

impl EventSink for Deaf {
    fn record(&self, _: Event) {}
}

async fn api(public_url: &str) -> (Router, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = IdentityConfig {
        database: folder.path().join("p.db").into(),
        master_key: None,
        public_url: public_url.into(),
        letters: Letters::default(),
        mail: true,
        registration: true,
        default_role: "viewer".into(),
        default_plan: "free".into(),
        password_policy: PasswordPolicy::Standard,
        password_hash: PasswordHash::Argon2id,
        audience: public_url.into(),
        claims: Vec::new(),
        algorithm: Algorithm::Es256,
        access_ttl: Duration::from_secs(900),
        refresh_ttl: Duration::from_secs(604_800),
        grace: Duration::from_secs(10),
        session_ttl: Duration::from_secs(604_800),
        session_idle: Duration::from_secs(3_600),
        api_keys_per_account: 20,
        leeway: Duration::ZERO,
        max_staleness: Duration::from_secs(60),
        rotate_every: Duration::from_secs(7_776_000),
        lockout: None,
        hash_threads: 1,
    };
    let clock = ManualClock::new(Timestamp::from_secs(1_800_000_000));
    let ports = Ports {
        clock: Arc::new(clock),
        mailer: Arc::new(MailCatcher::default()),
        events: Arc::new(Deaf),
        attempts: Arc::new(crate::serve::CountedAttempts::default()),
    };
    let identity = Identity::open(config, ports).await.unwrap();
    let new = NewAccount {
        email: "ann@example.com".into(),
        password: Secret::new("Correct-Horse-42".into()),
        name: None,
        role: "viewer".into(),
        plan: None,
    };
    identity.create_account(new, Origin::default()).await.unwrap();
    let csrf = Csrf::new(CsrfRules::default(), &identity.csrf_key());
    let csrf = Arc::new(ArcSwap::from_pointee(csrf));
    (router(Arc::new(Api::new(Arc::new(identity), &PageSettings::default(), csrf))), folder)
}

async fn send(
    router: &Router,
    pattern: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (StatusCode, Value, Vec<String>) {
    let (method, path) = pattern.split_once(' ').unwrap();
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .extension(ClientAddress::new([127, 0, 0, 1].into()))
        .extension(RequestId::from_bits(5));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().call(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let status = response.status();
    let cookies =
        response.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null), cookies)
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn every_endpoint_that_needs_a_login_refuses_without_one() {
    let (router, _folder) = api("https://api.example.com").await;
    for endpoint in ENDPOINTS {
        let (status, body, _) = send(&router, endpoint.pattern, &[JSON], "{}").await;
        match endpoint.need {
            Need::Login => {
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{endpoint:?}");
                assert_eq!(body["error"], "Authentication required");
            }
            Need::Nothing | Need::Optional => assert!(status.as_u16() < 500, "{endpoint:?}"),
        }
    }
}

#[tokio::test]
async fn hostile_bodies_are_refused_without_an_echo() {
    let (router, _folder) = api("https://api.example.com").await;
    for path in ["POST /auth/register", "POST /auth/login", "POST /auth/verify", "POST /auth/resend-verification"] {
        for body in
            ["", "{", "[]", "null", "\"x\"", "{\"email\":1}", "{\"email\":\"hunter2\",\"email\":\"b\"}", "\u{0}"]
        {
            let (status, answer, _) = send(&router, path, &[JSON], body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}");
            assert_eq!(answer["error"], "Invalid request body", "{path} {body}");
            assert!(!answer.to_string().contains("hunter2"));
        }
        let (status, ..) = send(&router, path, &[("content-type", "text/plain")], "{}").await;
        assert!(matches!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE), "{path}");
    }
    let body = json!({ "email": "x@example.com", "password": "Correct-Horse-42", "role": "admin" }).to_string();
    let (status, answer, _) = send(&router, "POST /auth/register", &[JSON], &body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(answer["detail"].as_str().unwrap().contains("unknown field `role`"), "{answer}");
}

#[tokio::test]
async fn a2_each_failed_rule_is_told_by_field() {
    let (router, _folder) = api("https://api.example.com").await;
    let body = json!({ "email": "x", "password": "short", "name": "x" }).to_string();
    let (status, answer, _) = send(&router, "POST /auth/register", &[JSON], &body).await;
    assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &json!("Validation failed")));
    let told: Vec<_> =
        answer["details"].as_array().unwrap().iter().map(|rule| rule["field"].as_str().unwrap()).collect();
    assert_eq!(told, ["email", "name", "password", "password", "password"]);
}

#[tokio::test]
async fn t6_cookies_are_refused_on_plain_http_that_is_not_loopback() {
    let body = json!({ "email": "ann@example.com", "password": "Correct-Horse-42", "delivery": "cookie" }).to_string();
    for (url, status, name) in [
        ("https://api.example.com", StatusCode::OK, "__Host-portcullis_access="),
        ("http://127.0.0.1:8080", StatusCode::OK, "portcullis_access="),
        ("http://[::1]:8080", StatusCode::OK, "portcullis_access="),
        ("http://api.example.com", StatusCode::BAD_REQUEST, ""),
        ("http://127.0.0.1.evil.example", StatusCode::BAD_REQUEST, ""),
    ] {
        let (router, _folder) = api(url).await;
        let (got, answer, cookies) = send(&router, "POST /auth/login", &[JSON], &body).await;
        assert_eq!(got, status, "{url} {answer}");
        assert!(answer.get("accessToken").is_none() && answer.get("refreshToken").is_none());
        assert!(cookies.first().map_or("", String::as_str).starts_with(name), "{url} {cookies:?}");
    }
}

#[tokio::test]
async fn what_is_no_endpoint_is_a_problem_too() {
    let (router, _folder) = api("https://api.example.com").await;
    let (status, answer, _) = send(&router, "GET /auth/nothing", &[], "").await;
    assert_eq!((status, &answer["error"]), (StatusCode::NOT_FOUND, &json!("Not found")));
    let (status, answer, _) = send(&router, "DELETE /auth/login", &[], "").await;
    assert_eq!((status, &answer["error"]), (StatusCode::METHOD_NOT_ALLOWED, &json!("Method not allowed")));
}

#[test]
fn an_origin_is_what_a_browser_writes() {
    for (url, origin) in [
        ("https://API.example.com/base", "https://api.example.com"),
        ("https://api.example.com:443", "https://api.example.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ] {
        assert_eq!(cookies::origin_of(url), origin);
    }
}
