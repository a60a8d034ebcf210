//! The SQL store. Statements are written once, with `$n` parameters, BIGINT, TEXT and bytes; what differs by engine
//! (opening, DDL, locking) stands in one file for each.

pub(crate) mod audit;
mod migrate;
pub(crate) mod sqlite;

use sqlx::{Sqlite, SqlitePool, Transaction};

/// A write transaction.
pub(crate) type Write = Transaction<'static, Sqlite>;

/// The pools of one database: a single writer, several readers.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Store {
    /// Begins a write. It takes the database's write lock at once, so that what it reads stays true until it commits;
    /// when [`Transaction::commit`] returns, what it wrote is on the disk.
    pub(crate) async fn write(&self) -> Result<Write, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    /// Where to read.
    pub(crate) const fn read(&self) -> &SqlitePool {
        &self.readers
    }

    /// Closes both pools and waits for what is under way.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
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
