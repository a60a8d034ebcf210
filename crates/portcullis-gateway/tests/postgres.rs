//! The whole scenario with its accounts on PostgreSQL instead of a file, two instances on one database, and what becomes of
//! them while the server is away or dies.
//!
//! Where PostgreSQL is not installed the scenario says so and runs on the file once more.

#[path = "postgres/api_keys.rs"]
mod api_keys;
#[path = "postgres/cut_off.rs"]
mod cut_off;
#[path = "postgres/endings.rs"]
mod endings;
#[path = "postgres/exhaustion.rs"]
mod exhaustion;
#[path = "postgres/instances.rs"]
mod instances;
#[path = "postgres/kills.rs"]
mod kills;
#[path = "postgres/refresh.rs"]
mod refresh;
#[path = "postgres/rotation.rs"]
mod rotation;
#[path = "scenario/main.rs"]
mod scenario;
#[path = "../../portcullis-limit/tests/redis/servers.rs"]
#[expect(dead_code, reason = "one harness for the tests of the store and for these")]
mod servers;
#[path = "postgres/shared_limits.rs"]
mod shared_limits;

use scenario::{projects, support};
use support::PROJECT_ROUTES;
use support::origin::Origin;
use support::postgres::Cluster;
use support::process::{Gateway, Setup};

/// Runs a test with two instances on one database; with more tables in their configuration.
fn two_instances(tokens: &str, test: impl FnOnce([&Gateway; 2])) {
    if !support::postgres::is_installed() {
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
