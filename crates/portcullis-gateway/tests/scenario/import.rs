//! Users of another system, brought along beside a running gate (A3).

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::projects;
use crate::support::eventually;
use crate::support::process::{Gateway, Running, portcullis};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// bcrypt (cost 4) of `Correct-horse-7-staple`, made by Python.
const BCRYPT: &str = "$2b$04$7TtQbTrdfvWBaZIUIvDQJu6bIXjXVtb6npMXFZTeC6WetJD44nhJe";

#[test]
fn a3_users_of_another_system_are_imported_beside_a_running_gate_and_log_in() {
    let (_origin, gateway) = projects();
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

/// How many accounts there are.
fn accounts(gateway: &Gateway) -> usize {
    gateway.accounts().texts("SELECT CAST(count(*) AS TEXT) FROM account")[0].parse().unwrap()
}

#[test]
fn an_import_that_was_killed_is_started_again_and_goes_on() {
    const ROWS: usize = 6_000;
    let (_origin, gateway) = projects();
    let rows: String =
        (0..ROWS).map(|n| format!("{{\"email\":\"user{n}@example.com\",\"verified\":true}}\n")).collect();
    let file = gateway.directory().join("users.jsonl");
    std::fs::write(&file, rows).unwrap();
    let arguments = ["users", "import", file.to_str().unwrap()];
    let import = Running::start(portcullis().args(arguments).arg("--config").arg(&gateway.config));
    eventually("batches are written", Duration::from_secs(30), || (accounts(&gateway) > 0).then_some(()));
    import.signal(rustix::process::Signal::KILL);
    drop(import);
    // The server may still be at the batch that it was sent.
    let kept = eventually("the count stands still", Duration::from_secs(5), || {
        let before = accounts(&gateway);
        std::thread::sleep(Duration::from_millis(100));
        (accounts(&gateway) == before).then_some(before)
    });
    assert!((200..ROWS).contains(&kept) && kept % 200 == 0, "whole batches were kept: {kept}");
    let again = gateway.command(&arguments);
    assert!(again.status.success(), "{}", text(&again));
    let told = format!("imported {}, skipped {kept} that exist, refused 0", ROWS - kept);
    assert!(text(&again).contains(&told), "{}", text(&again));
    assert_eq!(accounts(&gateway), ROWS);
    let audited =
        gateway.accounts().texts("SELECT CAST(count(*) AS TEXT) FROM audit WHERE action = 'account_imported'");
    assert_eq!(audited, [ROWS.to_string()], "each account with its audit row");
}

/// The most memory that an import may ever have.
const MOST: u64 = 100 << 20;

/// The most memory that a process has had so far, in bytes; `None` where it has ended.
fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
}

/// `PORTCULLIS_USERS` says how many; `cargo xtask soak --users N` sets it.
#[test]
fn a3_many_users_are_imported_in_little_memory() {
    let users: usize = std::env::var("PORTCULLIS_USERS").map_or(5_000, |count| count.parse().unwrap());
    let (_origin, gateway) = projects();
    let file = gateway.directory().join("users.csv");
    let row = |n| format!("user{n}@example.com,\"User, {n}\",true,{BCRYPT}\n");
    let rows: String = (0..users).map(row).collect();
    std::fs::write(&file, format!("email,name,verified,password_hash\n{rows}")).unwrap();
    let arguments = ["users", "import", file.to_str().unwrap()];
    let begun = Instant::now();
    let mut import = Running::start(portcullis().args(arguments).arg("--config").arg(&gateway.config));
    let mut most = 0;
    let status = loop {
        if let Some(status) = import.has_ended() {
            break status;
        }
        most = most.max(peak(import.id()).unwrap_or_default());
        assert!(begun.elapsed() < Duration::from_secs(600), "{}", import.output());
        std::thread::sleep(Duration::from_millis(5));
    };
    println!("{users} users in {:.1} s, a peak of {} MiB", begun.elapsed().as_secs_f64(), most >> 20);
    assert!(status.success(), "{}", import.output());
    assert!((1 << 20..MOST).contains(&most), "a peak of {most} bytes");
    assert_eq!(accounts(&gateway), users);
    // Somebody in the middle logs in.
    let email = format!("user{}@example.com", users / 2);
    gateway.login(&email);
    let again = gateway.command(&arguments);
    assert!(text(&again).contains(&format!("imported 0, skipped {users} that exist, refused 0")), "{}", text(&again));
}

#[test]
fn an_import_holds_a_row_in_memory_and_not_the_file() {
    // More than the process may ever have, in rows near the longest that are taken.
    const ROWS: usize = 2_200;
    let (_origin, gateway) = projects();
    let note = "x".repeat(50_000);
    let mut import = portcullis()
        .args(["users", "import", "-", "--format", "json", "--ignore-column", "note", "--config"])
        .arg(&gateway.config)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = import.stdin.take().unwrap();
    for number in 0..ROWS {
        let row = format!("{{\"email\":\"user{number}@example.com\",\"verified\":true,\"note\":\"{note}\"}}\n");
        input.write_all(row.as_bytes()).unwrap();
    }
    assert!(u64::try_from(ROWS * note.len()).unwrap() > MOST);
    // All but what stands in the pipe is read; the process has not ended, because its input has not.
    let peak = peak(import.id()).unwrap();
    drop(input);
    let done = import.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", text(&done));
    assert!(text(&done).contains(&format!("imported {ROWS}, skipped 0")), "{}", text(&done));
    assert_eq!(accounts(&gateway), ROWS);
    assert!(peak < MOST, "a peak of {peak} bytes");
}

/// Whether a program is here to run another at a terminal; where it is not, that is said, and under `CI` it is a failure.
fn has_a_terminal() -> bool {
    let found = Command::new("script").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "script (bsdutils) is absent");
    if !found {
        eprintln!("SKIPPED: script (bsdutils) is absent");
    }
    found
}

#[test]
fn a_terminal_shows_how_far_an_import_is_and_no_row_paints_it() {
    if !has_a_terminal() {
        return;
    }
    let (_origin, gateway) = projects();
    let file = gateway.directory().join("users.jsonl");
    let mut rows: String =
        (0..3_000).map(|n| format!("{{\"email\":\"user{n}@example.com\",\"verified\":true}}\n")).collect();
    rows += "{\"email\":\"\\u001b]0;owned\\u0007@example.com\",\"verified\":true}\n";
    std::fs::write(&file, rows).unwrap();
    let quoted = |text: &std::path::Path| format!("'{}'", text.display());
    let program = portcullis().get_program().to_owned();
    let command = format!(
        "{} users import {} --dry-run --config {}",
        quoted(program.as_ref()),
        quoted(&file),
        quoted(&gateway.config)
    );
    let shown = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = text(&shown);
    assert_eq!(shown.status.code(), Some(1), "{told:?}");
    assert!(told.contains('%') && told.contains(" imported, 0 refused") && told.contains(" left"), "{told:?}");
    assert!(told.contains("line 3001: \"\\u{1b}]0;owned\\u{7}@example.com\""), "{told:?}");
    assert!(!told.contains("\u{1b}]0;"), "{told:?}");
    assert!(told.contains("would import 3000, skipped 0 that exist, refused 1"), "{told:?}");
    assert_eq!(accounts(&gateway), 0, "nothing was written");
}
