//! Which certificate a client is shown, by the name that it asks for (SNI, RFC 6066 §3).

use std::sync::Arc;

use hashbrown::HashMap;
use portcullis_auth::certificate::plain_name;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use smallvec::SmallVec;

use super::UnknownName;
use super::pair::Pair;

/// Certificates that have the same name; one for each kind of key, in the order of the file.
type Those = SmallVec<[usize; 2]>;

/// The certificates by their names.
#[derive(Debug)]
pub(crate) struct Names {
    keys: Vec<Arc<CertifiedKey>>,
    exact: HashMap<Box<str>, Those>,
    /// By what stands behind `*.`; a star is one whole label, the first (RFC 9525 §6.3).
    starred: HashMap<Box<str>, Those>,
    unknown: UnknownName,
    /// How many of the certificates are from files of the operator's.
    from_files: usize,
}

impl Names {
    pub(super) fn new(pairs: Vec<Pair>, from_files: usize, unknown: UnknownName) -> Self {
        let mut names = Self { keys: Vec::new(), exact: HashMap::new(), starred: HashMap::new(), unknown, from_files };
        for (index, pair) in pairs.into_iter().enumerate() {
            for name in pair.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut names.starred, rest.into()),
                    None => (&mut names.exact, name),
                };
                let those = map.entry(name).or_default();
                if !those.contains(&index) {
                    those.push(index);
                }
            }
            names.keys.push(pair.key);
        }
        names
    }

    /// Whether there is more than one certificate.
    pub(crate) const fn are_several(&self) -> bool {
        self.keys.len() > 1
    }

    /// Whether a certificate has this name. It is compared without regard to case and to a final dot.
    pub(crate) fn covers(&self, name: &str) -> bool {
        self.find(&plain_name(name)).is_some()
    }

    /// Whether a certificate from a file of the operator's has this name literally.
    pub(crate) fn are_from_files(&self, name: &str) -> bool {
        self.exact.get(name).is_some_and(|those| those.iter().any(|index| *index < self.from_files))
    }

    /// Whether both names lead to the same certificates; no name leads where unknown ones do.
    pub(crate) fn are_one(&self, one: Option<&str>, other: Option<&str>) -> bool {
        let find =
            |name: Option<&str>| name.and_then(|name| self.find(&plain_name(name))).map_or(&[0][..], |those| those);
        find(one) == find(other)
    }

    /// The certificates with a name in its plain spelling: one that has it literally goes before one with a star.
    fn find(&self, name: &str) -> Option<&[usize]> {
        let starred = || self.starred.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(starred).map(SmallVec::as_slice)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let known = hello.server_name().and_then(|name| self.find(&plain_name(name)));
        let those = match (known, self.unknown) {
            (Some(those), _) => those,
            // There may be none at all, while the first is ordered.
            (None, UnknownName::First) => &[0],
            (None, UnknownName::Refuse) => return None,
        };
        let schemes = hello.signature_schemes();
        let fits =
            |index: &&usize| self.keys.get(**index).is_some_and(|known| known.key.choose_scheme(schemes).is_some());
        // Where none fits, the handshake fails with the right words by itself.
        let chosen = those.iter().find(fits).or(those.first())?;
        self.keys.get(*chosen).cloned()
    }
}
