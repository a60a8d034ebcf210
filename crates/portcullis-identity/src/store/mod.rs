//! The SQL store: one of two engines. Statements are written once (`sql.rs`); what differs by engine (opening, DDL, locking,
//! how writes are committed) stands in files of its own.

pub(crate) mod audit;
mod migrate;
mod postgres;
mod sql;
mod sqlite;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;

use sqlx::{Postgres, SqlitePool, Transaction};

use self::postgres::Server;
pub(crate) use self::sql::{On, Text, Value, locking, sql};
use self::writer::{Turn, Writer};
use crate::database::Database;
use crate::error::OpenError;

/// Why the store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Too many writes are waiting, or this one waited for too long.
    #[error("too many writes are waiting")]
    Full,
    /// The engine, or the way to it, failed.
    #[error(transparent)]
    Engine(#[from] sqlx::Error),
    /// The commit that several writes shared failed; none of them was kept.
    #[error("{0}")]
    Commit(Arc<sqlx::Error>),
}

/// The database.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// Embedded: a single writer, several readers.
    Sqlite {
        /// Who writes.
        writer: Writer,
        /// Who reads meanwhile.
        readers: SqlitePool,
    },
    /// A server, which other instances may use too.
    Postgres {
        /// The connections of those who ask for something.
        flows: Arc<Server>,
        /// The one by which this instance looks for what others have changed. Whoever holds a row may keep all the others
        /// waiting for it, and must neither delay a revocation nor make the record of them too old to verify by.
        polls: Arc<Server>,
    },
}

/// A write transaction. Dropped, it undoes everything.
///
/// On SQLite it may see what others of its group wrote and nobody has committed yet. So whoever gives a good answer because
/// of what it read in here must commit as well, even when it wrote nothing.
#[derive(Debug)]
pub(crate) enum Write {
    /// A turn of the single writer.
    Sqlite(Turn),
    /// A transaction beside others.
    Postgres(Transaction<'static, Postgres>),
}

impl Store {
    /// Opens a database, making it if need be, and brings its schema up to date.
    pub(crate) async fn open(database: &Database) -> Result<Self, OpenError> {
        match database {
            Database::Sqlite(file) => sqlite::open(file).await,
            Database::Postgres(url) => postgres::open(url).await,
        }
    }

    /// Begins a write.
    ///
    /// # Errors
    /// [`StoreError::Full`] when too many wait already.
    pub(crate) async fn write(&self) -> Result<Write, StoreError> {
        match self {
            Self::Sqlite { writer, .. } => writer.turn().await.map(Write::Sqlite),
            Self::Postgres { flows, .. } => Ok(Write::Postgres(flows.begin().await?)),
        }
    }

    /// Where to read.
    pub(crate) fn read(&self) -> On<'_> {
        match self {
            Self::Sqlite { readers, .. } => On::SqlitePool(readers),
            Self::Postgres { flows, .. } => On::Server(flows),
        }
    }

    /// Where to look for what others have changed: nobody else's question is waited for there.
    pub(crate) fn poll(&self) -> On<'_> {
        match self {
            Self::Sqlite { readers, .. } => On::SqlitePool(readers),
            Self::Postgres { polls, .. } => On::Server(polls),
        }
    }

    /// Closes the database and waits for what is under way.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres { flows, polls } => {
                flows.close().await;
                polls.close().await;
            }
        }
    }
}

impl Write {
    /// Keeps what was written. When it returns, that is on the disk.
    ///
    /// # Errors
    /// Nothing was kept, or nobody can say whether it was: it must not be acknowledged.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(turn) => turn.commit().await,
            Self::Postgres(transaction) => Ok(sql::limited(Box::pin(transaction.commit())).await?),
        }
    }

    /// Waits until no other write holds the lock of this name, and holds it to the end: for what no row stands for yet.
    /// SQLite's writes are alone anyway.
    pub(crate) async fn lock(&mut self, of: &str, name: &str) -> Result<(), sqlx::Error> {
        if let Self::Postgres(transaction) = self {
            sql("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
                .bind(format!("portcullis {of} {name}"))
                .execute(On::Postgres(transaction))
                .await?;
        }
        Ok(())
    }
}

impl<'a> From<&'a mut Write> for On<'a> {
    fn from(write: &'a mut Write) -> Self {
        match write {
            Write::Sqlite(turn) => Self::Sqlite(turn.connection()),
            Write::Postgres(transaction) => Self::Postgres(transaction),
        }
    }
}

/// Milliseconds since the epoch as the columns hold them.
pub(crate) fn millis(at: portcullis_core::Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

/// A moment from a column.
pub(crate) fn moment(millis: i64) -> portcullis_core::Timestamp {
    portcullis_core::Timestamp::from_millis(u64::try_from(millis).unwrap_or_default())
}
