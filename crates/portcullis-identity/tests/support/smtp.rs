//! A mail server of the tests' own: a process that takes mail and tells what it took, and certificates for it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Debian's own Python: another one on the path does not know Debian's packages.
const PYTHON: &str = "/usr/bin/python3";
const SERVER: &str = include_str!("smtp.py");
/// For what must happen soon.
const SOON: Duration = Duration::from_secs(15);

/// Whether the server and openssl are here. Where they are not, that is said once, past the tests' capture; under `CI`
/// it is a failure.
pub(crate) fn is_installed() -> bool {
    static FOUND: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *FOUND.get_or_init(|| {
        let runs = |program: &str, arguments: &[&str]| {
            let quiet = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
            quiet.is_ok_and(|status| status.success())
        };
        let found = runs(PYTHON, &["-c", "import aiosmtpd"]) && runs("openssl", &["version"]);
        assert!(found || std::env::var_os("CI").is_none(), "python3-aiosmtpd or openssl is not installed");
        if !found {
            let line = "SKIPPED: python3-aiosmtpd or openssl is not installed; \"cargo xtask test\" installs them\n";
            std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
        }
        found
    })
}

/// A certificate authority, and a certificate that it gave.
#[derive(Debug)]
pub(crate) struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// For a server of these names, as `subjectAltName` writes them.
    pub(crate) fn of(names: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let made = Self { directory };
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let openssl = |arguments: &[&str]| {
            let output = Command::new("openssl").args(arguments).current_dir(made.directory.path()).output();
            let output = output.expect("openssl can be run");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let authority = ["req", "-x509", "-days", "2", "-subj", "/CN=Authority", "-keyout", "ca.key", "-out", "ca.pem"];
        openssl(&[&authority[..], &key].concat());
        openssl(&[&["req", "-subj", "/CN=mail", "-keyout", "key.pem", "-out", "request.pem"][..], &key].concat());
        std::fs::write(made.path("names"), format!("subjectAltName={names}\n")).expect("it can be written");
        openssl(&[
            "x509",
            "-req",
            "-in",
            "request.pem",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "names",
            "-out",
            "certificate.pem",
        ]);
        made
    }

    /// The file with the authority's certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// How a server shall behave; see `smtp.py`.
#[derive(Clone, Debug)]
pub(crate) struct Setup(Value);

impl Setup {
    /// Without TLS and login.
    pub(crate) fn plain() -> Self {
        Self(json!({ "port": 0, "tls": "none" }))
    }

    /// With `starttls` or `tls`.
    pub(crate) fn protected(tls: &str, certificates: &Certificates) -> Self {
        let file = |name| certificates.path(name);
        Self(json!({ "port": 0, "tls": tls, "certificate": file("certificate.pem"), "key": file("key.pem") }))
    }

    /// Who is let in.
    pub(crate) fn login(mut self, user: &str, password: &str) -> Self {
        self.0["login"] = json!([user, password]);
        self
    }

    /// What the first mails are answered.
    pub(crate) fn answers(mut self, answers: &[&str]) -> Self {
        self.0["answers"] = json!(answers);
        self
    }

    /// On this port.
    pub(crate) fn on(mut self, port: u16) -> Self {
        self.0["port"] = json!(port);
        self
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(self) -> Server {
        let mut process = Command::new(PYTHON)
            .args(["-c", SERVER])
            .arg(self.0.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // It reports every handshake that fails, which some tests are about.
            .stderr(Stdio::null())
            .spawn()
            .expect("Python can be started");
        let lines = BufReader::new(process.stdout.take().expect("it was asked for")).lines();
        let (sender, told) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).expect("the server writes JSON")).is_err() {
                    return;
                }
            }
        });
        let mut server = Server { process, told, port: 0 };
        let port = server.next("listening")["port"].as_u64().expect("a number");
        server.port = u16::try_from(port).expect("a port");
        server
    }
}

/// A running server. It is killed when the value goes.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    told: Receiver<Value>,
    /// Where it listens on 127.0.0.1.
    pub(crate) port: u16,
}

impl Server {
    /// Waits for the next event of this kind, and skips others.
    pub(crate) fn next(&self, event: &str) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.told.recv_timeout(left) {
                Ok(told) if told["event"] == event => return told,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("no {event} within {SOON:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the mail server has ended before a {event}"),
            }
        }
    }

    /// Everything that was told since, after a moment for what is under way.
    pub(crate) fn rest(&self) -> Vec<String> {
        std::thread::sleep(Duration::from_millis(300));
        self.told.try_iter().map(|told| told["event"].as_str().expect("a text").to_owned()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The headers of this name in a mail that a server told of.
pub(crate) fn headers<'a>(mail: &'a Value, name: &str) -> Vec<&'a str> {
    let all = mail["message"]["headers"].as_array().expect("a list");
    all.iter().filter(|header| header[0] == name).filter_map(|header| header[1].as_str()).collect()
}

/// The text of this type in a mail that a server told of.
pub(crate) fn part<'a>(mail: &'a Value, content_type: &str) -> &'a str {
    let all = mail["message"]["parts"].as_array().expect("a list");
    let found = all.iter().find(|part| part[0] == content_type).expect("the mail has such a part");
    found[1].as_str().expect("a text")
}

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("the file is there")
}
