//! The contract of every flow, on PostgreSQL: a server of our own, with a database for each test.
//!
//! Where PostgreSQL is not installed the suite says so and runs on SQLite once more.

#![expect(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

mod flows;
#[path = "support/postgres.rs"]
mod server;

use std::sync::OnceLock;

use flows::house;
use portcullis_identity::{Database, PostgresUrl};
use tempfile::TempDir;

/// The database of a folder, made when it is asked for first.
fn database(folder: &TempDir) -> Database {
    static SERVER: OnceLock<server::Cluster> = OnceLock::new();
    if !server::is_installed() {
        return folder.path().join("portcullis.db").into();
    }
    let file = folder.path().join(flows::raw::URL);
    let url = std::fs::read_to_string(&file).unwrap_or_else(|_| {
        let url = SERVER.get_or_init(server::Cluster::start).database();
        std::fs::write(&file, &url).unwrap();
        url
    });
    PostgresUrl::parse(&url).unwrap().into()
}
