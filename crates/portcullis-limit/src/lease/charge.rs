//! Charges of which some limits are leased.

use std::sync::Arc;

use portcullis_core::Timestamp;
use smallvec::SmallVec;
use tokio::time::{Instant, timeout_at};

use super::ground::Footing;
use super::pool::Said;
use super::{Leases, Spend, Tag, closed};
use crate::limiter::{Ask, Charge, Denied, Limiter, Receipt, Refused, Standing};
use crate::outage::{Outage, Patience, Shared};
use crate::store::CellId;

/// What was found out about one ask.
enum Found {
    /// It was spent out of a portion.
    Spent(Standing, Tag),
    /// It only reports, and would have refused.
    Over(Standing),
    /// The store does not answer, and nothing is held.
    Away,
    /// It is not leased.
    Plain,
}

impl Limiter {
    /// Decides a leased ask with what is here; `None` where that is not enough.
    #[inline]
    pub(crate) fn charge_here(
        &self,
        leases: &Leases,
        ask: &Ask<'_>,
        now: Timestamp,
    ) -> Option<Result<Charge, Refused>> {
        let Spend::Said(lease, said) = leases.spend(ask, Instant::now()) else { return None };
        let mut answer = Ok(Charge::default());
        match said {
            Said::Spent(view) => {
                let tag = Tag { lease, generation: view.generation, counted: false };
                if let Ok(charge) = &mut answer {
                    charge.push(view.standing(ask), Some(self.count_leased(ask, tag, now)));
                }
            }
            Said::Denied(denied) | Said::Closed(denied) if ask.enforce => answer = Err(Refused::Denied(denied)),
            Said::Denied(denied) | Said::Closed(denied) => {
                if let Ok(charge) = &mut answer {
                    charge.push(over(ask, denied), None);
                }
            }
            Said::Away => return None,
        }
        Some(answer)
    }

    /// Counts in memory what was spent out of a portion, so that it is warm when it has to stand in.
    fn count_leased(&self, ask: &Ask<'_>, tag: Tag, now: Timestamp) -> Receipt {
        if ask.outage == Outage::Local
            // What does not enforce never refuses.
            && let Ok(counted) = self.local().charge(&[Ask { enforce: false, ..ask.clone() }], now)
            && let Some(receipt) = self.unblocked(ask, counted).into_receipts().pop()
        {
            return Receipt { leased: Some(Tag { counted: true, ..tag }), ..receipt };
        }
        let (limit, id) = (ask.key.limit(), CellId::default());
        Receipt { limit, id, rate: *ask.rate, cost: ask.cost, at: now, shared: None, leased: Some(tag) }
    }

    /// Lifts in memory what the shared store does not hold blocked any more.
    fn unblocked(&self, ask: &Ask<'_>, counted: Charge) -> Charge {
        if counted.standings().iter().any(|standing| standing.blocked) {
            self.local().unblock(&ask.key, counted.standings()[0].at);
        }
        counted
    }

    /// Charges all asks or none, of which some are leased. Units are spent first, and put back where another ask refuses; for
    /// as long as that takes a neighbour may be refused that would have found room, never the other way round.
    pub(crate) async fn charge_leasing(
        &self,
        shared: &Shared,
        leases: &Leases,
        asks: &[Ask<'_>],
        now: Timestamp,
        patience: &mut Patience,
    ) -> Result<Charge, Refused> {
        let until = patience.until(shared.patience());
        let mut found: SmallVec<[Found; 4]> = SmallVec::new();
        let mut denied: Option<Denied> = None;
        for ask in asks {
            found.push(match leases.find_out(shared, ask, until).await {
                Ok(found) => found,
                Err(refused) if ask.enforce => {
                    keep_longest(&mut denied, refused);
                    Found::Plain
                }
                Err(refused) => Found::Over(over(ask, refused)),
            });
        }
        let is = |wanted: fn(&Found) -> bool| {
            let chosen = asks.iter().zip(&found).filter(move |(_, found)| wanted(found));
            chosen.map(|(ask, _)| ask.clone()).collect::<SmallVec<[Ask<'_>; 4]>>()
        };
        let plain = is(|found| matches!(found, Found::Plain));
        if let Some(mut denied) = denied {
            self.block_along(asks, &denied, now);
            leases.put_all_back(asks, &found);
            // Whoever waits as long as is told is to be admitted by all.
            for ask in plain.iter().filter(|ask| ask.enforce && !leases.covers(ask)) {
                if let Ok(Ok(standing)) = timeout_at(until, shared.store.peek(ask)).await
                    && standing.would_refuse
                {
                    let retry_after = standing.reset_at.since(standing.at);
                    keep_longest_of(&mut denied, Denied { standing, retry_after });
                }
            }
            return Err(Refused::Denied(denied));
        }

        // What is not leased, or what the store must be asked for because nothing is known here.
        let charged = match plain.is_empty() {
            true => Some(Charge::default()),
            false => match shared.charge(&plain, patience).await {
                Some(Ok(charge)) => Some(self.count_along(&plain, charge, now)),
                Some(Err(denied)) => {
                    self.block_along(asks, &denied, now);
                    leases.put_all_back(asks, &found);
                    return Err(Refused::Denied(denied));
                }
                None => None,
            },
        };
        let undo = |charged: Option<Charge>| {
            leases.put_all_back(asks, &found);
            for receipt in charged.into_iter().flat_map(Charge::into_receipts) {
                self.give_back(&receipt, now);
            }
        };
        let alone = if charged.is_some() {
            is(|found| matches!(found, Found::Away))
        } else {
            is(|found| matches!(found, Found::Away | Found::Plain))
        };
        if found.iter().any(|found| matches!(found, Found::Away)) {
            shared.note_alone();
        }
        let counted = if alone.is_empty() {
            Charge::default()
        } else {
            match self.charge_alone(&alone, now) {
                Ok(counted) => counted,
                Err(refused) => {
                    undo(charged);
                    return Err(refused);
                }
            }
        };
        Ok(self.put_together(asks, found, charged, counted, now))
    }

    /// One charge of all that was found, in the order of the asks.
    fn put_together(
        &self,
        asks: &[Ask<'_>],
        found: SmallVec<[Found; 4]>,
        charged: Option<Charge>,
        counted: Charge,
        now: Timestamp,
    ) -> Charge {
        let mut all = Charge::default();
        let by_store = charged.is_some();
        let charged = charged.unwrap_or_default();
        let mut from_store = charged.standings().iter();
        let mut from_memory = counted.standings().iter();
        for (ask, found) in asks.iter().zip(found) {
            match found {
                Found::Spent(standing, tag) => all.push(standing, Some(self.count_leased(ask, tag, now))),
                Found::Over(standing) => all.push(standing, None),
                Found::Plain if by_store => {
                    from_store.next().into_iter().for_each(|standing| all.push(standing.clone(), None));
                }
                Found::Away | Found::Plain if ask.outage == Outage::Local => {
                    from_memory.next().into_iter().for_each(|standing| all.push(standing.clone(), None));
                }
                Found::Away | Found::Plain => {}
            }
        }
        all.extend(charged.into_receipts());
        all.extend(counted.into_receipts());
        all
    }
}

impl Leases {
    /// What becomes of one ask, which may wait for the store until a moment.
    async fn find_out(&self, shared: &Shared, ask: &Ask<'_>, until: Instant) -> Result<Found, Denied> {
        if !self.covers(ask) {
            return Ok(Found::Plain);
        }
        let now = Instant::now();
        let (lease, said) = match self.spend(ask, now) {
            Spend::Said(lease, said) => (lease, said),
            Spend::Full => return self.find_out_without(ask, now),
            Spend::Empty(_) if !shared.works() => return Ok(Found::Away),
            Spend::Empty(lease) => {
                let (mut waiting, call) = lease.pool.lock().wait(ask.cost, now);
                if call {
                    self.look_after(&lease);
                }
                let said = match timeout_at(until, &mut waiting).await {
                    Ok(Ok(said)) => said,
                    Ok(Err(_)) => Said::Away,
                    // It may have been said in the last moment.
                    Err(_) => waiting.try_recv().unwrap_or(Said::Away),
                };
                self.note(&said);
                (lease, said)
            }
        };
        match said {
            Said::Spent(view) => {
                let tag = Tag { lease: Arc::clone(&lease), generation: view.generation, counted: false };
                Ok(Found::Spent(view.standing(ask), tag))
            }
            Said::Denied(denied) | Said::Closed(denied) => Err(denied),
            Said::Away => Ok(Found::Away),
        }
    }

    /// The same for a key that there is no room for: the store is asked for each request, unless the limit is closed.
    fn find_out_without(&self, ask: &Ask<'_>, now: Instant) -> Result<Found, Denied> {
        match self.ground.footing(ask.rate, now) {
            Footing::Closed { until, now: there, .. } => {
                let denied = closed(ask.key.limit(), ask.rate, until, there);
                self.note(&Said::Closed(denied.clone()));
                Err(denied)
            }
            Footing::Open { .. } | Footing::Unknown => Ok(Found::Plain),
        }
    }

    fn put_all_back(&self, asks: &[Ask<'_>], found: &[Found]) {
        for (ask, found) in asks.iter().zip(found) {
            if let Found::Spent(_, tag) = found {
                self.put_back(tag, ask.cost);
            }
        }
    }
}

/// How a limit stands that only reports a refusal.
fn over(ask: &Ask<'_>, denied: Denied) -> Standing {
    Standing { limit: ask.key.limit(), would_refuse: true, ..denied.standing }
}

fn keep_longest(longest: &mut Option<Denied>, denied: Denied) {
    match longest {
        Some(longest) => keep_longest_of(longest, denied),
        None => *longest = Some(denied),
    }
}

fn keep_longest_of(longest: &mut Denied, denied: Denied) {
    if longest.retry_after < denied.retry_after {
        *longest = denied;
    }
}
