//! The contract of every flow, on PostgreSQL: a server of our own, with a database for each test.
//!
//! Where PostgreSQL is not installed the suite says so and runs on SQLite once more.

#![expect(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

#[path = "../flows/mod.rs"]
mod flows;
mod outage;
mod planted;
#[path = "../support/postgres.rs"]
mod server;
mod tls;
mod turns;

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
    let url = std::fs::read_to_string(folder.path().join(flows::raw::URL)).unwrap_or_else(|_| {
        let url = SERVER.get_or_init(server::Cluster::start).database();
        keep_url(folder, &url);
        url
    });
    PostgresUrl::parse(&url).unwrap().into()
}

/// Says where the database of a folder is.
fn keep_url(folder: &TempDir, url: &str) {
    std::fs::write(folder.path().join(flows::raw::URL), url).unwrap();
}
