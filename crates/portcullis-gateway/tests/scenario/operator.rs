//! The operator's side: health, metrics, the door in front of them (O4, W1).

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::projects;
use crate::support::client::Client;
use crate::support::eventually;

#[test]
fn o4_health_is_open_and_everything_else_needs_the_operators_token() {
    let (_origin, gateway) = projects();
    let admin = Client::at(gateway.admin, Ipv4Addr::LOCALHOST);
    admin.get("/livez").send().expect(200);
    admin.get("/readyz").send().expect(200);
    let operator = gateway.operator();
    assert!(operator.token.len() >= 64, "256 bits in hex");
    for (method, path) in [("GET", "/mail.json"), ("GET", "/mail"), ("POST", "/test-clock"), ("GET", "/")] {
        for authorization in ["", "Bearer ", "Bearer wrong", "Basic dTpw", &format!("Bearer {}", "0".repeat(64))] {
            let mut request = admin.request(method, path);
            if !authorization.is_empty() {
                request = request.header("Authorization", authorization);
            }
            if method == "POST" {
                request = request.header("Content-Type", "application/json").body(br#"{"advance":"1h"}"#);
            }
            let reply = request.send();
            assert!(matches!(reply.status, 302 | 303 | 401 | 403), "{method} {path}: {}", reply.status);
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{method} {path}");
        }
    }
    operator.get("/mail.json").expect(200);
    operator.get("/").expect(200);
}

#[test]
fn o4_a_foreign_host_name_is_refused_on_every_path() {
    let (_origin, gateway) = projects();
    let token = gateway.operator().token;
    let admin = Client::at(gateway.admin, Ipv4Addr::LOCALHOST);
    for host in
        ["evil.example.com", "evil.example.com:9090", "127.0.0.1.evil.example.com", "localhost.evil.example.com"]
    {
        for path in ["/", "/livez", "/readyz", "/metrics", "/mail.json", "/login", "/nothing"] {
            let reply = admin.get(path).header("Host", host).bearer(&token).send();
            assert!(matches!(reply.status, 400 | 403 | 421), "{host}{path}: {}", reply.status);
        }
    }
    let port = gateway.admin.port();
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        admin.get("/livez").header("Host", &host).send().expect(200);
    }
}

#[test]
fn o4_another_sites_page_cannot_act_for_the_operator() {
    let (_origin, gateway) = projects();
    let operator = gateway.operator();
    let admin = Client::at(gateway.admin, Ipv4Addr::LOCALHOST);
    let reply = admin
        .post("/login")
        .header("Origin", "https://evil.example.com")
        .header("Sec-Fetch-Site", "cross-site")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(format!("token={}", operator.token).as_bytes())
        .send();
    assert!((400..500).contains(&reply.status), "{}", reply.status);
    assert!(reply.headers("set-cookie").is_empty());
}

#[test]
fn w2_metrics_count_and_no_client_writes_a_label() {
    let (_origin, gateway) = projects();
    let operator = gateway.operator();
    let client = gateway.client();
    for _ in 0..3 {
        client.get("/public/status").send().expect(200);
    }
    client.get("/public/zq-unique-path").send().expect(200);
    client.get("/projects").send().expect(401);
    client.request("ZQMETHOD", "/public/status").send();
    client.get("/nowhere-zq").header("User-Agent", "zq-agent").send().expect(404);

    let text = operator.metrics();
    assert!(text.contains("# TYPE portcullis_requests_total counter"), "{text}");
    let sum = |family: &str, label: &str| -> f64 {
        text.lines()
            .filter(|line| line.starts_with(family) && line.contains(label))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    assert!(sum("portcullis_requests_total", "") >= 6.0, "{text}");
    assert!(sum("portcullis_refusals_total", "authentication_required") >= 1.0, "{text}");
    assert!(sum("portcullis_refusals_total", "not_found") >= 1.0, "{text}");
    assert!(!text.to_lowercase().contains("zq"), "a client wrote a label:\n{text}");
}

#[test]
fn w1_refusals_are_recorded_as_json_lines() {
    let (_origin, gateway) = projects();
    let client = gateway.client();
    let id = client.get("/projects").send().expect(401).header("x-request-id").unwrap().to_owned();
    while client.get("/public/status").send().status != 429 {}
    let address = client.address.to_string();
    eventually("a record of the refusal", Duration::from_secs(5), || {
        gateway.records().iter().any(|line| line.to_string().contains(&id)).then_some(())
    });
    eventually("a record of the limit", Duration::from_secs(5), || {
        gateway
            .records()
            .iter()
            .map(serde_json::Value::to_string)
            .any(|line| line.contains("limit") && line.contains("anonymous") && line.contains(&address))
            .then_some(())
    });
}

#[test]
fn o3_what_is_secret_in_the_state_is_for_its_owner_alone() {
    let (_origin, gateway) = projects();
    gateway.token("viewer");
    let mut waiting = vec![gateway.state.clone()];
    let mut seen = 0;
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            seen += 1;
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let secret =
                name.contains("token") || name.contains("key") || name.contains(".db") || name.contains("sqlite");
            // A closed directory protects what lies in it.
            let state_mode = std::fs::metadata(&gateway.state).unwrap().permissions().mode() & 0o077;
            assert!(!secret || mode & 0o077 == 0 || state_mode == 0, "{}: {mode:o}", path.display());
            if name == "admin-token" {
                assert_eq!(mode, 0o600, "{}", path.display());
            }
        }
    }
    assert!(seen >= 2, "there is state in {}", gateway.state.display());
}
