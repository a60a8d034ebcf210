//! The database's schema over the years: what an earlier version left is taken along, what a later one made is refused (A9).

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::account::post;
use crate::projects;
use crate::support::PASSWORD;
use crate::support::database::Accounts;
use crate::support::process::{Gateway, Running, portcullis};

/// The first migrations, for SQLite and for PostgreSQL.
const MIGRATIONS: [(&str, &str); 2] = [
    (
        include_str!("../../../portcullis-identity/migrations/sqlite/0001_accounts.sql"),
        include_str!("../../../portcullis-identity/migrations/postgres/0001_accounts.sql"),
    ),
    (
        include_str!("../../../portcullis-identity/migrations/sqlite/0002_account_flows.sql"),
        include_str!("../../../portcullis-identity/migrations/postgres/0002_account_flows.sql"),
    ),
];

/// Every table that they make, each after those that it refers to.
const TABLES: [&str; 9] =
    ["meta", "account", "pending", "session", "refresh_token", "revocation", "signing_key", "audit", "account_link"];

fn version(accounts: &Accounts) -> i64 {
    let found = accounts.texts(accounts.text(
        "SELECT CAST(user_version AS TEXT) FROM pragma_user_version",
        "SELECT version::text FROM schema_version",
    ));
    assert_eq!(found.len(), 1);
    found[0].parse().unwrap()
}

fn set_version(accounts: &Accounts, version: i64) {
    let (file, server) =
        (format!("PRAGMA user_version = {version}"), format!("UPDATE schema_version SET version = {version}"));
    accounts.execute(accounts.text(&file, &server));
}

fn stop(gateway: &mut Gateway) {
    gateway.process().signal(Signal::TERM);
    assert!(gateway.process().ended(Duration::from_secs(20)).success());
}

#[test]
fn a9_a_database_of_a_newer_version_is_refused_and_left_as_it_is() {
    let (_origin, mut gateway) = projects();
    gateway.create_user("ann@example.com", "viewer");
    stop(&mut gateway);
    let accounts = gateway.accounts();
    let present = version(&accounts);
    // The very next one, too: an older program would write what the newer one cannot read.
    for newer in [present + 1, 99] {
        set_version(&accounts, newer);
        let told = format!(
            "the database is of schema version {newer}, this program knows up to {present}; use the newer program"
        );
        let mut serving = Running::start(portcullis().arg("serve").arg("--config").arg(&gateway.config));
        let ended = serving.ended(Duration::from_secs(20));
        assert_eq!(ended.code(), Some(1), "{}", serving.output());
        let output = serving.output();
        assert_eq!(output.lines().filter(|line| line.ends_with(&told)).count(), 1, "{output}");
        assert!(!output.contains("panicked") && !output.contains("listening on"), "{output}");
        for command in [&["users", "list"][..], &["users", "show", "ann@example.com"], &["keys", "rotate"]] {
            let refused = gateway.command(command);
            let text = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(1), "{command:?}: {text}");
            assert!(text.contains(&told), "{command:?}: {text}");
        }
        assert_eq!(version(&accounts), newer, "nobody changed it");
    }
    set_version(&accounts, present);
    gateway.launch();
    gateway.login("ann@example.com");
}

/// Makes the database what this version's program would have left with the same rows.
fn put_back(gateway: &Gateway, to: usize) {
    let accounts = gateway.accounts();
    match &accounts {
        Accounts::File(path) => {
            for ending in ["", "-wal", "-shm"] {
                let of = |name: &str| path.with_file_name(format!("{name}{ending}"));
                let held = of(path.file_name().unwrap().to_str().unwrap());
                if held.exists() {
                    std::fs::rename(held, of("former.db")).unwrap();
                }
            }
        }
        Accounts::Server(_) => accounts.execute(
            "ALTER SCHEMA portcullis RENAME TO former; CREATE SCHEMA portcullis; \
             CREATE TABLE portcullis.schema_version (version BIGINT NOT NULL); \
             INSERT INTO portcullis.schema_version VALUES (0)",
        ),
    }
    for (file, server) in &MIGRATIONS[..to] {
        accounts.execute(accounts.text(file, server));
    }
    let mut rows = match &accounts {
        Accounts::File(path) => format!("ATTACH '{}' AS former;", path.with_file_name("former.db").display()),
        Accounts::Server(_) => String::new(),
    };
    for table in TABLES {
        let (file, server) = (
            format!("SELECT name FROM pragma_table_info('{table}')"),
            format!(
                "SELECT column_name::text FROM information_schema.columns \
                 WHERE table_schema = 'portcullis' AND table_name = '{table}'"
            ),
        );
        let columns = accounts.texts(accounts.text(&file, &server)).join(", ");
        if !columns.is_empty() {
            let given = accounts.text("", "OVERRIDING SYSTEM VALUE");
            rows += &format!("INSERT INTO {table} ({columns}) {given} SELECT {columns} FROM former.{table};");
        }
    }
    rows += accounts.text(
        "",
        "SELECT setval(pg_get_serial_sequence('revocation', 'seq'), (SELECT coalesce(max(seq), 1) FROM revocation)); \
         SELECT setval(pg_get_serial_sequence('audit', 'id'), (SELECT coalesce(max(id), 1) FROM audit)); \
         DROP SCHEMA former CASCADE;",
    );
    accounts.execute(&rows);
    set_version(&accounts, i64::try_from(to).unwrap());
    if let Accounts::File(path) = &accounts {
        for ending in ["", "-wal", "-shm"] {
            let former = path.with_file_name(format!("former.db{ending}"));
            assert!(!former.exists() || std::fs::remove_file(former).is_ok());
        }
    }
}

#[test]
fn a9_what_an_earlier_version_left_goes_on_with_every_account_token_and_key() {
    for earlier in 1..=MIGRATIONS.len() {
        let (_origin, mut gateway) = projects();
        for email in ["ann@example.com", "off@example.com", "out@example.com"] {
            gateway.create_user(email, "editor");
        }
        // bcrypt of the same password, from another system.
        let imported = "$2b$04$7TtQbTrdfvWBaZIUIvDQJu6bIXjXVtb6npMXFZTeC6WetJD44nhJe";
        let file = gateway.directory().join("users.csv");
        let row = format!("email,verified,password_hash\nbea@example.com,true,{imported}\n");
        std::fs::write(&file, row).unwrap();
        assert!(gateway.command(&["users", "import", file.to_str().unwrap()]).status.success());
        let (access, refresh) = gateway.login("ann@example.com");
        let (void, spent) = gateway.login("out@example.com");
        post(&gateway, "/auth/logout-all", Some(&void), &json!({})).expect(204);
        let (of_disabled, _) = gateway.login("off@example.com");
        assert!(gateway.command(&["users", "disable", "off@example.com"]).status.success());
        post(&gateway, "/auth/register", None, &json!({ "email": "new@example.com", "password": PASSWORD }))
            .expect(202);
        let token = gateway.operator().await_mails("new@example.com", 1).remove(0).token();
        stop(&mut gateway);
        let present = version(&gateway.accounts());
        put_back(&gateway, earlier);
        assert_eq!(version(&gateway.accounts()), i64::try_from(earlier).unwrap());

        gateway.launch();
        assert_eq!(version(&gateway.accounts()), present, "from {earlier}");
        // Tokens of before, good and void, under the keys of before.
        let call = |token: &str| gateway.client().get("/projects").bearer(token).send();
        call(&access).expect(200);
        call(&void).refused(401, "Token has been revoked");
        call(&of_disabled).refused(401, "Token has been revoked");
        let again = |token: &str| post(&gateway, "/auth/refresh", None, &json!({ "refreshToken": token }));
        again(&spent).refused(401, "Invalid refresh token");
        let successor = again(&refresh).expect(200).json();
        // Accounts, whoever hashed their password, and the registration that waits.
        for email in ["ann@example.com", "bea@example.com", "out@example.com"] {
            gateway.login(email);
        }
        let login = |email: &str| post(&gateway, "/auth/login", None, &json!({ "email": email, "password": PASSWORD }));
        login("off@example.com").refused(403, "Account disabled");
        login("new@example.com").refused(403, "Email not verified");
        post(&gateway, "/auth/verify", None, &json!({ "token": token })).expect(200);
        gateway.login("new@example.com");
        // What came later works beside what was there before.
        let access = successor["accessToken"].as_str().unwrap();
        let sessions = gateway.client().get("/auth/sessions").bearer(access).send().expect(200).json();
        assert_eq!(sessions["sessions"].as_array().unwrap().len(), 2, "{sessions}");
        let key = post(&gateway, "/auth/api-keys", Some(access), &json!({ "name": "ci", "password": PASSWORD }));
        let key = key.expect(201).json();
        call(key["key"].as_str().unwrap_or_else(|| panic!("{key}"))).expect(200);
        post(&gateway, "/auth/forgot-password", None, &json!({ "email": "bea@example.com" })).expect(202);
        let link = gateway.operator().await_mails("bea@example.com", 1).remove(0).token();
        let other = json!({ "token": link, "password": "Other-Horse-43" });
        post(&gateway, "/auth/reset-password", None, &other).expect(200);
        post(&gateway, "/auth/logout-all", Some(access), &json!({})).expect(204);
        call(access).refused(401, "Token has been revoked");
    }
}
