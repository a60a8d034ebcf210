//! What counts attempts to log in: the limiter, behind the accounts' own port.

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::Timestamp;
use portcullis_identity::{Allowance, Answer, Attempts, Charged, Exhausted, MOST_ALLOWANCES, Pool};
use portcullis_limit::{Algorithm, Ask, Key, Limiter, MemoryStore, Patience, Quota, Rate, Refused};
use smallvec::SmallVec;

/// By what names stores that are shared know a pool's allowances.
const LIMITS: [&str; MOST_ALLOWANCES] = ["lockout", "lockout-day"];
/// Cells that are remembered, two for each pool. Each pool costs whoever fills it a hash of ours, and what is evicted first is
/// what ends first.
pub(super) const CELLS: usize = 500_000;

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
        Self { limiter: Arc::new(Limiter::new(MemoryStore::with_capacity(CELLS))) }
    }
}

impl CountedAttempts {
    /// Counts in this limiter, which has to be one of its own.
    pub(super) const fn new(limiter: Arc<Limiter>) -> Self {
        Self { limiter }
    }

    /// The limiter, for its figures and for sweeping.
    pub(super) const fn limiter(&self) -> &Arc<Limiter> {
        &self.limiter
    }
}

impl Attempts for CountedAttempts {
    fn charge<'a>(
        &'a self,
        pool: &'a Pool,
        allowances: &'a [Allowance],
        now: Timestamp,
    ) -> Answer<'a, Result<Charged, Exhausted>> {
        Box::pin(async move {
            let rates: Option<SmallVec<[Rate; MOST_ALLOWANCES]>> = allowances.iter().map(rate).collect();
            let Some(rates) = rates.filter(|rates| (1..=MOST_ALLOWANCES).contains(&rates.len())) else {
                return Err(uncounted(now));
            };
            let asks: SmallVec<[Ask<'_>; MOST_ALLOWANCES]> = (0..)
                .zip(LIMITS)
                .zip(&rates)
                .map(|((number, limit), rate)| {
                    let key = key(pool, number);
                    // Without a shared store the memory decides, which counts along: an attempt that nobody counts is a guess
                    // for free. What is charged is given back by every login that is right.
                    Ask { refundable: true, ..Ask::new(limit, key, rate) }
                })
                .collect();
            match self.limiter.charge(&asks, now, &mut Patience::default()).await {
                Ok(charge) => {
                    let left = charge.standings().iter().map(|standing| standing.remaining).min().unwrap_or(0);
                    let (limiter, receipts) = (Arc::clone(&self.limiter), charge.into_receipts());
                    let give_back = move |now| -> Answer<'static, ()> {
                        Box::pin(async move { receipts.iter().for_each(|receipt| limiter.give_back(receipt, now)) })
                    };
                    Ok(Charged { left, give_back: Box::new(give_back) })
                }
                Err(Refused::Denied(denied)) => Err(Exhausted {
                    count: denied.standing.quota,
                    retry_after: denied.retry_after,
                    reset_at: denied.standing.reset_at,
                }),
                Err(Refused::Unavailable(_)) => Err(uncounted(now)),
            }
        })
    }

    fn clear<'a>(&'a self, pool: &'a Pool) -> Answer<'a, ()> {
        Box::pin(async move {
            for (number, limit) in (0..).zip(LIMITS) {
                // What cannot be forgotten everywhere comes back by itself.
                if let Err(error) = self.limiter.reset(limit, &key(pool, number)).await {
                    tracing::warn!(%error, "failed logins could not be forgotten everywhere");
                }
            }
        })
    }
}

/// What cannot be counted is refused; no configuration leads here.
fn uncounted(now: Timestamp) -> Exhausted {
    let retry_after = Duration::from_secs(60);
    Exhausted { count: 0, retry_after, reset_at: now.after(retry_after) }
}

/// A pool's cell for one of its allowances.
fn key(pool: &Pool, number: u32) -> Key {
    let mut key = Key::new(number);
    key.push_text('p', pool.as_str());
    key
}

fn rate(allowance: &Allowance) -> Option<Rate> {
    let quota = Quota::new(allowance.count.into(), allowance.window).ok()?;
    Rate::new(quota, Algorithm::SlidingWindowLog, None).ok()
}
