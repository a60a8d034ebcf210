//! HTTP/2 over TLS, chosen by ALPN.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use rustix::process::Signal;
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::caller::Caller;
use crate::support::http2::{CALM, GOAWAY, PING, Raw, frame};
use crate::support::origin::Origin;
use crate::support::process::Setup;
use crate::{HOST, Scene, pair};

const OFFERS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// One request over HTTP/2, by an honest client that asked for this name.
fn ask(caller: &Caller, gate: std::net::SocketAddr, name: &str, request: Request<()>) -> Response<Vec<u8>> {
    let mut config = caller.config().clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(gate).await.unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let work = async {
            let (answer, _) = sender.ready().await.unwrap().send_request(request, true).unwrap();
            let (head, mut stream) = answer.await.unwrap().into_parts();
            let mut body = Vec::new();
            while let Some(data) = stream.data().await {
                body.extend_from_slice(&data.unwrap());
            }
            Response::from_parts(head, body)
        };
        tokio::time::timeout(Duration::from_secs(20), work).await.expect("an answer in time")
    })
}

fn get(url: &str) -> Request<()> {
    Request::get(url).body(()).unwrap()
}

#[test]
fn h6_http2_is_chosen_by_alpn_and_served() {
    let scene = Scene::new("");
    let call = scene.caller().offering(&OFFERS).connect(HOST).unwrap();
    assert_eq!(call.stream.conn.alpn_protocol(), Some(&b"h2"[..]));
    let answer = ask(&scene.caller(), scene.gateway.listen, HOST, get(&format!("https://{HOST}/a?b=c")));
    assert_eq!(answer.status(), 200);
    for name in ["strict-transport-security", "x-content-type-options", "x-request-id", "date"] {
        assert_eq!(answer.headers().get_all(name).iter().count(), 1, "{name}: {:?}", answer.headers());
    }
    let seen = scene.origin.last();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/a?b=c"));
    assert_eq!((seen.header("via"), seen.header("x-forwarded-proto")), (Some("2.0 portcullis"), Some("https")));
    assert_eq!(seen.header("host"), Some(HOST));
}

#[test]
fn h6_curl_chooses_http2_over_tls() {
    let scene = Scene::new("");
    std::fs::write(scene.files.path().join("authority.pem"), scene.authority.pem()).unwrap();
    let (port, address) = (scene.gateway.listen.port(), scene.gateway.listen.ip());
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--http2", "--include", "--max-time", "10", "--cacert"])
        .arg(scene.files.path().join("authority.pem"))
        .args(["--resolve", &format!("{HOST}:{port}:{address}"), &format!("https://{HOST}:{port}/")])
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(_) if std::env::var_os("CI").is_some() => panic!("there is no curl"),
        Err(_) => return eprintln!("curl is not asked: there is none"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("HTTP/2 200"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn h6_http2_can_be_turned_off_and_on_again_by_a_reload() {
    let origin = Origin::echo();
    let scene = Scene::new("");
    let keys =
        format!("certificates = [{}]\n", pair("server")).replace("DIR", &scene.files.path().display().to_string());
    let mut gateway = Setup::open(&origin)
        .public_url(&format!("https://{HOST}"))
        .with(&format!("[tls]\n{keys}\n[client]\nhttp2 = false\n"))
        .start();
    let caller = Caller::new(&scene.authority, gateway.listen);
    let call = caller.clone().offering(&OFFERS).connect(HOST).unwrap();
    assert_eq!(call.stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(caller.clone().offering(&[b"h2"]).connect(HOST).is_err(), "nothing else is spoken");
    let on = gateway.config_text().replace("http2 = false", "http2 = true");
    std::fs::write(&gateway.config, on).unwrap();
    gateway.process().signal(Signal::HUP);
    crate::support::eventually("HTTP/2 is offered", Duration::from_secs(10), || {
        let call = caller.clone().offering(&OFFERS).connect(HOST).ok()?;
        (call.stream.conn.alpn_protocol() == Some(&b"h2"[..])).then_some(())
    });
}

#[test]
fn h6_a_request_of_http2_for_another_certificates_host_is_misdirected() {
    let scene = Scene::new("");
    scene.authority.server(&["other.example.test"]).write(scene.files.path(), "other");
    let keys = format!("certificates = [{}, {}]\n", pair("server"), pair("other"));
    let gateway = crate::open(&scene.origin, scene.files.path(), &keys);
    let caller = Caller::new(&scene.authority, gateway.listen);
    let told = ask(&caller, gateway.listen, HOST, get("https://other.example.test/"));
    assert_eq!(told.status(), 421);
    assert_eq!(ask(&caller, gateway.listen, HOST, get(&format!("https://{HOST}/"))).status(), 200);
    assert_eq!(ask(&caller, gateway.listen, "other.example.test", get("https://other.example.test/")).status(), 200);
}

#[test]
fn h6_a_flood_over_tls_is_told_to_calm_down() {
    let scene = Scene::new("");
    let call = scene.caller().offering(&OFFERS).connect(HOST).unwrap();
    let mut raw = Raw::over(call.stream, &[]);
    let bytes: Vec<u8> = (0..130).flat_map(|_| frame(PING, 0, 0, &[1; 8])).collect();
    raw.send(&bytes);
    assert_eq!(raw.until("GOAWAY", |frame| frame.kind == GOAWAY).code(), CALM);
    let metrics = scene.gateway.operator().metrics();
    assert!(metrics.contains("portcullis_http2_floods_total{kind=\"ping\"} 1\n"), "{metrics}");
}
