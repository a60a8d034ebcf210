//! What a request is charged, and what becomes of the charge.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Response, StatusCode};
use portcullis_core::{AddressKey, Timestamp};
use smallvec::SmallVec;
use tokio::sync::OwnedSemaphorePermit;

use super::event::LimitEvent;
use super::layer::{Config, Named};
use super::limit::{AnswerHead, Limit};
use super::refusal::{Refusal, RefusedInside, Why};
use crate::key::Key;
use crate::limiter::{Ask, Charge, Denied, Receipts, Refused, Standing};
use crate::message::fill_wait;
use crate::outage::Patience;
use crate::rate::Rate;

/// One limit as it applies to one request.
pub(super) struct Planned {
    index: usize,
    key: Key,
    cost: u64,
    /// Where it is not the limit's own.
    rate: Option<Rate>,
}

/// All that apply to one request.
pub(super) type Plan = SmallVec<[Planned; 2]>;

/// In a request: there is another layer around, which wants to be [`Told`].
#[derive(Clone, Copy)]
pub(super) struct Nested;

/// How the limit inside stands that is closest to refusing, and of which the client is told.
#[derive(Clone)]
struct Told(Standing);

/// What has to be done once the outcome is known.
pub(super) struct Admitted {
    receipts: Receipts,
    /// Of the limit that is closest to refusing.
    standing: Option<Standing>,
    nested: bool,
}

/// How long a request has to be held back, with its place among those that wait.
pub(super) type Wait = Option<(Duration, OwnedSemaphorePermit)>;

impl Config {
    /// Which limits apply to the request, and under which keys.
    pub(super) fn plan(&self, request: &Parts) -> Result<Plan, Refusal> {
        let mut known = None;
        let mut address = || *known.get_or_insert_with(|| self.address(request));
        let mut plan = Plan::new();
        for (index, Named { limit, id }) in self.limits.iter().enumerate() {
            if !limit.applies_to(request) {
                continue;
            }
            let mut key = Key::new(*id);
            match push_parts(limit, &mut key, request, &mut address) {
                Some(()) => {
                    let rate = limit.rate_for(request);
                    if let Some(other) = rate.as_ref().filter(|rate| !rate.counts_like(&limit.rate)) {
                        key.push_rate(other);
                    }
                    plan.push(Planned { index, key, cost: limit.cost_for(request), rate });
                }
                None if limit.enforce => return Err(Refusal::new(Arc::clone(&limit.name), Why::NoAddress)),
                None => self.tell(&LimitEvent::NoAddress { limit: &limit.name }, request),
            }
        }
        Ok(plan)
    }

    fn asks<'a>(&'a self, plan: &'a Plan) -> SmallVec<[Ask<'a>; 2]> {
        let ask = |planned: &'a Planned| {
            let limit = &self.limits[planned.index].limit;
            Ask {
                cost: planned.cost,
                enforce: limit.enforce,
                // A layer inside may refuse, which no layer knows beforehand, and then this one gives back. A store that
                // remembered its refusals for longer than a moment would go on refusing what was given back meanwhile.
                refundable: true,
                outage: limit.outage,
                lease: limit.lease,
                ..Ask::new(&limit.name, planned.key.clone(), planned.rate.as_ref().unwrap_or(&limit.rate))
            }
        };
        plan.iter().map(ask).collect()
    }

    /// Charges all or none, without waiting; `None` where a shared store is to be asked.
    pub(super) fn charge_at_once(&self, plan: &Plan, now: Timestamp) -> Option<Result<Charge, Refused>> {
        // Most layers have one limit, and many requests none.
        if plan.is_empty() {
            return Some(Ok(Charge::default()));
        }
        self.shared.limiter().charge_at_once(&self.asks(plan), now)
    }

    /// Charges all or none.
    pub(super) async fn charge(self: Arc<Self>, plan: Plan, now: Timestamp) -> Result<Charge, Refused> {
        self.shared.limiter().charge(&self.asks(&plan), now, &mut Patience::default()).await
    }

    /// What becomes of a request that was charged, or was not.
    pub(super) fn judge(
        &self,
        charged: Result<Charge, Refused>,
        request: &mut Parts,
        now: Timestamp,
    ) -> Result<(Admitted, Wait), Refusal> {
        let charge = match charged {
            Ok(charge) => charge,
            Err(Refused::Denied(denied)) => return Err(self.spent(denied)),
            Err(Refused::Unavailable(id)) => return Err(Refusal::new(self.name(id), Why::StoreAway)),
        };
        let mut closest: Option<&Standing> = None;
        let mut slowest: Option<&Standing> = None;
        for standing in charge.standings() {
            let Some(limit) = self.named(standing.limit) else { continue };
            if !limit.enforce {
                if standing.would_refuse {
                    self.tell(&LimitEvent::WouldRefuse { limit: &limit.name, standing }, request);
                }
                continue;
            }
            if closest.is_none_or(|held| standing.is_closer_to_refusal_than(held)) {
                closest = Some(standing);
            }
            if standing.delay > slowest.map_or(Duration::ZERO, |held| held.delay) {
                slowest = Some(standing);
            }
        }
        let mut wait = None;
        if let Some(standing) = slowest {
            let Some(place) = self.shared.place() else {
                let (standing, retry_after) = (standing.clone(), standing.delay);
                for receipt in charge.receipts() {
                    self.shared.limiter().give_back(receipt, now);
                }
                return Err(self.spent(Denied { standing, retry_after }));
            };
            self.tell(&LimitEvent::Delayed { limit: &self.name(standing.limit), wait: standing.delay }, request);
            wait = Some((standing.delay, place));
        }
        let standing = closest.cloned();
        let nested = standing.is_some() && request.extensions.insert(Nested).is_some();
        Ok((Admitted { receipts: charge.into_receipts(), standing, nested }, wait))
    }

    fn spent(&self, denied: Denied) -> Refusal {
        let Denied { standing, retry_after } = denied;
        let message = self.named(standing.limit).and_then(|limit| limit.message.as_deref());
        let message = message.map(|template| fill_wait(template, retry_after).into());
        let limit = self.name(standing.limit);
        Refusal::new(limit, Why::Spent { standing: Box::new(standing), retry_after, message })
    }

    fn name(&self, id: u32) -> Arc<str> {
        self.named(id).map_or_else(|| "".into(), |limit| Arc::clone(&limit.name))
    }

    /// Gives back what does not stay counted, and tells the client how it stands.
    pub(super) fn settle<B>(&self, admitted: &mut Admitted, response: &mut Response<B>) {
        let refused_inside = response.extensions().get::<RefusedInside>().is_some();
        let answer =
            AnswerHead { status: response.status(), headers: response.headers(), extensions: response.extensions() };
        self.give_back(
            admitted,
            |limit, charged| {
                if refused_inside { charged } else { limit.refund(charged, &answer) }
            },
        );
        // Whoever refuses has told everything.
        let Some(ours) = admitted.standing.as_ref().filter(|_| !refused_inside) else { return };
        let inside = response.extensions_mut().remove::<Told>();
        let inside = inside.filter(|told| told.0.is_closer_to_refusal_than(ours));
        if inside.is_none()
            && let Some(limit) = self.named(ours.limit)
        {
            self.headers.insert(response.headers_mut(), ours, &limit.name);
        }
        if admitted.nested {
            response.extensions_mut().insert(inside.unwrap_or_else(|| Told(ours.clone())));
        }
    }

    /// Gives back what a service does not cost that fails without an answer.
    pub(super) fn settle_failure(&self, admitted: &mut Admitted) {
        self.give_back(
            admitted,
            |limit, charged| {
                if limit.counts(StatusCode::INTERNAL_SERVER_ERROR) { 0 } else { charged }
            },
        );
    }

    /// Gives back as many units of each charge as `refund` says.
    fn give_back(&self, admitted: &mut Admitted, refund: impl Fn(&Limit, u64) -> u64) {
        let mut settled = false;
        for receipt in &admitted.receipts {
            let Some(limit) = self.named(receipt.limit()) else { continue };
            let units = refund(limit, receipt.cost());
            if units == 0 {
                continue;
            }
            // One charge may have two receipts: the store's, and that of the memory which counts along.
            if let Some(told) = admitted.standing.as_mut().filter(|told| told.limit == receipt.limit() && !settled) {
                told.settle(units, &receipt.rate);
                settled = true;
            }
            self.shared.limiter().give_back(&receipt.part(units), self.shared.now());
        }
    }
}

/// Adds all by which the limit counts; `None` where the address is needed and not known.
fn push_parts(
    limit: &Limit,
    key: &mut Key,
    request: &Parts,
    address: &mut impl FnMut() -> Option<AddressKey>,
) -> Option<()> {
    if limit.parts.is_empty() {
        key.push_address(address()?);
    }
    for part in &limit.parts {
        part.push(key, request, address)?;
    }
    Some(())
}
