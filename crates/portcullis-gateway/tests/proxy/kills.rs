//! The process is killed again and again while everybody writes.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::writers::Ledger;

/// 20, or as many as a longer run asks for.
fn kills() -> u64 {
    std::env::var("PORTCULLIS_KILLS").ok().map_or(20, |kills| kills.parse().expect("PORTCULLIS_KILLS is a number"))
}

#[test]
fn a_kill_in_the_middle_of_everything_loses_nothing_that_was_acknowledged() {
    let kills = kills();
    let origin = Origin::echo();
    let mut gateway =
        Setup::before(&origin).with("[limits]\npreset = \"none\"\n\n[identity.lockout]\nenabled = false\n").start();
    let mut ledger = Ledger::open(&gateway);
    for round in 0..kills {
        let strike = |gateway: &Gateway| {
            // Spread over half a second, differently in each round and on each machine.
            let moment = (u64::from(std::process::id()) + 7 * round) * 7_919 % 500;
            std::thread::sleep(Duration::from_millis(10 + moment));
            let id = Pid::from_raw(i32::try_from(gateway.id()).unwrap()).unwrap();
            kill_process(id, Signal::KILL).unwrap();
        };
        ledger.round(&mut gateway, round, strike, |gateway| {
            gateway.kill_remains();
            gateway.launch();
        });
        if round % 20 == 19 {
            println!("{} kills: {} rotations, {} logouts", round + 1, ledger.rotations, ledger.logouts);
        }
    }
    ledger.close(&gateway);
    let (kills, accounts) = (usize::try_from(kills).unwrap(), ledger.accounts());
    let enough = ledger.rotations >= 5 * kills && 2 * ledger.logouts >= kills && 4 * accounts >= kills;
    assert!(enough, "{} rotations, {} logouts, {accounts} accounts", ledger.rotations, ledger.logouts);
}
