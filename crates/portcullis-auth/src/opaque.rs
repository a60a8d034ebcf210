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
    /// When the keeper said so.
    heard: Timestamp,
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
    /// Where the keeper does not answer, what it said within the last two minutes goes on being believed, and nothing older:
    /// the record of revocations remembers for so long what speaks against it, and may have forgotten it afterwards.
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
            EntryResult::Replaced(place, known) => (place, Some(known)),
            EntryResult::Removed(..) | EntryResult::Timeout => return Err(Reason::Internal),
        };
        let known = match self.holders.find(name).await {
            Ok(Found::Holder(principal)) => {
                Known { principal: Arc::new(*principal), until: now.after(BELIEVED), heard: now }
            }
            Ok(Found::Revoked) => return Err(Reason::TokenRevoked),
            Ok(Found::Nobody) => return Err(Reason::InvalidToken("nobody has this API key or session")),
            Err(Unanswered) => {
                let recent = |before: &Known| now < before.heard.after(2 * BELIEVED) && !distrusts(&before.principal);
                let before = before.filter(recent).ok_or(Reason::RevocationsStale)?;
                Known { until: now.after(RETRY), ..before }
            }
        };
        let principal = Arc::clone(&known.principal);
        if principal.parts().expires <= now {
            return Err(Reason::TokenExpired);
        }
        // It fails only where the place was taken meanwhile, by an answer as new as this one.
        let _ = place.insert(known);
        Ok(principal)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use portcullis_core::PrincipalParts;
    use portcullis_core::ports::Answer;

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    /// What the keeper says.
    #[derive(Clone, Copy)]
    enum Says {
        Holder(Timestamp),
        Revoked,
        Nobody,
        Nothing,
    }

    struct Keeper {
        says: Mutex<Says>,
        asked: AtomicUsize,
    }

    impl Keeper {
        fn says(&self, says: Says) {
            *self.says.lock().unwrap() = says;
        }
    }

    struct Asked(Arc<Keeper>);

    impl Holders for Asked {
        fn find(&self, _: OpaqueName) -> Answer<Result<Found, Unanswered>> {
            self.0.asked.fetch_add(1, Ordering::SeqCst);
            let says = *self.0.says.lock().unwrap();
            Box::pin(async move {
                std::future::ready(()).await;
                match says {
                    Says::Holder(expires) => Ok(Found::Holder(Box::new(holder(expires)))),
                    Says::Revoked => Ok(Found::Revoked),
                    Says::Nobody => Ok(Found::Nobody),
                    Says::Nothing => Err(Unanswered),
                }
            })
        }
    }

    fn holder(expires: Timestamp) -> Principal {
        Principal::new(PrincipalParts {
            roles: std::iter::once("viewer".into()).collect(),
            token_id: Some("k1".into()),
            ..PrincipalParts::of("u1", Scheme::ApiKey, expires)
        })
        .unwrap()
    }

    fn verifier(says: Says) -> (OpaqueVerifier, Arc<Keeper>) {
        let keeper = Arc::new(Keeper { says: Mutex::new(says), asked: AtomicUsize::new(0) });
        (OpaqueVerifier::new(Arc::new(Asked(Arc::clone(&keeper)))), keeper)
    }

    /// What a request with the key is told at a moment.
    fn told(verifier: &OpaqueVerifier, at: u64) -> Result<Arc<Principal>, Reason> {
        let now = START.after(Duration::from_secs(at));
        match verifier.lookup(api_key::make(&[7; 32]).expose(), Scheme::ApiKey, now) {
            Seen::Known(principal, _) => Ok(principal),
            Seen::Unknown(name) => futures(verifier.ask(name, None, now)),
            Seen::Malformed(why) => Err(Reason::InvalidToken(why)),
        }
    }

    /// Everything here is ready at once.
    fn futures<T>(future: impl Future<Output = T>) -> T {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(future).poll(&mut context) {
            std::task::Poll::Ready(value) => value,
            std::task::Poll::Pending => panic!("nothing here waits"),
        }
    }

    #[test]
    fn t9_an_answer_is_believed_for_a_minute_and_never_beyond_its_end() {
        let (verifier, keeper) = verifier(Says::Holder(START.after(Duration::from_secs(90))));
        for at in [0, 1, 59] {
            told(&verifier, at).unwrap();
        }
        assert_eq!(keeper.asked.load(Ordering::SeqCst), 1);
        told(&verifier, 60).unwrap();
        assert_eq!(keeper.asked.load(Ordering::SeqCst), 2);
        assert_eq!(told(&verifier, 90).unwrap_err(), Reason::TokenExpired);
        keeper.says(Says::Revoked);
        assert_eq!(told(&verifier, 91).unwrap_err(), Reason::TokenRevoked);
        keeper.says(Says::Nobody);
        assert!(matches!(told(&verifier, 92), Err(Reason::InvalidToken(_))));
    }

    #[test]
    fn t9_a_keeper_that_says_nothing_is_gone_on_without_for_two_minutes_and_no_longer() {
        let (verifier, keeper) = verifier(Says::Holder(Timestamp::MAX));
        told(&verifier, 0).unwrap();
        keeper.says(Says::Nothing);
        for at in [61, 62, 100, 119] {
            told(&verifier, at).unwrap();
        }
        // The record of revocations may have forgotten by now what speaks against it.
        assert_eq!(told(&verifier, 120).unwrap_err(), Reason::RevocationsStale);
        assert_eq!(told(&verifier, 1_200).unwrap_err(), Reason::RevocationsStale);
        keeper.says(Says::Holder(Timestamp::MAX));
        told(&verifier, 1_201).unwrap();
    }

    #[test]
    fn t9_an_answer_that_something_speaks_against_is_not_given_again() {
        let (verifier, keeper) = verifier(Says::Holder(Timestamp::MAX));
        let first = told(&verifier, 0).unwrap();
        let Seen::Known(_, name) = verifier.lookup(api_key::make(&[7; 32]).expose(), Scheme::ApiKey, START) else {
            panic!("it is remembered")
        };
        keeper.says(Says::Nothing);
        assert_eq!(futures(verifier.ask(name, Some(&first), START)).unwrap_err(), Reason::RevocationsStale);
        keeper.says(Says::Revoked);
        assert_eq!(futures(verifier.ask(name, Some(&first), START)).unwrap_err(), Reason::TokenRevoked);
        keeper.says(Says::Holder(Timestamp::MAX));
        let second = futures(verifier.ask(name, Some(&first), START)).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
    }
}
