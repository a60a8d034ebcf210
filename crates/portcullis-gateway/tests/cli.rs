//! The command line: check, init, schema, users, keys, explain, demo.

#![expect(clippy::unwrap_used, reason = "a helper that has nothing to work on fails its test")]

#[expect(dead_code, reason = "each test binary uses its own part of what they share")]
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use support::client::Client;
use support::origin::Origin;
use support::process::{Running, Setup, free_address, portcullis};
use support::{PASSWORD, PROJECT_ROUTES, eventually, jose_header};

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
        ("what this version cannot do", "[cors]\norigins = [\"https://a.example.com\"]\n"),
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
fn a11_users_are_created_and_listed_without_their_passwords() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    gateway.create_user("first@example.com", "admin");
    let listed = gateway.command(&["users", "list"]);
    assert!(listed.status.success(), "{}", text(&listed));
    assert!(text(&listed).contains("first@example.com") && text(&listed).contains("admin"), "{}", text(&listed));
    assert!(!text(&listed).contains("$argon2"), "{}", text(&listed));

    let file = gateway.directory().join("password");
    let create = |email: &str, role: &str, password: &str| {
        std::fs::write(&file, password).unwrap();
        let file = file.display().to_string();
        gateway.command(&["users", "create", "--email", email, "--role", role, "--password-file", &file])
    };
    for (email, role, password) in [
        ("first@example.com", "viewer", PASSWORD),
        ("FIRST@example.com", "viewer", PASSWORD),
        ("not an address", "viewer", PASSWORD),
        ("weak@example.com", "viewer", "weak"),
        ("role@example.com", "no such role", PASSWORD),
        ("role@example.com", "emperor", PASSWORD),
    ] {
        let output = create(email, role, password);
        assert!(role == "viewer" || text(&output).contains("the roles are admin, editor, viewer"), "{}", text(&output));
        assert!(output.status.code().is_some_and(|code| code != 0), "{email} {role}: {}", text(&output));
        assert!(!text(&output).contains("panicked"), "{}", text(&output));
    }
    // A file is often written with a line end.
    let output = create("line@example.com", "viewer", &format!("{PASSWORD}\n"));
    assert!(output.status.success(), "{}", text(&output));
    gateway.login("line@example.com");
}

/// bcrypt (cost 4) of `Correct-horse-7-staple`, made by Python.
const BCRYPT: &str = "$2b$04$7TtQbTrdfvWBaZIUIvDQJu6bIXjXVtb6npMXFZTeC6WetJD44nhJe";

#[test]
fn a3_users_of_another_system_are_imported_beside_a_running_gate_and_log_in() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    let at = |name: &str| gateway.directory().join(name).display().to_string();
    let rows = format!(
        "email,name,role,verified,password_hash\r\nmia@example.com,\"Keller, Mia\",editor,true,{BCRYPT}\r\n\
         MIA@example.com,Mia,viewer,true,{BCRYPT}\r\nroot@example.com,Root,root,true,\r\n\
         slow@example.com,Slow,viewer,true,$2b$31${}\r\n",
        &BCRYPT[7..]
    );
    std::fs::write(at("users.csv"), rows).unwrap();
    let import = |more: &[&str]| {
        let (file, report) = (at("users.csv"), at("report.jsonl"));
        gateway.command(&[&["users", "import", &file, "--report", &report], more].concat())
    };
    let dry = import(&["--dry-run"]);
    assert_eq!(dry.status.code(), Some(1), "{}", text(&dry));
    assert!(text(&dry).contains("would import 1, skipped 0 that exist, refused 3"), "{}", text(&dry));
    let done = import(&[]);
    assert_eq!(done.status.code(), Some(1), "{}", text(&done));
    assert!(text(&done).contains("imported 1, skipped 0 that exist, refused 3"), "{}", text(&done));
    assert!(!text(&done).contains('\u{1b}'), "no bar where there is no terminal");
    let report = std::fs::read_to_string(at("report.jsonl")).unwrap();
    assert_eq!(report.lines().count(), 3, "{report}");
    assert!(report.contains("\"line\":3") && report.contains("already on line 2"), "{report}");
    assert!(!report.contains(&BCRYPT[29..]), "no hash stands in the report");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(at("report.jsonl")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(text(&import(&[])).contains("imported 0, skipped 1 that exist"));
    gateway.login("mia@example.com");
    gateway.login("mia@example.com");
    let shown = text(&gateway.command(&["users", "show", "mia@example.com"]));
    assert!(shown.contains("argon2") && shown.contains("editor") && shown.contains("Keller, Mia"), "{shown}");

    std::fs::write(at("users.jsonl"), "{\"email\":\"ok@example.com\",\"verified\":true}\n").unwrap();
    let good = gateway.command(&["users", "import", &at("users.jsonl")]);
    assert!(good.status.success(), "{}", text(&good));
    let exported = gateway.command(&["users", "export", &at("out.jsonl")]);
    assert!(exported.status.success(), "{}", text(&exported));
    let lines = std::fs::read_to_string(at("out.jsonl")).unwrap();
    assert!(lines.contains("mia@example.com") && !lines.contains("$argon2"), "{lines}");
    let again = gateway.command(&["users", "export", &at("out.jsonl"), "--with-hashes"]);
    assert_eq!(again.status.code(), Some(1), "an existing file is not overwritten");
    let header = at("wrong.csv");
    std::fs::write(&header, "email,passwort\n").unwrap();
    let wrong = gateway.command(&["users", "import", &header, "--assume-verified"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong));
    assert!(text(&wrong).contains("no column \"passwort\""), "{}", text(&wrong));
}

#[test]
fn an_import_that_was_killed_is_started_again_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    const ROWS: usize = 20_000;
    let rows: String =
        (0..ROWS).map(|n| format!("{{\"email\":\"user{n}@example.com\",\"verified\":true}}\n")).collect();
    std::fs::write(at("users.jsonl"), rows).unwrap();
    let state = at("state");
    let arguments = ["users", "import", &at("users.jsonl"), "--state-dir", &state];
    let import = Running::start(portcullis().args(arguments));
    let log = directory.path().join("state/portcullis.db-wal");
    eventually("batches are written", Duration::from_secs(30), || {
        std::fs::metadata(&log).is_ok_and(|log| log.len() > 500_000).then_some(())
    });
    import.signal(rustix::process::Signal::KILL);
    drop(import);
    let again = run(&arguments);
    assert!(again.status.success(), "{}", text(&again));
    let told = text(&again);
    let number = |word: &str| -> usize {
        told.split(word).nth(1).unwrap().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let (imported, skipped) = (number("imported "), number("skipped "));
    assert_eq!(imported + skipped, ROWS, "{told}");
    assert!(skipped >= 200 && skipped % 200 == 0, "whole batches were kept: {told}");
    let export = run(&["users", "export", &at("out.jsonl"), "--state-dir", &state]);
    assert!(text(&export).contains(&format!("{ROWS} accounts")), "{}", text(&export));
}

#[test]
fn t7_what_an_operator_changes_ends_the_tokens_of_an_account_within_a_second() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    gateway.create_user("mia@example.com", "viewer");
    let changes: [&[&str]; 5] = [
        &["role", "mia@example.com", "editor"],
        &["plan", "mia@example.com", "paid"],
        &["revoke", "mia@example.com"],
        &["disable", "mia@example.com"],
        &["delete", "mia@example.com", "--yes"],
    ];
    for change in changes {
        let (token, _) = gateway.login("mia@example.com");
        gateway.client().get("/projects").bearer(&token).send().expect(200);
        let done = gateway.command(&[&["users"], change].concat());
        assert!(done.status.success(), "{change:?}: {}", text(&done));
        eventually("the token has ended", Duration::from_secs(1), || {
            (gateway.client().get("/projects").bearer(&token).send().status == 401).then_some(())
        });
        if change[0] == "disable" {
            assert!(text(&gateway.command(&["users", "show", "mia@example.com"])).contains("disabled since"));
            assert!(gateway.command(&["users", "enable", "mia@example.com"]).status.success());
        }
    }
    let gone = gateway.command(&["users", "show", "mia@example.com"]);
    assert_eq!(gone.status.code(), Some(1), "{}", text(&gone));
    let unknown = gateway.command(&["users", "role", "viewer@example.com", "emperor"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown));
    assert!(text(&unknown).contains("the roles are admin, editor, viewer"), "{}", text(&unknown));
}

#[test]
fn a11_a_long_list_of_users_is_shown_whole() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    let file = gateway.directory().join("users.csv");
    let rows: String = (0..450).map(|number| format!("user{number}@example.com,true\n")).collect();
    std::fs::write(&file, format!("email,verified\n{rows}")).unwrap();
    let imported = gateway.command(&["users", "import", file.to_str().unwrap()]);
    assert!(imported.status.success(), "{}", text(&imported));
    let listed = gateway.command(&["users", "list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count(), 451, "a line for each, and one of titles");
    assert!((0..450).all(|number| listed.contains(&format!(" user{number}@example.com"))));
}

#[test]
fn t3_keys_are_listed_and_rotated() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).start();
    let token = gateway.token("viewer");
    let kid = jose_header(&token)["kid"].as_str().unwrap().to_owned();
    let listed = gateway.command(&["keys", "list"]);
    assert!(listed.status.success() && text(&listed).contains(&kid), "{}", text(&listed));
    let rotated = gateway.command(&["keys", "rotate"]);
    assert!(rotated.status.success(), "{}", text(&rotated));
    let listed = text(&gateway.command(&["keys", "list"]));
    assert!(listed.contains(&kid), "the retired key is still there: {listed}");
    assert!(!listed.contains("PRIVATE"), "{listed}");
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
        eprintln!("SKIPPED: curl is absent");
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
