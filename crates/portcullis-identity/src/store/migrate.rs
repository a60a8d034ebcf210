//! Migrations: forward only, each in its transaction, safe when several processes start at once.

use sqlx::{Connection as _, Executor as _, PgConnection, SqliteConnection};

use super::sql;
use crate::error::OpenError;

/// Every migration in order; the version of a database is how many of them it has seen. Each has a text for each engine.
const MIGRATIONS: &[sql::Text] = &[
    sql::Text {
        sqlite: include_str!("../../migrations/sqlite/0001_accounts.sql"),
        postgres: include_str!("../../migrations/postgres/0001_accounts.sql"),
    },
    sql::Text {
        sqlite: include_str!("../../migrations/sqlite/0002_account_flows.sql"),
        postgres: include_str!("../../migrations/postgres/0002_account_flows.sql"),
    },
    sql::Text {
        sqlite: include_str!("../../migrations/sqlite/0003_keys_and_sessions.sql"),
        postgres: include_str!("../../migrations/postgres/0003_keys_and_sessions.sql"),
    },
];

/// The migrations that a database of this version has not seen, with the versions they lead to.
fn missing(found: i64) -> Result<impl Iterator<Item = (i64, sql::Text)>, OpenError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    Ok((1_i64..).zip(MIGRATIONS.iter().copied()).skip(usize::try_from(found).unwrap_or_default()))
}

/// Brings the schema of a file up to date.
pub(super) async fn sqlite(connection: &mut SqliteConnection) -> Result<(), OpenError> {
    // The write lock is taken before the version is read, so a second process waits and then finds nothing to do.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let (found,): (i64,) = sqlx::query_as("PRAGMA user_version").fetch_one(&mut *transaction).await?;
    for (version, migration) in missing(found)? {
        transaction.execute(sqlx::raw_sql(migration.sqlite)).await?;
        // A pragma takes no parameters; the number is ours.
        let set = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {version}"));
        transaction.execute(sqlx::raw_sql(set)).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Brings our schema in a server's database up to date.
pub(super) async fn postgres(connection: &mut PgConnection, schema: &'static str) -> Result<(), OpenError> {
    let mut transaction = connection.begin().await?;
    // Another instance may be at it; what it does may take longer than an ordinary statement.
    transaction.execute("SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = '10min'").await?;
    transaction.execute("SELECT pg_advisory_xact_lock(hashtextextended('portcullis migrations', 0))").await?;
    // Asked first, because making a schema "if it does not exist" needs the right to make one even when it does.
    let (absent,): (bool,) =
        sqlx::query_as("SELECT to_regnamespace($1) IS NULL").bind(schema).fetch_one(&mut *transaction).await?;
    if absent {
        transaction.execute(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).await?;
    }
    transaction.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)").await?;
    let held: Option<(i64,)> =
        sqlx::query_as("SELECT version FROM schema_version").fetch_optional(&mut *transaction).await?;
    let found = held.map_or(0, |(version,)| version);
    let mut reached = found;
    for (version, migration) in missing(found)? {
        transaction.execute(sqlx::raw_sql(migration.postgres)).await?;
        reached = version;
    }
    if held.is_none() {
        transaction.execute("INSERT INTO schema_version (version) VALUES (0)").await?;
    }
    if reached != found {
        sqlx::query("UPDATE schema_version SET version = $1").bind(reached).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}
