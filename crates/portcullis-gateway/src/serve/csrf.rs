//! The key that tokens against forgery are signed with, and the rules that hold at the moment.

use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_core::Secret;
use portcullis_identity::Identity;
use portcullis_shield::csrf::{Csrf, CsrfRules};

use crate::config::Settings;

/// What the gate and the identity endpoints share of it.
#[derive(Debug)]
pub(super) struct Forgery {
    key: Secret<Vec<u8>>,
    current: Arc<ArcSwap<Csrf>>,
}

impl Forgery {
    /// With the key of the accounts, which every instance has and a restart does not change. Without accounts there is nothing
    /// that hands out cookies, and no place for a key: then it lives as long as this process.
    pub(super) fn new(identity: Option<&Identity>) -> Self {
        let key = identity.map_or_else(|| Secret::new(rand::random::<[u8; 32]>().to_vec()), Identity::csrf_key);
        let current = Arc::new(ArcSwap::from_pointee(Csrf::new(CsrfRules::default(), &key)));
        Self { key, current }
    }

    /// The rules of some settings with the key.
    pub(super) fn with_key(&self, settings: &Settings) -> Csrf {
        Csrf::new(settings.gate.csrf.clone(), &self.key)
    }

    /// The same, which holds from now on.
    pub(super) fn introduce(&self, settings: &Settings) -> Csrf {
        let csrf = self.with_key(settings);
        self.current.store(Arc::new(csrf.clone()));
        csrf
    }

    /// What the identity endpoints read.
    pub(super) fn shared(&self) -> Arc<ArcSwap<Csrf>> {
        Arc::clone(&self.current)
    }
}
