//! One refresh token that is used at two instances at the same moment (T4, T5).

use crate::scenario::refresh::{
    fifty_uses_give_one_successor, without_grace_one_of_fifty_uses_wins_and_the_family_ends,
};
use crate::support::PROJECT_ROUTES;
use crate::support::origin::Origin;
use crate::support::postgres::{self, Cluster};
use crate::support::process::{Gateway, Setup};

fn two_instances(tokens: &str, test: impl FnOnce([&Gateway; 2])) {
    if !postgres::is_installed() {
        return;
    }
    let server = Cluster::start();
    let database = server.database();
    let origin = Origin::echo();
    let start = || -> Gateway {
        let setup = Setup::before(&origin).public_url("https://api.example.com").on(&database);
        setup.with(&format!("{PROJECT_ROUTES}\n{tokens}")).start()
    };
    test([&start(), &start()]);
}

#[test]
fn t5_fifty_refreshes_of_one_token_at_two_instances_give_one_successor_and_later_reuse_ends_the_family() {
    two_instances("", fifty_uses_give_one_successor);
}

#[test]
fn t4_without_grace_one_of_fifty_refreshes_at_two_instances_wins_and_the_family_ends() {
    two_instances("[tokens]\ngrace = \"0s\"\n", without_grace_one_of_fifty_uses_wins_and_the_family_ends);
}
