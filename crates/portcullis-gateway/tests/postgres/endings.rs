//! What ends at one instance ends at the other, for requests and for what goes on (T7, T13).

use crate::scenario::endings::endings;
use crate::scenario::streams::{ROUTES, endless};
use crate::support::postgres::{self, Cluster};
use crate::support::process::Setup;

#[test]
fn t7_t13_whatever_ends_a_credential_at_one_instance_closes_its_streams_at_the_other_within_a_second() {
    if !postgres::is_installed() {
        return;
    }
    let server = Cluster::start();
    let database = server.database();
    let origin = endless();
    let start = || Setup::before(&origin).public_url("https://api.example.com").on(&database).with(ROUTES).start();
    let (one, two) = (start(), start());
    endings(&origin, &one, &two);
}
