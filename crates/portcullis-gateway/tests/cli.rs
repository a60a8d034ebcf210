//! The command line: check, init, schema, explain, demo. What it does to accounts is in the scenario, for both engines.

#![expect(clippy::unwrap_used, reason = "a helper that has nothing to work on fails its test")]

#[expect(dead_code, reason = "each test binary uses its own part of what they share")]
mod support;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use support::client::Client;
use support::origin::Origin;
use support::process::{Running, Setup, free_address, portcullis};
use support::{PROJECT_ROUTES, eventually};

fn run(arguments: &[&str]) -> Output {
    portcullis().args(arguments).output().expect("the binary can be started")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn check(directory: &Path, toml: &str) -> Output {
    let file = directory.join("portcullis.toml");
    std::fs::write(&file, toml).unwrap();
    run(&["check", file.to_str().unwrap()])
}

#[test]
fn o2_check_tells_every_error_of_a_file_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let toml = "listen = \"nowhere\"\nupstream = \"http://127.0.0.1:3000\"\nupstraem = \"x\"\n\n[client]\n\
                head_timeout = \"soon\"\n\n[[limit]]\nname = \"a\"\nmatch = \"/**\"\nkey = \"address\"\n\
                quota = \"lots\"\n\n[[route]]\nmatch = \"GET projects\"\naccess = \"open\"\n";
    let output = check(directory.path(), toml);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    for (line, word) in [(1, "nowhere"), (3, "upstraem"), (6, "soon"), (12, "lots"), (15, "GET projects"), (16, "open")]
    {
        assert!(told.contains(&format!("portcullis.toml:{line}:")), "line {line} is not named:\n{told}");
        assert!(told.contains(word), "{word} is not shown:\n{told}");
    }
    assert!(told.matches('^').count() >= 6, "a caret under each:\n{told}");
    assert!(told.contains("upstream"), "a hint for what was meant:\n{told}");
}

#[test]
fn check_refuses_what_cannot_be_meant() {
    let directory = tempfile::tempdir().unwrap();
    let good = "upstream = \"http://127.0.0.1:3000\"\n";
    let cases = [
        ("a syntax error", "[[route\n"),
        (
            "a tie of two routes",
            "[[route]]\nmatch = \"/a\"\naccess = \"public\"\n\n[[route]]\nmatch = \"/a\"\nroles = [\"admin\"]\n",
        ),
        ("an unknown upstream", "[[route]]\nmatch = \"/a\"\naccess = \"public\"\nupstream = \"nobody\"\n"),
        ("a route that says nothing of access", "[[route]]\nmatch = \"/a\"\n"),
        ("a role that inherits itself", "[roles.a]\ninherits = [\"b\"]\n\n[roles.b]\ninherits = [\"a\"]\n"),
        ("an unknown role to inherit", "[roles.a]\ninherits = [\"nobody\"]\n"),
        ("what this version cannot do", "[alerts]\nmail = \"ops@example.com\"\n"),
        (
            "a quota of nothing",
            "[[limit]]\nname = \"a\"\nmatch = \"/**\"\nkey = \"address\"\nquota = \"0 per minute\"\n",
        ),
        (
            "two limits of one name",
            "[[limit]]\nname = \"a\"\nmatch = \"/a\"\nkey = \"address\"\nquota = \"1 per minute\"\n\n[[limit]]\nname = \"a\"\nmatch = \"/b\"\nkey = \"address\"\nquota = \"1 per minute\"\n",
        ),
        (
            "a secret of an issuer in the file",
            "[[issuer]]\nname = \"partner\"\nissuer = \"https://a.example.com\"\naudience = \"api\"\nsecret = \"0123456789012345678901234567890123456789\"\n",
        ),
    ];
    for (what, toml) in cases {
        let output = check(directory.path(), &format!("{good}{toml}"));
        let told = text(&output);
        assert_eq!(output.status.code(), Some(2), "{what}:\n{told}");
        assert!(told.contains("portcullis.toml:"), "{what}:\n{told}");
        assert!(!told.contains("panicked"), "{what}:\n{told}");
    }
    let output = check(directory.path(), good);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let missing = run(&["check", "/nonexistent/portcullis.toml"]);
    assert!(missing.status.code().is_some_and(|code| code != 0));
    assert!(text(&missing).contains("/nonexistent/portcullis.toml"));
}

#[test]
fn o3_a_weak_secret_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    let toml = format!(
        "upstream = \"http://127.0.0.1:3000\"\n\n[[issuer]]\nname = \"partner\"\nissuer = \"https://issuer.example.com\"\n\
         secret_file = \"{}\"\nalgorithms = [\"HS256\"]\naudience = [\"api\"]\n",
        secret.display()
    );
    for weak in ["", "changeme", "secret", "short-but-not-known", &"a".repeat(64)] {
        std::fs::write(&secret, weak).unwrap();
        let output = check(directory.path(), &toml);
        assert_eq!(output.status.code(), Some(2), "{weak:?}:\n{}", text(&output));
        assert!(weak.len() < 10 || !text(&output).contains(weak), "a secret is not repeated");
    }
    std::fs::write(&secret, "mzQ4v8Yw2nTfKc7RbXh5JpLs9DgEaU3iVt6oZ1yNqMxBkWHu").unwrap();
    let output = check(directory.path(), &toml);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn check_warns_of_risky_choices_and_lets_them_be() {
    let directory = tempfile::tempdir().unwrap();
    let toml = "upstream = \"http://127.0.0.1:3000\"\n\n[routes]\notherwise = \"public\"\n\n[client]\n\
                trusted_hops = [\"0.0.0.0/0\"]\n\n[limits]\npreset = \"none\"\n\n[identity]\n\
                danger_mail_catcher = true\nregistration = true\n";
    let output = check(directory.path(), toml);
    let told = text(&output).to_lowercase();
    assert_eq!(output.status.code(), Some(0), "{told}");
    for word in ["otherwise", "0.0.0.0/0", "preset", "danger_mail_catcher"] {
        assert!(told.contains(word), "no warning of {word}:\n{told}");
    }
}

#[test]
fn init_writes_a_file_that_passes_check_and_never_overwrites() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("portcullis.toml");
    let path = file.to_str().unwrap();
    let output = run(&["init", path]);
    assert!(output.status.success(), "{}", text(&output));
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.lines().filter(|line| line.trim_start().starts_with('#')).count() > 10, "it explains itself");
    let output = run(&["check", path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));

    let again = run(&["init", path]);
    assert!(!again.status.success(), "{}", text(&again));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
}

#[test]
fn schema_is_what_lies_in_the_tree() {
    let output = run(&["schema"]);
    assert!(output.status.success(), "{}", text(&output));
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the schema is JSON");
    assert!(printed["properties"]["upstream"].is_object(), "{printed}");
    assert_eq!(printed["additionalProperties"], false, "unknown keys are denied");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let kept =
        [root.join("portcullis.schema.json"), Path::new(env!("CARGO_MANIFEST_DIR")).join("portcullis.schema.json")]
            .into_iter()
            .find_map(|file| std::fs::read(file).ok())
            .expect("portcullis.schema.json lies in the tree");
    let kept: serde_json::Value = serde_json::from_slice(&kept).expect("the kept schema is JSON");
    assert!(kept == printed, "refresh it: portcullis schema > portcullis.schema.json");
}

#[test]
fn usage_errors_are_told_and_have_the_code_of_usage() {
    for arguments in [&["serve"][..], &["frobnicate"], &["check"], &["serve", "--upstream", "not a url"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output));
        assert!(!output.stderr.is_empty() && !text(&output).contains("panicked"), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["serve", "--help"]] {
        assert!(run(arguments).status.success(), "{arguments:?}");
    }
}

#[test]
fn explain_tells_what_the_gate_would_answer_and_why() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    let viewer = gateway.token("viewer");
    let admin = gateway.token("admin");
    let explain = |request: &str, token: Option<&str>| {
        let mut arguments = vec!["explain", request];
        if let Some(token) = token {
            arguments.extend(["--token", token]);
        }
        text(&gateway.command(&arguments))
    };
    let nobody = explain("GET /projects", None);
    assert!(nobody.contains("401") && nobody.contains("Authentication required"), "{nobody}");
    assert!(nobody.contains("/projects/**"), "the route is named: {nobody}");
    let refused = explain("GET /analytics", Some(&viewer));
    assert!(refused.contains("403") && refused.contains("admin"), "{refused}");
    assert!(!refused.contains(&viewer), "a token is not repeated");
    let passed = explain("GET /analytics", Some(&admin));
    assert!(!passed.contains("403") && passed.to_lowercase().contains("pass"), "{passed}");
    let bent = explain("GET /public/../analytics", Some(&admin));
    assert!(bent.contains("400") && bent.contains("dot segment"), "{bent}");
    let nowhere = explain("GET /nowhere", Some(&admin));
    assert!(nowhere.contains("404"), "{nowhere}");
    assert!(origin.requests().is_empty(), "explaining is not calling");
}

/// The demo with its state in a directory of the test's own.
struct Demo {
    process: Running,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Demo {
    fn start(state: &Path) -> Self {
        let (listen, admin, upstream) = (free_address(), free_address(), free_address());
        let mut process = Running::start(
            portcullis()
                .current_dir(state.parent().unwrap())
                .arg("demo")
                .args(["--listen", &listen.to_string(), "--admin", &admin.to_string()])
                .args(["--upstream-listen", &upstream.to_string()])
                .arg("--state-dir")
                .arg(state),
        );
        eventually("the demo is ready", Duration::from_secs(30), || {
            if let Some(status) = process.has_ended() {
                panic!("the demo ended ({status}):\n{}", process.output());
            }
            let reply = Client::new(listen).get("/public/status").try_send().ok()?;
            (reply.status == 200 && process.output().contains("Ctrl-C")).then_some(())
        });
        Self { process, listen, admin }
    }

    /// What a person copies into another terminal: everything between the line that names the tour and the one that
    /// tells how to stop.
    fn tour(&self) -> String {
        let output = self.process.output();
        let lines = output.lines().skip_while(|line| !line.contains("tour")).skip(1);
        lines.take_while(|line| !line.contains("Ctrl-C")).map(|line| format!("{line}\n")).collect()
    }
}

fn sh(script: &str) -> Output {
    Command::new("sh").arg("-c").arg(script).stdin(Stdio::null()).output().expect("sh can be started")
}

#[test]
fn the_demo_shows_three_accounts_and_a_tour_that_works_in_order() {
    if !sh("command -v curl").status.success() {
        assert!(std::env::var_os("CI").is_none(), "curl is absent");
        // The test harness would keep what `eprintln!` prints to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED: curl is absent");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("demo-state");
    let demo = Demo::start(&state);
    let printed = demo.process.output();
    for word in ["viewer", "editor", "admin", &demo.listen.to_string(), &demo.admin.to_string(), "demo-state"] {
        assert!(printed.contains(word), "{word} is not printed:\n{printed}");
    }
    let tour = demo.tour();
    assert!(
        tour.matches("curl").count() >= 7,
        "register, mail, verify, login, call, refused, refresh, limited:\n{printed}"
    );
    let output = sh(&tour);
    let told = text(&output);
    for (what, sign) in [
        ("a registration is accepted", "202"),
        ("a role is refused", "Insufficient permissions"),
        ("a limit is met", "429"),
    ] {
        assert!(told.contains(sign), "{what}: no {sign} in\n{told}\nof the tour\n{}", tour);
    }
    for sign in ["curl:", "not found", "Invalid credentials", "Invalid refresh token", "Bad gateway", "syntax error"] {
        assert!(!told.contains(sign), "{sign} in\n{told}\nof the tour\n{}", tour);
    }
}

#[test]
fn the_demo_works_again_when_it_is_started_twice() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("demo-state");
    let passwords = |demo: &Demo| -> Vec<String> {
        let printed = demo.process.output();
        let lines = printed.lines().filter(|line| line.contains("@example.com") && !line.contains("curl"));
        lines.map(|line| line.trim().to_owned()).take(3).collect()
    };
    let first = Demo::start(&state);
    let before = passwords(&first);
    first.process.signal(rustix::process::Signal::TERM);
    let Demo { mut process, .. } = first;
    assert!(process.ended(Duration::from_secs(40)).success());
    drop(process);
    let second = Demo::start(&state);
    assert_eq!(passwords(&second), before, "the accounts are the same");
    assert_eq!(before.len(), 3);
    Client::new(second.listen).get("/projects").send().expect(401);
}

#[test]
fn the_sample_api_runs_alone() {
    let listen = free_address();
    let _api = Running::start(portcullis().args(["demo", "--upstream-only", "--listen", &listen.to_string()]));
    let reply = eventually("the sample API answers", Duration::from_secs(10), || {
        Client::new(listen).get("/projects").try_send().ok()
    });
    assert_eq!(reply.status, 200, "it knows no logins of its own");
    assert_eq!(Client::new(listen).get("/public/status").send().status, 200);
}
