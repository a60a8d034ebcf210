//! Keys are rotated while tokens of both instances are presented to both.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::postgres::{self, Cluster};
use crate::support::process::{Gateway, Setup};
use crate::support::{PROJECT_ROUTES, eventually, jose_header};

/// What became of the requests of everybody.
#[derive(Default)]
struct Counts {
    asked: AtomicUsize,
    signed: AtomicUsize,
    keys: parking_lot::Mutex<std::collections::BTreeSet<String>>,
}

/// Has tokens signed by one instance, and presents each at once to both: the one that has just been signed is the one that the
/// other may not know the key of.
fn present(signer: &Client, judges: [&Client; 2], mut token: String, stop: &AtomicBool, counts: &Counts) {
    while !stop.load(Ordering::Relaxed) {
        let reply = signer.post("/auth/refresh").json(&json!({ "refreshToken": token })).send().expect(200);
        let pair = reply.json();
        let access = pair["accessToken"].as_str().expect("a pair of tokens");
        token = pair["refreshToken"].as_str().expect("a pair of tokens").to_owned();
        counts.signed.fetch_add(1, Ordering::Relaxed);
        counts.keys.lock().insert(jose_header(access)["kid"].to_string());
        for judge in judges {
            judge.get("/projects").bearer(access).send().expect(200);
            counts.asked.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn t3_rotation_under_load_at_two_instances_refuses_no_token() {
    if !postgres::is_installed() {
        return;
    }
    const ROTATIONS: usize = 4;
    let server = Cluster::start();
    let database = server.database();
    let origin = Origin::echo();
    let tables = format!("{PROJECT_ROUTES}\n[limits]\npreset = \"none\"\n");
    let start = || -> Gateway {
        Setup::before(&origin).public_url("https://api.example.com").on(&database).with(&tables).start()
    };
    let (one, two) = (start(), start());
    one.create_user("ann@example.com", "editor");
    // Older than every rotation, and good through all of them.
    let (oldest, _) = one.login("ann@example.com");
    let tokens: Vec<String> = (0..4).map(|_| one.login("ann@example.com").1).collect();
    let (stop, counts) = (AtomicBool::new(false), Counts::default());
    std::thread::scope(|scope| {
        for (index, token) in tokens.into_iter().enumerate() {
            let (one, two, stop, counts, oldest) = (one.client(), two.client(), &stop, &counts, &oldest);
            scope.spawn(move || {
                let signer = if index % 2 == 0 { &one } else { &two };
                present(signer, [&one, &two], token, stop, counts);
                one.get("/projects").bearer(oldest).send().expect(200);
                two.get("/projects").bearer(oldest).send().expect(200);
            });
        }
        for _ in 0..ROTATIONS {
            std::thread::sleep(Duration::from_millis(600));
            let rotated = one.command(&["keys", "rotate"]);
            assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
        }
        std::thread::sleep(Duration::from_millis(2_800));
        stop.store(true, Ordering::Relaxed);
    });
    let (asked, signed) = (counts.asked.into_inner(), counts.signed.into_inner());
    println!("{asked} requests with {signed} tokens of {} keys, none refused", counts.keys.lock().len());
    assert_eq!(counts.keys.lock().len(), ROTATIONS + 1, "each key has signed");
    assert!(asked >= 200, "{asked}");
}

#[test]
fn t3_instances_that_start_at_once_when_the_key_is_due_make_one_key_that_both_sign_with_and_publish() {
    if !postgres::is_installed() {
        return;
    }
    let server = Cluster::start();
    let database = server.database();
    let origin = Origin::echo();
    let tables = format!("{PROJECT_ROUTES}\n[tokens]\nalgorithm = \"EdDSA\"\nrotate = \"1d\"\naccess = \"24h\"\n");
    let start = || -> Gateway {
        Setup::before(&origin).public_url("https://api.example.com").on(&database).with(&tables).start()
    };
    let mut instances = [start(), start()];
    instances[0].create_user("ann@example.com", "editor");
    let kid = |gateway: &Gateway| jose_header(&gateway.login("ann@example.com").0)["kid"].clone();
    let before = kid(&instances[0]);
    assert_eq!(kid(&instances[1]), before, "the first key was made once too");
    instances[0].operator().advance("24h");
    // The time that was acted upon is kept within a second, and the other instance goes on from there.
    std::thread::sleep(Duration::from_millis(1_500));
    let (old, _) = instances[0].login("ann@example.com");
    std::thread::scope(|scope| {
        for gateway in &mut instances {
            scope.spawn(|| {
                gateway.kill();
                gateway.launch();
            });
        }
    });
    let after = eventually("the new key signs", Duration::from_secs(5), || {
        Some(kid(&instances[0])).filter(|kid| *kid != before)
    });
    eventually("at the other too", Duration::from_secs(1), || (kid(&instances[1]) == after).then_some(()));
    for gateway in &instances {
        let keys = gateway.client().get("/.well-known/jwks.json").send().expect(200).json();
        let kids: Vec<_> = keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect();
        assert!(kids.len() == 2 && kids.contains(&before) && kids.contains(&after), "{keys}");
        gateway.client().get("/projects").bearer(&old).send().expect(200);
        for signer in &instances {
            let (access, _) = signer.login("ann@example.com");
            gateway.client().get("/projects").bearer(&access).send().expect(200);
        }
    }
}
