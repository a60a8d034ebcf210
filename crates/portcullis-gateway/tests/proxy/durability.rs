//! What was acknowledged is there after a kill at any moment, and was synced before the answer.

use std::io::{BufRead as _, BufReader};
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

/// What one writer was told before the process died.
#[derive(Debug, Default)]
struct Told {
    /// Tokens of one family in their order; each is the answer to the one before it.
    chain: Vec<String>,
    /// The newest token of a family whose logout was acknowledged.
    ended: Option<String>,
}

/// Refreshes one family a few times and ends it, then refreshes the other until the process is gone.
fn write(gateway: &Gateway, ending: &str, going_on: &str) -> Told {
    let client = gateway.client();
    let ask = |path: &str, token: &str| {
        let reply = client.post(path).json(&json!({ "refreshToken": token })).try_send().ok()?;
        (200..300).contains(&reply.status).then_some(reply)
    };
    let next = |token: &str| Some(ask("/auth/refresh", token)?.json()["refreshToken"].as_str()?.to_owned());
    let mut told = Told { chain: vec![going_on.to_owned()], ended: None };
    let ending = (0..3).try_fold(ending.to_owned(), |token, _| next(&token));
    if let Some(token) = ending
        && ask("/auth/logout", &token).is_some()
    {
        told.ended = Some(token);
    }
    while let Some(token) = next(told.chain.last().unwrap()) {
        told.chain.push(token);
    }
    told
}

/// 20 kills at moments that nobody chose, each under writes that share their commits.
#[test]
fn a_kill_in_the_middle_of_everything_loses_nothing_that_was_acknowledged() {
    const WRITERS: usize = 4;
    let (_origin, mut gateway) = setup();
    gateway.create_user("chain@example.com", "viewer");
    let mut families: Vec<String> = (0..WRITERS).map(|_| gateway.login("chain@example.com").1).collect();
    let (mut rotations, mut logouts) = (0, 0);
    for round in 0_u64..20 {
        let ending: Vec<String> = (0..WRITERS).map(|_| gateway.login("chain@example.com").1).collect();
        let told: Vec<Told> = std::thread::scope(|scope| {
            let gateway = &gateway;
            let writers: Vec<_> = families
                .iter()
                .zip(&ending)
                .map(|(family, ending)| scope.spawn(move || write(gateway, ending, family)))
                .collect();
            // Spread over a fifth of a second, differently in each round and on each machine.
            let moment = (u64::from(std::process::id()) + 7 * round) * 7_919 % 200;
            std::thread::sleep(Duration::from_millis(10 + moment));
            let id = rustix::process::Pid::from_raw(process_id(gateway)).unwrap();
            rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        gateway.kill_remains();
        gateway.launch();
        families.clear();
        for told in told {
            rotations += told.chain.len() - 1;
            // The last acknowledged token works; its successor may have been made and not told, which the grace
            // window covers.
            let reply = refresh(&gateway.client(), told.chain.last().unwrap());
            assert_eq!(reply.status, 200, "an acknowledged token of {} is lost: {}", told.chain.len(), reply.text());
            if let Some(ended) = told.ended {
                logouts += 1;
                refresh(&gateway.client(), &ended).refused(401, "Invalid refresh token");
            }
            // A token whose successor was used as well has no grace left: it is spent for ever, and ends its family.
            let newest = reply.json()["refreshToken"].as_str().unwrap().to_owned();
            match told.chain.len().checked_sub(3).map(|index| &told.chain[index]) {
                Some(spent) if round % 2 == 1 => {
                    refresh(&gateway.client(), spent).refused(401, "Invalid refresh token");
                    refresh(&gateway.client(), &newest).refused(401, "Invalid refresh token");
                    families.push(gateway.login("chain@example.com").1);
                }
                _ => families.push(newest),
            }
        }
    }
    println!("{rotations} rotations and {logouts} logouts were acknowledged before 20 kills");
    assert!(rotations >= 100 && logouts >= 10, "{rotations} rotations, {logouts} logouts");
}

fn process_id(gateway: &Gateway) -> i32 {
    i32::try_from(gateway.id()).unwrap()
}

/// One line of a trace: the system call and the file or peer it went to.
#[derive(Debug)]
struct Call {
    name: String,
    text: String,
}

/// Whether this machine lets `strace` look at a process.
fn tracing_is_possible() -> bool {
    Command::new("strace")
        .args(["-f", "-e", "trace=none", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn a_sync_of_the_database_comes_before_the_answer() {
    if !tracing_is_possible() {
        eprintln!("SKIPPED: strace is absent, or this machine does not let it trace");
        return;
    }
    let (_origin, mut gateway) = setup();
    gateway.create_user("sync@example.com", "viewer");
    gateway.kill();
    let trace = gateway.directory().join("trace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-s", "64", "-e", "trace=fsync,fdatasync,write,writev,sendto,sendmsg,sendmmsg", "-o"])
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
    for (what, marker) in marks {
        let answer = calls[from..]
            .iter()
            .position(|call| is_send(&call.name) && call.text.contains(&marker) && !call.text.contains("admin"))
            .unwrap_or_else(|| panic!("the answer to {what} is not in the trace"));
        let before = &calls[from..from + answer];
        let synced = before.iter().any(|call| matches!(call.name.as_str(), "fsync" | "fdatasync"));
        assert!(synced, "{what} was answered before anything was synced: {before:?}");
        from += answer + 1;
    }
}

fn is_send(name: &str) -> bool {
    matches!(name, "write" | "writev" | "sendto" | "sendmsg" | "sendmmsg")
}

fn children(parent: u32) -> Vec<i32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// Calls in the order in which they returned: a sync counts from its end, an answer from its beginning.
fn read_trace(file: &std::path::Path) -> Vec<Call> {
    let mut calls = Vec::new();
    for line in BufReader::new(std::fs::File::open(file).unwrap()).lines() {
        let line = line.unwrap();
        let Some((_, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let unfinished = rest.ends_with("<unfinished ...>");
        let resumed = rest.strip_prefix("<... ").and_then(|rest| rest.split(' ').next());
        let name = resumed.unwrap_or_else(|| rest.split('(').next().unwrap_or_default()).to_owned();
        let is_sync = name == "fsync" || name == "fdatasync";
        let counts = if is_sync { !unfinished } else { resumed.is_none() };
        if counts {
            calls.push(Call { name, text: rest.to_owned() });
        }
    }
    calls
}
