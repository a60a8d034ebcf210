//! Clients that prove themselves by certificates.

use std::io;
use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType, date_time_ymd};
use rustls::HandshakeKind;

use crate::authority::{Issued, from_now};
use crate::caller::{Answer, Call, Caller};
use crate::configured::check;
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::{Authority, HOST, pair};

const WORKLOAD: &str = "spiffe://prod.example/billing/worker";

/// A gate whose clients prove themselves, and the authority that vouches for them.
struct Mutual {
    origin: Origin,
    /// Vouches for the gate.
    authority: Authority,
    /// Vouches for clients.
    clients: Authority,
    files: tempfile::TempDir,
    gateway: Gateway,
}

const ROUTES: &str = "\n[[route]]\nmatch = \"/public\"\naccess = \"public\"\n\n[[route]]\nmatch = \"/any\"\naccess = \"authenticated\"\n\n\
                      [[route]]\nmatch = \"/edit\"\nroles = [\"editor\"]\n";

impl Mutual {
    fn new(keys: &str) -> Self {
        Self::before(Origin::echo(), keys)
    }

    fn before(origin: Origin, keys: &str) -> Self {
        let (authority, clients) = (Authority::new(), Authority::new());
        let files = tempfile::tempdir().unwrap();
        authority.server(&[HOST, "other.example.test"]).write(files.path(), "server");
        std::fs::write(files.path().join("clients.pem"), clients.pem()).unwrap();
        std::fs::write(files.path().join("clients.crl"), clients.revokes(&[], 2090)).unwrap();
        let section = format!(
            "[tls]\ncertificates = [{}]\n\n[tls.client]\nca = \"DIR/clients.pem\"\nprincipal = \"spiffe\"\n\
             trust_domains = [\"prod.example\"]\n\
             grants = [{{ match = \"spiffe://prod.example/billing/*\", roles = [\"editor\"] }}]\n{keys}\n{ROUTES}",
            pair("server")
        );
        let gateway = Setup::before(&origin)
            .public_url(&format!("https://{HOST}"))
            .with(&section.replace("DIR", &files.path().display().to_string()))
            .start();
        Self { origin, authority, clients, files, gateway }
    }

    fn caller(&self, own: &Issued) -> Caller {
        Caller::with(&self.authority, self.gateway.listen, own)
    }

    fn nobody(&self) -> Caller {
        Caller::new(&self.authority, self.gateway.listen)
    }

    fn workload(&self, serial: u64, id: &str) -> Issued {
        self.clients.client(serial, &[uri(id)])
    }

    fn revoke(&self, serials: &[u64], until: i32) {
        std::fs::write(self.files.path().join("clients.crl"), self.clients.revokes(serials, until)).unwrap();
    }

    fn await_record(&self, kind: &str) {
        let within = Duration::from_secs(10);
        eventually(kind, within, || self.gateway.records().iter().any(|line| line["kind"] == kind).then_some(()));
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// In TLS 1.3 a client learns only with the first answer that its certificate is not wanted.
fn refused(answer: io::Result<Answer>) -> String {
    answer.map(|answer| answer.status).unwrap_err().to_string()
}

#[test]
fn h6_a_client_certificate_proves_an_identity_with_the_roles_of_its_name() {
    let mutual = Mutual::new("");
    let worker = mutual.caller(&mutual.workload(1, WORKLOAD));
    let answer = worker.get(HOST, "/edit").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = mutual.origin.requests().pop().unwrap();
    assert_eq!((seen.header("x-user-id"), seen.header("x-user-role")), (Some(WORKLOAD), Some("editor")));

    let reader = mutual.caller(&mutual.workload(2, "spiffe://prod.example/reports"));
    assert_eq!(reader.get(HOST, "/any").unwrap().status, 200);
    assert_eq!(reader.get(HOST, "/edit").unwrap().status, 403);
    let mut call = reader.connect(HOST).unwrap();
    call.get(HOST, "/any", "X-User-Id: root\r\nX-User-Role: admin\r\n").unwrap();
    let seen = mutual.origin.requests().pop().unwrap();
    assert_eq!((seen.header("x-user-id"), seen.header("x-user-role")), (Some("spiffe://prod.example/reports"), None));
}

#[test]
fn h6_a_certificate_that_is_not_good_never_gets_in() {
    let mutual = Mutual::new("crl = \"DIR/clients.crl\"");
    mutual.revoke(&[66], 2090);
    mutual.await_record("certificates_reloaded");
    let good = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names = vec![uri(WORKLOAD)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let of = |shape: &dyn Fn(&mut rcgen::CertificateParams)| {
        mutual.clients.issue(|params| {
            good(params);
            shape(params);
        })
    };
    let stranger = Authority::new();
    for (what, own) in [
        ("expired", of(&|params| params.not_after = date_time_ymd(2021, 1, 1))),
        ("not yet valid", of(&|params| params.not_before = date_time_ymd(2080, 1, 1))),
        ("a server's", of(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
        ("revoked", mutual.workload(66, WORKLOAD)),
        ("of another authority", stranger.client(1, &[uri(WORKLOAD)])),
        ("signed by itself", Authority::none(WORKLOAD)),
    ] {
        for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
            let caller = Caller::with_versions(&mutual.authority, mutual.gateway.listen, &own, versions);
            for target in ["/public", "/any", "/edit"] {
                let error = refused(caller.get(HOST, target));
                assert!(
                    error.contains("alert") || error.contains("reset") || error.contains("Broken pipe"),
                    "{what}: {error}"
                );
            }
        }
    }
    // These are believed, and are nobody here: the request is refused, on public routes too.
    for (what, own) in [
        ("another trust domain", mutual.workload(3, "spiffe://evil.example/billing/worker")),
        ("no SPIFFE ID", mutual.workload(4, "https://prod.example/billing/worker")),
        ("two names", mutual.clients.client(5, &[uri(WORKLOAD), uri("spiffe://prod.example/billing/other")])),
        ("no name", mutual.clients.client(6, &[])),
        ("one that signs others", of(&|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign])),
    ] {
        for target in ["/public", "/any"] {
            let answer = mutual.caller(&own).get(HOST, target).unwrap();
            assert_eq!(
                (answer.status, answer.json()["error"].as_str()),
                (401, Some("Invalid or expired token")),
                "{what}"
            );
        }
    }
    assert!(refused(mutual.nobody().get(HOST, "/public")).contains("CertificateRequired"));
    assert!(mutual.origin.requests().is_empty(), "{:?}", mutual.origin.requests());
    assert_eq!(mutual.caller(&mutual.workload(1, WORKLOAD)).get(HOST, "/edit").unwrap().status, 200);
}

#[test]
fn h6_where_no_certificate_is_required_a_client_without_one_is_nobody() {
    let mutual = Mutual::new("required = false");
    assert_eq!(mutual.nobody().get(HOST, "/public").unwrap().status, 200);
    assert_eq!(mutual.nobody().get(HOST, "/any").unwrap().status, 401);
    assert_eq!(mutual.caller(&mutual.workload(1, WORKLOAD)).get(HOST, "/edit").unwrap().status, 200);
    let stranger = Authority::new().client(1, &[uri(WORKLOAD)]);
    refused(mutual.caller(&stranger).get(HOST, "/public"));
}

#[test]
fn h6_an_explicit_credential_goes_before_the_certificate_and_a_bad_one_is_not_made_up_for() {
    let mutual = Mutual::new("");
    mutual.gateway.create_user("viewer@example.com", "viewer");
    let worker = mutual.caller(&mutual.workload(1, WORKLOAD));
    let ask = |header: &str| worker.connect(HOST).unwrap().get(HOST, "/edit", header).unwrap();
    for bad in [
        "Authorization: Bearer a.b.c\r\n",
        "Authorization: Bearer\r\n",
        "X-API-Key: ptc_nobody\r\n",
        "Cookie: __Host-portcullis_access=x\r\n",
    ] {
        assert_eq!(ask(bad).status, 401, "{bad}");
    }
    let body = format!(
        "{{\"email\":\"viewer@example.com\",\"password\":\"{}\",\"delivery\":\"body\"}}",
        crate::support::PASSWORD
    );
    let mut call = worker.connect(HOST).unwrap();
    call.send(&format!(
        "POST /auth/login HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
    .unwrap();
    let login = call.answer().unwrap();
    assert_eq!(login.status, 200, "{}", login.text());
    let token = login.json()["accessToken"].as_str().unwrap().to_owned();
    assert_eq!(ask(&format!("Authorization: Bearer {token}\r\n")).status, 403, "the viewer, not the worker, asks");
    assert_eq!(ask("").status, 200);
}

#[test]
fn h6_a_page_elsewhere_cannot_use_a_browsers_certificate() {
    let mutual = Mutual::new("");
    let mut call = mutual.caller(&mutual.workload(1, WORKLOAD)).connect(HOST).unwrap();
    let mut post = |more: &str| {
        call.send(&format!("POST /edit HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n{more}\r\n")).unwrap();
        call.answer().unwrap()
    };
    for foreign in ["Sec-Fetch-Site: cross-site\r\n", "Origin: https://evil.example\r\n"] {
        let answer = post(foreign);
        assert_eq!((answer.status, answer.json()["error"].as_str()), (403, Some("Cross-site request refused")));
    }
    assert_eq!(post("").status, 200, "a program");
    assert_eq!(post(&format!("Origin: https://{HOST}\r\nSec-Fetch-Site: same-origin\r\n")).status, 200, "our own page");
}

#[test]
fn h6_what_is_revoked_counts_at_once_on_open_connections_and_in_streams_too() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        loop {
            exchange.send("2\r\n:\n\r\n")?;
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let mutual = Mutual::before(origin, "crl = \"DIR/clients.crl\"");
    let caller = mutual.caller(&mutual.workload(7, WORKLOAD));
    let spared = mutual.caller(&mutual.workload(8, WORKLOAD));
    let mut stream = caller.connect(HOST).unwrap();
    stream.send(&format!("GET /any HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
    assert_eq!(stream.head().unwrap().status, 200);
    let mut open = caller.connect(HOST).unwrap();
    assert_eq!(open.get(HOST, "/nowhere", "").unwrap().status, 404);
    let mut other = spared.connect(HOST).unwrap();
    other.send(&format!("GET /any HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
    assert_eq!(other.head().unwrap().status, 200);

    mutual.revoke(&[7], 2090);
    mutual.await_record("certificates_reloaded");
    assert_eq!(open.get(HOST, "/any", "").unwrap().status, 401, "the connection is older than the list");
    let start = std::time::Instant::now();
    while stream.take(1).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(5), "a stream goes on after its certificate was revoked");
    }
    refused(caller.get(HOST, "/any"));
    for _ in 0..50 {
        other.take(1).expect("the stream of another goes on");
    }
}

#[test]
fn h6_a_session_that_goes_on_proves_no_more_than_its_certificate_does_today() {
    let mutual = Mutual::new("crl = \"DIR/clients.crl\"\nrequired = false");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let own = mutual.workload(9, WORKLOAD);
        let caller = Caller::with_versions(&mutual.authority, mutual.gateway.listen, &own, &[version]);
        let ask = |caller: &Caller| -> io::Result<(Call, Answer)> {
            let mut call = caller.connect(HOST)?;
            let answer = call.get(HOST, "/edit", "")?;
            Ok((call, answer))
        };
        assert_eq!(ask(&caller).unwrap().1.status, 200);
        let (call, answer) = ask(&caller).unwrap();
        assert_eq!(
            (call.kind(), answer.status),
            (Some(HandshakeKind::Resumed), 200),
            "who it is goes on with the session"
        );
        // Another name's session, or one of a client without a certificate, is nobody's way in.
        assert_eq!(mutual.nobody().get(HOST, "/edit").unwrap().status, 401);
        mutual.revoke(&[9], 2090);
        eventually("the list is in force", Duration::from_secs(10), || match ask(&caller) {
            Ok((_, answer)) => (answer.status == 401).then_some(()),
            Err(_) => Some(()),
        });
        mutual.revoke(&[], 2090);
        eventually("it is forgiven", Duration::from_secs(10), || {
            ask(&caller).ok().filter(|(_, answer)| answer.status == 200)
        });
    }
}

#[test]
fn h6_a_list_that_has_expired_lets_nobody_in() {
    let mutual = Mutual::new("crl = \"DIR/clients.crl\"");
    let caller = mutual.caller(&mutual.workload(1, WORKLOAD));
    let mut open = caller.connect(HOST).unwrap();
    assert_eq!(open.get(HOST, "/edit", "").unwrap().status, 200);
    mutual.revoke(&[], 2022);
    mutual.await_record("certificates_reloaded");
    assert_eq!(open.get(HOST, "/edit", "").unwrap().status, 401);
    refused(caller.get(HOST, "/edit"));
}

#[test]
fn h6_a_certificate_that_expires_on_an_open_connection_is_no_longer_good() {
    let mutual = Mutual::new("");
    mutual.gateway.operator().stop_clock();
    let own = mutual.clients.issue(|params| {
        params.subject_alt_names = vec![uri(WORKLOAD)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = from_now(Duration::from_secs(3600));
    });
    let caller = mutual.caller(&own);
    let mut open = caller.connect(HOST).unwrap();
    assert_eq!(open.get(HOST, "/edit", "").unwrap().status, 200);
    mutual.gateway.operator().step(Duration::from_secs(3700));
    let answer = open.get(HOST, "/edit", "").unwrap();
    assert_eq!(answer.status, 401, "{}", answer.text());
    // Its session may go on, and proves nobody; a handshake with it fails.
    assert_eq!(caller.get(HOST, "/edit").unwrap().status, 401);
    refused(mutual.caller(&own).get(HOST, "/edit"));
}

#[test]
fn h6_with_client_certificates_a_connection_is_for_the_one_host_of_its_handshake() {
    let mutual = Mutual::new("");
    let caller = mutual.caller(&mutual.workload(1, WORKLOAD));
    for (host, expected) in [
        (HOST, 200),
        ("API.example.test:443", 200),
        ("api.example.test.", 200),
        ("other.example.test", 421),
        ("127.0.0.1", 421),
    ] {
        let answer = caller.connect(HOST).unwrap().get(host, "/any", "").unwrap();
        assert_eq!(answer.status, expected, "{host}: {}", answer.text());
    }
}

#[test]
fn h6_nobody_is_believed_by_a_file_that_is_missing_empty_or_no_authority() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    authority.server(&[HOST]).write(path, "server");
    let put = |name: &str, text: &str| std::fs::write(path.join(name), text).unwrap();
    put("ca.pem", &clients.pem());
    put("empty.pem", "");
    put("leaf.pem", &clients.client(1, &[]).pem);
    put("good.crl", &clients.revokes(&[1], 2090));
    put("old.crl", &clients.revokes(&[1], 2022));
    let top = format!("public_url = \"https://{HOST}\"");
    let pair = "certificates = [{ cert = \"server.pem\", key = \"server.key\" }]\n\n[tls.client]\n";
    let spiffe = "principal = \"spiffe\"\ntrust_domains = [\"prod.example\"]\n";
    for (what, keys, expected) in [
        ("no ca", spiffe.to_owned(), "\"ca\" is missing"),
        ("a missing file", format!("ca = \"absent.pem\"\n{spiffe}"), "cannot read"),
        ("an empty file", format!("ca = \"empty.pem\"\n{spiffe}"), "there is no certificate in it"),
        ("a key", format!("ca = \"server.key\"\n{spiffe}"), "there is no certificate in it"),
        ("a client's certificate", format!("ca = \"leaf.pem\"\n{spiffe}"), "is not an authority's"),
        ("no kind of name", "ca = \"ca.pem\"\n".to_owned(), "\"principal\" is missing"),
        ("no trust domain", "ca = \"ca.pem\"\nprincipal = \"spiffe\"\n".to_owned(), "\"trust_domains\" is missing"),
        (
            "no trust domain in the list",
            "ca = \"ca.pem\"\nprincipal = \"spiffe\"\ntrust_domains = []\n".to_owned(),
            "\"trust_domains\" is missing",
        ),
        (
            "a wrong one",
            "ca = \"ca.pem\"\nprincipal = \"spiffe\"\ntrust_domains = [\"spiffe://a\"]\n".to_owned(),
            "is not a SPIFFE trust domain",
        ),
        (
            "trust domains of nothing",
            "ca = \"ca.pem\"\nprincipal = \"dns\"\ntrust_domains = [\"a\"]\n".to_owned(),
            "of SPIFFE IDs only",
        ),
        ("a missing list", format!("ca = \"ca.pem\"\ncrl = \"absent.crl\"\n{spiffe}"), "cannot read"),
        ("no list in the file", format!("ca = \"ca.pem\"\ncrl = \"ca.pem\"\n{spiffe}"), "there is no revocation list"),
        (
            "half a star",
            format!("ca = \"ca.pem\"\n{spiffe}grants = [{{ match = \"spiffe://a/b*\", roles = [\"viewer\"] }}]\n"),
            "one whole part",
        ),
    ] {
        let (usable, said) = check(path, &top, &format!("{pair}{keys}"));
        assert!(!usable && said.contains(expected), "{what}: {said}");
    }
    let (usable, said) = check(path, &top, &format!("{pair}ca = \"ca.pem\"\ncrl = [\"good.crl\"]\n{spiffe}"));
    assert!(usable && !said.contains("warning"), "{said}");
    let (usable, said) = check(path, &top, &format!("{pair}ca = \"ca.pem\"\ncrl = \"old.crl\"\n{spiffe}"));
    assert!(usable && said.contains("expired at 2022-01-01"), "{said}");
}
