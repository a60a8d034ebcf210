//! A set of keys, and the place where the present one is read without a lock.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;

use super::{KeyError, KeyMark, VerificationKey, jwk};
use crate::jws::JwsError;

/// Keys that verify for one issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<VerificationKey>,
    /// The mark of each, in the same order.
    marks: Vec<KeyMark>,
}

impl KeySet {
    /// Puts keys together.
    ///
    /// # Errors
    /// [`KeyError::DuplicateKid`] and [`KeyError::MixedSet`]: both leave open which key is meant.
    pub fn new(keys: Vec<VerificationKey>) -> Result<Self, KeyError> {
        let mut names = HashSet::new();
        for kid in keys.iter().filter_map(VerificationKey::kid) {
            if !names.insert(kid) {
                return Err(KeyError::DuplicateKid(kid.to_owned()));
            }
        }
        if keys.iter().any(VerificationKey::is_secret) && !keys.iter().all(VerificationKey::is_secret) {
            return Err(KeyError::MixedSet);
        }
        let marks = keys.iter().map(VerificationKey::mark).collect();
        Ok(Self { keys, marks })
    }

    /// Reads a JWK set (RFC 7517 §5). Keys for something else than signatures and of types, curves or algorithms that we do
    /// not follow are passed over, as the RFC asks: an issuer may add one at any time. A key for signatures that is weak or
    /// broken fails the whole set, so that nobody finds out by a refused login.
    ///
    /// # Errors
    /// [`KeyError`] of the first such key, or of the set.
    pub fn from_jwks(json: &str) -> Result<Self, KeyError> {
        let members = crate::json::object(json.as_bytes()).map_err(|_| KeyError::Jwk("not a JSON object"))?;
        let Some(Value::Array(entries)) = members.get("keys") else {
            return Err(KeyError::Jwk("\"keys\" is missing or not a list"));
        };
        let mut keys = Vec::new();
        for entry in entries {
            let Value::Object(entry) = entry else { return Err(KeyError::Jwk("a key is not an object")) };
            let known =
                entry.get("kty").and_then(Value::as_str).is_some_and(|kty| ["RSA", "EC", "OKP", "oct"].contains(&kty));
            if !known {
                continue;
            }
            match jwk::key_from_members(entry, None) {
                Ok(key) => keys.push(key),
                Err(KeyError::Use | KeyError::Algorithm(_) | KeyError::Curve(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if keys.is_empty() {
            return Err(KeyError::Empty);
        }
        Self::new(keys)
    }

    /// The public keys as a JWK set. Shared secrets are left out.
    #[must_use]
    pub fn public_jwks_json(&self) -> String {
        let keys: Vec<Value> = self.keys.iter().filter_map(VerificationKey::public_jwk).collect();
        serde_json::json!({ "keys": keys }).to_string()
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[VerificationKey] {
        &self.keys
    }

    /// Whether the key with this mark is among them.
    pub(crate) fn holds(&self, mark: KeyMark) -> bool {
        self.marks.contains(&mark)
    }

    /// The one key that a header can mean, with its mark: by `kid` where it names one, else the only one of its algorithm.
    pub(crate) fn find(&self, kid: Option<&str>, alg: &str) -> Result<(&VerificationKey, KeyMark), JwsError> {
        let mut fitting = self.keys.iter().zip(self.marks.iter().copied()).filter(|(key, _)| match (kid, key.kid()) {
            (Some(kid), Some(held)) => kid == held,
            // A single unnamed key (a PEM file, a secret) fits every name.
            (Some(_), None) => self.keys.len() == 1,
            (None, _) => key.algorithm().as_str() == alg,
        });
        match (fitting.next(), fitting.next()) {
            (Some(found), None) => Ok(found),
            (None, _) if kid.is_none() && self.keys.len() == 1 => Err(JwsError::Algorithm),
            _ => Err(JwsError::UnknownKey),
        }
    }
}

/// Where verifiers read the present set; whoever rotates keys replaces it. Clones share one place.
#[derive(Clone, Debug)]
pub struct KeySource {
    place: Arc<ArcSwap<(u64, KeySet)>>,
}

impl KeySource {
    /// A source that begins with a set.
    #[must_use]
    pub fn new(keys: KeySet) -> Self {
        Self { place: Arc::new(ArcSwap::from_pointee((0, keys))) }
    }

    /// Replaces the set. A token that was verified by a key which the new set still holds stays remembered; any other is
    /// judged anew.
    pub fn replace(&self, keys: KeySet) {
        self.place.rcu(|held| (held.0 + 1, keys.clone()));
    }

    /// The present set and its generation, which grows with every replacement.
    #[must_use]
    pub fn load(&self) -> Arc<(u64, KeySet)> {
        self.place.load_full()
    }

    /// The generation of the present set.
    pub(crate) fn generation(&self) -> u64 {
        self.place.load().0
    }
}
