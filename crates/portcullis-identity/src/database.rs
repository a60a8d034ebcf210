//! Where accounts are kept. What is shown of it never holds a password.

use std::fmt;
use std::path::PathBuf;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// A database.
#[derive(Clone)]
pub enum Database {
    /// A file of the embedded engine.
    Sqlite(PathBuf),
    /// A PostgreSQL server's.
    Postgres(Box<PostgresUrl>),
}

impl From<PathBuf> for Database {
    fn from(file: PathBuf) -> Self {
        Self::Sqlite(file)
    }
}

impl From<PostgresUrl> for Database {
    fn from(url: PostgresUrl) -> Self {
        Self::Postgres(Box::new(url))
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "{}", file.display()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The address of a PostgreSQL database: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with libpq's parameters. What it
/// leaves out comes from libpq's variables (`PGPASSWORD`, `PGHOST` …) and from `~/.pgpass`.
#[derive(Clone)]
pub struct PostgresUrl {
    options: PgConnectOptions,
    holds_password: bool,
    connections: u32,
}

/// Why a text is no address of a PostgreSQL database. It says nothing of the text itself: a password with an unescaped
/// `?` or `@` may be anywhere in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostgresUrlError {
    /// The text is no URL of this kind.
    #[error("this is not the URL of a PostgreSQL database")]
    Unreadable,
    /// It has a parameter that would be ignored. A misspelt `sslmode` must not be.
    #[error("the URL has a parameter that is not known")]
    Parameter,
}

/// The parameters that mean something.
const PARAMETERS: [&str; 12] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

impl PostgresUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`PostgresUrlError`].
    pub fn parse(url: &str) -> Result<Self, PostgresUrlError> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(PostgresUrlError::Unreadable);
        }
        let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
        let known = |parameter: &str| parameter.split_once('=').is_some_and(|(name, _)| PARAMETERS.contains(&name));
        if !parameters.is_empty() && !parameters.split('&').all(known) {
            return Err(PostgresUrlError::Parameter);
        }
        let options = url.parse().map_err(|_| PostgresUrlError::Unreadable)?;
        let authority = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        let holds_password = user.contains(':') || parameters.split('&').any(|each| each.starts_with("password="));
        Ok(Self { options, holds_password, connections: Self::CONNECTIONS })
    }

    /// How many connections one instance opens at most. A flow holds one for about a millisecond, and an ordinary server has
    /// a hundred for everybody.
    pub const CONNECTIONS: u32 = 16;

    /// With another number of connections.
    #[must_use]
    pub fn with_connections(self, connections: u32) -> Self {
        Self { connections, ..self }
    }

    /// How many connections one instance opens at most.
    #[must_use]
    pub const fn connections(&self) -> u32 {
        self.connections
    }

    /// Whether the password stands in the URL itself.
    #[must_use]
    pub const fn holds_password(&self) -> bool {
        self.holds_password
    }

    /// Whether what is said on the way to the server can be read or changed by whoever stands between: neither is it on
    /// this machine, nor must it show a certificate that proves its name.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        let host = self.options.get_host();
        let here = self.options.get_socket().is_some()
            || host == "localhost"
            || host.starts_with('/')
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        !here && !matches!(self.options.get_ssl_mode(), PgSslMode::VerifyFull)
    }

    pub(crate) const fn options(&self) -> &PgConnectOptions {
        &self.options
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, .. } = self;
        write!(f, "postgres://{}@", options.get_username())?;
        match options.get_socket() {
            Some(socket) => write!(f, "{}", socket.display())?,
            None => write!(f, "{}:{}", options.get_host(), options.get_port())?,
        }
        write!(f, "/{}", options.get_database().unwrap_or(options.get_username()))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        let url = "postgres://ann:hunter2@db.example.com:5433/accounts?sslmode=verify-full&password=hunter3";
        let url = PostgresUrl::parse(url).unwrap();
        let database = Database::from(url.clone());
        for shown in [format!("{url}"), format!("{url:?}"), format!("{database}"), format!("{database:?}")] {
            assert_eq!(shown, "postgres://ann@db.example.com:5433/accounts");
        }
    }

    #[test]
    fn it_is_known_whether_a_url_holds_its_password() {
        let holds = |url: &str| PostgresUrl::parse(url).unwrap().holds_password();
        assert!(holds("postgres://ann:hunter2@h/d") && holds("postgres://h/d?user=ann&password=hunter2"));
        assert!(!holds("postgres://ann@h:5432/d") && !holds("postgres://h:5432/d?user=a:b@c"));
    }

    #[test]
    fn what_would_be_ignored_is_refused_without_showing_it() {
        for url in [
            "postgres://ann@h/d?sslmod=verify-full",
            "postgres://ann:hun?ter2@h/d",
            "postgres://ann@h/d?%73slmode=disable",
            "postgres://ann@h/d?sslmode",
        ] {
            assert_eq!(PostgresUrl::parse(url).unwrap_err(), PostgresUrlError::Parameter, "{url}");
        }
        for url in ["mysql://a@h/d", "postgres:", "postgres://ann@h:port/d", "postgres://ann@h/d?sslmode=tls", ""] {
            assert_eq!(PostgresUrl::parse(url).unwrap_err(), PostgresUrlError::Unreadable, "{url}");
        }
    }

    #[test]
    fn a_server_elsewhere_is_exposed_unless_it_proves_its_name() {
        let exposed = |url: &str| PostgresUrl::parse(url).unwrap().is_exposed();
        assert!(exposed("postgres://a@db.example.com/d"));
        assert!(exposed("postgres://a@10.0.0.5/d?sslmode=require"));
        assert!(!exposed("postgres://a@db.example.com/d?sslmode=verify-full"));
        assert!(!exposed("postgres://a@127.0.0.1/d"));
        assert!(!exposed("postgres://a@[::1]/d"));
        assert!(!exposed("postgres://a@localhost/d"));
        assert!(!exposed("postgres:///d?host=/run/postgresql&user=a"));
    }
}
