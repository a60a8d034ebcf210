//! Verifies tokens of several issuers, and remembers what it verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_core::{Principal, Reason, Scheme, Timestamp};
use quick_cache::sync::Cache;

use crate::claims::Claims;
use crate::issuer::Issuer;
use crate::jws::{MAX_TOKEN_BYTES, Unverified};

/// Verifies tokens. Only successes are remembered, under the SHA-256 of the whole token, so that the memory tells nobody
/// anything about a token they do not hold.
pub struct TokenVerifier {
    issuers: Vec<Issuer>,
    cache: Cache<TokenDigest, Arc<Verified>>,
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

/// What is known of a token before it is verified.
#[derive(Debug)]
pub enum Lookup {
    /// Judged already.
    Known(Result<Arc<Principal>, Reason>),
    /// It has to be verified.
    Unknown(TokenDigest),
}

#[derive(Debug)]
struct Verified {
    principal: Arc<Principal>,
    issuer: usize,
    /// The generation of the keys that verified it.
    generation: u64,
}

/// Tokens that are remembered by default; each takes about 600 bytes, 60 MB in all.
pub const DEFAULT_CACHED_TOKENS: usize = 100_000;

impl TokenVerifier {
    /// A verifier for these issuers that remembers at most `cached` tokens. Of two issuers with the same `iss`, the first
    /// is asked.
    #[must_use]
    pub fn new(issuers: Vec<Issuer>, cached: usize) -> Self {
        Self { issuers, cache: Cache::new(cached), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// Looks a token up among those that were verified before.
    pub fn lookup(&self, token: &str, scheme: Scheme, now: Timestamp) -> Lookup {
        if token.len() > MAX_TOKEN_BYTES {
            return Lookup::Known(Err(Reason::InvalidToken("the token is too long")));
        }
        let mut name = [0; 32];
        name.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let name = TokenDigest(name, scheme);
        let Some(verified) = self.cache.get(&name) else { return self.unknown(name) };
        let issuer = &self.issuers[verified.issuer];
        // A rotated or withdrawn key takes what it verified along.
        if issuer.keys.generation() != verified.generation {
            self.cache.remove(&name);
            return self.unknown(name);
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        if issuer.is_over(verified.principal.parts().expires, now) {
            self.cache.remove(&name);
            return Lookup::Known(Err(Reason::TokenExpired));
        }
        Lookup::Known(Ok(Arc::clone(&verified.principal)))
    }

    /// Verifies a token and remembers it if it is good.
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
        let parsed = Unverified::parse(token).map_err(|error| Reason::InvalidToken(error.why()))?;
        let claims = Claims::parse(&parsed.payload).map_err(|bad| Reason::InvalidToken(bad.0))?;
        let named = claims.issuer().ok_or(Reason::InvalidToken("the token names no issuer"))?;
        let (index, issuer) = self
            .issuers
            .iter()
            .enumerate()
            .find(|(_, issuer)| *issuer.iss == *named)
            .ok_or(Reason::InvalidToken("the token's issuer is not known"))?;
        // Read before the keys: if they are replaced in between, what they verified is not remembered for long.
        let generation = issuer.keys.generation();
        let principal = Arc::new(issuer.judge(parsed, &claims, scheme, now)?);
        let verified = Verified { principal: Arc::clone(&principal), issuer: index, generation };
        self.cache.insert(name, Arc::new(verified));
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
