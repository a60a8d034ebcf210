//! Charges several limits at once, all or none.

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::Timestamp;
use smallvec::SmallVec;

use crate::algorithm::Assessment;
use crate::key::Key;
use crate::lease::{LeaseFigures, Leases, Tag};
use crate::outage::{Outage, PATIENCE, Patience, Shared, StoreObserver};
use crate::rate::Rate;
use crate::store::{CellId, MemoryStore, SharedStore, StoreError};

/// One limit that a request asks to be counted by.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// The limit's name, by which stores over a network know it ([`Key::name`]).
    pub limit: &'a str,
    /// What it is counted under.
    pub key: Key,
    /// The quota and its algorithm.
    pub rate: &'a Rate,
    /// How many units the request costs; at most the rate's capacity, or it is never admitted.
    pub cost: u64,
    /// Whether the limit refuses, or only reports (L9). One that only reports is charged for what it would have
    /// admitted and not for what it would have refused, so that its report is what enforcing it would have done.
    pub enforce: bool,
    /// Whether what it charges is often given back (counted by outcome, or charged before another limit may still refuse).
    /// A store over a network remembers its refusals for a moment only, because any instance may give back.
    pub refundable: bool,
    /// What the limit does while the shared store is away.
    pub outage: Outage,
    /// Whether it is decided here out of portions of the quota that are taken from the shared store (L11). Only where the store
    /// is a [`crate::Lender`] and the rate allows it ([`Rate::check_lease`]); otherwise each request is charged by itself.
    pub lease: bool,
}

impl<'a> Ask<'a> {
    /// An ask that costs one unit, refuses what is over, is seldom given back, and goes on by this process's memory while a
    /// shared store is away.
    #[must_use]
    pub const fn new(limit: &'a str, key: Key, rate: &'a Rate) -> Self {
        Self { limit, key, rate, cost: 1, enforce: true, refundable: false, outage: Outage::Local, lease: false }
    }
}

/// How one limit stands towards one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The limit's index (that of the key).
    pub limit: u32,
    /// The quota's count.
    pub quota: u64,
    /// The quota's window.
    pub window: Duration,
    /// Units that are left.
    pub remaining: u64,
    /// Admitted: when the whole quota is back. Refused: when the request will be admitted. In both cases if nothing else
    /// spends the key.
    pub reset_at: Timestamp,
    /// Whether a limit that only reports would have refused.
    pub would_refuse: bool,
    /// The moment at which it stood so, by the store's clock: `reset_at` is this far in the future for a client too.
    pub at: Timestamp,
    /// How long an admitted request has to wait before it goes on ([`crate::Algorithm::LeakyBucket`] with a longest delay).
    /// The charge already counts it at its turn. Zero from a limit that only reports.
    pub delay: Duration,
    /// Whether an operator has blocked the key until `reset_at` ([`Limiter::block`]), whatever its rate.
    pub blocked: bool,
}

/// What an admitted request was charged. Dropped, the charge stays.
#[derive(Clone, Debug, Default)]
pub struct Charge {
    receipts: Receipts,
    standings: Standings,
}

/// What can be given back: mostly one limit's, kept without an allocation.
pub type Receipts = SmallVec<[Receipt; 1]>;

/// How each limit of a charge stands.
pub(crate) type Standings = SmallVec<[Standing; 2]>;

/// One charge of one limit, exact enough to give it back.
#[derive(Clone, Debug)]
pub struct Receipt {
    pub(crate) limit: u32,
    /// Whose cell was charged, where it was this process's memory.
    pub(crate) id: CellId,
    pub(crate) rate: Rate,
    pub(crate) cost: u64,
    /// The moment by which the cell judged.
    pub(crate) at: Timestamp,
    /// The key's name in the store over a network that was charged; `None` where it was this process's memory.
    pub(crate) shared: Option<Box<str>>,
    /// The portion that it was spent out of, where it was leased.
    pub(crate) leased: Option<Tag>,
}

/// A refusal: the limit with the longest wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denied {
    /// How that limit stands.
    pub standing: Standing,
    /// How long to wait until all limits admit the request, if nothing else spends their keys.
    pub retry_after: Duration,
}

impl Standing {
    /// How it stands when so many of the units that were charged at `rate` are given back. When the whole quota is back may be
    /// earlier than is told then, never later.
    pub fn settle(&mut self, units: u64, rate: &Rate) {
        self.remaining = self.remaining.saturating_add(units).min(self.quota);
        if rate.algorithm().has_burst() {
            let earlier = Duration::from_nanos(units.saturating_mul(rate.interval_nanos()));
            self.reset_at = self.reset_at.before(earlier).max(self.at);
        }
    }

    #[inline]
    pub(crate) fn new(ask: &Ask<'_>, assessment: &Assessment, now: Timestamp) -> Self {
        Self {
            limit: ask.key.limit(),
            quota: ask.rate.capacity(),
            window: ask.rate.quota().window(),
            remaining: assessment.remaining,
            reset_at: assessment.retry_at.unwrap_or(assessment.full_at),
            would_refuse: assessment.retry_at.is_some(),
            at: now,
            delay: if ask.enforce { assessment.delay } else { Duration::ZERO },
            blocked: assessment.blocked,
        }
    }

    /// Whether fewer requests are left here than there, or as many of a smaller quota. Where several limits count one
    /// request, its client is told of the one that is closest to refusing.
    #[must_use]
    pub fn is_closer_to_refusal_than(&self, other: &Self) -> bool {
        (self.remaining, self.quota) < (other.remaining, other.quota)
    }
}

impl Charge {
    pub(crate) const fn new(receipts: Receipts, standings: Standings) -> Self {
        Self { receipts, standings }
    }

    /// Adds one limit's.
    #[inline]
    pub(crate) fn push(&mut self, standing: Standing, receipt: Option<Receipt>) {
        self.standings.push(standing);
        self.receipts.extend(receipt);
    }

    /// Adds what can be given back.
    pub(crate) fn extend(&mut self, receipts: Receipts) {
        self.receipts.extend(receipts);
    }

    /// What can be given back.
    #[must_use]
    pub fn receipts(&self) -> &[Receipt] {
        &self.receipts
    }

    #[cfg(test)]
    pub(crate) fn receipts_mut(&mut self) -> &mut [Receipt] {
        &mut self.receipts
    }

    /// What can be given back, for whoever needs nothing else of the charge.
    #[must_use]
    pub fn into_receipts(self) -> Receipts {
        self.receipts
    }

    /// How long the request has to wait before it goes on: the longest delay of any limit, so that each has its turn by
    /// then. Mostly zero. While it waits it needs to hold nothing but itself: the charge stands.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.standings.iter().map(|standing| standing.delay).max().unwrap_or_default()
    }

    /// How each limit stands after the charge.
    #[must_use]
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }
}

impl Receipt {
    /// Of a charge in a store over a network, which knows the key by this name.
    #[cfg(feature = "net")]
    pub(crate) fn shared(ask: &Ask<'_>, at: Timestamp, name: &str) -> Self {
        let (limit, id) = (ask.key.limit(), CellId::default());
        Self { limit, id, rate: *ask.rate, cost: ask.cost, at, shared: Some(name.into()), leased: None }
    }

    /// The limit's index.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// How many units were charged.
    #[must_use]
    pub const fn cost(&self) -> u64 {
        self.cost
    }

    /// The same charge, as far as so many of its units go: given back, the rest stays counted. It stands in for the whole,
    /// of which nothing else may be given back.
    #[must_use]
    pub fn part(&self, units: u64) -> Self {
        Self { cost: units.min(self.cost), ..self.clone() }
    }

    /// Whether a store over a network was charged ([`crate::SharedStore::give_back`]), not this process's memory
    /// ([`Limiter::give_back`]).
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.shared.is_some()
    }
}

/// Why a charge was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A limit refuses.
    Denied(Denied),
    /// A limit that admits nobody without the shared store ([`Outage::Closed`]), by its index; the store is away.
    Unavailable(u32),
}

/// Charges limits: in this process's memory, or in a store that several processes share, with the memory to fall back on.
#[derive(Debug, Default)]
pub struct Limiter {
    pub(crate) local: MemoryStore,
    pub(crate) shared: Option<Shared>,
}

impl Limiter {
    /// A limiter over this process's memory.
    #[must_use]
    pub const fn new(local: MemoryStore) -> Self {
        Self { local, shared: None }
    }

    /// The same limiter over a store that several processes share. A decision waits `patience` for it in all
    /// ([`crate::PATIENCE`]); `observer` is told when it goes away and comes back. Whoever makes one polls [`Limiter::keep`], or
    /// a store that was lost once is never asked again; `tower::Limits` does.
    #[must_use]
    pub fn sharing(self, store: Arc<dyn SharedStore>, patience: Duration, observer: StoreObserver) -> Self {
        Self { shared: Some(Shared::new(store, patience, observer)), ..self }
    }

    /// The cells in this process's memory, for their figures and for sweeping.
    #[must_use]
    pub const fn local(&self) -> &MemoryStore {
        &self.local
    }

    /// Whether the shared store is asked at the moment; `None` where there is none.
    #[must_use]
    pub fn shared_works(&self) -> Option<bool> {
        self.shared.as_ref().map(Shared::works)
    }

    /// How many charges were decided without the shared store because it was away.
    #[must_use]
    pub fn decided_alone(&self) -> u64 {
        self.shared.as_ref().map_or(0, Shared::alone)
    }

    /// Keeps asking whether the shared store is there, for as long as the future is polled. Without a shared store it
    /// is over at once.
    pub async fn keep(&self) {
        if let Some(shared) = &self.shared {
            shared.keep().await;
        }
    }

    /// How a limit stands towards a key in this process's memory, as far as the ask's cost would be admitted; nothing is
    /// charged.
    #[must_use]
    pub fn peek(&self, ask: &Ask<'_>, now: Timestamp) -> Standing {
        self.local.peek(ask, now)
    }

    /// How a limit stands towards a key, as far as the ask's cost would be admitted, in the store that is asked for
    /// charges; nothing is charged. A leased limit that is closed after a loss ([`crate::StoreEvent::Forgot`]) stands at
    /// nothing, whatever the store says.
    ///
    /// # Errors
    /// [`StoreError`] where the shared store does not answer.
    pub async fn standing(&self, ask: &Ask<'_>, now: Timestamp) -> Result<Standing, StoreError> {
        match &self.shared {
            Some(shared) => match shared.leases.as_ref().and_then(|leases| leases.closed(ask)) {
                Some(closed) => Ok(closed),
                None => shared.store.peek(ask).await,
            },
            None => Ok(self.local.peek(ask, now)),
        }
    }

    /// Whether all these asks would be admitted at the moment; nothing is charged, and those that only report admit. `None`
    /// where the shared store cannot say within the patience that the request has left.
    pub async fn would_admit(&self, asks: &[Ask<'_>], now: Timestamp, patience: &mut Patience) -> Option<bool> {
        for ask in asks.iter().filter(|ask| ask.enforce) {
            let standing = match (&self.shared, ask.outage) {
                (Some(shared), _) if shared.works() => shared.peek(ask, patience).await?,
                (Some(_), Outage::Open) => continue,
                (Some(_), Outage::Closed) => return Some(false),
                _ => self.local.peek(ask, now),
            };
            if standing.would_refuse {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Charges all limits or none, exactly, however many requests ask at once. `patience` is that of the request, the
    /// same for all its charges.
    ///
    /// It never waits where there is no shared store.
    ///
    /// # Errors
    /// [`Refused`] names the limit with the longest wait, or one that admits nobody while the shared store is away.
    pub async fn charge(&self, asks: &[Ask<'_>], now: Timestamp, patience: &mut Patience) -> Result<Charge, Refused> {
        match &self.shared {
            None => self.local.charge(asks, now).map_err(Refused::Denied),
            Some(shared) => {
                if let Some(leases) = &shared.leases
                    && asks.iter().any(|ask| leases.covers(ask))
                {
                    if let [ask] = asks
                        && let Some(decided) = self.charge_here(leases, ask, now)
                    {
                        return decided;
                    }
                    return Box::pin(self.charge_leasing(shared, leases, asks, now, patience)).await;
                }
                // Apart, so that requests which need no store carry nothing of it.
                Box::pin(self.charge_shared(shared, asks, now, patience)).await
            }
        }
    }

    /// The same without waiting; `None` where it takes a shared store.
    #[cfg(feature = "tower")]
    pub(crate) fn charge_at_once(&self, asks: &[Ask<'_>], now: Timestamp) -> Option<Result<Charge, Refused>> {
        let Some(shared) = &self.shared else { return Some(self.local.charge(asks, now).map_err(Refused::Denied)) };
        match (&shared.leases, asks) {
            (Some(leases), [ask]) if leases.covers(ask) => self.charge_here(leases, ask, now),
            _ => None,
        }
    }

    async fn charge_shared(
        &self,
        shared: &Shared,
        asks: &[Ask<'_>],
        now: Timestamp,
        patience: &mut Patience,
    ) -> Result<Charge, Refused> {
        match shared.charge(asks, patience).await {
            Some(Ok(charge)) => Ok(self.count_along(asks, charge, now)),
            Some(Err(denied)) => {
                self.block_along(asks, &denied, now);
                Err(Refused::Denied(denied))
            }
            None => self.charge_alone(asks, now),
        }
    }

    /// Counts in memory what the shared store admitted, so that it is warm when it has to stand in. What is given back
    /// later is given back here too.
    pub(crate) fn count_along(&self, asks: &[Ask<'_>], mut charge: Charge, now: Timestamp) -> Charge {
        let along: SmallVec<[Ask<'_>; 4]> = local(asks).map(|ask| Ask { enforce: false, ..ask }).collect();
        // What does not enforce never refuses.
        if let Ok(counted) = self.local.charge(&along, now) {
            self.unblock_along(asks, &charge, &along, &counted, now);
            charge.receipts.extend(counted.receipts);
        }
        charge
    }

    /// Decides without the shared store, by each limit's policy.
    pub(crate) fn charge_alone(&self, asks: &[Ask<'_>], now: Timestamp) -> Result<Charge, Refused> {
        if let Some(closed) = asks.iter().find(|ask| ask.enforce && ask.outage == Outage::Closed) {
            return Err(Refused::Unavailable(closed.key.limit()));
        }
        let counted: SmallVec<[Ask<'_>; 4]> = local(asks).collect();
        self.local.charge(&counted, now).map_err(Refused::Denied)
    }

    /// Gives one charge back (L6), where it was charged. A receipt is good for one time: giving it back again takes from
    /// other charges.
    pub fn give_back(&self, receipt: &Receipt, now: Timestamp) {
        match &self.shared {
            Some(shared) if receipt.is_shared() => shared.store.give_back(receipt.clone()),
            Some(Shared { leases: Some(leases), .. }) if let Some(tag) = &receipt.leased => {
                leases.put_back(tag, receipt.cost);
                if tag.counted {
                    self.local.give_back(receipt, now);
                }
            }
            _ => self.local.give_back(receipt, now),
        }
    }

    /// Gives back what is leased and not spent: for whoever stops. It returns when the store has most probably heard of it;
    /// what it has not stays charged.
    pub async fn release(&self) {
        let Some(Shared { store, leases: Some(leases), .. }) = &self.shared else { return };
        // Twice, for what was under way.
        for _ in 0..2 {
            leases.release().into_iter().for_each(|receipt| store.give_back(receipt));
            // What is asked behind them on the same way is answered behind them; if it is not, nobody would know better.
            let _ = tokio::time::timeout(PATIENCE, store.ping()).await;
        }
    }

    /// What leased limits have done and hold; `None` where the store does not let anything be leased.
    #[must_use]
    pub fn leases(&self) -> Option<LeaseFigures> {
        self.shared.as_ref()?.leases.as_ref().map(Leases::figures)
    }
}

/// Those that this process's memory stands in for.
fn local<'a>(asks: &[Ask<'a>]) -> impl Iterator<Item = Ask<'a>> {
    asks.iter().filter(|ask| ask.outage == Outage::Local).cloned()
}
