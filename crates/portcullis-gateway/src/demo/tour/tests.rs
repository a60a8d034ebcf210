//! The tour's commands run by a real shell against a stand-in for the gateway, so that the shell code is right whatever
//! the gateway does. The real gateway is walked through by the end-to-end tests.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use portcullis_core::{Clock as _, Reason, SystemClock, Timestamp};
use portcullis_watch::Metrics;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::admin::{self, AdminParts, CaughtMail};
use crate::config::AdminSettings;

const CODE: &str = "0a1b2c3d4e5f-_X";

/// What the stand-in remembers.
struct StandIn {
    accounts: Accounts,
    guest: Mutex<Option<(String, String)>>,
    verified: Mutex<bool>,
    asked: AtomicU32,
    metrics: Arc<Metrics>,
}

type Shared = State<Arc<StandIn>>;
type Answer = (StatusCode, Json<Value>);

fn refuse(status: u16, error: &str) -> Answer {
    (StatusCode::from_u16(status).unwrap(), Json(json!({ "error": error })))
}

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_default().to_owned()
}

async fn register(State(gate): Shared, Json(body): Json<Value>) -> Answer {
    *gate.guest.lock() = Some((text(&body, "email"), text(&body, "password")));
    (StatusCode::ACCEPTED, Json(json!({ "message": "look into your mail" })))
}

async fn verify(State(gate): Shared, Json(body): Json<Value>) -> Answer {
    *gate.verified.lock() = text(&body, "token") == CODE;
    if *gate.verified.lock() { (StatusCode::OK, Json(json!({}))) } else { refuse(400, "no such token") }
}

async fn login(State(gate): Shared, Json(body): Json<Value>) -> Answer {
    let (email, password) = (text(&body, "email"), text(&body, "password"));
    let boss = gate.accounts.admin();
    let role = if *gate.verified.lock() && gate.guest.lock().as_ref() == Some(&(email.clone(), password.clone())) {
        "viewer"
    } else if email == boss.email && password == *boss.password.expose() {
        "admin"
    } else {
        return refuse(401, "Invalid credentials");
    };
    let tokens = json!({ "accessToken": format!("{role}.e30._-x"), "refreshToken": "ab12", "expiresIn": 900, "tokenType": "Bearer" });
    (StatusCode::OK, Json(tokens))
}

async fn refresh(Json(body): Json<Value>) -> Answer {
    if text(&body, "refreshToken") != "ab12" {
        return refuse(401, "Invalid refresh token");
    }
    (StatusCode::OK, Json(json!({ "accessToken": "a.b.c", "refreshToken": "cd34" })))
}

fn role(headers: &HeaderMap) -> &str {
    let value = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    match value {
        "Bearer viewer.e30._-x" => "viewer",
        "Bearer admin.e30._-x" => "admin",
        _ => "",
    }
}

async fn list(headers: HeaderMap) -> Answer {
    match role(&headers) {
        "" => refuse(401, "Authentication required"),
        _ => (StatusCode::OK, Json(json!([{ "name": "Apollo" }]))),
    }
}

async fn create(headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    match role(&headers) {
        "admin" => (StatusCode::CREATED, Json(body)),
        _ => refuse(403, "Insufficient permissions"),
    }
}

async fn status(State(gate): Shared) -> (StatusCode, HeaderMap, Json<Value>) {
    let mut headers = HeaderMap::new();
    if gate.asked.fetch_add(1, Ordering::SeqCst) < 100 {
        return (StatusCode::OK, headers, Json(json!({ "status": "ok" })));
    }
    headers.insert("retry-after", 42.into());
    let reason = Reason::LimitReached(portcullis_core::Limited {
        limit: "anonymous".into(),
        quota: 100,
        reset_at: Timestamp::EPOCH,
        retry_after: std::time::Duration::from_secs(42),
        message: None,
    });
    gate.metrics.refused(&reason);
    (StatusCode::TOO_MANY_REQUESTS, headers, Json(json!({ "error": "Rate limit exceeded" })))
}

#[tokio::test]
async fn the_tour_works_in_order_in_a_plain_shell() {
    let needed = ["sh", "curl", "sed", "grep"];
    if let Some(missing) = needed.iter().find(|tool| Command::new(tool).arg("--version").output().is_err()) {
        assert!(std::env::var_os("CI").is_none(), "{missing} is needed");
        eprintln!("skipped: {missing} is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let accounts = Accounts::load_or_create(directory.path()).unwrap();
    let settings = AdminSettings { listen: None, token: None, hosts: Vec::new() };
    let token = OperatorToken::resolve(&settings, directory.path()).unwrap();
    let metrics = Arc::new(Metrics::new());
    let stand_in = Arc::new(StandIn {
        accounts: accounts.clone(),
        guest: Mutex::default(),
        verified: Mutex::default(),
        asked: AtomicU32::new(0),
        metrics: Arc::clone(&metrics),
    });

    let admin_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tour = Tour {
        gateway: format!("http://{}", gate_listener.local_addr().unwrap()),
        admin: format!("http://{}", admin_listener.local_addr().unwrap()),
        upstream: "http://127.0.0.1:8081".into(),
        state_dir: directory.path().into(),
        accounts,
        token: token.clone(),
    };
    let who = |headers: HeaderMap| async move { Json(json!({ "role": role(&headers), "saw_authorization": false })) };
    let app = Router::new()
        .route("/auth/register", post(register))
        .route("/auth/verify", post(verify))
        .route("/auth/login", post(login))
        .route("/auth/refresh", post(refresh))
        .route("/projects", get(list).post(create))
        .route("/whoami", get(who))
        .route("/analytics", get(async || Json(json!({ "projects": 4 }))))
        .route("/public/status", get(status))
        .with_state(Arc::clone(&stand_in));
    let gate = tokio::spawn(async move { axum::serve(gate_listener, app).await });
    let kept = Arc::clone(&stand_in);
    let parts = AdminParts {
        accounts: None,
        gate: None,
        token,
        hosts: Vec::new(),
        metrics,
        ready: Vec::new(),
        mails: Some(Arc::new(move || {
            let guest = kept.guest.lock().clone().map(|(email, _)| email);
            let mail = |to: &str, text: String| CaughtMail {
                to: to.to_owned(),
                subject: "Verify".into(),
                text,
                at: SystemClock.now(),
            };
            let link = format!("Open http://127.0.0.1:8080/auth/verify?token={CODE}\nwithin 24 hours.");
            let stale = mail("somebody@example.com", "token=wrong".into());
            guest.iter().map(|to| mail(to, link.clone())).chain([stale]).collect()
        })),
        clock: Arc::new(SystemClock),
    };
    let operator = tokio::spawn(admin::serve(admin_listener, parts, std::future::pending()));

    let script = tour.script(0);
    let output = tokio::task::spawn_blocking(move || Command::new("sh").arg("-euc").arg(script).output()).await;
    let output = output.unwrap().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    gate.abort();
    operator.abort();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    tour.check(&printed).unwrap();
    assert!(printed.contains("100 200\n") && printed.contains("10 429\n"), "{printed}");
    assert!(printed.to_ascii_lowercase().contains("retry-after: 42"), "{printed}");
}

fn example() -> (tempfile::TempDir, Tour) {
    let directory = tempfile::tempdir().unwrap();
    let settings = AdminSettings { listen: None, token: None, hosts: Vec::new() };
    let tour = Tour {
        gateway: format!("http://{}", crate::demo::GATEWAY),
        admin: format!("http://{}", crate::demo::ADMIN),
        upstream: format!("http://{}", crate::demo::UPSTREAM),
        state_dir: crate::demo::STATE_DIR.into(),
        accounts: Accounts::load_or_create(directory.path()).unwrap(),
        token: OperatorToken::resolve(&settings, directory.path()).unwrap(),
    };
    (directory, tour)
}

#[test]
fn the_banner_names_everything_and_holds_every_command_as_it_is() {
    let (_directory, tour) = example();
    let banner = tour.banner();
    for account in tour.accounts.iter() {
        assert!(banner.contains(account.email) && banner.contains(account.password.expose().as_str()));
    }
    for part in ["http://127.0.0.1:8080", "http://127.0.0.1:9090", "http://127.0.0.1:8081", ".portcullis-demo"] {
        assert!(banner.contains(part), "{part}");
    }
    assert!(banner.contains(tour.token.expose()));
    for step in tour.steps() {
        assert!(banner.contains(&format!("{}\n{}\n", step.title, step.commands)), "{}", step.title);
    }
}

#[test]
fn a_step_that_falls_short_is_named() {
    let (_directory, tour) = example();
    let error = tour.check("## 1\n{} [200]\n## 2\n").unwrap_err();
    assert!(error.contains("step 1") && error.contains("Authentication required"), "{error}");
    assert!(tour.check("").unwrap_err().contains("never reached"));
}
