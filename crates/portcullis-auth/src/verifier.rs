//! Verifies tokens of several issuers, and remembers what it verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_core::{Principal, Reason, Scheme, Timestamp};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::claims::Claims;
use crate::issuer::Issuer;
use crate::jws::{MAX_TOKEN_BYTES, Unverified};
use crate::key::KeyMark;

/// Verifies tokens. Only successes are remembered, under the SHA-256 of the whole token, so that the memory tells nobody
/// anything about a token they do not hold.
pub struct TokenVerifier {
    issuers: Vec<Issuer>,
    cache: Cache<TokenDigest, Verified, ByWeight>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl std::fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenVerifier").field("issuers", &self.issuers).finish_non_exhaustive()
    }
}

/// A token's name in the memory: its full SHA-256, and where it was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32], Scheme);

impl TokenDigest {
    fn of(token: &str, scheme: Scheme) -> Self {
        let mut name = [0; 32];
        name.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(name, scheme)
    }
}

/// What is known of a token before it is verified.
#[derive(Debug)]
pub enum Lookup {
    /// Judged already.
    Known(Result<Arc<Principal>, Reason>),
    /// It has to be verified.
    Unknown(TokenDigest),
}

/// What is remembered of a token.
#[derive(Clone, Debug)]
struct Verified {
    principal: Arc<Principal>,
    issuer: usize,
    /// The key that signed it.
    key: KeyMark,
    /// The generation of the keys in which that key was last seen.
    generation: u64,
    /// When it was verified.
    at: Timestamp,
    weight: u32,
}

/// Counts a token by its size, so that the memory is bounded in bytes even where an issuer's tokens are long.
#[derive(Clone, Copy, Debug)]
struct ByWeight;

impl Weighter<TokenDigest, Verified> for ByWeight {
    fn weight(&self, _: &TokenDigest, verified: &Verified) -> u64 {
        verified.weight.into()
    }
}

/// Tokens that are remembered by default; see [`TokenVerifier::new`].
pub const DEFAULT_CACHED_TOKENS: usize = 100_000;
/// What the usual token takes, and by which all are weighed.
const BYTES_OF_ONE: usize = 1024;

impl TokenVerifier {
    /// A verifier for these issuers that remembers at most `cached` tokens. One whose claims take more than 1 KiB counts
    /// once for each KiB begun, so that the memory is bounded by `cached` KiB (100 MB by default) whatever an issuer puts
    /// into its tokens; ours take some 850 bytes. Of two issuers with the same `iss`, the first is asked.
    #[must_use]
    pub fn new(issuers: Vec<Issuer>, cached: usize) -> Self {
        let capacity = u64::try_from(cached).unwrap_or(u64::MAX);
        let cache = Cache::with_weighter(cached, capacity, ByWeight);
        Self { issuers, cache, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// Looks a token up among those that were verified before.
    pub fn lookup(&self, token: &str, scheme: Scheme, now: Timestamp) -> Lookup {
        if token.len() > MAX_TOKEN_BYTES {
            return Lookup::Known(Err(Reason::InvalidToken("the token is too long")));
        }
        let name = TokenDigest::of(token, scheme);
        let Some(mut verified) = self.cache.get(&name) else { return self.unknown(name) };
        let issuer = &self.issuers[verified.issuer];
        if now.after(issuer.leeway) < verified.at {
            // The clock was wrong then or is now: whether the token's time has come has to be judged again.
            self.cache.remove(&name);
            return self.unknown(name);
        }
        if issuer.keys.generation() != verified.generation {
            // A withdrawn key takes what it verified along. What the others verified stays, or every rotation would make
            // all users verify at once, through limits that are made for strangers.
            let keys = issuer.keys.load();
            if !keys.1.holds(verified.key) {
                self.cache.remove(&name);
                return self.unknown(name);
            }
            verified.generation = keys.0;
            self.cache.insert(name, verified.clone());
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        if issuer.is_over(verified.principal.parts().expires, now) {
            self.cache.remove(&name);
            return Lookup::Known(Err(Reason::TokenExpired));
        }
        Lookup::Known(Ok(verified.principal))
    }

    /// Whose a token is, where it was verified before and nothing speaks against it; `None` says nothing about it. It changes
    /// nothing and counts as no lookup: for whoever asks beside a decision.
    #[must_use]
    pub fn recall(&self, token: &str, scheme: Scheme, now: Timestamp) -> Option<Arc<Principal>> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let verified = self.cache.get(&TokenDigest::of(token, scheme))?;
        let issuer = &self.issuers[verified.issuer];
        let stands = verified.generation == issuer.keys.generation()
            && verified.at <= now.after(issuer.leeway)
            && !issuer.is_over(verified.principal.parts().expires, now);
        stands.then_some(verified.principal)
    }

    /// Verifies a token and remembers it if it is good. `name` and `scheme` are those of the lookup before.
    ///
    /// # Errors
    /// [`Reason::TokenExpired`] for a token that is good but for its age, [`Reason::InvalidToken`] for any other.
    pub fn verify(
        &self,
        token: &str,
        name: TokenDigest,
        scheme: Scheme,
        now: Timestamp,
    ) -> Result<Arc<Principal>, Reason> {
        debug_assert_eq!(name, TokenDigest::of(token, scheme), "a token is remembered under its own name only");
        let parsed = Unverified::parse(token).map_err(|error| Reason::InvalidToken(error.why()))?;
        let claims = Claims::parse(&parsed.payload).map_err(|bad| Reason::InvalidToken(bad.0))?;
        let named = claims.issuer().ok_or(Reason::InvalidToken("the token names no issuer"))?;
        let (index, issuer) = self
            .issuers
            .iter()
            .enumerate()
            .find(|(_, issuer)| *issuer.iss == *named)
            .ok_or(Reason::InvalidToken("the token's issuer is not known"))?;
        // Keys and generation are read as one: what an old set verified is never remembered as the new one's word.
        let keys = issuer.keys.load();
        let (principal, key) = issuer.judge(&parsed, &claims, &keys.1, scheme, now)?;
        let principal = Arc::new(principal);
        let weight = u32::try_from(footprint(&principal).div_ceil(BYTES_OF_ONE)).unwrap_or(u32::MAX);
        let verified =
            Verified { principal: Arc::clone(&principal), issuer: index, key, generation: keys.0, at: now, weight };
        self.cache.insert(name, verified);
        Ok(principal)
    }

    /// How many tokens were found among those verified before.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// How many were not.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    /// How many tokens are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.cache.len()
    }

    fn unknown(&self, name: TokenDigest) -> Lookup {
        self.misses.fetch_add(1, Ordering::Relaxed);
        Lookup::Unknown(name)
    }
}

/// About how many bytes remembering a principal takes.
fn footprint(principal: &Principal) -> usize {
    /// A pointer, a length and what an allocator adds to a small block.
    const TEXT: usize = 40;
    /// The entry with its name, and what the cache needs to find and to judge it.
    const ENTRY: usize = size_of::<TokenDigest>() + size_of::<Verified>() + 64;
    let parts = principal.parts();
    let list = |texts: &[Box<str>]| texts.iter().map(|text| text.len() + TEXT).sum::<usize>();
    let option = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len() + TEXT);
    // Subject, roles and plan are held twice: as they are and as header values.
    let identity = parts.subject.len() + list(&parts.roles) + option(&parts.plan);
    let claims = parts.claims.iter().map(|(name, value)| name.len() + value.len() + 2 * TEXT).sum::<usize>();
    let rest = list(&parts.permissions) + option(&parts.session) + option(&parts.token_id) + claims;
    ENTRY + size_of::<Principal>() + 2 * identity + rest
}

#[cfg(test)]
mod tests {

    use portcullis_core::PrincipalParts;

    use super::*;

    fn principal(roles: usize, permission: usize) -> Principal {
        Principal::new(PrincipalParts {
            roles: vec!["r".into(); roles].into(),
            permissions: vec!["p".repeat(permission).into()],
            plan: Some("enterprise".into()),
            session: Some("0190a8f2-7c1e-7d3a-9b6e-3f2d1c0b9a87".into()),
            token_id: Some("0190a8f2-7c1e-7d3a-9b6e-3f2d1c0b9a87".into()),
            ..PrincipalParts::of("0190a8f2-7c1e-7d3a-9b6e-3f2d1c0b9a87", Scheme::Bearer, Timestamp::MAX)
        })
        .unwrap()
    }

    #[test]
    fn a_token_of_ours_counts_once_and_a_long_one_by_its_size() {
        assert!(footprint(&principal(1, 10)) <= BYTES_OF_ONE, "{}", footprint(&principal(1, 10)));
        assert!(footprint(&principal(1, 5000)) > 5 * BYTES_OF_ONE);
        assert!(footprint(&principal(256, 0)) > 10 * BYTES_OF_ONE, "many short ones are not small");
    }
}
