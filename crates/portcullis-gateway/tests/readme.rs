//! The paths of the README, run as they are printed: only the addresses are replaced by free ones, and what stands there in
//! place of something else ("…") may be anything.

#![expect(clippy::unwrap_used, reason = "a helper that has nothing to work on fails its test")]

#[path = "support/console.rs"]
mod console;
#[expect(dead_code, reason = "each test binary uses its own part of what they share")]
#[path = "support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use console::{blocks, console, run, steps};
use support::origin::Origin;
use support::postgres::{self, Cluster};
use support::process::{free_address, portcullis};

/// Where the binary is.
fn program() -> PathBuf {
    PathBuf::from(portcullis().get_program()).parent().unwrap().to_owned()
}

#[test]
fn a3_the_path_that_brings_bcrypt_users_works_as_printed() {
    let blocks = blocks("Bring your bcrypt users");
    let console = console(&blocks);
    let directory = tempfile::tempdir().unwrap();
    let (listen, admin, origin) = (free_address(), free_address(), Origin::echo());
    let upstream = origin.address;
    let config = format!("listen = \"{listen}\"\nupstream = \"http://{upstream}\"\n[admin]\nlisten = \"{admin}\"\n");
    std::fs::write(directory.path().join("portcullis.toml"), config).unwrap();
    // The table is the reader's own; this one is what is printed of it.
    let table = &steps(&console)[0];
    assert_eq!(table.command, "cat users.csv");
    std::fs::write(directory.path().join("users.csv"), table.printed.join("\n") + "\n").unwrap();
    run(&console, directory.path(), &program(), &[("127.0.0.1:8080", listen.to_string())]);
}

#[test]
fn t7_the_path_with_two_instances_on_postgresql_works_as_printed() {
    if !postgres::is_installed() {
        return;
    }
    let port = free_address().port();
    // As packages set a server up: whoever comes over the network shows a password.
    let server = Cluster::start_with(|directory| {
        let rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        postgres::run_as_owner("sh", &["-c", &format!("printf '{rules}' > hba.conf")], directory);
        let hba = format!("hba_file={}/hba.conf", directory.display());
        vec!["listen_addresses=127.0.0.1".to_owned(), format!("port={port}"), hba]
    });
    let url = server.database();
    let socket = url.split_once("host=").unwrap().1;
    let psql = |user: &str, script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]).env("PGHOST", socket).env("PGPORT", port.to_string());
        shell.env("PGUSER", user).env("PGDATABASE", "postgres").stdin(Stdio::null());
        shell
    };
    // Its administrator has the usual name, so that the name of the README is free.
    for (user, order) in
        [("portcullis", "CREATE ROLE postgres SUPERUSER LOGIN"), ("postgres", "ALTER ROLE portcullis RENAME TO first")]
    {
        assert!(psql(user, &format!("psql -qc '{order}'")).status().unwrap().success(), "{order}");
    }
    let blocks = blocks("Two instances on PostgreSQL");
    let directory = tempfile::tempdir().unwrap();
    let origin = Origin::echo();
    let (_, toml) = blocks.iter().find(|(language, _)| *language == "toml").unwrap();
    let config = toml
        .replace("127.0.0.1/accounts", &format!("127.0.0.1:{port}/accounts"))
        .replace("127.0.0.1:3000", &origin.address.to_string());
    std::fs::write(directory.path().join("portcullis.toml"), config).unwrap();
    // The only thing that is replaced here: who may administer the server is said by its environment and not by `sudo`.
    let (_, prepare) = blocks.iter().find(|(language, _)| *language == "sh").unwrap();
    assert!(prepare.starts_with("sudo -u postgres psql "), "{prepare}");
    let prepare = prepare.replacen("sudo -u postgres psql", "psql", 1);
    let made = psql("postgres", &prepare).current_dir(directory.path()).output().unwrap();
    assert!(made.status.success(), "{prepare}{}", String::from_utf8_lossy(&made.stderr));
    let (one, two) = (free_address().to_string(), free_address().to_string());
    run(&console(&blocks), directory.path(), &program(), &[("127.0.0.1:8081", one), ("127.0.0.1:8082", two)]);
}
