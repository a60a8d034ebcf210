//! A PostgreSQL server, which several instances may share: a bounded pool, and a time-out for everything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool, Postgres, Transaction};

use super::sql::{limited, silent};
use super::{Store, StoreError, migrate};
use crate::database::PostgresUrl;
use crate::error::OpenError;

/// How long a flow waits for a connection: while the server is away, this is how long a refusal takes.
const ACQUIRE: Duration = Duration::from_secs(2);
/// How long a start waits for a server that says nothing.
const CONNECT: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(10 * 60);
/// A connection is renewed by then, so that what it has gathered at the server is given back.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// How long nobody tries again after somebody has waited for a connection in vain.
const REST: Duration = Duration::from_millis(500);

/// A server and our connections to it.
#[derive(Debug)]
pub(crate) struct Server {
    pool: PgPool,
    /// How somebody last waited for a connection in vain, while nobody has had one since.
    failed: Arc<Failed>,
    /// The same of the other lane to the server: who gets a connection in one knows that the server is back for both.
    other: Arc<Failed>,
}

type Failed = Mutex<Option<Failure>>;

/// A wait in vain.
#[derive(Clone, Copy, Debug)]
struct Failure {
    at: Instant,
    /// Whether it was the server that did not answer, and not our own connections that were all in use.
    away: bool,
}

impl Server {
    /// Begins a transaction.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.unless_away(Box::pin(self.pool.begin())).await
    }

    /// Lends a connection.
    pub(super) async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        self.unless_away(Box::pin(self.pool.acquire())).await
    }

    /// Closes every connection.
    pub(super) async fn close(&self) {
        // A server that says nothing any more is not waited for; what it was told to commit was answered or not.
        drop(tokio::time::timeout(CLOSING, self.pool.close()).await);
    }

    /// While the server is away somebody tries it every now and then, and everybody else is refused at once: a queue of
    /// those who wait in vain would leave no place for those who ask for nothing of it.
    async fn unless_away<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
        if let Some(failure) = &mut *self.failed.lock() {
            if failure.at.elapsed() < REST {
                return Err(sqlx::Error::PoolTimedOut);
            }
            // Whoever tries now does so for the others as well.
            failure.at = Instant::now();
        }
        let mut done = limited(work).await;
        if let Err(sqlx::Error::PoolTimedOut) = done {
            done = Err(Box::pin(self.why()).await);
        }
        let failure = || Failure { at: Instant::now(), away: !self.is_exhausted() };
        *self.failed.lock() = done.is_err().then(failure);
        if done.is_ok() {
            let mut other = self.other.lock();
            if other.is_some_and(|failure| failure.away) {
                *other = None;
            }
        }
        done
    }

    /// Whether all of our own connections are in use. Otherwise it is for the server's sake that there was none, even where
    /// it has come back before it could be asked why.
    fn is_exhausted(&self) -> bool {
        self.pool.num_idle() == 0 && self.pool.size() >= self.pool.options().get_max_connections()
    }

    /// Why there is no connection: a pool only says that it waited in vain, and not for what.
    async fn why(&self) -> sqlx::Error {
        let options = self.pool.connect_options();
        match tokio::time::timeout(ASK, PgConnection::connect_with(&options)).await {
            Ok(Err(error)) => error,
            // The server is there; all of our own connections are in use.
            Ok(Ok(_)) => sqlx::Error::PoolTimedOut,
            Err(_) => silent(),
        }
    }
}

/// How long a server may take to say why it refuses.
const ASK: Duration = Duration::from_millis(500);

/// How long connections may take to say good-bye.
const CLOSING: Duration = Duration::from_secs(3);

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
    // By a connection of its own: a pool would only say that it waited in vain, and not for what.
    let connected = tokio::time::timeout(CONNECT, PgConnection::connect_with(&options)).await;
    let mut first = connected.unwrap_or_else(|_| Err(silent())).map_err(failed)?;
    migrate::postgres(&mut first, SCHEMA).await.map_err(|error| match error {
        OpenError::Database(StoreError::Engine(error)) => failed(error),
        other => other,
    })?;
    first.close().await.map_err(failed)?;
    let [of_flows, of_polls] = [(); 2].map(|()| Arc::<Failed>::default());
    let lane = async |connections, failed: &Arc<Failed>, other: &Arc<Failed>| {
        let pool = pool(&options, connections).await?;
        Ok(Arc::new(Server { pool, failed: Arc::clone(failed), other: Arc::clone(other) }))
    };
    let flows = lane(url.connections().saturating_sub(1).max(1), &of_flows, &of_polls).await.map_err(failed)?;
    let polls = lane(1, &of_polls, &of_flows).await.map_err(failed)?;
    Ok(Store::Postgres { flows, polls })
}

/// Some of our connections, with a queue of their own.
async fn pool(options: &PgConnectOptions, connections: u32) -> Result<PgPool, sqlx::Error> {
    PgPoolOptions::new()
        .max_connections(connections)
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
        .connect_with(options.clone())
        .await
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
        assert!(told.contains("refused"), "{told}");
        assert!(!told.contains("hunter2") && started.elapsed() < ACQUIRE);
    }
}
