//! A PostgreSQL server, which several instances may share: a bounded pool, and a time-out for everything.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::PgPoolOptions;

use super::{Store, migrate};
use crate::database::PostgresUrl;
use crate::error::OpenError;

/// How long a flow waits for a connection: while the server is away, this is how long a refusal takes.
const ACQUIRE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(10 * 60);
/// A connection is renewed by then, so that what it has gathered at the server is given back.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// The schema of our tables: beside other people's tables in one database no name can clash, and nothing that they make
/// can stand in for a table of ours.
const SCHEMA: &str = "portcullis";

/// Opens the database and brings its schema up to date.
pub(crate) async fn open(url: &PostgresUrl) -> Result<Store, OpenError> {
    let options = url.options().clone().application_name("portcullis").options([
        ("search_path", SCHEMA),
        // Milliseconds. A statement that waits longer is given up by the server, so that its locks are free again.
        ("statement_timeout", "5000"),
        ("lock_timeout", "4000"),
        ("idle_in_transaction_session_timeout", "10000"),
    ]);
    let failed = |error| OpenError::Connect { database: url.to_string(), error };
    let pool = PgPoolOptions::new()
        .max_connections(url.connections())
        .acquire_timeout(ACQUIRE)
        .idle_timeout(IDLE)
        .max_lifetime(LIFETIME)
        // Asked in place of a ping.
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(writes(connection)))
        .after_connect(|connection, _| {
            Box::pin(async move {
                if !writes(connection).await? {
                    return Err(sqlx::Error::Protocol("the server only reads".into()));
                }
                // A server may be told to acknowledge before its disk has; for these tables it may not.
                sqlx::query(
                    "SELECT set_config('synchronous_commit', 'on', false) \
                     WHERE current_setting('synchronous_commit') = 'off'",
                )
                .execute(connection)
                .await
                .map(drop)
            })
        })
        .connect_with(options)
        .await
        .map_err(failed)?;
    match migrate::postgres(&pool, SCHEMA).await {
        Ok(()) => Ok(Store::Postgres(pool)),
        Err(error) => {
            pool.close().await;
            Err(match error {
                OpenError::Database(super::StoreError::Engine(error)) => failed(error),
                other => other,
            })
        }
    }
}

/// Whether the server is one to write to. One that has stepped down to read for another is as good as none: what it has
/// heard may be old, and the name in the URL may lead to its successor by now.
async fn writes(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let (reads_only,): (String,) = sqlx::query_as("SHOW transaction_read_only").fetch_one(connection).await?;
    Ok(reads_only == "off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_in_one_line_without_the_password() {
        let url = PostgresUrl::parse("postgres://ann:hunter2@127.0.0.1:1/accounts").unwrap();
        let started = tokio::time::Instant::now();
        let told = open(&url).await.unwrap_err().to_string();
        assert!(told.starts_with("cannot open the database postgres://ann@127.0.0.1:1/accounts: "), "{told}");
        assert!(!told.contains("hunter2") && started.elapsed() < 2 * ACQUIRE);
    }
}
