//! The database behind the house's back: what an attacker, an operator or a broken disk would do to it.

use std::path::Path;

use portcullis_identity::Database;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

/// Where the URL of a folder's database is kept, so that it can be opened again.
pub(crate) const URL: &str = "url";

/// A connection of our own.
pub(crate) enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Raw {
    pub(crate) async fn connect(database: &Database, folder: &Path) -> Self {
        match database {
            Database::Sqlite(file) => {
                let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
                Self::Sqlite(SqliteConnection::connect_with(&options).await.unwrap())
            }
            Database::Postgres(_) => {
                let url = std::fs::read_to_string(folder.join(URL)).unwrap();
                let options = url.parse::<PgConnectOptions>().unwrap().options([("search_path", "portcullis")]);
                Self::Postgres(PgConnection::connect_with(&options).await.unwrap())
            }
        }
    }

    pub(crate) async fn execute(&mut self, statement: &str) {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        match self {
            Self::Sqlite(connection) => drop(statement.execute(connection).await.unwrap()),
            Self::Postgres(connection) => drop(statement.execute(connection).await.unwrap()),
        }
    }

    pub(crate) async fn count(&mut self, statement: &str) -> i64 {
        let statement = AssertSqlSafe(format!("SELECT CAST(({statement}) AS BIGINT)"));
        let (count,): (i64,) = match self {
            Self::Sqlite(connection) => sqlx::query_as(statement).fetch_one(connection).await.unwrap(),
            Self::Postgres(connection) => sqlx::query_as(statement).fetch_one(connection).await.unwrap(),
        };
        count
    }

    pub(crate) async fn texts(&mut self, statement: &'static str) -> Vec<String> {
        let rows: Vec<(String,)> = match self {
            Self::Sqlite(connection) => sqlx::query_as(statement).fetch_all(connection).await.unwrap(),
            Self::Postgres(connection) => sqlx::query_as(statement).fetch_all(connection).await.unwrap(),
        };
        rows.into_iter().map(|(text,)| text).collect()
    }

    /// Everything that somebody sees who steals the database.
    pub(crate) async fn everything(&mut self, folder: &Path) -> Vec<u8> {
        match self {
            Self::Sqlite(_) => {
                let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
                let files = files.filter(|path| path.to_string_lossy().contains("portcullis.db"));
                files.flat_map(|path| std::fs::read(path).unwrap()).collect()
            }
            Self::Postgres(_) => {
                let everything = "SELECT CAST(schema_to_xml('portcullis', true, false, '') AS TEXT)";
                self.texts(everything).await.concat().into_bytes()
            }
        }
    }

    /// From now on no audit row can be written.
    pub(crate) async fn break_the_audit_trail(&mut self) {
        let statement = match self {
            Self::Sqlite(_) => {
                "CREATE TRIGGER no_audit BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
            }
            Self::Postgres(_) => {
                "CREATE FUNCTION no_audit() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'the disk is full'; END $$; \
                 CREATE TRIGGER no_audit BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION no_audit()"
            }
        };
        self.execute(statement).await;
    }

    /// The end of that.
    pub(crate) async fn mend_the_audit_trail(&mut self) {
        let statement = match self {
            Self::Sqlite(_) => "DROP TRIGGER no_audit",
            Self::Postgres(_) => "DROP TRIGGER no_audit ON audit",
        };
        self.execute(statement).await;
    }

    /// A backup from before the first revocation is restored.
    pub(crate) async fn forget_every_revocation(&mut self) {
        let numbers = match self {
            Self::Sqlite(_) => "DELETE FROM revocation; UPDATE sqlite_sequence SET seq = 0 WHERE name = 'revocation'",
            Self::Postgres(_) => "DELETE FROM revocation; ALTER TABLE revocation ALTER COLUMN seq RESTART",
        };
        self.execute(numbers).await;
    }

    /// As many spent refresh tokens of one session, and audit rows, as years of use leave behind; none has expired yet.
    pub(crate) async fn fill_up(&mut self, count: u32) {
        let (number, hash) = match self {
            Self::Sqlite(_) => ("n", "randomblob(32)"),
            Self::Postgres(_) => ("CAST(n AS BIGINT)", "decode(md5(CAST(n AS TEXT)), 'hex')"),
        };
        self.execute(&format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1000 UNION ALL SELECT n + 1 FROM numbers WHERE n < 999 + {count}) \
             INSERT INTO refresh_token (hash, session_id, generation, expires_at, spent_at) \
             SELECT {hash}, (SELECT min(session_id) FROM refresh_token), {number}, (SELECT max(expires_at) FROM refresh_token), 1 \
             FROM numbers; \
             WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) \
             INSERT INTO audit (at, action) SELECT (SELECT max(at) FROM audit), 'filled' FROM numbers"
        ))
        .await;
    }

    /// What a program of a later version leaves behind.
    pub(crate) async fn become_newer(&mut self) {
        let statement = match self {
            Self::Sqlite(_) => "PRAGMA user_version = 999",
            Self::Postgres(_) => {
                "CREATE SCHEMA portcullis; CREATE TABLE portcullis.schema_version (version BIGINT NOT NULL); \
                 INSERT INTO portcullis.schema_version VALUES (999)"
            }
        };
        self.execute(statement).await;
    }
}
