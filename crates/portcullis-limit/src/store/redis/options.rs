//! Where Redis is and how it is spoken to.

use std::path::PathBuf;
use std::time::Duration;

use portcullis_core::Secret;

use crate::store::net::{Address, AddressError};

/// How the servers are arranged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arrangement {
    /// One server.
    Single,
    /// The hosts are Sentinels, which know where the master of this name is.
    Sentinel(String),
    /// The hosts are some nodes of a cluster.
    Cluster,
}

/// Where Redis is and how it is spoken to; made from a URL, and completed by what does not belong into one.
///
/// | URL | |
/// |---|---|
/// | `redis://[user[:password]@]host[:6379][/database]` | one server |
/// | `redis-sentinel://[user[:password]@]host[:26379],host…/master[/database]` | the master that these Sentinels know |
/// | `redis-cluster://[user[:password]@]host[:6379],host…` | a cluster, found through any of these nodes |
///
/// With `rediss` in place of `redis` each speaks TLS, to Sentinels too. What a URL cannot hold as it is (`@`, `:`, `/` in a
/// password), stands as `%XX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisOptions {
    pub(super) hosts: Vec<Address>,
    pub(super) arrangement: Arrangement,
    pub(super) tls: bool,
    pub(super) database: u32,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret<String>>,
    pub(super) sentinel_user: Option<String>,
    pub(super) sentinel_password: Option<Secret<String>>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) timeout: Duration,
    pub(super) connections: usize,
}

/// Why a URL does not say where Redis is. No message repeats a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisOptionsError {
    /// Another scheme.
    #[error(
        "a Redis URL begins with redis://, rediss://, redis-sentinel://, rediss-sentinel://, redis-cluster:// or \
         rediss-cluster://"
    )]
    Scheme,
    /// No host, or one with characters that no host has.
    #[error("the URL of Redis names no host; write for example redis://127.0.0.1:6379")]
    Host,
    /// A port that is none.
    #[error("the port in the URL of Redis must be a number between 1 and 65535")]
    Port,
    /// Several hosts of one server.
    #[error("redis:// takes one host; for several use redis-sentinel:// or redis-cluster://")]
    OneHost,
    /// No name of a master.
    #[error("name the master that the Sentinels watch: redis-sentinel://host1,host2/mymaster")]
    Master,
    /// A database that is none, or one in a cluster.
    #[error("the path of a Redis URL is the number of a database (0 to 65535); a cluster has only database 0")]
    Database,
    /// `%` without two hexadecimal digits, or not UTF-8 with them.
    #[error("a `%` in the user or password of the Redis URL must be written as %25")]
    Escape,
    /// What is not known.
    #[error("a Redis URL takes no query or fragment")]
    Query,
}

impl From<AddressError> for RedisOptionsError {
    fn from(error: AddressError) -> Self {
        match error {
            AddressError::Host => Self::Host,
            AddressError::Port => Self::Port,
        }
    }
}

impl RedisOptions {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`RedisOptionsError`] where it is not one of the forms above.
    pub fn parse(url: &str) -> Result<Self, RedisOptionsError> {
        let (scheme, rest) = url.split_once("://").ok_or(RedisOptionsError::Scheme)?;
        let (tls, kind) = match scheme.strip_prefix("rediss") {
            Some(kind) => (true, kind),
            None => (false, scheme.strip_prefix("redis").ok_or(RedisOptionsError::Scheme)?),
        };
        if rest.contains(['?', '#']) {
            return Err(RedisOptionsError::Query);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let default_port = if kind == "-sentinel" { 26379 } else { 6379 };
        let hosts: Vec<Address> =
            hosts.split(',').map(|host| Address::parse(host, default_port)).collect::<Result<_, _>>()?;
        let (arrangement, database) = match kind {
            "" if hosts.len() > 1 => return Err(RedisOptionsError::OneHost),
            "" => (Arrangement::Single, path),
            "-cluster" if path.trim_matches('0').is_empty() => (Arrangement::Cluster, ""),
            "-cluster" => return Err(RedisOptionsError::Database),
            "-sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                let master = Some(unescape(master)?).filter(|master| !master.is_empty());
                (Arrangement::Sentinel(master.ok_or(RedisOptionsError::Master)?), database)
            }
            _ => return Err(RedisOptionsError::Scheme),
        };
        let database = match database {
            "" => 0,
            number => u32::from(number.parse::<u16>().map_err(|_| RedisOptionsError::Database)?),
        };
        let (user, password) = match credentials.map(|text| text.split_once(':').unwrap_or((text, ""))) {
            Some((user, password)) => (Some(unescape(user)?), Some(unescape(password)?)),
            None => (None, None),
        };
        Ok(Self {
            hosts,
            arrangement,
            tls,
            database,
            user: user.filter(|user| !user.is_empty()),
            password: password.filter(|password| !password.is_empty()).map(Secret::new),
            sentinel_user: None,
            sentinel_password: None,
            ca_file: None,
            timeout: Duration::from_millis(40),
            connections: 1,
        })
    }

    /// Whether a password was told.
    #[must_use]
    pub const fn holds_password(&self) -> bool {
        self.password.is_some()
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether it is a cluster.
    #[must_use]
    pub const fn is_cluster(&self) -> bool {
        matches!(self.arrangement, Arrangement::Cluster)
    }

    /// Whether what is said, the password included, goes unprotected to another machine.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        !self.tls && !self.hosts.iter().all(Address::is_here)
    }

    /// The user of Redis's access control lists, in place of one in the URL.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// The password, in place of one in the URL.
    #[must_use]
    pub fn password(mut self, password: Secret<String>) -> Self {
        self.password = Some(password);
        self
    }

    /// User and password at the Sentinels, which have lists of their own; without a user, only the password is sent.
    #[must_use]
    pub fn sentinel_login(mut self, user: Option<String>, password: Secret<String>) -> Self {
        (self.sentinel_user, self.sentinel_password) = (user, Some(password));
        self
    }

    /// A file with the certificates (PEM) that alone are trusted to vouch for the servers; without it, those that the
    /// Mozilla root programme trusts.
    #[must_use]
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// How long an answer is waited for: 40 ms unless told otherwise, at least 1 ms and at most 10 s. A decision waits for the
    /// shorter of this and the patience of [`crate::Limiter::sharing`].
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.clamp(Duration::from_millis(1), Duration::from_secs(10));
        self
    }

    /// Connections to each server: one unless told otherwise, at most 16. Each carries many calls at once; a second one
    /// only pays where one core cannot speak as fast as Redis listens.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.clamp(1, 16);
        self
    }
}

fn unescape(text: &str) -> Result<String, RedisOptionsError> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or(RedisOptionsError::Escape)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(RedisOptionsError::Escape);
        let value = digit(digits[0])? * 16 + digit(digits[1])?;
        bytes.push(value as u8);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| RedisOptionsError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(options: &RedisOptions) -> Vec<String> {
        options.hosts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn l2_a_url_says_where_redis_is() {
        let options = RedisOptions::parse("redis://127.0.0.1").unwrap();
        assert_eq!((hosts(&options), options.tls, options.database), (vec!["127.0.0.1:6379".into()], false, 0));
        assert_eq!((&options.user, &options.password), (&None, &None));

        let options = RedisOptions::parse("rediss://gate:p%40ss:w%2Frd@[::1]:6380/7").unwrap();
        assert_eq!((hosts(&options), options.tls, options.database), (vec!["[::1]:6380".into()], true, 7));
        assert_eq!(options.user.as_deref(), Some("gate"));
        assert_eq!(options.password, Some(Secret::new("p@ss:w/rd".to_owned())));

        let options = RedisOptions::parse("redis-sentinel://:secret@a,b:1/mymaster/3").unwrap();
        assert_eq!((hosts(&options), options.database), (vec!["a:26379".into(), "b:1".into()], 3));
        assert_eq!(options.arrangement, Arrangement::Sentinel("mymaster".into()));
        assert_eq!((options.user, options.password.unwrap().expose().as_str()), (None, "secret"));

        let options = RedisOptions::parse("rediss-cluster://a:7000,b").unwrap();
        assert_eq!(
            (hosts(&options), options.arrangement),
            (vec!["a:7000".into(), "b:6379".into()], Arrangement::Cluster)
        );
    }

    #[test]
    fn l2_a_url_that_says_nothing_is_refused_without_repeating_its_password() {
        for (url, error) in [
            ("127.0.0.1:6379", RedisOptionsError::Scheme),
            ("http://hunter2@a", RedisOptionsError::Scheme),
            ("redis-pool://a", RedisOptionsError::Scheme),
            ("redis://", RedisOptionsError::Host),
            ("redis://:hunter2@", RedisOptionsError::Host),
            ("redis://a b", RedisOptionsError::Host),
            ("redis://a:port", RedisOptionsError::Port),
            ("redis://a:0", RedisOptionsError::Port),
            ("redis://a,b", RedisOptionsError::OneHost),
            ("redis-sentinel://a", RedisOptionsError::Master),
            ("redis-cluster://a/1", RedisOptionsError::Database),
            ("redis://a/x", RedisOptionsError::Database),
            ("redis://u:hunter%2@a", RedisOptionsError::Escape),
            ("redis://a?db=1", RedisOptionsError::Query),
        ] {
            assert_eq!(RedisOptions::parse(url), Err(error), "{url}");
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
        let shown = format!("{:?}", RedisOptions::parse("redis://u:hunter2@a").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
