//! Where memcached is and how it is spoken to.

use std::path::PathBuf;
use std::time::Duration;

use crate::store::net::{Address, AddressError};

const PORT: u16 = 11_211;
/// More servers than anybody counts limits on; each key asks each of them for its weight.
const MOST_HOSTS: usize = 64;

/// Where memcached is and how it is spoken to; made from a URL, and completed by what does not belong into one.
///
/// `memcached://host[:11211][,host…]`, or `memcacheds://…` for TLS. Of several servers each has its own share of the keys,
/// by rendezvous hashing of the key and the server as it is written here: all instances must write them the same way (in any
/// order), and a server that is added or removed moves its share of the keys, which then start anew.
///
/// There is no user and no password: SASL is not spoken. Whoever reaches a memcached may do anything there, so it belongs
/// into a network that nobody else reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemcachedOptions {
    pub(super) hosts: Vec<Address>,
    pub(super) tls: bool,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) timeout: Duration,
}

/// Why a URL does not say where memcached is. No message repeats a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemcachedOptionsError {
    /// Another scheme.
    #[error("a memcached URL begins with memcached:// or memcacheds://")]
    Scheme,
    /// No host, or one with characters that no host has.
    #[error("the URL of memcached names no host; write for example memcached://127.0.0.1:11211")]
    Host,
    /// A port that is none.
    #[error("the port in the URL of memcached must be a number between 1 and 65535")]
    Port,
    /// One host twice, or more than there may be.
    #[error("the URL of memcached must name each of its servers once, and at most 64")]
    Hosts,
    /// A user or a password.
    #[error("a memcached URL takes no user and no password: SASL is not spoken; protect its network, or use Redis")]
    Login,
    /// A path, a query or a fragment.
    #[error("a memcached URL takes nothing after its hosts")]
    Path,
}

impl From<AddressError> for MemcachedOptionsError {
    fn from(error: AddressError) -> Self {
        match error {
            AddressError::Host => Self::Host,
            AddressError::Port => Self::Port,
        }
    }
}

impl MemcachedOptions {
    /// Whether a URL is meant to be one of memcached, however wrong it is otherwise.
    #[must_use]
    pub fn is_meant(url: &str) -> bool {
        url.starts_with("memcache")
    }

    /// Reads a URL.
    ///
    /// # Errors
    /// [`MemcachedOptionsError`] where it is not one of the forms above.
    pub fn parse(url: &str) -> Result<Self, MemcachedOptionsError> {
        let (tls, rest) = match url.split_once("://") {
            Some(("memcached", rest)) => (false, rest),
            Some(("memcacheds", rest)) => (true, rest),
            _ => return Err(MemcachedOptionsError::Scheme),
        };
        if rest.contains('@') {
            return Err(MemcachedOptionsError::Login);
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(MemcachedOptionsError::Path);
        }
        let mut hosts = Vec::new();
        for host in rest.split(',') {
            let address = Address::parse(host, PORT)?;
            if hosts.contains(&address) || hosts.len() == MOST_HOSTS {
                return Err(MemcachedOptionsError::Hosts);
            }
            hosts.push(address);
        }
        Ok(Self { hosts, tls, ca_file: None, timeout: Duration::from_millis(40) })
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether what is said goes unprotected to another machine.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        !self.tls && !self.hosts.iter().all(Address::is_here)
    }

    /// A file with the certificates (PEM) that alone are trusted to vouch for the servers; without it, those that the
    /// Mozilla root programme trusts.
    #[must_use]
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// How long an answer is waited for: 40 ms unless told otherwise, at least 1 ms and at most 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.clamp(Duration::from_millis(1), Duration::from_secs(10));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l2_a_url_says_where_memcached_is() {
        let options = MemcachedOptions::parse("memcached://127.0.0.1").unwrap();
        let hosts = |options: &MemcachedOptions| options.hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            (hosts(&options), options.tls, options.is_exposed()),
            (vec!["127.0.0.1:11211".into()], false, false)
        );
        let options = MemcachedOptions::parse("memcacheds://a:1,[::1],b/").unwrap();
        assert_eq!((hosts(&options).join(" "), options.is_exposed()), ("a:1 [::1]:11211 b:11211".into(), false));
        assert!(MemcachedOptions::parse("memcached://127.0.0.1,10.0.0.1").unwrap().is_exposed());
    }

    #[test]
    fn l2_a_url_of_memcached_that_says_nothing_is_refused() {
        for (url, error) in [
            ("127.0.0.1:11211", MemcachedOptionsError::Scheme),
            ("memcache://a", MemcachedOptionsError::Scheme),
            ("memcached://", MemcachedOptionsError::Host),
            ("memcached://a,", MemcachedOptionsError::Host),
            ("memcached://a b", MemcachedOptionsError::Host),
            ("memcached://a:0", MemcachedOptionsError::Port),
            ("memcached://a,a:11211", MemcachedOptionsError::Hosts),
            ("memcached://u:hunter2@a", MemcachedOptionsError::Login),
            ("memcached://a/1", MemcachedOptionsError::Path),
            ("memcached://a?x", MemcachedOptionsError::Path),
        ] {
            assert_eq!(MemcachedOptions::parse(url), Err(error), "{url}");
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
    }
}
