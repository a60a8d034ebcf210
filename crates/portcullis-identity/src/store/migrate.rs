//! Migrations: forward only, each in its transaction, safe when several processes start at once.

use sqlx::{Executor as _, SqlitePool};

use crate::error::OpenError;

/// Every migration in order; the version of a database is how many of them it has seen.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/sqlite/0001_accounts.sql")];

/// Brings the schema up to date.
pub(super) async fn run(pool: &SqlitePool) -> Result<(), OpenError> {
    // The write lock is taken before the version is read, so a second process waits and then finds nothing to do.
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let (found,): (i64,) = sqlx::query_as("PRAGMA user_version").fetch_one(&mut *transaction).await?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    for (version, migration) in
        (1_i64..).zip(MIGRATIONS.iter().copied()).skip(usize::try_from(found).unwrap_or_default())
    {
        transaction.execute(sqlx::raw_sql(migration)).await?;
        // A pragma takes no parameters; the number is ours.
        let set = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {version}"));
        transaction.execute(sqlx::raw_sql(set)).await?;
    }
    transaction.commit().await?;
    Ok(())
}
