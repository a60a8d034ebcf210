//! The accounts' database past the gate: read and written as with the engine's own client.

use std::path::{Path, PathBuf};

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, SqliteConnection};

/// Where accounts are kept.
#[derive(Clone, Debug)]
pub(crate) enum Accounts {
    File(PathBuf),
    /// A database of a server, by its URL.
    Server(String),
}

/// A connection to either engine.
enum Open {
    File(SqliteConnection),
    Server(PgConnection),
}

impl Accounts {
    /// A database that nobody has used: on a server in the suites that have one, else a file in this directory.
    pub(crate) fn fresh(directory: &Path) -> Self {
        super::database().map_or_else(|| Self::File(directory.join("accounts.db")), Self::Server)
    }

    /// As `[identity] database` names it.
    pub(crate) fn setting(&self) -> String {
        match self {
            Self::File(path) => format!("sqlite:{}", path.display()),
            Self::Server(url) => url.clone(),
        }
    }

    /// The text for this engine, of one for each.
    pub(crate) fn text<'a>(&self, file: &'a str, server: &'a str) -> &'a str {
        match self {
            Self::File(_) => file,
            Self::Server(_) => server,
        }
    }

    /// Runs statements.
    pub(crate) fn execute(&self, statements: &str) {
        self.run(async |open| {
            let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
            match open {
                Open::File(connection) => statements.execute(connection).await.map(drop),
                Open::Server(connection) => statements.execute(connection).await.map(drop),
            }
        });
    }

    /// The first column of every row, which has to be text.
    pub(crate) fn texts(&self, query: &str) -> Vec<String> {
        self.run(async |open| {
            let query = AssertSqlSafe(query.to_owned());
            match open {
                Open::File(connection) => sqlx::query_scalar(query).fetch_all(connection).await,
                Open::Server(connection) => sqlx::query_scalar(query).fetch_all(connection).await,
            }
        })
    }

    /// The hash that is stored of this account's password.
    pub(crate) fn password_of(&self, email: &str) -> String {
        let mut found = self.texts(&format!("SELECT password FROM account WHERE email = '{email}'"));
        assert_eq!(found.len(), 1, "accounts of {email}");
        found.remove(0)
    }

    fn run<T>(&self, work: impl AsyncFnOnce(&mut Open) -> sqlx::Result<T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let done = runtime.block_on(async {
            let mut open = match self {
                Self::File(path) => {
                    Open::File(SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await?)
                }
                Self::Server(url) => {
                    let options: PgConnectOptions = url.parse()?;
                    Open::Server(options.options([("search_path", "portcullis")]).connect().await?)
                }
            };
            let done = work(&mut open).await;
            // Waited for: SQLite's is closed by a thread of its own, and the last one takes the log's files away with it.
            match open {
                Open::File(connection) => connection.close().await?,
                Open::Server(connection) => connection.close().await?,
            }
            done
        });
        done.unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}
