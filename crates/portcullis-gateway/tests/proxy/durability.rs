//! What was acknowledged is there after a kill at any moment, and was synced before the answer.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Client, Reply};
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Running, Setup, portcullis};
use crate::support::{PASSWORD, eventually};

fn login(client: &Client, email: &str) -> Reply {
    client.post("/auth/login").json(&json!({ "email": email, "password": PASSWORD, "delivery": "body" })).send()
}

fn refresh(client: &Client, token: &str) -> Reply {
    client.post("/auth/refresh").json(&json!({ "refreshToken": token })).send()
}

fn setup() -> (Origin, Gateway) {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with("[limits]\npreset = \"none\"\n").start();
    (origin, gateway)
}

#[test]
fn a_kill_after_the_answer_loses_no_account_and_no_token() {
    let (_origin, mut gateway) = setup();
    gateway.create_user("kept@example.com", "editor");
    let body = json!({ "email": "new@example.com", "password": PASSWORD });
    gateway.client().post("/auth/register").json(&body).send().expect(202);
    let verification = gateway.operator().await_mails("new@example.com", 1).remove(0).token();
    let verified = gateway.client().post("/auth/verify").json(&json!({ "token": verification })).send();
    assert!((200..300).contains(&verified.status), "{}", verified.status);
    let (access, first) = gateway.login("kept@example.com");
    let second = refresh(&gateway.client(), &first).expect(200).json()["refreshToken"].as_str().unwrap().to_owned();
    let (ended_access, ended) = gateway.login("kept@example.com");
    let reply = gateway.client().post("/auth/logout").json(&json!({ "refreshToken": ended })).send();
    assert!((200..300).contains(&reply.status));
    gateway.kill();

    gateway.launch();
    login(&gateway.client(), "new@example.com").expect(200);
    gateway.client().get("/any").bearer(&access).send().expect(200);
    refresh(&gateway.client(), &second).expect(200);
    // A logout is a promise as well.
    refresh(&gateway.client(), &ended).refused(401, "Invalid refresh token");
    gateway.client().get("/any").bearer(&ended_access).send().refused(401, "Token has been revoked");
}

/// What is looked at: what is written and synced, and what is sent.
const CALLS: &str = "trace=fsync,fdatasync,write,pwrite64,pwritev,writev,sendto,sendmsg,sendmmsg";

/// One line of a trace: the system call and the file or peer it went to.
#[derive(Debug)]
struct Call {
    name: String,
    text: String,
}

/// Whether this machine lets `strace` look at a process; under `CI` it must.
fn tracing_is_possible() -> bool {
    let possible = Command::new("strace")
        .args(["-f", "-e", "trace=none", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let why = "strace is absent, or this machine does not let it trace";
    assert!(possible || std::env::var_os("CI").is_none(), "{why}");
    if !possible {
        std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
    }
    possible
}

#[test]
fn a_sync_of_the_database_comes_before_the_answer() {
    if !tracing_is_possible() {
        return;
    }
    let (_origin, mut gateway) = setup();
    gateway.create_user("sync@example.com", "viewer");
    gateway.kill();
    let trace = gateway.directory().join("trace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-s", "64", "-e", CALLS, "-o"])
        .arg(&trace)
        .arg(portcullis().get_program())
        .args(["serve", "--config"])
        .arg(&gateway.config)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let traced = Running::start(&mut command);
    eventually("the traced gateway is ready", Duration::from_secs(60), || {
        let admin = Client::at(gateway.admin, std::net::Ipv4Addr::LOCALHOST);
        admin.get("/readyz").try_send().ok().filter(|reply| reply.status == 200)
    });

    // What was answered until here were questions for its health.
    let mut from = read_trace(&trace).len();
    let mut marks = Vec::new();
    let mut mark = |what: &'static str, marker: &str| marks.push((what, marker.to_owned()));
    let pair: Value = login(&gateway.client(), "sync@example.com").expect(200).json();
    mark("login", "HTTP/1.1 200");
    let token = pair["refreshToken"].as_str().unwrap();
    let token = refresh(&gateway.client(), token).expect(200).json()["refreshToken"].as_str().unwrap().to_owned();
    mark("refresh", "HTTP/1.1 200");
    let body = json!({ "email": "sync2@example.com", "password": PASSWORD });
    gateway.client().post("/auth/register").json(&body).send().expect(202);
    mark("register", "HTTP/1.1 202");
    let reply = gateway.client().post("/auth/logout").json(&json!({ "refreshToken": token })).send();
    mark("logout", &format!("HTTP/1.1 {}", reply.status));
    assert!((200..300).contains(&reply.status));
    // The traced child outlives strace when strace is killed, so it is asked to stop first.
    for child in children(traced.id()) {
        let id = rustix::process::Pid::from_raw(child).unwrap();
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
    let mut traced = traced;
    traced.ended(Duration::from_secs(40));

    let owner = std::fs::metadata(&trace).unwrap().uid();
    assert_eq!(owner, std::fs::metadata(&gateway.state).unwrap().uid());
    let calls = read_trace(&trace);
    let log = format!("{}>", gateway.state.join("portcullis.db-wal").display());
    for (what, marker) in marks {
        let answer = calls[from..]
            .iter()
            .position(|call| is_send(&call.name) && call.text.contains(&marker) && !call.text.contains("admin"))
            .unwrap_or_else(|| panic!("the answer to {what} is not in the trace"));
        let before = &calls[from..from + answer];
        // Somebody else's files are synced too; what counts is the log into which the database writes a commit.
        let log = |call: &&Call| call.text.contains(&log);
        let written = before.iter().position(|call| log(&call) && !is_sync(&call.name));
        let written = written.unwrap_or_else(|| panic!("{what} was answered before it was written: {before:?}"));
        let synced = before[written..].iter().filter(log).any(|call| is_sync(&call.name) && call.text.ends_with("= 0"));
        assert!(synced, "{what} was answered before it was synced: {before:?}");
        from += answer + 1;
    }
}

fn is_sync(name: &str) -> bool {
    matches!(name, "fsync" | "fdatasync")
}

fn is_send(name: &str) -> bool {
    matches!(name, "write" | "writev" | "sendto" | "sendmsg" | "sendmmsg")
}

fn children(parent: u32) -> Vec<i32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// Calls in an order of proof: a sync counts from its end, everything else from its beginning.
fn read_trace(file: &std::path::Path) -> Vec<Call> {
    let mut calls = Vec::new();
    // What each thread is in the middle of: only there it says which file it is about.
    let mut begun = HashMap::<String, String>::new();
    for line in BufReader::new(std::fs::File::open(file).unwrap()).lines() {
        let line = line.unwrap();
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let (name, text) = if let Some(rest) = rest.strip_prefix("<... ") {
            let name = rest.split(' ').next().unwrap_or_default().to_owned();
            let beginning = begun.remove(thread).unwrap_or_default();
            if !is_sync(&name) {
                continue;
            }
            (name, format!("{beginning} {rest}"))
        } else {
            let name = rest.split('(').next().unwrap_or_default().to_owned();
            if rest.ends_with("<unfinished ...>") {
                begun.insert(thread.to_owned(), rest.to_owned());
                if is_sync(&name) {
                    continue;
                }
            }
            (name, rest.to_owned())
        };
        calls.push(Call { name, text });
    }
    calls
}
