//! Certificates by ACME, from a small authority of the tests' own.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::Signal;

use crate::acme_probe::{shake_hands, stall};
use crate::acme_server::{AcmeServer, EXTERNAL_KEY, Mood};
use crate::caller::Caller;
use crate::configured::check;
use crate::renewed::in_two_halves;
use crate::support::client::{Client, Reply};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup, free_address};
use crate::{Authority, HOST};

const SOON: Duration = Duration::from_secs(15);
const HOUR: Duration = Duration::from_secs(3600);

/// A gate whose certificate comes by ACME, and who gives it out.
pub(crate) struct Scene {
    pub(crate) origin: Origin,
    pub(crate) server: AcmeServer,
    pub(crate) gateway: Gateway,
    pub(crate) plain: SocketAddr,
    pub(crate) secure: SocketAddr,
    pub(crate) files: tempfile::TempDir,
}

impl Scene {
    /// The authority is prepared before the gate asks it.
    pub(crate) fn new(challenge: &str, more: &str, prepare: impl FnOnce(&AcmeServer)) -> Self {
        Self::before(Origin::echo(), challenge, more, prepare)
    }

    fn before(origin: Origin, challenge: &str, more: &str, prepare: impl FnOnce(&AcmeServer)) -> Self {
        Self::beside(origin, challenge, more, |server, _| prepare(server))
    }

    /// With other files in the directory that `DIR` stands for.
    pub(crate) fn beside(
        origin: Origin,
        challenge: &str,
        more: &str,
        prepare: impl FnOnce(&AcmeServer, &Path),
    ) -> Self {
        let (plain, secure) = (free_address(), free_address());
        let server = AcmeServer::start(plain, secure);
        let files = tempfile::tempdir().unwrap();
        prepare(&server, files.path());
        std::fs::write(files.path().join("directory-ca.pem"), &server.directory_ca).unwrap();
        std::fs::write(files.path().join("external.key"), URL_SAFE_NO_PAD.encode(EXTERNAL_KEY)).unwrap();
        let mut owner = std::fs::metadata(files.path().join("external.key")).unwrap().permissions();
        owner.set_mode(0o600);
        std::fs::set_permissions(files.path().join("external.key"), owner).unwrap();
        let more = more.replace("DIR", &files.path().display().to_string());
        let gateway = Setup::open(&origin)
            .public_url(&format!("https://{HOST}"))
            .with(&format!(
                "[tls]\nlisten = \"{secure}\"\nredirect = \"{plain}\"\n\n[tls.acme]\ndomains = [\"{HOST}\"]\n\
                 agree_to_terms = true\ndirectory = \"{}\"\ndirectory_ca = \"{}/directory-ca.pem\"\n\
                 challenge = \"{challenge}\"\n{more}",
                server.directory,
                files.path().display(),
            ))
            .start();
        Self { origin, server, gateway, plain, secure, files }
    }

    pub(crate) fn caller(&self) -> Caller {
        Caller::new(&self.server.signs, self.secure)
    }

    /// What a client is shown that believes the authority.
    fn shown(&self) -> Option<Vec<u8>> {
        Some(self.caller().connect(HOST).ok()?.shown())
    }

    /// Waits until the certificate of this order is in force.
    pub(crate) fn await_certificate(&self, order: usize) -> Vec<u8> {
        self.await_certificate_with(order, &self.caller())
    }

    /// The same, as this client sees it.
    pub(crate) fn await_certificate_with(&self, order: usize, caller: &Caller) -> Vec<u8> {
        eventually("the certificate is in force", SOON, || {
            let given = self.server.state().orders.get(order).and_then(|order| order.certificate.clone());
            given.filter(|given| caller.connect(HOST).ok().map(|call| call.shown()).as_ref() == Some(given))
        })
    }

    /// The latest record of this kind, once there are so many.
    pub(crate) fn await_record(&self, kind: &str, count: usize) -> serde_json::Value {
        eventually(kind, SOON, || {
            let mut found: Vec<_> = self.gateway.records().into_iter().filter(|line| line["kind"] == kind).collect();
            if found.len() >= count { found.pop() } else { None }
        })
    }

    pub(crate) fn metric(&self, name: &str) -> u64 {
        let page = self.gateway.operator().metrics();
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }

    pub(crate) fn ask_plain(&self, target: &str) -> Reply {
        let mut connection = Client::at(self.plain, std::net::Ipv4Addr::LOCALHOST).connect();
        connection.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
        connection.reply().unwrap()
    }

    /// The folder of the authority in the state directory.
    pub(crate) fn folder(&self) -> PathBuf {
        let mut folders = std::fs::read_dir(self.gateway.state.join("acme")).unwrap();
        let folder = folders.next().unwrap().unwrap().path();
        assert!(folders.next().is_none(), "there is one authority");
        folder
    }

    /// Nothing that the gate sent was against the standard.
    pub(crate) fn no_complaints(&self) {
        assert_eq!(self.server.state().complaints, Vec::<String>::new());
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn h6_acme_a_first_certificate_comes_by_http_01() {
    let scene = Scene::new("http-01", "email = \"ops@example.test\"\n", |server| {
        server.state().bad_nonce_once = true;
    });
    scene.await_certificate(0);
    assert_eq!(scene.caller().get(HOST, "/a").unwrap().status, 200);
    scene.await_record("certificate_obtained", 1);
    scene.no_complaints();
    {
        let state = scene.server.state();
        assert!(!state.bad_nonce_once, "a nonce was refused, and another one taken");
        assert_eq!(state.verified, [Ok(())]);
        assert_eq!((state.accounts.len(), state.orders.len()), (1, 1));
        assert_eq!(state.accounts[0].contact, serde_json::json!(["mailto:ops@example.test"]));
    }
    // What was there for the authority is gone, and the plain listener does what it did.
    let reply = scene.ask_plain("/.well-known/acme-challenge/token-of-order-0-and-name-0").expect(308);
    assert!(!reply.text().contains("token-of-order"), "{}", reply.text());
    assert_eq!((scene.metric("portcullis_acme_obtained_total"), scene.metric("portcullis_acme_failing")), (1, 0));
    let due = scene.metric("portcullis_acme_next_order_seconds");
    assert!(due > 1_700_000_000 && due < scene.metric("portcullis_tls_certificate_expires_seconds"), "{due}");

    let folder = scene.folder();
    assert_eq!(mode(&folder), 0o700);
    for file in ["account.json", "certificate.pem", "orders.json"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
    assert!(!scene.gateway.output().contains("PRIVATE KEY"));
}

#[test]
fn h6_acme_a_first_certificate_comes_by_tls_alpn_01_with_an_external_account() {
    let more = "\n[tls.acme.external_account]\nkey_id = \"customer-7\"\nkey_file = \"DIR/external.key\"\n";
    let scene = Scene::new("tls-alpn-01", more, |server| server.state().wants_external_account = true);
    scene.await_certificate(0);
    assert_eq!(scene.caller().get(HOST, "/a").unwrap().status, 200);
    scene.no_complaints();
    assert_eq!(scene.server.state().verified, [Ok(())]);
    assert_eq!(scene.server.state().accounts[0].bound_to.as_deref(), Some("customer-7"));
    // The challenge is over: its protocol is none of this gate's, alone or beside others.
    let refused = shake_hands(scene.secure, HOST, &[b"acme-tls/1"]).unwrap_err();
    assert!(refused.contains("received fatal alert"), "{refused}");
    let seen = shake_hands(scene.secure, HOST, &[b"acme-tls/1", b"http/1.1"]).unwrap();
    assert_eq!(seen.protocol.as_deref(), Some(&b"http/1.1"[..]));
}

#[test]
fn h6_acme_a_challenge_that_stalls_is_closed_like_any_handshake() {
    let (tell, told) = std::sync::mpsc::channel();
    let scene = Scene::new("tls-alpn-01", "\n[client]\nhead_timeout = \"1s\"\n", |server| {
        let mut state = server.state();
        let secure = state.gate.1;
        state.meanwhile = Some(Box::new(move |host| tell.send(stall(secure, host)).unwrap()));
    });
    scene.await_certificate(0);
    // Somebody who had begun such a handshake, and went on to nothing, was sent away.
    assert_eq!(told.recv().unwrap(), Ok(()));
    scene.no_complaints();
}

#[test]
fn h6_acme_a_renewal_drops_no_connection() {
    let (origin, go_on) = in_two_halves();
    let scene = Scene::before(origin, "tls-alpn-01", "", |_| {});
    let first = scene.await_certificate(0);
    let mut call = scene.caller().connect(HOST).unwrap();
    call.send(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
    assert_eq!(call.head().unwrap().status, 200);
    assert_eq!(call.take(10).unwrap(), b"5\r\nfirst\r\n");

    scene.server.state().life.1 = 800 * 24 * HOUR;
    scene.gateway.operator().advance("50d");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(scene.server.state().orders.len(), 1, "not before two thirds of its life are over, but for a twentieth");
    scene.gateway.operator().advance("11d");
    let second = scene.await_certificate(1);
    assert_ne!(first, second);
    go_on.store(true, Ordering::Relaxed);
    assert_eq!(call.take(11).unwrap(), b"6\r\nsecond\r\n", "the old connection goes on");
    scene.no_complaints();
    let state = scene.server.state();
    assert_eq!((state.accounts.len(), state.orders.len()), (1, 2), "the account stays");
}

#[test]
fn h6_acme_the_authority_can_ask_for_an_earlier_renewal() {
    let scene = Scene::new("http-01", "", |server| {
        // Long past for the gate, whose time is the real one: at once.
        server.state().windows.insert(0, (1_700_000_000, 1_700_003_600));
    });
    scene.await_certificate(1);
    scene.no_complaints();
    let state = scene.server.state();
    assert!(state.orders[0].replaces.is_none() && state.orders[1].replaces.is_some(), "it says which one it replaces");
    assert_eq!(state.orders.len(), 2);
}

#[test]
fn h6_acme_a_restart_uses_the_certificate_that_is_there() {
    let mut scene = Scene::new("http-01", "", |_| {});
    let first = scene.await_certificate(0);
    scene.gateway.kill();
    scene.server.state().mood = Mood::Down;
    scene.gateway.launch();
    assert_eq!(scene.shown(), Some(first), "it is there from the first handshake on");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(scene.server.state().orders.len(), 1);
    assert_eq!(scene.metric("portcullis_acme_failed_total"), 0);
}

#[test]
fn h6_acme_a_refusal_is_told_with_what_to_do_and_waited_out() {
    let mut scene = Scene::new("http-01", "", |server| server.state().mood = Mood::Limited(7200));
    let record = scene.await_record("certificate_order_failed", 1);
    assert_eq!(record["reason"], "acme_rate_limited");
    let output = scene.gateway.output();
    assert!(
        output.contains("too many certificates  for example.test (rateLimited)"),
        "no line of others in our log: {output}"
    );
    assert!(output.contains("nothing but waiting helps") && output.contains("Next attempt at"), "{output}");

    // Nobody is shown a certificate that is not theirs, and nothing else stands still.
    let refused = shake_hands(scene.secure, HOST, &[b"http/1.1"]).unwrap_err();
    assert!(refused.contains("received fatal alert"), "{refused}");
    scene.ask_plain("/a").expect(308);
    Client::at(scene.gateway.listen, std::net::Ipv4Addr::LOCALHOST).get("/a").send().expect(200);
    assert_eq!(scene.origin.requests().len(), 1);

    let orders = |scene: &Scene| scene.server.state().asked.iter().filter(|path| *path == "order").count();
    for _ in 0..3 {
        scene.gateway.process().signal(Signal::HUP);
        std::thread::sleep(Duration::from_millis(1200));
    }
    scene.gateway.operator().advance("110m");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(orders(&scene), 1, "the authority said when");
    scene.server.state().mood = Mood::Kind;
    scene.gateway.operator().advance("15m");
    scene.await_certificate(0);
    assert_eq!(scene.metric("portcullis_acme_failing"), 0);
    scene.no_complaints();
}

#[test]
fn h6_acme_an_authority_that_is_down_is_asked_four_times_an_hour_at_most() {
    let mut scene = Scene::new("tls-alpn-01", "", |server| server.state().mood = Mood::Down);
    let record = scene.await_record("certificate_order_failed", 1);
    assert_eq!(record["reason"], "acme_unreachable");
    assert!(scene.gateway.output().contains("this machine must reach the authority"), "{}", scene.gateway.output());
    let tried = |scene: &Scene| scene.server.state().asked.len();
    assert_eq!(tried(&scene), 1);
    // Left alone it is patient; reloads make it try again, and the fourth is the last for an hour.
    scene.gateway.operator().advance("4m");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(tried(&scene), 1);
    for count in 2..=6 {
        scene.gateway.process().signal(Signal::HUP);
        scene.await_record("reloaded", count - 1);
        std::thread::sleep(Duration::from_millis(1200));
        assert_eq!(tried(&scene), count.min(4));
    }
    // A restart is no way around it.
    scene.gateway.kill();
    scene.gateway.launch();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(tried(&scene) <= 5, "{}", tried(&scene));
    scene.server.state().mood = Mood::Kind;
    scene.gateway.operator().advance("61m");
    scene.await_certificate(0);
}

#[test]
fn h6_acme_a_name_that_leads_elsewhere_is_told_with_the_way_that_is_missing() {
    let elsewhere = free_address();
    for (challenge, way) in
        [("http-01", "at port 80 has to lead to"), ("tls-alpn-01", ":443 has to lead to the TLS of")]
    {
        let scene = Scene::new(challenge, "", |server| server.state().gate = (elsewhere, elsewhere));
        let record = scene.await_record("certificate_order_failed", 1);
        assert_eq!(record["reason"], "acme_challenge");
        let told = format!("{HOST}: connection: ");
        assert!(scene.gateway.output().contains(&told), "{}", scene.gateway.output());
        assert!(scene.gateway.output().contains(way), "{}", scene.gateway.output());
        scene.no_complaints();
    }
}

#[test]
fn h6_acme_a_reload_brings_another_name() {
    let mut scene = Scene::new("tls-alpn-01", "", |_| {});
    scene.await_certificate(0);
    let given = scene.gateway.config_text();
    let more =
        given.replace(&format!("domains = [\"{HOST}\"]"), &format!("domains = [\"{HOST}\", \"www.example.test\"]"));
    std::fs::write(&scene.gateway.config, more).unwrap();
    scene.gateway.process().signal(Signal::HUP);
    scene.await_certificate(1);
    assert_eq!(scene.server.state().orders[1].names, [HOST, "www.example.test"]);
    assert!(scene.caller().get("www.example.test", "/").is_ok());
    scene.no_complaints();
}

#[test]
fn h6_acme_check_tells_what_contradicts_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    Authority::new().server(&[HOST, "other.example.test"]).write(path, "server");
    let top = format!("public_url = \"https://{HOST}\"");
    let acme = |keys: &str| format!("redirect = \"127.0.0.1:8081\"\n[tls.acme]\n{keys}");
    let agreed = |keys: &str| acme(&format!("agree_to_terms = true\n{keys}"));
    let good = agreed(&format!("domains = [\"{HOST}\"]"));
    let (usable, said) = check(path, &top, &good);
    assert!(usable && !said.contains("warning"), "{said}");
    let bad_key = "[tls.acme.external_account]\nkey_id = \"a\"\nkey_file = \"bad.key\"";
    std::fs::write(path.join("bad.key"), "not base64!").unwrap();
    let pair = "certificates = [{ cert = \"server.pem\", key = \"server.key\" }]";
    for (what, tls, expected) in [
        ("no terms", acme(&format!("domains = [\"{HOST}\"]")), "\"agree_to_terms\" is missing"),
        ("terms refused", acme(&format!("domains = [\"{HOST}\"]\nagree_to_terms = false")), "without agreeing"),
        ("no names", agreed(""), "\"domains\" is missing"),
        ("a wildcard", agreed("domains = [\"*.example.test\"]"), "is a wildcard"),
        ("an address", agreed("domains = [\"192.0.2.1\"]"), "is not the name of a host on the internet"),
        ("twice", agreed("domains = [\"a.example.test\", \"A.example.test.\"]"), "is written twice"),
        (
            "no port 80",
            good.replace("redirect = \"127.0.0.1:8081\"\n", "") + "\nchallenge = \"http-01\"",
            "nothing listens there",
        ),
        (
            "two certificates",
            format!("{pair}\n{}", agreed("domains = [\"other.example.test\"]")),
            "has a certificate among",
        ),
        ("a directory", format!("{good}\ndirectory = \"http://ca.example/d\""), "is not the directory of an authority"),
        ("a CA", format!("{good}\ndirectory_ca = \"none.pem\""), "none.pem: it cannot be read"),
        ("a mail address", format!("{good}\nemail = \"ops\""), "is not an e-mail address"),
        ("a key", format!("{good}\n{bad_key}"), "is not base64url"),
    ] {
        let (usable, said) = check(path, &top, &tls);
        assert!(!usable && said.contains(expected), "{what}: {said}");
        assert!(said.contains("portcullis.toml:") && said.contains('^'), "{what} has its place: {said}");
    }
    let (usable, said) = check(path, &top, &agreed("domains = [\"www.example.test\"]"));
    assert!(usable && said.contains(&format!("no certificate is for {HOST}")), "{said}");
}
