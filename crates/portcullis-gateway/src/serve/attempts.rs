//! What counts attempts to log in: the limiter, behind the accounts' own port.

use std::sync::Arc;

use portcullis_core::Timestamp;
use portcullis_identity::{Allowance, Answer, Attempts, Charged, Exhausted, Pool};
use portcullis_limit::{Algorithm, Ask, Key, Limiter, MemoryStore, Quota, Rate};

/// The number in the keys of every pool. The limiter holds nothing else, so that it collides with no limit's.
const LIMIT: u32 = 0;
/// Pools that are remembered. Each costs whoever fills it a hash of ours, and no machine makes so many in a window.
const POOLS: usize = 250_000;

/// Counts attempts by a sliding log: what is taken comes back a window later, to the moment.
///
/// The limiter is one of its own. In that of the gate's limits anybody who comes from enough addresses could fill the store
/// until what an account has taken is forgotten.
#[derive(Clone, Debug)]
pub struct CountedAttempts {
    limiter: Arc<Limiter>,
}

impl Default for CountedAttempts {
    fn default() -> Self {
        Self { limiter: Arc::new(Limiter::new(MemoryStore::with_capacity(POOLS))) }
    }
}

impl CountedAttempts {
    /// The limiter, for its figures and for sweeping.
    pub(super) const fn limiter(&self) -> &Arc<Limiter> {
        &self.limiter
    }
}

impl Attempts for CountedAttempts {
    fn charge<'a>(
        &'a self,
        pool: &'a Pool,
        allowance: Allowance,
        now: Timestamp,
    ) -> Answer<'a, Result<Charged, Exhausted>> {
        Box::pin(async move {
            let Some(rate) = rate(allowance) else {
                // No configuration leads here; what cannot be counted is refused.
                let Allowance { count, window } = allowance;
                let reset_at = now.after(window);
                return Err(Exhausted { count: count.into(), retry_after: window, reset_at });
            };
            let ask = Ask { key: key(pool), rate: &rate, cost: 1, enforce: true };
            match self.limiter.charge(&[ask], now).await {
                Ok(charge) => {
                    let left = charge.standings().first().map_or(0, |standing| standing.remaining);
                    let (limiter, receipts) = (Arc::clone(&self.limiter), charge.into_receipts());
                    let give_back = move |now| -> Answer<'static, ()> {
                        Box::pin(async move { receipts.iter().for_each(|receipt| limiter.give_back(receipt, now)) })
                    };
                    Ok(Charged { left, give_back: Box::new(give_back) })
                }
                Err(denied) => Err(Exhausted {
                    count: denied.standing.quota,
                    retry_after: denied.retry_after,
                    reset_at: denied.standing.reset_at,
                }),
            }
        })
    }

    fn clear<'a>(&'a self, pool: &'a Pool) -> Answer<'a, ()> {
        Box::pin(async move {
            self.limiter.reset(&key(pool));
        })
    }
}

fn key(pool: &Pool) -> Key {
    let mut key = Key::new(LIMIT);
    key.push_text('p', pool.as_str());
    key
}

fn rate(allowance: Allowance) -> Option<Rate> {
    let quota = Quota::new(allowance.count.into(), allowance.window).ok()?;
    Rate::new(quota, Algorithm::SlidingWindowLog, None).ok()
}
