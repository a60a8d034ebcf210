//! Limits as an operator sees them: what there is, how one stands towards somebody, and starting it anew.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use portcullis_core::{ClientAddress, HumanDuration, Principal, Timestamp, unmapped};
use portcullis_limit::{Ask, BLOCK_AT_LEAST, BLOCK_AT_MOST, Key, Standing, StoreError};

use crate::gate::Gate;
use crate::limits::{KeyFacts, KeyPart, LimitRule};
use crate::policy::Policy;
use crate::reputation::Repute;

/// Whom a limit counts, as an operator describes them: what a request of theirs would say.
#[derive(Clone, Debug, Default)]
pub struct Whom {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// Who they are, where the limit counts by that.
    pub principal: Option<Arc<Principal>>,
    /// Headers by which the limit counts.
    pub headers: HeaderMap,
    /// The route's pattern, where the limit counts by it.
    pub route: Option<Box<str>>,
}

impl Whom {
    /// Where they come from. Where no address was told it is nobody's: every part of a key is then known without it.
    fn client(&self) -> ClientAddress {
        ClientAddress::new(unmapped(self.address.unwrap_or(IpAddr::from([0, 0, 0, 0]))))
    }
}

/// Why a limit cannot be looked at or started anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// There is no such limit.
    #[error("there is no limit named \"{0}\"")]
    NoSuchLimit(Box<str>),
    /// What the limit counts by was not told, nor the address that would stand in for it.
    #[error("this limit counts by {0}; say which")]
    Needs(Box<str>),
    /// The limit does not hold for them, so there is nothing to change.
    #[error("the limit does not hold for them: they are exempt")]
    Exempt,
    /// A penalty or a reward of nothing.
    #[error("there is nothing to take or to give back: at least 1 unit")]
    NoUnits,
    /// A block that is too short or too long.
    #[error("a block lasts {} at least and {} at most", HumanDuration(BLOCK_AT_LEAST), HumanDuration(BLOCK_AT_MOST))]
    BlockLength,
    /// Leases cannot be opened again: this gate counts for itself.
    #[error("the limits count in this gate's own memory, from which nothing is leased: there is nothing to open again")]
    NoSharedStore,
    /// Leases cannot be opened again: the store lends nothing.
    #[error("nothing is leased from the store of the limits, a memcached or a cluster: there is nothing to open again")]
    NothingLeased,
    /// The shared store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Gate {
    /// The limits of the policy of the moment, in the order of the configuration.
    #[must_use]
    pub fn limits(&self) -> Vec<LimitRule> {
        self.policy().limits.rules().cloned().collect()
    }

    /// Whether limits count in a store that several gates share, while it is there.
    #[must_use]
    pub fn limits_are_shared(&self) -> bool {
        self.limiter().shared_works().is_some()
    }

    /// How a limit stands towards somebody; nothing is charged. `None` where they are exempt from it.
    ///
    /// # Errors
    /// [`InspectError`] where the limit is unknown, where it does not follow from `whom` what it counts by, or where the
    /// shared store does not answer.
    pub async fn limit_standing(
        &self,
        name: &str,
        whom: &Whom,
        now: Timestamp,
    ) -> Result<Option<Standing>, InspectError> {
        let policy = self.policy();
        match self.ask_of(&policy, name, whom, 0, now) {
            Ok(ask) => Ok(Some(self.limiter().standing(&ask, now).await?)),
            Err(InspectError::Exempt) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes so many units of what somebody has left of a limit, or what is left where that is less; tells how many. Nothing
    /// is taken of a key that is blocked.
    ///
    /// # Errors
    /// As [`Gate::limit_standing`]; [`InspectError::Exempt`] and [`InspectError::NoUnits`] too.
    pub async fn penalize_limit(
        &self,
        name: &str,
        whom: &Whom,
        units: u64,
        now: Timestamp,
    ) -> Result<u64, InspectError> {
        let policy = self.policy();
        let ask = self.ask_of(&policy, name, whom, some(units)?, now)?;
        Ok(self.limiter().take(&ask, now).await?)
    }

    /// Gives somebody so many units of a limit back, at most until nothing of the quota lacks.
    ///
    /// # Errors
    /// As [`Gate::penalize_limit`].
    pub async fn reward_limit(&self, name: &str, whom: &Whom, units: u64, now: Timestamp) -> Result<(), InspectError> {
        let policy = self.policy();
        let ask = self.ask_of(&policy, name, whom, some(units)?, now)?;
        Ok(self.limiter().reward(&ask, now).await?)
    }

    /// Makes a limit refuse somebody for so long, whatever they have left ([`portcullis_limit::Limiter::block`]); tells until
    /// when. The block is of the key that they are counted under: who shares it is blocked too.
    ///
    /// # Errors
    /// As [`Gate::limit_standing`]; [`InspectError::Exempt`] and [`InspectError::BlockLength`] too.
    pub async fn block_limit(
        &self,
        name: &str,
        whom: &Whom,
        how_long: Duration,
        now: Timestamp,
    ) -> Result<Timestamp, InspectError> {
        let policy = self.policy();
        let ask = self.ask_of(&policy, name, whom, 0, now)?;
        if !(BLOCK_AT_LEAST..=BLOCK_AT_MOST).contains(&how_long) {
            return Err(InspectError::BlockLength);
        }
        Ok(self.limiter().block(&ask, how_long, now).await?)
    }

    /// Lifts a block; `true` if there was one.
    ///
    /// # Errors
    /// As [`Gate::limit_standing`].
    pub async fn unblock_limit(&self, name: &str, whom: &Whom, now: Timestamp) -> Result<bool, InspectError> {
        let policy = self.policy();
        let (_, key) = key_of(&policy, name, whom)?;
        Ok(self.limiter().unblock(name, &key, now).await?)
    }

    /// Forgets all that a limit has counted against somebody, and lifts their block; `true` if there was something.
    ///
    /// # Errors
    /// As [`Gate::limit_standing`].
    pub async fn reset_limit(&self, name: &str, whom: &Whom) -> Result<bool, InspectError> {
        let policy = self.policy();
        let (_, key) = key_of(&policy, name, whom)?;
        Ok(self.limiter().reset(name, &key).await?)
    }

    /// Whether there is a store from which limits are leased.
    ///
    /// # Errors
    /// [`InspectError::NoSharedStore`] and [`InspectError::NothingLeased`].
    pub fn check_leases(&self) -> Result<(), InspectError> {
        if !self.limits_are_shared() {
            Err(InspectError::NoSharedStore)
        } else if self.limiter().leases().is_none() {
            Err(InspectError::NothingLeased)
        } else {
            Ok(())
        }
    }

    /// Says that the shared store has lost nothing ([`portcullis_limit::Limiter::reopen`]); `false` where it knows of no loss.
    ///
    /// # Errors
    /// As [`Gate::check_leases`]; [`InspectError::Store`] where it is not certain that the store was told.
    pub async fn reopen_leases(&self) -> Result<bool, InspectError> {
        self.check_leases()?;
        Ok(self.limiter().reopen().await?)
    }

    /// What an operator asks of the limit in somebody's place.
    fn ask_of<'a>(
        &self,
        policy: &'a Policy,
        name: &'a str,
        whom: &Whom,
        cost: u64,
        now: Timestamp,
    ) -> Result<Ask<'a>, InspectError> {
        let (rule, key) = key_of(policy, name, whom)?;
        let repute = whom.address.map_or_else(Repute::default, |address| self.repute(address, now));
        let rate = rule.rate_for(whom.principal.as_deref(), whom.client(), &repute).ok_or(InspectError::Exempt)?;
        Ok(Ask { cost, outage: rule.outage, lease: rule.lease, ..Ask::new(name, key, rate) })
    }
}

const fn some(units: u64) -> Result<u64, InspectError> {
    if units == 0 { Err(InspectError::NoUnits) } else { Ok(units) }
}

/// The rule of this name, and the key under which it counts them: made as it is made for their requests.
fn key_of<'p>(policy: &'p Policy, name: &str, whom: &Whom) -> Result<(&'p LimitRule, Key), InspectError> {
    let found = policy.limits.named(name).ok_or_else(|| InspectError::NoSuchLimit(name.into()))?;
    let facts = KeyFacts {
        client: whom.client(),
        ipv6_prefix: policy.ipv6_prefix,
        headers: &whom.headers,
        route: whom.route.as_deref().unwrap_or_default(),
        principal: whom.principal.as_deref(),
        identity: false,
    };
    let needs = |part: &str| InspectError::Needs(part.into());
    for part in &found.rule().key {
        if *part == KeyPart::Route && whom.route.is_none() {
            return Err(needs("route"));
        }
        if whom.address.is_none() && !found.knows(part, &facts) {
            return Err(needs(&part.to_string()));
        }
    }
    Ok((found.rule(), found.key(&facts)))
}
