//! The database's server is killed again and again while everybody writes through one instance.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::origin::Origin;
use crate::support::postgres::{self, Cluster};
use crate::support::process::Setup;
use crate::support::writers::{Ledger, OWNER};
use crate::support::{PASSWORD, eventually};

#[test]
fn t4_a_server_killed_again_and_again_loses_nothing_and_its_gate_is_back_within_5_seconds_by_itself() {
    if !postgres::is_installed() {
        return;
    }
    const KILLS: u64 = 5;
    let server = RefCell::new(Cluster::start());
    let origin = Origin::echo();
    let database = server.borrow().database();
    let mut gateway = Setup::before(&origin)
        .on(&database)
        .with("[limits]\npreset = \"none\"\n\n[identity.lockout]\nenabled = false\n")
        .start();
    let process = gateway.id();
    let mut ledger = Ledger::open(&gateway);
    let mut longest = Duration::ZERO;
    for round in 0..KILLS {
        let strike = |_: &_| {
            let moment = (u64::from(std::process::id()) + 7 * round) * 7_919 % 500;
            std::thread::sleep(Duration::from_millis(600 + moment));
            server.borrow_mut().kill();
        };
        ledger.round(&mut gateway, round, strike, |gateway| {
            server.borrow_mut().restart();
            let back = Instant::now();
            let body = json!({ "email": OWNER, "password": PASSWORD, "delivery": "body" });
            eventually("logins succeed again", Duration::from_secs(5), || {
                (gateway.client().post("/auth/login").json(&body).send().status == 200).then_some(())
            });
            longest = longest.max(back.elapsed());
        });
    }
    ledger.close(&gateway);
    println!("back within {longest:?}");
    assert_eq!(gateway.id(), process, "nobody started it again");
    assert!(!gateway.output().contains("panicked"));
    let (rotations, logouts, accounts) = (ledger.rotations, ledger.logouts, ledger.accounts());
    assert!(
        rotations >= 25 && logouts >= 5 && accounts >= 1,
        "{rotations} rotations, {logouts} logouts, {accounts} accounts"
    );
}
