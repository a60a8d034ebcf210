//! What an operator does to one key: starting it anew, taking units from it or giving some back, blocking it.

use std::time::Duration;

use portcullis_core::Timestamp;

use crate::key::Key;
use crate::lease;
use crate::limiter::{Ask, Charge, Denied, Limiter, Standing};
use crate::outage::Outage;
use crate::store::StoreError;

/// The shortest block that an operator may ask for.
pub const BLOCK_AT_LEAST: Duration = Duration::from_secs(1);
/// The longest block that an operator may ask for: a year. What is never to come back belongs on a blocklist.
pub const BLOCK_AT_MOST: Duration = Duration::from_secs(366 * 86_400);

/// How often a penalty looks again where requests spent the key between the look and the charge.
const TRIES: usize = 8;

impl Limiter {
    /// Forgets all that was counted under a key of the limit with this name, and lifts its block; `true` if there was
    /// something.
    ///
    /// # Errors
    /// [`StoreError`] where it is not certain that every instance goes by the reset.
    pub async fn reset(&self, limit: &str, key: &Key) -> Result<bool, StoreError> {
        let here = self.local.reset(key);
        match &self.shared {
            Some(shared) => Ok(shared.without_leases(key, shared.store.reset(limit, key)).await? || here),
            None => Ok(here),
        }
    }

    /// Takes as many units as the ask costs, or what is left of them: a penalty. Tells how many it took; never more than
    /// there were, however many requests spend the key meanwhile, and none of a key that is blocked.
    ///
    /// # Errors
    /// [`StoreError`] where the shared store does not answer. What it may have taken stays taken.
    pub async fn take(&self, ask: &Ask<'_>, now: Timestamp) -> Result<u64, StoreError> {
        for _ in 0..TRIES {
            let standing = self.standing(&Ask { cost: 0, ..ask.clone() }, now).await?;
            let cost = ask.cost.min(standing.remaining);
            if cost == 0 || standing.blocked {
                return Ok(0);
            }
            // One that only reports takes all of it or nothing, and is not answered from what was known before.
            let asks = [Ask { cost, enforce: false, ..ask.clone() }];
            let charge = match &self.shared {
                None => self.local.charge(&asks, now),
                Some(shared) => shared.store.charge(&asks).await?,
            };
            let Ok(charge) = charge else { continue };
            if charge.standings().iter().all(|standing| !standing.would_refuse) {
                if self.shared.is_some() {
                    self.count_along(&asks, charge, now);
                }
                return Ok(cost);
            }
        }
        Ok(0)
    }

    /// Gives back as many units as the ask costs, until nothing of the quota lacks: a reward. The latest ones first, so
    /// that those which are left run out the sooner. A key that is blocked stays as it is.
    ///
    /// # Errors
    /// [`StoreError`] where it is not certain that every instance goes by it.
    pub async fn reward(&self, ask: &Ask<'_>, now: Timestamp) -> Result<(), StoreError> {
        self.local.reward(ask, now);
        match &self.shared {
            Some(shared) => shared.without_leases(&ask.key, shared.store.reward(ask)).await,
            None => Ok(()),
        }
    }

    /// Refuses the ask's key for so long, whatever its rate and whatever is asked of it, on every instance that shares the
    /// store; tells until when. It takes the place of all that was counted, so the key begins anew when it is over; and so
    /// it is never shorter than the refusal that stands already. A limit that only reports says that it would refuse.
    ///
    /// While the shared store is away the block holds on this instance, and on every other that refused the key since, as
    /// far as the limit goes by memory then ([`Outage::Local`]).
    ///
    /// # Errors
    /// [`StoreError`] where it is not certain that every instance goes by it.
    pub async fn block(&self, ask: &Ask<'_>, how_long: Duration, now: Timestamp) -> Result<Timestamp, StoreError> {
        let standing = match self.standing(&Ask { cost: 1, ..ask.clone() }, now).await {
            Ok(standing) => standing,
            Err(error) => {
                // Here it holds for as long as the store is away.
                self.local.block(&ask.key, now.after(how_long), now);
                return Err(error);
            }
        };
        let refused_for = standing.reset_at.since(standing.at);
        let longer = standing.would_refuse && !standing.blocked && refused_for > how_long;
        let how_long = if longer { refused_for } else { how_long };
        self.local.block(&ask.key, now.after(how_long), now);
        match &self.shared {
            Some(shared) => shared.without_leases(&ask.key, shared.store.block(ask.limit, &ask.key, how_long)).await,
            None => Ok(now.after(how_long)),
        }
    }

    /// Lifts the block of a key of the limit with this name; `true` if there was one. What is counted under a key that is not
    /// blocked stays.
    ///
    /// # Errors
    /// [`StoreError`] where it is not certain that every instance goes by it.
    pub async fn unblock(&self, limit: &str, key: &Key, now: Timestamp) -> Result<bool, StoreError> {
        let here = self.local.unblock(key, now);
        match &self.shared {
            Some(shared) => shared.without_leases(key, shared.store.unblock(limit, key)).await,
            None => Ok(here),
        }
    }

    /// Says on an operator's word that the shared store has lost nothing of what it acknowledged, so that leased limits which
    /// are closed because of that open again, on every instance within a second; `false` where it knows of no loss. Where
    /// something was lost all the same, it counts anew: limits then admit their quota once more.
    ///
    /// # Errors
    /// [`StoreError`] where it is not certain that the store was told; [`StoreError::Unsupported`] where nothing is leased from
    /// it, or there is none.
    pub async fn reopen(&self) -> Result<bool, StoreError> {
        let lender = self.shared.as_ref().and_then(|shared| shared.store.lender());
        let lender = lender.ok_or(StoreError::Unsupported { what: "lease anything" })?;
        if lease::is_open(&lender.pulse().await?) {
            return Ok(false);
        }
        lender.reopen().await?;
        Ok(true)
    }

    /// Remembers in memory that the shared store refused a key because it is blocked, for when the store goes away.
    pub(crate) fn block_along(&self, asks: &[Ask<'_>], denied: &Denied, now: Timestamp) {
        if !denied.standing.blocked {
            return;
        }
        let blocked = |ask: &&Ask<'_>| ask.key.limit() == denied.standing.limit && ask.outage == Outage::Local;
        for ask in asks.iter().filter(blocked) {
            self.local.block(&ask.key, now.after(denied.retry_after), now);
        }
    }

    /// Lifts in memory what the shared store does not hold blocked any more: it was lifted on another instance.
    pub(crate) fn unblock_along(
        &self,
        asks: &[Ask<'_>],
        charge: &Charge,
        along: &[Ask<'_>],
        counted: &Charge,
        now: Timestamp,
    ) {
        let blocked = |standing: &Standing| standing.blocked;
        if !counted.standings().iter().any(blocked) {
            return;
        }
        for (ask, _) in along.iter().zip(counted.standings()).filter(|(_, standing)| blocked(standing)) {
            let there = asks.iter().zip(charge.standings()).find(|(asked, _)| asked.key == ask.key);
            if there.is_some_and(|(_, standing)| !blocked(standing)) {
                self.local.unblock(&ask.key, now);
            }
        }
    }
}
