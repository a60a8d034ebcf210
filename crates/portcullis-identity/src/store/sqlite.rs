//! Embedded SQLite: write-ahead log, a sync before every answer, one writer.

use std::path::Path;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::writer::Writer;
use super::{Store, StoreError, migrate};
use crate::error::OpenError;

/// How long a write waits for another process (the command line beside a running gate) before it gives up.
const BUSY: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

/// How long a start rests before it is tried again while others start.
const REST: Duration = Duration::from_millis(50);

/// Opens the file, making it (mode 0600) if it is absent, and brings its schema up to date.
///
/// Changing a new file to write-ahead logging does not wait for its turn as other statements do: SQLite answers "locked"
/// at once. So the whole start is tried again for as long as a write would wait.
pub(crate) async fn open(path: &Path) -> Result<Store, OpenError> {
    make_private(path)?;
    let deadline = tokio::time::Instant::now() + BUSY;
    loop {
        match try_open(path).await {
            Err(OpenError::Locked(_)) if tokio::time::Instant::now() < deadline => tokio::time::sleep(REST).await,
            done => return done,
        }
    }
}

async fn try_open(path: &Path) -> Result<Store, OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // FULL syncs the log at every commit: an acknowledged write survives a power cut, not only a crash.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        .pragma("trusted_schema", "OFF");
    let failed = |error: sqlx::Error| match &error {
        sqlx::Error::Database(inner) if inner.message().contains("locked") => OpenError::Locked(path.to_owned()),
        _ => OpenError::Open { path: path.to_owned(), error },
    };
    let mut writer = options.connect().await.map_err(failed)?;
    migrate::sqlite(&mut writer).await.map_err(|error| match error {
        OpenError::Database(StoreError::Engine(error)) => failed(error),
        other => other,
    })?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .min_connections(1)
        .acquire_timeout(BUSY)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.clone())
        .await
        .map_err(failed)?;
    Ok(Store::Sqlite { writer: Writer::start(options, writer), readers })
}

/// Passwords' hashes and sealed keys are nobody else's to read.
fn make_private(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|error| OpenError::Open { path: path.to_owned(), error: sqlx::Error::Io(error) })
}
