//! Opaque credentials: API keys (T9) and server sessions (T10). They say nothing themselves, so whoever keeps them is asked
//! whom they belong to, and the answer is remembered for a while.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_core::ports::{Found, Holders, OpaqueName, Unanswered};
use portcullis_core::{Principal, Reason, Scheme, Timestamp};
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, EntryAction, EntryResult};

use crate::api_key;

/// How long an answer is believed. It bounds nothing that matters: what is revoked is heard of at once by the record of
/// revocations. It is how often a credential in use is seen, for its last use and a session's idle time.
pub const BELIEVED: Duration = Duration::from_secs(60);
/// After so long a keeper that did not answer is asked again about a credential that was good before.
const RETRY: Duration = Duration::from_secs(1);
/// Credentials that are remembered; each takes about 1 KiB.
const REMEMBERED: usize = 50_000;

/// Remembers whom opaque credentials belong to.
pub struct OpaqueVerifier {
    holders: Arc<dyn Holders>,
    cache: Cache<OpaqueName, Known>,
}

impl std::fmt::Debug for OpaqueVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpaqueVerifier").field("remembered", &self.cache.len()).finish_non_exhaustive()
    }
}

/// What is remembered of a credential.
#[derive(Clone, Debug)]
struct Known {
    principal: Arc<Principal>,
    /// Until when it is believed.
    until: Timestamp,
}

/// What is known of a credential before anybody is asked.
#[derive(Debug)]
pub enum Seen {
    /// Whose it is, and the name to ask by where something speaks against that.
    Known(Arc<Principal>, OpaqueName),
    /// Somebody has to be asked.
    Unknown(OpaqueName),
    /// No credential of ours looks like this.
    Malformed(&'static str),
}

impl OpaqueVerifier {
    /// A verifier that asks `holders`.
    #[must_use]
    pub fn new(holders: Arc<dyn Holders>) -> Self {
        // The first number is what room is made for at once.
        let cache = Cache::with_weighter(1_024, REMEMBERED as u64, UnitWeighter);
        Self { holders, cache }
    }

    /// Looks a credential up among those that were asked about before. `scheme` is that of an opaque credential.
    #[must_use]
    pub fn lookup(&self, text: &str, scheme: Scheme, now: Timestamp) -> Seen {
        let formed = match scheme {
            Scheme::ApiKey => api_key::is_well_formed(text),
            _ => text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
        };
        if !formed {
            return Seen::Malformed("not the form of an API key or a session");
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        let name = OpaqueName { scheme, hash };
        match self.cache.get(&name) {
            Some(known) if known.until > now && known.principal.parts().expires > now => {
                Seen::Known(known.principal, name)
            }
            _ => Seen::Unknown(name),
        }
    }

    /// Asks whose it is. However many ask about one credential at once, one of them asks the keeper. `distrusted` is an
    /// answer that must not be given again: something speaks against it.
    ///
    /// Where the keeper does not answer, what was known before goes on being believed: how long a node may go on without
    /// the database is bounded by the record of revocations, which every answer has to pass.
    ///
    /// # Errors
    /// [`Reason::InvalidToken`] for nobody's, [`Reason::TokenRevoked`], [`Reason::TokenExpired`], and
    /// [`Reason::RevocationsStale`] where the keeper does not answer.
    pub async fn ask(
        &self,
        name: OpaqueName,
        distrusted: Option<&Arc<Principal>>,
        now: Timestamp,
    ) -> Result<Arc<Principal>, Reason> {
        let distrusts = |held: &Arc<Principal>| distrusted.is_some_and(|not| Arc::ptr_eq(not, held));
        let entry = self.cache.entry_async(&name, |_, known: &mut Known| {
            let fresh = known.until > now && known.principal.parts().expires > now;
            if fresh && !distrusts(&known.principal) {
                EntryAction::Retain(Arc::clone(&known.principal))
            } else {
                EntryAction::ReplaceWithGuard
            }
        });
        let (place, before) = match entry.await {
            EntryResult::Retained(principal) => return Ok(principal),
            EntryResult::Vacant(place) => (place, None),
            EntryResult::Replaced(place, known) => (place, Some(known.principal)),
            EntryResult::Removed(..) | EntryResult::Timeout => return Err(Reason::Internal),
        };
        let (principal, until) = match self.holders.find(name).await {
            Ok(Found::Holder(principal)) => (Arc::new(*principal), now.after(BELIEVED)),
            Ok(Found::Revoked) => return Err(Reason::TokenRevoked),
            Ok(Found::Nobody) => return Err(Reason::InvalidToken("nobody has this API key or session")),
            Err(Unanswered) => match before.filter(|before| !distrusts(before)) {
                Some(before) => (before, now.after(RETRY)),
                None => return Err(Reason::RevocationsStale),
            },
        };
        if principal.parts().expires <= now {
            return Err(Reason::TokenExpired);
        }
        // It fails only where the place was taken meanwhile, by an answer as new as this one.
        let _ = place.insert(Known { principal: Arc::clone(&principal), until });
        Ok(principal)
    }
}
