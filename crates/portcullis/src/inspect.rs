//! Limits as an operator sees them: what there is, how one stands towards somebody, and starting it anew.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use portcullis_core::{ClientAddress, Principal, Timestamp, unmapped};
use portcullis_limit::{Ask, Key, Standing, StoreError};

use crate::gate::Gate;
use crate::limits::{KeyFacts, KeyPart, LimitRule};
use crate::policy::Policy;

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
        let (rule, key) = key_of(&policy, name, whom)?;
        let Some(rate) = rule.rate_for(whom.principal.as_deref(), whom.client()) else { return Ok(None) };
        let ask = Ask { cost: 0, ..Ask::new(name, key, rate) };
        Ok(Some(self.limiter().standing(&ask, now).await?))
    }

    /// Forgets all that a limit has counted against somebody; `true` if there was something.
    ///
    /// # Errors
    /// As [`Gate::limit_standing`].
    pub async fn reset_limit(&self, name: &str, whom: &Whom) -> Result<bool, InspectError> {
        let policy = self.policy();
        let (_, key) = key_of(&policy, name, whom)?;
        Ok(self.limiter().reset(name, &key).await?)
    }
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
