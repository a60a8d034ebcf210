//! The admin listener over real connections.

use std::net::{IpAddr, SocketAddr};

use portcullis_core::{ManualClock, Secret, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;
use crate::config::AdminSettings;

const TOKEN: &str = "00112233445566778899aabbccddeeff";

struct Running {
    address: SocketAddr,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
    stop: Option<oneshot::Sender<()>>,
    done: tokio::task::JoinHandle<std::io::Result<()>>,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl Running {
    async fn on(address: &str, mails: bool) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000_000)));
        let metrics = Arc::new(Metrics::new());
        let settings = AdminSettings { listen: None, token: Some(Secret::new(TOKEN.to_owned())), hosts: Vec::new() };
        let parts = AdminParts {
            accounts: None,
            gate: None,
            token: OperatorToken::resolve(&settings, std::path::Path::new("/nonexistent")).unwrap(),
            hosts: vec!["admin.test".to_owned()],
            metrics: Arc::clone(&metrics),
            ready: vec![ReadyCheck::flag("draining", || true), ReadyCheck::flag("database", || false)],
            mails: mails.then(|| Arc::new(mails_kept) as MailSource),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
        };
        let (stop, stopped) = oneshot::channel();
        let done = tokio::spawn(async move { serve(listener, parts, async { drop(stopped.await) }).await });
        Self { address, clock, metrics, stop: Some(stop), done }
    }

    async fn start() -> Self {
        Self::on("127.0.0.1:0", true).await
    }

    async fn raw(&self, request: String) -> Reply {
        let connect = if self.address.ip().is_unspecified() {
            SocketAddr::new(IpAddr::from([127, 0, 0, 1]), self.address.port())
        } else {
            self.address
        };
        let mut stream = TcpStream::connect(connect).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// A request with our own `Host`; `headers` are whole lines.
    async fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Reply {
        let port = self.address.port();
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        self.raw(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        ))
        .await
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[&format!("Authorization: Bearer {TOKEN}")], "").await
    }

    /// Logs in as a browser would and yields the cookie.
    async fn log_in(&self) -> String {
        let reply = self
            .ask("POST", "/login", &["Content-Type: application/x-www-form-urlencoded"], &format!("token={TOKEN}"))
            .await;
        assert_eq!((reply.status, reply.header("location")), (303, Some("/")));
        let cookie = reply.header("set-cookie").unwrap();
        for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        assert!(!cookie.contains(TOKEN) && !cookie.contains("Secure"), "{cookie}");
        format!("Cookie: theme=dark; {}", cookie.split(';').next().unwrap())
    }
}

fn mails_kept() -> Vec<CaughtMail> {
    [("alice@example.com", "First"), ("bob@example.com", "<script>alert(1)</script>"), ("alice@example.com", "Third")]
        .into_iter()
        .enumerate()
        .map(|(index, (to, subject))| CaughtMail {
            to: to.into(),
            subject: subject.into(),
            text: format!("http://127.0.0.1:8080/auth/verify?token={index}"),
            at: Timestamp::from_secs(index as u64),
        })
        .collect()
}

#[tokio::test]
async fn o4_every_endpoint_refuses_a_stranger_unless_it_is_declared_open() {
    let running = Running::on("127.0.0.1:0", true).await;
    let paths = ENDPOINTS.iter().map(|endpoint| (endpoint.path(), endpoint.access));
    for (path, access) in paths.chain([("/no-such-page", Access::Operator), ("/mail/", Access::Operator)]) {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"] {
            let status = running.ask(method, path, &[], "").await.status;
            if access == Access::Operator {
                assert_eq!(status, 401, "{method} {path}");
            } else {
                assert_ne!(status, 401, "{method} {path}");
            }
        }
    }
    let open: Vec<_> =
        ENDPOINTS.iter().filter(|known| known.access == Access::Open).map(|known| known.path()).collect();
    assert_eq!(open, ["/livez", "/readyz", "/login", "/login", "/style.css"], "opening an endpoint is a decision");
}

#[tokio::test]
async fn o4_encoded_and_doubled_paths_open_nothing() {
    let running = Running::start().await;
    for path in
        ["//mail.json", "/livez/../mail.json", "/%6dail.json", "/mail.json/", "/livez%2f..%2fmail.json", "/MAIL"]
    {
        assert_eq!(running.ask("GET", path, &[], "").await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn o4_health_is_told_to_everybody() {
    let running = Running::start().await;
    let alive = running.ask("GET", "/livez", &[], "").await;
    assert_eq!((alive.status, alive.body.as_str()), (200, "ok\n"));
    let ready = running.ask("GET", "/readyz", &[], "").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "database: not ready\n"));
}

#[tokio::test]
async fn o4_metrics_are_open_on_loopback_only() {
    let running = Running::start().await;
    let reply = running.ask("GET", "/metrics", &[], "").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(reply.body.contains("portcullis_requests_total"));

    let proxied = "GET /metrics HTTP/1.1\r\nHost: admin.test\r\nConnection: close\r\n\r\n".to_owned();
    assert_eq!(running.raw(proxied).await.status, 401, "a proxy in front brings strangers");

    // What counts is the address that the connection came to; the rule itself is tested here without one.
    let settings = AdminSettings { listen: None, token: Some(Secret::new(TOKEN.to_owned())), hosts: Vec::new() };
    let parts = AdminParts {
        accounts: None,
        gate: None,
        token: OperatorToken::resolve(&settings, std::path::Path::new("/nonexistent")).unwrap(),
        hosts: Vec::new(),
        metrics: Arc::new(Metrics::new()),
        ready: Vec::new(),
        mails: None,
        clock: Arc::new(ManualClock::default()),
    };
    let mut router = router(parts);
    let request = |local: Option<&str>, token: bool| {
        let mut request = axum::extract::Request::get("/metrics").header("host", "10.0.0.5:9090");
        if token {
            request = request.header("authorization", format!("bearer {TOKEN}"));
        }
        let mut request = request.body(axum::body::Body::empty()).unwrap();
        if let Some(local) = local {
            request.extensions_mut().insert(guard::LocalAddress(local.parse().unwrap()));
        }
        request
    };
    use tower_service::Service as _;
    assert_eq!(router.call(request(Some("10.0.0.5:9090"), false)).await.unwrap().status(), 401);
    assert_eq!(router.call(request(Some("10.0.0.5:9090"), true)).await.unwrap().status(), 200);
    assert_eq!(router.call(request(None, true)).await.unwrap().status(), 400);
}

#[tokio::test]
async fn o4_a_rebound_name_is_refused_on_every_path() {
    let running = Running::start().await;
    let port = running.address.port();
    for path in ENDPOINTS.iter().map(|endpoint| endpoint.path()).chain(["/nothing"]) {
        for host in [format!("evil.example:{port}"), "localhost".into(), format!("localhost:{}", port ^ 1)] {
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
            );
            assert_eq!(running.raw(head).await.status, 421, "{path} {host}");
        }
    }
    let good = |host: &str| format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    assert_eq!(running.raw(good(&format!("127.0.0.1:{port}"))).await.status, 200);
    assert_eq!(running.raw(good("admin.test")).await.status, 200);
    for head in [
        "GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
        format!("GET /livez HTTP/1.1\r\nHost: localhost:{port}\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"),
        format!("GET http://evil.example/livez HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"),
    ] {
        assert_eq!(running.raw(head.clone()).await.status, 400, "{head}");
    }
}

#[tokio::test]
async fn o4_a_wrong_token_is_refused_counted_and_not_helped_by_a_cookie() {
    let running = Running::start().await;
    let cookie = running.log_in().await;
    for wrong in [
        "Bearer wrong",
        "Bearer ",
        "Bearer",
        "Basic abc",
        &format!("Bearer {TOKEN}0"),
        &format!("Bearer {}", &TOKEN[1..]),
    ] {
        let reply = running.ask("GET", "/", &[&format!("Authorization: {wrong}"), &cookie], "").await;
        assert_eq!(reply.status, 401, "{wrong}");
        assert!(reply.body.contains("Invalid or expired token"), "{}", reply.body);
    }
    let twice = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(running.ask("GET", "/", &[&twice, &twice], "").await.status, 401);
    let form = "Content-Type: application/x-www-form-urlencoded";
    let reply = running.ask("POST", "/login", &[form], "token=wrong").await;
    assert_eq!((reply.status, reply.header("set-cookie")), (401, None));
    assert_eq!(running.metrics.admin_login_failures.value(), 8);
}

#[tokio::test]
async fn o4_a_login_opens_the_pages_until_it_ends() {
    let running = Running::start().await;
    let reply = running.ask("GET", "/", &["Accept: text/html"], "").await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/login")));
    let cookie = running.log_in().await;
    let index = running.ask("GET", "/", &[&cookie], "").await;
    assert!(index.status == 200 && index.body.contains("/mail.json"), "{}", index.body);
    running.clock.advance(token::SESSION_TTL);
    assert_eq!(running.ask("GET", "/", &[&cookie], "").await.status, 401);

    let cookie = running.log_in().await;
    assert_eq!(running.ask("POST", "/logout", &[&cookie], "").await.status, 303);
    assert_eq!(running.ask("GET", "/", &[&cookie], "").await.status, 401, "a logout ends the session on the server");
}

#[tokio::test]
async fn o4_posts_of_other_sites_are_refused() {
    let running = Running::start().await;
    let cookie = running.log_in().await;
    let own = format!("Origin: http://localhost:{}", running.address.port());
    for foreign in
        ["Origin: http://localhost:8080", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"]
    {
        assert_eq!(running.ask("POST", "/logout", &[&cookie, foreign], "").await.status, 403, "{foreign}");
        assert_eq!(running.ask("POST", "/login", &[foreign], "").await.status, 403, "{foreign}");
    }
    assert_eq!(running.ask("GET", "/", &[&cookie], "").await.status, 200, "nobody was logged out");
    assert_eq!(running.ask("POST", "/logout", &[&cookie, &own, "Sec-Fetch-Site: same-origin"], "").await.status, 303);
}

#[tokio::test]
async fn o4_every_answer_carries_the_security_headers() {
    let running = Running::start().await;
    for path in ENDPOINTS.iter().map(|endpoint| endpoint.path()).chain(["/nothing"]) {
        for reply in [running.ask("GET", path, &[], "").await, running.get(path).await] {
            let policy = reply.header("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
            assert_eq!(reply.header("x-frame-options"), Some("DENY"), "{path}");
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        }
    }
}

#[tokio::test]
async fn a10_caught_mail_is_read_as_json_newest_first() {
    let running = Running::start().await;
    let mails: serde_json::Value = serde_json::from_str(&running.get("/mail.json").await.body).unwrap();
    assert_eq!(mails.as_array().unwrap().len(), 3);
    assert_eq!(mails[0]["subject"], "Third");
    assert_eq!(mails[0]["at"], "1970-01-01T00:00:02.000Z");
    let one = running.get("/mail.json?to=Bob@Example.com").await.body;
    let one: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!((one.as_array().unwrap().len(), &one[0]["to"]), (1, &"bob@example.com".into()));
}

#[tokio::test]
async fn a10_a_mail_is_text_and_never_markup() {
    let running = Running::start().await;
    let page = running.get("/mail").await.body;
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"), "{page}");
}

#[tokio::test]
async fn without_a_catcher_there_is_no_mail() {
    let running = Running::on("127.0.0.1:0", false).await;
    assert_eq!(running.get("/mail").await.status, 404);
    assert_eq!(running.get("/mail.json").await.status, 404);
    assert!(!running.get("/").await.body.contains("/mail"));
}

#[tokio::test]
async fn a_large_body_is_refused() {
    let running = Running::start().await;
    let form = "Content-Type: application/x-www-form-urlencoded";
    let reply = running.ask("POST", "/login", &[form], &format!("token={}", "x".repeat(17 * 1_024))).await;
    assert_eq!(reply.status, 413);
}

#[tokio::test]
async fn connections_are_bounded_in_number() {
    let running = Running::start().await;
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(TcpStream::connect(running.address).await.unwrap());
    }
    let mut one_more = TcpStream::connect(running.address).await.unwrap();
    assert!(matches!(one_more.read(&mut [0; 1]).await, Ok(0) | Err(_)), "it is closed at once");
    held.clear();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let request = format!("GET /livez HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", running.address);
        let mut text = String::new();
        if stream.write_all(request.as_bytes()).await.is_ok()
            && stream.read_to_string(&mut text).await.is_ok()
            && text.starts_with("HTTP/1.1 200")
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the freed connections cannot be used again");
}

#[tokio::test]
async fn a_slow_head_does_not_hold_a_connection() {
    let running = Running::start().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: loc").await.unwrap();
    tokio::time::pause();
    let mut text = Vec::new();
    let started = tokio::time::Instant::now();
    let _ = stream.read_to_end(&mut text).await;
    let took = started.elapsed().as_secs();
    assert!((9..=16).contains(&took), "{took}");
}

#[tokio::test]
async fn a_stop_finishes_and_frees_the_port() {
    let mut running = Running::start().await;
    assert_eq!(running.get("/livez").await.status, 200);
    running.stop.take().unwrap().send(()).unwrap();
    running.done.await.unwrap().unwrap();
    TcpListener::bind(running.address).await.unwrap();
}

#[cfg(feature = "test-clock")]
#[tokio::test]
async fn the_clock_moves_for_the_operator_only() {
    use portcullis_core::Clock as _;
    let running = Running::start().await;
    let json = "Content-Type: application/json";
    let body = r#"{"advance":"15m"}"#;
    assert_eq!(running.ask("POST", "/test-clock", &[json], body).await.status, 401);
    let before = crate::clock::ProcessClock.now();
    let token = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(running.ask("POST", "/test-clock", &[json, &token], body).await.status, 200);
    assert!(crate::clock::ProcessClock.now().since(before).as_secs() >= 900);
}
