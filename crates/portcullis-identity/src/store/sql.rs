//! Statements: written once where the engines allow it, with `$n` parameters and three kinds of values (text, integers
//! of 64 bits, bytes), and run by whichever driver the store has.

use std::time::Duration;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, FromRow, PgConnection, SqliteConnection, SqlitePool};

use super::postgres::Server;

/// After so long a server that says nothing is gone: its own time-out for a statement is shorter.
const SILENCE: Duration = Duration::from_secs(7);

/// The text of a statement for each engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }
}

/// A query inside a write whose rows must stay as they were read until the write ends. SQLite has one writer, so that they
/// do by themselves; PostgreSQL locks the rows in the way that is written behind it.
macro_rules! locking {
    ($text:literal, $lock:literal) => {
        $crate::store::Text { sqlite: $text, postgres: concat!($text, " ", $lock) }
    };
}
pub(crate) use locking;

/// A row that either engine can give: a tuple, or a struct that derives `sqlx::FromRow`.
pub(crate) trait Row: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

impl<T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin> Row for T {}

/// A value for a parameter.
#[derive(Clone)]
pub(crate) enum Value {
    Text(Option<String>),
    Integer(Option<i64>),
    Bytes(Vec<u8>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Self {
        Self::Integer(Some(integer))
    }
}

impl From<Option<i64>> for Value {
    fn from(integer: Option<i64>) -> Self {
        Self::Integer(integer)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_owned())
    }
}

/// Where a statement runs: in a write, or wherever reads are answered.
pub(crate) enum On<'a> {
    Sqlite(&'a mut SqliteConnection),
    SqlitePool(&'a SqlitePool),
    Postgres(&'a mut PgConnection),
    Server(&'a Server),
}

/// A statement with its values.
#[must_use = "a statement does nothing until it is executed or fetched"]
pub(crate) struct Statement {
    text: Text,
    values: Vec<Value>,
}

/// Begins a statement.
pub(crate) fn sql(text: impl Into<Text>) -> Statement {
    Statement { text: text.into(), values: Vec::new() }
}

/// Runs a statement by the driver of where it is to run. The drivers' futures are kilobytes large and stand in every flow
/// several times, so that each has a place of its own.
macro_rules! run {
    ($statement:expr, $on:expr, $query:path, $method:ident $($then:tt)*) => {{
        let Statement { text, values } = $statement;
        match $on.into() {
            On::Sqlite(executor) => {
                Box::pin($query(text.sqlite, for_sqlite(values)?).$method(executor)).await $($then)*
            }
            On::SqlitePool(executor) => {
                Box::pin($query(text.sqlite, for_sqlite(values)?).$method(executor)).await $($then)*
            }
            On::Postgres(executor) => {
                limited(Box::pin($query(text.postgres, for_postgres(values)?).$method(executor))).await $($then)*
            }
            On::Server(server) => {
                let mut executor = server.acquire().await?;
                limited(Box::pin($query(text.postgres, for_postgres(values)?).$method(&mut *executor))).await $($then)*
            }
        }
    }};
}

impl Statement {
    /// Gives the next parameter its value.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it; gives the number of rows it touched.
    pub(crate) async fn execute(self, on: impl Into<On<'_>>) -> Result<u64, sqlx::Error> {
        run!(self, on, sqlx::query_with, execute.map(|done| done.rows_affected()))
    }

    /// Runs it; gives its first row.
    pub(crate) async fn fetch_one<R: Row>(self, on: impl Into<On<'_>>) -> Result<R, sqlx::Error> {
        run!(self, on, sqlx::query_as_with, fetch_one)
    }

    /// Runs it; gives its first row if there is one.
    pub(crate) async fn fetch_optional<R: Row>(self, on: impl Into<On<'_>>) -> Result<Option<R>, sqlx::Error> {
        run!(self, on, sqlx::query_as_with, fetch_optional)
    }

    /// Runs it; gives every row.
    pub(crate) async fn fetch_all<R: Row>(self, on: impl Into<On<'_>>) -> Result<Vec<R>, sqlx::Error> {
        run!(self, on, sqlx::query_as_with, fetch_all)
    }
}

/// Waits for a server no longer than it could possibly need. A network that swallows everything gives no error by itself.
pub(super) async fn limited<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(SILENCE, work).await {
        Ok(done) => done,
        Err(_) => Err(silent()),
    }
}

/// That a server says nothing.
pub(super) fn silent() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

fn for_sqlite(values: Vec<Value>) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Text(text) => arguments.add(text),
            Value::Integer(integer) => arguments.add(integer),
            Value::Bytes(bytes) => arguments.add(bytes),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn for_postgres(values: Vec<Value>) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Text(text) => arguments.add(text),
            Value::Integer(integer) => arguments.add(integer),
            Value::Bytes(bytes) => arguments.add(bytes),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}
