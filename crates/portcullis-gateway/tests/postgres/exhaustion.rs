//! Somebody else holds rows on the server, so that every connection of an instance waits for them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::origin::Origin;
use crate::support::postgres::{self, Cluster};
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES, eventually};

/// A session of another program that holds rows for as long as it lives.
struct Holder(Child);

impl Holder {
    fn start(database: &str, email: &str) -> Self {
        let mut psql = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--dbname", database])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql comes with the server");
        let holds = format!(
            "SET search_path TO portcullis;\nBEGIN;\n\
             SELECT id FROM account WHERE email = '{email}' FOR UPDATE \\g /dev/null\n\
             SELECT id FROM session WHERE account_id = (SELECT id FROM account WHERE email = '{email}') FOR UPDATE \
             \\g /dev/null\n\\echo held\n"
        );
        psql.stdin.as_mut().expect("it was asked for").write_all(holds.as_bytes()).expect("psql reads");
        let mut told = String::new();
        BufReader::new(psql.stdout.as_mut().expect("it was asked for")).read_line(&mut told).expect("psql tells");
        assert_eq!(told.trim(), "held");
        Self(psql)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tells the writers to stop, also where the test has failed meanwhile.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn refresh(gateway: &Gateway, token: &str) -> crate::support::client::Reply {
    gateway.client().post("/auth/refresh").json(&json!({ "refreshToken": token })).send()
}

fn reads(gateway: &Gateway, access: &str) -> u16 {
    gateway.client().get("/projects").bearer(access).send().status
}

#[test]
fn t7_with_every_connection_waiting_writes_are_refused_in_time_tokens_verify_and_revocations_are_seen() {
    if !postgres::is_installed() {
        return;
    }
    /// How long a connection may be waited for, and then a lock; and what a loaded machine needs besides.
    const IN_TIME: Duration = Duration::from_secs(2 + 4 + 3);
    let server = Cluster::start();
    let database = server.database();
    let origin = Origin::echo();
    let tables = format!("{PROJECT_ROUTES}\n[limits]\npreset = \"none\"\n\n[tokens]\nmax_staleness = \"3s\"\n");
    let start = |connections: u32| -> Gateway {
        let setup = Setup::before(&origin).public_url("https://api.example.com").on(&database).with(&tables);
        setup.identity(&format!("database_connections = {connections}")).start()
    };
    let (small, other) = (start(2), start(8));
    small.create_user("ann@example.com", "editor");
    small.create_user("bob@example.com", "viewer");
    let (access, _) = small.login("ann@example.com");
    let sessions: Vec<String> = (0..6).map(|_| small.login("ann@example.com").1).collect();
    let (others, ended) = small.login("bob@example.com");
    let process = small.id();

    let holder = Holder::start(&database, "ann@example.com");
    let (stop, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for session in &sessions {
            let (small, stop, refused) = (&small, &stop, &refused);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let reply = refresh(small, session);
                    assert!(asked.elapsed() < IN_TIME, "refused after {:?}", asked.elapsed());
                    assert_eq!(reply.status, 503, "{}", reply.text());
                    assert_eq!(reply.header("retry-after"), Some("1"));
                    assert!(!reply.text().contains("sql") && !reply.text().contains("lock"), "{}", reply.text());
                    refused.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        let _stop = Stop(&stop);
        // For longer than the record of revocations may be old.
        let began = Instant::now();
        let mut verified = 0;
        while began.elapsed() < Duration::from_secs(5) {
            assert_eq!(reads(&small, &access), 200, "after {:?}", began.elapsed());
            verified += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(verified >= 50, "{verified}");
        // A balancer that took the instance away for it would do the work of whoever holds the rows.
        small.operator().get("/readyz").expect(200);
        // What another instance revokes is seen here as always.
        assert_eq!(reads(&small, &others), 200);
        let reply = other.client().post("/auth/logout").json(&json!({ "refreshToken": ended })).send();
        assert_eq!(reply.status, 204, "{}", reply.text());
        let decided = Instant::now();
        eventually("the logout is seen", Duration::from_secs(1), || (reads(&small, &others) == 401).then_some(()));
        println!("seen after {:?} while every connection waited", decided.elapsed());
    });
    assert!(refused.into_inner() >= 6, "each of them was refused once at least");

    drop(holder);
    let back = Instant::now();
    let body = json!({ "email": "ann@example.com", "password": PASSWORD, "delivery": "body" });
    eventually("logins succeed again", Duration::from_secs(5), || {
        (small.client().post("/auth/login").json(&body).send().status == 200).then_some(())
    });
    for session in &sessions {
        refresh(&small, session).expect(200);
    }
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    assert_eq!(small.id(), process, "nobody started it again");
    assert!(!small.output().contains("panicked"));
}
