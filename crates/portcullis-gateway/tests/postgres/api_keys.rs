//! Keys that are made at two instances at the same moment (T9).

use crate::scenario::api_key_life::{THREE, makes_no_more_keys_than_it_may};
use crate::support::PROJECT_ROUTES;
use crate::support::origin::Origin;
use crate::support::postgres::{self, Cluster};
use crate::support::process::{Gateway, Setup};

#[test]
fn t9_of_eight_keys_made_at_two_instances_at_once_an_account_keeps_as_many_as_it_may_have() {
    if !postgres::is_installed() {
        return;
    }
    let server = Cluster::start();
    let database = server.database();
    let origin = Origin::echo();
    let start = || -> Gateway {
        let setup = Setup::before(&origin).public_url("https://api.example.com").on(&database);
        setup.with(&format!("{PROJECT_ROUTES}\n{THREE}")).start()
    };
    makes_no_more_keys_than_it_may([&start(), &start()]);
}
